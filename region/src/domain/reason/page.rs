//! Renders the codes as the page `docs/reasons.md`.

use std::fmt::Write as _;

use super::Code;

const HEAD: &str = "# Reasons

Generated from `region/src/domain/reason.rs`; do not edit (`make bless` writes it anew).

Every machine says why it is where it is: in words (`status.reason`) and as one of these codes (`status.reason_code`), which programs can act on. `farrier explain MACHINE` shows both, with what is said here.
";

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut out = String::from(HEAD);
    for &code in Code::ALL {
        let _ = write!(out, "\n## {code}\n\n{}\n\nWhat to do: {}\n", code.meaning(), code.remedy());
    }
    out
}
