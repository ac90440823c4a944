//! Who asks, and what they may do.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use farrier_common::words;
use hyper::{HeaderMap, Method, header::AUTHORIZATION};

use super::{
    Caller, Redfish, documents,
    problem::Problem,
    resource::{Kind, Target},
};
use crate::accounts::Privilege;

words! {
    /// What a role may allow.
    Right {
        /// To read.
        Login = "Login",
        /// To change the own password.
        ConfigureSelf = "ConfigureSelf",
        /// To change what is managed.
        ConfigureComponents = "ConfigureComponents",
        /// To change the manager.
        ConfigureManager = "ConfigureManager",
        /// To change users.
        ConfigureUsers = "ConfigureUsers",
    }
}

/// Somebody who proved to be a user.
#[derive(Debug, Clone)]
pub(super) struct Requester {
    pub(super) slot: u8,
    pub(super) privilege: Privilege,
    /// The session, if it is one.
    pub(super) session: Option<String>,
}

/// Does this privilege give the right?
pub(super) fn has(privilege: Privilege, right: Right) -> bool {
    let at_least = match right {
        Right::Login | Right::ConfigureSelf => Privilege::User,
        Right::ConfigureComponents => Privilege::Operator,
        Right::ConfigureManager | Right::ConfigureUsers => Privilege::Administrator,
    };
    privilege.reaches(at_least)
}

/// Finds out who asks: by session if a token is given, else by name and password.
pub(super) fn requester(
    face: &mut Redfish,
    headers: &HeaderMap,
    path: &str,
    caller: Caller,
) -> Result<Requester, Problem> {
    if let Some(token) = headers.get("x-auth-token") {
        return by_token(face, token.to_str().unwrap_or_default(), caller);
    }
    let unknown = || Problem::unauthenticated(path);
    let (name, password) = headers.get(AUTHORIZATION).and_then(|v| basic(v.to_str().ok()?)).ok_or_else(unknown)?;
    let mut accounts = face.accounts();
    let slot = accounts.login(&name, &password, caller.from, caller.now.steady).map_err(|_| unknown())?;
    let privilege = accounts.user(slot).map_err(|_| unknown())?.access.privilege;
    drop(accounts);
    allowed_in(Requester { slot, privilege, session: None })
}

fn by_token(face: &mut Redfish, token: &str, caller: Caller) -> Result<Requester, Problem> {
    let session = face.sessions.touch(token, caller.now.wall).ok_or_else(Problem::no_session)?;
    let (id, slot, name) = (session.id.clone(), session.slot, session.user.clone());
    // The account may have been taken away since, also by IPMI.
    let found = face.accounts().user(slot).ok().filter(|u| u.enabled && u.name == name).map(|u| u.access.privilege);
    let Some(privilege) = found else {
        face.sessions.close(&id);
        return Err(Problem::no_session());
    };
    allowed_in(Requester { slot, privilege, session: Some(id) })
}

fn allowed_in(requester: Requester) -> Result<Requester, Problem> {
    if has(requester.privilege, Right::Login) { Ok(requester) } else { Err(Problem::privilege()) }
}

fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// May `who` do this?
pub(super) fn permit(face: &Redfish, who: &Requester, method: &Method, target: Target<'_>) -> Result<(), Problem> {
    let kind = target.kind;
    let own_account =
        kind == Kind::Account && documents::find_account(&face.accounts(), target.id, &face.quirks) == Some(who.slot);
    let own_session = kind == Kind::Session && face.sessions.get(target.id).is_some_and(|s| s.slot == who.slot);
    let reads = *method == Method::GET || *method == Method::HEAD;
    let right = if own_session || (own_account && *method == Method::PATCH) {
        Right::ConfigureSelf
    } else if own_account && reads {
        Right::Login
    } else if kind == Kind::Account || (kind == Kind::Accounts && !reads) {
        Right::ConfigureUsers
    } else if kind == Kind::Session {
        Right::ConfigureManager
    } else if reads {
        Right::Login
    } else if kind == Kind::SessionService || kind == Kind::ManagerReset {
        Right::ConfigureManager
    } else {
        Right::ConfigureComponents
    };
    if has(who.privilege, right) { Ok(()) } else { Err(Problem::privilege()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials() {
        let check = |header: &str, expected: Option<(&str, &str)>| {
            assert_eq!(basic(header), expected.map(|(n, p)| (n.to_owned(), p.to_owned())), "{header}");
        };
        check("Basic cm9vdDpjYTpsdmlu", Some(("root", "ca:lvin")));
        check("basic cm9vdDo=", Some(("root", "")));
        check("Basic cm9vdA==", None);
        check("Basic !", None);
        check("Bearer cm9vdDo=", None);
        check("Basic", None);
    }

    #[test]
    fn roles_grow() {
        let count = |p| Right::ALL.iter().filter(|r| has(p, **r)).count();
        assert_eq!(
            [Privilege::NoAccess, Privilege::User, Privilege::Operator, Privilege::Administrator].map(count),
            [0, 2, 3, 5]
        );
    }
}
