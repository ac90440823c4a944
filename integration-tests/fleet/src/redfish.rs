//! The Redfish face of a BMC.
//!
//! [`Redfish`] is pure: request and time in, [`Verdict`] out. It keeps sessions, tasks and BIOS settings of its own;
//! power, boot override and accounts are the BMC's, shared with its IPMI face. [`server`] puts it behind HTTPS.

mod accounts;
mod answer;
mod auth;
mod bios;
mod boot;
mod documents;
mod faults;
mod problem;
mod quirks;
mod resource;
pub mod server;
mod session;
mod task;
mod write;

use std::{
    net::IpAddr,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use farrier_common::{clock::Timestamp, net::MacAddr};
use hyper::{Method, Request, Response, StatusCode};
use uuid::Uuid;

use self::{
    bios::Bios,
    problem::Problem,
    resource::{Target, allowed, locate, public},
    session::Sessions,
    task::Tasks,
};
pub use self::{
    faults::{Fault, FaultRule, Faults},
    quirks::Quirks,
    resource::Kind,
};
use crate::{
    accounts::{Accounts, SharedAccounts},
    chassis::Chassis,
    personality::Personality,
};

/// What the documents tell about a machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// System UUID, as SMBIOS has it.
    pub uuid: Uuid,
    /// Serial number.
    pub serial: String,
    /// The network interfaces.
    pub macs: Vec<MacAddr>,
    /// The BMC's own interface.
    pub bmc_mac: MacAddr,
    /// Its address.
    pub bmc_address: IpAddr,
    /// Number of processors.
    pub processors: u32,
    /// Memory.
    pub memory_gib: u32,
}

/// Both kinds of time.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// What the BMC's clock shows.
    pub wall: Timestamp,
    /// What time limits are measured by.
    pub steady: Instant,
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The address that the request comes from.
    pub from: IpAddr,
    /// When it came.
    pub now: Now,
}

/// What is to be done about a request.
#[derive(Debug)]
pub enum Verdict {
    /// Send this after so long.
    Answer(Response<Bytes>, Duration),
    /// Never say anything.
    Silence,
    /// Close the connection.
    Hangup,
}

/// One BMC's Redfish service.
#[derive(Debug)]
pub struct Redfish {
    personality: Arc<Personality>,
    quirks: Arc<Quirks>,
    machine: Machine,
    chassis: Chassis,
    users: SharedAccounts,
    sessions: Sessions,
    tasks: Tasks,
    bios: Bios,
    /// What goes wrong.
    pub faults: Faults,
    /// The BMC resets itself until then.
    away_until: Option<Instant>,
    /// Boot and power cannot be changed until then.
    busy_until: Option<Instant>,
}

// === impl Machine ===

impl Machine {
    /// UUID of the BMC, which is another one than that of the system.
    fn manager_uuid(&self) -> Uuid {
        Uuid::from_u128(self.uuid.as_u128() ^ 0xb3c)
    }
}

// === impl Redfish ===

impl Redfish {
    /// A service of this vendor over this chassis and these accounts. The seed makes the tokens of sessions.
    #[must_use]
    pub fn new(
        personality: Arc<Personality>,
        quirks: Arc<Quirks>,
        machine: Machine,
        chassis: Chassis,
        users: SharedAccounts,
        seed: u64,
    ) -> Self {
        let sessions = Sessions::new(&quirks.sessions, seed);
        let bios = Bios::new(chassis.power().edges);
        let (tasks, faults) = (Tasks::default(), Faults::default());
        let (away_until, busy_until) = (None, None);
        Self { personality, quirks, machine, chassis, users, sessions, tasks, bios, faults, away_until, busy_until }
    }

    /// Is a connection met with silence, before even TLS is spoken?
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.faults.deaf()
    }

    /// Forgets who is logged in, as a BMC does that starts anew.
    pub fn end_sessions(&mut self) {
        self.sessions.clear();
    }

    /// Answers one request.
    pub fn handle(&mut self, request: &Request<Bytes>, caller: Caller) -> Verdict {
        let path = request.uri().path();
        let plain = path.strip_suffix('/').unwrap_or(path);
        let fault = self.faults.meet(request.method(), plain);
        let mut delay = Duration::ZERO;
        match &fault {
            Some(Fault::BlackHole) => return Verdict::Silence,
            Some(Fault::Hangup) => return Verdict::Hangup,
            Some(Fault::Unavailable { retry_after }) => {
                return Verdict::Answer(answer::problem(&Problem::unavailable(*retry_after)), delay);
            }
            Some(Fault::Refuse { status }) => {
                return Verdict::Answer(answer::problem(&Problem::refused(*status)), delay);
            }
            Some(Fault::NotJson) => return Verdict::Answer(answer::not_json(), delay),
            Some(Fault::WrongShape) => return Verdict::Answer(answer::wrong_shape(), delay),
            Some(Fault::Delay { ms }) => delay = Duration::from_millis((*ms).into()),
            Some(Fault::LieAboutPower | Fault::AcknowledgeOnly | Fault::SessionsFull) | None => {}
        }
        let mut response =
            self.respond(request, caller, fault.as_ref()).unwrap_or_else(|problem| answer::problem(&problem));
        if *request.method() == Method::HEAD {
            response = answer::without_body(response);
        }
        Verdict::Answer(response, delay)
    }

    fn respond(
        &mut self,
        request: &Request<Bytes>,
        caller: Caller,
        fault: Option<&Fault>,
    ) -> Result<Response<Bytes>, Problem> {
        let (method, path) = (request.method(), request.uri().path());
        self.pass_time(caller.now)?;
        let version = request.headers().get("odata-version");
        if version.is_some_and(|v| v.as_bytes() != b"4.0") {
            return Err(Problem::precondition_failed());
        }
        let quirks = Arc::clone(&self.quirks);
        let target = locate(path, &quirks);
        let open = target.is_some_and(|t| public(t.kind) || (t.kind == Kind::Sessions && *method == Method::POST));
        let who = if open { None } else { Some(auth::requester(self, request.headers(), path, caller)?) };
        if self.redirected(method, path) {
            return Ok(answer::redirect(&format!("{path}/")));
        }
        let target = target.ok_or_else(|| Problem::missing(path))?;
        let methods = allowed(target.kind, &quirks);
        if !methods.contains(method) {
            return Ok(answer::not_allowed(method, methods));
        }
        if let Some(who) = &who {
            auth::permit(self, who, method, target)?;
        }
        if let Some(parameter) = request.uri().query().and_then(dollar) {
            return Err(Problem::query(parameter));
        }
        if *method == Method::GET || *method == Method::HEAD {
            return self.read(request, target, caller.now, fault);
        }
        self.write(request, target, who.as_ref(), caller, fault)
    }

    /// What happened by itself since the last request.
    fn pass_time(&mut self, now: Now) -> Result<(), Problem> {
        self.sessions.expire(now.wall);
        let power = self.chassis.power();
        self.bios.follow(power.edges, power.on);
        match self.away_until {
            Some(until) if now.steady < until => Err(Problem::unavailable((until - now.steady).as_secs() + 1)),
            Some(_) => {
                self.away_until = None;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn redirected(&self, method: &Method, path: &str) -> bool {
        self.quirks.redirects
            && *method == Method::GET
            && !path.ends_with('/')
            && path != "/redfish"
            && !path.contains('$')
    }

    fn read(
        &mut self,
        request: &Request<Bytes>,
        target: Target<'_>,
        now: Now,
        fault: Option<&Fault>,
    ) -> Result<Response<Bytes>, Problem> {
        if target.kind == Kind::Metadata {
            return Ok(answer::xml(documents::METADATA));
        }
        let missing = || Problem::missing(request.uri().path());
        let mut document = documents::render(self, target, now).ok_or_else(missing)?;
        if fault == Some(&Fault::LieAboutPower) && document.get("PowerState").is_some() {
            document["PowerState"] = if self.chassis.is_on() { "Off".into() } else { "On".into() };
        }
        let tag = answer::etag(&document, self.quirks.etags.weak);
        let same = |v: &hyper::header::HeaderValue| v.as_bytes() == tag.as_bytes();
        if request.headers().get("if-none-match").is_some_and(same) {
            return Ok(answer::not_modified(&tag));
        }
        documents::add_time(target.kind, &mut document, now.wall);
        let monitored =
            target.kind == Kind::TaskMonitor && !self.tasks.get(target.id).is_some_and(|t| t.is_done(now.wall));
        let status = if monitored { StatusCode::ACCEPTED } else { StatusCode::OK };
        let methods = allowed(target.kind, &self.quirks);
        Ok(answer::document(status, &mut document, &tag, methods, target.kind))
    }

    /// The accounts of this BMC.
    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first query parameter of the protocol's own; all others mean nothing.
fn dollar(query: &str) -> Option<&str> {
    query.split('&').map(|p| p.split('=').next().unwrap_or(p)).find(|name| name.starts_with('$'))
}

#[cfg(test)]
mod tests;
