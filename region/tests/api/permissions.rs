//! The permission table through real calls: every role, verb and state, and every call of the contract.
//!
//! Nothing here says who may do what: that is computed from `domain::permissions` and `domain::lifecycle`. The verbs are asked
//! with `validate_only`, so that the machine of each state stays in it.

use std::collections::{BTreeMap, VecDeque};

use farrier_common::{
    clock::Timestamp,
    hardware::{Architecture, Compression},
    id::{ImageId, MachineId},
};
use farrier_proto::{DESCRIPTORS, v1};
use farrier_region::{
    app::RateLimit,
    domain::{
        advance::{Change, Deadlines},
        event::{EventKind, NewEvent},
        image::{Blob, BlobRole, Image, ImageKind},
        lifecycle::{self, By, EDGES, Event, State},
        machine::{Disk, Hardware, Machine, Owner},
        permissions::{self, CALLS, Call, Need},
        user::{Role, User},
        verbs as rules,
    },
    store::{Extra, NewMachine},
};
use prost::Message as _;
use tonic::{Code, Request, Status, codegen::http::uri::PathAndQuery};
use tonic_types::StatusExt as _;

use crate::{
    bytes::Raw,
    requests::with,
    site::{Site, by, options},
};

// === raw calls ===

pub(crate) async fn raw(site: &Site, token: Option<&str>, call: &Call, body: Vec<u8>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(site.channel.clone());
    client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let path: PathAndQuery = format!("/farrier.v1.{}/{}", call.service, call.name).parse().unwrap();
    let request = token.map_or_else(|| Request::new(body.clone()), |token| by(token, body.clone()));
    client.unary(request, path, Raw).await.map(drop)
}

/// All calls of the contract: service, name, and whether they change something.
pub(crate) fn contract() -> Vec<(String, String, bool)> {
    let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let files: Vec<_> = set.file.into_iter().filter(|f| f.package() == "farrier.v1").collect();
    let mut options = BTreeMap::new();
    for message in files.iter().flat_map(|f| &f.message_type) {
        let has = message.field.iter().any(|f| f.type_name() == ".farrier.v1.MutationOptions" && f.number() == 1);
        options.insert(format!(".farrier.v1.{}", message.name()), has);
    }
    let services = files.iter().flat_map(|f| &f.service);
    let all = services.flat_map(|s| {
        let of = &options;
        s.method.iter().map(move |m| (s.name().to_owned(), m.name().to_owned(), of[m.input_type()]))
    });
    all.collect()
}

#[test]
fn every_call_of_the_contract_has_a_row() {
    let mut contract = contract();
    let mut rows: Vec<_> = CALLS.iter().map(|c| (c.service.to_owned(), c.name.to_owned(), c.changes)).collect();
    contract.sort();
    rows.sort();
    assert_eq!(contract, rows);
}

/// A request of which only the options are filled in: bare of everything that a call could stumble over before the gate.
fn bare(call: &Call) -> Vec<u8> {
    if call.changes { with(&[], options().unwrap()) } else { Vec::new() }
}

#[tokio::test]
async fn every_call_lets_in_the_roles_of_its_row() {
    let site = Site::start().await;
    let tokens = [
        (Role::Viewer, site.user("vera", v1::Role::Viewer).await),
        (Role::User, site.user("ulf", v1::Role::User).await),
        (Role::Admin, site.admin.clone()),
    ];
    let mut built = 0;
    // A watch of everything does not end by itself.
    for call in CALLS.iter().filter(|c| c.name != "WatchEvents") {
        let missing = raw(&site, Some(&site.admin), call, bare(call)).await;
        if missing.as_ref().is_err_and(|s| s.code() == Code::Unimplemented) {
            continue;
        }
        built += 1;
        let strange = raw(&site, None, call, bare(call)).await.unwrap_err();
        assert_eq!(strange.code(), Code::Unauthenticated, "{}: {strange:?}", call.name);
        for (role, token) in &tokens {
            let answer = raw(&site, Some(token), call, bare(call)).await;
            let denied = answer.as_ref().is_err_and(|s| s.code() == Code::PermissionDenied);
            assert_eq!(denied, *role < call.least(), "{} as {role}: {answer:?}", call.name);
        }
    }
    assert!(built > 30, "{built}");
}

// === every role, verb and state ===

struct Caller {
    what: &'static str,
    user: User,
    token: String,
}

const POOL: &str = "lab";

async fn caller(site: &Site, what: &'static str, name: &str, role: v1::Role) -> Caller {
    let token = site.user(name, role).await;
    Caller { what, user: site.app.store.user_find(name).await.unwrap().unwrap(), token }
}

/// The people: some are granted the pool, one holds machines himself, one by a project.
async fn people(site: &Site) -> Vec<Caller> {
    let mut all = vec![
        caller(site, "viewer", "vera", v1::Role::Viewer).await,
        caller(site, "user without grant", "nils", v1::Role::User).await,
        caller(site, "user with grant", "greta", v1::Role::User).await,
        caller(site, "owner", "olga", v1::Role::User).await,
        caller(site, "project member", "pia", v1::Role::User).await,
        caller(site, "admin", "ada", v1::Role::Admin).await,
    ];
    let mut pools = v1::pools_client::PoolsClient::new(site.channel.clone());
    let new = v1::CreatePoolRequest { options: options(), name: POOL.to_owned(), ..Default::default() };
    pools.create_pool(by(&site.admin, new)).await.unwrap();
    for user in ["vera", "greta"] {
        let grant = v1::PoolGrantRequest {
            options: options(),
            pool: POOL.to_owned(),
            user: user.to_owned(),
            project: String::new(),
        };
        pools.grant_pool(by(&site.admin, grant)).await.unwrap();
    }
    let mut projects = v1::projects_client::ProjectsClient::new(site.channel.clone());
    let new = v1::CreateProjectRequest {
        options: options(),
        name: "build".to_owned(),
        members: vec!["pia".to_owned()],
        ..Default::default()
    };
    projects.create_project(by(&site.admin, new)).await.unwrap();
    // Loaded again: what the rules are asked with is what the region knows.
    for caller in &mut all {
        let name = caller.user.name.to_string();
        caller.user = site.app.store.user_find(&name).await.unwrap().unwrap();
    }
    all
}

/// The edges from commissioning to a state, as few as can be, through the state `by_way_of`.
fn way(from: State, to: State) -> Vec<&'static lifecycle::Edge> {
    let mut came: BTreeMap<State, &'static lifecycle::Edge> = BTreeMap::new();
    let mut next = VecDeque::from([from]);
    while let Some(state) = next.pop_front() {
        for edge in state.edges() {
            if edge.to != from && !came.contains_key(&edge.to) {
                came.insert(edge.to, edge);
                next.push_back(edge.to);
            }
        }
    }
    let (mut at, mut way) = (to, VecDeque::new());
    while at != from {
        let edge = came[&at];
        way.push_front(edge);
        at = edge.from;
    }
    way.into()
}

/// May a machine in this state be somebody's? It may if it comes there from where it is held.
fn may_be_held(state: State) -> bool {
    !matches!(
        state,
        State::New
            | State::Ready
            | State::Commissioning
            | State::Testing
            | State::FailedCommissioning
            | State::FailedTesting
    )
}

fn note(machine: MachineId) -> NewEvent {
    NewEvent {
        kind: EventKind::Transition,
        machine: Some(machine),
        event: None,
        from: None,
        to: None,
        phase: None,
        actor: "engine".to_owned(),
        reason: "a test says so".to_owned(),
    }
}

/// A machine in the pool, in this state, held if it may be.
async fn machine_in(site: &Site, state: State, owner: Option<Owner>, last: u8) -> Machine {
    let name = format!("m{last}");
    let store = &site.app.store;
    let pool = store.pool_find(POOL).await.unwrap().unwrap().id;
    let made = site.machine(&name, last).await;
    let mut view = store.machine_find(&made.name).await.unwrap().unwrap();
    if state == State::New {
        // Only a birth leads there: a twin of the machine is born.
        let mut machine = view.machine.clone();
        machine.id = MachineId::generate();
        machine.name = format!("new{last}").parse().unwrap();
        machine.pool = pool;
        machine.interfaces[0].mac.0[4] = 0xee;
        machine.interfaces[0].address = None;
        let birth = lifecycle::birth(Event::Enlist).unwrap();
        let new = NewMachine { birth, event: note(machine.id), extra: Extra::default(), machine };
        store.machine_insert(None, new, |_| Vec::new()).await.unwrap();
        return store.machine_find(&format!("new{last}")).await.unwrap().unwrap().machine;
    }
    let edges = match owner.filter(|_| may_be_held(state)) {
        Some(_) => {
            let mut edges = way(State::Commissioning, State::Allocated);
            edges.extend(way(State::Allocated, state));
            edges
        }
        None => way(State::Commissioning, state),
    };
    step(site, Change::of(view.machine), |m| m.pool = pool).await;
    for edge in edges {
        view = store.machine_find(&name).await.unwrap().unwrap();
        let change = Change::of(view.machine).along(edge, "engine", "a test says so", &Deadlines::new(), now(site));
        step(site, change, |m| {
            if edge.on == Event::Allocate {
                m.owner = owner;
            }
            let disk = Disk { name: "sda".to_owned(), serial: "S1".to_owned(), size_bytes: 1 << 40, ..Disk::default() };
            m.details.hardware = Some(Hardware { disks: vec![disk], ..Hardware::default() });
        })
        .await;
    }
    let machine = store.machine_find(&name).await.unwrap().unwrap().machine;
    assert_eq!(machine.state, state);
    assert_eq!(machine.owner, owner.filter(|_| may_be_held(state)), "{state}");
    machine
}

fn now(site: &Site) -> Timestamp {
    site.app.clock.now()
}

async fn step(site: &Site, mut change: Change, edit: impl Fn(&mut Machine)) {
    let version = change.machine.version;
    edit(&mut change.machine);
    site.app.store.machine_apply(None, change, version, Extra::default(), |_| Vec::new()).await.unwrap();
}

/// An image that fits.
async fn image(site: &Site) {
    let blob = Blob {
        role: BlobRole::Disk,
        sha256: "0".repeat(64),
        size: 1,
        compression: Compression::None,
        content_sha256: "0".repeat(64),
        content_size: 1,
    };
    let image = Image {
        id: ImageId::generate(),
        name: "debian".parse().unwrap(),
        kind: ImageKind::Disk,
        architecture: Architecture::Amd64,
        blobs: vec![blob],
        created_at: now(site),
    };
    let mut event = note(MachineId::generate());
    (event.kind, event.machine) = (EventKind::Image, None);
    site.app.store.image_insert(None, image, false, event, |_| Vec::new()).await.unwrap();
}

/// A public key that nobody has the other half of.
pub(crate) const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f test";

/// A complete request for a verb, which changes nothing.
fn request(verb: Event, machine: &Machine) -> Vec<u8> {
    let options = options().map(|o| v1::MutationOptions { validate_only: true, comment: "why not".to_owned(), ..o });
    let machine = machine.id.to_string();
    match verb {
        Event::Commission => v1::CommissionMachineRequest { options, machine, ..Default::default() }.encode_to_vec(),
        Event::Allocate => v1::AllocateMachineRequest { options, machine, ..Default::default() }.encode_to_vec(),
        Event::Deploy => {
            let image = "debian".to_owned();
            v1::DeployMachineRequest { options, machine, image, ..Default::default() }.encode_to_vec()
        }
        Event::Test => v1::TestMachineRequest { options, machine, ..Default::default() }.encode_to_vec(),
        Event::Rescue => {
            let ssh_keys = vec![KEY.to_owned()];
            v1::RescueMachineRequest { options, machine, ssh_keys, ..Default::default() }.encode_to_vec()
        }
        Event::Release => v1::ReleaseMachineRequest { options, machine, ..Default::default() }.encode_to_vec(),
        Event::Abort => v1::AbortMachineRequest { options, machine, ..Default::default() }.encode_to_vec(),
        Event::ExitRescue | Event::MarkBroken | Event::MarkFixed | Event::OverrideFailedTest => {
            v1::MachineVerbRequest { options, machine, ..Default::default() }.encode_to_vec()
        }
        Event::Enlist
        | Event::Add
        | Event::AddLive
        | Event::Done
        | Event::BeginTests
        | Event::Recommission
        | Event::Fail
        | Event::Timeout
        | Event::Expire
        | Event::ReturnReady
        | Event::ReturnAllocated
        | Event::ReturnDeployed
        | Event::ReturnBroken
        | Event::ReturnFailedDeployment
        | Event::ReturnFailedReleasing => unreachable!("{verb} is no verb of people on a machine that is there"),
    }
}

/// What the tables say. Not through `rules::edge`, which is what is tested.
fn expected(call: &Call, verb: Event, who: &User, machine: &Machine) -> Code {
    if who.role < call.least() {
        return Code::PermissionDenied;
    }
    let holds = machine.owner.is_some_and(|owner| who.holds(owner));
    let admin = who.role == Role::Admin;
    let sees = admin || (machine.state != State::New && (who.pools.contains(&machine.pool) || holds));
    if !sees {
        return Code::NotFound;
    }
    let Some(edge) = EDGES.iter().find(|e| e.from == machine.state && e.on == verb) else {
        return Code::FailedPrecondition;
    };
    let his = match edge.by {
        By::Admin => admin,
        By::Owner => admin || holds || (verb == Event::Allocate && machine.owner.is_none()),
        By::Engine | By::Rack => false,
    };
    if his { Code::Ok } else { Code::PermissionDenied }
}

#[tokio::test]
async fn every_role_verb_and_state_is_answered_as_the_table_says() {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    image(&site).await;
    let people = people(&site).await;
    let project = site.app.store.project_find("build").await.unwrap().unwrap().id;
    let olga = people.iter().find(|c| c.what == "owner").unwrap().user.id;

    // Each state with an owner who is a person, with one who is a project, and without any.
    let mut machines = Vec::new();
    let owners = [None, Some(Owner::User(olga)), Some(Owner::Project(project))];
    for (state, owner) in State::ALL.iter().flat_map(|s| owners.iter().map(move |o| (*s, *o))) {
        if owner.is_none() || may_be_held(state) {
            let last = u8::try_from(200 + machines.len()).unwrap();
            machines.push(machine_in(&site, state, owner, last).await);
        }
    }
    let verbs = CALLS.iter().filter_map(|c| match c.need {
        Need::Verb(verb) if !matches!(verb, Event::Add | Event::AddLive) => Some((c, verb)),
        Need::Verb(_) | Need::Token | Need::Role(_) | Need::Seen | Need::Held | Need::Himself | Need::His => None,
    });
    let verbs: Vec<_> = verbs.collect();
    let (mut cells, mut codes, mut wrong) = (0, BTreeMap::<String, usize>::new(), Vec::new());
    for caller in &people {
        for machine in &machines {
            for (call, verb) in &verbs {
                let answer = raw(&site, Some(&caller.token), call, request(*verb, machine)).await;
                let got = answer.as_ref().map_or_else(Status::code, |()| Code::Ok);
                let want = expected(call, *verb, &caller.user, machine);
                if got != want {
                    let held =
                        machine.owner.map_or("nobody's", |o| if caller.user.holds(o) { "his" } else { "another's" });
                    let what = (caller.what, verb, machine.state, held);
                    wrong.push(format!("{what:?}: want {want:?}, got {got:?} {answer:?}"));
                }
                // The rules in memory say the same as the calls.
                let allowed = rules::allowed(&caller.user, machine).contains(&verb.as_str());
                assert!(want == Code::NotFound || allowed == (want == Code::Ok), "{verb} {}", caller.what);
                cells += 1;
                *codes.entry(format!("{got:?}")).or_default() += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cells} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
    println!("{cells} cells: {codes:?}");
    assert_eq!(cells, people.len() * machines.len() * verbs.len());
    assert!(codes.len() >= 4, "{codes:?}");
    for machine in machines {
        let after = site.app.store.machine_get(machine.id).await.unwrap().unwrap().machine;
        assert_eq!((after.state, after.version), (machine.state, machine.version), "only asked, never changed");
    }
}

// === what one may not see ===

#[tokio::test]
async fn what_one_may_not_see_is_not_there() {
    let site = Site::start().await;
    site.rack("r1").await;
    site.subnet("r1", 1).await;
    let people = people(&site).await;
    let project = site.app.store.project_find("build").await.unwrap().unwrap().id;
    let olga = people.iter().find(|c| c.what == "owner").unwrap().user.id;
    let mut machines = Vec::new();
    for (n, owner) in [None, Some(Owner::User(olga)), Some(Owner::Project(project))].into_iter().enumerate() {
        let state = if owner.is_some() { State::Deployed } else { State::Ready };
        machines.push(machine_in(&site, state, owner, u8::try_from(n + 200).unwrap()).await);
    }
    machines.push(machine_in(&site, State::New, None, 9).await);
    // The machine that the new one is a twin of is in the default pool, which is everybody's.
    let open = site.app.store.machine_find("m9").await.unwrap().unwrap().machine;
    machines.push(open);
    for caller in &people {
        let mut client = v1::machines_client::MachinesClient::new(site.channel.clone());
        let seen: Vec<&Machine> = machines.iter().filter(|m| rules::sees(&caller.user, m)).collect();
        let list = client.list_machines(by(&caller.token, v1::ListMachinesRequest::default())).await.unwrap();
        let mut listed: Vec<_> = list.into_inner().machines.into_iter().map(|m| m.name).collect();
        listed.sort();
        let mut want: Vec<_> = seen.iter().map(|m| m.name.to_string()).collect();
        want.sort();
        assert_eq!(listed, want, "{}", caller.what);
        for machine in &machines {
            let get = v1::GetMachineRequest { machine: machine.name.to_string(), ..Default::default() };
            let got = client.get_machine(by(&caller.token, get)).await.map_or_else(|s| s.code(), |_| Code::Ok);
            let want = if rules::sees(&caller.user, machine) { Code::Ok } else { Code::NotFound };
            assert_eq!(got, want, "{} of {}", machine.name, caller.what);
        }
        let mut events = v1::events_client::EventsClient::new(site.channel.clone());
        let page = Some(v1::PageRequest { page_size: 1000, page_token: String::new() });
        let all = v1::ListEventsRequest { page, ..Default::default() };
        let all = events.list_events(by(&caller.token, all)).await.unwrap().into_inner().events;
        for event in all.iter().filter(|e| !e.machine_name.is_empty()) {
            assert!(want.contains(&event.machine_name), "{}: {event:?}", caller.what);
        }
        for name in &want {
            assert!(all.iter().any(|e| e.machine_name == *name), "{}: nothing of {name}", caller.what);
        }
    }
}

#[tokio::test]
async fn who_calls_too_often_is_told_when_to_try_again() {
    let site = Site::start_with(RateLimit { per_second: 1, burst: 20 }).await;
    let token = site.user("ulf", v1::Role::User).await;
    let who = permissions::call("WhoAmI").unwrap();
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(raw(&site, Some(&token), who, Vec::new()).await);
    }
    assert!(answers.iter().take(20).all(Result::is_ok));
    let status = answers.into_iter().find_map(Result::err).unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait.as_millis() >= 1 && wait.as_secs() <= 1, "{wait:?}");
    // Others are not counted with him.
    raw(&site, Some(&site.admin), who, Vec::new()).await.unwrap();
}

#[test]
fn the_way_to_each_state_is_along_edges() {
    for state in State::ALL.iter().filter(|s| **s != State::New && **s != State::Commissioning) {
        let way = way(State::Commissioning, *state);
        assert_eq!(way.last().unwrap().to, *state);
        assert!(way.windows(2).all(|w| w[0].to == w[1].from));
    }
}
