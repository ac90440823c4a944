//! The agent's cells: the real agent dies in machines of its own, which the region boots again by itself.

use farrier_fleet::agent::program::CrashPlan;
use farrier_integration_tests::wait;
use farrier_region::domain::lifecycle::State;

use crate::{
    LIMIT,
    cells::{Cell, Who},
    stage::Stage,
    wave::Score,
};

/// So many boots of a visit to a state may be lost.
const LOST: usize = 2;

/// Does the region give the machine a fresh boot after it? After the others the work is done, and it is switched off.
fn costs_a_boot(cell: &Cell) -> bool {
    cell.context != "power-off" && cell.point != "reported"
}

/// Tells the agents of these machines where to die in the state.
pub(crate) fn deal(stage: &Stage, score: &Score, state: State, machines: &[usize]) {
    // Those that are to die on the way out of rescue run already, and were told when they started.
    if state == State::ExitingRescue {
        return;
    }
    let left = score.left(Who::Agent, state, true);
    let (mut costly, mut last): (Vec<&Cell>, Vec<&Cell>) = left.iter().partition(|cell| costs_a_boot(cell));
    costly.reverse();
    last.reverse();
    for plan in plans(stage, machines) {
        plan.clear();
        let mine = (0..LOST).filter_map(|_| costly.pop()).collect::<Vec<_>>();
        for cell in mine.into_iter().chain(last.pop()) {
            plan.push(cell.argument());
        }
    }
    if state == State::EnteringRescue {
        // From the last machine on: the first one's agent dies with its last word on the way in.
        let out = score.left(Who::Agent, State::ExitingRescue, true);
        plans(stage, machines).rev().zip(out).for_each(|(plan, cell)| plan.push(cell.argument()));
    }
}

fn plans<'a>(stage: &'a Stage, machines: &'a [usize]) -> impl DoubleEndedIterator<Item = &'a CrashPlan> {
    machines.iter().filter_map(|machine| stage.subjects[*machine].plan())
}

/// Takes down what was hit since a number of hits by each machine.
pub(crate) fn count(
    stage: &Stage,
    score: &mut Score,
    state: State,
    machines: &[usize],
    before: &[usize],
) -> anyhow::Result<()> {
    if state == State::EnteringRescue {
        // With its last report the machine is in rescue, before anybody has seen that the agent died.
        let died = |plan: &CrashPlan| plan.left().iter().all(|cell| !cell.ends_with("/open-ssh"));
        wait::until_true("the agents' deaths", LIMIT, || plans(stage, machines).all(died))?;
    }
    for (machine, before) in machines.iter().zip(before) {
        let Some(plan) = stage.subjects[*machine].plan() else { continue };
        for hit in plan.hits().iter().skip(*before) {
            let all = Cell::all();
            let cell = all.iter().find(|c| c.who == Who::Agent && c.state == state && c.argument() == *hit);
            if let Some(cell) = cell {
                stage.say(&cell.to_string())?;
                score.deaths += 1;
                score.hit.insert(*cell);
            }
        }
        plan.clear();
    }
    Ok(())
}

/// How often each machine's agent died so far.
pub(crate) fn hits(stage: &Stage, machines: &[usize]) -> Vec<usize> {
    machines.iter().map(|m| stage.subjects[*m].plan().map_or(0, |plan| plan.hits().len())).collect()
}
