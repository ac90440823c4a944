//! The life-cycle's verbs: one call each, then `--wait` if it is asked for.

use std::{
    collections::HashMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use farrier_common::{
    hardware::{BmcProtocol, PowerState},
    secret::Secret,
    tls::Fingerprint,
};
use farrier_proto::{
    convert,
    v1::{
        AbortMachineRequest, BmcCredentials, CommissionMachineRequest, CreateMachineRequest, DeployMachineRequest,
        InBandBmc, Machine, PowerAction, PowerMachineRequest, ReleaseMachineRequest, TellPowerRequest,
        TestMachineRequest, Webhook, machines_client::MachinesClient,
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
    #[arg(long, value_name = "ADDRESS", group = "bmc_way")]
    bmc_address: Option<Ipv4Addr>,
    /// Account that exists on the BMC.
    #[arg(long, value_name = "USER", requires = "bmc_password_file")]
    bmc_user: Option<String>,
    /// File that holds the account's password.
    #[arg(long, value_name = "FILE", requires = "bmc_user")]
    bmc_password_file: Option<PathBuf>,
    /// What the BMC speaks: ipmi or redfish [default: found out by asking it]; or webhook.
    #[arg(long,
        value_parser = one_of(BmcProtocol::ALL.iter().map(|p| (*p, p.to_string()))))]
    bmc_protocol: Option<BmcProtocol>,
    /// SHA-256 of the certificate that it must show [default: Redfish: the one that is seen first].
    #[arg(long, value_name = "SHA256")]
    bmc_certificate: Option<Fingerprint>,
    /// Redfish: Id of the system, for a BMC with several.
    #[arg(long, value_name = "ID", requires = "bmc_address")]
    bmc_system: Option<String>,
    /// Port of the BMC [default: the protocol's own, 623 or 443].
    #[arg(long, value_name = "PORT", requires = "bmc_protocol", value_parser = clap::value_parser!(u16).range(1..))]
    bmc_port: Option<u16>,
    /// No BMC is asked: people switch the machine when its reason says so, and tell (machine tell-power).
    #[arg(long, group = "bmc_way")]
    pub(super) bmc_manual: bool,
    /// Take the account over that the BMC has under the name of Farrier's own, with a password that Farrier does not know.
    #[arg(long, requires = "bmc_way", conflicts_with_all = ["bmc_use_as_is", "bmc_manual"])]
    bmc_take_over: bool,
    /// Use this account for good; the default is to make an account of Farrier's own.
    #[arg(long, requires = "bmc_address")]
    bmc_use_as_is: bool,
    /// Webhook: POST to this URL switches on.
    #[arg(long, value_name = "URL", requires = "webhook_query")]
    webhook_on: Option<String>,
    /// Webhook: POST to this URL switches off.
    #[arg(long, value_name = "URL", requires = "webhook_query")]
    webhook_off: Option<String>,
    /// Webhook: GET of this URL tells the power.
    #[arg(long, value_name = "URL",
        requires_all = ["bmc_protocol", "webhook_on", "webhook_off", "webhook_on_regex", "webhook_off_regex"])]
    webhook_query: Option<String>,
    /// Webhook: what is found in the answer when the power is on.
    #[arg(long, value_name = "REGEX", requires = "webhook_query")]
    webhook_on_regex: Option<String>,
    /// Webhook: what is found in the answer when the power is off.
    #[arg(long, value_name = "REGEX", requires = "webhook_query")]
    webhook_off_regex: Option<String>,
    /// Webhook: file that holds a bearer token.
    #[arg(long, value_name = "FILE", requires = "webhook_query", conflicts_with = "bmc_user")]
    webhook_token_file: Option<PathBuf>,
    /// Webhook: take whatever certificate the server shows.
    #[arg(long, requires = "webhook_query", conflicts_with = "bmc_certificate")]
    webhook_insecure: bool,
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
    let manual = args.bmc.bmc_manual;
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
        manual,
        rack: args.rack,
    };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).create_machine(r).await);
    act(app, &client, &args.wait, Aim::Ready, call).await
}

/// Takes inventory of a machine.
pub(crate) async fn commission(app: &App, args: CommissionArgs) -> Result<(), Error> {
    let in_band = args.bmc_in_band.then_some(InBandBmc { take_over_account: args.bmc.bmc_take_over });
    let manual = args.bmc.bmc_manual;
    let bmc = credentials(args.bmc)?;
    let commission = Some(args.chosen.into());
    let request =
        CommissionMachineRequest { options: options(), machine: args.machine, bmc, commission, in_band, manual };
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

/// Tells the power of a machine that people switch.
pub(crate) async fn tell_power(app: &App, machine: String, power: PowerState, comment: String) -> Result<(), Error> {
    let power = convert::power_to_wire(power).into();
    let request = TellPowerRequest { options: options(), machine, power, comment };
    let client = app.client()?;
    let call = client.call(SHORT, request, async |c, r| MachinesClient::new(c).tell_power(r).await);
    let machine = call.await?;
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

pub(super) fn credentials(args: BmcArgs) -> Result<Option<BmcCredentials>, Error> {
    let by_webhook = args.bmc_protocol == Some(BmcProtocol::Webhook);
    if by_webhook != args.webhook_query.is_some() {
        return Err(Error::Usage("--bmc-protocol webhook and --webhook-query go together".to_owned()));
    }
    let any = args.bmc_protocol.is_some() || args.bmc_user.is_some() || args.bmc_certificate.is_some();
    let password = match (&args.bmc_password_file, &args.webhook_token_file) {
        (Some(file), _) => Some(secret("--bmc-password-file", file)?),
        (None, Some(file)) => Some(secret("--webhook-token-file", file)?),
        (None, None) => None,
    };
    if !by_webhook && (args.bmc_address.is_none() || password.is_none()) {
        return match (any, args.bmc_address) {
            (false, None) => Ok(None),
            (true, None) => Err(Error::Usage("what is said of the BMC needs --bmc-address".to_owned())),
            (_, Some(_)) => Err(Error::Usage("--bmc-address needs --bmc-user and --bmc-password-file".to_owned())),
        };
    }
    Ok(Some(BmcCredentials {
        protocol: args.bmc_protocol.map_or(0, |p| convert::protocol_to_wire(p).into()),
        address: args.bmc_address.map(|a| a.to_string()).unwrap_or_default(),
        port: args.bmc_port.map_or(0, u32::from),
        username: args.bmc_user.unwrap_or_default(),
        password: password.map(|p| p.expose().clone()).unwrap_or_default(),
        use_as_is: args.bmc_use_as_is,
        take_over_account: args.bmc_take_over,
        system: args.bmc_system.unwrap_or_default(),
        certificate_sha256: args.bmc_certificate.map(|c| c.to_string()).unwrap_or_default(),
        webhook: args.webhook_query.map(|query_url| Webhook {
            on_url: args.webhook_on.unwrap_or_default(),
            off_url: args.webhook_off.unwrap_or_default(),
            query_url,
            on_regex: args.webhook_on_regex.unwrap_or_default(),
            off_regex: args.webhook_off_regex.unwrap_or_default(),
            insecure: args.webhook_insecure,
        }),
    }))
}

/// The secret in the file that an option names.
pub(super) fn secret(option: &str, file: &Path) -> Result<Secret<String>, Error> {
    let secret = Secret::from_file(file).map_err(Error::file(format!("cannot read {option} {}", file.display())))?;
    if secret.expose().is_empty() {
        return Err(Error::Usage(format!("{option} {} is empty", file.display())));
    }
    Ok(secret)
}
