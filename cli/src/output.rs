//! Where text goes: answers to standard output, everything else to standard error.
//!
//! The only module that touches either stream, so that `-o json` or `-o yaml` output is never mixed with a remark.

use std::io::{self, IsTerminal as _, Write as _};

use farrier_common::telemetry::Chain;
use serde_json::Value;

use crate::{
    error::Error,
    render::{table, yaml},
};

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables and pages for people.
    Table,
    /// JSON for programs; the field names are kept.
    Json,
    /// The same as YAML.
    Yaml,
}

/// The two streams and what is known of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    width: Option<u16>,
    live: bool,
}

impl Output {
    /// Looks at the streams once.
    pub(crate) fn new(format: Format) -> Self {
        let width = if io::stdout().is_terminal() { table::terminal_width() } else { None };
        Self { format, width, live: io::stderr().is_terminal() }
    }

    /// Columns of the terminal; `None` if the output goes elsewhere and need not fit.
    pub(crate) const fn width(self) -> Option<u16> {
        self.width
    }

    /// Is standard error a terminal, so that a line may be redrawn?
    pub(crate) const fn is_live(self) -> bool {
        self.live
    }

    /// Writes an answer in the wanted format.
    pub(crate) fn answer(self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Error> {
        match self.format {
            Format::Table => self.text(&text()),
            Format::Json => self.text(&format!("{:#}", json())),
            Format::Yaml => self.text(&yaml::text(&json())),
        }
    }

    /// Writes one of a stream of answers: a line of text or JSON, or a document of YAML.
    pub(crate) fn item(self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<(), Error> {
        match self.format {
            Format::Table => self.text(&text()),
            Format::Json => self.text(&json().to_string()),
            Format::Yaml => self.text(&format!("---\n{}", yaml::text(&json()))),
        }
    }

    /// Writes text to standard output and ends the line.
    pub(crate) fn text(self, text: &str) -> Result<(), Error> {
        written(io::stdout().lock(), &format!("{}\n", text.trim_end_matches('\n')))
    }

    /// The terminal to redraw, if standard output is one and people read it.
    pub(crate) fn screen(self) -> Option<Screen> {
        (matches!(self.format, Format::Table) && self.width.is_some()).then_some(Screen { lines: 0 })
    }

    /// Writes a remark to standard error. If even that fails there is nobody left to tell.
    pub(crate) fn note(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Writes an error and what is known of it to standard error.
    pub(crate) fn error(self, error: &Error) {
        if matches!(error, Error::OutputClosed) {
            return;
        }
        self.note(&format!("error: {}", table::clean(&Chain(error).to_string())));
        for line in error.details() {
            self.note(&format!("  {}", table::clean(&line)));
        }
    }
}

/// A picture on standard output that is drawn anew in its place.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Of the picture that is there.
    lines: usize,
}

impl Screen {
    /// Columns and lines that there is room for now.
    pub(crate) fn size(&self) -> (u16, u16) {
        let size = terminal_size::terminal_size();
        // The line below the picture is the cursor's.
        size.map_or((80, 23), |(width, height)| (width.0, height.0.saturating_sub(1).max(1)))
    }

    /// Draws over the last picture.
    pub(crate) fn draw(&mut self, picture: &str) -> Result<(), Error> {
        let up = if self.lines > 0 { format!("\x1b[{}A", self.lines) } else { String::new() };
        // Each line is cleared to its end, and what was below to the end of the screen.
        let lines: String = picture.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        self.lines = picture.lines().count();
        written(io::stdout().lock(), &format!("{up}\r{lines}\x1b[J"))
    }
}

fn written(mut to: impl io::Write, text: &str) -> Result<(), Error> {
    to.write_all(text.as_bytes()).and_then(|()| to.flush()).map_err(|source| {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Error::OutputClosed
        } else {
            Error::File { what: "cannot write to standard output".to_owned(), source }
        }
    })
}
