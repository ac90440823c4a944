//! `farrier.v1.Bmcs`.

use farrier_proto::{
    convert::severity_to_wire,
    v1::{self, bmcs_server::Bmcs},
};
use tonic::Request;

use super::{
    Api,
    calls::{Answer, BMC, SHORT},
    machines::{
        parse::{bmc_update, events_limit, why},
        render::endpoint,
    },
    words::time_to_wire,
};
use crate::{
    domain::{
        bios::{Attribute, SecureBoot, Settings, Wanted},
        bmc::{BmcEvent, EventLog, Exchange, Rotation},
    },
    store::MachineView,
};

#[tonic::async_trait]
impl Bmcs for Api {
    async fn get_bmc(&self, request: Request<v1::GetBmcRequest>) -> Answer<v1::Bmc> {
        self.read(request, |app, user, q| async move {
            let (view, exchanges) = app.bmc_get(&user, &q.machine).await?;
            Ok(v1::Bmc { exchanges: exchanges.into_iter().map(exchange).collect(), ..bmc(&view) })
        })
        .await
    }

    async fn probe_bmc(&self, request: Request<v1::BmcVerbRequest>) -> Answer<v1::Bmc> {
        self.mutate(("ProbeBmc", BMC), request, bmc, |app, ask, q| async move {
            app.bmc_probe(&ask, &q.machine, &why(&ask, &q.comment)?).await
        })
        .await
    }

    async fn set_bmc(&self, request: Request<v1::SetBmcRequest>) -> Answer<v1::Bmc> {
        self.mutate(("SetBmc", BMC), request, bmc, |app, ask, q| async move {
            let (machine, comment) = (q.machine.clone(), why(&ask, &q.comment)?);
            let (update, password) = bmc_update(q)?;
            app.bmc_set(&ask, &machine, (&update, password.as_ref()), &comment).await
        })
        .await
    }

    async fn rotate_bmc_password(&self, request: Request<v1::BmcVerbRequest>) -> Answer<v1::Bmc> {
        self.mutate(("RotateBmcPassword", SHORT), request, bmc, |app, ask, q| async move {
            app.bmc_rotate(&ask, &q.machine, &why(&ask, &q.comment)?).await
        })
        .await
    }

    async fn reveal_bmc_password(&self, request: Request<v1::BmcVerbRequest>) -> Answer<v1::RevealBmcPasswordResponse> {
        let (user, machine) = (self.user(request.metadata()).await?, request.get_ref().machine.clone());
        let only_asked = request.get_ref().options.as_ref().is_some_and(|o| o.validate_only);
        let account = self
            .mutate(("RevealBmcPassword", SHORT), request, account, |app, ask, q| async move {
                app.bmc_reveal(&ask, &q.machine, &why(&ask, &q.comment)?).await
            })
            .await?
            .into_inner();
        if only_asked {
            return Ok(account.into());
        }
        // Not part of the answer that is kept: a password is nowhere but in the vault.
        let (username, password) = self.app.bmc_password(&user, &machine).await?;
        Ok(v1::RevealBmcPasswordResponse { username, password: password.expose().clone() }.into())
    }

    async fn list_bmc_events(&self, request: Request<v1::ListBmcEventsRequest>) -> Answer<v1::ListBmcEventsResponse> {
        self.query(BMC, request, |app, user, q| async move {
            Ok(event_log(app.bmc_events(&user, &q.machine, events_limit(q.limit)?).await?))
        })
        .await
    }

    async fn get_bios_settings(&self, request: Request<v1::GetBiosSettingsRequest>) -> Answer<v1::BiosSettings> {
        self.query(BMC, request, |app, user, q| async move { Ok(bios(app.bios_get(&user, &q.machine).await?)) }).await
    }

    async fn set_bios_settings(&self, request: Request<v1::SetBiosSettingsRequest>) -> Answer<v1::Bmc> {
        self.mutate(("SetBiosSettings", BMC), request, bmc, |app, ask, q| async move {
            let comment = why(&ask, &q.comment)?;
            let attributes = q.attributes.into_iter().map(|a| (a.name, a.value)).collect();
            app.bios_set(&ask, &q.machine, &Wanted::new(attributes, q.secure_boot)?, &comment).await
        })
        .await
    }

    async fn reset_bmc(&self, request: Request<v1::BmcVerbRequest>) -> Answer<v1::Bmc> {
        self.mutate(("ResetBmc", BMC), request, bmc, |app, ask, q| async move {
            app.bmc_reset(&ask, &q.machine, &why(&ask, &q.comment)?).await
        })
        .await
    }
}

fn bmc(view: &MachineView) -> v1::Bmc {
    let bmc = view.machine.details.bmc.as_ref();
    v1::Bmc {
        machine: view.machine.name.to_string(),
        endpoint: bmc.map(endpoint),
        rotated_at: bmc.and_then(|b| b.rotated_at).map(time_to_wire),
        rotation: bmc.and_then(|b| b.rotation.as_ref()).map(rotation),
        exchanges: Vec::new(),
    }
}

fn event_log(log: EventLog) -> v1::ListBmcEventsResponse {
    let event = |event: BmcEvent| v1::BmcEvent {
        id: event.id,
        at: event.at.map(time_to_wire),
        severity: event.severity.map_or(0, |s| severity_to_wire(s).into()),
        text: event.text,
    };
    v1::ListBmcEventsResponse { events: log.events.into_iter().map(event).collect(), more: log.more, log: log.name }
}

fn bios(settings: Settings) -> v1::BiosSettings {
    let attribute = |Attribute { name, value, pending }| v1::BiosAttribute { name, value, pending };
    let secure_boot = |SecureBoot { enable, enforced, mode }| v1::SecureBoot { enable, enforced, mode };
    v1::BiosSettings {
        attributes: settings.attributes.into_iter().map(attribute).collect(),
        secure_boot: settings.secure_boot.map(secure_boot),
    }
}

fn account(view: &MachineView) -> v1::RevealBmcPasswordResponse {
    let username = view.machine.details.bmc.as_ref().map(|b| b.username.clone()).unwrap_or_default();
    v1::RevealBmcPasswordResponse { username, password: String::new() }
}

fn rotation(rotation: &Rotation) -> v1::BmcRotation {
    v1::BmcRotation {
        wanted_since: Some(time_to_wire(rotation.since)),
        by: rotation.by.clone(),
        tries: rotation.tries,
        trouble: rotation.trouble.clone().unwrap_or_default(),
        next_try_at: Some(time_to_wire(rotation.due)),
    }
}

fn exchange(exchange: Exchange) -> v1::BmcExchange {
    v1::BmcExchange { at: Some(time_to_wire(exchange.at)), text: exchange.text, times: exchange.times }
}
