//! Renders the table as the page `docs/permissions.md`.

use std::fmt::Write as _;

use super::{CALLS, Call, Need, Otherwise};
use crate::domain::{
    lifecycle::{By, EDGES, Event},
    user::Role,
};

const HEAD: &str = "# Who may call what

Generated from `region/src/domain/permissions/table.rs` and the life-cycle's table; do not edit (`make bless` writes it anew).

Roles: `viewer` reads, `user` also holds machines and works with them, `admin` does everything. A caller sees a machine if its
pool is granted to him, to a project of his or to everyone, or if he or a project of his holds it; admins see all, and only they
see machines in the state new. Lists, events and watches leave out what the caller does not see.

A call that the caller's role can never make is answered `PERMISSION_DENIED` before anything is looked at. Then comes
`NOT_FOUND` for what he does not see, then `FAILED_PRECONDITION` if the state of the machine does not allow the verb, then
`PERMISSION_DENIED` if the verb is not his in this state. Without a good token, or with that of a disabled user, every call is
`UNAUTHENTICATED`.
";

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut out = String::from(HEAD);
    let mut service = "";
    for call in CALLS {
        if call.service != service {
            service = call.service;
            let _ = write!(out, "\n## {service}\n\n| call | least role | who may | others get |\n|---|---|---|---|\n");
        }
        let (least, who, otherwise) = (call.least(), who(call), otherwise(call));
        let _ = writeln!(out, "| {} | {least} | {who} | {otherwise} |", call.name);
    }
    verbs(&mut out);
    out
}

fn who(call: &Call) -> String {
    match call.need {
        Need::Token => "anybody with a token".to_owned(),
        Need::Role(Role::Viewer) => "everybody".to_owned(),
        Need::Role(Role::User) => "users and admins".to_owned(),
        Need::Role(Role::Admin) => "admins".to_owned(),
        Need::Seen => "whoever sees the machine".to_owned(),
        Need::Held => "the owner of the machine, members of the project that holds it, admins".to_owned(),
        Need::Verb(Event::Allocate) => "users who see the machine, admins".to_owned(),
        Need::Verb(event) if call.least() == Role::Admin => format!("admins; verb {event}"),
        Need::Verb(event) => format!("as the states below say; verb {event}"),
        Need::Himself => "everybody for himself, admins for all".to_owned(),
        Need::His => "whoever it is granted to or belongs to, admins".to_owned(),
    }
}

fn otherwise(call: &Call) -> &'static str {
    match call.otherwise() {
        Otherwise::Unauthenticated => "`UNAUTHENTICATED`",
        Otherwise::Denied => "`PERMISSION_DENIED`",
        Otherwise::NotFound => "`NOT_FOUND`",
        Otherwise::NotFoundOrDenied => "`NOT_FOUND` or `PERMISSION_DENIED`",
    }
}

fn verbs(out: &mut String) {
    out.push_str("\n## Verbs in each state\n\nA verb that is not named for a state is refused there with `FAILED_PRECONDITION`.\n\n");
    out.push_str("| state | verb | who may |\n|---|---|---|\n");
    for edge in EDGES {
        let who = match (edge.by, edge.on) {
            (By::Admin, _) => "admin",
            (By::Owner, Event::Allocate) => "user, admin",
            (By::Owner, _) => "owner, project member, admin",
            (By::Engine | By::Rack, _) => continue,
        };
        let _ = writeln!(out, "| {} | {} | {who} |", edge.from, edge.on);
    }
}
