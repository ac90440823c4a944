//! A client of `farrier.v1` that drives many machines at once. Each mutation has a request id, so that asking again is safe.

use std::time::Duration;

use farrier_common::{
    id::{Id, Kind},
    retry::Backoff,
    secret::Secret,
    telemetry::Chain,
    tls,
};
use farrier_proto::v1::{
    AbortMachineRequest, AddLiveMachineRequest, AllocateMachineRequest, Architecture, BmcCredentials, BmcProtocol,
    CommissionMachineRequest, CommissionOptions, CreateMachineRequest, DeleteMachineRequest, DeleteMachineResponse,
    DeployMachineRequest, ExplainMachineRequest, Explanation, GetMachineRequest, InBandBmc, ListMachinesRequest,
    Machine, MachineVerbRequest, MutationOptions, PageRequest, PowerAction, PowerMachineRequest, ReleaseMachineRequest,
    RescueMachineRequest, TestMachineRequest, WatchEventsRequest, WatchEventsResponse, events_client::EventsClient,
    machines_client::MachinesClient,
};
use thiserror::Error;
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::population::Member;

/// Longer than the region takes for any verb.
const DEADLINE: Duration = Duration::from_secs(60);
/// Of [`Region::lend`]: long enough to ask for something else before it ends.
pub const LEASE: Duration = Duration::from_secs(8);
const CONNECT: Duration = Duration::from_secs(10);
const PAGE: i32 = 1000;
const MOST_PAGES: usize = 1000;
/// A region that is being started anew is away for seconds.
const TRIES: u32 = 30;
const PAUSES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

type Conn = InterceptedService<Channel, Bearer>;

/// What the region does not do, and what was asked of it.
#[derive(Debug, Error)]
pub enum DriveError {
    /// Its address, CA or token cannot be used.
    #[error("cannot make a connection to the region: {0}")]
    Setup(String),
    /// It refused, or did not answer often enough.
    #[error("{what}: {}", .status.message())]
    Status {
        /// What was asked.
        what: String,
        /// Its answer.
        status: Box<Status>,
    },
}

/// What a program needs to reach a region.
#[derive(Clone, Debug)]
pub struct Access {
    /// `host:port`.
    pub address: String,
    /// The CA that the region's certificate is of, PEM.
    pub ca_pem: String,
    /// An administrator's.
    pub token: Secret<String>,
}

/// A region, as an administrator's program sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Region {
    conn: Conn,
}

#[derive(Clone, Debug)]
struct Bearer(MetadataValue<Ascii>);

struct RequestName;

impl Kind for RequestName {
    const NAME: &'static str = "request";
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Region {
    /// Prepares a connection; it opens itself when it is needed. To be called on the threads that will use it.
    ///
    /// # Errors
    /// Something of `access` cannot be used.
    pub fn new(access: &Access) -> Result<Self, DriveError> {
        let unfit = |e: tonic::transport::Error| DriveError::Setup(Chain(&e).to_string());
        let trust =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&access.ca_pem)).domain_name(tls::SERVER_NAME);
        let endpoint = Endpoint::from_shared(format!("https://{}", access.address)).map_err(unfit)?;
        let endpoint = endpoint.tls_config(trust).map_err(unfit)?.connect_timeout(CONNECT).tcp_nodelay(true);
        let mut token = MetadataValue::try_from(format!("Bearer {}", access.token.expose()))
            .map_err(|_| DriveError::Setup("the token has characters that no token has".to_owned()))?;
        token.set_sensitive(true);
        Ok(Self { conn: InterceptedService::new(endpoint.connect_lazy(), Bearer(token)) })
    }

    /// All machines.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn machines(&self) -> Result<Vec<Machine>, DriveError> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            let page = Some(PageRequest { page_size: PAGE, page_token });
            let request = ListMachinesRequest { page, ..ListMachinesRequest::default() };
            let answer =
                self.call("list machines", request, |mut c, r| async move { c.list_machines(r).await }).await?;
            all.extend(answer.machines);
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        Ok(all)
    }

    /// One machine, whole.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn machine(&self, machine: &str) -> Result<Machine, DriveError> {
        let request = GetMachineRequest { machine: machine.to_owned(), ..GetMachineRequest::default() };
        self.call(machine, request, |mut c, r| async move { c.get_machine(r).await }).await
    }

    /// Why a machine is where it is.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn explain(&self, machine: &str) -> Result<Explanation, DriveError> {
        let request = ExplainMachineRequest { machine: machine.to_owned(), timeline_size: 1000 };
        self.call(machine, request, |mut c, r| async move { c.explain_machine(r).await }).await
    }

    /// Adds a machine by hand, with the account that its BMC came with.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn add(&self, member: &Member) -> Result<Machine, DriveError> {
        let request = CreateMachineRequest {
            options: once(),
            name: String::new(),
            architecture: Architecture::Amd64.into(),
            macs: vec![member.mac.to_string()],
            bmc: Some(factory(member)),
            ..CreateMachineRequest::default()
        };
        let what = format!("add {}", member.mac);
        self.call(&what, request, |mut c, r| async move { c.create_machine(r).await }).await
    }

    /// Adds a machine with the workload that it runs.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn add_live(&self, member: &Member) -> Result<Machine, DriveError> {
        let request = AddLiveMachineRequest {
            options: once(),
            architecture: Architecture::Amd64.into(),
            macs: vec![member.mac.to_string()],
            bmc: Some(factory(member)),
            ..AddLiveMachineRequest::default()
        };
        let what = format!("add {} live", member.mac);
        let added = self.call(&what, request, |mut c, r| async move { c.add_live_machine(r).await }).await?;
        Ok(added.machine.unwrap_or_default())
    }

    /// Has a machine commissioned with the account that its BMC came with.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn commission(&self, machine: &str, member: &Member) -> Result<Machine, DriveError> {
        let (machine, bmc) = (machine.to_owned(), Some(factory(member)));
        let (what, request) =
            (machine.clone(), CommissionMachineRequest { options: once(), machine, bmc, ..Default::default() });
        self.call(&what, request, |mut c, r| async move { c.commission_machine(r).await }).await
    }

    /// Has a machine commissioned whose BMC nobody has an account on: its agent is to make one.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn commission_in_band(&self, machine: &str) -> Result<Machine, DriveError> {
        let in_band = Some(InBandBmc { take_over_account: false });
        let (options, name) = (once(), machine.to_owned());
        let request = CommissionMachineRequest { options, machine: name, in_band, ..Default::default() };
        self.call(machine, request, |mut c, r| async move { c.commission_machine(r).await }).await
    }

    /// Has a machine commissioned with the account that the region has on its BMC already.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn recommission(&self, machine: &str) -> Result<Machine, DriveError> {
        let request = CommissionMachineRequest {
            options: once(),
            machine: machine.to_owned(),
            ..CommissionMachineRequest::default()
        };
        self.call(machine, request, |mut c, r| async move { c.commission_machine(r).await }).await
    }

    /// Has a machine commissioned with the account that its BMC came with, and then tested with all built-in tests.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn commission_and_test(&self, machine: &str, member: &Member) -> Result<Machine, DriveError> {
        let commission = Some(CommissionOptions { tests: TESTS.map(str::to_owned).to_vec(), ..Default::default() });
        let (bmc, name) = (Some(factory(member)), machine.to_owned());
        let request =
            CommissionMachineRequest { options: once(), machine: name, bmc, commission, ..Default::default() };
        self.call(machine, request, |mut c, r| async move { c.commission_machine(r).await }).await
    }

    /// Has a machine tested; no tests means all built-in ones.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn test(&self, machine: &str, tests: &[&str]) -> Result<Machine, DriveError> {
        let tests = tests.iter().map(|t| (*t).to_owned()).collect();
        let request =
            TestMachineRequest { options: once(), machine: machine.to_owned(), tests, comment: String::new() };
        self.call(machine, request, |mut c, r| async move { c.test_machine(r).await }).await
    }

    /// Takes a machine.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn allocate(&self, machine: &str) -> Result<Machine, DriveError> {
        self.hold(machine, 0).await
    }

    /// Takes a machine for [`LEASE`].
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn lend(&self, machine: &str) -> Result<Machine, DriveError> {
        self.hold(machine, LEASE.as_secs()).await
    }

    async fn hold(&self, machine: &str, lease_seconds: u64) -> Result<Machine, DriveError> {
        let request = AllocateMachineRequest {
            options: once(),
            machine: machine.to_owned(),
            lease_seconds,
            ..AllocateMachineRequest::default()
        };
        self.call(machine, request, |mut c, r| async move { c.allocate_machine(r).await }).await
    }

    /// Has an image written to a machine that is taken.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn deploy(&self, machine: &str, image: &str) -> Result<Machine, DriveError> {
        let (machine, image) = (machine.to_owned(), image.to_owned());
        let what = machine.clone();
        let request =
            DeployMachineRequest { options: once(), machine, image, user_data: Vec::new(), disk_serial: String::new() };
        self.call(&what, request, |mut c, r| async move { c.deploy_machine(r).await }).await
    }

    /// Gives a machine back; its disks are wiped.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn release(&self, machine: &str) -> Result<Machine, DriveError> {
        let what = machine.to_owned();
        let (machine, comment) = (machine.to_owned(), String::new());
        let request = ReleaseMachineRequest { options: once(), machine, skip_erase: false, comment };
        self.call(&what, request, |mut c, r| async move { c.release_machine(r).await }).await
    }

    /// Stops the work that is done to a machine.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn abort(&self, machine: &str) -> Result<Machine, DriveError> {
        let what = machine.to_owned();
        let (machine, comment) = (machine.to_owned(), String::new());
        let request = AbortMachineRequest { options: once(), machine, comment };
        self.call(&what, request, |mut c, r| async move { c.abort_machine(r).await }).await
    }

    /// Takes a machine out of use.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn mark_broken(&self, machine: &str) -> Result<Machine, DriveError> {
        self.call(machine, because(machine), |mut c, r| async move { c.mark_broken_machine(r).await }).await
    }

    /// Has a machine commissioned whose repair is done.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn mark_fixed(&self, machine: &str) -> Result<Machine, DriveError> {
        self.call(machine, because(machine), |mut c, r| async move { c.mark_fixed_machine(r).await }).await
    }

    /// Makes a machine ready although a hardware test failed.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn override_failed_test(&self, machine: &str) -> Result<Machine, DriveError> {
        self.call(machine, because(machine), |mut c, r| async move { c.override_failed_test_machine(r).await }).await
    }

    /// Has the rescue environment booted.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn rescue(&self, machine: &str) -> Result<Machine, DriveError> {
        let request = RescueMachineRequest {
            options: once(),
            machine: machine.to_owned(),
            comment: String::new(),
            ssh_keys: vec![SSH_KEY.to_owned()],
        };
        self.call(machine, request, |mut c, r| async move { c.rescue_machine(r).await }).await
    }

    /// Has the rescue environment left.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn exit_rescue(&self, machine: &str) -> Result<Machine, DriveError> {
        let request =
            MachineVerbRequest { options: once(), machine: machine.to_owned(), ..MachineVerbRequest::default() };
        self.call(machine, request, |mut c, r| async move { c.exit_rescue_machine(r).await }).await
    }

    /// Has a machine taken out of the database, and tells what was given back. Asked once: that a BMC does not answer is an
    /// answer here.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn delete(&self, machine: &str, force: bool) -> Result<DeleteMachineResponse, DriveError> {
        let (machine, comment) = (machine.to_owned(), "a scenario says so".to_owned());
        let what = machine.clone();
        let request = DeleteMachineRequest { options: once(), machine, comment, force };
        self.tried(1, &what, request, |mut c, r| async move { c.delete_machine(r).await }).await
    }

    /// Has a machine's system asked to shut down.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn soft_off(&self, machine: &str) -> Result<Machine, DriveError> {
        let request =
            PowerMachineRequest { options: once(), machine: machine.to_owned(), action: PowerAction::SoftOff.into() };
        self.call(machine, request, |mut c, r| async move { c.power_machine(r).await }).await
    }

    /// Every event after `revision` (0: all), until the connection breaks.
    ///
    /// # Errors
    /// See [`DriveError`].
    pub async fn watch(&self, revision: i64) -> Result<Streaming<WatchEventsResponse>, DriveError> {
        let mut client = EventsClient::new(self.conn.clone());
        let request = WatchEventsRequest { after_revision: revision, ..WatchEventsRequest::default() };
        let answer = client.watch_events(request).await.map_err(|status| failed("watch events", status))?;
        Ok(answer.into_inner())
    }

    async fn call<Q: Clone, A, F: Future<Output = Result<Response<A>, Status>>>(
        &self,
        what: &str,
        request: Q,
        call: impl Fn(MachinesClient<Conn>, Request<Q>) -> F,
    ) -> Result<A, DriveError> {
        self.tried(TRIES, what, request, call).await
    }

    /// Asks at most so often.
    async fn tried<Q: Clone, A, F: Future<Output = Result<Response<A>, Status>>>(
        &self,
        most: u32,
        what: &str,
        request: Q,
        call: impl Fn(MachinesClient<Conn>, Request<Q>) -> F,
    ) -> Result<A, DriveError> {
        let mut tries = 0;
        loop {
            let mut message = Request::new(request.clone());
            message.set_timeout(DEADLINE);
            let status = match call(MachinesClient::new(self.conn.clone()), message).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            tries += 1;
            let passing = matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded)
                || std::error::Error::source(&status).is_some();
            if !passing || tries >= most {
                return Err(failed(what, status));
            }
            PAUSES.pause(tries).await;
        }
    }
}

/// The built-in tests, in their order.
const TESTS: [&str; 4] = ["cpu", "memory", "disk-read", "network"];
/// Whose private half nobody here has: simulated machines let nobody in.
const SSH_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl operator@lab";

/// The account that a BMC came with.
fn factory(member: &Member) -> BmcCredentials {
    let factory = &member.vendor.accounts.factory;
    BmcCredentials {
        protocol: BmcProtocol::Ipmi.into(),
        address: member.bmc.to_string(),
        username: factory.name.clone(),
        password: factory.password.clone(),
        ..BmcCredentials::default()
    }
}

fn because(machine: &str) -> MachineVerbRequest {
    MachineVerbRequest { options: once(), machine: machine.to_owned(), comment: "a scenario says so".to_owned() }
}

fn once() -> Option<MutationOptions> {
    Some(MutationOptions { request_id: Id::<RequestName>::generate().to_string(), ..MutationOptions::default() })
}

fn failed(what: &str, status: Status) -> DriveError {
    DriveError::Status { what: what.to_owned(), status: Box::new(status) }
}
