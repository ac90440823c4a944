//! One verb for many machines.
//!
//! Asking makes an operation: durable, with one item for each machine. The runner (`runner`) gives each machine's verb
//! in its turn by the use cases that a person would call, so that every check, the audit and the table's edges apply.
//! Destructive verbs need the token of a plan that was made for just this (`plan`).

mod plan;
mod runner;
mod select;

use farrier_common::{
    clock::Timestamp,
    id::{MachineId, OperationId},
    name::Name,
};

use super::{
    App,
    context::{Ask, needs},
};
use crate::{
    domain::{
        Error, Result,
        lifecycle::{Class, Event, State},
        machine::{CommissionWishes, Machine},
        operation::{Item, ItemStatus, MOST_MACHINES, Operation, Options, PARALLEL, Status, Verb},
        script::Chosen,
        user::Role,
        verbs::{self as rules, Asked, Reached},
    },
    store::{MachineView, Once, OperationView},
};

pub use select::Selection;

const MOST_PARALLEL: u32 = 1000;

/// What is to be done with which machines, and how fast.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What.
    pub verb: Verb,
    /// With which.
    pub selection: Selection,
    /// Of the plan; empty: none.
    pub plan_token: String,
    /// Machines that the caller thinks it is about; 0: he did not say.
    pub expected_count: u32,
    /// Machines at work at once; 0: [`PARALLEL`].
    pub max_parallel: u32,
    /// Failures after which no further machine is begun; 0: any number.
    pub stop_after_failures: u32,
    /// What the verb needs besides.
    pub options: Options,
}

/// What came of asking.
#[derive(Clone, Debug)]
pub enum Bulked {
    /// What would be done.
    Plan(Plan),
    /// What is being done.
    Operation(Box<OperationView>),
}

/// What a bulk call would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Shown again, it lets the call be made.
    pub token: String,
    /// Until when.
    pub expires_at: Timestamp,
    /// Each machine, and why the verb would be refused there.
    pub items: Vec<(Name, Option<String>)>,
}

impl App {
    /// Does something with many machines, or with `validate_only` says what would be done.
    ///
    /// # Errors
    /// The selection cannot be; or the verb is destructive and the plan is missing, over, or not of this.
    pub async fn bulk(&self, ask: &Ask<Bulked>, wanted: &Wanted) -> Result<Once<Bulked>> {
        needs(&ask.user, Role::User, "work with machines")?;
        let wanted = checked(ask, wanted)?;
        let chosen = self.select(&ask.user, wanted.verb, &wanted.selection).await?;
        let terms = plan::Terms::new(ask.user.id, &wanted, &chosen, self.clock.now());
        if ask.request.validate_only {
            let asked = Asked { user: &ask.user, deadlines: &self.policy.deadlines, now: self.clock.now() };
            let items = chosen.iter().map(|v| {
                let refusal = ask.still_in(&v.machine).and_then(|()| self.would(&asked, &wanted, &v.machine));
                (v.machine.name.clone(), refusal.err().map(|e| e.to_string()))
            });
            let items = items.collect();
            let expires_at = terms.expires_at;
            return Ok(Once::Fresh(Bulked::Plan(Plan { token: terms.seal(&self.vault)?, expires_at, items })));
        }
        terms.agree(&self.vault, &wanted, self.clock.now())?;
        let (operation, items) = self.operation(ask, &wanted, chosen);
        let render = ask.renderer();
        let kept = move |made: &OperationView| render(&Bulked::Operation(Box::new(made.clone())));
        let made = self.store.operation_insert(Some(&ask.request), operation, items, kept).await?;
        Ok(made.map(|view| Bulked::Operation(Box::new(view))))
    }

    fn operation(&self, ask: &Ask<Bulked>, wanted: &Wanted, chosen: Vec<MachineView>) -> (Operation, Vec<Item>) {
        let operation = Operation {
            id: OperationId::generate(),
            verb: wanted.verb,
            status: Status::Running,
            user: ask.user.id,
            options: wanted.options,
            comment: ask.request.comment.clone(),
            max_parallel: wanted.max_parallel,
            stop_after_failures: wanted.stop_after_failures,
            created_at: self.clock.now(),
            finished_at: None,
        };
        let item = |(position, view): (usize, MachineView)| Item {
            position: u32::try_from(position).unwrap_or(u32::MAX),
            machine: view.machine.id,
            name: view.machine.name,
            // What was agreed on is a machine in that state: one that somebody has put to use meanwhile is left alone.
            expected: ask.expected.or_else(|| wanted.verb.is_destructive().then_some(view.machine.state)),
            status: ItemStatus::Waiting,
            text: String::new(),
            revision: 0,
            asked: false,
        };
        (operation, chosen.into_iter().enumerate().map(item).collect())
    }

    /// Would the verb be done with this machine now? Asks the rules that the verb itself asks.
    fn would(&self, asked: &Asked<'_>, wanted: &Wanted, m: &Machine) -> Result<()> {
        match wanted.verb {
            Verb::Commission => rules::commission(asked, m, Reached::Known, CommissionWishes::default()).map(drop),
            Verb::Abort => rules::abort(asked, m, "").map(drop),
            Verb::Release => {
                rules::release(asked, m, wanted.options.skip_erase, !self.policy.require_erase, "").map(drop)
            }
            Verb::Test => rules::edge(asked.user, m, Event::Test).map(drop),
            Verb::MarkBroken => rules::mark_broken(asked, m, "").map(drop),
            Verb::MarkFixed => rules::mark_fixed(asked, m, "").map(drop),
            Verb::Lock => rules::lock(asked, m, "").map(drop),
            Verb::Unlock => rules::unlock(asked, m, "").map(drop),
            Verb::RotateBmcPassword => rules::bmc::rotate(asked, m, "").map(drop),
            Verb::Delete => built(wanted.verb),
        }
    }

    /// Does it with one machine; tells where the machine is then.
    async fn bulk_one(
        &self,
        ask: &Ask<MachineView>,
        operation: &Operation,
        machine: MachineId,
    ) -> Result<Once<MachineView>> {
        let (which, comment) = (machine.to_string(), operation.comment.as_str());
        match operation.verb {
            Verb::Commission => self.commission(ask, &which, None, &Chosen::default()).await,
            Verb::Abort => self.abort(ask, &which, comment).await,
            Verb::Release => self.release(ask, &which, operation.options.skip_erase, comment).await,
            Verb::Test => self.test(ask, &which, &[], comment).await,
            Verb::MarkBroken => self.mark_broken(ask, &which, comment).await,
            Verb::MarkFixed => self.mark_fixed(ask, &which, comment).await,
            Verb::Lock => self.lock(ask, &which, comment).await,
            Verb::Unlock => self.unlock(ask, &which, comment).await,
            Verb::RotateBmcPassword => self.bmc_rotate(ask, &which, comment).await,
            Verb::Delete => Err(unbuilt(operation.verb)),
        }
    }
}

/// Refuses the verbs whose single call is not built; those that are must be in `would` and `bulk_one`.
fn built(verb: Verb) -> Result<()> {
    match verb {
        Verb::Commission
        | Verb::Abort
        | Verb::Release
        | Verb::Test
        | Verb::MarkBroken
        | Verb::MarkFixed
        | Verb::Lock
        | Verb::Unlock
        | Verb::RotateBmcPassword => Ok(()),
        Verb::Delete => Err(unbuilt(verb)),
    }
}

const fn unbuilt(verb: Verb) -> Error {
    Error::Unimplemented(match verb {
        Verb::Commission => "bulk commission",
        Verb::Test => "bulk test",
        Verb::Abort => "bulk abort",
        Verb::Release => "bulk release",
        Verb::MarkBroken => "bulk mark-broken",
        Verb::MarkFixed => "bulk mark-fixed",
        Verb::Lock => "bulk lock",
        Verb::Unlock => "bulk unlock",
        Verb::RotateBmcPassword => "bulk rotate-bmc-password",
        Verb::Delete => "bulk delete",
    })
}

/// What can be said without looking at any machine.
fn checked(ask: &Ask<Bulked>, wanted: &Wanted) -> Result<Wanted> {
    built(wanted.verb)?;
    if ask.etag.is_some() {
        return Err(Error::invalid("options.etag", "makes sense only for one machine; leave it out"));
    }
    if wanted.options.skip_erase && wanted.verb != Verb::Release {
        return Err(Error::invalid("skip_erase", format!("belongs to release, not to {}", wanted.verb)));
    }
    if wanted.max_parallel > MOST_PARALLEL {
        return Err(Error::invalid("max_parallel", format!("must be 0 to {MOST_PARALLEL}; 0 means {PARALLEL}")));
    }
    if usize::try_from(wanted.stop_after_failures).map_or(true, |n| n > MOST_MACHINES) {
        let why = format!("must be 0 to {MOST_MACHINES}; 0 means: go on to the end");
        return Err(Error::invalid("stop_after_failures", why));
    }
    if usize::try_from(wanted.options.canary).map_or(true, |n| n > MOST_MACHINES) {
        let why = format!("must be 0 to {MOST_MACHINES}; 0 means: nobody goes first");
        return Err(Error::invalid("canary", why));
    }
    let max_parallel = if wanted.max_parallel == 0 { PARALLEL } else { wanted.max_parallel };
    Ok(Wanted { max_parallel, ..wanted.clone() })
}

/// Does the verb set a machine to work that is in this state after it?
fn is_at_work(verb: Verb, state: State) -> bool {
    let sets_to_work = match verb {
        Verb::Commission | Verb::Test | Verb::Release | Verb::MarkFixed => true,
        // The engine does it, whatever state the machine is in.
        Verb::RotateBmcPassword => return true,
        Verb::Abort | Verb::MarkBroken | Verb::Lock | Verb::Unlock | Verb::Delete => false,
    };
    sets_to_work && state.class() == Class::Working
}
