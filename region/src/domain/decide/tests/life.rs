//! Whole lives: random verbs of random people, a world that does as it is told or does not, and time that passes.
//!
//! After each step a few things must hold that are kept apart from what the machine says of itself ([`Ledger`]):
//! - table and engine agree: `decide` proposes nothing that the table lacks, and nobody goes along an edge that is not his;
//! - nothing that was used becomes ready without a proven wipe, unless skipping it was allowed and asked for;
//! - a machine has one owner at most, and only allocating gives it one;
//! - what failed or broke becomes ready by way of commissioning only, the override of a failed test excepted. (A rescue
//!   that fails says nothing about the machine: there it counts where the machine came from.);
//! - every working state has a deadline, is looked at again, and ends at its deadline at the latest;
//! - a locked machine refuses every verb, and its work goes on.
//!
//! Events that become `available` are part of these lives by themselves; [`lives_take_every_edge`] tells if one is not.

use std::collections::BTreeSet;

use proptest::{sample::Index, strategy::ValueTree as _, test_runner::TestRunner};

use super::*;
use crate::domain::{
    Error,
    advance::{self, Change},
    event::EventKind,
    lifecycle::{self, BIRTHS, By, EDGES},
    machine::{Deployment, InBand, Owner},
    testing::user,
    user::{Role, User},
    verbs::{self as rules, Asked, Reached},
};

/// The longest that the engine may leave a working machine alone.
const LEFT_ALONE: TimeDelta = SELDOM;
/// So many ticks are more than any work takes when nothing goes wrong.
const TICKS: usize = 60;

/// What goes wrong during a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luck {
    Good,
    /// The BMC does not tell the power state.
    Power(TroubleKind),
    /// What is done outside does not succeed.
    Effect(TroubleKind),
    TaskFails,
    TaskHangs,
    StartsAnew,
    GoesOff,
    NoAgent,
    RackAway,
}

#[derive(Clone, Debug)]
enum Step {
    /// Somebody asks for something; `wild`: whether he may or not.
    Verb {
        who: Index,
        what: Index,
        wild: bool,
        skip_erase: bool,
    },
    Lock(Index),
    Unlock(Index),
    /// One look of the engine, after so many seconds.
    Tick(Luck, i64),
    /// The engine looks until the work is done.
    Work,
    /// The deadline passes.
    Late(Luck),
}

fn luck() -> impl Strategy<Value = Luck> {
    use Luck as L;
    proptest::sample::select(vec![
        L::Good,
        L::Power(TroubleKind::Transient),
        L::Power(TroubleKind::RackAway),
        L::Power(TroubleKind::Permanent),
        L::Power(TroubleKind::Untrusted),
        L::Effect(TroubleKind::Transient),
        L::Effect(TroubleKind::RackAway),
        L::Effect(TroubleKind::Permanent),
        L::Effect(TroubleKind::Untrusted),
        L::TaskFails,
        L::TaskHangs,
        L::StartsAnew,
        L::GoesOff,
        L::NoAgent,
        L::RackAway,
    ])
}

fn step() -> impl Strategy<Value = Step> {
    let verb = (any::<Index>(), any::<Index>(), proptest::bool::weighted(0.2), any::<bool>());
    prop_oneof![
        8 => verb.prop_map(|(who, what, wild, skip_erase)| Step::Verb { who, what, wild, skip_erase }),
        1 => any::<Index>().prop_map(Step::Lock),
        2 => any::<Index>().prop_map(Step::Unlock),
        6 => (luck(), 1_i64..700).prop_map(|(luck, passes)| Step::Tick(luck, passes)),
        5 => Just(Step::Work),
        1 => luck().prop_map(Step::Late),
    ]
}

/// How a machine comes to be, whether the policy lets disks keep their content, and what happens then.
fn life() -> impl Strategy<Value = (Index, bool, Vec<Step>)> {
    (any::<Index>(), any::<bool>(), proptest::collection::vec(step(), 1..80))
}

/// What is known of a machine by what happened to it.
#[derive(Debug, Default)]
struct Ledger {
    /// An owner's data may be on its disks: no wipe was proven since.
    used: bool,
    /// He who released it last asked to keep them, and was let.
    kept: bool,
    /// It failed or broke and was not commissioned since.
    suspect: bool,
}

struct Life {
    m: Machine,
    world: Obedient,
    now: i64,
    may_skip: bool,
    people: [User; 4],
    ledger: Ledger,
    taken: BTreeSet<String>,
}

fn line(from: Option<State>, on: Event, to: State) -> String {
    format!("{} {on} {to}", from.map_or("-", State::as_str))
}

/// The births and edges that can be taken by what is built.
fn reachable() -> BTreeSet<String> {
    let births = BIRTHS.iter().map(|b| (None, b.on, b.to));
    let all: Vec<_> = births.chain(EDGES.iter().map(|e| (Some(e.from), e.on, e.to))).collect();
    let (mut states, mut lines) = (BTreeSet::new(), BTreeSet::new());
    for _ in State::ALL {
        for (from, on, to) in all.iter().copied() {
            if from.is_none_or(|f| states.contains(&f)) {
                states.insert(to);
                lines.insert(line(from, on, to));
            }
        }
    }
    lines
}

impl Life {
    fn begin(how: Index, may_skip: bool) -> Self {
        let birth = how.get(BIRTHS);
        let people =
            [user("root", Role::Admin), user("ann", Role::User), user("bob", Role::User), user("eve", Role::Viewer)];
        let mut m = machine(birth.to, None);
        m.deadline = advance::deadline(birth.to, &Deadlines::default(), at(0));
        let live = birth.on == Event::AddLive;
        if birth.on == Event::Enlist {
            m.details.bmc = None;
        }
        if live {
            m.owner = Some(Owner::User(people[1].id));
            m.details.dirty = true;
        }
        let world = Obedient { power: PowerState::Off, boot: BootSeen::default() };
        let taken = BTreeSet::from([line(None, birth.on, birth.to)]);
        Self { m, world, now: 0, may_skip, people, ledger: Ledger { used: live, ..Ledger::default() }, taken }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Verb { who, what, wild, skip_erase } => {
                let person = who.get(&self.people).clone();
                self.verb(&person, *what, *wild, *skip_erase)
            }
            Step::Lock(who) => {
                let person = who.get(&self.people).clone();
                self.ask(&person, |asked, m| rules::lock(asked, m, "a test"))
            }
            Step::Unlock(who) => {
                let person = who.get(&self.people).clone();
                self.ask(&person, |asked, m| rules::unlock(asked, m, ""))
            }
            Step::Tick(luck, passes) => {
                self.now += passes;
                self.tick(*luck)
            }
            Step::Work => {
                for _ in 0..TICKS {
                    if self.m.state.class() != Class::Working {
                        break;
                    }
                    self.now += 1;
                    self.tick(Luck::Good)?;
                }
                Ok(())
            }
            Step::Late(luck) => self.late(*luck),
        }
    }

    fn verb(&mut self, person: &User, what: Index, wild: bool, skip_erase: bool) -> Result<(), TestCaseError> {
        let lawful: Vec<Event> = rules::allowed(person, &self.m).into_iter().filter_map(|v| v.parse().ok()).collect();
        let by_edge = Event::ALL.iter().filter(|e| rules::edge(person, &self.m, **e).is_ok());
        let told: BTreeSet<Event> = lawful.iter().copied().collect();
        prop_assert_eq!(told, by_edge.copied().collect::<BTreeSet<_>>(), "what is told is what is allowed");
        let event = if wild || lawful.is_empty() { *what.get(Event::ALL) } else { *what.get(&lawful) };
        let (locked, may_skip) = (self.m.details.lock.is_some(), self.may_skip);
        let before = self.m.clone();
        self.ask(person, |asked, m| {
            let answer = ask_for(event, asked, m, skip_erase, may_skip);
            assert!(!locked || matches!(answer, Err(Error::Locked { .. })), "{event} of a locked machine: {answer:?}");
            answer
        })?;
        if event == Event::Release && self.m.version != before.version {
            self.ledger.kept = skip_erase;
        }
        Ok(())
    }

    /// Asks, and writes what is allowed.
    fn ask(
        &mut self,
        person: &User,
        what: impl FnOnce(&Asked<'_>, &Machine) -> crate::domain::Result<Change>,
    ) -> Result<(), TestCaseError> {
        let asked = Asked { user: person, deadlines: &Deadlines::default(), now: at(self.now) };
        match what(&asked, &self.m) {
            Ok(change) => self.write(change, Some(person)),
            Err(_) => Ok(()),
        }
    }

    /// One tick, as the engine does it.
    fn tick(&mut self, luck: Luck) -> Result<(), TestCaseError> {
        let seen = self.look(luck);
        let (rules, now) = (Rules::default(), at(self.now));
        let mut decision = decide(&self.m, &seen, &rules, now);
        let late = self.m.state.class() == Class::Working && self.m.deadline.is_none_or(|d| now >= d);
        prop_assert!(!late || matches!(decision, Decision::Move { .. }), "past its deadline: {decision:?}");
        let mut trouble = seen.power.clone().and_then(Result::err);
        if let (Decision::Do { effect, .. }, Luck::Effect(kind)) = (&decision, luck) {
            let bad = Trouble { kind, text: "bad luck".to_owned() };
            decision = on_trouble(&self.m, effect, &bad, &rules);
            trouble = Some(bad);
        }
        let mut m = self.m.clone();
        m.work.attempts = trouble.map_or(0, |t| failed_tries(m.work.attempts, &t));
        let change = advance(&m, &seen, &decision, &Deadlines::default(), now);
        let change = change.map_err(|r| TestCaseError::fail(format!("the table lacks {r:?}: {decision:?}")))?;
        let wiped = seen.boot.and_then(|b| b.task).is_some_and(|t| {
            t.kind == TaskKind::Erase && matches!(t.status, TaskStatus::Done(_)) && m.work.phase == Some(Phase::Erase)
        });
        if wiped && change.events.iter().any(|e| e.kind == EventKind::Erase) {
            self.ledger.used = false;
        }
        if change.boot.is_some() {
            self.world.boot = BootSeen::default();
        }
        let task = change.task;
        self.write(change, None)?;
        self.world.react(&mut self.m, &decision, task);
        Ok(())
    }

    fn look(&mut self, luck: Luck) -> Observation {
        if luck == Luck::GoesOff {
            self.world.power = PowerState::Off;
        }
        let power = if let Luck::Power(kind) = luck {
            Err(Trouble { kind, text: "bad luck".to_owned() })
        } else {
            Ok(self.world.power)
        };
        let working = self.m.state.class() == Class::Working;
        let mut boot = Some(self.world.boot.clone()).filter(|_| working);
        if let Some(boot) = &mut boot {
            boot.restarted = luck == Luck::StartsAnew;
            boot.hello &= luck != Luck::NoAgent;
            if let Some(task) = &mut boot.task {
                if luck == Luck::TaskFails {
                    task.status = TaskStatus::Failed("bad luck".to_owned());
                } else if [Luck::TaskHangs, Luck::StartsAnew, Luck::GoesOff].contains(&luck) {
                    task.status = TaskStatus::Running("0 %".to_owned());
                }
            }
        }
        let power = Some(power).filter(|_| asks_power(&self.m));
        Observation { power, boot, rack_connected: luck != Luck::RackAway }
    }

    /// Whatever the luck: the state ends.
    fn late(&mut self, luck: Luck) -> Result<(), TestCaseError> {
        if self.m.state.class() != Class::Working {
            return Ok(());
        }
        let left = self.m.deadline.map_or(0, |d| (d - at(self.now)).num_seconds());
        self.now += left.max(0);
        let before = self.m.state;
        self.tick(luck)?;
        prop_assert_ne!(self.m.state, before, "the deadline passed, and it is still there");
        Ok(())
    }

    /// What the store does, and what must hold of it.
    fn write(&mut self, change: Change, person: Option<&User>) -> Result<(), TestCaseError> {
        let before = self.m.clone();
        let mut after = change.machine;
        prop_assert_eq!(after.state, before.state, "only an edge changes the state");
        if let Some(edge) = change.edge {
            prop_assert_eq!(lifecycle::next(before.state, edge.on), Ok(edge), "not an edge of the table");
            let his = person.map_or(edge.by == By::Engine, |p| crate::domain::permissions::may(p, edge, before.owner));
            prop_assert!(his, "{} is not for {:?}", edge.on, person.map(|p| p.role));
            after.state = edge.to;
            self.taken.insert(line(Some(edge.from), edge.on, edge.to));
            self.note(edge.on, edge.to)?;
        }
        match (before.owner, after.owner) {
            (Some(was), Some(is)) => prop_assert_eq!(was, is, "it went from owner to owner"),
            (None, Some(_)) => prop_assert_eq!(change.edge.map(|e| e.on), Some(Event::Allocate)),
            (_, None) => {}
        }
        let held = [State::Allocated, State::Deploying, State::Deployed, State::FailedDeployment];
        let free = [State::New, State::Commissioning, State::Testing, State::Ready, State::Broken];
        prop_assert!(after.owner.is_some() || !held.contains(&after.state), "nobody's, and {}", after.state);
        prop_assert!(after.owner.is_none() || !free.contains(&after.state), "somebody's, and {}", after.state);
        if after.state.class() == Class::Working {
            prop_assert!(after.deadline.is_some(), "{} may last for ever", after.state);
            let due = after.due_at.is_some_and(|due| due <= at(self.now) + LEFT_ALONE || person.is_some());
            prop_assert!(due, "{} is left alone until {:?}", after.state, after.due_at);
        }
        after.version += 1;
        self.m = after;
        Ok(())
    }

    fn note(&mut self, on: Event, to: State) -> Result<(), TestCaseError> {
        let ledger = &mut self.ledger;
        if to == State::Ready {
            prop_assert!(!ledger.used || ledger.kept, "ready, and no wipe was proven since it was used");
            prop_assert!(!ledger.suspect || on == Event::OverrideFailedTest, "ready after a failure by {on}");
        }
        match to {
            State::Deploying => (ledger.used, ledger.kept) = (true, false),
            State::Commissioning => ledger.suspect = false,
            State::Ready if on == Event::OverrideFailedTest => ledger.suspect = false,
            State::Broken => (ledger.suspect, ledger.kept) = (true, false),
            State::FailedCommissioning | State::FailedTesting | State::FailedDeployment | State::FailedReleasing => {
                ledger.suspect = true;
            }
            State::New
            | State::Testing
            | State::Ready
            | State::Allocated
            | State::Deployed
            | State::Releasing
            | State::EnteringRescue
            | State::Rescue
            | State::ExitingRescue
            | State::FailedEnteringRescue
            | State::FailedExitingRescue => {}
        }
        Ok(())
    }
}

/// What the region does when a person asks. Whoever builds a verb that does more than go along its edge calls it here.
fn ask_for(
    event: Event,
    asked: &Asked<'_>,
    m: &Machine,
    skip_erase: bool,
    may_skip: bool,
) -> crate::domain::Result<Change> {
    use Event as E;
    let image = || Deployment { image: "debian".to_owned(), image_id: "i".to_owned(), disk_serial: None };
    match event {
        E::Commission => {
            let bmc = machine(State::New, None).details.bmc.expect("it has one");
            // Some BMCs have no account that anybody knows.
            let in_band = asked.now.timestamp() % 3 == 0;
            let reached = if in_band { Reached::InBand(InBand::default()) } else { Reached::Given(Box::new(bmc)) };
            rules::commission(asked, m, reached, m.details.commission.clone())
        }
        // Some holds end by themselves.
        E::Allocate => {
            let lease = (asked.now.timestamp() % 2 == 0).then(|| asked.now + TimeDelta::minutes(1));
            let hold = rules::Hold { owner: Owner::User(asked.user.id), name: "u".to_owned(), lease_expires: lease };
            rules::hold(asked, m, &hold)
        }
        E::Deploy => rules::deploy(asked, m, image()),
        E::Release => rules::release(asked, m, skip_erase, may_skip, ""),
        E::Abort => rules::abort(asked, m, ""),
        E::MarkBroken => rules::mark_broken(asked, m, ""),
        E::MarkFixed => rules::mark_fixed(asked, m, ""),
        E::OverrideFailedTest => rules::override_failed_test(asked, m, "a test says so"),
        E::Test => rules::test(asked, m, vec!["cpu".parse().expect("a name")], ""),
        E::Rescue => rescue::rescue(asked, m, vec!["ssh-ed25519 A".to_owned()], ""),
        E::ExitRescue => rescue::exit(asked, m, ""),
        E::Enlist
        | E::Add
        | E::AddLive
        | E::Done
        | E::BeginTests
        | E::Recommission
        | E::Fail
        | E::Timeout
        | E::Expire
        | E::ReturnReady
        | E::ReturnAllocated
        | E::ReturnDeployed
        | E::ReturnBroken
        | E::ReturnFailedDeployment
        | E::ReturnFailedReleasing => {
            let edge = rules::edge(asked.user, m, event);
            assert!(edge.is_err(), "{event} is nobody's to ask for, and {} got it", asked.user.name);
            edge.map(|_| Change::of(m.clone()))
        }
    }
}

/// Lives through it to the end: work that is under way then ends too.
fn live(how: Index, may_skip: bool, steps: &[Step]) -> Result<BTreeSet<String>, TestCaseError> {
    let mut life = Life::begin(how, may_skip);
    for step in steps {
        let before = life.m.clone();
        life.take(step).map_err(|e| match e {
            TestCaseError::Fail(why) => {
                TestCaseError::fail(format!("{why}\nafter {step:?}\nof {before:?}\nwith {:?}", life.ledger))
            }
            reject @ TestCaseError::Reject(_) => reject,
        })?;
    }
    life.late(Luck::Power(TroubleKind::Transient))?;
    Ok(life.taken)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_life_breaks_the_rules((how, may_skip, steps) in life()) {
        live(how, may_skip, &steps)?;
    }
}

/// The test above would hold of lives in which nothing happens.
#[test]
fn lives_take_every_edge() {
    let (mut runner, mut taken) = (TestRunner::deterministic(), BTreeSet::new());
    for _ in 0..1500 {
        let (how, may_skip, steps) = life().new_tree(&mut runner).unwrap().current();
        taken.extend(live(how, may_skip, &steps).unwrap());
    }
    let missing: Vec<_> = reachable().difference(&taken).cloned().collect();
    assert_eq!(missing, Vec::<String>::new(), "let `ask_for` and `Obedient` do what these edges need");
}
