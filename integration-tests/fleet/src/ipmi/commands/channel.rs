//! Channels and the LAN (IPMI 2.0 sections 22.13 to 22.25 and 23).

use super::{Answer, Call, code};
use crate::{
    accounts::Privilege,
    ipmi::{crypto::Suite, lan, server::Server},
};

/// "The channel that this comes by."
const PRESENT: u8 = 0x0e;
const SYSTEM_INTERFACE: u8 = 0x0f;
const IPMB: u8 = 0x00;
/// IANA number of the IPMI forum, which owns the protocols.
const FORUM: [u8; 3] = [0xf2, 0x1b, 0x00];

/// Bits and privilege limit of the LAN channel.
#[derive(Clone, Copy, Debug)]
struct Settings {
    bits: u8,
    limit: Privilege,
}

/// Access to the LAN channel, as it is and as it will be after a reset.
#[derive(Debug)]
pub(in crate::ipmi) struct ChannelAccess {
    volatile: Settings,
    stored: Settings,
}

impl Default for ChannelAccess {
    fn default() -> Self {
        // Always available; alerting is off.
        let settings = Settings { bits: 0x22, limit: Privilege::Administrator };
        Self { volatile: settings, stored: settings }
    }
}

impl ChannelAccess {
    pub(in crate::ipmi) const fn limit(&self) -> Privilege {
        self.volatile.limit
    }

    /// Does it take new sessions?
    pub(in crate::ipmi) const fn is_open(&self) -> bool {
        self.volatile.bits & 0x07 != 0
    }

    pub(super) const fn reset(&mut self) {
        self.volatile = self.stored;
    }
}

impl Server {
    /// Checks that a channel is the LAN channel.
    pub(super) fn lan_channel(&self, channel: u8) -> Result<(), u8> {
        let channel = channel & 0x0f;
        let known = channel == PRESENT || channel == self.personality.ipmi.lan_channel;
        if known { Ok(()) } else { Err(code::INVALID_FIELD) }
    }
}

/// Get Channel Authentication Capabilities: IPMI 2.0 sessions only, users with names only, no K_g.
pub(super) fn authentication_capabilities(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[channel, level, ..] = call.data else { return Err(code::LENGTH) };
    server.lan_channel(channel)?;
    if !(1..=5).contains(&(level & 0x0f)) {
        return Err(code::INVALID_FIELD);
    }
    let extended = channel & 0x80;
    let versions = if extended == 0 { 0x00 } else { 0x02 };
    Ok(vec![server.personality.ipmi.lan_channel, extended, 0x04, versions, 0, 0, 0, 0])
}

/// Get Channel Cipher Suites, sixteen bytes of the list at a time.
pub(super) fn cipher_suites(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[channel, _payload, index, ..] = call.data else { return Err(code::LENGTH) };
    server.lan_channel(channel)?;
    let suites: Vec<_> = server.personality.ipmi.cipher_suites.iter().filter_map(|n| Suite::from_number(*n)).collect();
    let marked = |suite: &Suite| {
        let [a, i, c] = suite.algorithms();
        [a, 0x40 | i, 0x80 | c]
    };
    let list: Vec<u8> = if index & 0x80 == 0 {
        let mut algorithms: Vec<_> = suites.iter().flat_map(marked).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        algorithms
    } else {
        suites.iter().flat_map(|suite| [&[0xc0, suite.number()][..], &marked(suite)].concat()).collect()
    };
    let part = list.chunks(16).nth(usize::from(index & 0x3f)).unwrap_or_default();
    Ok([&[server.personality.ipmi.lan_channel][..], part].concat())
}

/// Set Channel Access.
pub(super) fn set_access(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[channel, bits, limit, ..] = call.data else { return Err(code::LENGTH) };
    server.lan_channel(channel)?;
    // Disabled, always available, or shared: there is no "before boot" on a LAN channel.
    if bits >> 6 != 0 && !matches!(bits & 0x07, 0 | 2 | 3) {
        return Err(code::ACCESS_MODE);
    }
    let access = &mut server.channel;
    match bits >> 6 {
        0 => {}
        1 => access.stored.bits = bits & 0x3f,
        2 => access.volatile.bits = bits & 0x3f,
        _ => return Err(code::INVALID_FIELD),
    }
    let level =
        || Privilege::from_number(limit & 0x0f).filter(|p| *p != Privilege::NoAccess).ok_or(code::INVALID_FIELD);
    match limit >> 6 {
        0 => {}
        1 => access.stored.limit = level()?,
        2 => access.volatile.limit = level()?,
        _ => return Err(code::INVALID_FIELD),
    }
    Ok(Vec::new())
}

/// Get Channel Access.
pub(super) fn get_access(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[channel, which, ..] = call.data else { return Err(code::LENGTH) };
    server.lan_channel(channel)?;
    let settings = match which >> 6 {
        1 => server.channel.stored,
        2 => server.channel.volatile,
        _ => return Err(code::INVALID_FIELD),
    };
    Ok(vec![settings.bits, settings.limit as u8])
}

/// Get Channel Info: number, medium, protocol, sessions.
pub(super) fn info(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[channel, ..] = call.data else { return Err(code::LENGTH) };
    let lan = server.personality.ipmi.lan_channel;
    let active = u8::try_from(server.session_count()).unwrap_or(0x3f);
    let head = match channel & 0x0f {
        SYSTEM_INTERFACE => [SYSTEM_INTERFACE, 0x0c, 0x05, 0x00],
        IPMB => [IPMB, 0x01, 0x01, 0x00],
        other => {
            server.lan_channel(other)?;
            [lan, 0x04, 0x01, 0x80 | active & 0x3f]
        }
    };
    Ok([&head[..], &FORUM, &[0, 0]].concat())
}

/// Set LAN Configuration Parameters.
pub(super) fn set_lan(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[channel, parameter, ref value @ ..] = call.data else { return Err(code::LENGTH) };
    server.lan_channel(channel)?;
    server.lan.set(parameter, value)?;
    Ok(Vec::new())
}

/// Get LAN Configuration Parameters.
pub(super) fn get_lan(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[channel, parameter, _set, _block, ..] = call.data else { return Err(code::LENGTH) };
    server.lan_channel(channel)?;
    let value = server.lan.get(parameter, &server.identity, &server.personality)?;
    let revision_only = channel & 0x80 != 0;
    Ok(if revision_only { vec![lan::REVISION] } else { [&[lan::REVISION][..], &value].concat() })
}
