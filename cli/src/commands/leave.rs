//! Machines that come with their workload, and machines that go.

use farrier_common::{hardware::Architecture, net::MacAddr};
use farrier_proto::{
    convert,
    v1::{AddLiveMachineRequest, DeleteMachineRequest, machines_client::MachinesClient},
};
use serde_json::json;

use super::{
    App, one_of,
    verbs::{BmcArgs, Label, credentials, labelled},
};
use crate::{
    client::{self, SHORT, options},
    error::Error,
    render::{machines as render, words},
};

/// A machine to add with its workload.
#[derive(Debug, clap::Args)]
pub(crate) struct AddLiveArgs {
    /// Name, an RFC 1123 label [default: one is made up].
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// MAC address of an interface; may be repeated.
    #[arg(long = "mac", value_name = "MAC", required = true, num_args = 1..)]
    macs: Vec<MacAddr>,
    /// CPU architecture.
    #[arg(long, value_parser = one_of(Architecture::ALL.iter().map(|a| (*a, a.to_string()))))]
    arch: Architecture,
    #[command(flatten)]
    bmc: BmcArgs,
    /// A label; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,
    /// Id or name of its pool [default: default].
    #[arg(long, default_value = "", hide_default_value = true)]
    pool: String,
    /// User who holds it [default: you].
    #[arg(long, default_value = "", hide_default_value = true)]
    owner: String,
    /// Project that holds it, instead of a user.
    #[arg(long, default_value = "", hide_default_value = true, conflicts_with = "owner")]
    project: String,
    /// Rack that the host reaches [default: found by the BMC, or the only one].
    #[arg(long, default_value = "", hide_default_value = true)]
    rack: String,
}

/// A machine to delete.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    /// Id or name.
    machine: String,
    /// Also if its BMC cannot be reached to take the account back, or its disks may hold an owner's data.
    #[arg(long)]
    force: bool,
    /// Why, for the event log and the audit.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

/// Adds a machine that runs already. Standard output is the script for its host, so that it can be piped there.
pub(crate) async fn add_live(app: &App, args: AddLiveArgs) -> Result<(), Error> {
    let manual = args.bmc.bmc_manual;
    let request = AddLiveMachineRequest {
        options: options(),
        name: args.name,
        architecture: convert::architecture_to_wire(args.arch).into(),
        macs: args.macs.iter().map(ToString::to_string).collect(),
        bmc: credentials(args.bmc)?,
        labels: labelled(args.labels)?,
        pool: args.pool,
        owner: args.owner,
        project: args.project,
        rack: args.rack,
        manual,
        ..AddLiveMachineRequest::default()
    };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).add_live_machine(r).await);
    let added = call.await?;
    let machine = added.machine.clone().unwrap_or_default();
    let until = words::seconds(added.expires_at.as_ref()).unwrap_or_else(|| "soon".to_owned());
    app.out.note(&format!(
        "{}; run this script on it as root, until {until}, and it tells its hardware",
        render::summary(&machine)
    ));
    app.out.answer(
        || json!({ "machine": render::json(&machine), "script": added.script, "expires_at": words::rfc3339(added.expires_at.as_ref()) }),
        || added.script.clone(),
    )
}

/// Takes a machine out of the database, and tells what was given back.
pub(crate) async fn delete(app: &App, args: DeleteArgs) -> Result<(), Error> {
    let request =
        DeleteMachineRequest { options: options(), machine: args.machine, comment: args.comment, force: args.force };
    let client = app.client()?;
    let call = client.call(client::BMC, request, async |c, r| MachinesClient::new(c).delete_machine(r).await);
    let gone = call.await?;
    app.out.answer(
        || {
            json!({
                "machine_id": gone.machine_id,
                "machine_name": gone.machine_name,
                "bmc_account": gone.bmc_account,
                "detail": gone.detail,
                "released_addresses": gone.released_addresses,
                "deleted_credentials": gone.deleted_credentials,
            })
        },
        || {
            format!(
                "{} is deleted; BMC account: {} ({}); addresses given back: {}; credentials destroyed: {}",
                gone.machine_name,
                gone.bmc_account,
                gone.detail,
                gone.released_addresses.len(),
                gone.deleted_credentials
            )
        },
    )
}
