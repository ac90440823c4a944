//! `farrier bulk`: one verb for many machines. First the plan, then the count from the operator, then the work.

use std::io::{self, BufRead as _, IsTerminal as _};

use farrier_proto::v1::{BulkMachinesRequest, BulkPlan, MutationOptions, machines_client::MachinesClient};

use super::{App, operations};
use crate::{
    client::{Client, SHORT, options},
    error::Error,
    render::operations as render,
};

/// What may be done with many machines.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Verb {
    /// Learn them (again).
    Commission,
    /// Run hardware tests.
    Test,
    /// Stop the work in progress.
    Abort,
    /// Give them back.
    Release,
    /// They have a hardware problem.
    MarkBroken,
    /// The hardware problem is gone.
    MarkFixed,
    /// Keep everybody from them.
    Lock,
    /// Let people work with them again.
    Unlock,
    /// Change the passwords of our accounts on their BMCs.
    RotateBmcPassword,
    /// Take them out of the database.
    Delete,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Commission => "commission",
            Self::Test => "test",
            Self::Abort => "abort",
            Self::Release => "release",
            Self::MarkBroken => "mark-broken",
            Self::MarkFixed => "mark-fixed",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::RotateBmcPassword => "rotate-bmc-password",
            Self::Delete => "delete",
        }
    }
}

/// One verb for many machines.
#[derive(Debug, clap::Args)]
pub(crate) struct BulkArgs {
    /// What to do with each.
    verb: Verb,
    /// Ids or names.
    #[arg(required_unless_present = "filter", conflicts_with = "filter")]
    machines: Vec<String>,
    /// Instead of names: what a machine must be, such as 'state=deployed AND pool=lab'.
    #[arg(long)]
    filter: Option<String>,
    /// Show what would be done, and do nothing.
    #[arg(long, conflicts_with_all = ["expect", "no_wait"])]
    plan: bool,
    /// Do it without asking if it is about so many machines.
    #[arg(long, value_name = "N", alias = "yes-count", value_parser = clap::value_parser!(u32).range(1..))]
    expect: Option<u32>,
    /// Machines at work at once.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    max_parallel: u32,
    /// Begin no further machine after so many failures [default: go on to the end].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    stop_after_failures: Option<u32>,
    /// So many machines go first; the others are begun only if none of these fails [default: none].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    canary: Option<u32>,
    /// Why, for the audit.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
    /// Release: keep the disks' content; the region's policy must allow it.
    #[arg(long)]
    skip_erase: bool,
    /// Return when the work has begun; `farrier operation watch` follows it later.
    #[arg(long)]
    no_wait: bool,
}

/// Runs it.
pub(crate) async fn run(app: &App, args: BulkArgs) -> Result<(), Error> {
    let client = app.client()?;
    let request = BulkMachinesRequest {
        options: options(),
        verb: args.verb.word().to_owned(),
        filter: args.filter.unwrap_or_default(),
        machines: args.machines,
        max_parallel: args.max_parallel,
        stop_after_failures: args.stop_after_failures.unwrap_or_default(),
        comment: args.comment,
        skip_erase: args.skip_erase,
        canary: args.canary.unwrap_or_default(),
        ..BulkMachinesRequest::default()
    };
    let plan = plan(&client, &request).await?;
    if args.plan {
        return app.out.answer(|| render::plan_json(&plan), || render::plan_table(&plan, app.out.width()));
    }
    agree(app, args.verb, &plan, args.expect).await?;
    let request = BulkMachinesRequest { plan_token: plan.token, expected_count: plan.count, ..request };
    let made = client.call(SHORT, request, async |c, r| MachinesClient::new(c).bulk_machines(r).await).await?;
    let operation = made.operation.ok_or_else(|| Error::Nonsense("there is no operation in it".to_owned()))?;
    if args.no_wait {
        return app.out.answer(|| render::json(&operation), || render::summary(&operation));
    }
    operations::follow(app, &client, operation).await
}

async fn plan(client: &Client, request: &BulkMachinesRequest) -> Result<BulkPlan, Error> {
    let only_tell = options().map(|o| MutationOptions { validate_only: true, ..o });
    let request = BulkMachinesRequest { options: only_tell, ..request.clone() };
    let told = client.call(SHORT, request, async |c, r| MachinesClient::new(c).bulk_machines(r).await).await?;
    told.plan.ok_or_else(|| Error::Nonsense("there is no plan in it".to_owned()))
}

/// Does the operator know how many machines it is about?
async fn agree(app: &App, verb: Verb, plan: &BulkPlan, expect: Option<u32>) -> Result<(), Error> {
    let count = plan.count;
    if let Some(expected) = expect {
        let other = || Error::Usage(format!("--expect says {expected}, but it is about {count}; nothing was done"));
        return if expected == count { Ok(()) } else { Err(other()) };
    }
    app.out.note(&render::plan_table(plan, app.out.width()));
    if !io::stdin().is_terminal() {
        let why = format!("it is about {count} machines, and nobody is here to confirm that; give --expect {count}");
        return Err(Error::Usage(why));
    }
    app.out.note(&format!("Type {count} to {} these machines:", verb.word()));
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(|e| Error::Nonsense(format!("standard input: {e}")))?;
    let line = line.map_err(Error::file("cannot read standard input"))?;
    if line.trim() == count.to_string() {
        return Ok(());
    }
    Err(Error::Usage(format!("{:?} is not {count}; nothing was done", line.trim())))
}
