//! The BMC itself, and its sessions (IPMI 2.0 sections 20 and 22).

use std::net::IpAddr;

use super::{Answer, Call, code};
use crate::{accounts::Privilege, ipmi::server::Server};

/// Get Device ID.
pub(super) fn device_id(server: &mut Server, _: &Call<'_>) -> Answer {
    let traits = &server.personality.ipmi;
    let [major, minor] = traits.firmware;
    // Revision 1; chassis, FRU, SEL and SDR repository; no auxiliary revision.
    let mut answer = vec![traits.device_id, 0x01, major & 0x7f, minor, 0x02, 0x8e];
    answer.extend_from_slice(&traits.manufacturer_id.to_le_bytes()[..3]);
    answer.extend(traits.product_id.to_le_bytes());
    answer.extend([0; 4]);
    Ok(answer)
}

/// Cold Reset: sessions and volatile settings are gone; the chassis does not notice.
pub(super) fn cold_reset(server: &mut Server, call: &Call<'_>) -> Answer {
    server.channel.reset();
    server.sessions.clear_but(call.session);
    server.closing = call.session;
    Ok(Vec::new())
}

/// Get Self Test Results.
pub(super) fn self_test(_: &mut Server, _: &Call<'_>) -> Answer {
    Ok(vec![0x55, 0x00])
}

/// Get Device GUID and Get System GUID.
pub(super) fn guid(server: &mut Server, _: &Call<'_>) -> Answer {
    Ok(server.identity.guid.to_vec())
}

/// Set Session Privilege Level.
pub(super) fn set_privilege(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[asked, ..] = call.data else { return Err(code::LENGTH) };
    let limit = server.channel.limit();
    let live = call.session.and_then(|id| server.sessions.live(id)).ok_or(code::NO_SESSION)?;
    let level = match asked & 0x0f {
        0 => live.level,
        2..=5 => Privilege::from_number(asked & 0x0f).ok_or(code::INVALID_FIELD)?,
        _ => return Err(code::INVALID_FIELD),
    };
    if level > limit {
        return Err(code::LEVEL_OF_CHANNEL);
    }
    if level > live.role {
        return Err(code::LEVEL_OF_USER);
    }
    live.level = level;
    Ok(vec![level as u8])
}

/// Close Session: one's own, or as administrator any.
pub(super) fn close_session(server: &mut Server, call: &Call<'_>) -> Answer {
    let (id, rest) = call.data.split_first_chunk::<4>().ok_or(code::LENGTH)?;
    let id = match (u32::from_le_bytes(*id), rest) {
        (0, [handle, ..]) => {
            let established = server.sessions.established();
            established.iter().find(|(s, _)| s.handle == *handle).map(|(s, _)| s.id).ok_or(code::NO_SESSION)?
        }
        (id, _) => id,
    };
    let known = server.sessions.live(id).is_some();
    if !known {
        return Err(code::NO_SESSION);
    }
    if call.session == Some(id) {
        server.closing = Some(id);
    } else if call.level.reaches(Privilege::Administrator) {
        server.sessions.remove(id);
    } else {
        return Err(code::PRIVILEGE);
    }
    Ok(Vec::new())
}

/// Get Session Info.
pub(super) fn session_info(server: &mut Server, call: &Call<'_>) -> Answer {
    let (index, rest) = call.data.split_first().ok_or(code::LENGTH)?;
    let established = server.sessions.established();
    let most = u8::try_from(server.sessions.most()).unwrap_or(u8::MAX);
    let active = u8::try_from(established.len()).unwrap_or(u8::MAX);
    let found = match (index, rest) {
        (0, _) => established.iter().find(|(s, _)| Some(s.id) == call.session),
        (0xfe, [handle, ..]) => established.iter().find(|(s, _)| s.handle == *handle),
        (0xff, [a, b, c, d, ..]) => established.iter().find(|(s, _)| s.id == u32::from_le_bytes([*a, *b, *c, *d])),
        (0xfe | 0xff, _) => return Err(code::LENGTH),
        (nth, _) => established.get(usize::from(*nth) - 1),
    };
    let Some((session, live)) = found else { return Ok(vec![0, most, active]) };
    // IPMI 2.0 session on the LAN channel.
    let channel = 0x10 | server.personality.ipmi.lan_channel;
    let mut answer = vec![session.handle, most, active, live.slot, live.level as u8, channel];
    match session.peer.ip() {
        IpAddr::V4(address) => answer.extend(address.octets()),
        IpAddr::V6(_) => answer.extend([0; 4]),
    }
    answer.extend([0; 6]);
    answer.extend(session.peer.port().to_be_bytes());
    Ok(answer)
}
