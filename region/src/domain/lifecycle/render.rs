//! Renders the table as the page `docs/lifecycle.md`.

use std::fmt::Write as _;

use super::{BIRTHS, By, Class, EDGES, State};

const HEAD: &str = "# The machine life-cycle

Generated from `region/src/domain/lifecycle.rs`; do not edit (`make bless` writes it anew).

```mermaid
stateDiagram-v2
";

const fn who(by: By) -> &'static str {
    match by {
        By::Admin => "admin",
        By::Owner => "owner or admin",
        By::Engine => "engine",
        By::Rack => "rack",
    }
}

const fn class(state: State) -> &'static str {
    match state.class() {
        Class::Rest => "at rest",
        Class::Working => "working",
        Class::Failed => "failed",
    }
}

/// The whole page.
#[must_use]
pub fn page() -> String {
    let mut out = String::from(HEAD);
    diagram(&mut out);
    states(&mut out);
    moves(&mut out);
    out
}

fn id(state: State) -> String {
    state.as_str().replace('-', "_")
}

fn diagram(out: &mut String) {
    for b in BIRTHS {
        let _ = writeln!(out, "    [*] --> {}: {}", id(b.to), b.on);
    }
    for e in EDGES {
        let _ = writeln!(out, "    {} --> {}: {}", id(e.from), id(e.to), e.on);
    }
    out.push_str("```\n");
}

fn states(out: &mut String) {
    out.push_str(
        "\n## States\n\n| state | kind | meaning | phases | deadline | verbs allowed |\n|---|---|---|---|---|---|\n",
    );
    for &s in State::ALL {
        let phases = s.phases().iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
        let deadline = s.deadline().map_or_else(String::new, |d| format!("{} min", d.as_secs() / 60));
        let verbs = s.verbs().map(|v| v.as_str()).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "| {s} | {} | {} | {phases} | {deadline} | {verbs} |", class(s), s.summary());
    }
}

fn moves(out: &mut String) {
    out.push_str("\n## Moves\n\n| from | event | to | by |\n|---|---|---|---|\n");
    for b in BIRTHS {
        let _ = writeln!(out, "| – | {} | {} | {} |", b.on, b.to, who(b.by));
    }
    for e in EDGES {
        let _ = writeln!(out, "| {} | {} | {} | {} |", e.from, e.on, e.to, who(e.by));
    }
}
