//! Runs the real `farrier` binary against a region of canned answers, over TLS on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod allocate;
mod bulk;
mod fake;
mod images;
mod layouts;
mod lists;
mod login;
mod marks;
mod proxy;
mod scripts;
mod verbs;
mod wait;
