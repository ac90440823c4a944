//! What really happened to a machine must be what it was told to do, and happen to no one who rests.

use anyhow::{Context as _, ensure};
use farrier_fleet::{
    accounts::User,
    disk::{Content, Disk},
    population::Member,
    truth::Fact,
};
use farrier_region::domain::lifecycle::{EDGES, Event, State};

/// The name of the account that Farrier makes.
const OURS: &str = "maas";

/// One, and one for each death that may come over it: there are eight such cells, and no machine has them all.
const MOST_MAKINGS: u64 = 8;

/// What is known of one machine.
pub(crate) struct Judge {
    /// Everybody on its BMC before Farrier came.
    users: Vec<(String, String)>,
    /// The moves that were asked for and what must follow them.
    path: Vec<(State, State)>,
    rest: Rest,
}

/// What does not change while nobody works on it.
#[derive(Clone, Debug, PartialEq)]
struct Rest {
    installs: u64,
    wipes: u64,
    starts: u64,
    systems: u64,
    disks: Vec<Disk>,
}

impl Rest {
    fn of(member: &Member) -> Self {
        let truth = |fact| member.truth.of(fact);
        Self {
            installs: truth(Fact::Install),
            wipes: truth(Fact::Wipe),
            starts: truth(Fact::PowerOn),
            systems: truth(Fact::SystemStart),
            disks: member.disks.list(),
        }
    }
}

impl Judge {
    /// Of a machine that was just met.
    pub(crate) fn of(member: &Member) -> Self {
        Self { users: users(member), path: Vec::new(), rest: Rest::of(member) }
    }

    /// Where it is.
    pub(crate) fn state(&self) -> State {
        self.path.last().map_or(State::New, |(_, to)| *to)
    }

    /// How many states it has been in.
    pub(crate) fn stays(&self) -> usize {
        self.path.len() + 1
    }

    /// It is to go through a working state now; where it comes out, and how many of its stays will be over then.
    pub(crate) fn enter(&mut self, state: State) {
        if state == State::Deploying {
            self.follow(State::Allocated);
        }
        let came_from = self.path.iter().rev().find(|(_, to)| *to == State::EnteringRescue).map(|(from, _)| *from);
        self.follow(state);
        let done = EDGES.iter().find(|edge| edge.from == state && edge.on == Event::Done).map(|edge| edge.to);
        let goal = if state == State::ExitingRescue { came_from } else { done };
        self.follow(goal.expect("work may end well"));
    }

    fn follow(&mut self, to: State) {
        let from = self.state();
        assert!(EDGES.iter().any(|edge| edge.from == from && edge.to == to), "no edge from {from} to {to}");
        self.path.push((from, to));
    }

    /// While it rested nothing may have happened to it.
    pub(crate) fn has_rested(&self, member: &Member) -> anyhow::Result<()> {
        let now = Rest::of(member);
        ensure!(now == self.rest, "something happened at rest: {:?} became {now:?}", self.rest);
        Ok(())
    }

    /// It has come out of a working state, in which its agent, maybe the `real` one, died `boots` times and had to be booted
    /// anew. `button`: somebody had switched it on.
    pub(crate) fn has_worked(
        &mut self,
        member: &Member,
        state: State,
        real: bool,
        boots: u64,
        button: bool,
    ) -> anyhow::Result<()> {
        let now = Rest::of(member);
        let then = std::mem::replace(&mut self.rest, now.clone());
        // The files of a machine with the real agent do not tell that a blank disk was wiped.
        let told = |disk: &&Disk| !real || disk.content != Content::Blank;
        let wiped = u64::try_from(then.disks.iter().filter(told).count()).unwrap_or(u64::MAX);
        let (deploying, releasing) = (state == State::Deploying, state == State::Releasing);
        let installs = u64::from(deploying);
        let wipes = if releasing { wiped } else { 0 };
        let starts = 1 + u64::from(deploying);
        // Firmware that finds no rack goes on to the disk, and the region boots the machine anew.
        let stranded = (now.systems - then.systems).saturating_sub(u64::from(self.state() == State::Deployed));
        for (what, then, now, least, more) in [
            ("installations", then.installs, now.installs, installs, boots * installs),
            ("wipes", then.wipes, now.wipes, wipes, boots * wipes),
            ("starts", then.starts, now.starts, starts, boots + u64::from(button) + stranded),
        ] {
            let done = now - then;
            ensure!((least..=least + more).contains(&done), "{state}: {done} {what}, not {least} to {}", least + more);
        }
        let images = now.disks.iter().filter(|d| matches!(d.content, Content::Image(_))).count();
        let blank = now.disks.iter().all(|d| d.content == Content::Blank);
        let (expected, right) = if deploying {
            ("one image", images == 1 && member.disks.bootable().is_some())
        } else if releasing {
            ("nothing", blank)
        } else {
            ("what they did before", now.disks == then.disks)
        };
        ensure!(right, "after {state} its disks must hold {expected}: {:?}", now.disks);
        let on = matches!(self.state(), State::Deployed | State::Rescue);
        ensure!(member.chassis.is_on() == on, "after {state} its power must be {}", if on { "on" } else { "off" });
        Ok(())
    }

    /// At the end: what the region's log holds is what was asked for, once each, and nobody else's account was touched.
    pub(crate) fn at_the_end(&self, member: &Member, transitions: &[String]) -> anyhow::Result<()> {
        self.has_rested(member)?;
        let moves = self.path.iter().map(|(from, to)| format!("{from} {to}"));
        let expected: Vec<_> = std::iter::once("new".to_owned()).chain(moves).collect();
        ensure!(transitions == expected, "its log holds {transitions:?}, not {expected:?}");
        let truth = member.truth.snapshot();
        let now = users(member);
        let changed: Vec<_> = now.iter().zip(&self.users).filter(|(now, then)| now != then).collect();
        if self.path.is_empty() {
            ensure!(now == self.users, "nobody asked for an account: {changed:?}");
            return Ok(());
        }
        for (fact, count) in [(Fact::AccountMade, 1), (Fact::AccountRemoved, 0), (Fact::Lockout, 0)] {
            ensure!(member.truth.of(fact) == count, "{fact}: not {count}: {truth:?}");
        }
        // An account is finished if its making was cut off. Some BMCs do not tell whether a user is enabled: there it takes one
        // refused login to find out.
        let (set, refused) = (member.truth.of(Fact::PasswordSet), member.truth.of(Fact::LoginRefused));
        ensure!((1..=MOST_MAKINGS).contains(&set) && refused < set, "the account was made too often: {truth:?}");
        let ours = matches!(changed[..], [((name, _), _)] if name == OURS);
        ensure!(ours && now.len() == self.users.len(), "other accounts than {OURS} changed: {changed:?}");
        Ok(())
    }
}

/// Everybody on its BMC by slot: name, access and password.
fn users(member: &Member) -> Vec<(String, String)> {
    let accounts = member.accounts.lock().expect("nobody panics with it");
    let key = |user: &User| user.key().map(|key| key.expose().clone());
    accounts.users().iter().map(|user| (user.name.clone(), format!("{user:?} {:?}", key(user)))).collect()
}

/// What the log tells of a machine's moves.
pub(crate) fn transitions(site: &farrier_integration_tests::site::Site, name: &str) -> anyhow::Result<Vec<String>> {
    site.transitions(name).with_context(|| format!("the log of {name}"))
}
