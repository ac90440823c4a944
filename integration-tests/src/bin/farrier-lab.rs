//! placeholder until the demo is written
fn main() {}
