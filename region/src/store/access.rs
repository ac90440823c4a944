//! What a user is a member of, and which pools are granted to him. Read with every call: by indexes, in the caller's snapshot.

use std::collections::BTreeMap;

use diesel::{BoolExpressionMethods as _, ExpressionMethods as _, QueryDsl as _, RunQueryDsl as _};
use farrier_common::{id::ProjectId, name::Name};

use crate::domain::user::User;

use super::{
    Tx,
    convert::parse,
    error::Outcome,
    schema::{pool_grants, pools, project_members, projects},
};

/// Who a grant is for.
pub(super) const OF_USER: &str = "user";
/// Who a grant is for.
pub(super) const OF_PROJECT: &str = "project";

/// Fills in the projects of these users.
pub(super) fn projects_of(tx: &mut Tx<'_>, users: &mut [User]) -> Outcome<()> {
    let ids: Vec<String> = users.iter().map(|u| u.id.to_string()).collect();
    let found: Vec<(String, String, String)> = project_members::table
        .inner_join(projects::table)
        .filter(project_members::user_id.eq_any(ids))
        .order(projects::name.asc())
        .select((project_members::user_id, projects::id, projects::name))
        .load(tx.conn)?;
    let mut of: BTreeMap<String, Vec<(ProjectId, Name)>> = BTreeMap::new();
    for (user, id, name) in found {
        of.entry(user).or_default().push((parse("projects.id", &id)?, parse("projects.name", &name)?));
    }
    for user in users {
        let his = of.remove(&user.id.to_string()).unwrap_or_default();
        (user.projects, user.project_names) = his.into_iter().unzip();
    }
    Ok(())
}

/// Fills in the projects of a user, and the pools that are granted to him, to one of them, or to all.
pub(super) fn all_of(tx: &mut Tx<'_>, mut user: User) -> Outcome<User> {
    projects_of(tx, std::slice::from_mut(&mut user))?;
    let theirs: Vec<String> = user.projects.iter().map(ToString::to_string).collect();
    let granted: Vec<String> = pool_grants::table
        .filter(
            pool_grants::kind
                .eq(OF_USER)
                .and(pool_grants::subject.eq(user.id.to_string()))
                .or(pool_grants::kind.eq(OF_PROJECT).and(pool_grants::subject.eq_any(theirs))),
        )
        .select(pool_grants::pool)
        .load(tx.conn)?;
    let open: Vec<String> = pools::table.filter(pools::everyone.eq(true)).select(pools::id).load(tx.conn)?;
    user.pools = granted.iter().chain(&open).map(|id| parse("pools.id", id)).collect::<Outcome<_>>()?;
    Ok(user)
}
