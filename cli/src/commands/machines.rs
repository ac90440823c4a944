//! `farrier machine`: reading machines, and the command line of their verbs.

use farrier_common::{
    hardware::{Architecture, PowerState},
    net::MacAddr,
};
use farrier_proto::v1::{
    ExplainMachineRequest, GetMachineRequest, ListMachinesRequest, MachineState, MachineView,
    machines_client::MachinesClient,
};

use super::{
    App,
    allocate::{self, AllocateArgs},
    layouts::{self, CloneArgs, ConfigureArgs},
    leave::{self, AddLiveArgs, DeleteArgs},
    marks::{self, RemarkArgs, UpdateArgs},
    one_of,
    rescue::{self, RescueArgs},
    scripts::{self, ChosenArgs},
    verbs::{self, BmcArgs, DeployArgs, Label, PowerWord},
};
use crate::{client::SHORT, error::Error, render::machines as render, render::words, wait::WaitArgs};

/// Machines and their life-cycle.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List machines.
    List(ListArgs),
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
    /// Add a machine that already runs a workload: deployed at once, nothing is rebooted. Prints a script for its host.
    AddLive(AddLiveArgs),
    /// Take a machine out of Farrier: its BMC account, addresses and credentials are given back.
    Delete(DeleteArgs),
    /// Commission a new, ready or failed machine: BMC account, boot, inventory.
    Commission(CommissionArgs),
    /// Run hardware tests on a ready machine.
    Test {
        /// Id or name.
        machine: String,
        /// Test to run; may be repeated [default: all built-in ones].
        #[arg(long = "test", value_name = "NAME")]
        tests: Vec<String>,
        /// Why, for the event log.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Show what scripts and tests did on a machine, newest first.
    Results {
        /// Id or name.
        machine: String,
        /// Only this script, with all that it wrote the last time.
        #[arg(long, value_name = "NAME")]
        script: Option<String>,
    },
    /// Take a ready machine for yourself or a project: the named one, or the cheapest that fits.
    Allocate(Box<AllocateArgs>),
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
    /// Take a machine out of use because of its hardware; whoever holds it loses it.
    MarkBroken(RemarkArgs),
    /// Commission a broken machine whose repair is done.
    MarkFixed {
        #[command(flatten)]
        remark: RemarkArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Make a machine ready although a hardware test failed.
    OverrideFailedTest {
        /// Id or name.
        machine: String,
        /// Why it may be used all the same; kept in the event log and the audit.
        #[arg(long)]
        comment: String,
    },
    /// Keep everybody from a machine: it refuses every verb but unlock. Work that is under way goes on.
    Lock(RemarkArgs),
    /// Let people at a locked machine again.
    Unlock(RemarkArgs),
    /// Set name, pool, zone, tags, labels or notes; what is not given stays.
    Update(UpdateArgs),
    /// Boot the rescue environment, with SSH for your keys; disks are not touched.
    Rescue(RescueArgs),
    /// Leave the rescue environment; the machine returns to where it was before.
    ExitRescue {
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
    /// Tell the power of a machine that people switch; its work goes on with that.
    TellPower {
        /// Id or name.
        machine: String,
        /// What it is now.
        #[arg(value_parser = one_of(PowerState::ALL.iter().map(|p| (*p, p.to_string()))))]
        power: PowerState,
        /// For the event log and the audit.
        #[arg(long, default_value = "", hide_default_value = true)]
        comment: String,
    },
}

/// Which machines to list, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only machines in this state; may be repeated.
    #[arg(long = "state", value_name = "STATE", value_parser = one_of(words::states()))]
    states: Vec<MachineState>,
    /// Only machines that fit, such as 'tags:gpu AND memory_bytes>=68719476736'; docs/filter.md tells all.
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,
    /// In this order, such as 'state, since desc' [default: as they were made].
    #[arg(long, value_name = "FIELDS", default_value = "", hide_default_value = true)]
    order_by: String,
    /// How much of each machine is read; tables show no more for full, JSON does.
    #[arg(long, value_enum, default_value_t = ViewWord::Basic)]
    view: ViewWord,
    /// No more than so many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// How much of a machine is read.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum ViewWord {
    /// Without hardware, erasures, layouts, notes and script results.
    Basic,
    /// All.
    Full,
}

/// A machine to add.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("bmc_is_required").args(["bmc_address", "webhook_query", "bmc_manual"])
    .multiple(true).required(true))]
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
    /// Rack that serves it [default: the one in whose subnet the BMC is, or the only one].
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) rack: String,
    /// A label; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(super) labels: Vec<Label>,
    /// Id or name of its pool [default: default].
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) pool: String,
    /// Its zone, a word for what fails together [default: default].
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) zone: String,
    /// A tag; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    pub(super) tags: Vec<String>,
    /// Free text.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) notes: String,
    #[command(flatten)]
    pub(super) chosen: ChosenArgs,
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
    /// No account on the BMC is known: have one made from inside the machine, which you switch on.
    #[arg(long, group = "bmc_way")]
    pub(super) bmc_in_band: bool,
    #[command(flatten)]
    pub(super) chosen: ChosenArgs,
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
        Command::List(args) => list(app, args).await,
        Command::Show { machine } => show(app, machine).await,
        Command::Explain { machine, entries } => explain(app, machine, entries).await,
        Command::Create(args) => verbs::create(app, args).await,
        Command::AddLive(args) => leave::add_live(app, args).await,
        Command::Delete(args) => leave::delete(app, args).await,
        Command::Commission(args) => verbs::commission(app, args).await,
        Command::Test { machine, tests, comment, wait } => verbs::test(app, machine, tests, comment, &wait).await,
        Command::Results { machine, script } => scripts::results(app, machine, script).await,
        Command::Allocate(args) => allocate::run(app, *args).await,
        Command::Deploy(args) => verbs::deploy(app, args).await,
        Command::Release(args) => verbs::release(app, args).await,
        Command::Abort { machine, comment, wait } => verbs::abort(app, machine, comment, &wait).await,
        Command::MarkBroken(args) => marks::mark_broken(app, args).await,
        Command::MarkFixed { remark, wait } => marks::mark_fixed(app, remark, &wait).await,
        Command::OverrideFailedTest { machine, comment } => marks::override_failed_test(app, machine, comment).await,
        Command::Lock(args) => marks::lock(app, args).await,
        Command::Unlock(args) => marks::unlock(app, args).await,
        Command::Update(args) => marks::update(app, args).await,
        Command::Rescue(args) => rescue::rescue(app, args).await,
        Command::ExitRescue { machine, comment, wait } => rescue::exit(app, machine, comment, &wait).await,
        Command::Configure(args) => layouts::configure(app, args).await,
        Command::Clone(args) => layouts::clone(app, args).await,
        Command::Power { action, machine } => verbs::power(app, action, machine).await,
        Command::TellPower { machine, power, comment } => verbs::tell_power(app, machine, power, comment).await,
    }
}

async fn list(app: &App, args: ListArgs) -> Result<(), Error> {
    let client = app.client()?;
    let view = match args.view {
        ViewWord::Basic => MachineView::Basic,
        ViewWord::Full => MachineView::Full,
    };
    let request = ListMachinesRequest {
        page: None,
        states: args.states.into_iter().map(i32::from).collect(),
        filter: args.filter,
        order_by: args.order_by,
        view: view.into(),
    };
    let mut left = args.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut revision = None;
    let machines = client
        .pages(async |mut page| {
            page.page_size = page.page_size.min(i32::try_from(left).unwrap_or(i32::MAX));
            let request = ListMachinesRequest { page: Some(page), ..request.clone() };
            let list = client.call(SHORT, request, async |c, r| MachinesClient::new(c).list_machines(r).await).await?;
            revision.get_or_insert(list.revision);
            let mut machines = list.machines;
            machines.truncate(left);
            left -= machines.len();
            Ok((machines, if left == 0 { String::new() } else { list.next_page_token }))
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
