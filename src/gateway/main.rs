//! The `lamplighter` command.

fn main() {}
