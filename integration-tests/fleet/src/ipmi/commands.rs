//! The commands: which there are, who may use them, and what they answer.

mod channel;
mod chassis;
mod global;
mod sel;
mod storage;
mod system;
mod users;

use std::time::Instant;

pub(super) use self::{channel::ChannelAccess, chassis::Panel};
use super::{faults::Effects, server::Server, wire::Message};
use crate::accounts::{AccountError, Privilege};

/// Data, or a completion code other than 0.
pub(super) type Answer = Result<Vec<u8>, u8>;

/// Completion codes (IPMI 2.0 table 5-2 and the commands' own).
pub(super) mod code {
    pub(in crate::ipmi) const OK: u8 = 0x00;
    /// Data not available; parameter not supported; password does not match; a level that this user does not have.
    pub(in crate::ipmi) const NO_DATA: u8 = 0x80;
    pub(in crate::ipmi) const NO_PARAMETER: u8 = 0x80;
    pub(in crate::ipmi) const WRONG_PASSWORD: u8 = 0x80;
    pub(in crate::ipmi) const LEVEL_OF_USER: u8 = 0x80;
    /// Somebody else is setting; password of the other form; a level that the channel does not have.
    pub(in crate::ipmi) const IN_PROGRESS: u8 = 0x81;
    pub(in crate::ipmi) const WRONG_FORM: u8 = 0x81;
    pub(in crate::ipmi) const LEVEL_OF_CHANNEL: u8 = 0x81;
    pub(in crate::ipmi) const READ_ONLY: u8 = 0x82;
    pub(in crate::ipmi) const ACCESS_MODE: u8 = 0x83;
    pub(in crate::ipmi) const NO_SESSION: u8 = 0x87;
    pub(in crate::ipmi) const INVALID_COMMAND: u8 = 0xc1;
    pub(in crate::ipmi) const SPACE: u8 = 0xc4;
    pub(in crate::ipmi) const LENGTH: u8 = 0xc7;
    pub(in crate::ipmi) const RANGE: u8 = 0xc9;
    pub(in crate::ipmi) const NOT_PRESENT: u8 = 0xcb;
    pub(in crate::ipmi) const INVALID_FIELD: u8 = 0xcc;
    pub(in crate::ipmi) const PRIVILEGE: u8 = 0xd4;
    pub(in crate::ipmi) const NOT_NOW: u8 = 0xd5;
}

/// A command that is to be carried out.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) netfn: u8,
    pub(super) command: u8,
    pub(super) data: &'a [u8],
    /// The session that it came in.
    pub(super) session: Option<u32>,
    pub(super) level: Privilege,
    pub(super) effects: Effects,
    pub(super) now: Instant,
}

/// How a command is carried out.
type Run = fn(&mut Server, &Call<'_>) -> Answer;

const APP: u8 = 0x06;
const CHASSIS: u8 = 0x00;
const STORAGE: u8 = 0x0a;
const TRANSPORT: u8 = 0x0c;

/// Every command with the level that it needs (IPMI 2.0 appendix G).
const COMMANDS: &[(u8, u8, Privilege, Run)] = &[
    (APP, 0x01, Privilege::User, global::device_id),
    (APP, 0x02, Privilege::Administrator, global::cold_reset),
    (APP, 0x04, Privilege::User, global::self_test),
    (APP, 0x08, Privilege::User, global::guid),
    (APP, 0x37, Privilege::User, global::guid),
    (APP, 0x38, Privilege::Callback, channel::authentication_capabilities),
    (APP, 0x3b, Privilege::Callback, global::set_privilege),
    (APP, 0x3c, Privilege::Callback, global::close_session),
    (APP, 0x3d, Privilege::User, global::session_info),
    (APP, 0x40, Privilege::Administrator, channel::set_access),
    (APP, 0x41, Privilege::User, channel::get_access),
    (APP, 0x42, Privilege::User, channel::info),
    (APP, 0x43, Privilege::Administrator, users::set_access),
    (APP, 0x44, Privilege::Operator, users::get_access),
    (APP, 0x45, Privilege::Administrator, users::set_name),
    (APP, 0x46, Privilege::Operator, users::get_name),
    (APP, 0x47, Privilege::Administrator, users::set_password),
    (APP, 0x54, Privilege::Callback, channel::cipher_suites),
    (CHASSIS, 0x00, Privilege::User, chassis::capabilities),
    (CHASSIS, 0x01, Privilege::User, chassis::status),
    (CHASSIS, 0x02, Privilege::Operator, chassis::control),
    (CHASSIS, 0x04, Privilege::Operator, chassis::identify),
    (CHASSIS, 0x06, Privilege::Operator, chassis::set_restore_policy),
    (CHASSIS, 0x07, Privilege::User, chassis::restart_cause),
    (CHASSIS, 0x08, Privilege::Operator, chassis::set_boot_options),
    (CHASSIS, 0x09, Privilege::Operator, chassis::get_boot_options),
    (CHASSIS, 0x0f, Privilege::User, chassis::power_on_hours),
    (STORAGE, 0x10, Privilege::User, storage::fru_info),
    (STORAGE, 0x11, Privilege::User, storage::fru_read),
    (STORAGE, 0x20, Privilege::User, storage::sdr_info),
    (STORAGE, 0x22, Privilege::User, storage::reserve),
    (STORAGE, 0x23, Privilege::User, storage::sdr_read),
    (STORAGE, 0x40, Privilege::User, sel::info),
    (STORAGE, 0x41, Privilege::User, sel::allocation),
    (STORAGE, 0x42, Privilege::User, storage::reserve),
    (STORAGE, 0x43, Privilege::User, sel::read),
    (STORAGE, 0x44, Privilege::Operator, sel::add),
    (STORAGE, 0x46, Privilege::Operator, sel::delete),
    (STORAGE, 0x47, Privilege::Operator, sel::clear),
    (TRANSPORT, 0x01, Privilege::Administrator, channel::set_lan),
    (TRANSPORT, 0x02, Privilege::Operator, channel::get_lan),
];

/// What only the machine itself may ask (IPMI 2.0 appendix G, "system interface only"), all of [`APP`].
const FROM_MACHINE: &[(u8, Run)] = &[
    (0x2e, system::set_enables),
    (0x2f, system::get_enables),
    (0x30, system::clear_flags),
    (0x31, system::get_flags),
    (0x33, system::no_data),
    (0x35, system::no_data),
];

/// What is answered outside of a session.
const OUTSIDE: [u8; 3] = [0x37, 0x38, 0x54];

impl<'a> Call<'a> {
    pub(super) const fn new(
        message: &Message<'a>,
        session: Option<u32>,
        level: Privilege,
        effects: Effects,
        now: Instant,
    ) -> Self {
        let (netfn, command, data) = (message.netfn, message.command, message.data);
        Self { netfn, command, data, session, level, effects, now }
    }
}

/// A command outside of a session; `None` is silence.
pub(super) fn outside(server: &mut Server, call: &Call<'_>) -> Option<Answer> {
    let (.., run) = find(call).filter(|_| call.netfn == APP && OUTSIDE.contains(&call.command))?;
    Some(run(server, call))
}

/// A command inside a session.
pub(super) fn inside(server: &mut Server, call: &Call<'_>) -> Answer {
    let (.., needed, run) = find(call).ok_or(code::INVALID_COMMAND)?;
    if !call.level.reaches(*needed) {
        return Err(code::PRIVILEGE);
    }
    if call.effects.idle { Ok(Vec::new()) } else { run(server, call) }
}

/// A command from the machine itself: everything is allowed.
pub(super) fn from_machine(server: &mut Server, call: &Call<'_>) -> Answer {
    let own = FROM_MACHINE.iter().find(|(command, _)| (call.netfn, call.command) == (APP, *command));
    match own {
        Some((_, run)) => run(server, call),
        None => inside(server, call),
    }
}

fn find(call: &Call<'_>) -> Option<&'static (u8, u8, Privilege, Run)> {
    COMMANDS.iter().find(|(netfn, command, ..)| (*netfn, *command) == (call.netfn, call.command))
}

/// What IPMI says when the accounts refuse.
fn refused(error: &AccountError) -> u8 {
    match error {
        AccountError::NoSuchSlot(_) => code::RANGE,
        AccountError::NotYet(_) => code::NOT_NOW,
        AccountError::Wrong | AccountError::LockedOut => code::WRONG_PASSWORD,
        AccountError::WrongForm => code::WRONG_FORM,
        AccountError::FixedSlot(_)
        | AccountError::BadName
        | AccountError::NameTaken
        | AccountError::Full
        | AccountError::Password(_) => code::INVALID_FIELD,
    }
}
