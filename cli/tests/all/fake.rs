//! A `farrier.v1` region that answers as a test tells it and remembers what it was asked.

use std::{
    collections::VecDeque,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Output,
    sync::{Arc, Mutex},
    time::Duration,
};

use farrier_common::tls;
use farrier_proto::v1::{
    events_server::EventsServer, images_server::ImagesServer, machines_server::MachinesServer,
    operations_server::OperationsServer, racks_server::RacksServer, scripts_server::ScriptsServer,
    subnets_server::SubnetsServer, tokens_server::TokensServer, users_server::UsersServer, *,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{net::TcpListener, process::Command, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Status,
    transport::{Identity, Server, ServerTlsConfig},
};

mod services;

/// The one token that lets its bearer in.
pub(crate) const TOKEN: &str = "t0ken";

/// What the event stream does next.
pub(crate) enum Step {
    /// Sends an event.
    Send(Event),
    /// Sends a bookmark.
    Bookmark(i64),
    /// Tells that the stream cannot go on, and ends it.
    Resync(&'static str),
    /// The machine becomes this, silently.
    Become(MachineState, &'static str),
    /// The stream breaks.
    Break(Status),
    /// Nothing happens for a while.
    Pause(Duration),
}

/// What the region answers and what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    /// The one machine, for Get and for verbs.
    pub(crate) machine: Machine,
    /// Answers to the next verbs that are errors; `None` is a good one. When it is empty, verbs are done.
    pub(crate) refusals: VecDeque<Option<Status>>,
    /// So many verbs are done but never answered.
    pub(crate) hold_answers: usize,
    /// Request ids of the verbs that came.
    pub(crate) request_ids: Vec<String>,
    /// The last verb's request.
    pub(crate) deploy: Option<DeployMachineRequest>,
    pub(crate) told_power: Option<TellPowerRequest>,
    pub(crate) create: Option<CreateMachineRequest>,
    pub(crate) allocate: Option<AllocateMachineRequest>,
    pub(crate) batch: Option<AllocateMachinesRequest>,
    pub(crate) commission: Option<CommissionMachineRequest>,
    pub(crate) test: Option<TestMachineRequest>,
    pub(crate) new_script: Option<CreateScriptRequest>,
    pub(crate) configure: Option<ConfigureMachineRequest>,
    pub(crate) clone: Option<CloneMachineRequest>,
    /// What becomes of the destinations of a copy.
    pub(crate) cloned: Vec<CloneResult>,
    /// What each event stream does; a stream beyond these is silent.
    pub(crate) streams: VecDeque<Vec<Step>>,
    /// From where each stream was opened.
    pub(crate) watched: Vec<WatchEventsRequest>,
    /// Pages of the list of machines.
    pub(crate) pages: Vec<Vec<Machine>>,
    /// What lists were asked for.
    pub(crate) listed: Vec<ListMachinesRequest>,
    /// Of a bulk call.
    pub(crate) plan: BulkPlan,
    /// Bulk calls that came.
    pub(crate) bulk: Vec<BulkMachinesRequest>,
    /// How far the operation is, each time that it is asked for.
    pub(crate) operations: VecDeque<Operation>,
    /// How far it is in the end.
    pub(crate) operation: Operation,
    /// Blobs that were uploaded, or are there from the beginning.
    pub(crate) blobs: Vec<Vec<u8>>,
    /// Bytes of content that came.
    pub(crate) uploaded_bytes: usize,
    pub(crate) image: Option<CreateImageRequest>,
    pub(crate) update: Option<UpdateMachineRequest>,
    /// What the remarks on machines said.
    pub(crate) comments: Vec<String>,
}

/// A running region with a login for it.
pub(crate) struct Fake {
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

impl Fake {
    /// Starts a region; the login is saved already.
    pub(crate) async fn start() -> Self {
        let fake = Self::start_without_login().await;
        fake.save_login(fake.address);
        fake
    }

    /// Starts a region to log in to.
    pub(crate) async fn start_without_login() -> Self {
        tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([tls::SERVER_NAME.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();

        let script = Arc::new(Mutex::new(Script::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let region = services::Region(script.clone());
        let server = Server::builder()
            .tls_config(ServerTlsConfig::new().identity(Identity::from_pem(leaf.pem(), key.serialize_pem())))
            .unwrap()
            .add_service(UsersServer::with_interceptor(region.clone(), let_in))
            .add_service(TokensServer::with_interceptor(region.clone(), let_in))
            .add_service(RacksServer::with_interceptor(region.clone(), let_in))
            .add_service(SubnetsServer::with_interceptor(region.clone(), let_in))
            .add_service(MachinesServer::with_interceptor(region.clone(), let_in))
            .add_service(OperationsServer::with_interceptor(region.clone(), let_in))
            .add_service(ScriptsServer::with_interceptor(region.clone(), let_in))
            .add_service(ImagesServer::with_interceptor(region.clone(), let_in))
            .add_service(EventsServer::with_interceptor(region, let_in));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { script, address, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file for the command to read.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).display().to_string()
    }

    /// Writes the login, as `farrier login` would, for a region that listens there.
    pub(crate) fn save_login(&self, address: SocketAddr) {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let ca = fs::read_to_string(self.path("ca.pem")).unwrap();
        let text = format!("server = \"{address}\"\ntoken = \"{TOKEN}\"\nca_pem = '''\n{ca}'''\n");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(self.path("config.toml"));
        file.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Changes or reads the script.
    pub(crate) fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().unwrap())
    }

    /// Runs `farrier`.
    pub(crate) async fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farrier"));
        command.args(args).env("FARRIER_CONFIG", self.path("config.toml")).kill_on_drop(true);
        let output = timeout(Duration::from_secs(60), command.output()).await.expect("farrier ends").unwrap();
        Ran::from(output)
    }
}

fn let_in(request: Request<()>) -> Result<Request<()>, Status> {
    let given = request.metadata().get("authorization").and_then(|v| v.to_str().ok());
    if given == Some("Bearer t0ken") { Ok(request) } else { Err(Status::unauthenticated("the token is not known")) }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// The machine n1 in a state.
pub(crate) fn machine(state: MachineState, reason: &str) -> Machine {
    let status = MachineStatus { state: state.into(), reason: reason.to_owned(), ..MachineStatus::default() };
    Machine { id: "0199-n1".to_owned(), name: "n1".to_owned(), status: Some(status), ..Machine::default() }
}

/// A transition of n1.
pub(crate) fn event(revision: i64, to: MachineState, phase: &str) -> Event {
    Event {
        revision,
        machine_id: "0199-n1".to_owned(),
        machine_name: "n1".to_owned(),
        kind: if phase.is_empty() { "transition" } else { "phase" }.to_owned(),
        from: MachineState::Deploying.into(),
        to: to.into(),
        phase: phase.to_owned(),
        actor: "engine".to_owned(),
        ..Event::default()
    }
}
