//! Many clients that allocate and release few machines, through gRPC, with the real engine: nobody gets what another holds, and
//! in the end every machine is back.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use farrier_common::{
    clock::Clock,
    hardware::Architecture,
    id::{MachineId, TokenId},
    secret::Secret,
    tls,
};
use farrier_proto::v1::{self, MachineState, machines_client::MachinesClient};
use farrier_region::{
    app::App,
    config::Config,
    crash::Crash,
    domain::{
        advance::{Change, Deadlines},
        event::{EventKind, NewEvent},
        lifecycle::{self, Event, State},
        machine::{Details, Hardware, Machine, Work},
        pool,
        user::{Role, Token, User},
    },
    region::Region,
    store::{Database, Extra, MachineFilter, NewMachine, Once},
};
use tonic::{
    Code, Request,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

type Machines = MachinesClient<Channel>;

/// How long a client that finds nothing free waits before it asks again, as clients do.
const AGAIN: Duration = Duration::from_millis(10);
/// More than so many refusals in a row are a fault of ours.
const MOST_REFUSALS: usize = 3000;

/// What is raced for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Race {
    pub(crate) clients: usize,
    pub(crate) machines: usize,
    pub(crate) allocations: usize,
}

/// What it took.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) lasted: Duration,
    /// Of the allocations that were made, in order of length.
    pub(crate) times: Vec<Duration>,
    /// How often there was none free, and how often one was asked to try again.
    pub(crate) none_free: usize,
    pub(crate) try_again: usize,
}

impl Outcome {
    pub(crate) fn line(&self, what: &str) -> String {
        let at = |part: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a rank"
            )]
            let place = (self.times.len() as f64 * part) as usize;
            self.times.get(place.min(self.times.len().saturating_sub(1))).map_or(0.0, |t| t.as_secs_f64() * 1e3)
        };
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let rate = self.times.len() as f64 / self.lasted.as_secs_f64();
        format!(
            "{what}: {} allocations in {:.1} s ({rate:.0}/s); p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms; none free {} times, asked to try again {} times",
            self.times.len(),
            self.lasted.as_secs_f64(),
            at(0.5),
            at(0.99),
            at(1.0),
            self.none_free,
            self.try_again,
        )
    }
}

struct Client {
    name: String,
    token: String,
    machines: Machines,
}

/// Races; panics if a machine is held twice or lost.
pub(crate) async fn race(database: impl Fn(&Path) -> Database, plan: Race) -> Outcome {
    tls::install_provider();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("region.toml");
    let text =
        format!("data_dir = {:?}\nlisten = '127.0.0.1:0'\nadvertise = '127.0.0.1:5240'\n", dir.path().join("data"));
    std::fs::write(&path, text).unwrap();
    let config = Config { database: database(dir.path()), ..Config::load(&path).unwrap() };
    let region = Region::start(config, None, Clock::System, Crash::default()).await.unwrap();
    let (app, address) = (region.app().clone(), region.address());
    for n in 0..plan.machines {
        ready(&app, n).await;
    }
    let mut clients = Vec::new();
    for n in 0..plan.clients {
        let ca = Certificate::from_pem(app.ca.ca_pem());
        let tls = ClientTlsConfig::new().ca_certificate(ca).domain_name(tls::SERVER_NAME);
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
        let (name, token) = person(&app, n).await;
        clients.push(Client { name, token, machines: Machines::new(endpoint.connect_lazy()) });
    }
    let (stop, running) = (region.stop_signal(), tokio::spawn(region.run()));
    let outcome = run(clients, plan.allocations).await;
    all_back(&app, plan).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    outcome
}

async fn run(clients: Vec<Client>, allocations: usize) -> Outcome {
    let left = Arc::new(AtomicUsize::new(allocations));
    let held: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for client in clients {
        tasks.spawn(work(client, Arc::clone(&left), Arc::clone(&held)));
    }
    let mut all = Outcome::default();
    while let Some(done) = tasks.join_next().await {
        let one = done.unwrap();
        all.times.extend(one.times);
        all.none_free += one.none_free;
        all.try_again += one.try_again;
    }
    all.lasted = begun.elapsed();
    all.times.sort();
    assert!(held.lock().unwrap().is_empty());
    assert_eq!(all.times.len(), allocations);
    all
}

async fn work(mut client: Client, left: Arc<AtomicUsize>, held: Arc<Mutex<BTreeMap<String, String>>>) -> Outcome {
    let mut outcome = Outcome::default();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
        let machine = allocate(&mut client, &mut outcome).await;
        assert_eq!(machine.intent.as_ref().unwrap().owner, client.name);
        let other = held.lock().unwrap().insert(machine.id.clone(), client.name.clone());
        assert_eq!(other, None, "{} is held twice", machine.name);
        assert_eq!(held.lock().unwrap().remove(&machine.id).as_deref(), Some(client.name.as_str()));
        let release = v1::ReleaseMachineRequest {
            options: options(),
            machine: machine.id,
            ..v1::ReleaseMachineRequest::default()
        };
        let back = client.machines.release_machine(by(&client.token, release)).await.unwrap().into_inner();
        assert_eq!(back.status.unwrap().state(), MachineState::Releasing);
    }
    outcome
}

/// Asks until there is one.
async fn allocate(client: &mut Client, outcome: &mut Outcome) -> v1::Machine {
    for _ in 0..MOST_REFUSALS {
        let request = v1::AllocateMachineRequest { options: options(), ..v1::AllocateMachineRequest::default() };
        let begun = Instant::now();
        match client.machines.allocate_machine(by(&client.token, request)).await {
            Ok(machine) => {
                outcome.times.push(begun.elapsed());
                return machine.into_inner();
            }
            Err(status) if status.code() == Code::ResourceExhausted => outcome.none_free += 1,
            Err(status) if status.code() == Code::Unavailable => outcome.try_again += 1,
            Err(status) => panic!("{status:?}"),
        }
        tokio::time::sleep(AGAIN).await;
    }
    panic!("{} found no machine in {MOST_REFUSALS} tries", client.name);
}

/// Every machine becomes ready again, is nobody's, and its log tells of one holder at a time.
async fn all_back(app: &App, plan: Race) {
    let begun = Instant::now();
    loop {
        let (all, _) = app.store.machine_list(MachineFilter::default(), None, plan.machines + 1).await.unwrap();
        assert_eq!(all.len(), plan.machines);
        if all.iter().all(|v| v.machine.state == State::Ready && v.machine.owner.is_none()) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "not every machine came back");
        tokio::time::sleep(AGAIN).await;
    }
    let (mut revision, mut holds) = (0, 0);
    let mut at: BTreeMap<MachineId, State> = BTreeMap::new();
    loop {
        let some = app.store.event_list(revision, None, Some(EventKind::Transition), 1000).await.unwrap();
        let Some(last) = some.last() else { break };
        revision = last.revision;
        for event in some {
            let (machine, to) = (event.body.machine.unwrap(), event.body.to.unwrap());
            let before = at.insert(machine, to);
            assert_eq!(event.body.from, before, "the log of {machine} has a gap");
            holds += usize::from(event.body.event == Some(Event::Allocate));
        }
    }
    assert_eq!(holds, plan.allocations);
}

/// A machine that is ready.
async fn ready(app: &App, n: usize) {
    let now = app.clock.now();
    let birth = lifecycle::birth(Event::Add).unwrap();
    let cpu_cores = 8 * (1 + u32::try_from(n % 4).unwrap());
    let machine = Machine {
        id: MachineId::generate(),
        name: format!("m{n:05}").parse().unwrap(),
        state: birth.to,
        since: now,
        deadline: None,
        version: 1,
        due_at: None,
        work: Work::default(),
        reason: String::new(),
        code: farrier_region::domain::reason::Code::Unknown,
        owner: None,
        pool: pool::DEFAULT,
        zone: pool::default_zone(),
        tags: BTreeSet::new(),
        rack: None,
        architecture: Architecture::Amd64,
        firmware: None,
        power: None,
        interfaces: vec![],
        details: Details { hardware: Some(Hardware { cpu_cores, ..Hardware::default() }), ..Details::default() },
        created_at: now,
        updated_at: now,
    };
    let event = NewEvent {
        kind: EventKind::Transition,
        machine: Some(machine.id),
        event: Some(birth.on),
        from: None,
        to: Some(birth.to),
        phase: None,
        actor: "user:test".to_owned(),
        reason: String::new(),
    };
    let new = NewMachine { birth, machine, event, extra: Extra::default() };
    let Once::Fresh(view) = app.store.machine_insert(None, new, |_| Vec::new()).await.unwrap() else { unreachable!() };
    let edge = lifecycle::next(view.machine.state, Event::Done).unwrap();
    let version = view.machine.version;
    let change = Change::of(view.machine).along(edge, "engine", "a test says so", &Deadlines::new(), now);
    app.store.machine_apply(None, change, version, Extra::default(), |_| Vec::new()).await.unwrap();
}

/// A user, and a token of his.
async fn person(app: &App, n: usize) -> (String, String) {
    let now = app.clock.now();
    let user = User::new(format!("u{n}").parse().unwrap(), Role::User, now);
    let noted = |reason: &str| NewEvent {
        kind: EventKind::User,
        machine: None,
        event: None,
        from: None,
        to: None,
        phase: None,
        actor: "user:test".to_owned(),
        reason: reason.to_owned(),
    };
    app.store.user_insert(None, user.clone(), noted("a user"), |_| Vec::new()).await.unwrap();
    let token = Token {
        id: TokenId::generate(),
        user: user.id,
        comment: String::new(),
        created_at: now,
        expires_at: None,
        revoked: false,
    };
    let secret: Secret<String> = app.token_secret(token.id);
    app.store.token_insert(None, token, &secret.digest(), noted("a token"), |_| Vec::new()).await.unwrap();
    (user.name.to_string(), secret.expose().clone())
}

#[expect(clippy::unnecessary_wraps, reason = "as the field is")]
fn options() -> Option<v1::MutationOptions> {
    Some(v1::MutationOptions { request_id: MachineId::generate().to_string(), ..v1::MutationOptions::default() })
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}
