//! `farrier.v1.Pools`.

use farrier_common::id::PoolId;
use farrier_proto::v1::{self, pools_server::Pools};
use tonic::Request;

use super::{
    Api,
    calls::{Answer, SHORT},
    parse,
    words::time_to_wire,
};
use crate::domain::{
    Error, Result,
    pool::{Grantee, Pool, PoolEdit},
};

#[tonic::async_trait]
impl Pools for Api {
    async fn get_pool(&self, request: Request<v1::GetPoolRequest>) -> Answer<v1::Pool> {
        self.read(request, |app, user, q| async move { Ok(render(&app.pool_get(&user, &q.pool).await?)) }).await
    }

    async fn list_pools(&self, request: Request<v1::ListPoolsRequest>) -> Answer<v1::ListPoolsResponse> {
        self.read(request, |app, user, q| async move {
            let listed = app.pool_list(&user, &parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListPoolsResponse { pools: listed.items.iter().map(render).collect(), next_page_token })
        })
        .await
    }

    async fn create_pool(&self, request: Request<v1::CreatePoolRequest>) -> Answer<v1::Pool> {
        self.mutate(("CreatePool", SHORT), request, render, |app, ask, q| async move {
            app.pool_create(&ask, wanted(&q)?).await
        })
        .await
    }

    async fn update_pool(&self, request: Request<v1::UpdatePoolRequest>) -> Answer<v1::Pool> {
        self.mutate(("UpdatePool", SHORT), request, render, |app, ask, q| async move {
            let mask = parse::mask(q.update_mask, &["description", "everyone"])?;
            let description = mask.contains("description").then(|| parse::description(&q.description)).transpose()?;
            let everyone = mask.contains("everyone").then_some(q.everyone);
            app.pool_change(&ask, &q.pool, PoolEdit::Set { description, everyone }).await
        })
        .await
    }

    async fn delete_pool(&self, request: Request<v1::DeletePoolRequest>) -> Answer<v1::Pool> {
        self.mutate(("DeletePool", SHORT), request, render, |app, ask, q| async move {
            app.pool_change(&ask, &q.pool, PoolEdit::Delete).await
        })
        .await
    }

    async fn grant_pool(&self, request: Request<v1::PoolGrantRequest>) -> Answer<v1::Pool> {
        self.mutate(("GrantPool", SHORT), request, render, |app, ask, q| async move {
            app.pool_change(&ask, &q.pool, PoolEdit::Grant(grantee(&q)?)).await
        })
        .await
    }

    async fn revoke_pool(&self, request: Request<v1::PoolGrantRequest>) -> Answer<v1::Pool> {
        self.mutate(("RevokePool", SHORT), request, render, |app, ask, q| async move {
            app.pool_change(&ask, &q.pool, PoolEdit::Revoke(grantee(&q)?)).await
        })
        .await
    }
}

fn grantee(q: &v1::PoolGrantRequest) -> Result<Grantee> {
    match (q.user.is_empty(), q.project.is_empty()) {
        (false, true) => Ok(Grantee::User(q.user.clone())),
        (true, false) => Ok(Grantee::Project(q.project.clone())),
        (true, true) | (false, false) => Err(Error::invalid("user", "give either a user or a project")),
    }
}

/// Id, version and time are given with the pool that is made.
fn wanted(q: &v1::CreatePoolRequest) -> Result<Pool> {
    Ok(Pool {
        id: PoolId::generate(),
        name: parse::name("name", &q.name)?,
        description: parse::description(&q.description)?,
        everyone: q.everyone,
        users: Vec::new(),
        projects: Vec::new(),
        version: 1,
        created_at: farrier_common::clock::Timestamp::UNIX_EPOCH,
    })
}

fn render(pool: &Pool) -> v1::Pool {
    v1::Pool {
        id: pool.id.to_string(),
        name: pool.name.to_string(),
        description: pool.description.clone(),
        everyone: pool.everyone,
        users: pool.users.iter().map(ToString::to_string).collect(),
        projects: pool.projects.iter().map(ToString::to_string).collect(),
        created_at: Some(time_to_wire(pool.created_at)),
        etag: pool.version.to_string(),
    }
}
