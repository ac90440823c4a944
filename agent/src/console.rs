//! Lines for the person at the machine's console.

use std::{fmt, io::Write as _};

/// Prints one line. A console that takes none is no reason to stop.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "farrier-agent: {line}");
}
