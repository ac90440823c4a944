//! The services of the canned region.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use farrier_common::secret::sha256_hex;
use farrier_proto::v1::{
    events_server::Events, images_server::Images, machines_server::Machines, operations_server::Operations,
    racks_server::Racks, scripts_server::Scripts, subnets_server::Subnets, tokens_server::Tokens,
    upload_blob_request::Part, users_server::Users, watch_events_response::Update, *,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{Script as Play, Step, machine};

type Answer<T> = Result<Response<T>, Status>;

#[derive(Clone)]
pub(crate) struct Region(pub(crate) Arc<Mutex<Play>>);

impl Region {
    fn script<T>(&self, change: impl FnOnce(&mut Play) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    /// A verb: refused if the script says so, else answered with the machine, which is then in `to`.
    fn verb(&self, options: Option<MutationOptions>, to: MachineState) -> Answer<Machine> {
        self.script(|s| {
            s.request_ids.push(options.unwrap_or_default().request_id);
            if let Some(Some(status)) = s.refusals.pop_front() {
                return Err(status);
            }
            s.machine = machine(to, "");
            Ok(Response::new(s.machine.clone()))
        })
    }

    /// A verb of which the comment counts.
    fn remark(&self, request: MachineVerbRequest, to: MachineState) -> Answer<Machine> {
        self.script(|s| s.comments.push(request.comment));
        self.verb(request.options, to)
    }

    fn absent<T>(&self) -> Answer<T> {
        Err(Status::unimplemented("no test asks for this"))
    }
}

#[tonic::async_trait]
impl Users for Region {
    async fn who_am_i(&self, _: Request<WhoAmIRequest>) -> Answer<User> {
        Ok(Response::new(User { name: "ann".to_owned(), role: Role::Admin.into(), ..User::default() }))
    }
    async fn list_users(&self, _: Request<ListUsersRequest>) -> Answer<ListUsersResponse> {
        self.absent()
    }
    async fn create_user(&self, _: Request<CreateUserRequest>) -> Answer<User> {
        self.absent()
    }
    async fn update_user(&self, _: Request<UpdateUserRequest>) -> Answer<User> {
        self.absent()
    }
    async fn list_ssh_keys(&self, _: Request<ListSshKeysRequest>) -> Answer<ListSshKeysResponse> {
        self.absent()
    }
    async fn add_ssh_key(&self, _: Request<AddSshKeyRequest>) -> Answer<SshKey> {
        self.absent()
    }
    async fn delete_ssh_key(&self, _: Request<DeleteSshKeyRequest>) -> Answer<SshKey> {
        self.absent()
    }
}

#[tonic::async_trait]
impl Scripts for Region {
    async fn get_script(&self, request: Request<GetScriptRequest>) -> Answer<Script> {
        let (name, content) = (request.into_inner().script, "#!/bin/sh\n".to_owned());
        Ok(Response::new(Script { name, content, kind: ScriptKind::Test.into(), ..Script::default() }))
    }
    async fn list_scripts(&self, _: Request<ListScriptsRequest>) -> Answer<ListScriptsResponse> {
        Ok(Response::new(ListScriptsResponse::default()))
    }
    async fn create_script(&self, request: Request<CreateScriptRequest>) -> Answer<Script> {
        let q = request.into_inner();
        self.script(|s| s.new_script = Some(q.clone()));
        Ok(Response::new(Script { name: q.name, kind: q.kind, ..Script::default() }))
    }
    async fn delete_script(&self, request: Request<DeleteScriptRequest>) -> Answer<Script> {
        let name = request.into_inner().script;
        Ok(Response::new(Script { name, kind: ScriptKind::Test.into(), ..Script::default() }))
    }
}

#[tonic::async_trait]
impl Tokens for Region {
    async fn list_tokens(&self, _: Request<ListTokensRequest>) -> Answer<ListTokensResponse> {
        let token = Token { id: "0199-t".to_owned(), user: "ann".to_owned(), ..Token::default() };
        Ok(Response::new(ListTokensResponse { tokens: vec![token], next_page_token: String::new() }))
    }
    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Answer<CreateTokenResponse> {
        let request = request.into_inner();
        let token = Token { id: "0199-t".to_owned(), user: request.user, ..Token::default() };
        Ok(Response::new(CreateTokenResponse { token: Some(token), secret: "s3cret".to_owned() }))
    }
    async fn revoke_token(&self, request: Request<RevokeTokenRequest>) -> Answer<Token> {
        Ok(Response::new(Token { id: request.into_inner().token, revoked: true, ..Token::default() }))
    }
}

#[tonic::async_trait]
impl Racks for Region {
    async fn get_rack(&self, request: Request<GetRackRequest>) -> Answer<Rack> {
        Err(Status::not_found(format!("no rack is named {}", request.into_inner().rack)))
    }
    async fn list_racks(&self, _: Request<ListRacksRequest>) -> Answer<ListRacksResponse> {
        Ok(Response::new(ListRacksResponse::default()))
    }
    async fn create_join_token(&self, _: Request<CreateJoinTokenRequest>) -> Answer<CreateJoinTokenResponse> {
        Ok(Response::new(CreateJoinTokenResponse { join_token: "farrier-join:abc".to_owned(), expires_at: None }))
    }
}

#[tonic::async_trait]
impl Subnets for Region {
    async fn get_subnet(&self, _: Request<GetSubnetRequest>) -> Answer<Subnet> {
        self.absent()
    }
    async fn list_subnets(&self, _: Request<ListSubnetsRequest>) -> Answer<ListSubnetsResponse> {
        Ok(Response::new(ListSubnetsResponse::default()))
    }
    async fn create_subnet(&self, request: Request<CreateSubnetRequest>) -> Answer<Subnet> {
        let request = request.into_inner();
        Ok(Response::new(Subnet { name: request.name, spec: request.spec, ..Subnet::default() }))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as streams want it")]
fn told(update: Update) -> Result<WatchEventsResponse, Status> {
    Ok(WatchEventsResponse { update: Some(update) })
}

#[tonic::async_trait]
impl Events for Region {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

    async fn list_events(&self, _: Request<ListEventsRequest>) -> Answer<ListEventsResponse> {
        self.absent()
    }

    async fn watch_events(&self, request: Request<WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        let steps = self.script(|s| {
            s.watched.push(request.into_inner());
            s.streams.pop_front()
        });
        let (sender, receiver) = mpsc::channel(1);
        let region = self.clone();
        tokio::spawn(async move {
            for step in steps.into_iter().flatten() {
                match step {
                    Step::Send(event) => drop(sender.send(told(Update::Event(event))).await),
                    Step::Bookmark(revision) => {
                        drop(sender.send(told(Update::Bookmark(Bookmark { revision, at: None }))).await);
                    }
                    Step::Resync(reason) => {
                        let resync = Resync { reason: reason.to_owned(), oldest_revision: 1 };
                        return drop(sender.send(told(Update::Resync(resync))).await);
                    }
                    Step::Become(state, reason) => region.script(|s| s.machine = machine(state, reason)),
                    Step::Pause(time) => tokio::time::sleep(time).await,
                    Step::Break(status) => return drop(sender.send(Err(status)).await),
                }
            }
            sender.closed().await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

#[tonic::async_trait]
impl Images for Region {
    async fn get_image(&self, _: Request<GetImageRequest>) -> Answer<Image> {
        self.absent()
    }
    async fn list_images(&self, _: Request<ListImagesRequest>) -> Answer<ListImagesResponse> {
        self.absent()
    }

    async fn upload_blob(&self, request: Request<Streaming<UploadBlobRequest>>) -> Answer<UploadBlobResponse> {
        let mut parts = request.into_inner();
        let Some(Ok(UploadBlobRequest { part: Some(Part::Header(header)) })) = parts.next().await else {
            return Err(Status::invalid_argument("the header comes first"));
        };
        let done = UploadBlobResponse { sha256: header.sha256.clone(), size_bytes: header.size_bytes };
        if self.script(|s| s.blobs.iter().any(|b| sha256_hex(b) == header.sha256)) {
            return Ok(Response::new(done));
        }
        let mut content = Vec::new();
        while let Some(part) = parts.next().await {
            let Some(Part::Chunk(chunk)) = part?.part else { return Err(Status::invalid_argument("not a chunk")) };
            assert!(chunk.len() <= 1 << 20, "the contract's limit");
            content.extend(chunk);
            if let Some(Some(status)) = self.script(|s| s.refusals.pop_front()) {
                return Err(status);
            }
        }
        if sha256_hex(&content) != header.sha256 || content.len() as u64 != header.size_bytes {
            return Err(Status::data_loss("the content does not fit its header"));
        }
        self.script(|s| {
            s.uploaded_bytes += content.len();
            s.blobs.push(content);
        });
        Ok(Response::new(done))
    }

    async fn create_image(&self, request: Request<CreateImageRequest>) -> Answer<Image> {
        let request = request.into_inner();
        let (name, kind, blobs) = (request.name.clone(), request.kind, request.blobs.clone());
        self.script(|s| s.image = Some(request));
        Ok(Response::new(Image { name, kind, blobs, ..Image::default() }))
    }
}

#[tonic::async_trait]
impl Machines for Region {
    async fn get_machine(&self, _: Request<GetMachineRequest>) -> Answer<Machine> {
        Ok(Response::new(self.script(|s| s.machine.clone())))
    }

    async fn list_machines(&self, request: Request<ListMachinesRequest>) -> Answer<ListMachinesResponse> {
        let request = request.into_inner();
        self.script(|s| s.listed.push(request.clone()));
        let token = request.page.unwrap_or_default().page_token;
        let index = if token.is_empty() { 0 } else { token.parse::<usize>().unwrap() };
        let (machines, pages) = self.script(|s| (s.pages.get(index).cloned().unwrap_or_default(), s.pages.len()));
        let next_page_token = if index + 1 < pages { (index + 1).to_string() } else { String::new() };
        let revision = 7 + i64::try_from(index).unwrap();
        Ok(Response::new(ListMachinesResponse { machines, next_page_token, revision }))
    }

    async fn create_machine(&self, request: Request<CreateMachineRequest>) -> Answer<Machine> {
        let request = request.into_inner();
        self.script(|s| s.create = Some(request.clone()));
        self.verb(request.options, MachineState::Commissioning)
    }
    async fn commission_machine(&self, request: Request<CommissionMachineRequest>) -> Answer<Machine> {
        let request = request.into_inner();
        self.script(|s| s.commission = Some(request.clone()));
        self.verb(request.options, MachineState::Commissioning)
    }
    async fn allocate_machine(&self, request: Request<AllocateMachineRequest>) -> Answer<Machine> {
        let request = request.into_inner();
        self.script(|s| s.allocate = Some(request.clone()));
        self.verb(request.options, MachineState::Allocated)
    }
    async fn deploy_machine(&self, request: Request<DeployMachineRequest>) -> Answer<Machine> {
        let request = request.into_inner();
        self.script(|s| s.deploy = Some(request.clone()));
        self.verb(request.options, MachineState::Deploying)
    }
    async fn release_machine(&self, request: Request<ReleaseMachineRequest>) -> Answer<Machine> {
        let answer = self.verb(request.into_inner().options, MachineState::Releasing);
        if self.script(|s| s.hold_answers.checked_sub(1).map(|left| s.hold_answers = left)).is_some() {
            std::future::pending::<()>().await;
        }
        answer
    }
    async fn abort_machine(&self, request: Request<AbortMachineRequest>) -> Answer<Machine> {
        self.verb(request.into_inner().options, MachineState::FailedDeployment)
    }
    async fn power_machine(&self, _: Request<PowerMachineRequest>) -> Answer<Machine> {
        let mut machine = machine(MachineState::Ready, "");
        machine.status.as_mut().unwrap().power = PowerState::On.into();
        Ok(Response::new(machine))
    }
    async fn tell_power(&self, request: Request<TellPowerRequest>) -> Answer<Machine> {
        let request = request.into_inner();
        self.script(|s| s.told_power = Some(request.clone()));
        self.verb(request.options, MachineState::Commissioning)
    }
    async fn explain_machine(&self, _: Request<ExplainMachineRequest>) -> Answer<Explanation> {
        self.absent()
    }
    async fn add_live_machine(&self, _: Request<AddLiveMachineRequest>) -> Answer<AddLiveMachineResponse> {
        self.absent()
    }
    async fn update_machine(&self, request: Request<UpdateMachineRequest>) -> Answer<Machine> {
        let request = request.into_inner();
        self.script(|s| s.update = Some(request.clone()));
        self.verb(request.options, MachineState::Ready)
    }
    async fn test_machine(&self, request: Request<TestMachineRequest>) -> Answer<Machine> {
        let request = request.into_inner();
        self.script(|s| s.test = Some(request.clone()));
        self.verb(request.options, MachineState::Testing)
    }
    async fn allocate_machines(&self, request: Request<AllocateMachinesRequest>) -> Answer<AllocateMachinesResponse> {
        let request = request.into_inner();
        let machine = self.verb(request.options.clone(), MachineState::Allocated)?.into_inner();
        self.script(|s| s.batch = Some(request));
        let none = AllocationResult { refusal: "1 ready: 1 lacks tag gpu".to_owned(), ..AllocationResult::default() };
        let results = vec![AllocationResult { machine: Some(machine), ..AllocationResult::default() }, none];
        Ok(Response::new(AllocateMachinesResponse { results }))
    }
    async fn rescue_machine(&self, _: Request<RescueMachineRequest>) -> Answer<Machine> {
        self.absent()
    }
    async fn exit_rescue_machine(&self, _: Request<MachineVerbRequest>) -> Answer<Machine> {
        self.absent()
    }
    async fn mark_broken_machine(&self, request: Request<MachineVerbRequest>) -> Answer<Machine> {
        self.remark(request.into_inner(), MachineState::Broken)
    }
    async fn mark_fixed_machine(&self, request: Request<MachineVerbRequest>) -> Answer<Machine> {
        self.remark(request.into_inner(), MachineState::Commissioning)
    }
    async fn override_failed_test_machine(&self, request: Request<MachineVerbRequest>) -> Answer<Machine> {
        self.remark(request.into_inner(), MachineState::Ready)
    }
    async fn lock_machine(&self, request: Request<MachineVerbRequest>) -> Answer<Machine> {
        self.remark(request.into_inner(), MachineState::Ready)
    }
    async fn unlock_machine(&self, request: Request<MachineVerbRequest>) -> Answer<Machine> {
        self.remark(request.into_inner(), MachineState::Ready)
    }
    async fn configure_machine(&self, request: Request<ConfigureMachineRequest>) -> Answer<Machine> {
        let request = request.into_inner();
        self.script(|s| s.configure = Some(request.clone()));
        self.verb(request.options, MachineState::Ready)
    }
    async fn clone_machine(&self, request: Request<CloneMachineRequest>) -> Answer<CloneMachineResponse> {
        let request = request.into_inner();
        let results = self.script(|s| {
            s.clone = Some(request);
            s.cloned.clone()
        });
        Ok(Response::new(CloneMachineResponse { results }))
    }
    async fn delete_machine(&self, _: Request<DeleteMachineRequest>) -> Answer<DeleteMachineResponse> {
        self.absent()
    }
    async fn bulk_machines(&self, request: Request<BulkMachinesRequest>) -> Answer<BulkMachinesResponse> {
        let request = request.into_inner();
        self.script(|s| {
            s.bulk.push(request.clone());
            let only_tell = request.options.is_some_and(|o| o.validate_only);
            let plan = only_tell.then(|| s.plan.clone());
            let operation = if only_tell { None } else { s.operations.pop_front() };
            Ok(Response::new(BulkMachinesResponse { plan, operation }))
        })
    }
    async fn list_script_results(&self, _: Request<ListScriptResultsRequest>) -> Answer<ListScriptResultsResponse> {
        let one = |script: &str, output: &str| ScriptResult {
            script: script.to_owned(),
            kind: "test".to_owned(),
            status: "passed".to_owned(),
            output: output.to_owned(),
            ..ScriptResult::default()
        };
        let results = vec![one("memory", "all\nfine\n"), one("cpu", "warm\n")];
        Ok(Response::new(ListScriptResultsResponse { results, next_page_token: String::new() }))
    }
}

#[tonic::async_trait]
impl Operations for Region {
    async fn get_operation(&self, _: Request<GetOperationRequest>) -> Answer<Operation> {
        Ok(Response::new(self.script(|s| s.operations.pop_front().unwrap_or_else(|| s.operation.clone()))))
    }
    async fn list_operations(&self, _: Request<ListOperationsRequest>) -> Answer<ListOperationsResponse> {
        let operations = vec![self.script(|s| s.operation.clone())];
        Ok(Response::new(ListOperationsResponse { operations, next_page_token: String::new() }))
    }
    async fn cancel_operation(&self, _: Request<CancelOperationRequest>) -> Answer<Operation> {
        Ok(Response::new(self.script(|s| s.operation.clone())))
    }
}
