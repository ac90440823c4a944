//! The region daemon.

fn main() {}
