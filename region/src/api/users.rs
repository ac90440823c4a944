//! `farrier.v1.Users` and `farrier.v1.Tokens`.

use farrier_proto::v1::{self, tokens_server::Tokens, users_server::Users};
use tonic::Request;

use super::{
    Api,
    calls::{Answer, SHORT},
    parse,
    words::{role_from_wire, role_to_wire, time_to_wire},
};
use crate::{
    app::{ssh_keys::SshKeyView, tokens::TokenView},
    domain::{
        Error,
        user::{User, UserEdit},
    },
};

#[tonic::async_trait]
impl Users for Api {
    async fn who_am_i(&self, request: Request<v1::WhoAmIRequest>) -> Answer<v1::User> {
        self.read(request, |_, user, _| async move { Ok(render(&user)) }).await
    }

    async fn list_users(&self, request: Request<v1::ListUsersRequest>) -> Answer<v1::ListUsersResponse> {
        self.read(request, |app, _, q| async move {
            let listed = app.user_list(&parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListUsersResponse { users: listed.items.iter().map(render).collect(), next_page_token })
        })
        .await
    }

    async fn create_user(&self, request: Request<v1::CreateUserRequest>) -> Answer<v1::User> {
        self.mutate(("CreateUser", SHORT), request, render, |app, ask, q| async move {
            app.user_create(&ask, parse::name("name", &q.name)?, role_from_wire("role", q.role)?).await
        })
        .await
    }

    async fn update_user(&self, request: Request<v1::UpdateUserRequest>) -> Answer<v1::User> {
        self.mutate(("UpdateUser", SHORT), request, render, |app, ask, q| async move {
            let mask = parse::mask(q.update_mask, &["role", "max_machines", "disabled"])?;
            let edit = UserEdit {
                role: mask.contains("role").then(|| role_from_wire("role", q.role)).transpose()?,
                max_machines: mask.contains("max_machines").then(|| parse::quota(q.max_machines)).transpose()?,
                disabled: mask.contains("disabled").then_some(q.disabled),
            };
            app.user_update(&ask, &q.user, edit).await
        })
        .await
    }

    async fn list_ssh_keys(&self, request: Request<v1::ListSshKeysRequest>) -> Answer<v1::ListSshKeysResponse> {
        self.read(request, |app, user, q| async move {
            let listed = app.ssh_key_list(&user, &q.user, &parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListSshKeysResponse { ssh_keys: listed.items.iter().map(ssh_key).collect(), next_page_token })
        })
        .await
    }

    async fn add_ssh_key(&self, request: Request<v1::AddSshKeyRequest>) -> Answer<v1::SshKey> {
        self.mutate(("AddSshKey", SHORT), request, ssh_key, |app, ask, q| async move {
            app.ssh_key_add(&ask, &q.user, &q.public_key).await
        })
        .await
    }

    async fn delete_ssh_key(&self, request: Request<v1::DeleteSshKeyRequest>) -> Answer<v1::SshKey> {
        self.mutate(("DeleteSshKey", SHORT), request, ssh_key, |app, ask, q| async move {
            app.ssh_key_delete(&ask, &q.ssh_key).await
        })
        .await
    }
}

#[tonic::async_trait]
impl Tokens for Api {
    async fn list_tokens(&self, request: Request<v1::ListTokensRequest>) -> Answer<v1::ListTokensResponse> {
        self.read(request, |app, user, q| async move {
            let listed = app.token_list(&user, &q.user, &parse::page(q.page)?).await?;
            let next_page_token = parse::next_token(&listed);
            Ok(v1::ListTokensResponse { tokens: listed.items.iter().map(token).collect(), next_page_token })
        })
        .await
    }

    async fn create_token(&self, request: Request<v1::CreateTokenRequest>) -> Answer<v1::CreateTokenResponse> {
        let made = self
            .mutate(("CreateToken", SHORT), request, token, |app, ask, q| async move {
                app.token_create(&ask, &q.user, &q.comment, q.valid_seconds).await
            })
            .await?
            .into_inner();
        // The secret is not kept with the answer; it follows from the id.
        let id = made.id.parse().map_err(|e| Error::Internal(format!("a token's id: {e}")))?;
        let secret = self.app.token_secret(id).expose().clone();
        Ok(v1::CreateTokenResponse { token: Some(made), secret }.into())
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Answer<v1::Token> {
        self.mutate(("RevokeToken", SHORT), request, token, |app, ask, q| async move {
            app.token_revoke(&ask, &q.token).await
        })
        .await
    }
}

fn render(user: &User) -> v1::User {
    v1::User {
        id: user.id.to_string(),
        name: user.name.to_string(),
        role: role_to_wire(user.role).into(),
        created_at: Some(time_to_wire(user.created_at)),
        etag: user.version.to_string(),
        max_machines: user.max_machines.unwrap_or(0),
        disabled: user.disabled,
        projects: user.project_names.iter().map(ToString::to_string).collect(),
    }
}

fn token(view: &TokenView) -> v1::Token {
    v1::Token {
        id: view.token.id.to_string(),
        user: view.user.to_string(),
        comment: view.token.comment.clone(),
        created_at: Some(time_to_wire(view.token.created_at)),
        expires_at: view.token.expires_at.map(time_to_wire),
        revoked: view.token.revoked,
    }
}

fn ssh_key(view: &SshKeyView) -> v1::SshKey {
    v1::SshKey {
        id: view.key.id.to_string(),
        user: view.user.to_string(),
        public_key: view.key.key.line.clone(),
        fingerprint: view.key.key.fingerprint.clone(),
        created_at: Some(time_to_wire(view.key.created_at)),
    }
}
