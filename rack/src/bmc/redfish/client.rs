//! Requests of one operation: who we are, waiting when the BMC is busy, following what it points to, all by one deadline.

mod login;
mod task;

use std::time::Duration;

use farrier_common::secret::Secret;
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, LOCATION, RETRY_AFTER},
};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use self::login::Auth;
use super::{
    super::{BmcError, Login},
    Redfish,
    document::{Document, path_of},
    http::{Answer, Wire, WireError},
    problem,
    rules::{IfMatch, Rules},
    trust::Judge,
};

/// Redirects that are followed.
const REDIRECTS: u32 = 5;
/// Pages of a collection that are read.
const PAGES: usize = 16;
/// Members of a collection that are taken.
const MEMBERS: usize = 256;
/// Between two tries when the BMC does not say how long.
const PAUSE: Duration = Duration::from_secs(1);
/// A BMC may ask for longer pauses than this, but is asked again after it.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often a change is tried whose version was another when it came.
const VERSIONS: u32 = 3;

/// One operation's way to a BMC.
#[derive(Debug)]
pub(super) struct Client<'a> {
    wire: Wire,
    login: &'a Login,
    auth: Auth,
    deadline: Instant,
    /// The password of an account that is being made.
    hidden: Option<&'a Secret<String>>,
    pub(super) rules: Rules,
    pub(super) root: Document,
}

impl From<WireError> for BmcError {
    fn from(error: WireError) -> Self {
        let text = error.to_string();
        match error {
            WireError::Connect { .. } | WireError::Silent { .. } | WireError::Broken(_) => Self::Unreachable(text),
            WireError::Untrusted(_) => Self::Untrusted(text),
            WireError::Tls(_) | WireError::TooLarge(_) | WireError::BadPath(_) => Self::Nonsense(text),
        }
    }
}

// === impl Client ===

impl<'a> Client<'a> {
    /// Reads the root, which is open to everybody; nobody is logged in.
    pub(super) async fn meet(bmc: &'a Redfish) -> Result<Self, BmcError> {
        let deadline = Instant::now() + bmc.limits.whole;
        let judge = Judge::new(bmc.https.pin, bmc.authorities.clone());
        let wire = Wire::new(bmc.login.address, judge, bmc.limits)?;
        let rules = Rules::common();
        let root = Document::parse("/redfish/v1/", None, b"{}", &rules)?;
        let mut client = Self { wire, login: &bmc.login, auth: Auth::None, deadline, hidden: None, rules, root };
        let root = client.get("/redfish/v1/").await?;
        let kind = root.text("/@odata.type").unwrap_or_default();
        if !kind.trim_start_matches('#').starts_with("ServiceRoot.") {
            return Err(BmcError::Nonsense("/redfish/v1/ is not the root of a Redfish service".to_owned()));
        }
        client.rules = Rules::of(&root);
        client.root = root;
        Ok(client)
    }

    /// Logs in.
    pub(super) async fn open(bmc: &'a Redfish) -> Result<Self, BmcError> {
        Self::open_until(bmc, Instant::now() + bmc.limits.whole).await
    }

    /// Logs in, for work that has to end earlier than others.
    pub(super) async fn open_until(bmc: &'a Redfish, deadline: Instant) -> Result<Self, BmcError> {
        let mut client = Self::meet(bmc).await?;
        client.deadline = client.deadline.min(deadline);
        client.log_in().await?;
        Ok(client)
    }

    /// The certificate that the BMC has proven to hold.
    pub(super) fn certificate(&self) -> Option<farrier_common::tls::Fingerprint> {
        self.wire.certificate()
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reads a resource.
    pub(super) async fn get(&mut self, path: &str) -> Result<Document, BmcError> {
        let answer = self.ask(&Method::GET, path, None, None).await?;
        if !answer.status.is_success() {
            return Err(self.refusal("GET", path, &answer));
        }
        self.read(path, &answer)
    }

    fn read(&self, path: &str, answer: &Answer) -> Result<Document, BmcError> {
        Document::parse(path, answer.header(ETAG.as_str()), &answer.body, &self.rules)
    }

    /// The methods that a resource allows, as its answer to GET tells, and the members of the collection that it is.
    pub(super) async fn collection(&mut self, path: &str) -> Result<(Option<String>, Vec<String>), BmcError> {
        let answer = self.ask(&Method::GET, path, None, None).await?;
        if !answer.status.is_success() {
            return Err(self.refusal("GET", path, &answer));
        }
        let allow = answer.header("allow").map(str::to_owned);
        let mut page = self.read(path, &answer)?;
        let mut members = page.members()?;
        for _ in 1..PAGES {
            let Some(next) = page.next() else { break };
            page = self.get(&next).await?;
            members.extend(page.members()?);
        }
        members.truncate(MEMBERS);
        Ok((allow, members))
    }

    /// Changes a resource. `read` is as it was read; it is read again if the BMC has another version by now.
    pub(super) async fn patch(&mut self, read: &Document, body: &Map<String, Value>) -> Result<(), BmcError> {
        let answer = self.try_patch(read, body).await?;
        self.finish("PATCH", &read.path, answer).await.map(drop)
    }

    /// The same, if what is begun by it ends much later: it is not waited for.
    pub(super) async fn patch_begun(&mut self, read: &Document, body: &Map<String, Value>) -> Result<(), BmcError> {
        let answer = self.try_patch(read, body).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.refusal("PATCH", &read.path, &answer)) }
    }

    async fn try_patch(&mut self, read: &Document, body: &Map<String, Value>) -> Result<Answer, BmcError> {
        let (path, mut etag, mut tried) = (read.path.clone(), read.etag.clone(), 1);
        let text = Value::Object(body.clone()).to_string();
        loop {
            let version = etag.take().filter(|_| self.rules.if_match() == IfMatch::Own);
            let answer = self.ask(&Method::PATCH, &path, version.as_deref(), Some(&text)).await?;
            let other = matches!(answer.status, StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED);
            if !other || tried >= VERSIONS {
                return Ok(answer);
            }
            tried += 1;
            etag = self.get(&path).await?.etag;
        }
    }

    /// Does an action or makes a resource; answers where it is, if the BMC tells.
    pub(super) async fn post(&mut self, path: &str, body: &Map<String, Value>) -> Result<Option<String>, BmcError> {
        let text = Value::Object(body.clone()).to_string();
        let answer = self.ask(&Method::POST, path, None, Some(&text)).await?;
        self.finish("POST", path, answer).await
    }

    /// Takes a resource away.
    pub(super) async fn delete(&mut self, read: &Document) -> Result<(), BmcError> {
        let version = read.etag.as_deref().filter(|_| self.rules.if_match() == IfMatch::Own);
        let mut answer = self.ask(&Method::DELETE, &read.path, version, None).await?;
        if answer.status == StatusCode::PRECONDITION_FAILED {
            answer = self.ask(&Method::DELETE, &read.path, None, None).await?;
        }
        self.finish("DELETE", &read.path, answer).await.map(drop)
    }

    /// Follows what was begun to its end; answers what `Location` names.
    async fn finish(&mut self, method: &str, path: &str, answer: Answer) -> Result<Option<String>, BmcError> {
        if !answer.status.is_success() {
            return Err(self.refusal(method, path, &answer));
        }
        let location = answer.header(LOCATION.as_str()).and_then(path_of);
        match location {
            Some(monitor) if answer.status == StatusCode::ACCEPTED => {
                self.follow(&monitor).await?;
                Ok(None)
            }
            other => Ok(other),
        }
    }

    /// One request, with redirects followed and busy times waited out.
    async fn ask(
        &mut self,
        method: &Method,
        path: &str,
        version: Option<&str>,
        body: Option<&str>,
    ) -> Result<Answer, BmcError> {
        let (mut path, mut redirects, mut logged_in_anew) = (path.to_owned(), 0, false);
        loop {
            let headers = self.headers(version, body.is_some());
            let answer = self.wire.exchange(method, &path, &headers, body, self.deadline).await?;
            if answer.status.is_redirection() && answer.status != StatusCode::NOT_MODIFIED {
                let next = answer.header(LOCATION.as_str()).and_then(path_of);
                redirects += 1;
                match next {
                    Some(next) if redirects <= REDIRECTS && (next != path || redirects == 1) => path = next,
                    Some(_) | None => {
                        return Err(BmcError::Nonsense(format!("{path}: redirected {redirects} times, to nowhere")));
                    }
                }
            } else if answer.status == StatusCode::UNAUTHORIZED && self.auth.is_session() && !logged_in_anew {
                // The BMC has forgotten its sessions, as after a reset. Our password was right a moment ago.
                logged_in_anew = true;
                Box::pin(self.log_in()).await?;
            } else if let Some(pause) = problem::pause(&answer) {
                self.rest(pause, &path, &answer).await?;
            } else {
                return Ok(answer);
            }
        }
    }

    /// Waits as long as a busy BMC asks, if there is so much time.
    async fn rest(&self, asked: Option<u64>, path: &str, answer: &Answer) -> Result<(), BmcError> {
        let pause = asked.map_or(PAUSE, Duration::from_secs).clamp(PAUSE / 4, LONGEST_PAUSE);
        if Instant::now() + pause >= self.deadline {
            let told = problem::told(&answer.body, &self.secrets());
            return Err(BmcError::Busy(format!("{path}: {} until the deadline{told}", answer.status.as_u16())));
        }
        sleep(pause).await;
        Ok(())
    }

    fn headers(&self, version: Option<&str>, has_body: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(ACCEPT, json.clone());
        headers.insert("odata-version", HeaderValue::from_static("4.0"));
        if has_body {
            headers.insert(CONTENT_TYPE, json);
        }
        // A version that cannot be a header is no version.
        if let Some(version) = version.and_then(|v| HeaderValue::from_str(v).ok()) {
            headers.insert(IF_MATCH, version);
        }
        self.auth.add_to(&mut headers);
        headers
    }

    /// What a refusal means.
    fn refusal(&self, method: &str, path: &str, answer: &Answer) -> BmcError {
        problem::refusal(method, path, answer, &self.secrets())
    }

    /// What must not be in any text, also if the BMC repeats it.
    fn secrets(&self) -> [&str; 2] {
        [self.login.password.expose(), self.hidden.map_or("", |s| s.expose())]
    }

    /// Keeps one more secret out of all texts.
    pub(super) fn hide(&mut self, secret: &'a Secret<String>) {
        self.hidden = Some(secret);
    }

    /// `Retry-After` in seconds.
    fn asked_pause(answer: &Answer) -> Option<u64> {
        answer.header(RETRY_AFTER.as_str()).and_then(|v| v.trim().parse().ok())
    }
}
