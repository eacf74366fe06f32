//! The binary: parse what was typed, run it, give the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    stallscope::commands::main()
}
