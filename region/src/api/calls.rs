//! What every call has in common: who calls, how long it may take, and that a mutation happens once.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use farrier_common::secret::{Secret, sha256_hex};
use farrier_proto::v1::{self, MutationOptions};
use prost::Message;
use tokio::time::timeout;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{Api, named::Named, parse};
use crate::{
    app::{App, context::Ask},
    domain::{Error, Result, permissions, rack::Rack, user::User},
    store::{self, Once},
};

/// What a handler answers.
pub(super) type Answer<M> = std::result::Result<Response<M>, Status>;

/// Deadline of a call that only touches the database.
pub(super) const SHORT: Duration = Duration::from_secs(30);
/// Deadline of a call that asks a BMC.
pub(super) const BMC: Duration = Duration::from_secs(120);
/// Deadline of a call that unpacks a whole disk image.
pub(super) const LONG: Duration = Duration::from_secs(3600);

const MOST_ID: usize = 64;

/// A request that changes something.
pub(super) trait Mutation: Message + Sized {
    /// Request id, etag and the like.
    fn options(&self) -> Option<&MutationOptions>;
    /// What is to be changed, as the caller named it, for the audit; may be empty.
    fn target(&self) -> &str;
    /// Why, if the request itself has a place for that besides its options.
    fn comment(&self) -> &str {
        ""
    }

    /// The body, encoded the same way each time.
    fn canonical(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

/// Each request, the field that names what it changes, and the field that says why if there is one.
macro_rules! mutations {
    ($($request:ident $target:ident $($comment:ident)?,)*) => { $(
        impl Mutation for v1::$request {
            fn options(&self) -> Option<&MutationOptions> {
                self.options.as_ref()
            }

            fn target(&self) -> &str {
                &self.$target
            }

            $(fn comment(&self) -> &str {
                &self.$comment
            })?
        }
    )* };
}

mutations! {
    CommissionMachineRequest machine,
    DeployMachineRequest machine,
    ReleaseMachineRequest machine comment,
    DeleteMachineRequest machine comment,
    AbortMachineRequest machine comment,
    PowerMachineRequest machine,
    TellPowerRequest machine comment,
    MachineVerbRequest machine comment,
    ConfigureMachineRequest machine,
    CloneMachineRequest source,
    BulkMachinesRequest verb comment,
    CancelOperationRequest operation,
    RescueMachineRequest machine comment,
    BmcVerbRequest machine comment,
    SetBmcRequest machine comment,
    SetBiosSettingsRequest machine comment,
    AddSshKeyRequest user,
    DeleteSshKeyRequest ssh_key,
    CreateSubnetRequest name,
    CreateJoinTokenRequest rack,
    CreateImageRequest name,
    CreateUserRequest name,
    UpdateUserRequest user,
    CreateProjectRequest name,
    UpdateProjectRequest project,
    DeleteProjectRequest project,
    ProjectMemberRequest project,
    CreatePoolRequest name,
    UpdatePoolRequest pool,
    DeletePoolRequest pool,
    PoolGrantRequest pool,
    CreateTokenRequest user,
    RevokeTokenRequest token,
    TestMachineRequest machine comment,
    CreateScriptRequest name,
    DeleteScriptRequest script,
}

/// The same for requests with labels, which are a hash map and have no order of their own.
macro_rules! labelled {
    ($($request:ident $target:ident,)*) => { $(
        impl Mutation for v1::$request {
            fn options(&self) -> Option<&MutationOptions> {
                self.options.as_ref()
            }

            fn target(&self) -> &str {
                &self.$target
            }

            fn canonical(&self) -> Vec<u8> {
                let rest = Self { labels: HashMap::new(), ..self.clone() };
                [rest.encode_to_vec(), in_order(&self.labels)].concat()
            }
        }
    )* };
}

labelled! {
    CreateMachineRequest name,
    AddLiveMachineRequest name,
    UpdateMachineRequest machine,
}

fn in_order(labels: &HashMap<String, String>) -> Vec<u8> {
    let mut labels: Vec<_> = labels.iter().collect();
    labels.sort();
    format!("{labels:?}").into_bytes()
}

impl Mutation for v1::AllocateMachineRequest {
    fn options(&self) -> Option<&MutationOptions> {
        self.options.as_ref()
    }

    fn target(&self) -> &str {
        &self.machine
    }

    fn canonical(&self) -> Vec<u8> {
        let (constraints, labels) = unlabelled(self.constraints.as_ref());
        [Self { constraints, ..self.clone() }.encode_to_vec(), labels].concat()
    }
}

impl Mutation for v1::AllocateMachinesRequest {
    fn options(&self) -> Option<&MutationOptions> {
        self.options.as_ref()
    }

    /// The first machine that is named.
    fn target(&self) -> &str {
        self.items.iter().map(|i| i.machine.as_str()).find(|m| !m.is_empty()).unwrap_or_default()
    }

    fn canonical(&self) -> Vec<u8> {
        let mut rest = self.clone();
        let mut labels = Vec::new();
        for item in &mut rest.items {
            let (constraints, of_item) = unlabelled(item.constraints.as_ref());
            item.constraints = constraints;
            labels.extend(of_item);
        }
        [rest.encode_to_vec(), labels].concat()
    }
}

/// Constraints without their labels, which are a hash map and have no order of their own; and those in order.
fn unlabelled(given: Option<&v1::AllocationConstraints>) -> (Option<v1::AllocationConstraints>, Vec<u8>) {
    let rest = given.map(|c| v1::AllocationConstraints { labels: HashMap::new(), ..c.clone() });
    (rest, given.map(|c| in_order(&c.labels)).unwrap_or_default())
}

impl Api {
    /// A call that changes nothing.
    pub(super) async fn read<Q, M, F, A>(&self, request: Request<Q>, call: F) -> Answer<M>
    where
        F: FnOnce(App, User, Q) -> A,
        A: Future<Output = Result<M>>,
    {
        self.query(SHORT, request, call).await
    }

    /// A call that changes nothing, with a deadline of its own.
    pub(super) async fn query<Q, M, F, A>(&self, deadline: Duration, request: Request<Q>, call: F) -> Answer<M>
    where
        F: FnOnce(App, User, Q) -> A,
        A: Future<Output = Result<M>>,
    {
        let (meta, _, message) = request.into_parts();
        let user = self.user(&meta).await?;
        Ok(Response::new(within(deadline, call(self.app.clone(), user, message)).await?))
    }

    /// A call that changes something: a request that was answered before is answered the same again.
    pub(super) async fn mutate<Q, T, M, F, A>(
        &self,
        (method, deadline): (&'static str, Duration),
        request: Request<Q>,
        render: fn(&T) -> M,
        call: F,
    ) -> Answer<M>
    where
        Q: Mutation,
        T: 'static,
        M: Message + Named + Default + 'static,
        F: FnOnce(App, Ask<T>, Q) -> A,
        A: Future<Output = Result<Once<T>>>,
    {
        let peer = request.remote_addr().map(|a| a.to_string()).unwrap_or_default();
        let (meta, _, message) = request.into_parts();
        let user = self.user(&meta).await?;
        permissions::gate(&user, method)?;
        let who = user.name.clone();
        let ask = ask(user, method, peer, &message, render)?;
        let request_id = ask.request.request_id.clone();
        if !ask.request.validate_only
            && let Some(kept) = self.app.store.request_seen(&ask.request).await?
        {
            return decoded(&kept);
        }
        let outcome = within(deadline, call(self.app.clone(), ask, message)).await;
        let error = outcome.as_ref().err().map(tracing::field::display);
        tracing::info!(user = %who, method, request_id, error, "mutation");
        match outcome? {
            Once::Fresh(made) => Ok(Response::new(render(&made))),
            Once::Replay(kept) => decoded(&kept),
        }
    }

    /// A call of a rack.
    pub(super) async fn of_rack<Q, M, F, A>(&self, request: Request<Q>, call: F) -> Answer<M>
    where
        F: FnOnce(App, Rack, Q) -> A,
        A: Future<Output = Result<M>>,
    {
        let certificate = certificate(&request);
        let rack = self.rack(certificate).await?;
        Ok(Response::new(within(SHORT, call(self.app.clone(), rack, request.into_inner())).await?))
    }

    /// Who calls, by the bearer token.
    pub(super) async fn user(&self, meta: &MetadataMap) -> Result<User> {
        let token = bearer(meta)?;
        let user = self.app.authenticate(&token).await?;
        self.limits.count(&user, std::time::Instant::now())?;
        Ok(user)
    }

    async fn rack(&self, certificate: Option<Vec<u8>>) -> Result<Rack> {
        let missing = || Error::Unauthenticated("a rack's client certificate is required; enrol first".to_owned());
        self.app.authenticate_rack(&certificate.ok_or_else(missing)?).await
    }
}

/// The certificate that the caller proved to hold the key of; TLS has checked that our CA signed it.
pub(super) fn certificate<Q>(request: &Request<Q>) -> Option<Vec<u8>> {
    request.peer_certs().and_then(|certs| certs.first().map(|leaf| leaf.to_vec()))
}

/// Does it in time, or not at all.
pub(super) async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || Error::Unavailable(format!("it was not done within {} s", deadline.as_secs()));
    timeout(deadline, work).await.unwrap_or_else(|_| Err(late()))
}

/// The token that a caller shows.
pub(super) fn bearer(meta: &MetadataMap) -> Result<Secret<String>> {
    let wrong = |why: &str| Error::Unauthenticated(format!("{why}; send the metadata authorization: Bearer TOKEN"));
    let value = meta.get("authorization").ok_or_else(|| wrong("a bearer token is required"))?;
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let token = token.filter(|t| !t.is_empty()).ok_or_else(|| wrong("the authorization is not a bearer token"))?;
    Ok(Secret::new(token.to_owned()))
}

fn ask<Q: Mutation, T: 'static, M: Message + Named + Default + 'static>(
    user: User,
    method: &'static str,
    peer: String,
    message: &Q,
    render: fn(&T) -> M,
) -> Result<Ask<T>> {
    let options = message.options().cloned().unwrap_or_default();
    let id = options.request_id;
    let fits = (1..=MOST_ID).contains(&id.len()) && id.bytes().all(|b| matches!(b, b' '..=b'~'));
    if !fits {
        let why = format!("required: 1 to {MOST_ID} printable ASCII characters, new for each request (a UUID is good)");
        return Err(Error::invalid("options.request_id", why));
    }
    let comment = [options.comment.as_str(), message.comment()].into_iter().find(|c| !c.is_empty()).unwrap_or_default();
    let request = store::Request {
        principal: user.id.to_string(),
        user: user.name.to_string(),
        request_id: id,
        method,
        body_sha256: sha256_hex(&message.canonical()),
        target: parse::clipped(message.target()),
        subject: |answer| M::decode(answer).map(|answer| parse::clipped(&answer.named())).unwrap_or_default(),
        comment: parse::comment("options.comment", comment)?,
        peer,
        validate_only: options.validate_only,
    };
    let etag = Some(options.etag).filter(|e| !e.is_empty());
    let expected = parse::optional("options.expected_state", &options.expected_state)?;
    Ok(Ask { user, request, etag, expected, render: Arc::new(move |made| render(made).encode_to_vec()) })
}

fn decoded<M: Message + Default>(kept: &[u8]) -> Answer<M> {
    let message = M::decode(kept).map_err(|e| Error::Internal(format!("a kept answer cannot be read: {e}")))?;
    Ok(Response::new(message))
}
