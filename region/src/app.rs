//! Use cases: what people, programs and racks may ask of the region. Knows no wire.
//!
//! **Invariants:** whoever calls is known and his right is checked first; a mutation is one transaction of the store, and
//! whatever follows it may be lost without harm. Errors are [`crate::domain::Error`].

mod ageing;
pub mod audit;
pub mod blobs;
pub mod bulk;
pub mod context;
pub mod events;
pub mod gateway;
pub mod images;
pub mod machines;
pub mod operations;
pub mod pools;
pub mod projects;
pub mod racks;
pub mod reseal;
pub mod scripts;
pub mod setup;
pub mod ssh_keys;
pub mod subnets;
pub mod tokens;
pub mod users;

use std::sync::Arc;

use farrier_common::{clock::Clock, name::Name};
use tokio_util::sync::CancellationToken;

use crate::{crash::Crash, domain::advance::Deadlines, pki::Ca, racks::Racks, store::Store, vault::Vault};

pub use blobs::Blobs;
pub use events::Tail;
pub use machines::Promises;

/// What the configuration lets people do.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Of working states, where they differ from the table.
    pub deadlines: Deadlines,
    /// Nobody may give a machine back with its disks as they are.
    pub require_erase: bool,
    /// How often each user may call.
    pub rate: RateLimit,
    /// `host:port` at which racks reach the region.
    pub advertise: String,
    /// The image that the agent runs in.
    pub ephemeral_image: Name,
    /// Name of the account that Farrier makes on BMCs.
    pub bmc_account: Name,
    /// Tests that a commissioning leads to, unless it is told which.
    pub default_tests: Vec<Name>,
}

/// How often a user may call; racks are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Calls in a second, for long; 0: as often as he likes.
    pub per_second: u32,
    /// Calls at once, after a pause.
    pub burst: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { per_second: 500, burst: 2000 }
    }
}

/// All use cases. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The machine database.
    pub store: Store,
    /// Seals secrets and derives tokens.
    pub vault: Vault,
    /// Vouches for racks.
    pub ca: Arc<Ca>,
    /// The hands, for power by hand.
    pub racks: Racks,
    /// The files of images.
    pub blobs: Blobs,
    /// The end of the event log, for those who watch.
    pub tail: Tail,
    /// What is allowed.
    pub policy: Arc<Policy>,
    /// Time.
    pub clock: Clock,
    /// The region stops: long calls end.
    pub stop: CancellationToken,
    /// Addresses of machines that come to be.
    pub promises: Promises,
    /// Where tests let the region die.
    pub crash: Crash,
}
