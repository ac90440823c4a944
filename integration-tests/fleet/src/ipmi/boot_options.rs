//! System boot options, parameters 0 to 6 (IPMI 2.0 section 28.12 to 28.14).
//!
//! The override itself is the chassis's, which both faces of the BMC and the firmware see. Here is kept what only IPMI knows:
//! the bytes as they were written, as long as nobody else has changed the override.

use std::time::{Duration, Instant};

use super::commands::{Answer, code};
use crate::{
    chassis::{BootOverride, BootTarget, Chassis},
    personality::IpmiTraits,
};

const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;
const EFI: u8 = 0x20;
const EXPIRES: Duration = Duration::from_secs(60);
/// Of the parameter "valid bit clearing": do not clear it although no chassis control follows within 60 s.
const KEEP_WITHOUT_CONTROL: u8 = 0x08;

/// What is kept of the boot options.
#[derive(Debug, Default)]
pub(super) struct BootOptions {
    /// Session that has set "in progress".
    in_progress: Option<u32>,
    partition: u8,
    scan: u8,
    clearing: u8,
    acknowledged: u8,
    initiator: [u8; 9],
    flags: [u8; 5],
    /// Of the override that `flags` are about.
    generation: u64,
    expires: Option<Instant>,
    /// A bit for each parameter that was marked invalid.
    invalid: u8,
}

impl BootOptions {
    /// Get System Boot Options.
    pub(super) fn get(&self, data: &[u8], chassis: &Chassis) -> Answer {
        let &[parameter, _set, _block, ..] = data else { return Err(code::LENGTH) };
        let parameter = parameter & 0x7f;
        let value = match parameter {
            0 => vec![u8::from(self.in_progress.is_some())],
            1 => vec![self.partition],
            2 => vec![self.scan],
            3 => vec![self.clearing],
            4 => vec![0, self.acknowledged],
            5 => self.flags(chassis).to_vec(),
            6 => self.initiator.to_vec(),
            _ => return Err(code::NO_PARAMETER),
        };
        let invalid = (self.invalid >> parameter & 1) << 7;
        Ok([&[0x01, invalid | parameter][..], &value].concat())
    }

    /// Set System Boot Options.
    pub(super) fn set(
        &mut self,
        data: &[u8],
        session: u32,
        chassis: &Chassis,
        traits: &IpmiTraits,
        now: Instant,
    ) -> Answer {
        let (&selector, value) = data.split_first().ok_or(code::LENGTH)?;
        let parameter = selector & 0x7f;
        if parameter > 6 {
            return Err(code::NO_PARAMETER);
        }
        let bit = 1 << parameter;
        self.invalid = if selector & 0x80 == 0 { self.invalid & !bit } else { self.invalid | bit };
        match (parameter, value) {
            // Without a value this only marks the parameter.
            (_, []) => {}
            (0, [progress, ..]) => self.set_in_progress(*progress & 3, session)?,
            (1, [byte, ..]) => self.partition = *byte,
            (2, [byte, ..]) => self.scan = *byte & 3,
            (3, [byte, ..]) => self.clearing = *byte & 0x1f,
            (4, [mask, byte, ..]) => self.acknowledged = self.acknowledged & !mask | byte & mask,
            (5, [a, b, c, d, e]) => self.set_flags([*a, *b, *c, *d, *e], chassis, traits, now)?,
            (6, bytes) => self.initiator = bytes.try_into().map_err(|_| code::LENGTH)?,
            _ => return Err(code::LENGTH),
        }
        Ok(Vec::new())
    }

    fn set_in_progress(&mut self, progress: u8, session: u32) -> Result<(), u8> {
        match (progress, self.in_progress) {
            (1, Some(other)) if other != session => return Err(code::IN_PROGRESS),
            (1, _) => self.in_progress = Some(session),
            _ => self.in_progress = None,
        }
        Ok(())
    }

    fn set_flags(
        &mut self,
        mut flags: [u8; 5],
        chassis: &Chassis,
        traits: &IpmiTraits,
        now: Instant,
    ) -> Result<(), u8> {
        let device = flags[1] >> 2 & 0x0f;
        let target = target(device)?;
        if !traits.keeps_efi_bit {
            flags[0] &= !EFI;
        }
        let [bits, ..] = flags;
        let next = target.filter(|_| bits & VALID != 0).map(|target| BootOverride {
            target,
            persistent: bits & PERSISTENT != 0,
            uefi: bits & EFI != 0,
            http_uri: None,
        });
        let expiring = traits.boot_flags_expire && self.clearing & KEEP_WITHOUT_CONTROL == 0 && bits & VALID != 0;
        self.expires = expiring.then(|| now + EXPIRES);
        self.flags = flags;
        self.generation = chassis.set_boot(next);
        Ok(())
    }

    fn flags(&self, chassis: &Chassis) -> [u8; 5] {
        match chassis.boot() {
            (_, generation) if generation == self.generation => self.flags,
            (Some(set), _) => bytes(&set),
            (None, _) => [0; 5],
        }
    }

    /// A chassis control command: what was to be obeyed within 60 s may stay now.
    pub(super) const fn controlled(&mut self) {
        self.expires = None;
    }

    /// A session has ended; it does not set anything any more.
    pub(super) fn session_ended(&mut self, alive: impl Fn(u32) -> bool) {
        self.in_progress = self.in_progress.filter(|session| alive(*session));
    }

    /// Forgets flags that no command followed.
    pub(super) fn expire(&mut self, chassis: &Chassis, now: Instant) {
        if self.expires.is_some_and(|at| at <= now) {
            self.expires = None;
            if chassis.boot().1 == self.generation {
                self.flags[0] &= !VALID;
                self.generation = chassis.set_boot(None);
            }
        }
    }

    /// When flags are to be forgotten.
    pub(super) const fn next_end(&self) -> Option<Instant> {
        self.expires
    }
}

/// Table 28-14, boot device selector.
const fn target(device: u8) -> Result<Option<BootTarget>, u8> {
    match device {
        0x0 => Ok(None),
        0x1 => Ok(Some(BootTarget::Network)),
        0x2 => Ok(Some(BootTarget::Disk)),
        0x3 => Ok(Some(BootTarget::SafeDisk)),
        0x4 => Ok(Some(BootTarget::Diagnostics)),
        0x5 => Ok(Some(BootTarget::Cdrom)),
        0x6 => Ok(Some(BootTarget::Setup)),
        0x7 | 0x8 | 0x9 | 0xb | 0xf => Ok(Some(BootTarget::Media)),
        _ => Err(code::INVALID_FIELD),
    }
}

/// An override that somebody else has set, as IPMI shows it.
fn bytes(set: &BootOverride) -> [u8; 5] {
    let device = match set.target {
        BootTarget::Network | BootTarget::Http => 0x1,
        BootTarget::Disk => 0x2,
        BootTarget::SafeDisk => 0x3,
        BootTarget::Diagnostics => 0x4,
        BootTarget::Cdrom => 0x5,
        BootTarget::Setup => 0x6,
        BootTarget::Media => 0xf,
    };
    let persistent = if set.persistent { PERSISTENT } else { 0 };
    let efi = if set.uefi { EFI } else { 0 };
    [VALID | persistent | efi, device << 2, 0, 0, 0]
}
