//! `farrier machine`: reading machines, and the command line of their verbs.

use farrier_common::{hardware::Architecture, net::MacAddr};
use farrier_proto::v1::{
    ExplainMachineRequest, GetMachineRequest, ListMachinesRequest, MachineState, machines_client::MachinesClient,
};

use super::{
    App,
    layouts::{self, CloneArgs, ConfigureArgs},
    one_of,
    verbs::{self, BmcArgs, DeployArgs, Label, PowerWord},
};
use crate::{client::SHORT, error::Error, render::machines as render, render::words, wait::WaitArgs};

/// Machines and their life-cycle.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List machines.
    List {
        /// Only machines in this state; may be repeated.
        #[arg(long = "state", value_name = "STATE", value_parser = one_of(words::states()))]
        states: Vec<MachineState>,
    },
    /// Show everything about a machine.
    Show {
        /// Id or name.
        machine: String,
    },
    /// Tell why a machine is where it is, and what happened to it.
    Explain {
        /// Id or name.
        machine: String,
        /// So many of the newest entries of the timeline.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=1000))]
        entries: i32,
    },
    /// Add a machine by hand; it goes straight to commissioning.
    Create(CreateArgs),
    /// Commission a new, ready or failed machine: BMC account, boot, inventory.
    Commission(CommissionArgs),
    /// Take a ready machine for yourself.
    Allocate {
        /// Id or name [default: any ready machine].
        machine: Option<String>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Write an image to an allocated machine and boot it.
    Deploy(DeployArgs),
    /// Give a machine back: its disks are erased and it becomes ready.
    Release(ReleaseArgs),
    /// Stop the work in progress; the machine ends in the matching failed state.
    Abort {
        /// Id or name.
        machine: String,
        /// Why, for the event log.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Declare storage and network of a machine, as the next deployment is to make them.
    Configure(ConfigureArgs),
    /// Copy declared storage and network of a machine to others whose hardware fits.
    Clone(CloneArgs),
    /// Ask the machine's BMC for power.
    Power {
        /// What to ask; query changes nothing.
        action: PowerWord,
        /// Id or name.
        machine: String,
    },
}

/// A machine to add.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("bmc_is_required").arg("bmc_address").required(true))]
pub(crate) struct CreateArgs {
    /// Name, an RFC 1123 label [default: one is made up].
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) name: String,
    /// MAC address of an interface; the first is the one to boot from; may be repeated.
    #[arg(long = "mac", value_name = "MAC", required = true, num_args = 1..)]
    pub(super) macs: Vec<MacAddr>,
    /// CPU architecture.
    #[arg(long, value_parser = one_of(Architecture::ALL.iter().map(|a| (*a, a.to_string()))))]
    pub(super) arch: Architecture,
    #[command(flatten)]
    pub(super) bmc: BmcArgs,
    /// A label; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(super) labels: Vec<Label>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
}

/// A machine to commission.
#[derive(Debug, clap::Args)]
pub(crate) struct CommissionArgs {
    /// Id or name.
    pub(super) machine: String,
    #[command(flatten)]
    pub(super) bmc: BmcArgs,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
}

/// A machine to release.
#[derive(Debug, clap::Args)]
pub(crate) struct ReleaseArgs {
    /// Id or name.
    pub(super) machine: String,
    /// Keep what is on the disks; refused unless the region's policy allows it.
    #[arg(long)]
    pub(super) skip_erase: bool,
    /// Why, for the event log.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) comment: String,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
}

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    match command {
        Command::List { states } => list(app, states).await,
        Command::Show { machine } => show(app, machine).await,
        Command::Explain { machine, entries } => explain(app, machine, entries).await,
        Command::Create(args) => verbs::create(app, args).await,
        Command::Commission(args) => verbs::commission(app, args).await,
        Command::Allocate { machine, wait } => verbs::allocate(app, machine.unwrap_or_default(), &wait).await,
        Command::Deploy(args) => verbs::deploy(app, args).await,
        Command::Release(args) => verbs::release(app, args).await,
        Command::Abort { machine, comment, wait } => verbs::abort(app, machine, comment, &wait).await,
        Command::Configure(args) => layouts::configure(app, args).await,
        Command::Clone(args) => layouts::clone(app, args).await,
        Command::Power { action, machine } => verbs::power(app, action, machine).await,
    }
}

async fn list(app: &App, states: Vec<MachineState>) -> Result<(), Error> {
    let client = app.client()?;
    let states: Vec<i32> = states.into_iter().map(i32::from).collect();
    let mut revision = None;
    let machines = client
        .pages(async |page| {
            let request =
                ListMachinesRequest { page: Some(page), states: states.clone(), ..ListMachinesRequest::default() };
            let list = client.call(SHORT, request, async |c, r| MachinesClient::new(c).list_machines(r).await).await?;
            revision.get_or_insert(list.revision);
            Ok((list.machines, list.next_page_token))
        })
        .await?;
    app.out.answer(
        || render::list_json(&machines, revision.unwrap_or_default()),
        || render::list_table(&machines, app.out.width()),
    )
}

async fn show(app: &App, machine: String) -> Result<(), Error> {
    let request = GetMachineRequest { machine, ..GetMachineRequest::default() };
    let machine = app.client()?.call(SHORT, request, async |c, r| MachinesClient::new(c).get_machine(r).await).await?;
    app.out.answer(|| render::json(&machine), || render::page(&machine, app.clock.now(), app.out.width()))
}

async fn explain(app: &App, machine: String, timeline_size: i32) -> Result<(), Error> {
    let request = ExplainMachineRequest { machine, timeline_size };
    let client = app.client()?;
    let explanation = client.call(SHORT, request, async |c, r| MachinesClient::new(c).explain_machine(r).await).await?;
    app.out.answer(
        || render::explanation_json(&explanation),
        || render::explanation_page(&explanation, app.clock.now(), app.out.width()),
    )
}
