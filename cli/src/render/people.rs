//! Projects, pools and the audit.

use farrier_proto::v1::{AuditEntry, Pool, Project};
use serde_json::{Value, json};

use super::{
    table::{Fit, cell, table},
    words::{self, filled, rfc3339},
};

/// One project for programs.
pub(crate) fn project_json(project: &Project) -> Value {
    json!({
        "id": project.id,
        "name": project.name,
        "description": filled(&project.description),
        "max_machines": limit(project.max_machines),
        "members": project.members,
        "created_at": rfc3339(project.created_at.as_ref()),
        "etag": project.etag,
    })
}

/// A list of projects for programs.
pub(crate) fn projects_json(projects: &[Project]) -> Value {
    json!({ "projects": projects.iter().map(project_json).collect::<Vec<_>>() })
}

/// A list of projects for people.
pub(crate) fn projects_table(projects: &[Project], width: Option<u16>) -> String {
    let columns = [("NAME", Fit::Whole), ("MOST", Fit::Whole), ("MEMBERS", Fit::Wraps), ("DESCRIPTION", Fit::Wraps)];
    let rows = projects.iter().map(|p| {
        let most = limit(p.max_machines).map(|n| n.to_string());
        vec![cell(p.name.clone()), cell(most), cell(p.members.join(", ")), cell(p.description.clone())]
    });
    table(width, &columns, rows.collect())
}

/// One pool for programs.
pub(crate) fn pool_json(pool: &Pool) -> Value {
    json!({
        "id": pool.id,
        "name": pool.name,
        "description": filled(&pool.description),
        "everyone": pool.everyone,
        "users": pool.users,
        "projects": pool.projects,
        "created_at": rfc3339(pool.created_at.as_ref()),
        "etag": pool.etag,
    })
}

/// A list of pools for programs.
pub(crate) fn pools_json(pools: &[Pool]) -> Value {
    json!({ "pools": pools.iter().map(pool_json).collect::<Vec<_>>() })
}

/// A list of pools for people.
pub(crate) fn pools_table(pools: &[Pool], width: Option<u16>) -> String {
    let columns =
        [("NAME", Fit::Whole), ("GRANTED TO", Fit::Wraps), ("PROJECTS", Fit::Wraps), ("DESCRIPTION", Fit::Wraps)];
    let rows = pools.iter().map(|p| {
        let users = if p.everyone { "everyone".to_owned() } else { p.users.join(", ") };
        vec![cell(p.name.clone()), cell(users), cell(p.projects.join(", ")), cell(p.description.clone())]
    });
    table(width, &columns, rows.collect())
}

/// Entries of the audit for programs.
pub(crate) fn audit_json(entries: &[AuditEntry]) -> Value {
    let one = |e: &AuditEntry| {
        json!({
            "number": e.number,
            "at": rfc3339(e.at.as_ref()),
            "user": e.user,
            "method": e.method,
            "target": filled(&e.target),
            "comment": filled(&e.comment),
            "peer": filled(&e.peer),
            "request_id": e.request_id,
        })
    };
    json!({ "entries": entries.iter().map(one).collect::<Vec<_>>() })
}

/// Entries of the audit for people.
pub(crate) fn audit_table(entries: &[AuditEntry], width: Option<u16>) -> String {
    let columns = [
        ("TIME", Fit::Whole),
        ("USER", Fit::Whole),
        ("CALL", Fit::Whole),
        ("TARGET", Fit::Wraps),
        ("FROM", Fit::Whole),
        ("WHY", Fit::Wraps),
    ];
    let rows = entries.iter().map(|e| {
        vec![
            cell(words::seconds(e.at.as_ref())),
            cell(e.user.clone()),
            cell(e.method.clone()),
            cell(e.target.clone()),
            cell(e.peer.clone()),
            cell(e.comment.clone()),
        ]
    });
    table(width, &columns, rows.collect())
}

/// 0 on the wire means no limit.
fn limit(most: u32) -> Option<u32> {
    (most > 0).then_some(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_null_and_a_pool_of_all_says_so() {
        let project = Project { name: "build".to_owned(), members: vec!["ann".to_owned()], ..Project::default() };
        assert_eq!(project_json(&project)["max_machines"], Value::Null);
        let pool = Pool { name: "default".to_owned(), everyone: true, ..Pool::default() };
        assert!(pools_table(&[pool], None).contains("everyone"));
    }

    #[test]
    fn the_audit_says_who_what_when_why_and_from_where() {
        let entry = AuditEntry {
            number: 7,
            user: "ann".to_owned(),
            method: "ReleaseMachine".to_owned(),
            target: "n1".to_owned(),
            comment: "moving\u{1b}[2J out".to_owned(),
            peer: "10.0.0.9:4711".to_owned(),
            ..AuditEntry::default()
        };
        let text = audit_table(&[entry], None);
        for part in ["ann", "ReleaseMachine", "n1", "10.0.0.9:4711"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains('\u{1b}'), "what comes from others is cleaned");
    }
}
