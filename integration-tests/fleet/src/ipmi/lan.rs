//! LAN configuration parameters (IPMI 2.0 section 23): each has one length, some can be written.
//!
//! What is written is told from then on; the simulated BMC stays at the address where it is reached.

use std::collections::BTreeMap;

use super::{commands::code, server::Identity};
use crate::personality::Personality;

/// Revision of the parameters, as all BMCs tell it.
pub(super) const REVISION: u8 = 0x11;

/// Parameter, length, and whether it can be written.
const PARAMETERS: &[(u8, usize, bool)] = &[
    (0, 1, true),    // set in progress
    (1, 1, false),   // authentication types of IPMI 1.5
    (2, 5, true),    // the same, by privilege
    (3, 4, true),    // address
    (4, 1, true),    // its source
    (5, 6, true),    // MAC
    (6, 4, true),    // subnet mask
    (7, 3, true),    // IPv4 header
    (8, 2, true),    // RMCP port
    (10, 1, true),   // ARP
    (11, 1, true),   // interval of gratuitous ARP
    (12, 4, true),   // gateway
    (13, 6, true),   // its MAC
    (14, 4, true),   // second gateway
    (15, 6, true),   // its MAC
    (16, 18, true),  // SNMP community
    (17, 1, false),  // alert destinations
    (20, 2, true),   // VLAN
    (21, 1, true),   // its priority
    (22, 1, false),  // number of cipher suites
    (23, 17, false), // their numbers
    (24, 9, true),   // their privilege levels
    (26, 6, true),   // threshold of bad passwords
];

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Lan(BTreeMap<u8, Vec<u8>>);

impl Lan {
    /// The value of a parameter.
    pub(super) fn get(&self, parameter: u8, identity: &Identity, personality: &Personality) -> Result<Vec<u8>, u8> {
        let (_, length, _) = find(parameter)?;
        let written = self.0.get(&parameter).cloned();
        Ok(written.or_else(|| delivered(parameter, identity, personality)).unwrap_or_else(|| vec![0; length]))
    }

    /// Writes a parameter.
    pub(super) fn set(&mut self, parameter: u8, value: &[u8]) -> Result<(), u8> {
        let (_, length, writable) = find(parameter)?;
        if !writable {
            return Err(code::READ_ONLY);
        }
        if value.len() != length {
            return Err(code::LENGTH);
        }
        self.0.insert(parameter, value.to_vec());
        Ok(())
    }
}

fn find(parameter: u8) -> Result<(u8, usize, bool), u8> {
    PARAMETERS.iter().copied().find(|(number, ..)| *number == parameter).ok_or(code::NO_PARAMETER)
}

/// What is not all zeros from the start.
fn delivered(parameter: u8, identity: &Identity, personality: &Personality) -> Option<Vec<u8>> {
    let suites = &personality.ipmi.cipher_suites;
    match parameter {
        3 => Some(identity.address.octets().to_vec()),
        // Static.
        4 => Some(vec![1]),
        5 => Some(identity.mac.0.to_vec()),
        6 => Some(vec![255, 0, 0, 0]),
        7 => Some(vec![64, 0x40, 0x10]),
        8 => Some(vec![0x6f, 0x02]),
        // Answers ARP.
        10 => Some(vec![2]),
        11 => Some(vec![3]),
        16 => Some(padded(b"public", 18)),
        22 => Some(vec![u8::try_from(suites.len()).unwrap_or(16)]),
        23 => Some(padded(&[&[0], suites.as_slice()].concat(), 17)),
        24 => Some(levels(suites.len())),
        26 => personality.accounts.lockout.as_ref().map(|rules| {
            let tens = |secs: u64| u16::try_from(secs.div_ceil(10)).unwrap_or(u16::MAX).to_le_bytes();
            let attempts = u8::try_from(rules.attempts).unwrap_or(u8::MAX);
            [&[0, attempts][..], &tens(rules.window_secs), &tens(rules.penalty_secs)].concat()
        }),
        _ => None,
    }
}

/// Administrator for each suite offered, a nibble each behind a reserved byte.
fn levels(suites: usize) -> Vec<u8> {
    let mut bytes = vec![0; 9];
    for suite in 0..suites.min(16) {
        bytes[1 + suite / 2] |= 4 << (suite % 2 * 4);
    }
    bytes
}

fn padded(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(length, 0);
    padded
}
