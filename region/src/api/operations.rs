//! `farrier.v1.Operations`, and the call that makes them.

use farrier_proto::v1::{self, operations_server::Operations};
use tonic::Request;

use super::{
    Api,
    calls::{Answer, SHORT},
    parse,
    words::time_to_wire,
};
use crate::{
    app::bulk::{Bulked, Plan, Selection, Wanted},
    domain::{
        Result,
        operation::{Item, Options},
    },
    store::OperationView,
};

#[tonic::async_trait]
impl Operations for Api {
    async fn get_operation(&self, request: Request<v1::GetOperationRequest>) -> Answer<v1::Operation> {
        self.read(request, |app, user, q| async move { Ok(whole(&app.operation_get(&user, &q.operation).await?)) })
            .await
    }

    async fn list_operations(&self, request: Request<v1::ListOperationsRequest>) -> Answer<v1::ListOperationsResponse> {
        self.read(request, |app, user, q| async move {
            let listed = app.operation_list(&user, &parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListOperationsResponse { operations: listed.items.iter().map(brief).collect(), next_page_token })
        })
        .await
    }

    async fn cancel_operation(&self, request: Request<v1::CancelOperationRequest>) -> Answer<v1::Operation> {
        self.mutate(("CancelOperation", SHORT), request, brief, |app, ask, q| async move {
            app.operation_cancel(&ask, &q.operation).await
        })
        .await
    }
}

impl Api {
    /// One verb for many machines.
    pub(super) async fn bulk(&self, request: Request<v1::BulkMachinesRequest>) -> Answer<v1::BulkMachinesResponse> {
        self.mutate(
            ("BulkMachines", SHORT),
            request,
            bulked,
            |app, ask, q| async move { app.bulk(&ask, &wanted(q)?).await },
        )
        .await
    }
}

fn wanted(q: v1::BulkMachinesRequest) -> Result<Wanted> {
    // Looked at in `calls` if it is the one that the audit keeps; the options' own may be that instead.
    parse::comment("comment", &q.comment)?;
    Ok(Wanted {
        verb: parse::text("verb", &q.verb)?,
        selection: Selection { filter: q.filter, machines: q.machines },
        plan_token: q.plan_token,
        expected_count: q.expected_count,
        max_parallel: q.max_parallel,
        stop_after_failures: q.stop_after_failures,
        options: Options { skip_erase: q.skip_erase, canary: q.canary },
    })
}

fn bulked(made: &Bulked) -> v1::BulkMachinesResponse {
    match made {
        Bulked::Plan(made) => v1::BulkMachinesResponse { plan: Some(plan(made)), operation: None },
        Bulked::Operation(view) => v1::BulkMachinesResponse { plan: None, operation: Some(brief(view)) },
    }
}

fn plan(plan: &Plan) -> v1::BulkPlan {
    let item = |(name, refusal): &(farrier_common::name::Name, Option<String>)| v1::BulkPlanItem {
        machine: name.to_string(),
        refusal: refusal.clone().unwrap_or_default(),
    };
    v1::BulkPlan {
        token: plan.token.clone(),
        expires_at: Some(time_to_wire(plan.expires_at)),
        count: u32::try_from(plan.items.len()).unwrap_or(u32::MAX),
        items: plan.items.iter().map(item).collect(),
    }
}

fn brief(view: &OperationView) -> v1::Operation {
    let (operation, counts) = (&view.operation, view.counts);
    v1::Operation {
        id: operation.id.to_string(),
        verb: operation.verb.to_string(),
        status: operation.status.to_string(),
        user: view.user.to_string(),
        created_at: Some(time_to_wire(operation.created_at)),
        finished_at: operation.finished_at.map(time_to_wire),
        total: counts.waiting + counts.running + counts.succeeded + counts.failed + counts.skipped,
        succeeded: counts.succeeded,
        failed: counts.failed,
        running: counts.running,
        waiting: counts.waiting,
        max_parallel: operation.max_parallel,
        stop_after_failures: operation.stop_after_failures,
        items: Vec::new(),
        comment: operation.comment.clone(),
        etag: view.etag(),
    }
}

fn whole(view: &OperationView) -> v1::Operation {
    let item = |item: &Item| v1::OperationItem {
        machine: item.name.to_string(),
        status: item.status.to_string(),
        text: item.text.clone(),
    };
    v1::Operation { items: view.items.iter().map(item).collect(), ..brief(view) }
}
