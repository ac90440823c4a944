//! Words of the domain on the wire. Each enum of the contract is joined to one closed set of words.

use farrier_common::clock::Timestamp;
use farrier_proto::v1;

use crate::domain::{
    Error, Result,
    image::{BlobRole, ImageKind},
    lifecycle::State,
    script::ScriptKind,
    user::Role,
};

/// `MACHINE_STATE_FAILED_DEPLOYMENT` for `failed-deployment`. A test proves that each state has its number.
pub(super) fn state_to_wire(state: State) -> i32 {
    let name = format!("MACHINE_STATE_{}", state.as_str().replace('-', "_").to_uppercase());
    v1::MachineState::from_str_name(&name).unwrap_or_default().into()
}

pub(super) fn state_from_wire(field: &str, number: i32) -> Result<State> {
    let found = State::ALL.iter().copied().find(|s| state_to_wire(*s) == number);
    found.ok_or_else(|| unknown(field, State::ALL.iter().map(|s| s.as_str())))
}

pub(super) const fn role_to_wire(role: Role) -> v1::Role {
    match role {
        Role::Viewer => v1::Role::Viewer,
        Role::User => v1::Role::User,
        Role::Admin => v1::Role::Admin,
    }
}

pub(super) fn role_from_wire(field: &str, number: i32) -> Result<Role> {
    let found = Role::ALL.iter().copied().find(|r| role_to_wire(*r) as i32 == number);
    found.ok_or_else(|| unknown(field, Role::ALL.iter().map(|r| r.as_str())))
}

pub(super) const fn kind_to_wire(kind: ImageKind) -> v1::ImageKind {
    match kind {
        ImageKind::Disk => v1::ImageKind::Disk,
        ImageKind::Ephemeral => v1::ImageKind::Ephemeral,
    }
}

pub(super) fn kind_from_wire(field: &str, number: i32) -> Result<ImageKind> {
    let found = ImageKind::ALL.iter().copied().find(|k| kind_to_wire(*k) as i32 == number);
    found.ok_or_else(|| unknown(field, ImageKind::ALL.iter().map(|k| k.as_str())))
}

pub(super) const fn blob_role_to_wire(role: BlobRole) -> v1::BlobRole {
    match role {
        BlobRole::Disk => v1::BlobRole::Disk,
        BlobRole::Kernel => v1::BlobRole::Kernel,
        BlobRole::Initrd => v1::BlobRole::Initrd,
    }
}

pub(super) fn blob_role_from_wire(field: &str, number: i32) -> Result<BlobRole> {
    let found = BlobRole::ALL.iter().copied().find(|r| blob_role_to_wire(*r) as i32 == number);
    found.ok_or_else(|| unknown(field, BlobRole::ALL.iter().map(|r| r.as_str())))
}

pub(super) const fn script_kind_to_wire(kind: ScriptKind) -> v1::ScriptKind {
    match kind {
        ScriptKind::Commissioning => v1::ScriptKind::Commissioning,
        ScriptKind::Test => v1::ScriptKind::Test,
    }
}

pub(super) fn script_kind_from_wire(field: &str, number: i32) -> Result<ScriptKind> {
    let found = ScriptKind::ALL.iter().copied().find(|k| script_kind_to_wire(*k) as i32 == number);
    found.ok_or_else(|| unknown(field, ScriptKind::ALL.iter().map(|k| k.as_str())))
}

/// A number of an enum that is not one of its words.
pub(super) fn unknown(field: &str, words: impl Iterator<Item = &'static str>) -> Error {
    Error::invalid(field, format!("must be one of: {}", words.collect::<Vec<_>>().join(", ")))
}

pub(super) fn time_to_wire(at: Timestamp) -> prost_types::Timestamp {
    let nanos = i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(0);
    prost_types::Timestamp { seconds: at.timestamp(), nanos }
}

pub(super) fn time_from_wire(field: &str, at: Option<prost_types::Timestamp>) -> Result<Timestamp> {
    let at = at.ok_or_else(|| Error::invalid(field, "is required"))?;
    let nanos = u32::try_from(at.nanos).ok();
    let time = nanos.and_then(|nanos| Timestamp::from_timestamp(at.seconds, nanos));
    time.ok_or_else(|| Error::invalid(field, "is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_has_the_states_of_the_table_in_its_order() {
        for (place, state) in State::ALL.iter().enumerate() {
            assert_eq!(state_to_wire(*state), i32::try_from(place + 1).unwrap(), "{state}");
            assert_eq!(state_from_wire("state", state_to_wire(*state)).unwrap(), *state);
        }
        let beyond = i32::try_from(State::ALL.len() + 1).unwrap();
        assert!(v1::MachineState::try_from(beyond).is_err(), "the wire has more states than the table");
        assert!(state_from_wire("state", 0).is_err());
    }

    #[test]
    fn every_word_survives_the_wire() {
        for role in Role::ALL {
            assert_eq!(role_from_wire("r", role_to_wire(*role).into()).unwrap(), *role);
        }
        for kind in ImageKind::ALL {
            assert_eq!(kind_from_wire("k", kind_to_wire(*kind).into()).unwrap(), *kind);
        }
        for role in BlobRole::ALL {
            assert_eq!(blob_role_from_wire("r", blob_role_to_wire(*role).into()).unwrap(), *role);
        }
        assert_eq!(role_from_wire("role", 0).unwrap_err().to_string(), "role: must be one of: viewer, user, admin");
    }

    #[test]
    fn times_keep_their_microseconds() {
        let at = Timestamp::from_timestamp(1_800_000_000, 123_456_000).unwrap();
        assert_eq!(time_from_wire("at", Some(time_to_wire(at))).unwrap(), at);
        assert!(time_from_wire("at", Some(prost_types::Timestamp { seconds: 0, nanos: -1 })).is_err());
        assert!(time_from_wire("at", None).is_err());
    }
}
