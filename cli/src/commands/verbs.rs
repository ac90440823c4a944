//! The life-cycle's verbs: one call each, then `--wait` if it is asked for.

use std::{
    collections::HashMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use farrier_common::{hardware::BmcProtocol, secret::Secret, tls::Fingerprint};
use farrier_proto::{
    convert,
    v1::{
        AbortMachineRequest, BmcCredentials, CommissionMachineRequest, CreateMachineRequest, DeployMachineRequest,
        InBandBmc, Machine, PowerAction, PowerMachineRequest, ReleaseMachineRequest, TestMachineRequest,
        machines_client::MachinesClient,
    },
};

use super::{
    App,
    machines::{CommissionArgs, CreateArgs, ReleaseArgs},
    one_of,
};
use crate::{
    client::{self, Client, SHORT, options},
    error::Error,
    render::machines as render,
    wait::{self, Aim, WaitArgs},
};

/// The contract's limit.
const MOST_USER_DATA: usize = 1 << 20;

/// How to reach a BMC with an account that exists. The password comes from a file: a command line can be seen by others.
#[derive(Debug, clap::Args)]
pub(crate) struct BmcArgs {
    /// IPv4 address of the BMC.
    #[arg(long, value_name = "ADDRESS", group = "bmc_way", requires_all = ["bmc_user", "bmc_password_file"])]
    bmc_address: Option<Ipv4Addr>,
    /// Account that exists on the BMC.
    #[arg(long, value_name = "USER", requires = "bmc_address")]
    bmc_user: Option<String>,
    /// File that holds the account's password.
    #[arg(long, value_name = "FILE", requires = "bmc_address")]
    bmc_password_file: Option<PathBuf>,
    /// What the BMC speaks: ipmi or redfish [default: found out by asking it].
    #[arg(long, requires = "bmc_address",
        value_parser = one_of(BmcProtocol::ALL.iter().map(|p| (*p, p.to_string()))))]
    bmc_protocol: Option<BmcProtocol>,
    /// Redfish: SHA-256 of the certificate that the BMC must show [default: the one that is seen first].
    #[arg(long, value_name = "SHA256", requires = "bmc_address")]
    bmc_certificate: Option<Fingerprint>,
    /// Redfish: Id of the system, for a BMC with several.
    #[arg(long, value_name = "ID", requires = "bmc_address")]
    bmc_system: Option<String>,
    /// Port of the BMC [default: the protocol's own, 623 or 443].
    #[arg(long, value_name = "PORT", requires = "bmc_protocol", value_parser = clap::value_parser!(u16).range(1..))]
    bmc_port: Option<u16>,
    /// Take the account over that the BMC has under the name of Farrier's own, with a password that Farrier does not know.
    #[arg(long, requires = "bmc_way", conflicts_with = "bmc_use_as_is")]
    bmc_take_over: bool,
    /// Use this account for good; the default is to make an account of Farrier's own.
    #[arg(long, requires = "bmc_address")]
    bmc_use_as_is: bool,
}

/// An image for a machine.
#[derive(Debug, clap::Args)]
pub(crate) struct DeployArgs {
    /// Id or name.
    machine: String,
    /// Id or name of a disk image.
    #[arg(long)]
    image: String,
    /// File with cloud-init user data, handed over as it is; at most 1 MiB.
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    /// Serial number of the disk to write [default: the smallest that holds the image].
    #[arg(long, value_name = "SERIAL", default_value = "", hide_default_value = true)]
    disk: String,
    #[command(flatten)]
    wait: WaitArgs,
}

/// What may be asked of the power.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum PowerWord {
    /// Power on.
    On,
    /// Power off, hard.
    Off,
    /// Power off, then on.
    Cycle,
    /// Ask the system to shut down in order.
    SoftOff,
    /// Ask the BMC now; change nothing.
    Query,
}

/// A label as the command line gives it.
#[derive(Clone, Debug)]
pub(crate) struct Label(pub(super) String, pub(super) String);

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = parts.ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
        Ok(Self(key.to_owned(), value.to_owned()))
    }
}

// === verbs ===

/// Adds a machine.
pub(crate) async fn create(app: &App, args: CreateArgs) -> Result<(), Error> {
    let labels = labelled(args.labels)?;
    let request = CreateMachineRequest {
        options: options(),
        name: args.name,
        architecture: convert::architecture_to_wire(args.arch).into(),
        macs: args.macs.iter().map(ToString::to_string).collect(),
        bmc: credentials(args.bmc)?,
        labels,
        pool: args.pool,
        zone: args.zone,
        tags: args.tags,
        notes: args.notes,
        commission: Some(args.chosen.into()),
    };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).create_machine(r).await);
    act(app, &client, &args.wait, Aim::Ready, call).await
}

/// Takes inventory of a machine.
pub(crate) async fn commission(app: &App, args: CommissionArgs) -> Result<(), Error> {
    let in_band = args.bmc_in_band.then_some(InBandBmc { take_over_account: args.bmc.bmc_take_over });
    let bmc = credentials(args.bmc)?;
    let commission = Some(args.chosen.into());
    let request = CommissionMachineRequest { options: options(), machine: args.machine, bmc, commission, in_band };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).commission_machine(r).await);
    act(app, &client, &args.wait, Aim::Ready, call).await
}

/// Runs hardware tests.
pub(crate) async fn test(
    app: &App,
    machine: String,
    tests: Vec<String>,
    comment: String,
    wait: &WaitArgs,
) -> Result<(), Error> {
    let request = TestMachineRequest { options: options(), machine, tests, comment };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).test_machine(r).await);
    act(app, &client, wait, Aim::Ready, call).await
}

/// Puts an image on a machine.
pub(crate) async fn deploy(app: &App, args: DeployArgs) -> Result<(), Error> {
    let user_data = match &args.user_data {
        None => Vec::new(),
        Some(path) => fs::read(path).map_err(Error::file(format!("cannot read --user-data {}", path.display())))?,
    };
    if user_data.len() > MOST_USER_DATA {
        return Err(Error::Usage(format!("--user-data has {} bytes; at most {MOST_USER_DATA} fit", user_data.len())));
    }
    let request = DeployMachineRequest {
        options: options(),
        machine: args.machine,
        image: args.image,
        user_data,
        disk_serial: args.disk,
    };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).deploy_machine(r).await);
    act(app, &client, &args.wait, Aim::Deployed, call).await
}

/// Gives a machine back.
pub(crate) async fn release(app: &App, args: ReleaseArgs) -> Result<(), Error> {
    let request = ReleaseMachineRequest {
        options: options(),
        machine: args.machine,
        skip_erase: args.skip_erase,
        comment: args.comment,
    };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).release_machine(r).await);
    act(app, &client, &args.wait, Aim::Ready, call).await
}

/// Stops the work on a machine.
pub(crate) async fn abort(app: &App, machine: String, comment: String, wait: &WaitArgs) -> Result<(), Error> {
    let request = AbortMachineRequest { options: options(), machine, comment };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).abort_machine(r).await);
    act(app, &client, wait, Aim::Failed, call).await
}

/// Asks a machine's BMC.
pub(crate) async fn power(app: &App, action: PowerWord, machine: String) -> Result<(), Error> {
    let action = match action {
        PowerWord::On => PowerAction::On,
        PowerWord::Off => PowerAction::Off,
        PowerWord::Cycle => PowerAction::Cycle,
        PowerWord::SoftOff => PowerAction::SoftOff,
        PowerWord::Query => PowerAction::Query,
    };
    let request = PowerMachineRequest { options: options(), machine, action: action.into() };
    let client = app.client()?;
    let answer = client.call(client::BMC, request, async |c, r| MachinesClient::new(c).power_machine(r).await);
    let machine = answer.await?;
    app.out.answer(|| render::json(&machine), || render::power_summary(&machine, app.clock.now()))
}

// === what they share ===

/// Labels by their keys, each of which is given once.
pub(super) fn labelled(given: Vec<Label>) -> Result<HashMap<String, String>, Error> {
    let mut labels = HashMap::new();
    for Label(key, value) in given {
        if labels.insert(key.clone(), value).is_some() {
            return Err(Error::Usage(format!("--label {key} is given twice")));
        }
    }
    Ok(labels)
}

/// Calls, waits if that is asked for, and shows the machine as it is then, whatever the verdict.
pub(super) async fn act(
    app: &App,
    client: &Client,
    args: &WaitArgs,
    aim: Aim,
    call: impl Future<Output = Result<Machine, Error>>,
) -> Result<(), Error> {
    let show = |machine: &Machine| app.out.answer(|| render::json(machine), || render::summary(machine));
    if !args.wait {
        return show(&call.await?);
    }
    // Read before the call, so that no event of the work is missed.
    let before = client.revision().await?;
    let machine = call.await?;
    let limit = Duration::from_secs(args.timeout);
    let machine = wait::until_rest(client, app.out, machine, before, limit).await?;
    show(&machine)?;
    wait::judge(&machine, aim)
}

/// The password in the file that an option names.
pub(super) fn password(option: &str, file: &Path) -> Result<Secret<String>, Error> {
    let password = Secret::from_file(file).map_err(Error::file(format!("cannot read {option} {}", file.display())))?;
    if password.expose().is_empty() {
        return Err(Error::Usage(format!("{option} {} is empty", file.display())));
    }
    Ok(password)
}

pub(super) fn credentials(args: BmcArgs) -> Result<Option<BmcCredentials>, Error> {
    let (Some(address), Some(username), Some(file)) = (args.bmc_address, args.bmc_user, args.bmc_password_file) else {
        return Ok(None);
    };
    let password = password("--bmc-password-file", &file)?;
    Ok(Some(BmcCredentials {
        protocol: args.bmc_protocol.map_or(0, |p| convert::protocol_to_wire(p).into()),
        address: address.to_string(),
        port: args.bmc_port.map_or(0, u32::from),
        username,
        password: password.expose().clone(),
        use_as_is: args.bmc_use_as_is,
        take_over_account: args.bmc_take_over,
        system: args.bmc_system.unwrap_or_default(),
        certificate_sha256: args.bmc_certificate.map(|c| c.to_string()).unwrap_or_default(),
    }))
}
