//! A region without its engine, and clients for it.

use std::{net::SocketAddr, sync::Arc};

use farrier_common::{clock::Clock, id::MachineId, tls};
use farrier_proto::{
    rack::rack_gateway_client::RackGatewayClient,
    v1::{self, MutationOptions},
};
use farrier_region::{
    api,
    app::{App, Blobs, Policy, Promises, RateLimit, Tail, events::Bounds},
    crash::Crash,
    domain::{
        advance::{Change, Deadlines},
        lifecycle::{self, Event},
    },
    pki::Ca,
    racks::Racks,
    store::{Database, Extra, Store},
    vault::Vault,
};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Code, Request, Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

pub(crate) type Machines = v1::machines_client::MachinesClient<Channel>;
pub(crate) type Users = v1::users_client::UsersClient<Channel>;
pub(crate) type Tokens = v1::tokens_client::TokensClient<Channel>;
pub(crate) type Racks_ = v1::racks_client::RacksClient<Channel>;
pub(crate) type Subnets = v1::subnets_client::SubnetsClient<Channel>;
pub(crate) type Gateway = RackGatewayClient<Channel>;

/// Nobody listens there: what the region would tell a rack goes nowhere.
const NOWHERE: &str = "127.0.0.1:9";
/// Everybody may call as often as he likes.
const UNBOUND: RateLimit = RateLimit { per_second: 0, burst: 1 };

/// A region that serves.
pub(crate) struct Site {
    pub(crate) app: App,
    /// Not yet connected to; without a client certificate.
    pub(crate) channel: Channel,
    /// The admin's token.
    pub(crate) admin: String,
    address: SocketAddr,
    _stop: DropGuard,
    dir: TempDir,
}

/// A rack that has enrolled.
pub(crate) struct Rack {
    pub(crate) id: String,
    pub(crate) client: Gateway,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::begin(Bounds::default(), None, UNBOUND, Clock::System).await
    }

    /// With a clock that a test moves.
    pub(crate) async fn at(clock: Clock) -> Self {
        Self::begin(Bounds::default(), None, UNBOUND, clock).await
    }

    /// With other bounds for watchers, and perhaps on a PostgreSQL.
    pub(crate) async fn with(bounds: Bounds, postgres: Option<String>) -> Self {
        Self::begin(bounds, postgres, UNBOUND, Clock::System).await
    }

    /// With a bound to how often a user may call.
    pub(crate) async fn start_with(rate: RateLimit) -> Self {
        Self::begin(Bounds::default(), None, rate, Clock::System).await
    }

    async fn begin(bounds: Bounds, postgres: Option<String>, rate: RateLimit, clock: Clock) -> Self {
        tls::install_provider();
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let database = postgres.map_or_else(|| Database::Sqlite(dir.path().join("farrier.db")), Database::Postgres);
        let store = Store::open(&database, clock.clone()).await.unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let ca = Ca::open(dir.path()).unwrap();
        let identity = ca.server_identity(&["127.0.0.1".to_owned()], clock.now()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let image: farrier_common::name::Name = "ephemeral".parse().unwrap();
        let racks = Racks::new(
            store.clone(),
            vault.clone(),
            identity.clone(),
            ca.ca_pem().to_owned(),
            image.clone(),
            clock.clone(),
        );
        let policy = Policy {
            deadlines: Deadlines::new(),
            require_erase: true,
            rate,
            advertise: address.to_string(),
            ephemeral_image: image,
            bmc_account: "maas".parse().unwrap(),
            default_tests: Vec::new(),
        };
        let tail = Tail::new(store.clone(), bounds);
        tokio::spawn(tail.clone().run(stop.clone()));
        let app = App {
            store,
            vault,
            ca: Arc::new(ca),
            racks,
            blobs: Blobs::open(dir.path()).unwrap(),
            tail: tail.clone(),
            policy: Arc::new(policy),
            clock,
            stop: stop.clone(),
            promises: Promises::default(),
            crash: Crash::default(),
        };
        let admin = app.first_admin(None).await.unwrap().unwrap().expose().clone();
        let (served, until) = (app.clone(), stop.clone());
        tokio::spawn(async move { api::serve(served, listener, &identity, until).await });
        let channel = channel(address, app.ca.ca_pem(), None);
        Self { app, channel, admin, address, _stop: stop.drop_guard(), dir }
    }

    /// A connection with a client certificate.
    pub(crate) fn connect(&self, identity: Option<Identity>) -> Channel {
        channel(self.address, self.app.ca.ca_pem(), identity)
    }

    /// A connection that takes little before it is read.
    pub(crate) fn narrow(&self) -> Channel {
        endpoint(self.address, self.app.ca.ca_pem(), None).initial_stream_window_size(4096).connect_lazy()
    }

    /// A new user and a token of his.
    pub(crate) async fn user(&self, name: &str, role: v1::Role) -> String {
        let new = v1::CreateUserRequest { options: options(), name: name.to_owned(), role: role.into() };
        Users::new(self.channel.clone()).create_user(by(&self.admin, new)).await.unwrap();
        let new = v1::CreateTokenRequest { options: options(), user: name.to_owned(), ..Default::default() };
        let made = Tokens::new(self.channel.clone()).create_token(by(&self.admin, new)).await.unwrap();
        made.into_inner().secret
    }

    /// A join token's secret.
    pub(crate) async fn join_secret(&self, rack: &str) -> String {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let new = v1::CreateJoinTokenRequest { options: options(), rack: rack.to_owned(), valid_seconds: 0 };
        let made =
            Racks_::new(self.channel.clone()).create_join_token(by(&self.admin, new)).await.unwrap().into_inner();
        let json = URL_SAFE_NO_PAD.decode(made.join_token).unwrap();
        let token: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(token["region"], self.address.to_string());
        assert_eq!(token["ca_pem"], self.app.ca.ca_pem());
        token["secret"].as_str().unwrap().to_owned()
    }

    /// A rack that has enrolled, with a client that shows its certificate.
    pub(crate) async fn rack(&self, name: &str) -> Rack {
        self.rack_at(name, NOWHERE).await.0
    }

    /// The same, with the address at which it says that it serves, and what it proves its name with.
    pub(crate) async fn rack_at(&self, name: &str, address: &str) -> (Rack, Identity) {
        let secret = self.join_secret(name).await;
        let (csr_pem, key) = csr();
        let mut open = Gateway::new(self.channel.clone());
        let request =
            farrier_proto::rack::EnrollRequest { address: address.to_owned(), ..enrollment(&secret, &csr_pem) };
        let enrolled = open.enroll(request).await.unwrap().into_inner();
        let identity = Identity::from_pem(&enrolled.certificate_pem, &key);
        let client = Gateway::new(channel(self.address, &enrolled.ca_pem, Some(identity.clone())));
        (Rack { id: enrolled.rack_id, client }, identity)
    }

    /// The subnet 10.NET.0.0/24 on a rack.
    pub(crate) async fn subnet(&self, rack: &str, net: u8) {
        let spec = v1::SubnetSpec {
            cidr: format!("10.{net}.0.0/24"),
            rack: rack.to_owned(),
            gateway: format!("10.{net}.0.1"),
            dynamic_start: format!("10.{net}.0.100"),
            dynamic_end: format!("10.{net}.0.199"),
            ..Default::default()
        };
        let new = v1::CreateSubnetRequest { options: options(), name: String::new(), spec: Some(spec) };
        Subnets::new(self.channel.clone()).create_subnet(by(&self.admin, new)).await.unwrap();
    }

    /// Adds a machine by hand.
    pub(crate) async fn machine(&self, name: &str, last: u8) -> v1::Machine {
        let mut machines = Machines::new(self.channel.clone());
        machines.create_machine(by(&self.admin, new_machine(name, last))).await.unwrap().into_inner()
    }

    /// Moves a machine as the engine would, after changing it a little.
    pub(crate) async fn engine(&self, machine: &str, event: Option<Event>, edit: impl Fn(&mut Change)) {
        let view = self.app.store.machine_find(machine).await.unwrap().unwrap();
        let (version, now) = (view.machine.version, self.app.clock.now());
        let mut change = Change::of(view.machine);
        edit(&mut change);
        if let Some(event) = event {
            let edge = lifecycle::next(change.machine.state, event).unwrap();
            change = change.along(edge, "engine", "a test says so", &Deadlines::new(), now);
        }
        self.app.store.machine_apply(None, change, version, Extra::default(), |_| Vec::new()).await.unwrap();
    }

    /// The machine's BMC has an account of our own, with this password.
    pub(crate) async fn own_account(&self, machine: &str, password: &str) {
        let own = format!("bmc-own/{}", self.id_of(machine).await);
        self.app.store.secret_put(&own, self.app.vault.seal(&own, password.as_bytes())).await.unwrap();
        self.engine(machine, None, |change| change.machine.details.bmc.as_mut().unwrap().managed = true).await;
    }

    /// Where the region keeps its keys.
    pub(crate) fn data_dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The bytes of the database's files.
    pub(crate) fn database(&self) -> Vec<u8> {
        let read = |name: &str| std::fs::read(self.dir.path().join(name)).unwrap_or_default();
        [read("farrier.db"), read("farrier.db-wal")].concat()
    }

    pub(crate) async fn id_of(&self, machine: &str) -> MachineId {
        self.app.store.machine_find(machine).await.unwrap().unwrap().machine.id
    }
}

pub(crate) fn channel(address: SocketAddr, ca_pem: &str, identity: Option<Identity>) -> Channel {
    endpoint(address, ca_pem, identity).connect_lazy()
}

fn endpoint(address: SocketAddr, ca_pem: &str, identity: Option<Identity>) -> Endpoint {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca_pem)).domain_name(tls::SERVER_NAME);
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap()
}

/// A request with a bearer token.
pub(crate) fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Options of a request that was never made before.
#[expect(clippy::unnecessary_wraps, reason = "as the field is")]
pub(crate) fn options() -> Option<MutationOptions> {
    Some(MutationOptions { request_id: MachineId::generate().to_string(), ..MutationOptions::default() })
}

/// Key and request for a certificate.
pub(crate) fn csr() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap(), key.serialize_pem())
}

pub(crate) fn enrollment(secret: &str, csr_pem: &str) -> farrier_proto::rack::EnrollRequest {
    farrier_proto::rack::EnrollRequest {
        secret: secret.to_owned(),
        csr_pem: csr_pem.to_owned(),
        address: NOWHERE.to_owned(),
        software_version: "test".to_owned(),
    }
}

pub(crate) fn bmc(last: u8) -> v1::BmcCredentials {
    v1::BmcCredentials {
        protocol: v1::BmcProtocol::Ipmi.into(),
        address: format!("10.1.0.{last}"),
        username: "root".to_owned(),
        password: "calvin-klein".to_owned(),
        ..Default::default()
    }
}

pub(crate) fn new_machine(name: &str, last: u8) -> v1::CreateMachineRequest {
    v1::CreateMachineRequest {
        options: options(),
        name: name.to_owned(),
        architecture: v1::Architecture::Amd64.into(),
        macs: vec![format!("52:54:00:00:00:{last:02x}")],
        bmc: Some(bmc(last)),
        labels: (0..8).map(|n| (format!("label-{n}"), n.to_string())).collect(),
        ..Default::default()
    }
}

/// Asserts the code of a failure and answers its text.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<Response<T>, Status>, code: Code) -> Status {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    status
}
