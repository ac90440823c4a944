//! The commands, one module per noun: what the command line says, and the calls that it comes to.

mod allocate;
mod audit;
mod bmc;
mod bulk;
mod events;
mod images;
mod layouts;
mod leave;
mod login;
mod machines;
mod marks;
mod operations;
mod pools;
mod projects;
mod racks;
mod rescue;
mod scripts;
mod ssh_keys;
mod subnets;
mod tokens;
mod users;
mod verbs;

use std::path::PathBuf;

use clap::Subcommand;
use clap_complete::Shell;
use farrier_common::{clock::Clock, words::UnknownWord};

use crate::{
    client::Client,
    completion,
    config::{self, Profile},
    error::Error,
    output::Output,
};

/// What every command needs.
#[derive(Debug)]
pub(crate) struct App {
    /// Where text goes.
    pub(crate) out: Output,
    /// The login's file, if the command line or the environment names one.
    pub(crate) config: Option<PathBuf>,
    /// Tells how long ago things were.
    pub(crate) clock: Clock,
}

impl App {
    /// The login's file.
    fn config_path(&self) -> Result<PathBuf, Error> {
        self.config.clone().map_or_else(config::default_path, Ok)
    }

    /// A client with the login's token.
    fn client(&self) -> Result<Client, Error> {
        Client::new(&Profile::load(&self.config_path()?)?, self.out)
    }
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Log in to a region: check the token and remember where it is good.
    Login(login::LoginArgs),
    /// Show who is logged in.
    Whoami,
    /// Machines and their life-cycle.
    #[command(subcommand)]
    Machine(Box<machines::Command>),
    /// The BMCs of machines, and the accounts on them.
    #[command(subcommand)]
    Bmc(bmc::Command),
    /// One verb for many machines, at a bounded pace.
    Bulk(bulk::BulkArgs),
    /// Bulk work as it goes on.
    #[command(subcommand)]
    Operation(operations::Command),
    /// Show the fleet as it changes: a live view on a terminal, else one line an event; until interrupted.
    Watch(events::WatchArgs),
    /// The event log.
    #[command(subcommand)]
    Event(events::Command),
    /// Subnets on which a rack answers.
    #[command(subcommand)]
    Subnet(subnets::Command),
    /// Racks.
    #[command(subcommand)]
    Rack(racks::Command),
    /// Images to deploy, and the ephemeral environment.
    #[command(subcommand)]
    Image(images::Command),
    /// Scripts that the agent runs on machines: for commissioning, and tests.
    #[command(subcommand)]
    Script(scripts::Command),
    /// People and programs.
    #[command(subcommand)]
    User(users::Command),
    /// People who hold machines together.
    #[command(subcommand)]
    Project(projects::Command),
    /// Where machines belong, and who may see and hold them.
    #[command(subcommand)]
    Pool(pools::Command),
    /// Who changed what, when, why and from where; for admins.
    Audit(audit::AuditArgs),
    /// Bearer tokens.
    #[command(subcommand)]
    Token(tokens::Command),
    /// Public keys with which you enter rescue environments and machines that stay up.
    #[command(subcommand)]
    SshKey(ssh_keys::Command),
    /// Print a completion script for a shell.
    Completion {
        /// Which shell.
        shell: CompletionShell,
    },
    /// Print the names of machines that begin so, for completion scripts.
    #[command(hide = true)]
    CompleteNames {
        /// What they begin with.
        #[arg(default_value = "")]
        prefix: String,
    },
}

/// Shells with a completion script.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum CompletionShell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// Runs one command.
pub(crate) async fn run(app: &App, command: Command) -> Result<(), Error> {
    match command {
        Command::Login(args) => login::login(app, args).await,
        Command::Whoami => login::whoami(app).await,
        Command::Machine(command) => machines::run(app, *command).await,
        Command::Bmc(command) => bmc::run(app, command).await,
        Command::Bulk(args) => bulk::run(app, args).await,
        Command::Operation(command) => operations::run(app, command).await,
        Command::Watch(args) => events::watch(app, args).await,
        Command::Event(command) => events::run(app, command).await,
        Command::Project(command) => projects::run(app, command).await,
        Command::Pool(command) => pools::run(app, command).await,
        Command::Audit(args) => audit::run(app, args).await,
        Command::Subnet(command) => subnets::run(app, command).await,
        Command::Rack(command) => racks::run(app, command).await,
        Command::Image(command) => images::run(app, command).await,
        Command::Script(command) => scripts::run(app, command).await,
        Command::User(command) => users::run(app, command).await,
        Command::Token(command) => tokens::run(app, command).await,
        Command::SshKey(command) => ssh_keys::run(app, command).await,
        Command::Completion { shell } => print_completion(app, shell),
        Command::CompleteNames { prefix } => complete_names(app, &prefix).await,
    }
}

fn print_completion(app: &App, shell: CompletionShell) -> Result<(), Error> {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    app.out.text(&completion::script(shell))
}

/// For the completion scripts: says nothing at all unless it has names.
async fn complete_names(app: &App, prefix: &str) -> Result<(), Error> {
    let Ok(client) = app.client() else { return Ok(()) };
    match completion::names(&client, prefix).await {
        Ok(names) if !names.is_empty() => app.out.text(&names.join("\n")),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Parses one of a closed set of words, with the set in `--help` and in completions.
fn one_of<T>(words: impl IntoIterator<Item = (T, String)>) -> impl clap::builder::TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    let words: Vec<(T, String)> = words.into_iter().collect();
    PossibleValuesParser::new(words.iter().map(|(_, text)| text.clone())).try_map(move |text| {
        let found = words.iter().find(|(_, word)| *word == text);
        found.map(|(value, _)| value.clone()).ok_or_else(|| UnknownWord {
            word: text,
            allowed: words.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>().join(", "),
        })
    })
}
