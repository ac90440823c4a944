//! From what is asked for and what there is to who gets what.

use std::{borrow::Borrow, collections::BTreeMap};

use super::{Candidate, Census, Constraints, Cost, Group, assign};
use crate::domain::user::User;

/// How many machines more than are wanted are kept in a group, for the case that others are quicker.
const SPARE: usize = 256;

/// Machines of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Id or name; empty: any that fits.
    pub machine: String,
    /// What they must have.
    pub constraints: Constraints,
    /// How many.
    pub count: usize,
}

/// Why there is less than is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Short {
    /// The machine that was named is not among those that are ready.
    NotReady(String),
    /// In a sentence.
    Unfit(String),
}

/// Who gets what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to take: from each group as many as it counts, which is no more than there are.
    pub groups: Vec<Group>,
    /// What a machine of each group must have.
    pub constraints: Vec<Constraints>,
    /// Why a group has less than is wanted.
    pub short: Vec<Option<Short>>,
    /// The group of each want.
    of: Vec<usize>,
}

impl Plan {
    /// Ids or names of machines that were named and are not ready.
    pub fn not_ready(&self) -> impl Iterator<Item = &str> {
        self.short.iter().filter_map(|short| match short {
            Some(Short::NotReady(name)) => Some(name.as_str()),
            Some(Short::Unfit(_)) | None => None,
        })
    }

    /// Deals out what was taken for the groups: for each want in order what it gets, and its group.
    #[must_use]
    pub fn deal<T>(&self, wants: &[Want], taken: Vec<Vec<T>>) -> Vec<(Vec<T>, usize)> {
        let mut heaps: Vec<_> = taken.into_iter().map(Vec::into_iter).collect();
        let each = wants.iter().zip(&self.of).map(|(want, group)| {
            let mine = heaps.get_mut(*group).map(|h| h.by_ref().take(want.count).collect()).unwrap_or_default();
            (mine, *group)
        });
        each.collect()
    }
}

/// Who gets what of the machines that are ready, as far as this person may hold them.
#[must_use]
pub fn plan<C: Borrow<Candidate>>(ready: &[C], user: &User, wants: &[Want]) -> Plan {
    let ready: Vec<&Candidate> = ready.iter().map(Borrow::borrow).filter(|c| c.open_to(user)).collect();
    let most = wants.iter().map(|w| w.count).sum::<usize>() + SPARE;
    let mut plan = Plan::default();
    let mut why: Vec<Why> = Vec::new();
    let mut first_of: Vec<usize> = Vec::new();
    for (place, want) in wants.iter().enumerate() {
        // What asks for the same is one group; it is looked for once.
        let same = |first: &&usize| wants[**first].machine.is_empty() && wants[**first].constraints == want.constraints;
        let known = first_of.iter().filter(|_| want.machine.is_empty()).find(same);
        if let Some(group) = known.and_then(|first| plan.of.get(*first).copied()) {
            plan.groups[group].count += want.count;
            plan.of.push(group);
            continue;
        }
        let (candidates, reason) =
            if want.machine.is_empty() { ranked(&ready, want, most) } else { named(&ready, want) };
        first_of.push(place);
        plan.of.push(plan.groups.len());
        plan.groups.push(Group { candidates, count: want.count });
        plan.constraints.push(want.constraints.clone());
        why.push(reason);
    }
    settle(&mut plan, &why);
    plan
}

/// Why a group may come short.
enum Why {
    NotReady(String),
    Named(String),
    Counted(Census, Box<Constraints>),
}

/// Gives each group what it gets: first in its list, and its count no more than that.
fn settle(plan: &mut Plan, why: &[Why]) {
    let assigned = assign(&plan.groups);
    let taken: std::collections::HashSet<_> = assigned.iter().flatten().copied().collect();
    for ((group, got), why) in plan.groups.iter_mut().zip(assigned).zip(why) {
        let short = (got.len() < group.count).then(|| match why {
            Why::NotReady(name) => Short::NotReady(name.clone()),
            Why::Named(text) => Short::Unfit(text.clone()),
            Why::Counted(census, asked) => Short::Unfit(census.tell(asked)),
        });
        plan.short.push(short);
        group.count = got.len();
        let spare = group.candidates.iter().filter(|id| !taken.contains(*id)).copied();
        group.candidates = got.iter().copied().chain(spare).collect();
    }
}

fn ranked(ready: &[&Candidate], want: &Want, most: usize) -> (Vec<farrier_common::id::MachineId>, Why) {
    let (mut census, mut fitting) = (Census::default(), BTreeMap::<Cost, _>::new());
    for candidate in ready {
        match candidate.fits(&want.constraints) {
            Ok(cost) => {
                census.count(Vec::new());
                fitting.insert(cost, candidate.id);
            }
            Err(unmet) => census.count(unmet),
        }
    }
    (fitting.into_values().take(most).collect(), Why::Counted(census, Box::new(want.constraints.clone())))
}

fn named(ready: &[&Candidate], want: &Want) -> (Vec<farrier_common::id::MachineId>, Why) {
    let is = |c: &&&Candidate| c.name().as_str() == want.machine || c.id.to_string() == want.machine;
    let Some(found) = ready.iter().find(is) else { return (Vec::new(), Why::NotReady(want.machine.clone())) };
    match found.fits(&want.constraints) {
        Ok(_) => {
            let text = format!("machine {} is given to another item of this call", found.name());
            (vec![found.id], Why::Named(text))
        }
        Err(unmet) => (Vec::new(), Why::Named(unfit(found, &unmet, &want.constraints))),
    }
}

/// Every reason why one machine does not fit.
#[must_use]
pub fn unfit(candidate: &Candidate, unmet: &[super::Unmet], asked: &Constraints) -> String {
    let reasons: Vec<String> = unmet.iter().map(|u| u.of(1, asked)).collect();
    format!("machine {} does not fit: it {}", candidate.name(), reasons.join(", it "))
}
