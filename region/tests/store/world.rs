//! What every test of the store has: an empty store on each database, a clock that stands still, and samples.

use std::{collections::BTreeSet, future::Future, net::Ipv4Addr};

use chrono::TimeDelta;
use farrier_common::{
    clock::{Clock, Timestamp},
    hardware::{Architecture, BmcProtocol, Firmware},
    id::MachineId,
    net::MacAddr,
};
use farrier_region::{
    domain::{
        bmc::Bmc,
        event::{EventKind, NewEvent},
        lifecycle::{self, Event, State},
        machine::{Details, Interface, Machine, Work},
        pool,
        rack::Rack,
        reason::Code,
        user::{Role, User},
    },
    store::{Database, Enrollment, Extra, JoinToken, MachineView, NewMachine, Once, Request, Store},
};

use crate::postgres;

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) database: Database,
}

/// Runs a test on SQLite, then on PostgreSQL.
pub(crate) fn on_both<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    on_sqlite(&test);
    on_postgres(&test);
}

pub(crate) fn on_sqlite<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    let dir = tempfile::tempdir().unwrap();
    run(Database::Sqlite(dir.path().join("farrier.db")), test);
}

pub(crate) fn on_postgres<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    run(Database::Postgres(postgres::database()), test);
}

fn run<F: Future<Output = ()>>(database: Database, test: impl Fn(World) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        println!("on {database:?}");
        let clock = Clock::manual(start());
        let store = Store::open(&database, clock.clone()).await.unwrap();
        test(World { store, clock, database }).await;
    });
}

/// With microseconds, so that what is lost on the way is seen.
pub(crate) fn start() -> Timestamp {
    "2026-03-01T12:00:00.123456Z".parse().unwrap()
}

impl World {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock by so many seconds; tells the time.
    pub(crate) fn later(&self, seconds: i64) -> Timestamp {
        self.clock.advance(TimeDelta::seconds(seconds));
        self.clock.now()
    }

    /// A second region process on the same database.
    pub(crate) async fn again(&self) -> Self {
        let store = Store::open(&self.database, self.clock.clone()).await.unwrap();
        Self { store, clock: self.clock.clone(), database: self.database.clone() }
    }

    pub(crate) async fn user(&self, name: &str) -> User {
        let user = User::new(name.parse().unwrap(), Role::User, self.now());
        fresh(self.store.user_insert(None, user, event(EventKind::User), |_| vec![]).await.unwrap())
    }

    pub(crate) async fn rack(&self, name: &str) -> Rack {
        let expires_at = self.now() + TimeDelta::hours(1);
        let token = JoinToken { rack: name.parse().unwrap(), expires_at };
        let digest = format!("join {name}");
        self.store.join_token_insert(None, token, &digest, event(EventKind::Rack), |_| vec![]).await.unwrap();
        let enrollment = Enrollment {
            join_digest: digest,
            key_digest: format!("key {name}"),
            address: "10.0.0.2:5251".to_owned(),
            software_version: "0.1.0".to_owned(),
            certificate_expires_at: expires_at,
        };
        self.store.rack_enroll(enrollment).await.unwrap()
    }

    /// Inserts a machine that is due now.
    pub(crate) async fn machine(&self, n: u8) -> MachineView {
        self.insert(machine(n, self.now())).await.unwrap()
    }

    pub(crate) async fn insert(&self, machine: Machine) -> farrier_region::domain::Result<MachineView> {
        self.store.machine_insert(None, new(machine), |_| vec![]).await.map(fresh)
    }

    pub(crate) async fn reload(&self, id: MachineId) -> Machine {
        self.store.machine_get(id).await.unwrap().unwrap().machine
    }
}

pub(crate) fn fresh<T: std::fmt::Debug>(once: Once<T>) -> T {
    match once {
        Once::Fresh(made) => made,
        Once::Replay(answer) => panic!("replayed: {answer:?}"),
    }
}

pub(crate) fn new(machine: Machine) -> NewMachine {
    let birth = lifecycle::birth(Event::Add).unwrap();
    let mut event = event(EventKind::Transition);
    event.machine = Some(machine.id);
    event.event = Some(birth.on);
    event.to = Some(birth.to);
    NewMachine { birth, machine, event, extra: Extra::default() }
}

pub(crate) fn event(kind: EventKind) -> NewEvent {
    NewEvent {
        kind,
        machine: None,
        event: None,
        from: None,
        to: None,
        phase: None,
        actor: "user:test".to_owned(),
        reason: "a test wants it".to_owned(),
    }
}

pub(crate) fn request(id: &str, body: &str) -> Request {
    Request {
        principal: "user:test".to_owned(),
        request_id: id.to_owned(),
        method: "Test",
        body_sha256: body.to_owned(),
        user: "test".to_owned(),
        target: String::new(),
        subject: |_| String::new(),
        comment: String::new(),
        peer: String::new(),
        validate_only: false,
    }
}

pub(crate) const fn mac(n: u8) -> MacAddr {
    MacAddr([0x52, 0x54, 0, 0, 0, n])
}

pub(crate) fn machine(n: u8, now: Timestamp) -> Machine {
    Machine {
        id: MachineId::generate(),
        name: format!("m{n}").parse().unwrap(),
        state: State::Commissioning,
        since: now,
        deadline: Some(now + TimeDelta::minutes(30)),
        version: 1,
        due_at: Some(now),
        work: Work::default(),
        reason: "added".to_owned(),
        code: Code::Asked,
        owner: None,
        pool: pool::DEFAULT,
        zone: pool::default_zone(),
        tags: BTreeSet::new(),
        rack: None,
        architecture: Architecture::Amd64,
        firmware: Some(Firmware::Uefi),
        power: None,
        interfaces: vec![Interface { mac: mac(n), address: Some(Ipv4Addr::new(10, 0, 0, n)) }],
        details: Details {
            bmc: Some(Bmc {
                protocol: Some(BmcProtocol::Ipmi),
                address: Ipv4Addr::new(10, 1, 0, n),
                port: 623,
                username: "admin".to_owned(),
                managed: false,
                use_as_is: false,
                certificate: None,
                system: String::new(),
                facts: None,
                take_over: false,
                rotated_at: None,
                rotation: None,
                rotation_failed_at: None,
                webhook: None,
            }),
            ..Details::default()
        },
        created_at: now,
        updated_at: now,
    }
}
