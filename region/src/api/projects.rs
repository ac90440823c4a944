//! `farrier.v1.Projects`.

use farrier_common::id::ProjectId;
use farrier_proto::v1::{self, projects_server::Projects};
use tonic::Request;

use super::{
    Api,
    calls::{Answer, SHORT},
    parse,
    words::time_to_wire,
};
use crate::domain::{
    Result,
    project::{Project, ProjectEdit},
};

#[tonic::async_trait]
impl Projects for Api {
    async fn get_project(&self, request: Request<v1::GetProjectRequest>) -> Answer<v1::Project> {
        self.read(request, |app, user, q| async move { Ok(render(&app.project_get(&user, &q.project).await?)) }).await
    }

    async fn list_projects(&self, request: Request<v1::ListProjectsRequest>) -> Answer<v1::ListProjectsResponse> {
        self.read(request, |app, user, q| async move {
            let listed = app.project_list(&user, &parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListProjectsResponse { projects: listed.items.iter().map(render).collect(), next_page_token })
        })
        .await
    }

    async fn create_project(&self, request: Request<v1::CreateProjectRequest>) -> Answer<v1::Project> {
        self.mutate(("CreateProject", SHORT), request, render, |app, ask, q| async move {
            app.project_create(&ask, wanted(&q)?).await
        })
        .await
    }

    async fn update_project(&self, request: Request<v1::UpdateProjectRequest>) -> Answer<v1::Project> {
        self.mutate(("UpdateProject", SHORT), request, render, |app, ask, q| async move {
            let mask = parse::mask(q.update_mask, &["description", "max_machines"])?;
            let description = mask.contains("description").then(|| parse::description(&q.description)).transpose()?;
            let most = mask.contains("max_machines").then(|| parse::quota(q.max_machines)).transpose()?;
            app.project_change(&ask, &q.project, ProjectEdit::Set { description, max_machines: most }).await
        })
        .await
    }

    async fn delete_project(&self, request: Request<v1::DeleteProjectRequest>) -> Answer<v1::Project> {
        self.mutate(("DeleteProject", SHORT), request, render, |app, ask, q| async move {
            app.project_change(&ask, &q.project, ProjectEdit::Delete).await
        })
        .await
    }

    async fn add_project_member(&self, request: Request<v1::ProjectMemberRequest>) -> Answer<v1::Project> {
        self.mutate(("AddProjectMember", SHORT), request, render, |app, ask, q| async move {
            app.project_change(&ask, &q.project, ProjectEdit::Join(q.user)).await
        })
        .await
    }

    async fn remove_project_member(&self, request: Request<v1::ProjectMemberRequest>) -> Answer<v1::Project> {
        self.mutate(("RemoveProjectMember", SHORT), request, render, |app, ask, q| async move {
            app.project_change(&ask, &q.project, ProjectEdit::Leave(q.user)).await
        })
        .await
    }
}

/// Id, version and time are given with the project that is made.
fn wanted(q: &v1::CreateProjectRequest) -> Result<Project> {
    let members = q.members.iter().enumerate().map(|(n, user)| parse::name(&format!("members[{n}]"), user));
    Ok(Project {
        id: ProjectId::generate(),
        name: parse::name("name", &q.name)?,
        description: parse::description(&q.description)?,
        max_machines: parse::quota(q.max_machines)?,
        members: members.collect::<Result<_>>()?,
        version: 1,
        created_at: farrier_common::clock::Timestamp::UNIX_EPOCH,
    })
}

fn render(project: &Project) -> v1::Project {
    v1::Project {
        id: project.id.to_string(),
        name: project.name.to_string(),
        description: project.description.clone(),
        max_machines: project.max_machines.unwrap_or(0),
        members: project.members.iter().map(ToString::to_string).collect(),
        created_at: Some(time_to_wire(project.created_at)),
        etag: project.version.to_string(),
    }
}
