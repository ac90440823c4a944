//! One TLS stack for the process.

/// URI in the region's client certificate, by which a rack knows its region.
pub const REGION_IDENTITY: &str = "spiffe://farrier/region";

/// Prefix of the URI in a rack's certificate; the rack's id follows.
pub const RACK_IDENTITY_PREFIX: &str = "spiffe://farrier/rack/";

/// DNS name in every rack's and region's certificate, verified by whoever dials them: addresses may change, this does not.
pub const SERVER_NAME: &str = "farrier.internal";

/// Makes rustls use ring. Call once, first thing in `main`; a second call does nothing.
pub fn install_provider() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
}

/// DNS name in one rack's certificate alone, so that no other rack can answer in its place.
#[must_use]
pub fn rack_server_name(rack: crate::id::RackId) -> String {
    format!("{rack}.rack.{SERVER_NAME}")
}
