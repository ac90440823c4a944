//! The commands, one module per noun: what the command line says, and the calls that it comes to.

mod events;
mod images;
mod layouts;
mod login;
mod machines;
mod racks;
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
    Machine(machines::Command),
    /// Print events as they happen, until interrupted.
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
    /// People and programs.
    #[command(subcommand)]
    User(users::Command),
    /// Bearer tokens.
    #[command(subcommand)]
    Token(tokens::Command),
    /// Print a completion script for a shell.
    Completion {
        /// Which shell.
        shell: CompletionShell,
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
        Command::Machine(command) => machines::run(app, command).await,
        Command::Watch(args) => events::watch(app, args).await,
        Command::Event(command) => events::run(app, command).await,
        Command::Subnet(command) => subnets::run(app, command).await,
        Command::Rack(command) => racks::run(app, command).await,
        Command::Image(command) => images::run(app, command).await,
        Command::User(command) => users::run(app, command).await,
        Command::Token(command) => tokens::run(app, command).await,
        Command::Completion { shell } => completion(app, shell),
    }
}

fn completion(app: &App, shell: CompletionShell) -> Result<(), Error> {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::command_line(), "farrier", &mut script);
    app.out.text(&String::from_utf8_lossy(&script))
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
