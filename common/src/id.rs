//! Typed ids: a UUIDv7 with the kind of thing it names.

use std::{cmp::Ordering, fmt, hash, marker::PhantomData, str::FromStr};

use thiserror::Error;
use uuid::Uuid;

/// A kind of thing that has ids.
pub trait Kind {
    /// Its name in messages.
    const NAME: &'static str;
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident $alias:ident = $text:literal,)*) => { $(
        $(#[$meta])*
        #[derive(Debug)]
        pub enum $name {}
        impl Kind for $name { const NAME: &'static str = $text; }
        $(#[$meta])*
        pub type $alias = Id<$name>;
    )* };
}

kinds! {
    /// One boot of a machine.
    Boot BootId = "boot",
    /// An image.
    Image ImageId = "image",
    /// A machine.
    Machine MachineId = "machine",
    /// Bulk work.
    Operation OperationId = "operation",
    /// Where machines belong.
    Pool PoolId = "pool",
    /// People who hold machines together.
    Project ProjectId = "project",
    /// A rack service.
    Rack RackId = "rack",
    /// What the agent runs.
    Script ScriptId = "script",
    /// A public key for SSH.
    SshKey SshKeyId = "SSH key",
    /// A subnet.
    Subnet SubnetId = "subnet",
    /// A task of an agent.
    Task TaskId = "task",
    /// A bearer token.
    Token TokenId = "token",
    /// A person or a program.
    User UserId = "user",
}

/// Identifies one thing of kind `K`; sorts by age.
pub struct Id<K>(Uuid, PhantomData<fn() -> K>);

impl<K> Id<K> {
    /// A new id.
    #[must_use]
    pub fn generate() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that makes ids")]
        Self(Uuid::now_v7(), PhantomData)
    }

    /// The raw UUID, for a database or a wire.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// From the raw UUID of a database or a wire.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }
}

/// A text that is no id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{text:?} is not a {kind} id (a UUID)")]
pub struct BadId {
    text: String,
    kind: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        Uuid::parse_str(text).map(Self::from_uuid).map_err(|_| BadId { text: text.to_owned(), kind: K::NAME })
    }
}

impl<K> serde::Serialize for Id<K> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}
impl<'de, K: Kind> serde::Deserialize<'de> for Id<K> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}
impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> hash::Hash for Id<K> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", K::NAME, self.0)
    }
}
