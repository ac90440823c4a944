//! All end-to-end tests, one binary: the tree's tidiness, the lab itself, and machines' lives in it.

mod lab;
mod lifecycle;
mod tidy;

use farrier_integration_tests::lab::Lab;

/// Runs `body` in a lab of its own; if it fails, shows what daemons and machines logged.
fn in_lab(body: impl FnOnce(&mut Lab) -> anyhow::Result<()>) {
    let mut lab = Lab::new().expect("this host can hold a virtual lab");
    if let Err(error) = body(&mut lab) {
        panic!("{error:#}");
    }
}
