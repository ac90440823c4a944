//! Completion scripts, and the names of machines in them.
//!
//! The scripts are clap's; what follows a verb of `farrier machine` or `farrier bmc`, or `--machine`, is asked of the region.

use std::time::Duration;

use clap_complete::Shell;
use farrier_proto::v1::{ListMachinesRequest, PageRequest, machines_client::MachinesClient};
use tokio::time::timeout;

use crate::{client::Client, error::Error};

/// Whoever presses a key waits for this.
const PATIENCE: Duration = Duration::from_secs(2);
const MOST_NAMES: i32 = 200;

const BASH: &str = r#"
_farrier_with_names() {
    _farrier "$@"
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" word verb="" noun=""
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ -n "$noun" && "$word" != -* ]]; then verb="$word"; break; fi
        [[ "$word" == machine || "$word" == bmc ]] && noun="$word"
    done
    if [[ "$prev" != --machine ]]; then
        [[ -z "$verb" || "$verb" == list || "$verb" == create || "$cur" == -* || "$prev" == --* ]] && return
    fi
    local names
    mapfile -t names < <(farrier complete-names -- "$cur" 2>/dev/null)
    [[ ${#names[@]} -gt 0 ]] && COMPREPLY=("${names[@]}")
}
complete -F _farrier_with_names -o nosort -o bashdefault -o default farrier
"#;

const FISH: &str = "
complete -c farrier -n '__fish_seen_subcommand_from machine bmc; and not __fish_seen_subcommand_from list create' \
-f -a '(farrier complete-names -- (commandline -ct) 2>/dev/null)'
";

const ZSH: &str = r#"
_farrier_machines() {
    local -a names
    names=(${(f)"$(farrier complete-names -- "$PREFIX" 2>/dev/null)"})
    compadd -a names
}
"#;

/// The script for a shell.
pub(crate) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::command_line(), "farrier", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script + BASH,
        Shell::Fish => script + FISH,
        Shell::Zsh => zsh(&script),
        Shell::Elvish | Shell::PowerShell | _ => script,
    }
}

/// The places of machines get a completer of their own.
fn zsh(script: &str) -> String {
    let takes_machine = |line: &str| line.contains(":machine -- ") || line.contains("'--machine=");
    let line = |line: &str| {
        if takes_machine(line) { line.replace(":_default'", ":_farrier_machines'") } else { line.to_owned() }
    };
    let (first, rest) = script.split_once('\n').unwrap_or((script, ""));
    format!("{first}\n{ZSH}{}\n", rest.lines().map(line).collect::<Vec<_>>().join("\n"))
}

/// Names of machines that begin so; none if the region does not answer at once.
pub(crate) async fn names(client: &Client, prefix: &str) -> Result<Vec<String>, Error> {
    // Nothing else can be in a name, and nothing else is put into a filter.
    if !prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Ok(Vec::new());
    }
    let page = Some(PageRequest { page_size: MOST_NAMES, page_token: String::new() });
    let (filter, order_by) = (format!("name=\"{prefix}*\""), "name".to_owned());
    let request = ListMachinesRequest { page, filter, order_by, ..ListMachinesRequest::default() };
    let list = client.call(PATIENCE, request, async |c, r| MachinesClient::new(c).list_machines(r).await);
    match timeout(PATIENCE, list).await {
        Ok(list) => Ok(list?.machines.into_iter().map(|m| m.name).filter(|n| n.starts_with(prefix)).collect()),
        Err(_) => Ok(Vec::new()),
    }
}
