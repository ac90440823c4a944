//! `farrier.v1.Machines`.

mod allocate;
mod layouts;
pub(super) mod parse;
pub(super) mod render;

use farrier_proto::v1::{self, machines_server::Machines};
use tonic::Request;

use super::{
    Api,
    calls::{Answer, BMC, SHORT},
    parse::{next_token, page},
    words,
};
use crate::{
    app::machines::Wish,
    domain::{Error, permissions},
};

#[tonic::async_trait]
impl Machines for Api {
    async fn get_machine(&self, request: Request<v1::GetMachineRequest>) -> Answer<v1::Machine> {
        self.read(request, |app, user, q| async move {
            let whole = parse::whole(q.view, true)?;
            let found = app.machine_get(&user, &q.machine).await?;
            if !whole {
                return Ok(render::brief(&found));
            }
            Ok(render::with_runs(&found, &app.store.script_latest(found.machine.id).await?))
        })
        .await
    }

    async fn list_machines(&self, request: Request<v1::ListMachinesRequest>) -> Answer<v1::ListMachinesResponse> {
        self.read(request, |app, user, q| async move {
            let states = q.states.iter().map(|s| words::state_from_wire("states", *s)).collect::<Result<_, _>>()?;
            let whole = parse::whole(q.view, false)?;
            let wish = Wish { states, filter: q.filter, order_by: q.order_by, whole };
            let (listed, revision) = app.machine_list(&user, &wish, &page(q.page)?).await?;
            let next_page_token = next_token(&listed);
            let render = if whole { render::machine } else { render::brief };
            Ok(v1::ListMachinesResponse {
                machines: listed.items.iter().map(render).collect(),
                next_page_token,
                revision,
            })
        })
        .await
    }

    async fn create_machine(&self, request: Request<v1::CreateMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("CreateMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.machine_create(&ask, &parse::new_machine(q)?).await
        })
        .await
    }

    async fn commission_machine(&self, request: Request<v1::CommissionMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("CommissionMachine", SHORT), request, render::machine, |app, ask, q| async move {
            let way = parse::way(q.bmc, q.in_band, q.manual)?;
            app.commission(&ask, &q.machine, way, &parse::chosen(q.commission)).await
        })
        .await
    }

    async fn allocate_machine(&self, request: Request<v1::AllocateMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("AllocateMachine", SHORT), request, render::machine, |app, ask, q| async move {
            let given = allocate::constraints("constraints", q.constraints)?;
            app.allocate(&ask, &q.machine, given, &allocate::terms(&q.project, q.lease_seconds)).await
        })
        .await
    }

    async fn deploy_machine(&self, request: Request<v1::DeployMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("DeployMachine", SHORT), request, render::machine, |app, ask, q| async move {
            let machine = q.machine.clone();
            app.deploy(&ask, &machine, &parse::wanted(q)?).await
        })
        .await
    }

    async fn release_machine(&self, request: Request<v1::ReleaseMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("ReleaseMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.release(&ask, &q.machine, q.skip_erase, &parse::comment(&q.comment)?).await
        })
        .await
    }

    async fn abort_machine(&self, request: Request<v1::AbortMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("AbortMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.abort(&ask, &q.machine, &parse::comment(&q.comment)?).await
        })
        .await
    }

    async fn power_machine(&self, request: Request<v1::PowerMachineRequest>) -> Answer<v1::Machine> {
        let action = match parse::power(request.get_ref().action) {
            Ok(action) => action,
            Err(unfit) => {
                // Strangers are not told what a request should look like.
                permissions::gate(&self.user(request.metadata()).await?, "PowerMachine")?;
                return Err(unfit.into());
            }
        };
        match action {
            parse::Power::Query => {
                self.query(BMC, request, |app, user, q| async move {
                    Ok(render::machine(&app.power_query(&user, &q.machine).await?))
                })
                .await
            }
            parse::Power::Change(action) => {
                self.mutate(("PowerMachine", BMC), request, render::machine, move |app, ask, q| async move {
                    app.power(&ask, &q.machine, action).await
                })
                .await
            }
        }
    }

    async fn tell_power(&self, request: Request<v1::TellPowerRequest>) -> Answer<v1::Machine> {
        self.mutate(("TellPower", SHORT), request, render::machine, |app, ask, q| async move {
            let comment = parse::comment(&q.comment)?;
            app.power_tell(&ask, &q.machine, parse::told_power(q.power)?, &comment).await
        })
        .await
    }

    async fn explain_machine(&self, request: Request<v1::ExplainMachineRequest>) -> Answer<v1::Explanation> {
        self.read(request, |app, user, q| async move {
            let size = parse::timeline_size(q.timeline_size)?;
            Ok(render::explanation(app.explain(&user, &q.machine, size).await?))
        })
        .await
    }

    async fn add_live_machine(
        &self,
        request: Request<v1::AddLiveMachineRequest>,
    ) -> Answer<v1::AddLiveMachineResponse> {
        let added = self
            .mutate(("AddLiveMachine", SHORT), request, render::live, |app, ask, q| async move {
                app.machine_add_live(&ask, &parse::new_live(q)?).await
            })
            .await?
            .into_inner();
        // The script is not kept with the answer: it holds a token, which follows from the machine's id.
        let machine = added.machine.clone().unwrap_or_default();
        let id = machine.id.parse().map_err(|e| Error::Internal(format!("a machine's id: {e}")))?;
        let rack = machine.status.unwrap_or_default().rack;
        let script = self.app.live_script(id, &rack).await?.expose().clone();
        Ok(v1::AddLiveMachineResponse { script, ..added }.into())
    }

    async fn update_machine(&self, request: Request<v1::UpdateMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("UpdateMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.machine_update(&ask, &q.machine, parse::wishes(&q)?).await
        })
        .await
    }

    async fn test_machine(&self, request: Request<v1::TestMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("TestMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.test(&ask, &q.machine, &q.tests, &parse::comment(&q.comment)?).await
        })
        .await
    }

    async fn allocate_machines(
        &self,
        request: Request<v1::AllocateMachinesRequest>,
    ) -> Answer<v1::AllocateMachinesResponse> {
        self.mutate(("AllocateMachines", SHORT), request, allocate::results, |app, ask, q| async move {
            let terms = allocate::terms(&q.project, q.lease_seconds);
            let (items, all) = allocate::batch(q)?;
            app.allocate_many(&ask, items, all, &terms).await
        })
        .await
    }

    async fn rescue_machine(&self, request: Request<v1::RescueMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("RescueMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.rescue(&ask, &q.machine, &q.ssh_keys, &parse::comment(&q.comment)?).await
        })
        .await
    }

    async fn exit_rescue_machine(&self, request: Request<v1::MachineVerbRequest>) -> Answer<v1::Machine> {
        self.mutate(("ExitRescueMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.exit_rescue(&ask, &q.machine, &parse::comment(&q.comment)?).await
        })
        .await
    }

    async fn mark_broken_machine(&self, request: Request<v1::MachineVerbRequest>) -> Answer<v1::Machine> {
        self.mutate(("MarkBrokenMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.mark_broken(&ask, &q.machine, &parse::why(&ask, &q.comment)?).await
        })
        .await
    }

    async fn mark_fixed_machine(&self, request: Request<v1::MachineVerbRequest>) -> Answer<v1::Machine> {
        self.mutate(("MarkFixedMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.mark_fixed(&ask, &q.machine, &parse::why(&ask, &q.comment)?).await
        })
        .await
    }

    async fn override_failed_test_machine(&self, request: Request<v1::MachineVerbRequest>) -> Answer<v1::Machine> {
        self.mutate(("OverrideFailedTestMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.override_failed_test(&ask, &q.machine, &parse::why(&ask, &q.comment)?).await
        })
        .await
    }

    async fn lock_machine(&self, request: Request<v1::MachineVerbRequest>) -> Answer<v1::Machine> {
        self.mutate(("LockMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.lock(&ask, &q.machine, &parse::why(&ask, &q.comment)?).await
        })
        .await
    }

    async fn unlock_machine(&self, request: Request<v1::MachineVerbRequest>) -> Answer<v1::Machine> {
        self.mutate(("UnlockMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.unlock(&ask, &q.machine, &parse::why(&ask, &q.comment)?).await
        })
        .await
    }

    async fn configure_machine(&self, request: Request<v1::ConfigureMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("ConfigureMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.configure(&ask, &q.machine.clone(), &layouts::declared(q)?).await
        })
        .await
    }

    async fn clone_machine(&self, request: Request<v1::CloneMachineRequest>) -> Answer<v1::CloneMachineResponse> {
        self.mutate(("CloneMachine", SHORT), request, layouts::cloned, |app, ask, q| async move {
            app.clone_layouts(&ask, &layouts::copying(q)).await
        })
        .await
    }

    async fn delete_machine(&self, request: Request<v1::DeleteMachineRequest>) -> Answer<v1::DeleteMachineResponse> {
        self.mutate(("DeleteMachine", BMC), request, render::deleted, |app, ask, q| async move {
            app.machine_delete(&ask, &q.machine, q.force, &q.comment).await
        })
        .await
    }

    async fn bulk_machines(&self, request: Request<v1::BulkMachinesRequest>) -> Answer<v1::BulkMachinesResponse> {
        self.bulk(request).await
    }

    async fn list_script_results(
        &self,
        request: Request<v1::ListScriptResultsRequest>,
    ) -> Answer<v1::ListScriptResultsResponse> {
        self.read(request, |app, user, q| async move {
            let listed = app.script_runs(&user, &q.machine, &page(q.page)?).await?;
            let next_page_token = next_token(&listed);
            let results = listed.items.iter().map(super::scripts::run).collect();
            Ok(v1::ListScriptResultsResponse { results, next_page_token })
        })
        .await
    }
}
