//! `RackService`: what the region tells this rack to do. Parse, call, render; the work is in `boot`, `blobs` and `bmc`.

mod convert;
mod events;
mod server;
mod settings;
mod status;

use std::{future::Future, time::Duration};

use farrier_common::{id::RackId, secret::Secret};
use farrier_proto::{
    convert::power_to_wire,
    rack::{self as proto, rack_service_server::RackService, sync_intents_request::Part},
};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

pub use self::server::{ServeError, serve};
use self::{
    convert::{Checked as _, Invalid, SnapshotParts, ToProbe},
    status::{blob_status, bmc_status, put_status, storage_status},
};
use crate::{
    blobs::Blobs,
    bmc::{BmcError, Bmcs},
    boot::state::BootState,
    crash::{Crash, Point, Work},
};

/// Silence after which a snapshot under way is given up.
const SNAPSHOT_SILENCE: Duration = Duration::from_secs(30);

/// The service.
#[derive(Clone, Debug)]
pub struct Service {
    rack_id: RackId,
    boot: BootState,
    blobs: Blobs,
    bmcs: Bmcs,
    work: TaskTracker,
    crash: Crash,
}

impl Service {
    /// The service of rack `rack_id`.
    #[must_use]
    pub fn new(rack_id: RackId, boot: BootState, blobs: Blobs, bmcs: Bmcs) -> Self {
        Self { rack_id, boot, blobs, bmcs, work: TaskTracker::new(), crash: Crash::default() }
    }

    /// With a place at which tests let the rack die; for what it hands down its BMCs' work too.
    #[must_use]
    pub fn with_crash(self, crash: Crash) -> Self {
        Self { bmcs: self.bmcs.with_crash(crash.clone()), crash, ..self }
    }

    /// Waits until no work is under way. Callers that left have not stopped theirs.
    pub async fn finish(&self) {
        self.work.close();
        self.work.wait().await;
    }

    /// Runs BMC work to its end even if the caller leaves: half an account is worse than one that nobody waited for.
    async fn on_bmc<T: Send + 'static>(
        &self,
        kind: Work,
        work: impl Future<Output = Result<T, BmcError>> + Send + 'static,
    ) -> Result<T, Status> {
        self.crash.at(Point::CommandReceived, kind);
        let crash = self.crash.clone();
        let whole = async move {
            let outcome = work.await;
            if outcome.is_ok() {
                crash.at(Point::CommandDone, kind);
            }
            outcome
        };
        match self.work.spawn(whole).await {
            Ok(outcome) => outcome.map_err(|error| bmc_status(&error)),
            Err(error) => Err(Status::internal(format!("the work on the BMC died: {error}"))),
        }
    }

    /// Runs work that waits for the disk where it may, also to its end.
    async fn on_disk<T: Send + 'static, E: Send + 'static>(
        &self,
        kind: Work,
        work: impl FnOnce(&BootState) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, Status> {
        self.crash.at(Point::CommandReceived, kind);
        let (boot, crash) = (self.boot.clone(), self.crash.clone());
        let whole = move || {
            let outcome = work(&boot);
            if outcome.is_ok() {
                crash.at(Point::CommandDone, kind);
            }
            outcome
        };
        let done = self.work.spawn_blocking(whole).await;
        done.map_err(|error| Status::internal(format!("storing died: {error}")))
    }
}

#[tonic::async_trait]
impl RackService for Service {
    async fn get_status(
        &self,
        _request: Request<proto::GetStatusRequest>,
    ) -> Result<Response<proto::GetStatusResponse>, Status> {
        Ok(Response::new(proto::GetStatusResponse {
            rack_id: self.rack_id.to_string(),
            software_version: crate::VERSION.to_owned(),
            snapshot_id: self.boot.snapshot_id().unwrap_or_default(),
            intents: self.boot.len() as u64,
        }))
    }

    async fn sync_intents(
        &self,
        request: Request<Streaming<proto::SyncIntentsRequest>>,
    ) -> Result<Response<proto::SyncIntentsResponse>, Status> {
        let snapshot = receive(request.into_inner()).await?.finish()?;
        let (id, intents) = (snapshot.id.clone(), snapshot.intents.len() as u64);
        self.on_disk(Work::SyncIntents, move |boot| boot.replace(snapshot))
            .await?
            .map_err(|error| storage_status(&error))?;
        tracing::info!(snapshot = id, intents, "intents synchronised");
        Ok(Response::new(proto::SyncIntentsResponse { intents }))
    }

    async fn put_intent(
        &self,
        request: Request<proto::PutIntentRequest>,
    ) -> Result<Response<proto::PutIntentResponse>, Status> {
        let request = request.into_inner();
        let intent = request.intent.checked("intent")?;
        let (machine, offered) = (intent.machine_id, intent.version);
        let put = self.on_disk(Work::PutIntent, move |boot| boot.put(&request.snapshot_id, intent)).await?;
        let version = put.map_err(|error| put_status(&error))?;
        tracing::info!(%machine, offered, held = version, "intent put");
        Ok(Response::new(proto::PutIntentResponse { version }))
    }

    async fn remove_intent(
        &self,
        request: Request<proto::RemoveIntentRequest>,
    ) -> Result<Response<proto::RemoveIntentResponse>, Status> {
        let machine = convert::id(&request.into_inner().machine_id, "machine_id")?;
        self.on_disk(Work::RemoveIntent, move |boot| boot.remove(machine))
            .await?
            .map_err(|error| storage_status(&error))?;
        Ok(Response::new(proto::RemoveIntentResponse {}))
    }

    async fn prefetch_blob(
        &self,
        request: Request<proto::PrefetchBlobRequest>,
    ) -> Result<Response<proto::PrefetchBlobResponse>, Status> {
        let blob = request.into_inner().blob.checked("blob")?;
        self.crash.at(Point::CommandReceived, Work::PrefetchBlob);
        self.blobs.ensure(&blob).await.map_err(|error| blob_status(&error))?;
        self.crash.at(Point::CommandDone, Work::PrefetchBlob);
        Ok(Response::new(proto::PrefetchBlobResponse {}))
    }

    async fn probe_bmc(
        &self,
        request: Request<proto::ProbeBmcRequest>,
    ) -> Result<Response<proto::ProbeBmcResponse>, Status> {
        let bmc = request.into_inner().bmc.ok_or_else(|| Invalid::new("bmc", "is required"))?;
        let bmc = convert::to_probe(bmc, "bmc")?;
        let bmcs = self.bmcs.clone();
        let probing = async move {
            match bmc {
                ToProbe::Known(login) => bmcs.probe(&login).await.map(convert::probe),
                ToProbe::Stranger(stranger) => bmcs.discover(&stranger).await.map(convert::discovery),
            }
        };
        Ok(Response::new(self.on_bmc(Work::ProbeBmc, probing).await?))
    }

    async fn get_power(
        &self,
        request: Request<proto::GetPowerRequest>,
    ) -> Result<Response<proto::GetPowerResponse>, Status> {
        let request = request.into_inner();
        let class = convert::urgency(request.urgency());
        let login = request.bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        let power = self.on_bmc(Work::GetPower, async move { bmcs.power_for(&login, class).await }).await?;
        Ok(Response::new(proto::GetPowerResponse { power: power_to_wire(power).into() }))
    }

    async fn set_power(
        &self,
        request: Request<proto::SetPowerRequest>,
    ) -> Result<Response<proto::SetPowerResponse>, Status> {
        let request = request.into_inner();
        let wanted = convert::power(request.power)?;
        let login = request.bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        self.on_bmc(Work::SetPower, async move { bmcs.set_power(&login, wanted).await }).await?;
        Ok(Response::new(proto::SetPowerResponse { power: power_to_wire(wanted).into() }))
    }

    async fn cycle_power(
        &self,
        request: Request<proto::CyclePowerRequest>,
    ) -> Result<Response<proto::CyclePowerResponse>, Status> {
        let login = request.into_inner().bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        self.on_bmc(Work::CyclePower, async move { bmcs.cycle_power(&login).await }).await?;
        Ok(Response::new(proto::CyclePowerResponse {}))
    }

    async fn set_boot_device(
        &self,
        request: Request<proto::SetBootDeviceRequest>,
    ) -> Result<Response<proto::SetBootDeviceResponse>, Status> {
        let request = request.into_inner();
        let device = convert::boot_device(request.device)?;
        let login = request.bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        self.on_bmc(Work::SetBootDevice, async move { bmcs.set_boot_device(&login, device, request.uefi).await })
            .await?;
        Ok(Response::new(proto::SetBootDeviceResponse {}))
    }

    async fn ensure_bmc_account(
        &self,
        request: Request<proto::EnsureBmcAccountRequest>,
    ) -> Result<Response<proto::EnsureBmcAccountResponse>, Status> {
        let request = request.into_inner();
        let account = convert::account(request.username, request.password)?.taking_over(request.take_over);
        let login = request.bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        let ensured =
            self.on_bmc(Work::EnsureBmcAccount, async move { bmcs.ensure_account(&login, &account).await }).await?;
        let slot = ensured.slot.into();
        Ok(Response::new(proto::EnsureBmcAccountResponse { slot, created: ensured.created }))
    }

    async fn remove_bmc_account(
        &self,
        request: Request<proto::RemoveBmcAccountRequest>,
    ) -> Result<Response<proto::RemoveBmcAccountResponse>, Status> {
        let request = request.into_inner();
        if request.username.is_empty() {
            return Err(Invalid::new("username", "is required").into());
        }
        let login = request.bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        let removing = async move { bmcs.remove_account(&login, &request.username).await };
        let removed = self.on_bmc(Work::RemoveBmcAccount, removing).await?;
        Ok(Response::new(proto::RemoveBmcAccountResponse { removed }))
    }

    async fn change_bmc_password(
        &self,
        request: Request<proto::ChangeBmcPasswordRequest>,
    ) -> Result<Response<proto::ChangeBmcPasswordResponse>, Status> {
        let request = request.into_inner();
        let login = request.bmc.checked("bmc")?;
        // Name and password together are what an account is checked for.
        let password = Secret::from(request.new_password);
        convert::account(login.username.clone(), password.expose().clone())?;
        let bmcs = self.bmcs.clone();
        let changing = async move { bmcs.change_password(&login, &password).await };
        let changed = self.on_bmc(Work::ChangeBmcPassword, changing).await?;
        Ok(Response::new(proto::ChangeBmcPasswordResponse { changed }))
    }

    async fn get_bmc_events(
        &self,
        request: Request<proto::GetBmcEventsRequest>,
    ) -> Result<Response<proto::GetBmcEventsResponse>, Status> {
        let request = request.into_inner();
        let limit = events::limit(request.limit)?;
        let login = request.bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        let log = self.on_bmc(Work::GetBmcEvents, async move { bmcs.events(&login, limit).await }).await?;
        Ok(Response::new(events::response(log)))
    }

    async fn get_bios_settings(
        &self,
        request: Request<proto::GetBiosSettingsRequest>,
    ) -> Result<Response<proto::GetBiosSettingsResponse>, Status> {
        let login = request.into_inner().bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        let read = self.on_bmc(Work::GetBiosSettings, async move { bmcs.settings(&login).await }).await?;
        Ok(Response::new(settings::response(read)))
    }

    async fn set_bios_settings(
        &self,
        request: Request<proto::SetBiosSettingsRequest>,
    ) -> Result<Response<proto::SetBiosSettingsResponse>, Status> {
        let request = request.into_inner();
        let wanted = settings::wanted(request.attributes, request.secure_boot);
        let login = request.bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        self.on_bmc(Work::SetBiosSettings, async move { bmcs.set_settings(&login, &wanted).await }).await?;
        Ok(Response::new(proto::SetBiosSettingsResponse {}))
    }

    async fn reset_bmc(
        &self,
        request: Request<proto::ResetBmcRequest>,
    ) -> Result<Response<proto::ResetBmcResponse>, Status> {
        let login = request.into_inner().bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        self.on_bmc(Work::ResetBmc, async move { bmcs.reset(&login).await }).await?;
        Ok(Response::new(proto::ResetBmcResponse {}))
    }

    async fn soft_off(
        &self,
        request: Request<proto::SoftOffRequest>,
    ) -> Result<Response<proto::SoftOffResponse>, Status> {
        let login = request.into_inner().bmc.checked("bmc")?;
        let bmcs = self.bmcs.clone();
        self.on_bmc(Work::SoftOff, async move { bmcs.soft_off(&login).await }).await?;
        Ok(Response::new(proto::SoftOffResponse {}))
    }
}

/// Collects a snapshot: the header, then the intents.
async fn receive(mut stream: Streaming<proto::SyncIntentsRequest>) -> Result<SnapshotParts, Status> {
    let mut parts = None::<SnapshotParts>;
    loop {
        let silent = |_| Status::deadline_exceeded(format!("the snapshot was silent for {SNAPSHOT_SILENCE:?}"));
        let Some(message) = timeout(SNAPSHOT_SILENCE, stream.message()).await.map_err(silent)?? else { break };
        match (message.part, &mut parts) {
            (Some(Part::Header(header)), None) => parts = Some(SnapshotParts::new(header)?),
            (Some(Part::Header(_)), Some(_)) => return Err(Invalid::new("header", "comes twice").into()),
            (Some(Part::Intent(_)), None) => return Err(Invalid::new("header", "must come first").into()),
            (Some(Part::Intent(intent)), Some(parts)) => parts.add(intent)?,
            (None, _) => return Err(Invalid::new("part", "must be header or intent").into()),
        }
    }
    parts.ok_or_else(|| Invalid::new("header", "is missing").into())
}
