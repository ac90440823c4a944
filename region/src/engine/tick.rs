//! One tick: observe, decide, act, commit.

use farrier_common::{clock::Timestamp, secret};

use crate::{
    crash::Point,
    domain::{
        Error, Result,
        advance::{Change, advance},
        bmc::PASSWORD,
        decide::{Decision, decide, failed_tries, on_trouble},
        lifecycle::{Event, Phase, State},
        machine::Machine,
        observation::{Observation, Trouble},
        reason::{Code, Why},
    },
    engine::Engine,
    racks::own_purpose,
    store::{Claim, Claimed, Committed, Extra},
};

impl Engine {
    /// Handles one claimed machine.
    pub(super) async fn tick(&self, claimed: Claimed) -> Result<()> {
        let claim = claimed.claim();
        let mut m = claimed.view.machine;
        let state = m.state;
        self.crash.at(Point::Claimed, state.as_str());
        let seen = self.observe(&m).await?;
        self.crash.at(Point::Observed, state.as_str());
        let mut decision = decide(&m, &seen, &self.rules, self.clock.now());
        let mut trouble = seen.power.clone().and_then(std::result::Result::err);
        let (mut logged, mut extra) = (None, Extra::default());
        if let Decision::Do { effect, .. } = &decision {
            match self.act(&mut m, effect).await {
                Ok(acted) => {
                    self.crash.at(effect.into(), state.as_str());
                    (logged, extra) = acted;
                }
                Err(t) => {
                    decision = on_trouble(&m, effect, &t, &self.rules);
                    trouble = Some(t);
                }
            }
        }
        note(&mut m, trouble.as_ref(), self.clock.now());
        let mut change = self.follow(&m, &seen, &decision)?;
        change.events.splice(0..0, logged);
        extra.secrets.extend(self.secrets(&change).await?);
        log(&m, &decision, trouble.as_ref());
        let committed = match self.commit(claim, change, extra, state).await {
            // What the agent found contradicts another machine (one MAC twice): trying again will not change it.
            Err(e @ Error::Exists { .. }) => {
                let decision = Decision::Move { event: Event::Fail, why: Why::new(Code::Conflict, e.to_string()) };
                let change = self.follow(&m, &Observation::default(), &decision)?;
                self.commit(claim, change, Extra::default(), state).await?
            }
            other => other?,
        };
        if committed == Committed::Lost {
            tracing::info!(machine.id = %m.id, "somebody changed the machine during its tick; it is looked at again");
        }
        Ok(())
    }

    /// Commits the tick of a machine that was claimed in `state`.
    async fn commit(&self, claim: Claim, change: Change, extra: Extra, state: State) -> Result<Committed> {
        let (leaves, crash) = (change.edge.is_some(), self.crash.clone());
        let written = move || crash.at(Point::BeforeCommit, state.as_str());
        let committed = self.store.machine_commit_after(claim, change, extra, written).await?;
        if committed == Committed::Done {
            self.crash.at(Point::Committed, state.as_str());
        }
        if committed == Committed::Done && leaves {
            self.crash.at(Point::Left, state.as_str());
        }
        Ok(committed)
    }

    fn follow(&self, m: &Machine, seen: &Observation, decision: &Decision) -> Result<Change> {
        advance(m, seen, decision, &self.deadlines, self.clock.now()).map_err(|r| {
            Error::Internal(format!("decide wants {} in {}, which the table does not know", r.event, r.state))
        })
    }

    /// The password of our own BMC account is kept before the BMC is told of it, so that no crash can lose it.
    async fn secrets(&self, change: &Change) -> Result<Vec<(String, Vec<u8>)>> {
        if !matches!(change.machine.work.phase, Some(Phase::BmcAccount | Phase::BmcInBand)) {
            return Ok(Vec::new());
        }
        let purpose = own_purpose(&change.machine);
        if self.store.secret_get(&purpose).await?.is_some() {
            return Ok(Vec::new());
        }
        let password = secret::bmc_password(PASSWORD);
        let sealed = self.vault.seal(&purpose, password.expose().as_bytes());
        Ok(vec![(purpose, sealed)])
    }
}

fn note(m: &mut Machine, trouble: Option<&Trouble>, now: Timestamp) {
    match trouble {
        Some(t) => {
            m.work.attempts = failed_tries(m.work.attempts, t);
            m.work.last_error = Some(t.text.clone());
            m.details.trouble_since.get_or_insert(now);
        }
        None => {
            m.work.attempts = 0;
            m.work.last_error = None;
            m.details.trouble_since = None;
        }
    }
}

fn log(m: &Machine, decision: &Decision, trouble: Option<&Trouble>) {
    let phase = m.work.phase.map_or("", Phase::as_str);
    let trouble = trouble.map_or("", |t| t.text.as_str());
    match decision {
        Decision::Rest => tracing::debug!(machine.id = %m.id, name = %m.name, state = %m.state, "rests"),
        Decision::Wait { why, .. } => {
            tracing::debug!(machine.id = %m.id, name = %m.name, state = %m.state, phase, %why, trouble, "waits");
        }
        Decision::Do { effect, .. } => {
            tracing::info!(machine.id = %m.id, name = %m.name, state = %m.state, phase, effect = effect.describe(), "done");
        }
        Decision::Enter { phase: next, why } => {
            tracing::info!(machine.id = %m.id, name = %m.name, state = %m.state, phase, %next, %why, "enters");
        }
        Decision::Move { event, why } => {
            tracing::info!(machine.id = %m.id, name = %m.name, state = %m.state, phase, %event, %why, trouble, "moves");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        decide::Rules,
        observation::{Effect, TroubleKind},
        testing::{at, machine},
    };

    #[test]
    fn a_rack_that_is_away_is_no_failed_try() {
        let away = Trouble { kind: TroubleKind::RackAway, text: "the rack does not answer".to_owned() };
        let mut m = machine(State::Commissioning, Some(Phase::ProbeBmc));
        for _ in 0..9 {
            note(&mut m, Some(&away), at(5));
        }
        assert_eq!((m.work.attempts, m.details.trouble_since), (1, Some(at(5))), "it is woken when the rack is back");
        let decision = on_trouble(&m, &Effect::ProbeBmc, &away, &Rules::default());
        assert!(matches!(decision, Decision::Wait { why: Why { code: Code::RackAway, .. }, .. }), "{decision:?}");
    }

    #[test]
    fn trouble_is_known_by_when_it_began() {
        let trouble = |text: &str| Some(Trouble { kind: TroubleKind::Transient, text: text.to_owned() });
        let mut m = machine(State::Commissioning, Some(Phase::ProbeBmc));
        note(&mut m, trouble("silent").as_ref(), at(5));
        note(&mut m, trouble("busy").as_ref(), at(9));
        assert_eq!((m.work.attempts, m.details.trouble_since), (2, Some(at(5))));
        note(&mut m, None, at(10));
        assert_eq!((m.work.attempts, m.details.trouble_since), (0, None));
    }
}
