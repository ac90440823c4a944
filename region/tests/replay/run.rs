//! The run: every mutation, each asked for until it is answered, and taken down with its answer.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use farrier_common::{id::MachineId, secret::sha256_hex};
use farrier_proto::{
    rack::{EnrollRequest, rack_gateway_client::RackGatewayClient},
    v1::{self, MutationOptions, upload_blob_request::Part},
};
use farrier_region::{
    domain::{
        advance::{Change, Deadlines},
        lifecycle::{self, Class, Event, State},
        machine::{Disk, Hardware},
    },
    store::{Extra, MachineFilter, Store},
};
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use tonic::{Code, Request, Status, client::Grpc, transport::Channel};

use crate::{region::Region, requests::with, wire::Raw};

const MACHINES: u8 = 10;

/// A mutation that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) method: String,
    pub(crate) token: String,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

pub(crate) struct Run {
    channel: Channel,
    pub(crate) admin: String,
    done: Mutex<Vec<Record>>,
    repeated: Mutex<usize>,
}

#[expect(clippy::unnecessary_wraps, reason = "as the field is")]
fn options() -> Option<MutationOptions> {
    Some(MutationOptions { request_id: MachineId::generate().to_string(), ..MutationOptions::default() })
}

impl Run {
    pub(crate) fn new(region: &Region) -> Self {
        Self { channel: region.channel(), admin: region.admin(), done: Mutex::default(), repeated: Mutex::default() }
    }

    pub(crate) fn done(&self) -> Vec<Record> {
        self.done.lock().unwrap().clone()
    }

    pub(crate) fn repeated(&self) -> usize {
        *self.repeated.lock().unwrap()
    }

    /// One call, as bytes.
    pub(crate) async fn call(&self, method: &str, token: &str, request: &[u8]) -> Result<Vec<u8>, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let mut request = Request::new(request.to_vec());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request.set_timeout(Duration::from_secs(10));
        let path = format!("/{method}").parse().unwrap();
        grpc.unary(request, path, Raw).await.map(tonic::Response::into_inner)
    }

    /// The admin's mutation, unless it is not built.
    async fn perhaps<A: Message + Default>(&self, method: &str, request: impl Message) -> Option<A> {
        if self.is_built(&format!("farrier.v1.{method}")).await {
            return Some(self.admin(method, request).await);
        }
        None
    }

    /// Asks until it is answered, and takes it down.
    async fn mutate<A: Message + Default>(&self, token: &str, method: &str, request: impl Message) -> A {
        let method = format!("farrier.v1.{method}");
        let comment = format!("why {}", self.done().len());
        let request = with(&request.encode_to_vec(), MutationOptions { comment, ..MutationOptions::default() });
        // What would come of it is asked first: under the same id, which is free all the same.
        let only_tell = MutationOptions { validate_only: true, ..MutationOptions::default() };
        self.until_answered(&method, token, &with(&request, only_tell)).await;
        let answer = self.until_answered(&method, token, &request).await;
        let read = A::decode(answer.as_slice()).unwrap();
        let record = Record { method, token: token.to_owned(), request, answer };
        self.done.lock().unwrap().push(record);
        read
    }

    pub(crate) async fn until_answered(&self, method: &str, token: &str, request: &[u8]) -> Vec<u8> {
        let begun = Instant::now();
        loop {
            let status = match self.call(method, token, request).await {
                Ok(answer) => return answer,
                Err(status) => status,
            };
            assert!(broke(&status) && begun.elapsed() < Duration::from_secs(20), "{method}: {status:?}");
            *self.repeated.lock().unwrap() += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Is there more behind the call than that it is not built?
    pub(crate) async fn is_built(&self, method: &str) -> bool {
        for _ in 0..1000 {
            match self.call(method, &self.admin, &[]).await {
                Err(status) if broke(&status) => tokio::time::sleep(Duration::from_millis(20)).await,
                answer => return answer.map_or_else(|status| status.code() != Code::Unimplemented, |_| true),
            }
        }
        panic!("{method}: the region does not come back");
    }

    async fn admin<A: Message + Default>(&self, method: &str, request: impl Message) -> A {
        self.mutate(&self.admin, method, request).await
    }

    /// A rack that is enrolled and never heard of again, its subnet, and an image's content.
    pub(crate) async fn set_up(&self) {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let token = v1::CreateJoinTokenRequest { options: options(), rack: "r1".to_owned(), valid_seconds: 0 };
        let token: v1::CreateJoinTokenResponse = self.admin("Racks/CreateJoinToken", token).await;
        let json = URL_SAFE_NO_PAD.decode(token.join_token).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let csr = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
        let enroll = EnrollRequest {
            secret: json["secret"].as_str().unwrap().to_owned(),
            csr_pem: csr.pem().unwrap(),
            // Nobody listens there.
            address: "127.0.0.1:9".to_owned(),
            software_version: "test".to_owned(),
        };
        RackGatewayClient::new(self.channel.clone()).enroll(enroll).await.unwrap();
        let bytes = b"a disk".to_vec();
        let header = v1::BlobHeader { sha256: sha256_hex(&bytes), size_bytes: bytes.len() as u64 };
        let parts = [Part::Header(header), Part::Chunk(bytes)];
        let parts = parts.map(|part| v1::UploadBlobRequest { part: Some(part) });
        let mut request = Request::new(tokio_stream::iter(parts));
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.admin).parse().unwrap());
        v1::images_client::ImagesClient::new(self.channel.clone()).upload_blob(request).await.unwrap();
    }

    /// Subnet, image, users, tokens and machines come to be; two commissionings each, both aborted.
    pub(crate) async fn people_and_machines(&self) {
        let spec = v1::SubnetSpec {
            cidr: "10.1.0.0/24".to_owned(),
            rack: "r1".to_owned(),
            gateway: "10.1.0.1".to_owned(),
            dynamic_start: "10.1.0.100".to_owned(),
            dynamic_end: "10.1.0.199".to_owned(),
            ..Default::default()
        };
        let subnet = v1::CreateSubnetRequest { options: options(), name: "s1".to_owned(), spec: Some(spec) };
        let _: v1::Subnet = self.admin("Subnets/CreateSubnet", subnet).await;
        let blob = v1::Blob {
            role: v1::BlobRole::Disk.into(),
            sha256: sha256_hex(b"a disk"),
            compression: v1::Compression::None.into(),
            ..Default::default()
        };
        let image = v1::CreateImageRequest {
            options: options(),
            name: "debian".to_owned(),
            kind: v1::ImageKind::Disk.into(),
            architecture: v1::Architecture::Amd64.into(),
            blobs: vec![blob],
            replace: false,
        };
        let _: v1::Image = self.admin("Images/CreateImage", image).await;
        for name in ["ulf", "uma", "una"] {
            let user = v1::CreateUserRequest { options: options(), name: name.to_owned(), role: v1::Role::User.into() };
            let _: v1::User = self.admin("Users/CreateUser", user).await;
            let token = v1::CreateTokenRequest { options: options(), user: name.to_owned(), ..Default::default() };
            let token: v1::CreateTokenResponse = self.admin("Tokens/CreateToken", token).await;
            assert!(!token.secret.is_empty());
            let revoke = v1::RevokeTokenRequest { options: options(), token: token.token.unwrap().id };
            let _: v1::Token = self.admin("Tokens/RevokeToken", revoke).await;
        }
        for n in 0..MACHINES {
            let _: v1::Machine = self.admin("Machines/CreateMachine", new_machine(n)).await;
            let _: v1::Machine = self.admin("Machines/AbortMachine", abort(n)).await;
            let again = v1::CommissionMachineRequest { options: options(), machine: name(n), ..Default::default() };
            let _: v1::Machine = self.admin("Machines/CommissionMachine", again).await;
        }
    }

    /// A user holds machines, deploys and gives back.
    pub(crate) async fn use_machines(&self) {
        let token = v1::CreateTokenRequest { options: options(), user: "ulf".to_owned(), ..Default::default() };
        let token: v1::CreateTokenResponse = self.admin("Tokens/CreateToken", token).await;
        let ulf = token.secret;
        // By name, then any: there are just as many as are asked for.
        let named = (0..MACHINES).filter(|n| n % 2 == 0).map(name);
        for machine in named.chain((1..MACHINES / 2).map(|_| String::new())) {
            let ask = v1::AllocateMachineRequest { options: options(), machine, ..Default::default() };
            let _: v1::Machine = self.mutate(&ulf, "Machines/AllocateMachine", ask).await;
        }
        let one = v1::AllocateMachinesRequest {
            options: options(),
            items: vec![v1::AllocationItem::default()],
            mode: v1::BatchMode::AllOrNothing.into(),
            ..Default::default()
        };
        let _: v1::AllocateMachinesResponse = self.mutate(&ulf, "Machines/AllocateMachines", one).await;
        for n in 0..MACHINES {
            let ask = v1::DeployMachineRequest {
                options: options(),
                machine: name(n),
                image: "debian".to_owned(),
                user_data: b"#cloud-config\n".to_vec(),
                ..Default::default()
            };
            let _: v1::Machine = self.mutate(&ulf, "Machines/DeployMachine", ask).await;
        }
        for n in 0..2 {
            let _: v1::Machine = self.mutate(&ulf, "Machines/AbortMachine", abort(n)).await;
            let ask = v1::ReleaseMachineRequest { options: options(), machine: name(n), ..Default::default() };
            let _: v1::Machine = self.mutate(&ulf, "Machines/ReleaseMachine", ask).await;
        }
    }

    /// What is built beside this: each call is made if its service has it.
    pub(crate) async fn belongings(&self) {
        let mask = |path: &str| Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
        let update =
            v1::UpdateUserRequest { options: options(), user: "una".into(), max_machines: 7, ..Default::default() };
        let update = v1::UpdateUserRequest { update_mask: mask("max_machines"), ..update };
        let _: Option<v1::User> = self.perhaps("Users/UpdateUser", update).await;
        let public_key = KEY.to_owned();
        let key = v1::AddSshKeyRequest { options: options(), user: String::new(), public_key };
        let key: Option<v1::SshKey> = self.perhaps("Users/AddSshKey", key).await;
        let ssh_key = key.map(|k| k.id).unwrap_or_default();
        let gone = v1::DeleteSshKeyRequest { options: options(), ssh_key };
        let _: Option<v1::SshKey> = self.perhaps("Users/DeleteSshKey", gone).await;

        let new = v1::CreateProjectRequest { options: options(), name: "p1".into(), ..Default::default() };
        let _: Option<v1::Project> = self.perhaps("Projects/CreateProject", new).await;
        let update = v1::UpdateProjectRequest { options: options(), project: "p1".into(), ..Default::default() };
        let update = v1::UpdateProjectRequest { update_mask: mask("max_machines"), max_machines: 3, ..update };
        let _: Option<v1::Project> = self.perhaps("Projects/UpdateProject", update).await;
        for method in ["Projects/AddProjectMember", "Projects/RemoveProjectMember"] {
            let q = v1::ProjectMemberRequest { options: options(), project: "p1".into(), user: "una".into() };
            let _: Option<v1::Project> = self.perhaps(method, q).await;
        }
        let gone = v1::DeleteProjectRequest { options: options(), project: "p1".into() };
        let _: Option<v1::Project> = self.perhaps("Projects/DeleteProject", gone).await;

        let new = v1::CreatePoolRequest { options: options(), name: "q1".into(), ..Default::default() };
        let _: Option<v1::Pool> = self.perhaps("Pools/CreatePool", new).await;
        let update = v1::UpdatePoolRequest { options: options(), pool: "q1".into(), ..Default::default() };
        let update = v1::UpdatePoolRequest { update_mask: mask("description"), description: "of una".into(), ..update };
        let _: Option<v1::Pool> = self.perhaps("Pools/UpdatePool", update).await;
        for method in ["Pools/GrantPool", "Pools/RevokePool"] {
            let user = "una".to_owned();
            let q = v1::PoolGrantRequest { options: options(), pool: "q1".into(), user, project: String::new() };
            let _: Option<v1::Pool> = self.perhaps(method, q).await;
        }
        let gone = v1::DeletePoolRequest { options: options(), pool: "q1".into() };
        let _: Option<v1::Pool> = self.perhaps("Pools/DeletePool", gone).await;

        let new = v1::CreateScriptRequest {
            options: options(),
            name: "burn-in".into(),
            kind: v1::ScriptKind::Test.into(),
            content: "#!/bin/sh\nexit 0\n".into(),
            ..Default::default()
        };
        let _: Option<v1::Script> = self.perhaps("Scripts/CreateScript", new).await;
        let gone = v1::DeleteScriptRequest { options: options(), script: "burn-in".into() };
        let _: Option<v1::Script> = self.perhaps("Scripts/DeleteScript", gone).await;
        self.idle_machines().await;
    }

    /// Verbs on machines that are Ready.
    async fn idle_machines(&self) {
        let test = v1::TestMachineRequest { options: options(), machine: name(0), ..Default::default() };
        let _: v1::Machine = self.admin("Machines/TestMachine", test).await;
        let _: v1::Machine = self.admin("Machines/AbortMachine", abort(0)).await;
        let over = v1::MachineVerbRequest { options: options(), machine: name(0), comment: "it is a drill".into() };
        let _: v1::Machine = self.admin("Machines/OverrideFailedTestMachine", over).await;
        let live = v1::AddLiveMachineRequest {
            options: options(),
            name: "live".to_owned(),
            architecture: v1::Architecture::Amd64.into(),
            macs: vec!["52:54:00:00:02:01".to_owned()],
            ..Default::default()
        };
        let _: v1::AddLiveMachineResponse = self.admin("Machines/AddLiveMachine", live).await;
        let gone = v1::DeleteMachineRequest { options: options(), machine: "live".to_owned(), ..Default::default() };
        let _: v1::DeleteMachineResponse = self.admin("Machines/DeleteMachine", gone).await;
        let network = prost_types::FieldMask { paths: vec!["network".to_owned()] };
        let configure = v1::ConfigureMachineRequest { options: options(), machine: name(0), ..Default::default() };
        let configure = v1::ConfigureMachineRequest { update_mask: Some(network), ..configure };
        let _: v1::Machine = self.admin("Machines/ConfigureMachine", configure).await;
        let notes = prost_types::FieldMask { paths: vec!["notes".to_owned()] };
        let q = v1::UpdateMachineRequest { options: options(), machine: name(0), ..Default::default() };
        let q = v1::UpdateMachineRequest { update_mask: Some(notes), notes: "row 7".into(), ..q };
        let _: Option<v1::Machine> = self.perhaps("Machines/UpdateMachine", q).await;
        let verb = || v1::MachineVerbRequest { options: options(), machine: name(0), comment: "drill".into() };
        for method in ["LockMachine", "UnlockMachine", "MarkBrokenMachine", "MarkFixedMachine"] {
            let _: Option<v1::Machine> = self.perhaps(&format!("Machines/{method}"), verb()).await;
        }
    }

    /// Two bulk calls, of which the second is cancelled.
    pub(crate) async fn bulk(&self) {
        for (from, to, cancel) in [(2, 6, false), (6, MACHINES, true)] {
            let ask = v1::BulkMachinesRequest {
                options: options(),
                verb: "release".to_owned(),
                machines: (from..to).map(name).collect(),
                max_parallel: 2,
                comment: "moving out".to_owned(),
                ..Default::default()
            };
            let only_tell = Some(MutationOptions { validate_only: true, ..options().unwrap() });
            let foresee = v1::BulkMachinesRequest { options: only_tell, ..ask.clone() }.encode_to_vec();
            let plan = self.until_answered("farrier.v1.Machines/BulkMachines", &self.admin, &foresee).await;
            let plan = v1::BulkMachinesResponse::decode(plan.as_slice()).unwrap().plan.unwrap();
            let ask = v1::BulkMachinesRequest { plan_token: plan.token, expected_count: plan.count, ..ask };
            let made: v1::BulkMachinesResponse = self.admin("Machines/BulkMachines", ask).await;
            if cancel {
                let operation = made.operation.unwrap().id;
                let ask = v1::CancelOperationRequest { options: options(), operation };
                let _: v1::Operation = self.admin("Operations/CancelOperation", ask).await;
            }
        }
    }

    pub(crate) async fn operations_are_over(&self) -> bool {
        let ask = v1::ListOperationsRequest::default().encode_to_vec();
        let list = self.until_answered("farrier.v1.Operations/ListOperations", &self.admin, &ask).await;
        let list = v1::ListOperationsResponse::decode(list.as_slice()).unwrap();
        list.operations.len() == 2 && list.operations.iter().all(|o| o.finished_at.is_some())
    }
}

/// A public key that nobody has the other half of.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f test";

/// A connection that broke; everything else is an answer, and not one that is wanted here.
fn broke(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
        || matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown)
}

fn name(n: u8) -> String {
    format!("m{n}")
}

fn new_machine(n: u8) -> v1::CreateMachineRequest {
    let bmc = v1::BmcCredentials {
        protocol: v1::BmcProtocol::Ipmi.into(),
        address: format!("10.1.0.{}", n + 50),
        username: "root".to_owned(),
        password: "calvin-klein".to_owned(),
        ..Default::default()
    };
    v1::CreateMachineRequest {
        options: options(),
        name: name(n),
        architecture: v1::Architecture::Amd64.into(),
        macs: vec![format!("52:54:00:00:00:{n:02x}")],
        bmc: Some(bmc),
        // One: a map on the wire has no order, and bytes are compared.
        labels: [("row".to_owned(), "7".to_owned())].into(),
        ..Default::default()
    }
}

fn abort(n: u8) -> v1::AbortMachineRequest {
    v1::AbortMachineRequest { options: options(), machine: name(n), comment: "not now".to_owned() }
}

/// Ends all work well, and gives each machine a disk.
pub(crate) async fn commissioned(store: &Store) {
    at_rest(store).await;
    for view in store.machine_list(MachineFilter::default(), None, 1000).await.unwrap().0 {
        assert_eq!(view.machine.state, State::Ready);
        let version = view.machine.version;
        let mut change = Change::of(view.machine);
        let disk = Disk { name: "vda".into(), serial: "disk-1".into(), size_bytes: 4_000_000, ..Disk::default() };
        change.machine.details.hardware = Some(Hardware { disks: vec![disk], ..Hardware::default() });
        store.machine_apply(None, change, version, Extra::default(), |_| Vec::new()).await.unwrap();
    }
}

/// Ends all work well.
pub(crate) async fn at_rest(store: &Store) {
    // A release after a failure leads through commissioning.
    for _ in 0..2 {
        for view in store.machine_list(MachineFilter::default(), None, 1000).await.unwrap().0 {
            if view.machine.state.class() != Class::Working {
                continue;
            }
            let version = view.machine.version;
            let edge = lifecycle::next(view.machine.state, Event::Done).unwrap();
            let now = farrier_common::clock::Clock::System.now();
            let change = Change::of(view.machine).along(edge, "engine", "a test says so", &Deadlines::new(), now);
            store.machine_apply(None, change, version, Extra::default(), |_| Vec::new()).await.unwrap();
        }
    }
}
