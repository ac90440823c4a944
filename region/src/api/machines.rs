//! `farrier.v1.Machines`.

mod parse;
mod render;

use farrier_proto::v1::{self, machines_server::Machines};
use tonic::Request;

use super::{
    Api,
    calls::{Answer, BMC, SHORT},
    parse::{next_token, page},
    words,
};
use crate::domain::lifecycle::State;

#[tonic::async_trait]
impl Machines for Api {
    async fn get_machine(&self, request: Request<v1::GetMachineRequest>) -> Answer<v1::Machine> {
        self.read(
            request,
            |app, user, q| async move { Ok(render::machine(&app.machine_get(&user, &q.machine).await?)) },
        )
        .await
    }

    async fn list_machines(&self, request: Request<v1::ListMachinesRequest>) -> Answer<v1::ListMachinesResponse> {
        self.read(request, |app, user, q| async move {
            let states =
                q.states.iter().map(|s| words::state_from_wire("states", *s)).collect::<Result<Vec<State>, _>>()?;
            let (listed, revision) = app.machine_list(&user, states, &page(q.page)?).await?;
            let next_page_token = next_token(&listed);
            Ok(v1::ListMachinesResponse {
                machines: listed.items.iter().map(render::brief).collect(),
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
            let bmc = q.bmc.map(parse::bmc).transpose()?;
            let stay_up = q.commission.as_ref().is_some_and(|options| options.stay_up);
            app.commission(&ask, &q.machine, bmc, stay_up).await
        })
        .await
    }

    async fn allocate_machine(&self, request: Request<v1::AllocateMachineRequest>) -> Answer<v1::Machine> {
        self.mutate(("AllocateMachine", SHORT), request, render::machine, |app, ask, q| async move {
            app.allocate(&ask, &q.machine).await
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
        match parse::power(request.get_ref().action)? {
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
        self.unbuilt(request, "AddLiveMachine").await
    }

    async fn update_machine(&self, request: Request<v1::UpdateMachineRequest>) -> Answer<v1::Machine> {
        self.unbuilt(request, "UpdateMachine").await
    }

    async fn test_machine(&self, request: Request<v1::TestMachineRequest>) -> Answer<v1::Machine> {
        self.unbuilt(request, "TestMachine").await
    }

    async fn allocate_machines(
        &self,
        request: Request<v1::AllocateMachinesRequest>,
    ) -> Answer<v1::AllocateMachinesResponse> {
        self.unbuilt(request, "AllocateMachines").await
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
        self.unbuilt(request, "MarkBrokenMachine").await
    }

    async fn mark_fixed_machine(&self, request: Request<v1::MachineVerbRequest>) -> Answer<v1::Machine> {
        self.unbuilt(request, "MarkFixedMachine").await
    }

    async fn override_failed_test_machine(&self, request: Request<v1::MachineVerbRequest>) -> Answer<v1::Machine> {
        self.unbuilt(request, "OverrideFailedTestMachine").await
    }

    async fn lock_machine(&self, request: Request<v1::MachineVerbRequest>) -> Answer<v1::Machine> {
        self.unbuilt(request, "LockMachine").await
    }

    async fn unlock_machine(&self, request: Request<v1::MachineVerbRequest>) -> Answer<v1::Machine> {
        self.unbuilt(request, "UnlockMachine").await
    }

    async fn configure_machine(&self, request: Request<v1::ConfigureMachineRequest>) -> Answer<v1::Machine> {
        self.unbuilt(request, "ConfigureMachine").await
    }

    async fn clone_machine(&self, request: Request<v1::CloneMachineRequest>) -> Answer<v1::CloneMachineResponse> {
        self.unbuilt(request, "CloneMachine").await
    }

    async fn delete_machine(&self, request: Request<v1::DeleteMachineRequest>) -> Answer<v1::DeleteMachineResponse> {
        self.unbuilt(request, "DeleteMachine").await
    }

    async fn bulk_machines(&self, request: Request<v1::BulkMachinesRequest>) -> Answer<v1::BulkMachinesResponse> {
        self.unbuilt(request, "BulkMachines").await
    }

    async fn list_script_results(
        &self,
        request: Request<v1::ListScriptResultsRequest>,
    ) -> Answer<v1::ListScriptResultsResponse> {
        self.unbuilt(request, "ListScriptResults").await
    }
}
