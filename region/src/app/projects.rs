//! Projects.

use farrier_common::id::ProjectId;

use super::{
    App,
    context::{Ask, Listed, Page, needs, noted},
};
use crate::{
    domain::{
        Error, Result,
        event::EventKind,
        project::{Project, ProjectEdit},
        user::{Role, User},
    },
    store::Once,
};

impl App {
    /// A project, by id or name.
    ///
    /// # Errors
    /// There is none that the caller belongs to, or at all.
    pub async fn project_get(&self, user: &User, which: &str) -> Result<Project> {
        let found = self.store.project_find(which).await?;
        let seen = found.filter(|p| user.role == Role::Admin || user.projects.contains(&p.id));
        seen.ok_or_else(|| Error::not_found("project", which))
    }

    /// A page of the projects: an admin's are all, others' those that they belong to.
    ///
    /// # Errors
    /// The page token is foreign.
    pub async fn project_list(&self, user: &User, page: &Page) -> Result<Listed<Project>> {
        let of = (user.role != Role::Admin).then_some(user.id);
        let items = self.store.project_list(of, page.after()?, page.size + 1).await?;
        Ok(page.cut(items, |p| p.id.to_string()))
    }

    /// Makes a project. Its id, version and time are given here.
    ///
    /// # Errors
    /// Not an admin; the name is taken; a member is no user.
    pub async fn project_create(&self, ask: &Ask<Project>, wanted: Project) -> Result<Once<Project>> {
        needs(&ask.user, Role::Admin, "make projects")?;
        let project = Project { id: ProjectId::generate(), version: 1, created_at: self.clock.now(), ..wanted };
        let event = noted(EventKind::User, ask.actor(), format!("project {} was made", project.name));
        self.store.project_insert(Some(&ask.request), project, event, ask.renderer()).await
    }

    /// Changes a project, or ends it.
    ///
    /// # Errors
    /// Not an admin; there is no such project or user; it has changed; it is to end and holds machines.
    pub async fn project_change(&self, ask: &Ask<Project>, which: &str, edit: ProjectEdit) -> Result<Once<Project>> {
        needs(&ask.user, Role::Admin, "change projects")?;
        let project = self.project_get(&ask.user, which).await?;
        let what = match &edit {
            ProjectEdit::Set { .. } => "was changed".to_owned(),
            ProjectEdit::Join(user) => format!("has {user} as a member"),
            ProjectEdit::Leave(user) => format!("has {user} as a member no more"),
            ProjectEdit::Delete => "was deleted".to_owned(),
        };
        let event = noted(EventKind::User, ask.actor(), format!("project {} {what}", project.name));
        self.store.project_change(Some(&ask.request), project.id, ask.etag.clone(), edit, event, ask.renderer()).await
    }
}
