//! What the region asks of racks: power, BMC accounts, boot intents. The only place that dials them.
//!
//! **Invariant:** nothing here retries for long or decides; the engine does. Each call has a deadline, and fails with a
//! [`Trouble`] that says whether trying again helps. Passwords leave the vault only inside a call over mutual TLS.

mod calls;
mod dial;
mod exchanges;
mod hardware;
mod intents;
mod sync;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use farrier_common::{clock::Clock, id::RackId, name::Name};
use farrier_proto::rack::rack_service_client::RackServiceClient;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tonic::transport::Channel;
use tower::timeout::Timeout;

use crate::{
    domain::observation::{Trouble, TroubleKind},
    pki::Identity,
    store::Store,
    vault::Vault,
};

pub use calls::{Asker, Probed, given_purpose, own_purpose, pending_purpose, previous_purpose};
pub use intents::{boot_token, phone_home_token};

type Client = RackServiceClient<Timeout<Channel>>;

/// The racks, as seen from here. Cheap to clone.
#[derive(Clone)]
pub struct Racks {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Clock,
    exchanges: exchanges::Exchanges,
    vault: Vault,
    identity: Identity,
    ca_pem: String,
    ephemeral_image: Name,
    /// One lazily connected channel a rack, kept as long as the rack stays at its address.
    channels: Mutex<HashMap<RackId, (String, Client)>>,
    /// Serialises what is told to one rack, so that a snapshot and single intents cannot overtake each other; holds the
    /// id of the snapshot that the rack has from this process.
    told: Mutex<HashMap<RackId, Arc<AsyncMutex<Option<String>>>>>,
    wanted: mpsc::UnboundedSender<RackId>,
    wanted_receiver: AsyncMutex<mpsc::UnboundedReceiver<RackId>>,
}

impl Racks {
    /// Nothing is dialled before it is needed.
    #[must_use]
    pub fn new(
        store: Store,
        vault: Vault,
        identity: Identity,
        ca_pem: String,
        ephemeral_image: Name,
        clock: Clock,
    ) -> Self {
        let (wanted, receiver) = mpsc::unbounded_channel();
        let inner = Inner {
            store,
            clock,
            exchanges: exchanges::Exchanges::default(),
            vault,
            identity,
            ca_pem,
            ephemeral_image,
            channels: Mutex::default(),
            told: Mutex::default(),
            wanted,
            wanted_receiver: AsyncMutex::new(receiver),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Inner {
    fn told(&self, rack: RackId) -> Arc<AsyncMutex<Option<String>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).entry(rack).or_default().clone()
    }
}

fn transient(text: impl Into<String>) -> Trouble {
    Trouble { kind: TroubleKind::Transient, text: text.into() }
}

fn permanent(text: impl Into<String>) -> Trouble {
    Trouble { kind: TroubleKind::Permanent, text: text.into() }
}
