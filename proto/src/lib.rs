//! The contract: `farrier.v1` (operators and programs), `farrier.rack.v1` (region and rack), `farrier.agent.v1` (agent and rack).
//!
//! Generated from `proto/proto` by `build.rs`; the `.proto` files are the documentation of every message.
//! Knows no database and no sockets; [`convert`] joins the wire's words to those of `farrier-common`.

pub mod convert;

#[expect(missing_docs, reason = "generated; the documentation is in the .proto files")]
#[expect(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod generated {
    pub mod farrier {
        pub mod v1 {
            tonic::include_proto!("farrier.v1");
        }
        pub mod rack {
            pub mod v1 {
                tonic::include_proto!("farrier.rack.v1");
            }
        }
        pub mod agent {
            pub mod v1 {
                tonic::include_proto!("farrier.agent.v1");
            }
        }
    }
}

pub use generated::farrier::{agent::v1 as agent, rack::v1 as rack, v1};

/// The encoded `FileDescriptorSet` of all packages, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Metadata of a refusal for which its code is not enough: the kind of reason.
pub const REASON: &str = "farrier-reason";

/// A [`REASON`]: a BMC shows another certificate than the one that it is known by.
pub const CERTIFICATE: &str = "bmc-certificate";
