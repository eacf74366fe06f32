//! WHO: from a pid, port or name to a whole server.
