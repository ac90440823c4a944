//! Plays every scenario of `scenarios/`: what comes must be what is recorded there.
//!
//! `UPDATE_EXPECT=1` writes down what came instead; read the difference before you commit it. Needs root.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Instant,
};

use anyhow::{Context as _, ensure};
use farrier_fleet::scenario::{
    Script,
    play::{Mode, play},
};

/// So many play at the same time: most of their time they wait.
const AT_ONCE: usize = 4;

/// Every scenario; a file that is not one fails.
fn scenarios() -> anyhow::Result<VecDeque<(PathBuf, Script)>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    let read = |file: PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.split_once('-').and_then(|(number, _)| number.parse::<u32>().ok());
        ensure!(number.is_some() && name.ends_with(".txt"), "{name} must be called NN-WHAT.txt");
        let script = Script::parse(&fs::read_to_string(&file)?).with_context(|| name.clone())?;
        let header = script.header();
        ensure!(
            header.contains("Must hold:"),
            "{name} must begin with a comment that tells what it is and what must hold"
        );
        Ok((file, script))
    };
    files.into_iter().map(read).collect()
}

fn one(file: &Path, script: &Script, bless: bool) -> anyhow::Result<()> {
    let mode = if bless { Mode::Record } else { Mode::Judge };
    let outcomes = play(script, mode, &mut |_| {})?;
    if bless {
        fs::write(file, script.with(&outcomes))?;
    }
    Ok(())
}

#[test]
fn what_scenarios_record_is_what_comes() {
    farrier_common::tls::install_provider();
    let bless = std::env::var_os("UPDATE_EXPECT").is_some();
    let (waiting, failed) = (Mutex::new(scenarios().unwrap()), Mutex::new(Vec::new()));
    assert!(!waiting.lock().unwrap().is_empty());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    // The last ones take longest.
                    let next = waiting.lock().unwrap().pop_back();
                    let Some((file, script)) = next else { break };
                    let (name, start) = (file.file_name().unwrap_or_default().to_string_lossy(), Instant::now());
                    match one(&file, &script, bless) {
                        Ok(()) => println!("{name}: {:.1} s", start.elapsed().as_secs_f64()),
                        Err(error) => failed.lock().unwrap().push(format!("{name}: {error:#}")),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
