//! The agent's cells: the real agent dies in machines of its own, which the region boots again by itself.

use farrier_region::domain::lifecycle::State;

use crate::{
    cells::{Cell, Who},
    stage::Stage,
    wave::Score,
};

/// A visit to a state has three boots: two may be lost.
const LOST: usize = 2;

/// Does the region give the machine a fresh boot after it? After the others the work is done, and it is switched off.
fn costs_a_boot(cell: &Cell) -> bool {
    cell.context != "power-off" && cell.point != "reported"
}

/// Tells the agents of these machines where to die in the state; `false` if nothing is left.
pub(crate) fn deal(stage: &Stage, score: &Score, state: State, machines: &[usize]) -> bool {
    let left = score.left(Who::Agent, state, true);
    let (mut costly, mut last): (Vec<&Cell>, Vec<&Cell>) = left.iter().partition(|cell| costs_a_boot(cell));
    costly.reverse();
    last.reverse();
    for machine in machines {
        let Some(plan) = &stage.subjects[*machine].plan else { continue };
        plan.clear();
        let mine = (0..LOST).filter_map(|_| costly.pop()).collect::<Vec<_>>();
        for cell in mine.into_iter().chain(last.pop()) {
            plan.push(cell.argument());
        }
    }
    !left.is_empty()
}

/// Takes down what was hit since a number of hits by each machine.
pub(crate) fn count(stage: &Stage, score: &mut Score, state: State, machines: &[usize], before: &[usize]) {
    for (machine, before) in machines.iter().zip(before) {
        let Some(plan) = &stage.subjects[*machine].plan else { continue };
        for hit in plan.hits().iter().skip(*before) {
            let all = Cell::all();
            let cell = all.iter().find(|c| c.who == Who::Agent && c.state == state && c.argument() == *hit);
            if let Some(cell) = cell {
                stage.say(&cell.to_string());
                score.deaths += 1;
                score.hit.insert(*cell);
            }
        }
        plan.clear();
    }
}

/// How often each machine's agent died so far.
pub(crate) fn hits(stage: &Stage, machines: &[usize]) -> Vec<usize> {
    machines.iter().map(|m| stage.subjects[*m].plan.as_ref().map_or(0, |plan| plan.hits().len())).collect()
}
