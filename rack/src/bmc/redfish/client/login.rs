//! Proving who we are: by a session where the BMC has room for one, else with each request.
//!
//! Invariant: a login that is refused is not tried again in another way; BMCs lock accounts.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use farrier_common::secret::Secret;
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, HeaderValue, LOCATION},
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    super::super::{BmcError, Login},
    Client,
};
use crate::bmc::redfish::{document::path_of, problem};

/// For the farewell, however much time is left.
const FAREWELL: Duration = Duration::from_secs(4);
/// Where sessions are if the root tells of the service that has them, but not where.
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// Who we are.
#[derive(Debug)]
pub(super) enum Auth {
    /// Nobody.
    None,
    /// Name and password with each request.
    Basic(Secret<String>),
    /// A session: its token, and where it is ended.
    Session(Secret<String>, Option<String>),
}

// === impl Auth ===

impl Auth {
    fn basic(login: &Login) -> Self {
        let text = Secret::new(format!("{}:{}", login.username, login.password.expose()));
        Self::Basic(Secret::new(format!("Basic {}", BASE64_STANDARD.encode(text.expose()))))
    }

    pub(super) const fn is_session(&self) -> bool {
        matches!(self, Self::Session(..))
    }

    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        let (name, text) = match self {
            Self::None => return,
            Self::Basic(text) => (AUTHORIZATION, text),
            Self::Session(token, _) => (hyper::header::HeaderName::from_static("x-auth-token"), token),
        };
        if let Ok(mut value) = HeaderValue::from_str(text.expose()) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
}

impl Client<'_> {
    /// Logs in.
    pub(super) async fn log_in(&mut self) -> Result<(), BmcError> {
        self.auth = Auth::None;
        if self.rules.sessions()
            && let Some(session) = self.session().await?
        {
            self.auth = session;
            return Ok(());
        }
        self.auth = Auth::basic(self.login);
        // Nothing has been asked yet that only a user is told; this shows whether we are one.
        let systems = self.root.link("/Systems")?;
        self.get(&systems).await.map(drop)
    }

    /// Makes a session; `None` if the BMC has none to give. One whose root tells of no sessions is not asked for any: some
    /// (sushy-emulator) refuse whoever asks for what is not there, and that is no word on the password.
    async fn session(&mut self) -> Result<Option<Auth>, BmcError> {
        let service = || self.root.at("/SessionService").map(|_| SESSIONS.to_owned());
        let Some(path) = self.root.optional_link("/Links/Sessions").or_else(service) else { return Ok(None) };
        let login = self.login;
        let body = Secret::new(json!({"UserName": login.username, "Password": login.password.expose()}).to_string());
        let answer = self.ask(&Method::POST, &path, None, Some(body.expose())).await?;
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(self.refusal("POST", &path, &answer));
        }
        if !answer.status.is_success() {
            let told = problem::told(&answer.body, &self.secrets());
            tracing::debug!(bmc = %login.address, status = answer.status.as_u16(), told, "no session; basic authentication");
            return Ok(None);
        }
        let place = answer.header(LOCATION.as_str()).and_then(path_of);
        let Some(token) = answer.header("x-auth-token") else {
            tracing::debug!(bmc = %login.address, "a session without a token; basic authentication");
            return Ok(None);
        };
        Ok(Some(Auth::Session(token.to_owned().into(), place)))
    }

    /// Ends the session, so that its place is free. What goes wrong with it changes nothing for the operation: the BMC ends
    /// the session by itself after a while.
    pub(in crate::bmc::redfish) async fn close(mut self) {
        let Auth::Session(_, Some(place)) = &self.auth else { return };
        let (place, headers) = (place.clone(), self.headers(None, false));
        let until = Instant::now() + FAREWELL;
        if let Err(error) = self.wire.exchange(&Method::DELETE, &place, &headers, None, until).await {
            tracing::debug!(bmc = %self.login.address, %error, "a session was not ended");
        }
    }
}
