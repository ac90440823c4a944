//! Projects and their members.

use chrono::NaiveDateTime;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SelectableHelper as _,
    prelude::{Insertable, Queryable, Selectable},
};
use farrier_common::{
    id::{ProjectId, UserId},
    name::Name,
};

use crate::domain::{
    Error, Result,
    event::NewEvent,
    project::{Project, ProjectEdit},
};

use super::{
    Once, Request, Store, Tx, access,
    convert::{limit as rows, naive, parse, unsigned, utc},
    dialect,
    error::{Outcome, unique},
    schema::{machines, pool_grants, project_members, projects, users},
};

#[derive(Insertable, Queryable, Selectable)]
#[diesel(table_name = projects)]
struct Row {
    id: String,
    name: String,
    description: String,
    max_machines: Option<i32>,
    version: i64,
    created_at: NaiveDateTime,
}

impl From<&Project> for Row {
    fn from(p: &Project) -> Self {
        Self {
            id: p.id.to_string(),
            name: p.name.to_string(),
            description: p.description.clone(),
            max_machines: p.max_machines.map(|n| i32::try_from(n).unwrap_or(i32::MAX)),
            version: p.version,
            created_at: naive(p.created_at),
        }
    }
}

impl Store {
    /// Adds a project with its members.
    ///
    /// # Errors
    /// The name is taken; a member is no user.
    pub async fn project_insert<R>(
        &self,
        request: Option<&Request>,
        project: Project,
        event: NewEvent,
        render: R,
    ) -> Result<Once<Project>>
    where
        R: FnOnce(&Project) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            let inserted = diesel::insert_into(projects::table).values(Row::from(&project)).execute(tx.conn);
            unique(inserted, "project", &project.name)?;
            for name in &project.members {
                join(tx, project.id, name.as_str())?;
            }
            tx.log(event);
            there(tx, project.id)
        })
        .await
    }

    /// The project of that id or name.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn project_find(&self, id_or_name: &str) -> Result<Option<Project>> {
        let text = id_or_name.to_owned();
        self.read(move |tx| {
            if let Ok(id) = text.parse()
                && let Some(found) = get(tx, id)?
            {
                return Ok(Some(found));
            }
            let named = projects::table.filter(projects::name.eq(text));
            let row: Option<Row> = named.select(Row::as_select()).first(tx.conn).optional()?;
            row.map(|row| whole(tx, row)).transpose()
        })
        .await
    }

    /// A page of projects in order of id: all, or only those of a member.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn project_list(
        &self,
        of: Option<UserId>,
        after: Option<ProjectId>,
        limit: usize,
    ) -> Result<Vec<Project>> {
        self.read(move |tx| {
            let mut page = projects::table.order(projects::id.asc()).limit(rows(limit)).into_boxed();
            if let Some(after) = after {
                page = page.filter(projects::id.gt(after.to_string()));
            }
            if let Some(of) = of {
                let member = project_members::table.filter(project_members::user_id.eq(of.to_string()));
                let theirs: Vec<String> = member.select(project_members::project).load(tx.conn)?;
                page = page.filter(projects::id.eq_any(theirs));
            }
            let found: Vec<Row> = page.select(Row::as_select()).load(tx.conn)?;
            found.into_iter().map(|row| whole(tx, row)).collect()
        })
        .await
    }

    /// Changes a project or ends it; answers how it is then, or was last. `etag`: it must still be at this version.
    ///
    /// # Errors
    /// There is no such project or user, it has changed, or it is to end while it holds machines.
    pub async fn project_change<R>(
        &self,
        request: Option<&Request>,
        id: ProjectId,
        etag: Option<String>,
        edit: ProjectEdit,
        event: NewEvent,
        render: R,
    ) -> Result<Once<Project>>
    where
        R: FnOnce(&Project) -> Vec<u8> + Send + 'static,
    {
        self.once(request, render, move |tx| {
            dialect::lock_project(tx, &id.to_string(), edit == ProjectEdit::Delete)?;
            let before = there(tx, id)?;
            super::still(&format!("project {}", before.name), before.version, etag.as_deref())?;
            match edit {
                ProjectEdit::Set { description, max_machines } => set(tx, &before, description, max_machines)?,
                ProjectEdit::Join(user) => join(tx, id, &user)?,
                ProjectEdit::Leave(user) => leave(tx, id, &user)?,
                ProjectEdit::Delete => {
                    end(tx, &before)?;
                    tx.log(event);
                    return Ok(before);
                }
            }
            let row = projects::table.find(id.to_string());
            diesel::update(row).set(projects::version.eq(before.version + 1)).execute(tx.conn)?;
            tx.log(event);
            there(tx, id)
        })
        .await
    }
}

fn set(
    tx: &mut Tx<'_>,
    before: &Project,
    description: Option<String>,
    max_machines: Option<Option<u32>>,
) -> Outcome<()> {
    let most = max_machines.unwrap_or(before.max_machines).map(|n| i32::try_from(n).unwrap_or(i32::MAX));
    let text = description.unwrap_or_else(|| before.description.clone());
    diesel::update(projects::table.find(before.id.to_string()))
        .set((projects::description.eq(text), projects::max_machines.eq(most)))
        .execute(tx.conn)?;
    Ok(())
}

/// One who is a member already stays one.
fn join(tx: &mut Tx<'_>, project: ProjectId, user: &str) -> Outcome<()> {
    let user = user_named(tx, user)?;
    diesel::delete(project_members::table.find((project.to_string(), &user))).execute(tx.conn)?;
    let member = (project_members::project.eq(project.to_string()), project_members::user_id.eq(user));
    diesel::insert_into(project_members::table).values(member).execute(tx.conn)?;
    Ok(())
}

/// One who is no member stays none.
fn leave(tx: &mut Tx<'_>, project: ProjectId, user: &str) -> Outcome<()> {
    let user = user_named(tx, user)?;
    diesel::delete(project_members::table.find((project.to_string(), user))).execute(tx.conn)?;
    Ok(())
}

fn end(tx: &mut Tx<'_>, project: &Project) -> Outcome<()> {
    let id = project.id.to_string();
    let held: i64 = machines::table.filter(machines::owner_project.eq(&id)).count().get_result(tx.conn)?;
    if held > 0 {
        let why = format!("project {} holds {held} machines; release them first", project.name);
        return Err(Error::Precondition(why).into());
    }
    let grants = pool_grants::table.filter(pool_grants::kind.eq(access::OF_PROJECT));
    diesel::delete(grants.filter(pool_grants::subject.eq(&id))).execute(tx.conn)?;
    diesel::delete(project_members::table.filter(project_members::project.eq(&id))).execute(tx.conn)?;
    diesel::delete(projects::table.find(&id)).execute(tx.conn)?;
    Ok(())
}

/// The id of the user of that name.
pub(super) fn user_named(tx: &mut Tx<'_>, name: &str) -> Outcome<String> {
    let found: Option<String> =
        users::table.filter(users::name.eq(name)).select(users::id).first(tx.conn).optional()?;
    found.ok_or_else(|| Error::not_found("user", name).into())
}

fn there(tx: &mut Tx<'_>, id: ProjectId) -> Outcome<Project> {
    get(tx, id)?.ok_or_else(|| Error::not_found("project", id).into())
}

fn get(tx: &mut Tx<'_>, id: ProjectId) -> Outcome<Option<Project>> {
    let row: Option<Row> = projects::table.find(id.to_string()).select(Row::as_select()).first(tx.conn).optional()?;
    row.map(|row| whole(tx, row)).transpose()
}

fn whole(tx: &mut Tx<'_>, row: Row) -> Outcome<Project> {
    let names: Vec<String> = project_members::table
        .inner_join(users::table)
        .filter(project_members::project.eq(&row.id))
        .order(users::name.asc())
        .select(users::name)
        .load(tx.conn)?;
    Ok(Project {
        id: parse("projects.id", &row.id)?,
        name: parse("projects.name", &row.name)?,
        description: row.description,
        max_machines: row.max_machines.map(|n| unsigned("projects.max_machines", n.into())).transpose()?,
        members: names.iter().map(|n| parse("users.name", n)).collect::<Outcome<Vec<Name>>>()?,
        version: row.version,
        created_at: utc(row.created_at),
    })
}
