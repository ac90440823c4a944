//! Reading, and what programs read.

use std::time::Duration;

use farrier_proto::v1::{MachineState, MachineView};
use serde_json::json;
use tonic::Status;

use crate::fake::{Fake, Step, event, machine};

#[tokio::test]
async fn a_list_has_all_pages_and_the_revision_of_the_first() {
    let fake = Fake::start().await;
    let page = |state| vec![machine(state, "")];
    fake.script(|s| s.pages = vec![page(MachineState::Ready), page(MachineState::FailedTesting), Vec::new()]);
    let ran = fake.run(&["machine", "list", "-o", "json", "--state", "ready", "--state", "failed-testing"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let list = ran.json();
    let states: Vec<_> = list["machines"].as_array().unwrap().iter().map(|m| m["state"].clone()).collect();
    assert_eq!((states, &list["revision"]), (vec![json!("ready"), json!("failed-testing")], &json!(7)));
    let ran = fake.run(&["machine", "list"]).await;
    assert!(ran.stdout.starts_with("NAME  STATE"), "{}", ran.stdout);
}

#[tokio::test]
async fn a_state_that_does_not_exist_is_a_mistake_that_names_those_that_do() {
    let fake = Fake::start().await;
    let ran = fake.run(&["machine", "list", "--state", "happy"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("failed-commissioning"), "{}", ran.stderr);
}

#[tokio::test]
async fn watching_goes_on_after_a_break_and_ends_when_it_is_forbidden() {
    let fake = Fake::start().await;
    fake.script(|s| {
        let end = |status| Step::Break(status);
        s.streams = [
            vec![Step::Send(event(8, MachineState::Deploying, "booting")), end(Status::unavailable("restart"))],
            vec![Step::Send(event(9, MachineState::Deployed, "")), end(Status::permission_denied("no longer"))],
        ]
        .into();
    });
    let ran = fake.run(&["watch", "--machine", "n1", "-o", "json"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    let lines: Vec<serde_json::Value> = ran.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let seen: Vec<_> = lines.iter().map(|l| (l["revision"].clone(), l["to"].clone())).collect();
    assert_eq!(seen, [(json!(8), json!("deploying")), (json!(9), json!("deployed"))]);
    let watched: Vec<_> = fake.script(|s| s.watched.iter().map(|w| w.after_revision).collect());
    assert_eq!(watched, [7, 8], "from now, then from the last event seen");
}

#[tokio::test]
async fn a_bookmark_moves_the_place_to_go_on_from_and_a_resync_is_told() {
    let fake = Fake::start().await;
    fake.script(|s| {
        s.streams = [
            vec![Step::Bookmark(30), Step::Break(Status::unavailable("restart"))],
            vec![Step::Resync("the log begins at revision 40")],
            vec![
                Step::Send(event(41, MachineState::Deployed, "")),
                Step::Break(Status::permission_denied("no longer")),
            ],
        ]
        .into();
    });
    let ran = fake.run(&["watch", "-o", "json"]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(ran.json()["revision"], json!(41));
    assert!(ran.stderr.contains("some events are left out: the log begins at revision 40"), "{}", ran.stderr);
    let watched: Vec<_> = fake.script(|s| s.watched.iter().map(|w| w.after_revision).collect());
    assert_eq!(watched, [7, 30, 7], "from the bookmark, then from what a list says is now");
}

#[tokio::test]
async fn a_list_is_asked_for_as_it_was_wished() {
    let fake = Fake::start().await;
    fake.script(|s| s.pages = vec![vec![machine(MachineState::Ready, "")], vec![machine(MachineState::Ready, "")]]);
    let args =
        ["machine", "list", "--filter", "tags:gpu", "--order-by", "since desc", "--view", "full", "--limit", "1"];
    let ran = fake.run(&[&args[..], &["-o", "json"]].concat()).await;
    assert_eq!((ran.code, ran.json()["machines"].as_array().unwrap().len()), (0, 1), "{ran:?}");
    let listed = fake.script(|s| s.listed.clone());
    assert_eq!(listed.len(), 1, "no page more than needed");
    let asked = &listed[0];
    assert_eq!(
        (asked.filter.as_str(), asked.order_by.as_str(), asked.view()),
        ("tags:gpu", "since desc", MachineView::Full)
    );
    assert_eq!(asked.page.as_ref().unwrap().page_size, 1);
}

/// As bash does it: the script is read, the words are set, and the function is called.
#[tokio::test]
async fn bash_completes_the_names_of_machines() {
    let fake = Fake::start().await;
    fake.script(|s| s.pages = vec![vec![machine(MachineState::Ready, "")]]);
    let script = fake.run(&["completion", "bash"]).await;
    let script = fake.file("farrier.bash", script.stdout.as_bytes());
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_farrier")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    for (words, completed) in [
        ("farrier machine show n", "n1"),
        ("farrier -o json machine deploy ''", "n1"),
        ("farrier watch --machine n", "n1"),
        ("farrier machine show x", ""),
        ("farrier bmc rotate n", "n1"),
        ("farrier machine rel", "release"),
        ("farrier machine show --hel", "--help"),
    ] {
        let ask = format!(
            "source {script}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             cur=\"${{COMP_WORDS[COMP_CWORD]}}\"; prev=\"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             _farrier_with_names farrier \"$cur\" \"$prev\"; echo \"${{COMPREPLY[*]}}\""
        );
        let mut command = tokio::process::Command::new("bash");
        command.args(["-c", &ask]).env("PATH", &path).env("FARRIER_CONFIG", fake.path("config.toml"));
        let output = command.output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), completed, "{words}: {output:?}");
    }
    let asked = fake.script(|s| s.listed.iter().map(|l| l.filter.clone()).collect::<Vec<_>>());
    assert_eq!(asked[..2], ["name=\"n*\"", "name=\"*\""]);
}

/// On a terminal of `script`'s making.
#[tokio::test]
async fn a_terminal_is_shown_the_fleet_and_what_changes_in_it() {
    let fake = Fake::start().await;
    fake.script(|s| {
        s.pages = vec![vec![machine(MachineState::Ready, "")]];
        s.streams = [
            // Before the list's revision: known already.
            vec![Step::Send(event(6, MachineState::Broken, "")), Step::Break(Status::unavailable("restart"))],
            vec![
                Step::Send(event(9, MachineState::Deploying, "write-image")),
                Step::Pause(Duration::from_millis(1200)),
            ],
            vec![],
        ]
        .into();
        let end = Step::Break(Status::permission_denied("no longer"));
        s.streams[1].extend([
            Step::Send(event(10, MachineState::Deployed, "")),
            Step::Pause(Duration::from_millis(1200)),
            end,
        ]);
    });
    let shell = format!("stty rows 12 cols 50; exec {} watch", env!("CARGO_BIN_EXE_farrier"));
    let mut command = tokio::process::Command::new("script");
    command.args(["-q", "-e", "-c", &shell, "/dev/null"]).env("FARRIER_CONFIG", fake.path("config.toml"));
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await.expect("it ends").unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(4), "{shown}");
    let pictures: Vec<&str> = shown.split("\u{1b}[J").collect();
    let at =
        |text: &str| pictures.iter().position(|p| p.contains(text)).unwrap_or_else(|| panic!("no {text:?} in {shown}"));
    assert!(at("1 machine: 1 ready") < at("1 machine: 1 deploying"), "{shown}");
    assert!(at("n1       deploying, write-image") < at("1 machine: 1 deployed"), "{shown}");
    assert!(!shown.contains("broken"), "{shown}");
    assert!(pictures[1].starts_with("\u{1b}["), "drawn over the picture before: {shown}");
}

#[tokio::test]
async fn a_closed_pipe_is_the_end() {
    let fake = Fake::start().await;
    let farrier = env!("CARGO_BIN_EXE_farrier");
    let shell = format!("{farrier} completion bash | head -1; exit ${{PIPESTATUS[0]}}");
    let mut command = tokio::process::Command::new("bash");
    let output = command.args(["-c", &shell]).env("FARRIER_CONFIG", fake.path("x")).output().await.unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("_farrier"));
}

#[tokio::test]
async fn secrets_are_alone_on_standard_output() {
    let fake = Fake::start().await;
    let ran = fake.run(&["token", "create", "--user", "ann", "--comment", "laptop"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "s3cret\n"));
    assert_eq!(ran.stderr, "token 0199-t of ann, does not expire\n");
    let ran = fake.run(&["rack", "join-token", "r1", "--valid-seconds", "60"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "farrier-join:abc\n"));
    let ran = fake.run(&["token", "create", "-o", "json"]).await;
    assert_eq!((ran.json()["secret"].as_str(), ran.json()["token"]["id"].as_str()), (Some("s3cret"), Some("0199-t")));
    let ran = fake.run(&["token", "revoke", "0199-t", "-o", "json"]).await;
    assert_eq!((ran.code, ran.json()["revoked"].as_bool()), (0, Some(true)));
}

#[tokio::test]
async fn what_is_not_found_is_exit_code_4_and_an_empty_list_is_none() {
    let fake = Fake::start().await;
    let ran = fake.run(&["rack", "show", "r9"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (4, "error: no rack is named r9 (NOT_FOUND)\n"));
    let ran = fake.run(&["rack", "list", "-o", "json"]).await;
    assert_eq!((ran.code, ran.json()), (0, json!({ "racks": [] })));
}

#[tokio::test]
async fn a_subnet_is_sent_as_given() {
    let fake = Fake::start().await;
    let args = ["subnet", "create", "--name", "metal", "--cidr", "10.77.0.0/24", "--rack", "r1", "-o", "json"];
    let more =
        ["--dynamic", "10.77.0.200-10.77.0.250", "--gateway", "10.77.0.1", "--dns", "9.9.9.9", "--dns", "1.1.1.1"];
    let ran = fake.run(&[&args[..], &more[..]].concat()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let subnet = ran.json();
    assert_eq!(subnet["dynamic_end"], "10.77.0.250");
    assert_eq!(subnet["dns_servers"], json!(["9.9.9.9", "1.1.1.1"]));
    let ran = fake.run(&[&args[..], &["--dynamic", "10.77.0.9-10.77.0.2"]].concat()).await;
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("ends before it starts"), "{}", ran.stderr);
}
