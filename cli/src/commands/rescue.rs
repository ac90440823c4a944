//! `farrier machine rescue` and the way back.

use std::{fs, path::PathBuf};

use farrier_proto::v1::{MachineVerbRequest, RescueMachineRequest, machines_client::MachinesClient};

use super::{App, verbs::act};
use crate::{
    client::{SHORT, options},
    error::Error,
    wait::{Aim, WaitArgs},
};

/// A machine to rescue.
#[derive(Debug, clap::Args)]
pub(crate) struct RescueArgs {
    /// Id or name.
    machine: String,
    /// File with public keys that may log in besides your own, one a line; may be repeated.
    #[arg(long = "ssh-key-file", value_name = "FILE")]
    ssh_key_files: Vec<PathBuf>,
    /// Why, for the event log.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Boots the rescue environment.
pub(super) async fn rescue(app: &App, args: RescueArgs) -> Result<(), Error> {
    let mut ssh_keys = Vec::new();
    for path in &args.ssh_key_files {
        let text = fs::read_to_string(path);
        let text = text.map_err(Error::file(format!("cannot read --ssh-key-file {}", path.display())))?;
        ssh_keys
            .extend(text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned));
    }
    let request = RescueMachineRequest { options: options(), machine: args.machine, comment: args.comment, ssh_keys };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).rescue_machine(r).await);
    act(app, &client, &args.wait, Aim::Rescue, call).await
}

/// Leaves it.
pub(super) async fn exit(app: &App, machine: String, comment: String, wait: &WaitArgs) -> Result<(), Error> {
    let request = MachineVerbRequest { options: options(), machine, comment };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).exit_rescue_machine(r).await);
    act(app, &client, wait, Aim::Back, call).await
}
