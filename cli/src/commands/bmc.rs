//! `farrier bmc`.

use std::{net::Ipv4Addr, path::PathBuf, str::FromStr, time::Duration};

use farrier_common::{hardware::BmcProtocol, tls::Fingerprint};
use farrier_proto::{
    convert,
    v1::{
        BiosSetting, Bmc, BmcVerbRequest, GetBiosSettingsRequest, GetBmcRequest, ListBmcEventsRequest,
        RevealBmcPasswordResponse, SetBiosSettingsRequest, SetBmcRequest, bmcs_client::BmcsClient,
    },
};
use tokio::time::{Instant, sleep};

use super::{App, one_of, verbs::secret};
use crate::{
    client::{BMC, Client, SHORT, options},
    error::Error,
    render::bmc as render,
    wait::WaitArgs,
};

/// BMCs, by the machines that they are in.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show what is known of a machine's BMC, and how old that is.
    Show {
        /// Id or name of the machine.
        machine: String,
    },
    /// Ask a machine's BMC now what it is.
    Probe(VerbArgs),
    /// Say how a machine's BMC is reached from now on: it has moved, or somebody else changed its account. What is not given
    /// stays; nothing is changed unless a login works.
    Set(SetArgs),
    /// Give the account that Farrier made on a BMC a new password; the old one works until a login with the new one has.
    Rotate {
        #[command(flatten)]
        verb: VerbArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Ask a BMC now for its own event log: what it has seen happen to the hardware (IPMI: SEL), the newest first.
    Events {
        /// Id or name of the machine.
        machine: String,
        /// So many of the newest.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=500))]
        limit: i32,
    },
    /// Ask a BMC now for the settings of the machine's firmware: BIOS attributes, secure boot.
    Bios {
        /// Id or name of the machine.
        machine: String,
        /// Only attributes whose names hold this text.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        name: String,
    },
    /// Set BIOS attributes and secure boot, from the machine's next start on.
    SetBios(SetBiosArgs),
    /// Print the password of the account in use on a BMC; who asked and why is audited.
    Reveal {
        /// Id or name of the machine.
        machine: String,
        /// Why you need it.
        #[arg(long)]
        comment: String,
    },
    /// Start the BMC itself anew; the machine's power stays as it is.
    Reset(VerbArgs),
    /// Show what was asked of a BMC lately, and what came of it.
    Log {
        /// Id or name of the machine.
        machine: String,
    },
}

/// A machine, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct VerbArgs {
    /// Id or name of the machine.
    machine: String,
    /// Why, for the event log.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

/// What the firmware is to be set to.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("setting").required(true).multiple(true))]
pub(crate) struct SetBiosArgs {
    /// Id or name of the machine.
    machine: String,
    /// A BIOS attribute by the vendor's name; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", group = "setting")]
    attributes: Vec<Setting>,
    /// UEFI Secure Boot.
    #[arg(long, value_enum, group = "setting")]
    secure_boot: Option<Switch>,
    /// Why, for the event log.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

/// On or off.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// A BIOS attribute as the command line gives it.
#[derive(Clone, Debug)]
struct Setting(String, String);

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = parts.ok_or_else(|| "is not NAME=VALUE".to_owned())?;
        Ok(Self(name.to_owned(), value.to_owned()))
    }
}

/// What is to be another.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct SetArgs {
    /// Id or name of the machine.
    machine: String,
    /// IPv4 address of the BMC.
    #[arg(long, group = "change")]
    address: Option<Ipv4Addr>,
    /// What it speaks: ipmi, redfish, or auto to have it found out.
    #[arg(long, group = "change", value_parser = one_of(protocols()))]
    protocol: Option<Protocol>,
    /// Port; 0 is the protocol's own.
    #[arg(long, group = "change")]
    port: Option<u16>,
    /// Account that exists on the BMC, to be used as it is.
    #[arg(long, group = "change", requires = "password_file")]
    user: Option<String>,
    /// File that holds the account's password.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Redfish: SHA-256 of the certificate that the BMC must show.
    #[arg(long, value_name = "SHA256", group = "change")]
    certificate: Option<Fingerprint>,
    /// Redfish: take the certificate for the BMC's that it shows now.
    #[arg(long, group = "change", conflicts_with = "certificate")]
    new_certificate: bool,
    /// Redfish: Id of the system, for a BMC with several.
    #[arg(long, value_name = "ID", group = "change")]
    system: Option<String>,
    /// Why, for the event log.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

impl SetArgs {
    fn request(self) -> Result<SetBmcRequest, Error> {
        let password = self.password_file.as_deref().map(|file| secret("--password-file", file)).transpose()?;
        let wire = |p: Protocol| p.0.map_or(0, |p| convert::protocol_to_wire(p).into());
        let certificate = self.certificate.map(|c| c.to_string());
        Ok(SetBmcRequest {
            options: options(),
            machine: self.machine,
            comment: self.comment,
            address: self.address.map(|a| a.to_string()),
            protocol: self.protocol.map(wire),
            port: self.port.map(u32::from),
            username: self.user,
            password: password.map(|p| p.expose().clone()),
            certificate_sha256: certificate.or_else(|| self.new_certificate.then(String::new)),
            system: self.system,
        })
    }
}

/// What a BMC speaks; `None`: to be found out.
#[derive(Clone, Copy, Debug)]
struct Protocol(Option<BmcProtocol>);

fn protocols() -> impl Iterator<Item = (Protocol, String)> {
    let auto = (Protocol(None), "auto".to_owned());
    BmcProtocol::ALL.iter().map(|p| (Protocol(Some(*p)), p.to_string())).chain([auto])
}

impl VerbArgs {
    fn request(self) -> BmcVerbRequest {
        BmcVerbRequest { options: options(), machine: self.machine, comment: self.comment }
    }
}

/// Between two looks at a rotation.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs one of them.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    let client = app.client()?;
    match command {
        Command::Show { machine } => show(app, &get(&client, machine).await?),
        Command::Probe(verb) => {
            let asked = client.call(BMC, verb.request(), async |c, r| BmcsClient::new(c).probe_bmc(r).await);
            show(app, &asked.await?)
        }
        Command::Set(args) => {
            let request = args.request()?;
            let asked = client.call(BMC, request, async |c, r| BmcsClient::new(c).set_bmc(r).await);
            show(app, &asked.await?)
        }
        Command::Rotate { verb, wait } => rotate(app, &client, verb, &wait).await,
        Command::Reveal { machine, comment } => {
            let request = VerbArgs { machine, comment }.request();
            let asked = client.call(SHORT, request, async |c, r| BmcsClient::new(c).reveal_bmc_password(r).await);
            let RevealBmcPasswordResponse { username, password } = asked.await?;
            app.out.note(&format!("of the account {username}; that you were told it is audited"));
            app.out.answer(|| render::password_json(&username, &password), || password.clone())
        }
        Command::Reset(verb) => {
            let asked = client.call(BMC, verb.request(), async |c, r| BmcsClient::new(c).reset_bmc(r).await);
            let bmc = asked.await?;
            app.out.note(&format!("the BMC of {} starts anew; it does not answer for some minutes", bmc.machine));
            show(app, &bmc)
        }
        Command::Events { machine, limit } => {
            let request = ListBmcEventsRequest { machine, limit };
            let asked = client.call(BMC, request, async |c, r| BmcsClient::new(c).list_bmc_events(r).await);
            let log = asked.await?;
            let older = if log.more { "; there are older ones, see --limit" } else { "" };
            app.out.note(&format!("{}: {} events, the newest first{older}", log.log, log.events.len()));
            app.out.answer(|| render::events_json(&log), || render::events(&log, app.out.width()))
        }
        Command::Bios { machine, name } => {
            let request = GetBiosSettingsRequest { machine };
            let asked = client.call(BMC, request, async |c, r| BmcsClient::new(c).get_bios_settings(r).await);
            let mut settings = asked.await?;
            let part = name.to_lowercase();
            settings.attributes.retain(|a| a.name.to_lowercase().contains(&part));
            app.out.answer(|| render::bios_json(&settings), || render::bios(&settings, app.out.width()))
        }
        Command::SetBios(args) => {
            let request = SetBiosSettingsRequest {
                options: options(),
                machine: args.machine,
                comment: args.comment,
                attributes: args
                    .attributes
                    .into_iter()
                    .map(|Setting(name, value)| BiosSetting { name, value })
                    .collect(),
                secure_boot: args.secure_boot.map(|s| matches!(s, Switch::On)),
            };
            let asked = client.call(BMC, request, async |c, r| BmcsClient::new(c).set_bios_settings(r).await);
            let bmc = asked.await?;
            app.out.note(&format!("set, from the next start of {} on", bmc.machine));
            show(app, &bmc)
        }
        Command::Log { machine } => {
            let bmc = get(&client, machine).await?;
            app.out.answer(|| render::log_json(&bmc), || render::log(&bmc, app.out.width()))
        }
    }
}

async fn get(client: &Client, machine: String) -> Result<Bmc, Error> {
    client.call(SHORT, GetBmcRequest { machine }, async |c, r| BmcsClient::new(c).get_bmc(r).await).await
}

fn show(app: &App, bmc: &Bmc) -> Result<(), Error> {
    app.out.answer(|| render::whole_json(bmc), || render::page(bmc, app.clock.now()))
}

async fn rotate(app: &App, client: &Client, verb: VerbArgs, wait: &WaitArgs) -> Result<(), Error> {
    let asked = client.call(SHORT, verb.request(), async |c, r| BmcsClient::new(c).rotate_bmc_password(r).await);
    let mut bmc = asked.await?;
    let before = bmc.rotated_at;
    if !wait.wait {
        return show(app, &bmc);
    }
    let deadline = Instant::now() + Duration::from_secs(wait.timeout);
    let mut told = String::new();
    while let Some(rotation) = &bmc.rotation {
        if rotation.trouble != told {
            told.clone_from(&rotation.trouble);
            app.out.note(&format!("try {}: {told}", rotation.tries));
        }
        if Instant::now() >= deadline {
            return Err(Error::StillWorking {
                machine: format!("the BMC password of {}", bmc.machine),
                state: "being changed".to_owned(),
                secs: wait.timeout,
                reason: told,
            });
        }
        sleep(PAUSE).await;
        bmc = get(client, bmc.machine).await?;
    }
    if bmc.rotated_at == before {
        return Err(Error::Ended {
            machine: format!("the BMC password of {}", bmc.machine),
            state: "unchanged".to_owned(),
            aim: "changed",
            reason: bmc.exchanges.first().map(|e| e.text.clone()).unwrap_or_default(),
        });
    }
    show(app, &bmc)
}
