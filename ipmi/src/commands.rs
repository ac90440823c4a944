//! The commands that `ipmi-rs-core` lacks (IPMI 2.0 chapters 22 and 28), as its `IpmiCommand`.

use farrier_common::{
    hardware::{BootDevice, PowerState},
    secret::Secret,
};
use ipmi_rs_core::connection::{IpmiCommand, Message, NetFn, NotEnoughData};

/// The name of a command in the specification, for texts.
#[must_use]
pub const fn name(netfn: u8, cmd: u8) -> &'static str {
    match (netfn & !1, cmd) {
        (0, 0x01) => "Get Chassis Status",
        (0, 0x02) => "Chassis Control",
        (0, 0x08) => "Set System Boot Options",
        (0, 0x09) => "Get System Boot Options",
        (10, 0x40) => "Get SEL Info",
        (10, 0x43) => "Get SEL Entry",
        (6, 0x01) => "Get Device ID",
        (6, 0x02) => "Cold Reset",
        (6, 0x38) => "Get Channel Authentication Capabilities",
        (6, 0x3b) => "Set Session Privilege Level",
        (6, 0x3c) => "Close Session",
        (6, 0x42) => "Get Channel Info",
        (6, 0x43) => "Set User Access",
        (6, 0x44) => "Get User Access",
        (6, 0x45) => "Set User Name",
        (6, 0x46) => "Get User Name",
        (6, 0x47) => "Set User Password",
        _ => "a command",
    }
}

/// What a completion code means (IPMI 2.0 table 5-2); codes of single commands are given their number only.
#[must_use]
pub const fn completion(code: u8) -> &'static str {
    match code {
        0xc0 => "node busy",
        0xc1 => "invalid command",
        0xc2 => "command invalid for this LUN",
        0xc3 => "time-out while processing",
        0xc4 => "out of space",
        0xc5 => "reservation cancelled",
        0xc6 => "request data truncated",
        0xc7 => "request data length invalid",
        0xc8 => "request data field too long",
        0xc9 => "parameter out of range",
        0xcb => "no such sensor, data or record",
        0xcc => "invalid data field in request",
        0xce => "no response could be provided",
        0xcf => "duplicate request",
        0xd0..=0xd2 => "firmware update or initialisation in progress",
        0xd3 => "destination unavailable",
        0xd4 => "insufficient privilege",
        0xd5 => "not possible in the present state",
        0xd6 => "sub-function disabled",
        0xff => "unspecified error",
        _ => "a code of this command",
    }
}

/// Commands whose answer carries nothing but the completion code.
macro_rules! without_answer {
    ($($command:ty),*) => { $(
        impl IpmiCommand for $command {
            type Output = ();
            type Error = NotEnoughData;

            fn parse_success_response(_: &[u8]) -> Result<(), NotEnoughData> {
                Ok(())
            }
        }
    )* };
}

without_answer!(
    ChassisControl,
    SoftShutdown,
    SetBootFlags,
    SetBootParameter,
    SetUserName,
    SetUserPassword,
    SetUserAccess,
    CloseSession,
    ColdReset
);

/// Get Chassis Status (28.2), of which only the power is kept.
#[derive(Clone, Copy, Debug)]
pub struct GetChassisStatus;

impl From<GetChassisStatus> for Message {
    fn from(_: GetChassisStatus) -> Self {
        Self::new_request(NetFn::Chassis, 0x01, Vec::new())
    }
}

impl IpmiCommand for GetChassisStatus {
    type Output = PowerState;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<PowerState, NotEnoughData> {
        let power = *data.first().ok_or(NotEnoughData)?;
        Ok(if power & 1 == 0 { PowerState::Off } else { PowerState::On })
    }
}

/// Chassis Control (28.3): switches the power, hard.
#[derive(Clone, Copy, Debug)]
pub struct ChassisControl(pub PowerState);

impl From<ChassisControl> for Message {
    fn from(ChassisControl(wanted): ChassisControl) -> Self {
        let action = match wanted {
            PowerState::Off => 0,
            PowerState::On => 1,
        };
        Self::new_request(NetFn::Chassis, 0x02, vec![action])
    }
}

/// Chassis Control (28.3): soft shutdown by ACPI.
#[derive(Clone, Copy, Debug)]
pub struct SoftShutdown;

impl From<SoftShutdown> for Message {
    fn from(_: SoftShutdown) -> Self {
        Self::new_request(NetFn::Chassis, 0x02, vec![5])
    }
}

/// The device selector of the boot flags (table 28-14, parameter 5).
#[must_use]
pub const fn selector(device: BootDevice) -> u8 {
    match device {
        BootDevice::Network => 1,
        BootDevice::Disk => 2,
    }
}

/// Set System Boot Options (28.12), parameter 5: the flags for the next boot only.
#[derive(Clone, Copy, Debug)]
pub struct SetBootFlags {
    /// What to boot.
    pub device: BootDevice,
    /// Boot it in UEFI mode.
    pub uefi: bool,
}

impl From<SetBootFlags> for Message {
    fn from(flags: SetBootFlags) -> Self {
        let valid_once = 0x80 | if flags.uefi { 0x20 } else { 0 };
        Self::new_request(NetFn::Chassis, 0x08, vec![5, valid_once, selector(flags.device) << 2, 0, 0, 0])
    }
}

/// Set System Boot Options (28.12), any other parameter.
#[derive(Clone, Debug)]
pub struct SetBootParameter(pub u8, pub Vec<u8>);

impl From<SetBootParameter> for Message {
    fn from(SetBootParameter(number, value): SetBootParameter) -> Self {
        let mut data = vec![number];
        data.extend(value);
        Self::new_request(NetFn::Chassis, 0x08, data)
    }
}

/// Get System Boot Options (28.13), parameter 5; answers the device selector.
#[derive(Clone, Copy, Debug)]
pub struct GetBootSelector;

impl From<GetBootSelector> for Message {
    fn from(_: GetBootSelector) -> Self {
        Self::new_request(NetFn::Chassis, 0x09, vec![5, 0, 0])
    }
}

impl IpmiCommand for GetBootSelector {
    type Output = u8;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<u8, NotEnoughData> {
        // Parameter version, parameter selector, then the flags.
        data.get(3).map(|byte| byte >> 2 & 0x0f).ok_or(NotEnoughData)
    }
}

/// Set User Name (22.28). An empty name frees the slot.
#[derive(Clone, Debug)]
pub struct SetUserName {
    /// User id.
    pub slot: u8,
    /// At most 16 bytes; more are cut off, so check before.
    pub name: String,
}

impl From<SetUserName> for Message {
    fn from(command: SetUserName) -> Self {
        let mut data = vec![command.slot & 0x3f];
        data.extend(padded::<16>(command.name.as_bytes()));
        Self::new_request(NetFn::App, 0x45, data)
    }
}

/// Get User Name (22.29).
#[derive(Clone, Copy, Debug)]
pub struct GetUserName(pub u8);

impl From<GetUserName> for Message {
    fn from(GetUserName(slot): GetUserName) -> Self {
        Self::new_request(NetFn::App, 0x46, vec![slot & 0x3f])
    }
}

impl IpmiCommand for GetUserName {
    type Output = String;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<String, NotEnoughData> {
        let name = data.get(..16).ok_or(NotEnoughData)?;
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        Ok(String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned())
    }
}

/// What Set User Password (22.30) does.
#[derive(Clone, Debug)]
pub enum PasswordOperation {
    /// Disables the user.
    Disable,
    /// Enables the user.
    Enable,
    /// Sets the password.
    Set(Secret<String>),
    /// Compares the password with the one stored; a difference is completion code 0x80 or 0x81.
    Test(Secret<String>),
}

/// Set User Password (22.30): the 16-byte form, unless the password needs the 20-byte form of IPMI 2.0.
#[derive(Clone, Debug)]
pub struct SetUserPassword {
    /// User id.
    pub slot: u8,
    /// What to do.
    pub operation: PasswordOperation,
}

impl From<SetUserPassword> for Message {
    fn from(command: SetUserPassword) -> Self {
        let (operation, password) = match &command.operation {
            PasswordOperation::Disable => (0, None),
            PasswordOperation::Enable => (1, None),
            PasswordOperation::Set(password) => (2, Some(password.expose().as_bytes())),
            PasswordOperation::Test(password) => (3, Some(password.expose().as_bytes())),
        };
        let slot = command.slot & 0x3f;
        let mut data = Vec::with_capacity(22);
        match password {
            None => data.extend([slot, operation]),
            Some(short) if short.len() <= 16 => {
                data.extend([slot, operation]);
                data.extend(padded::<16>(short));
            }
            Some(long) => {
                data.extend([slot | 0x80, operation]);
                data.extend(padded::<20>(long));
            }
        }
        Self::new_request(NetFn::App, 0x47, data)
    }
}

/// Set User Access (22.26): what the user may on one channel.
#[derive(Clone, Copy, Debug)]
pub struct SetUserAccess {
    /// Channel number.
    pub channel: u8,
    /// User id.
    pub slot: u8,
    /// May open IPMI sessions.
    pub messaging: bool,
    /// Highest privilege; 15 is "no access".
    pub privilege: u8,
}

impl From<SetUserAccess> for Message {
    fn from(command: SetUserAccess) -> Self {
        let flags = 0x80 | if command.messaging { 0x10 } else { 0 } | command.channel & 0x0f;
        Self::new_request(NetFn::App, 0x43, vec![flags, command.slot & 0x3f, command.privilege & 0x0f, 0])
    }
}

/// Get User Access (22.27).
#[derive(Clone, Copy, Debug)]
pub struct GetUserAccess {
    /// Channel number.
    pub channel: u8,
    /// User id.
    pub slot: u8,
}

/// A user's rights on one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserAccess {
    /// Highest user id of the BMC.
    pub slots: u8,
    /// Is the user enabled? Old BMCs do not say.
    pub enabled: Option<bool>,
    /// May open IPMI sessions.
    pub messaging: bool,
    /// Highest privilege; 15 is "no access".
    pub privilege: u8,
    /// The whole byte of flags and privilege, to compare.
    pub raw: u8,
}

impl From<GetUserAccess> for Message {
    fn from(command: GetUserAccess) -> Self {
        Self::new_request(NetFn::App, 0x44, vec![command.channel & 0x0f, command.slot & 0x3f])
    }
}

impl IpmiCommand for GetUserAccess {
    type Output = UserAccess;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<UserAccess, NotEnoughData> {
        let [slots, count, _fixed, raw, ..] = *data else { return Err(NotEnoughData) };
        let enabled = match count >> 6 {
            1 => Some(true),
            2 => Some(false),
            _ => None,
        };
        Ok(UserAccess { slots: slots & 0x3f, enabled, messaging: raw & 0x10 != 0, privilege: raw & 0x0f, raw })
    }
}

/// Set Session Privilege Level (22.18). A session starts at user level; answers the level that it has now.
#[derive(Clone, Copy, Debug)]
pub struct SetSessionPrivilege(pub u8);

impl From<SetSessionPrivilege> for Message {
    fn from(SetSessionPrivilege(level): SetSessionPrivilege) -> Self {
        Self::new_request(NetFn::App, 0x3b, vec![level & 0x0f])
    }
}

impl IpmiCommand for SetSessionPrivilege {
    type Output = u8;
    type Error = NotEnoughData;

    fn parse_success_response(data: &[u8]) -> Result<u8, NotEnoughData> {
        data.first().map(|level| level & 0x0f).ok_or(NotEnoughData)
    }
}

/// Close Session (22.19), by the BMC's id of it.
#[derive(Clone, Copy, Debug)]
pub struct CloseSession(pub u32);

impl From<CloseSession> for Message {
    fn from(CloseSession(id): CloseSession) -> Self {
        Self::new_request(NetFn::App, 0x3c, id.to_le_bytes().to_vec())
    }
}

/// Cold Reset (20.2): the BMC starts anew.
#[derive(Clone, Copy, Debug)]
pub struct ColdReset;

impl From<ColdReset> for Message {
    fn from(_: ColdReset) -> Self {
        Self::new_request(NetFn::App, 0x02, Vec::new())
    }
}

fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(text) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(command: impl Into<Message>) -> Vec<u8> {
        command.into().data().to_vec()
    }

    #[test]
    fn requests_are_laid_out_as_the_specification_says() {
        assert_eq!(bytes(SetBootFlags { device: BootDevice::Network, uefi: true }), [5, 0xa0, 4, 0, 0, 0]);
        assert_eq!(bytes(SetBootFlags { device: BootDevice::Disk, uefi: false }), [5, 0x80, 8, 0, 0, 0]);
        assert_eq!(bytes(SetUserAccess { channel: 1, slot: 3, messaging: true, privilege: 4 }), [0x91, 3, 4, 0]);
        let set = |text: &str| SetUserPassword { slot: 3, operation: PasswordOperation::Set(text.to_owned().into()) };
        let short = bytes(set("0123456789abcdef"));
        assert_eq!((short.len(), &short[..2]), (18, &[3, 2][..]));
        let long = bytes(set("0123456789abcdefg"));
        assert_eq!((long.len(), &long[..2]), (22, &[0x83, 2][..]));
    }

    proptest! {
        #[test]
        fn parsing_answers_never_panics(data: Vec<u8>) {
            let _ = GetChassisStatus::parse_success_response(&data);
            let _ = GetBootSelector::parse_success_response(&data);
            let _ = GetUserName::parse_success_response(&data);
            let _ = GetUserAccess::parse_success_response(&data);
            let _ = SetSessionPrivilege::parse_success_response(&data);
            let _ = ipmi_rs_core::app::GetDeviceId::parse_success_response(&data);
            let _ = ipmi_rs_core::app::GetChannelInfo::parse_success_response(&data);
        }
    }
}
