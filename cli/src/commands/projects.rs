//! `farrier project`.

use farrier_proto::v1::{
    CreateProjectRequest, DeleteProjectRequest, ListProjectsRequest, Project, ProjectMemberRequest,
    projects_client::ProjectsClient,
};

use super::App;
use crate::{
    client::{SHORT, options},
    error::Error,
    render::people as render,
};

/// People who hold machines together.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List projects: all for admins, others' own.
    List,
    /// Make a project.
    Create {
        /// Name, an RFC 1123 label.
        name: String,
        /// What it is for.
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// How many machines it may hold [default: no limit].
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        max_machines: u32,
        /// User who belongs to it; may be repeated.
        #[arg(long = "member", value_name = "USER")]
        members: Vec<String>,
    },
    /// Delete a project that holds no machines.
    Delete {
        /// Id or name.
        project: String,
    },
    /// Let a user belong to it.
    AddMember {
        /// Id or name.
        project: String,
        /// Name of the user.
        user: String,
    },
    /// Let a user belong to it no longer.
    RemoveMember {
        /// Id or name.
        project: String,
        /// Name of the user.
        user: String,
    },
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    let client = app.client()?;
    let member = |project, user| ProjectMemberRequest { options: options(), project, user };
    let (did, project) = match command {
        Command::List => return list(app).await,
        Command::Create { name, description, max_machines, members } => {
            let request = CreateProjectRequest { options: options(), name, description, max_machines, members };
            let call = client.call(SHORT, request, async |c, r| ProjectsClient::new(c).create_project(r).await);
            ("created", call.await?)
        }
        Command::Delete { project } => {
            let request = DeleteProjectRequest { options: options(), project };
            let call = client.call(SHORT, request, async |c, r| ProjectsClient::new(c).delete_project(r).await);
            ("deleted", call.await?)
        }
        Command::AddMember { project, user } => {
            let request = member(project, user);
            let call = client.call(SHORT, request, async |c, r| ProjectsClient::new(c).add_project_member(r).await);
            ("changed", call.await?)
        }
        Command::RemoveMember { project, user } => {
            let request = member(project, user);
            let call = client.call(SHORT, request, async |c, r| ProjectsClient::new(c).remove_project_member(r).await);
            ("changed", call.await?)
        }
    };
    app.out.answer(|| render::project_json(&project), || format!("{did} project {}", project.name))
}

async fn list(app: &App) -> Result<(), Error> {
    let client = app.client()?;
    let projects: Vec<Project> = client
        .pages(async |page| {
            let request = ListProjectsRequest { page: Some(page) };
            let list = client.call(SHORT, request, async |c, r| ProjectsClient::new(c).list_projects(r).await).await?;
            Ok((list.projects, list.next_page_token))
        })
        .await?;
    app.out.answer(|| render::projects_json(&projects), || render::projects_table(&projects, app.out.width()))
}
