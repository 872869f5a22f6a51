//! The `lamplighter` command.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// What one thread makes another one often drops: records, feed frames, datagrams.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    lamplighter::cli::main(std::env::args_os())
}
