//! Power by HTTP requests that the admin gave: PDUs, smart plugs, hosts of virtual machines, home-made boxes.
//!
//! Invariant: what the server answers reaches no error text, since it may hold the token that it was sent.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use farrier_common::{
    hardware::PowerState,
    webhook::{HookUrl, Webhook},
};
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, HeaderValue, LOCATION},
};
use tokio::time::{Instant, sleep};

use super::{
    BmcError, Capability, Identity, Login, Probe,
    power::Patience,
    redfish::{
        http::{Answer, Limits, Wire, WireError},
        trust::{Authorities, Judge, Pin},
    },
};

/// Bytes of an answer that are read.
const BODY: usize = 64 << 10;
/// Redirects that are followed.
const REDIRECTS: usize = 5;

/// How a webhook is called, with what has to be known for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Face {
    /// What is asked where.
    pub hook: Webhook,
    /// Which certificate is taken, if it is HTTPS.
    pub pin: Pin,
}

/// One machine's power by webhook.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    pub(super) login: Login,
    pub(super) face: Box<Face>,
    pub(super) limits: Limits,
    pub(super) patience: Patience,
    pub(super) authorities: Authorities,
}

/// One operation's way to the server.
struct Client<'a> {
    hook: &'a Webhook,
    wire: Wire,
    headers: HeaderMap,
    deadline: Instant,
}

/// What a webhook has no request for.
pub(super) fn cannot<T>(what: &str) -> Result<T, BmcError> {
    Err(BmcError::Unsupported(format!("it is driven by webhook, which can do power alone, and not {what}")))
}

impl Hook {
    pub(super) async fn probe(&self) -> Result<Probe, BmcError> {
        Ok(Probe {
            firmware_version: String::new(),
            power: Some(self.power().await?),
            capabilities: vec![Capability::Power],
            identity: Identity::Webhook,
        })
    }

    pub(super) async fn power(&self) -> Result<PowerState, BmcError> {
        self.client(Instant::now() + self.limits.whole)?.power().await
    }

    /// Brings the power to `wanted`. Sends nothing if it is there already. What the server says to a command proves nothing:
    /// the state is asked for until it is so.
    pub(super) async fn set_power(&self, wanted: PowerState, commanded: &(impl Fn() + Sync)) -> Result<(), BmcError> {
        let deadline = Instant::now() + self.patience.deadline;
        let mut client = self.client(deadline)?;
        let mut said = String::from("the command was accepted");
        let mut sent: Option<Instant> = None;
        loop {
            match client.power().await {
                Ok(power) if power == wanted => return Ok(()),
                Ok(_) => {}
                // Neither on nor off may be on its way, and a box that switches may be slow; but the first look must get through.
                Err(error @ BmcError::Nonsense(_)) => said = error.to_string(),
                Err(error @ (BmcError::Busy(_) | BmcError::Unreachable(_))) if sent.is_some() => {
                    said = error.to_string()
                }
                Err(error) => return Err(error),
            }
            if Instant::now() >= deadline {
                let text = format!("power is not {wanted} after {:?}; {said}", self.patience.deadline);
                return Err(BmcError::NotConfirmed(text));
            }
            if sent.is_none_or(|at| at.elapsed() >= self.patience.repeat) {
                match client.command(wanted).await {
                    Ok(()) => commanded(),
                    Err(error @ BmcError::Busy(_)) => said = error.to_string(),
                    Err(error) => return Err(error),
                }
                sent = Some(Instant::now());
            }
            sleep(self.patience.poll).await;
        }
    }

    fn client(&self, deadline: Instant) -> Result<Client<'_>, BmcError> {
        let hook = &self.face.hook;
        let judge = hook.query.tls().then(|| Judge::new(self.face.pin, self.authorities.clone()));
        let limits = Limits { body: BODY.min(self.limits.body), ..self.limits };
        let wire = Wire::to(self.login.address, &hook.query, judge, limits)?;
        Ok(Client { hook, wire, headers: self.headers()?, deadline })
    }

    /// Name and password, or the bearer token that stands without a name, or nothing.
    fn headers(&self) -> Result<HeaderMap, BmcError> {
        let (name, secret) = (&self.login.username, self.login.password.expose());
        let value = match (name.is_empty(), secret.is_empty()) {
            (true, true) => return Ok(HeaderMap::new()),
            (true, false) => format!("Bearer {secret}"),
            (false, _) => format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{secret}"))),
        };
        let unfit = |_| BmcError::Refused("the token holds what no header can".to_owned());
        let mut value = HeaderValue::try_from(value).map_err(unfit)?;
        value.set_sensitive(true);
        Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }
}

impl Client<'_> {
    async fn power(&mut self) -> Result<PowerState, BmcError> {
        let hook = self.hook;
        let answer = self.call(Method::GET, &hook.query).await?;
        let text = String::from_utf8_lossy(&answer.body);
        let unclear = |which: &str| {
            let bytes = answer.body.len();
            BmcError::Nonsense(format!(
                "what {} answers ({bytes} bytes) matches {which} of the two regexes",
                hook.query
            ))
        };
        match (hook.is_on.found_in(&text), hook.is_off.found_in(&text)) {
            (true, false) => Ok(PowerState::On),
            (false, true) => Ok(PowerState::Off),
            (true, true) => Err(unclear("both")),
            (false, false) => Err(unclear("none")),
        }
    }

    async fn command(&mut self, wanted: PowerState) -> Result<(), BmcError> {
        let hook = self.hook;
        let url = match wanted {
            PowerState::On => &hook.on,
            PowerState::Off => &hook.off,
        };
        self.call(Method::POST, url).await.map(drop)
    }

    async fn call(&mut self, mut method: Method, first: &HookUrl) -> Result<Answer, BmcError> {
        let mut url = first.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.wire.exchange(&method, url.path(), &self.headers, None, self.deadline).await;
            let answer = answer.map_err(|e| trouble(&url, e))?;
            let status = answer.status;
            if status.is_success() {
                return Ok(answer);
            }
            let repeated = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
            let turned = matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER);
            if !repeated && !turned {
                return Err(refusal(status, &method, &url));
            }
            let next = answer.header(LOCATION.as_str()).and_then(|to| url.redirect(to));
            url = next.ok_or_else(|| {
                BmcError::Rejected(format!("{method} {url} answers {status} to another server; that is not followed"))
            })?;
            if turned {
                method = Method::GET;
            }
        }
        Err(BmcError::Nonsense(format!("more than {REDIRECTS} redirects from {first}")))
    }
}

fn refusal(status: StatusCode, method: &Method, url: &HookUrl) -> BmcError {
    let text = format!("{method} {url} answers {status}");
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => BmcError::Refused(text),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => BmcError::Busy(text),
        _ => BmcError::Rejected(text),
    }
}

fn trouble(url: &HookUrl, error: WireError) -> BmcError {
    let error = match error {
        WireError::Tls(text) => BmcError::Untrusted(format!(
            "{text}; a certificate that bmc_ca_file of rack.toml does not vouch for is taken if it is pinned, or if TLS is not \
             verified at all"
        )),
        error @ (WireError::Connect { .. }
        | WireError::Silent { .. }
        | WireError::Untrusted(_)
        | WireError::Broken(_)
        | WireError::TooLarge(_)
        | WireError::BadPath(_)) => error.into(),
    };
    error.with(&format!("asked: {url}"))
}

#[cfg(test)]
mod tests;
