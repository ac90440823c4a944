//! The crash matrix: region, rack and agent die at each of their crash points, in each working state of machines, and are
//! started again. No effect comes twice where twice would hurt, nothing is lost, nobody is stuck; what really happened to the
//! simulated machines is the judge. On both databases. `docs/crash-matrix.md` is made here.
//!
//! Needs root. On a terminal, one line for each cell as it is hit.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod agents;
mod cells;
mod exceptions;
mod judge;
mod page;
mod stage;
mod wave;

use std::{thread, time::Duration};

use anyhow::Context as _;
use farrier_region::domain::lifecycle::State;
use nix::sys::resource::{Resource, setrlimit};

use self::{
    cells::{Cell, Who},
    stage::Stage,
    wave::{Score, Wave},
};

/// No wave takes longer, even on a host that does ten other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(400);
/// Machines with the simulated agent, in two groups that take turns: one rests while the other works.
const GROUP: usize = 4;
/// Machines that are met for the first time only if the others' first times were not enough.
const SPARE: usize = 4;
/// Machines with the real agent.
const REAL: usize = 4;
/// After so many lives everything must have been hit.
const LIVES: usize = 5;

#[test]
fn nothing_is_lost_or_done_twice_on_sqlite() {
    play("sqlite  ", false);
}

#[test]
fn nothing_is_lost_or_done_twice_on_postgresql() {
    play("postgres", true);
}

/// The states of a life, in order. A machine that is tested or rescued comes back to where it was.
const STATES: [State; 6] = [
    State::Commissioning,
    State::Testing,
    State::Deploying,
    State::EnteringRescue,
    State::ExitingRescue,
    State::Releasing,
];

/// Who is to die, and in which states. Whoever suffers from a death waits longer each time, so it is quicker to have the same
/// program die in several parts; a rack's deaths cost most.
const PARTS: [(Who, &[State]); 4] = [
    (Who::Region, &STATES),
    (Who::Rack, &[State::Commissioning, State::Testing]),
    (Who::Rack, &[State::Deploying, State::EnteringRescue, State::ExitingRescue, State::Releasing]),
    (Who::Agent, &STATES),
];

/// Plays all parts beside each other, each with a region, a rack and a fleet of its own.
fn play(label: &'static str, postgres: bool) {
    farrier_common::tls::install_provider();
    // Who dies leaves no core: hundreds do.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
    // Daemons end with the thread that started them, so each part has one thread from its start to its end.
    let parts = thread::scope(|scope| {
        let parts = PARTS.map(|(who, states)| scope.spawn(move || part(label, postgres, who, states)));
        parts.map(|part| part.join().unwrap())
    });
    let mut score = Score::default();
    for part in parts {
        let more = part.unwrap_or_else(|error| panic!("{label}: {error:#}"));
        score.hit.extend(more.hit);
        score.deaths += more.deaths;
    }
    report(label, &score);
    let all = Cell::all();
    let missed: Vec<_> = all.iter().filter(|c| c.exception().is_none() && !score.hit.contains(c)).collect();
    let excepted: Vec<_> = score.hit.iter().filter(|c| c.exception().is_some()).collect();
    let lines = |cells: &[&Cell]| cells.iter().map(|c| format!("\n  {c}")).collect::<String>();
    assert!(missed.is_empty(), "{label}: never hit, and no exception says why:{}", lines(&missed));
    assert!(excepted.is_empty(), "{label}: hit, though exceptions say it cannot be:{}", lines(&excepted));
}

fn part(label: &'static str, postgres: bool, who: Who, states: &'static [State]) -> anyhow::Result<Score> {
    let (simulated, real) = if who == Who::Agent { (0, REAL) } else { (2 * GROUP + SPARE, 0) };
    let mut stage = Stage::start(label, postgres, u32::try_from(simulated)?, u32::try_from(real)?)?;
    let mut score = Score::of(states);
    let lived = match who {
        Who::Region | Who::Rack => daemon(&mut stage, &mut score, who),
        Who::Agent => real_agents(&mut stage, &mut score),
    };
    let judged = lived.and_then(|()| judge(&stage));
    let part = format!("the {}'s part from {} on", who.as_str(), states[0]);
    if let Err(error) = &judged {
        println!("{label}: {part}: {error:#}");
        stage.show_logs();
    }
    stage.say(&format!("the end of {part}"))?;
    judged.with_context(|| part).map(|()| score)
}

/// Lives of machines until a daemon has died everywhere.
fn daemon(stage: &mut Stage, score: &mut Score, who: Who) -> anyhow::Result<()> {
    let all: Vec<usize> = (0..2 * GROUP + SPARE).collect();
    let (groups, spares) = all.split_at(2 * GROUP);
    let mut spares = spares.chunks(2);
    let dies = Some(who);
    for _ in 0..LIVES {
        for state in STATES {
            for group in groups.chunks(GROUP) {
                if goes(stage, score, who, state, group) {
                    Wave { stage, score, state, who: group, dies }.play()?;
                }
            }
        }
        let wants = |fresh| !score.left(who, State::Commissioning, fresh).is_empty();
        if wants(true)
            && !wants(false)
            && let Some(group) = spares.next()
        {
            Wave { stage, score, state: State::Commissioning, who: group, dies }.play()?;
        }
        if STATES.into_iter().all(|state| score.left(who, state, true).is_empty()) {
            break;
        }
    }
    Ok(())
}

/// Has a group something to do in a state: cells to hit, or its own way to go?
fn goes(stage: &Stage, score: &Score, who: Who, state: State, group: &[usize]) -> bool {
    let (now, first) = (stage.subjects[group[0]].judge.state(), group[0] == 0);
    let wants = |state, fresh| !score.left(who, state, fresh).is_empty();
    let rescue = || wants(State::EnteringRescue, false) || wants(State::ExitingRescue, false);
    if state == State::Deploying {
        let later = || rescue() || wants(State::Releasing, false);
        now == State::Ready && (wants(state, false) || (first && later()))
    } else if state == State::Testing {
        now == State::Ready && wants(state, false)
    } else if state == State::EnteringRescue {
        now == State::Deployed && rescue()
    } else if state == State::ExitingRescue {
        now == State::Rescue
    } else if state == State::Releasing {
        now == State::Deployed
    } else {
        let begins = first || wants(state, true) || !score.states.contains(&state);
        (now == State::New && begins) || (now == State::Ready && wants(state, false))
    }
}

/// Lives of machines with the real agent until it has died everywhere.
fn real_agents(stage: &mut Stage, score: &mut Score) -> anyhow::Result<()> {
    let group: Vec<usize> = (0..REAL).collect();
    for _ in 0..2 {
        for state in STATES {
            let wants = |state| !score.left(Who::Agent, state, true).is_empty();
            let goes = if state == State::EnteringRescue {
                wants(state) || wants(State::ExitingRescue)
            } else if state == State::ExitingRescue {
                stage.subjects[0].judge.state() == State::Rescue
            } else {
                state != State::Testing || wants(state)
            };
            if !goes {
                continue;
            }
            agents::deal(stage, score, state, &group);
            let before = agents::hits(stage, &group);
            Wave { stage, score, state, who: &group, dies: None }.play()?;
            agents::count(stage, score, state, &group, &before)?;
        }
        if STATES.into_iter().all(|state| score.left(Who::Agent, state, true).is_empty()) {
            break;
        }
    }
    Ok(())
}

/// What really happened, in the end.
fn judge(stage: &Stage) -> anyhow::Result<()> {
    for subject in &stage.subjects {
        let transitions = judge::transitions(&stage.site, &subject.name)?;
        let judged = subject.judge.at_the_end(&subject.member, &transitions);
        judged.with_context(|| format!("{} ({})", subject.name, subject.member.vendor.name))?;
    }
    Ok(())
}

/// A table: how many cells of each point were hit.
fn report(label: &str, score: &Score) {
    let all = Cell::all();
    for who in Who::ALL {
        for point in who.points() {
            let of =
                |cells: &mut dyn Iterator<Item = &Cell>| cells.filter(|c| c.who == who && c.point == point).count();
            let hit = of(&mut score.hit.iter());
            let excepted = of(&mut all.iter().filter(|c| c.exception().is_some()));
            println!("{label} {:8} {:26} {hit:3} hit {excepted:3} excepted", who.as_str(), point);
        }
    }
    println!("{label} {} cells hit by {} deaths", score.hit.len(), score.deaths);
}
