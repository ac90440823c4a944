//! The account on the BMC, made from inside the machine. Nobody can switch the power until then: a person does.

use farrier_common::clock::Timestamp;

use super::{
    super::{
        lifecycle::{Event, Phase},
        machine::Machine,
        observation::{Observation, TaskKind, TaskStatus},
        reason::{Code, Why},
    },
    Decision, LOOK, Rules, after_task, enter, is_silent, leave, look, restarted, unpublished, wait,
};

pub(super) fn in_band(m: &Machine, seen: &Observation, rules: &Rules, now: Timestamp) -> Decision {
    if let Some(publish) = unpublished(m, seen) {
        return publish;
    }
    let kind = TaskKind::BmcAccount;
    let boot = seen.boot.as_ref();
    let status = boot.and_then(|b| b.task.as_ref()).filter(|t| t.kind == kind).map(|t| &t.status);
    let patience = look(m, now, LOOK).min(rules.agent_silence);
    let there = boot.is_some_and(|b| b.hello);
    match status {
        Some(TaskStatus::Done(result)) => after_task(m, result),
        Some(TaskStatus::Failed(reason)) => {
            leave(Event::Fail, Why::new(Code::TaskFailed, format!("the agent could not do {kind}: {reason}")))
        }
        // That agent is gone, and the next one needs a boot of its own.
        Some(TaskStatus::Pending | TaskStatus::Running(_)) if restarted(seen) => {
            enter(Phase::BmcInBand, Why::new(Code::Restarted, format!("the machine started anew during {kind}")))
        }
        Some(TaskStatus::Pending | TaskStatus::Running(_)) if is_silent(seen, rules, now) => {
            let text = "the agent is not heard any more: start the machine anew, from the network";
            wait(patience, Why::new(Code::SwitchOn, text))
        }
        Some(TaskStatus::Running(progress)) => wait(patience, format!("the agent does {kind}: {progress}")),
        None => enter(Phase::BmcInBand, "the agent has nothing to do yet"),
        Some(TaskStatus::Pending) if there => wait(patience, format!("the agent is about to do {kind}")),
        Some(TaskStatus::Pending) => {
            let held = boot.and_then(|b| b.held.as_ref()).map_or_else(String::new, |why| format!("; {why}"));
            let text = format!(
                "switch the machine on, or start it anew, and let it boot from the network: nobody else can, as no account on its \
                 BMC is known{held}"
            );
            wait(patience, Why::new(Code::SwitchOn, text))
        }
    }
}
