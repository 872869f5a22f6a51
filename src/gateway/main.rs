//! The `lamplighter` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    lamplighter::cli::main(std::env::args_os())
}
