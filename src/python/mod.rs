//! READ: bytes of a live interpreter → frames.
