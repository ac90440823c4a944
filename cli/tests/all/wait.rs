//! `--wait`.

use std::time::Duration;

use farrier_proto::v1::MachineState;
use tonic::Status;

use crate::fake::{Fake, Ran, Step, event};

async fn deploy(fake: &Fake, streams: Vec<Vec<Step>>, more: &[&str]) -> Ran {
    fake.script(|s| s.streams = streams.into());
    let args = ["machine", "deploy", "n1", "--image", "debian-13", "--wait"];
    fake.run(&[&args[..], more].concat()).await
}

fn deployed() -> Vec<Step> {
    vec![
        Step::Send(event(10, MachineState::Deploying, "writing")),
        Step::Become(MachineState::Deployed, "the system phoned home"),
        Step::Send(event(11, MachineState::Deployed, "")),
    ]
}

#[tokio::test]
async fn success_shows_each_change_and_the_machine() {
    let fake = Fake::start().await;
    let ran = deploy(&fake, vec![deployed()], &["-o", "json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["state"], "deployed");
    let lines: Vec<_> = ran.stderr.lines().filter_map(|l| l.split_once("] ")).map(|(_, line)| line).collect();
    assert_eq!(lines[..2], ["n1 deploying", "n1 deploying, writing"], "{}", ran.stderr);
    assert_eq!(lines.last(), Some(&"n1 deployed: the system phoned home"));
    let watched = fake.script(|s| s.watched.clone());
    assert_eq!((watched[0].after_revision, watched[0].machine.as_str()), (7, "0199-n1"), "from before the call");
}

#[tokio::test]
async fn a_failed_state_is_exit_code_5() {
    let fake = Fake::start().await;
    let steps = vec![
        Step::Become(MachineState::FailedDeployment, "the disk is too small"),
        Step::Send(event(10, MachineState::FailedDeployment, "")),
    ];
    let ran = deploy(&fake, vec![steps], &["-o", "json"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert_eq!(ran.json()["state"], "failed-deployment");
    assert!(
        ran.stderr.contains("error: n1 is failed-deployment, not deployed: the disk is too small\n"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn a_broken_stream_is_opened_again_after_the_last_event() {
    let fake = Fake::start().await;
    let first = vec![
        Step::Send(event(9, MachineState::Deploying, "booting")),
        Step::Break(Status::unavailable("the region restarts")),
    ];
    let nothing = vec![Step::Break(Status::unavailable("the region still restarts"))];
    let ran = deploy(&fake, vec![first, nothing, deployed()], &[]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout, "n1 is deployed: the system phoned home\n");
    let watched: Vec<_> = fake.script(|s| s.watched.iter().map(|w| w.after_revision).collect());
    assert_eq!(watched, [7, 9, 9]);
    assert!(ran.stderr.contains("waiting for the region: the region restarts"), "{}", ran.stderr);
}

#[tokio::test]
async fn somebody_elses_event_decides_nothing() {
    let fake = Fake::start().await;
    // The end of the work before, which is still in the log after the revision that was read before the call.
    let steps = [vec![Step::Send(event(8, MachineState::Ready, ""))], deployed()];
    let ran = deploy(&fake, vec![steps.into_iter().flatten().collect()], &[]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "n1 is deployed: the system phoned home\n"), "{ran:?}");
}

#[tokio::test]
async fn a_silent_stream_is_not_trusted() {
    let fake = Fake::start().await;
    let steps = vec![Step::Pause(Duration::from_secs(1)), Step::Become(MachineState::Deployed, "")];
    let ran = deploy(&fake, vec![steps], &[]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "n1 is deployed\n"), "{ran:?}");
}

#[tokio::test]
async fn the_time_to_wait_has_a_limit() {
    let fake = Fake::start().await;
    let ran = deploy(&fake, Vec::new(), &["--timeout", "1"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stderr.contains("error: n1 is still deploying after 1 s\n"), "{}", ran.stderr);
}

#[tokio::test]
async fn what_is_at_rest_at_once_needs_no_waiting() {
    let fake = Fake::start().await;
    let ran = fake.run(&["machine", "allocate", "--wait"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "n1 is allocated\n"), "{ran:?}");
    let ran = fake.run(&["machine", "abort", "n1", "--wait"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "n1 is failed-deployment\n"), "an abort aims there: {ran:?}");
}
