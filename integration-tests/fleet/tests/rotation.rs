//! What the region believes of BMC passwords is what BMCs take, whoever dies while they are changed. `cargo bench -p farrier-fleet
//! --bench bmc_rotation` does it with 500.
//!
//! Needs root.
#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a test")]

#[path = "support/rotation.rs"]
mod rotation;

#[test]
fn bmcs_take_what_the_region_believes() {
    let outcome = rotation::play(24, 10).unwrap();
    let (kills, took) = (outcome.kills, outcome.took.as_secs_f32());
    println!("{} in {took:.1} s; died {kills:?}; {} logins were refused", outcome.changed, outcome.refused);
    assert_eq!(outcome.changed, 24);
    assert!(kills.iter().sum::<usize>() >= 3, "{outcome:?}");
}
