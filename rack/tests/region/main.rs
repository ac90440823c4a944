//! The rack's half that faces the region, against a region in this process: real TLS, real certificates, real sockets.

#![expect(clippy::unwrap_used, reason = "a test")]

mod blobs;
mod fake;
mod http;
mod link;
mod service;
