//! Users (IPMI 2.0 sections 22.26 to 22.30).

use super::{Answer, Call, code, refused};
use crate::{
    accounts::{Access, PasswordForm, Privilege},
    ipmi::server::Server,
};

const CALLBACK_ONLY: u8 = 0x40;
const LINK: u8 = 0x20;
const MESSAGING: u8 = 0x10;
const CHANGE_BITS: u8 = 0x80;

/// Set User Access.
pub(super) fn set_access(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[bits, slot, limit, ..] = call.data else { return Err(code::LENGTH) };
    server.lan_channel(bits)?;
    let mut users = server.users();
    let before = users.user(slot & 0x3f).map_err(|e| refused(&e))?.access;
    let privilege = Privilege::from_number(limit & 0x0f).ok_or(code::INVALID_FIELD)?;
    let access = if bits & CHANGE_BITS == 0 {
        Access { privilege, ..before }
    } else {
        Access {
            privilege,
            messaging: bits & MESSAGING != 0,
            link: bits & LINK != 0,
            callback_only: bits & CALLBACK_ONLY != 0,
        }
    };
    users.set_access(slot & 0x3f, access).map_err(|e| refused(&e))?;
    Ok(Vec::new())
}

/// Get User Access.
pub(super) fn get_access(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[channel, slot, ..] = call.data else { return Err(code::LENGTH) };
    server.lan_channel(channel)?;
    let users = server.users();
    let user = users.user(slot & 0x3f).map_err(|e| refused(&e))?;
    let rules = users.rules();
    let count = |n: usize| u8::try_from(n).unwrap_or(0x3f) & 0x3f;
    let status = match (rules.tells_enabled, user.enabled) {
        (false, _) => 0x00,
        (true, true) => 0x40,
        (true, false) => 0x80,
    };
    let enabled = count(users.users().iter().filter(|user| user.enabled).count());
    let bits =
        [(user.access.callback_only, CALLBACK_ONLY), (user.access.link, LINK), (user.access.messaging, MESSAGING)];
    let set = bits.into_iter().filter(|(on, _)| *on).fold(0, |sum, (_, bit)| sum | bit);
    let access = set | user.access.privilege as u8;
    Ok(vec![rules.slots, status | enabled, count(rules.fixed_slots.len()), access])
}

/// Set User Name.
pub(super) fn set_name(server: &mut Server, call: &Call<'_>) -> Answer {
    let (&slot, name) = call.data.split_first().ok_or(code::LENGTH)?;
    let name = trimmed(name.get(..16).ok_or(code::LENGTH)?);
    let name = std::str::from_utf8(name).map_err(|_| code::INVALID_FIELD)?;
    server.users().rename(slot & 0x3f, name).map_err(|e| refused(&e))?;
    Ok(Vec::new())
}

/// Get User Name.
pub(super) fn get_name(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[slot, ..] = call.data else { return Err(code::LENGTH) };
    let users = server.users();
    let user = users.user(slot & 0x3f).map_err(|e| refused(&e))?;
    let name = if user.name.is_empty() { &users.rules().empty_name } else { &user.name };
    let mut answer = name.as_bytes().to_vec();
    answer.resize(16, 0);
    Ok(answer)
}

/// Set User Password: disable, enable, set or test.
pub(super) fn set_password(server: &mut Server, call: &Call<'_>) -> Answer {
    let &[slot, operation, ref password @ ..] = call.data else { return Err(code::LENGTH) };
    let form = if slot & 0x80 == 0 { PasswordForm::Sixteen } else { PasswordForm::Twenty };
    let slot = slot & 0x3f;
    let mut users = server.users();
    let done = match operation & 3 {
        0 => users.enable(slot, false),
        1 => users.enable(slot, true),
        2 => users.set_password(slot, given(password, form)?, form),
        _ => users.test_password(slot, given(password, form)?, form),
    };
    done.map_err(|e| refused(&e))?;
    Ok(Vec::new())
}

fn given(password: &[u8], form: PasswordForm) -> Result<&[u8], u8> {
    if password.len() == form.room() { Ok(trimmed(password)) } else { Err(code::LENGTH) }
}

/// Without the zeros at the end.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}
