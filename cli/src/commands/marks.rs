//! Verbs that say what a machine is good for, and what people say about it.

use farrier_proto::v1::{MachineVerbRequest, UpdateMachineRequest, machines_client::MachinesClient};
use prost_types::FieldMask;

use super::{
    App,
    verbs::{self, Label},
};
use crate::{
    client::{SHORT, options},
    error::Error,
    render::machines as render,
    wait::{Aim, WaitArgs},
};

/// A machine and why.
#[derive(Debug, clap::Args)]
pub(crate) struct RemarkArgs {
    /// Id or name.
    machine: String,
    /// Why, for the event log and the audit.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

impl RemarkArgs {
    fn request(self) -> MachineVerbRequest {
        MachineVerbRequest { options: options(), machine: self.machine, comment: self.comment }
    }
}

/// What is to be said about a machine.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(
    ["name", "pool", "zone", "tags", "no_tags", "labels", "no_labels", "notes"]
))]
pub(crate) struct UpdateArgs {
    /// Id or name.
    machine: String,
    /// Its name from now on, an RFC 1123 label.
    #[arg(long)]
    name: Option<String>,
    /// Id or name of its pool.
    #[arg(long)]
    pool: Option<String>,
    /// Its zone, a word for what fails together.
    #[arg(long)]
    zone: Option<String>,
    /// A tag; may be repeated. Those given replace all that it has.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Take all its tags away.
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// A label; may be repeated. Those given replace all that it has.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// Take all its labels away.
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// Free text, which replaces what there is; empty: none.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
}

impl UpdateArgs {
    fn request(self) -> Result<UpdateMachineRequest, Error> {
        let given = [
            ("name", self.name.is_some()),
            ("pool", self.pool.is_some()),
            ("zone", self.zone.is_some()),
            ("tags", self.no_tags || !self.tags.is_empty()),
            ("labels", self.no_labels || !self.labels.is_empty()),
            ("notes", self.notes.is_some()),
        ];
        let paths = given.into_iter().filter(|(_, given)| *given).map(|(path, _)| path.to_owned()).collect();
        Ok(UpdateMachineRequest {
            options: options(),
            machine: self.machine,
            update_mask: Some(FieldMask { paths }),
            name: self.name.unwrap_or_default(),
            pool: self.pool.unwrap_or_default(),
            zone: self.zone.unwrap_or_default(),
            tags: self.tags,
            labels: verbs::labelled(self.labels)?,
            notes: self.notes.unwrap_or_default(),
        })
    }
}

/// Takes a machine out of use.
pub(crate) async fn mark_broken(app: &App, args: RemarkArgs) -> Result<(), Error> {
    let client = app.client()?;
    let call = client.call(SHORT, args.request(), async |c, r| MachinesClient::new(c).mark_broken_machine(r).await);
    let machine = call.await?;
    app.out.answer(|| render::json(&machine), || render::summary(&machine))
}

/// Learns a machine again whose repair is done.
pub(crate) async fn mark_fixed(app: &App, args: RemarkArgs, wait: &WaitArgs) -> Result<(), Error> {
    let client = app.client()?;
    let call = client.call(SHORT, args.request(), async |c, r| MachinesClient::new(c).mark_fixed_machine(r).await);
    verbs::act(app, &client, wait, Aim::Ready, call).await
}

/// Makes a machine ready although a test failed.
pub(crate) async fn override_failed_test(app: &App, machine: String, comment: String) -> Result<(), Error> {
    let request = MachineVerbRequest { options: options(), machine, comment };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).override_failed_test_machine(r).await);
    let machine = call.await?;
    app.out.answer(|| render::json(&machine), || render::summary(&machine))
}

/// Keeps everybody from a machine.
pub(crate) async fn lock(app: &App, args: RemarkArgs) -> Result<(), Error> {
    let client = app.client()?;
    let call = client.call(SHORT, args.request(), async |c, r| MachinesClient::new(c).lock_machine(r).await);
    let machine = call.await?;
    app.out.answer(|| render::json(&machine), || render::lock_summary(&machine, app.clock.now()))
}

/// Lets people at a machine again.
pub(crate) async fn unlock(app: &App, args: RemarkArgs) -> Result<(), Error> {
    let client = app.client()?;
    let call = client.call(SHORT, args.request(), async |c, r| MachinesClient::new(c).unlock_machine(r).await);
    let machine = call.await?;
    app.out.answer(|| render::json(&machine), || render::lock_summary(&machine, app.clock.now()))
}

/// Sets what people say about a machine.
pub(crate) async fn update(app: &App, args: UpdateArgs) -> Result<(), Error> {
    let request = args.request()?;
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).update_machine(r).await);
    let machine = call.await?;
    app.out.answer(|| render::json(&machine), || render::page(&machine, app.clock.now(), app.out.width()))
}
