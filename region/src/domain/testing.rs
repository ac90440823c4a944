//! Machines and people for the unit tests of the domain.

use farrier_common::{
    clock::Timestamp,
    hardware::{Architecture, BmcProtocol},
    id::{BootId, MachineId, RackId},
};

use super::{
    bmc::Bmc,
    lifecycle::{Class, Phase, State},
    machine::{Details, Machine, Work},
    user::{Role, User},
};

pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + secs, 0).unwrap()
}

/// A machine whose intent is published and whose deadline is an hour away.
pub(crate) fn machine(state: State, phase: Option<Phase>) -> Machine {
    let mut m = Machine {
        id: MachineId::generate(),
        name: "m1".parse().unwrap(),
        state,
        since: at(0),
        deadline: (state.class() == Class::Working).then(|| at(3600)),
        version: 1,
        due_at: Some(at(0)),
        work: Work { phase, phase_since: phase.map(|_| at(0)), ..Work::default() },
        reason: "testing".to_owned(),
        code: super::reason::Code::Unknown,
        owner: None,
        pool: super::pool::DEFAULT,
        zone: super::pool::default_zone(),
        tags: std::collections::BTreeSet::new(),
        rack: Some(RackId::generate()),
        architecture: Architecture::Amd64,
        firmware: None,
        power: None,
        interfaces: vec![],
        details: Details {
            bmc: Some(Bmc {
                protocol: Some(BmcProtocol::Ipmi),
                address: [127, 0, 0, 1].into(),
                port: 623,
                username: "root".to_owned(),
                webhook: None,
                managed: false,
                use_as_is: false,
                certificate: None,
                system: String::new(),
                facts: None,
                take_over: false,
                rotated_at: None,
                rotation: None,
                rotation_failed_at: None,
            }),
            boot: Some(BootId::generate()),
            boot_tries: 1,
            ..Details::default()
        },
        created_at: at(0),
        updated_at: at(0),
    };
    m.details.published = Some(m.boot_target());
    m
}

pub(crate) fn user(name: &str, role: Role) -> User {
    User::new(name.parse().unwrap(), role, at(0))
}
