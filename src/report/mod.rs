//! SAY: the report and its formats.
