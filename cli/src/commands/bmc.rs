//! `farrier bmc`.

use std::time::Duration;

use farrier_proto::v1::{Bmc, BmcVerbRequest, GetBmcRequest, RevealBmcPasswordResponse, bmcs_client::BmcsClient};
use tokio::time::{Instant, sleep};

use super::App;
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
    /// Give the account that Farrier made on a BMC a new password; the old one works until a login with the new one has.
    Rotate {
        #[command(flatten)]
        verb: VerbArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
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
