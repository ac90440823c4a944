//! Allocate: choosing machines among those that are ready, and holding them.
//!
//! What the store asks while it does so is answered here; see [`Allocating`]. If others are at what was chosen, it is tried
//! again, at most [`TRIES`] times; the later tries wait for them.

use std::sync::Arc;

use chrono::TimeDelta;
use farrier_common::clock::Timestamp;

use super::{
    super::{
        App, Policy,
        context::{Ask, Render, needs},
    },
    verbs::TRIES,
};
use crate::{
    crash::{Crash, Point},
    domain::{
        Error, Result,
        advance::Change,
        allocation::{Candidate, Constraints, Named, Plan, Short, Want, plan, unfit},
        lifecycle::State,
        machine::{Machine, Owner},
        user::{Role, User},
        verbs::{self as rules, Asked, Hold},
    },
    store::{Allocating, Extra, MachineView, Once},
};

/// From this try on, machines that somebody else is at are waited for.
const PATIENT: usize = 4;
/// How many different constraints one call may have: each is held against every ready machine.
const MOST_KINDS: usize = 50;
const MOST_LEASE: u64 = 366 * 24 * 3600;
/// How many refusals are told of when nothing is allocated.
const MOST_TOLD: usize = 5;

/// Constraints as they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// What needs no looking up; pool, rack and subnet are unset.
    pub constraints: Constraints,
    /// Id or name; empty: any.
    pub pool: String,
    /// Id or name; empty: any.
    pub rack: String,
    /// Id or name; empty: any.
    pub subnet: String,
    /// Where they are in the request.
    pub field: String,
}

/// For whom, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Id or name of a project; empty: for the caller himself.
    pub project: String,
    /// 0: without end.
    pub lease_seconds: u64,
}

/// So many machines of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Id or name; empty: any that fits.
    pub machine: String,
    /// What they must have.
    pub given: Given,
    /// How many.
    pub count: usize,
}

/// One machine that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocated {
    /// Index of its item.
    pub item: usize,
    /// The machine, or why there is none.
    pub outcome: std::result::Result<MachineView, String>,
}

/// How much of a plan has to be possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Enough {
    /// The one machine that was asked for.
    One,
    /// All of a batch.
    All,
    /// Whatever there is.
    Any,
}

impl Enough {
    /// `told`: why each group has too little; empty where it has enough.
    fn check(self, told: &[String]) -> Result<()> {
        let few: Vec<&str> = told.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        if few.is_empty() || self == Self::Any {
            return Ok(());
        }
        let more = few.len().saturating_sub(MOST_TOLD);
        let mut text = few.iter().take(MOST_TOLD).copied().collect::<Vec<_>>().join("; ");
        if more > 0 {
            text.push_str(&format!("; and {more} more"));
        }
        Err(Error::Exhausted(match self {
            Self::One | Self::Any => text,
            Self::All => format!("nothing is allocated, because not all can be: {text}"),
        }))
    }
}

impl App {
    /// Holds a machine: the named one, or with an empty name the cheapest that is ready and fits.
    ///
    /// # Errors
    /// Refused, denied, or none fits.
    pub async fn allocate(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        given: Given,
        terms: &Terms,
    ) -> Result<Once<MachineView>> {
        let (constraints, hold) = (self.resolve(&ask.user, given).await?, self.hold(&ask.user, terms).await?);
        if !which.is_empty() {
            let plan = |by: &Asked<'_>, m: &Machine| {
                let change = rules::hold(by, m, &hold)?;
                fit(m, &constraints)?;
                Ok((change, Extra::default()))
            };
            return self.change(ask, which, "allocate", plan).await;
        }
        needs(&ask.user, Role::User, "allocate machines")?;
        unnamed(ask)?;
        let wants = vec![Want { machine: String::new(), constraints, count: 1 }];
        let one = |_: &Plan, _: &[Want], _: &[String], taken: Vec<Vec<MachineView>>| {
            let one = taken.into_iter().flatten().next();
            one.ok_or_else(|| Error::Internal("one machine was taken, and there is none".to_owned()))
        };
        self.take(ask, self.wish(ask, wants, hold, Enough::One, one)).await
    }

    /// Holds several machines in one transaction; `all` of them or none, or else as many as there are.
    ///
    /// # Errors
    /// Denied, or with `all` too few fit.
    pub async fn allocate_many(
        &self,
        ask: &Ask<Vec<Allocated>>,
        items: Vec<Item>,
        all: bool,
        terms: &Terms,
    ) -> Result<Once<Vec<Allocated>>> {
        needs(&ask.user, Role::User, "allocate machines")?;
        unnamed(ask)?;
        let hold = self.hold(&ask.user, terms).await?;
        let mut wants: Vec<Want> = Vec::with_capacity(items.len());
        let mut known: Vec<(Given, Constraints)> = Vec::new();
        for Item { machine, given, count } in items {
            let same = known.iter().find(|(g, _)| Given { field: given.field.clone(), ..g.clone() } == given);
            let constraints = match same {
                Some((_, constraints)) => constraints.clone(),
                None if known.len() == MOST_KINDS => {
                    return Err(Error::invalid("items", format!("have at most {MOST_KINDS} different constraints")));
                }
                None => {
                    let made = self.resolve(&ask.user, given.clone()).await?;
                    known.push((given, made.clone()));
                    made
                }
            };
            wants.push(Want { machine, constraints, count });
        }
        let enough = if all { Enough::All } else { Enough::Any };
        let some = |plan: &Plan, wants: &[Want], told: &[String], taken| Ok(results(plan, wants, told, taken));
        self.take(ask, self.wish(ask, wants, hold, enough, some)).await
    }

    fn wish<T>(&self, ask: &Ask<T>, wants: Vec<Want>, hold: Hold, enough: Enough, answer: Answer<T>) -> Wish<T> {
        Wish {
            user: ask.user.clone(),
            policy: Arc::clone(&self.policy),
            now: self.clock.now(),
            wants,
            hold,
            enough,
            answer,
            render: Arc::clone(&ask.render),
            crash: self.crash.clone(),
        }
    }

    async fn take<T: Send + 'static>(&self, ask: &Ask<T>, wish: Wish<T>) -> Result<Once<T>> {
        self.crash.at(Point::VerbReceived, State::Allocated.as_str());
        let wish = Arc::new(wish);
        for attempt in 0..TRIES {
            match self.store.machines_hold(Some(&ask.request), Arc::clone(&wish), attempt >= PATIENT).await {
                Err(Error::Conflict { .. }) => {}
                Ok(Once::Fresh(made)) => {
                    self.crash.at(Point::VerbCommitted, State::Allocated.as_str());
                    return Ok(Once::Fresh(made));
                }
                other => return other,
            }
        }
        Err(Error::Unavailable("others allocate machines at the same time; try again".to_owned()))
    }

    /// Who is to hold it, if the caller may say so, and until when.
    async fn hold(&self, user: &User, terms: &Terms) -> Result<Hold> {
        let lease_expires = lease(terms.lease_seconds, self.clock.now())?;
        if terms.project.is_empty() {
            return Ok(Hold { owner: Owner::User(user.id), name: user.name.to_string(), lease_expires });
        }
        let found = self.store.project_find(&terms.project).await?;
        let mine = found.filter(|project| user.role == Role::Admin || user.projects.contains(&project.id));
        let missing = || Error::invalid("project", format!("you are in no project {:?}", terms.project));
        let project = mine.ok_or_else(missing)?;
        let name = format!("project {}", project.name);
        Ok(Hold { owner: Owner::Project(project.id), name, lease_expires })
    }

    /// Looks up what was named.
    async fn resolve(&self, user: &User, given: Given) -> Result<Constraints> {
        let Given { mut constraints, pool, rack, subnet, field } = given;
        let missing =
            |part: &str, name: &str| Error::invalid(format!("{field}.{part}"), format!("there is no {part} {name:?}"));
        if !pool.is_empty() {
            let found = self.store.pool_find(&pool).await?;
            let mine = found.filter(|found| user.role == Role::Admin || user.pools.contains(&found.id));
            let found = mine.ok_or_else(|| missing("pool", &pool))?;
            constraints.pool = Some(Named { name: found.name.to_string(), is: found.id });
        }
        if !rack.is_empty() {
            let found = self.store.rack_find(&rack).await?.ok_or_else(|| missing("rack", &rack))?;
            constraints.rack = Some(Named { name: found.name.to_string(), is: found.id });
        }
        if !subnet.is_empty() {
            let found = self.store.subnet_find(&subnet).await?.ok_or_else(|| missing("subnet", &subnet))?;
            constraints.subnet = Some(Named { name: found.name.to_string(), is: found.cidr });
        }
        Ok(constraints)
    }
}

/// Makes the answer of what each group of the plan got.
type Answer<T> = fn(&Plan, &[Want], &[String], Vec<Vec<MachineView>>) -> Result<T>;

/// Machines that somebody wants: all that is needed to answer the store.
struct Wish<T> {
    user: User,
    policy: Arc<Policy>,
    now: Timestamp,
    wants: Vec<Want>,
    hold: Hold,
    enough: Enough,
    answer: Answer<T>,
    render: Render<T>,
    crash: Crash,
}

impl<T: Send + 'static> Allocating for Wish<T> {
    type Answer = T;

    fn choose(&self, ready: &[Arc<Candidate>]) -> Plan {
        plan(ready, &self.user, &self.wants)
    }

    fn judge(&self, plan: &Plan, named: &[MachineView]) -> Result<Vec<String>> {
        let told = |short: &Option<Short>| match short {
            None => String::new(),
            Some(Short::Unfit(why)) => why.clone(),
            Some(Short::NotReady(name)) => not_ready(&self.user, name, named),
        };
        let told: Vec<String> = plan.short.iter().map(told).collect();
        self.enough.check(&told)?;
        Ok(told)
    }

    fn takes_fewer(&self) -> bool {
        self.enough == Enough::Any
    }

    fn hold(&self, plan: &Plan, group: usize, m: &Machine) -> Option<Change> {
        let candidate = Candidate::from(m);
        let constraints = plan.constraints.get(group)?;
        if !candidate.open_to(&self.user) || !rules::sees(&self.user, m) || candidate.fits(constraints).is_err() {
            return None;
        }
        rules::hold(&Asked { user: &self.user, deadlines: &self.policy.deadlines, now: self.now }, m, &self.hold).ok()
    }

    fn answer(&self, plan: &Plan, told: &[String], taken: Vec<Vec<MachineView>>) -> Result<T> {
        (self.answer)(plan, &self.wants, told, taken)
    }

    fn render(&self, answer: &T) -> Vec<u8> {
        self.crash.at(Point::VerbBeforeCommit, State::Allocated.as_str());
        (self.render)(answer)
    }
}

/// Why a machine that was named cannot be had, as far as this person may know of it.
fn not_ready(user: &User, name: &str, named: &[MachineView]) -> String {
    let is = |v: &&MachineView| v.machine.name.as_str() == name || v.machine.id.to_string() == name;
    match named.iter().filter(|v| rules::sees(user, &v.machine)).find(is) {
        Some(view) if view.machine.state == State::Ready => format!("machine {name} is not yours to hold"),
        Some(view) => format!("machine {name} is {}, not ready", view.machine.state),
        None => Error::not_found("machine", name).to_string(),
    }
}

fn results(plan: &Plan, wants: &[Want], told: &[String], taken: Vec<Vec<MachineView>>) -> Vec<Allocated> {
    let mut all = Vec::new();
    for (item, (got, group)) in plan.deal(wants, taken).into_iter().enumerate() {
        let count = wants.get(item).map_or(0, |w| w.count);
        let short = count.saturating_sub(got.len());
        all.extend(got.into_iter().map(|view| Allocated { item, outcome: Ok(view) }));
        let why = told.get(group).cloned().unwrap_or_default();
        all.extend((0..short).map(|_| Allocated { item, outcome: Err(why.clone()) }));
    }
    all
}

/// Does the machine that was named have what was asked for?
fn fit(m: &Machine, constraints: &Constraints) -> Result<()> {
    let candidate = Candidate::from(m);
    candidate.fits(constraints).map(drop).map_err(|unmet| Error::Precondition(unfit(&candidate, &unmet, constraints)))
}

/// What makes sense only for a machine that is named.
fn unnamed<T>(ask: &Ask<T>) -> Result<()> {
    if ask.etag.is_some() {
        return Err(Error::invalid("options.etag", "makes sense only for a named machine; name one or leave it out"));
    }
    if ask.expected.is_some_and(|state| state != State::Ready) {
        return Err(Error::invalid("options.expected_state", "must be ready, or left out"));
    }
    Ok(())
}

fn lease(seconds: u64, now: Timestamp) -> Result<Option<Timestamp>> {
    if seconds == 0 {
        return Ok(None);
    }
    let lasts = i64::try_from(seconds).ok().filter(|_| seconds <= MOST_LEASE).map(TimeDelta::seconds);
    let wrong = || Error::invalid("lease_seconds", format!("must be at most {MOST_LEASE} (366 days), or 0 for no end"));
    Ok(Some(now + lasts.ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_an_end_that_is_not_too_far() {
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        assert_eq!(lease(0, now).unwrap(), None);
        assert_eq!(lease(60, now).unwrap(), Some(now + TimeDelta::seconds(60)));
        assert!(lease(MOST_LEASE, now).is_ok());
        for long in [MOST_LEASE + 1, u64::MAX] {
            let told = lease(long, now).unwrap_err().to_string();
            assert!(told.starts_with("lease_seconds: must be at most 31622400"), "{told}");
        }
    }
}
