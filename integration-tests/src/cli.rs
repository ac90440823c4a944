//! The `farrier` command, run as a person would run it, in the lab's namespace.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    error::{LabError, Result},
    net::Net,
    process::{self, Ended},
};

/// No command takes longer: the ones that wait are given a shorter limit of their own.
const LIMIT: Duration = Duration::from_secs(3600);

/// The command with one person's configuration, which holds server and token.
#[derive(Debug, Clone)]
pub struct Cli {
    net: Net,
    binary: PathBuf,
    config: PathBuf,
    echo: bool,
}

impl Cli {
    /// A command whose configuration is `config`.
    #[must_use]
    pub fn new(net: &Net, binary: PathBuf, config: PathBuf) -> Self {
        Self { net: net.clone(), binary, config, echo: false }
    }

    /// The same command, but each call is shown as a person would type it.
    #[must_use]
    pub fn echoing(mut self) -> Self {
        self.echo = true;
        self
    }

    /// Runs it; gives its standard output.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let ended = self.ended(arguments)?;
        if ended.status.success() {
            return Ok(ended.stdout);
        }
        Err(LabError::Command {
            command: format!("farrier {}", arguments.join(" ")),
            status: ended.status.to_string(),
            output: format!("{}{}", ended.stdout, ended.stderr),
        })
    }

    /// Runs it with `-o json`; gives what it answers.
    ///
    /// # Errors
    /// It fails, or its answer is not JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[arguments, &["-o", "json"]].concat())?;
        let bad =
            |e: serde_json::Error| LabError::answer(format!("farrier {}", arguments.join(" ")), format!("{e}: {text}"));
        serde_json::from_str(&text).map_err(bad)
    }

    /// Runs it, and expects it to be refused; gives its exit code and what it wrote.
    ///
    /// # Errors
    /// It succeeds, or dies.
    pub fn refused(&self, arguments: &[&str]) -> Result<(i32, String)> {
        let ended = self.ended(arguments)?;
        match ended.status.code() {
            Some(code) if code != 0 => Ok((code, format!("{}{}", ended.stdout, ended.stderr))),
            _ => Err(LabError::answer(
                format!("farrier {} should be refused", arguments.join(" ")),
                format!("{}: {}{}", ended.status, ended.stdout, ended.stderr),
            )),
        }
    }

    /// Runs it with the terminal's own output, so that its progress is seen.
    ///
    /// # Errors
    /// It fails.
    pub fn show(&self, arguments: &[&str]) -> Result<()> {
        self.say(arguments);
        let mut command = self.command(arguments);
        command.stdin(Stdio::null());
        let status = command.status().map_err(LabError::io("cannot run farrier"))?;
        if status.success() {
            return Ok(());
        }
        let command = format!("farrier {}", arguments.join(" "));
        Err(LabError::Command { command, status: status.to_string(), output: String::new() })
    }

    fn ended(&self, arguments: &[&str]) -> Result<Ended> {
        self.say(arguments);
        process::run(self.command(arguments), LIMIT)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.net.command(&self.binary);
        command.args(arguments).env("FARRIER_CONFIG", &self.config);
        command
    }

    #[expect(clippy::print_stdout, reason = "shows what a person would type")]
    fn say(&self, arguments: &[&str]) {
        if self.echo {
            let words: Vec<_> = arguments.iter().map(|word| quoted(word)).collect();
            println!("\n$ farrier {}", words.join(" "));
        }
    }

    /// The file with this person's configuration.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }
}

/// A word as a shell needs it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_quoted_when_a_shell_needs_it() {
        assert_eq!(super::quoted("--cidr"), "--cidr");
        assert_eq!(super::quoted("it's"), r"'it'\''s'");
    }
}
