//! Many machines without hardware, put into the store, and an engine that ends their work at once or never.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use farrier_common::{
    hardware::{Architecture, BmcProtocol},
    id::MachineId,
};
use farrier_region::{
    domain::{
        advance::{Change, Deadlines, transition},
        bmc::Bmc,
        lifecycle::{self, Class, Event, State},
        machine::{Details, Machine, Owner, Work},
        pool,
    },
    store::{Extra, MachineFilter, MachineView, NewMachine, Once},
};
use tokio::task::JoinHandle;

use crate::site::Site;

/// A machine that runs a workload, in this state from its birth on.
fn live(name: &str, owner: Option<Owner>, now: farrier_common::clock::Timestamp) -> NewMachine {
    let birth = lifecycle::birth(Event::AddLive).unwrap();
    let id = MachineId::generate();
    let bmc = Bmc {
        protocol: Some(BmcProtocol::Ipmi),
        address: Ipv4Addr::LOCALHOST,
        port: 623,
        username: "root".to_owned(),
        managed: false,
        use_as_is: true,
        certificate: None,
        system: String::new(),
        facts: None,
        take_over: false,
        rotated_at: None,
        rotation: None,
        rotation_failed_at: None,
        webhook: None,
    };
    let machine = Machine {
        id,
        name: name.parse().unwrap(),
        state: birth.to,
        since: now,
        deadline: None,
        version: 1,
        due_at: None,
        work: Work::default(),
        reason: "added".to_owned(),
        code: birth.on.into(),
        owner,
        pool: pool::DEFAULT,
        zone: pool::default_zone(),
        tags: BTreeSet::new(),
        rack: None,
        architecture: Architecture::Amd64,
        firmware: None,
        power: None,
        interfaces: Vec::new(),
        details: Details { bmc: Some(bmc), ..Details::default() },
        created_at: now,
        updated_at: now,
    };
    let event = transition(id, None, birth.on, birth.to, "user:test", "added");
    NewMachine { birth, machine, event, extra: Extra::default() }
}

impl Site {
    /// So many deployed machines, `n0000` and so on, of the admin.
    pub(crate) async fn deployed(&self, count: usize) {
        self.deployed_of("n", count, "admin").await;
    }

    /// The same with another prefix, held by somebody.
    pub(crate) async fn deployed_of(&self, prefix: &str, count: usize, owner: &str) {
        let owner = self.app.store.user_find(owner).await.unwrap().unwrap().id;
        for n in 0..count {
            let new = live(&format!("{prefix}{n:04}"), Some(Owner::User(owner)), self.app.clock.now());
            let made = self.app.store.machine_insert(None, new, |_| Vec::new()).await.unwrap();
            assert!(matches!(made, Once::Fresh(_)));
        }
    }

    /// All machines.
    pub(crate) async fn fleet(&self) -> Vec<MachineView> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (page, _) = self.app.store.machine_list(MachineFilter::default(), after, 1000).await.unwrap();
            after = page.last().map(|v| v.machine.id);
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Everything that a refused call must not change: each machine's version, the log, and the operations.
    pub(crate) async fn trace(&self) -> (BTreeMap<String, i64>, i64, usize) {
        let versions = self.fleet().await.into_iter().map(|v| (v.machine.name.to_string(), v.machine.version));
        let operations = self.app.store.operation_list(None, None, 1000).await.unwrap().len();
        (versions.collect(), self.app.store.event_revision().await.unwrap(), operations)
    }

    /// As much of that as is cheap to look at: whatever changes a machine is logged.
    pub(crate) async fn mark(&self) -> (i64, usize) {
        let operations = self.app.store.operation_list(None, None, 1000).await.unwrap().len();
        (self.app.store.event_revision().await.unwrap(), operations)
    }

    pub(crate) async fn state_of(&self, machine: &str) -> State {
        self.app.store.machine_find(machine).await.unwrap().unwrap().machine.state
    }
}

/// Ends the work of machines as the engine would, a look after it saw them at work.
pub(crate) struct Engine {
    /// The most machines that were seen at work at once.
    pub(crate) most: Arc<AtomicUsize>,
    /// Names of machines whose work fails.
    pub(crate) failing: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Engine {
    pub(crate) fn start(site: &Site) -> Self {
        let (most, failing) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<BTreeSet<String>>>::default());
        let (app, peak, bad) = (site.app.clone(), Arc::clone(&most), Arc::clone(&failing));
        let task = tokio::spawn(async move {
            let working: Vec<State> = State::ALL.iter().copied().filter(|s| s.class() == Class::Working).collect();
            let mut news = app.store.events_changed();
            let mut seen: BTreeSet<MachineId> = BTreeSet::new();
            loop {
                let filter = MachineFilter { states: working.clone(), ..MachineFilter::default() };
                let (at_work, _) = app.store.machine_list(filter, None, 1000).await.unwrap();
                peak.fetch_max(at_work.len(), Ordering::Relaxed);
                let before = std::mem::take(&mut seen);
                seen.extend(at_work.iter().map(|v| v.machine.id));
                for view in at_work.into_iter().filter(|v| before.contains(&v.machine.id)) {
                    let fails = bad.lock().unwrap().contains(view.machine.name.as_str());
                    let event = if fails { Event::Fail } else { Event::Done };
                    let (version, state) = (view.machine.version, view.machine.state);
                    let edge = lifecycle::next(state, event).unwrap();
                    let change = Change::of(view.machine);
                    let change = change.along(edge, "engine", "a test says so", &Deadlines::new(), app.clock.now());
                    app.store.machine_apply(None, change, version, Extra::default(), |_| Vec::new()).await.unwrap();
                }
                let wait = tokio::time::timeout(std::time::Duration::from_millis(30), news.changed());
                if matches!(wait.await, Ok(Err(_))) {
                    return;
                }
            }
        });
        Self { most, failing, task }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}
