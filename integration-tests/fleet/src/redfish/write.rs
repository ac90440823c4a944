//! Changes: PATCH, POST and DELETE. Each is checked whole before anything of it is done.

use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Method, Request, Response, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::{
    Caller, Fault, Now, Redfish, accounts, answer,
    auth::Requester,
    bios::{Bios, KEY_RESETS},
    boot, documents,
    problem::Problem,
    quirks::Acknowledge,
    resource::{Kind, Target},
};
use crate::chassis::Cause;

/// A change as it came.
pub(super) struct Change<'a> {
    pub(super) body: Map<String, Value>,
    pub(super) target: Target<'a>,
    pub(super) who: Option<&'a Requester>,
    pub(super) caller: Caller,
    /// Answer as if it was done, and do nothing.
    pub(super) pretend: bool,
    pub(super) sessions_full: bool,
}

impl Redfish {
    /// Carries out a change.
    pub(super) fn write(
        &mut self,
        request: &Request<Bytes>,
        target: Target<'_>,
        who: Option<&Requester>,
        caller: Caller,
        fault: Option<&Fault>,
    ) -> Result<Response<Bytes>, Problem> {
        let method = request.method();
        if *method == Method::PATCH || *method == Method::DELETE {
            self.precondition(request, target, caller.now)?;
        }
        let body = if *method == Method::DELETE { Map::new() } else { body(request)? };
        let pretend = fault == Some(&Fault::AcknowledgeOnly);
        let sessions_full = fault == Some(&Fault::SessionsFull);
        let change = Change { body, target, who, caller, pretend, sessions_full };
        match target.kind {
            Kind::Sessions => self.open_session(&change),
            Kind::Session => self.close_session(&change),
            Kind::SessionService => self.patch_session_service(&change),
            Kind::Accounts => accounts::create(self, &change),
            Kind::Account if *method == Method::DELETE => accounts::delete(self, &change),
            Kind::Account => accounts::patch(self, &change),
            Kind::System | Kind::SystemSettings => self.patch_boot(&change),
            Kind::SystemReset => self.reset_system(&change),
            Kind::ManagerReset => self.reset_manager(&change),
            Kind::BiosSettings => self.patch_bios(&change),
            Kind::BiosReset => self.reset_bios(&change),
            Kind::SecureBoot => self.patch_secure_boot(&change),
            Kind::SecureBootKeys => self.reset_keys(&change),
            Kind::Versions
            | Kind::Root
            | Kind::ServiceDocument
            | Kind::Metadata
            | Kind::Systems
            | Kind::SystemResetInfo
            | Kind::SystemInterfaces
            | Kind::SystemInterface
            | Kind::Bios
            | Kind::LogServices
            | Kind::LogService
            | Kind::LogEntries
            | Kind::LogEntry
            | Kind::Managers
            | Kind::Manager
            | Kind::ManagerResetInfo
            | Kind::ManagerInterfaces
            | Kind::ManagerInterface
            | Kind::NetworkProtocol
            | Kind::ChassisCollection
            | Kind::Chassis
            | Kind::AccountService
            | Kind::Roles
            | Kind::Role
            | Kind::TaskService
            | Kind::Tasks
            | Kind::Task
            | Kind::TaskMonitor
            | Kind::UpdateService
            | Kind::Inventory
            | Kind::Firmware
            | Kind::Registries
            | Kind::Registry => Err(Problem::not_allowed(method.as_str())),
        }
    }

    /// Checks `If-Match` against what the resource is now.
    fn precondition(&self, request: &Request<Bytes>, target: Target<'_>, now: Now) -> Result<(), Problem> {
        let rules = &self.quirks.etags;
        let wanted = request.headers().get("if-match").and_then(|v| v.to_str().ok());
        let Some(wanted) = wanted else {
            let needed = *request.method() == Method::PATCH && rules.needed_on.contains(&target.kind);
            return if needed { Err(Problem::precondition_required()) } else { Ok(()) };
        };
        if wanted.trim() == "*" {
            return if rules.rejects_any { Err(Problem::precondition_failed()) } else { Ok(()) };
        }
        let missing = || Problem::missing(request.uri().path());
        let current = answer::etag(&documents::render(self, target, now).ok_or_else(missing)?, rules.weak);
        let fits = wanted.split(',').any(|tag| tag.trim() == current);
        if fits { Ok(()) } else { Err(Problem::precondition_failed()) }
    }

    // === sessions ===

    fn open_session(&mut self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        let text = |name| match change.body.get(name) {
            None => Err(Problem::needed(name)),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(value) => Err(Problem::wrong_type(&redacted(name, value), name)),
        };
        let (name, password) = (text("UserName")?, text("Password")?);
        only(&change.body, &["UserName", "Password"])?;
        let Caller { from, now } = change.caller;
        let refused = || Problem::unauthenticated("/redfish/v1/SessionService/Sessions");
        let mut accounts = self.accounts();
        let slot = accounts.login(name, password, from, now.steady).map_err(|_| refused())?;
        let privilege = accounts.user(slot).map_err(|_| refused())?.access.privilege;
        drop(accounts);
        if !super::auth::has(privilege, super::auth::Right::Login) {
            return Err(Problem::privilege());
        }
        if change.sessions_full {
            return Err(Problem::sessions_full());
        }
        let (session, token) = self.sessions.open(slot, name, now.wall).ok_or_else(Problem::sessions_full)?;
        let id = session.id.clone();
        let target = Target { kind: Kind::Session, id: &id };
        let document = documents::render(self, target, now).ok_or_else(Problem::no_session)?;
        let uri = format!("/redfish/v1/SessionService/Sessions/{id}");
        Ok(answer::with_token(answer::created(&uri, &document), &token))
    }

    fn close_session(&mut self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        let id = change.target.id;
        if self.sessions.get(id).is_none() {
            return Err(Problem::missing(&format!("/redfish/v1/SessionService/Sessions/{id}")));
        }
        self.sessions.close(id);
        Ok(self.acknowledge(self.quirks.sessions.delete, "Session", change.caller.now))
    }

    fn patch_session_service(&mut self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        only(&change.body, &["SessionTimeout"])?;
        let Some(value) = change.body.get("SessionTimeout") else { return Err(Problem::body_needed()) };
        let seconds = value.as_u64().ok_or_else(|| Problem::wrong_type(value, "SessionTimeout"))?;
        let fits = u32::try_from(seconds).ok().filter(|s| (30..=86_400).contains(s));
        let seconds = fits.ok_or_else(|| Problem::refused_value("SessionTimeout", "30 to 86400 is allowed"))?;
        if !change.pretend {
            self.sessions.timeout_s = seconds;
        }
        self.changed(change)
    }

    // === system and manager ===

    fn patch_boot(&mut self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        let via_settings = self.quirks.boot.via_settings;
        if via_settings && change.target.kind == Kind::System && change.body.contains_key("Boot") {
            return Err(Problem::read_only("Boot"));
        }
        if let Some(name) = change.body.keys().find(|n| *n != "Boot") {
            let known =
                documents::render(self, change.target, change.caller.now).is_some_and(|d| d.get(name).is_some());
            return Err(if known { Problem::read_only(name) } else { Problem::unknown(name) });
        }
        let Some(value) = change.body.get("Boot") else { return Err(Problem::body_needed()) };
        let Some(patch) = value.as_object() else { return Err(Problem::wrong_type(value, "Boot")) };
        self.ready(change.caller.now)?;
        let next = boot::apply(patch, self.chassis.boot().0, &self.quirks.boot)?;
        if !change.pretend {
            self.chassis.set_boot(next);
        }
        self.changed(change)
    }

    /// After a change of power some BMCs want a rest.
    fn ready(&self, now: Now) -> Result<(), Problem> {
        match self.busy_until {
            Some(until) if now.steady < until => Err(Problem::busy((until - now.steady).as_secs() + 1)),
            Some(_) | None => Ok(()),
        }
    }

    fn reset_system(&mut self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        const ACTION: &str = "ComputerSystem.Reset";
        let kind = parameter(&change.body, "ResetType", ACTION, &self.quirks.reset.system)?;
        self.ready(change.caller.now)?;
        let on = self.chassis.is_on();
        let nothing_to_do = match kind {
            "On" | "ForceOn" => on,
            "PushPowerButton" => false,
            _ => !on,
        };
        if nothing_to_do && self.quirks.reset.refuses_no_change {
            let state = if on { "the system is on already" } else { "the system is off" };
            return Err(Problem::operation_not_allowed(state));
        }
        if !change.pretend {
            let changed = match kind {
                "On" | "ForceOn" => self.chassis.power_on(Cause::Bmc),
                "ForceOff" => self.chassis.power_off(Cause::Bmc),
                "GracefulShutdown" => self.chassis.soft(),
                "ForceRestart" | "GracefulRestart" => self.chassis.reset(Cause::Bmc),
                "PowerCycle" => self.chassis.cycle(Cause::Bmc),
                "PushPowerButton" if on => self.chassis.soft(),
                "PushPowerButton" => self.chassis.power_on(Cause::Bmc),
                // An NMI, which no simulated system reacts to.
                _ => false,
            };
            if changed && self.quirks.boot.busy_ms > 0 {
                let rest = Duration::from_millis(self.quirks.boot.busy_ms.into());
                self.busy_until = Some(change.caller.now.steady + rest);
            }
        }
        Ok(self.acknowledge(self.quirks.reset.answer, "System Reset", change.caller.now))
    }

    fn reset_manager(&mut self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        parameter(&change.body, "ResetType", "Manager.Reset", &self.quirks.reset.manager)?;
        let now = change.caller.now;
        let response = self.acknowledge(self.quirks.reset.answer, "Manager Reset", now);
        if !change.pretend {
            self.sessions.clear();
            self.away_until = Some(now.steady + Duration::from_millis(self.quirks.reset.manager_away_ms.into()));
        }
        Ok(response)
    }

    // === BIOS ===

    fn patch_bios(&mut self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        only(&change.body, &["Attributes", "@Redfish.SettingsApplyTime"])?;
        let Some(value) = change.body.get("Attributes") else { return Err(Problem::needed("Attributes")) };
        let Some(attributes) = value.as_object() else { return Err(Problem::wrong_type(value, "Attributes")) };
        Bios::check(attributes, &self.quirks.bios)?;
        if !change.pretend {
            self.bios.change(attributes);
        }
        match self.quirks.bios_answer {
            Acknowledge::NoContent => self.changed(change),
            how @ (Acknowledge::Message | Acknowledge::Task | Acknowledge::Bare) => {
                Ok(self.acknowledge(how, "BIOS Configuration", change.caller.now))
            }
        }
    }

    fn reset_bios(&mut self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        if let Some(name) = change.body.keys().next() {
            return Err(Problem::parameter_unknown("Bios.ResetBios", name));
        }
        if !change.pretend {
            let quirks = std::sync::Arc::clone(&self.quirks);
            self.bios.reset(&quirks.bios);
        }
        Ok(self.acknowledge(self.quirks.bios_answer, "BIOS Reset", change.caller.now))
    }

    fn patch_secure_boot(&mut self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        only(&change.body, &["SecureBootEnable"])?;
        let Some(value) = change.body.get("SecureBootEnable") else { return Err(Problem::body_needed()) };
        let Some(wanted) = value.as_bool() else { return Err(Problem::wrong_type(value, "SecureBootEnable")) };
        if !change.pretend {
            self.bios.want_secure_boot(wanted);
        }
        self.changed(change)
    }

    fn reset_keys(&mut self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        let kinds = KEY_RESETS.map(str::to_owned);
        let kind = parameter(&change.body, "ResetKeysType", "SecureBoot.ResetKeys", &kinds)?;
        if !change.pretend {
            self.bios.reset_keys(kind);
        }
        Ok(self.acknowledge(Acknowledge::NoContent, "Reset Keys", change.caller.now))
    }

    // === answers ===

    /// A change is done, or begun.
    pub(super) fn acknowledge(&mut self, how: Acknowledge, name: &'static str, now: Now) -> Response<Bytes> {
        match how {
            Acknowledge::NoContent => answer::no_content(),
            Acknowledge::Message => answer::message(),
            Acknowledge::Task => answer::accepted(Some(&self.tasks.begin(name, now.wall))),
            Acknowledge::Bare => answer::accepted(None),
        }
    }

    /// The resource as it is after a change.
    pub(super) fn changed(&self, change: &Change<'_>) -> Result<Response<Bytes>, Problem> {
        let now = change.caller.now;
        let gone = || Problem::missing(change.target.id);
        let mut document = documents::render(self, change.target, now).ok_or_else(gone)?;
        let tag = answer::etag(&document, self.quirks.etags.weak);
        let methods = super::allowed(change.target.kind, &self.quirks);
        Ok(answer::document(hyper::StatusCode::OK, &mut document, &tag, methods, change.target.kind))
    }
}

/// The JSON object of a request.
fn body(request: &Request<Bytes>) -> Result<Map<String, Value>, Problem> {
    if request.body().is_empty() {
        return Ok(Map::new());
    }
    if !is_json(request.headers()) {
        return Err(Problem::media_type());
    }
    match serde_json::from_slice(request.body()) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Problem::body_needed()),
        Err(_) => Err(Problem::malformed()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// Refuses properties that cannot be written here. OData annotations mean nothing.
pub(super) fn only(body: &Map<String, Value>, names: &[&str]) -> Result<(), Problem> {
    let other = body.keys().find(|n| !names.contains(&n.as_str()) && !n.starts_with("@odata."));
    other.map_or(Ok(()), |name| Err(Problem::unknown(name)))
}

/// A value that may be shown: not the one of a password.
pub(super) fn redacted(name: &str, value: &Value) -> Value {
    if name == "Password" { Value::Null } else { value.clone() }
}

/// The one parameter of an action, from a list of words.
fn parameter<'a>(
    body: &'a Map<String, Value>,
    name: &str,
    action: &str,
    allowed: &[String],
) -> Result<&'a str, Problem> {
    if let Some(other) = body.keys().find(|n| *n != name) {
        return Err(Problem::parameter_unknown(action, other));
    }
    let value = body.get(name).ok_or_else(|| Problem::parameter_missing(action, name))?;
    let word = value.as_str().ok_or_else(|| Problem::parameter_type(value, name, action))?;
    if allowed.iter().any(|a| a == word) { Ok(word) } else { Err(Problem::parameter_not_listed(word, name, action)) }
}
