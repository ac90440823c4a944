//! Pools: every machine is in one, and who is granted it may see and hold its machines.

use farrier_common::{id::PoolId, name::Name};
use uuid::Uuid;

/// The pool of machines that nobody has put anywhere. The first migration of pools makes it.
pub const DEFAULT: PoolId = PoolId::from_uuid(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

/// The zone of machines that nobody has put anywhere.
#[must_use]
pub fn default_zone() -> Name {
    "default".parse().expect("a valid name")
}
