use std::{fs, path::Path, process::Command, time::Instant};

use super::*;
use crate::progress::Progress;

fn script(content: &str) -> ScriptToRun {
    ScriptToRun { name: "s".to_owned(), content: content.as_bytes().to_vec(), timeout_seconds: 60 }
}

async fn end(content: &str) -> End {
    process::run(&script(content), Duration::from_mins(1), &Progress::default()).await.unwrap()
}

async fn late(content: &str) -> End {
    process::run(&script(content), Duration::from_millis(300), &Progress::default()).await.unwrap()
}

/// Does a process whose command line holds the mark still run?
fn runs(mark: &str) -> bool {
    Command::new("pgrep").args(["-f", mark]).output().unwrap().status.success()
}

#[tokio::test]
async fn exit_codes_and_signals_are_told() {
    let told = |end: End| (end.status, end.exit_code, end.output);
    assert_eq!(told(end("#!/bin/sh\necho yes\n").await), (ScriptStatus::Passed, 0, "yes\n".to_owned()));
    assert_eq!(told(end("#!/bin/sh\nexit 3\n").await), (ScriptStatus::Failed, 3, String::new()));
    assert_eq!(told(end("#!/bin/sh\necho no GPU; exit 77\n").await).0, ScriptStatus::Skipped);
    assert_eq!(told(end("#!/bin/sh\nkill -9 $$\n").await), (ScriptStatus::Failed, 137, String::new()));
    let missing = end("#!/no/such/interpreter\n").await;
    assert_eq!((missing.status, missing.exit_code), (ScriptStatus::Failed, 126));
    assert!(missing.output.starts_with("cannot be run: "), "{}", missing.output);
}

#[tokio::test]
async fn both_streams_are_one_and_only_the_end_is_kept() {
    assert_eq!(end("#!/bin/sh\necho a; echo b >&2; echo c\n").await.output, "a\nb\nc\n");
    let long = end("#!/bin/sh\nseq 1 100000\n").await.output;
    assert_eq!(long.len(), MOST_OUTPUT);
    assert!(long.ends_with("\n99999\n100000\n"));
    let binary = end("#!/bin/sh\nhead -c 200000 /dev/urandom\n").await.output;
    assert!(binary.len() <= MOST_OUTPUT && binary.len() > MOST_OUTPUT - 4, "{}", binary.len());
}

#[tokio::test]
async fn a_script_has_a_folder_of_its_own_and_little_else() {
    let told =
        end("#!/bin/sh\npwd; echo $HOME $TMPDIR $FARRIER_SCRIPT $PATH; env | wc -l; touch left\nread x || echo none")
            .await;
    let lines: Vec<_> = told.output.lines().collect();
    let folder = lines[0];
    assert_eq!(lines[1], format!("{folder} {folder} s /bin:/sbin:/usr/bin:/usr/sbin"));
    assert_eq!(lines[3], "none", "its standard input is empty");
    assert!(lines[2].trim().parse::<u32>().unwrap() <= 8, "{}", lines[2]);
    assert!(!Path::new(folder).exists());
}

#[tokio::test]
async fn time_over_ends_the_whole_group() {
    let since = Instant::now();
    let told = late("#!/bin/sh\necho begun\nsleep 987.61 & sleep 987.61\n").await;
    assert_eq!((told.status, told.exit_code, told.output.as_str()), (ScriptStatus::TimedOut, 143, "begun\n"));
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert!(!runs("sleep 987.61"));
    let deaf = late("#!/bin/sh\ntrap '' TERM\nsleep 987.62\nsleep 987.62\n").await;
    assert_eq!((deaf.status, deaf.exit_code), (ScriptStatus::TimedOut, 137));
    assert!(!runs("sleep 987.62"));
}

#[tokio::test]
async fn nothing_that_a_script_left_behind_is_waited_for() {
    let since = Instant::now();
    assert_eq!(end("#!/bin/sh\nsleep 987.63 & echo done\n").await.output, "done\n");
    assert!(!runs("sleep 987.63"));
    // This one has left the group and holds the pipe, but not for ever.
    assert_eq!(end("#!/bin/sh\nsetsid sleep 4 & echo done\n").await.output, "done\n");
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
}

#[tokio::test]
async fn whoever_is_not_wanted_any_more_is_ended() {
    let progress = Progress::default();
    let sleeper = script("#!/bin/sh\nsleep 987.64\n");
    let run = process::run(&sleeper, Duration::from_mins(1), &progress);
    let stop = async {
        while !runs("sleep 987.64") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        progress.stop();
    };
    let (ended, ()) = tokio::join!(run, stop);
    assert!(matches!(ended, Err(TaskError::Stopped)));
    assert!(!runs("sleep 987.64"));
}

#[test]
fn what_is_not_text_does_not_grow() {
    let mut tail = Tail::default();
    tail.push(&vec![0xff; 3 * MOST_OUTPUT]);
    assert!(tail.text().len() <= MOST_OUTPUT);
    let mut tail = Tail::default();
    (0..1000).for_each(|n| tail.push(format!("{n:0999}\n").as_bytes()));
    assert!(tail.text().ends_with("999\n") && tail.text().len() == MOST_OUTPUT);
}

#[test]
fn a_task_that_cannot_be_is_refused() {
    let told = |scripts: &[ScriptToRun]| check(scripts).unwrap_err().to_string();
    let mut never = script("#!/bin/sh\n");
    never.timeout_seconds = 0;
    assert_eq!(told(&[never]), "timeout_seconds of s: must be 1 to 86400");
    assert!(told(&vec![script(""); 257]).starts_with("scripts: must be at most 256"));
    assert!(fs::exists("/bin/sh").unwrap(), "the other tests need it");
}
