//! LOOK: one kernel source per file, plain data out, no judgement.
