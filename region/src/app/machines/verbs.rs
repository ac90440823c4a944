//! The verbs that change one machine: check, compare-and-set, one transaction.

use std::net::Ipv4Addr;

use farrier_common::{hardware::BmcProtocol, id::RackId, secret::Secret, tls::Fingerprint, webhook::Webhook};

use super::{
    super::{App, context::Ask},
    user_data_purpose,
};
use crate::{
    crash::Point,
    domain::{
        Error, Result,
        advance::Change,
        bmc::Bmc,
        lifecycle::Event,
        machine::{InBand, Machine},
        script::{self, Chosen},
        verbs::{self as rules, Asked, Reached},
    },
    racks::given_purpose,
    store::{Extra, MachineView, Once},
};

/// How often a verb is tried when the engine changes the machine at the same time.
pub(super) const TRIES: usize = 8;

/// A BMC and an account on it that exists.
#[derive(Clone, Debug)]
pub struct GivenBmc {
    /// How it is spoken to; `None`: to be found out.
    pub protocol: Option<BmcProtocol>,
    /// Where.
    pub address: Ipv4Addr,
    /// `None`: the protocol's own. None without a protocol.
    pub port: Option<u16>,
    /// The account.
    pub username: String,
    /// Its password.
    pub password: Secret<String>,
    /// Make no account of our own.
    pub use_as_is: bool,
    /// Take an account of our name over.
    pub take_over: bool,
    /// Redfish: the certificate that it must show; `None`: the one that is seen first.
    pub certificate: Option<Fingerprint>,
    /// Redfish: `Id` of the system, if the BMC has several.
    pub system: String,
    /// Webhook: what is asked where.
    pub webhook: Option<Webhook>,
}

/// How a machine is switched from now on.
#[derive(Clone, Debug)]
pub enum Way {
    /// By a BMC, with an account on it that exists.
    Given(Box<GivenBmc>),
    /// By a BMC, with an account that the machine's own agent makes.
    InBand(InBand),
    /// By people.
    Manual,
}

impl GivenBmc {
    /// Without the password.
    pub(super) fn endpoint(&self) -> Bmc {
        Bmc {
            protocol: self.protocol,
            port: self.port.or(self.protocol.map(BmcProtocol::port)).unwrap_or_default(),
            managed: false,
            use_as_is: self.use_as_is,
            certificate: self.certificate,
            system: self.system.clone(),
            webhook: self.webhook.clone(),
            take_over: self.take_over,
            ..Bmc::ours(self.address, self.username.clone())
        }
    }
}

impl App {
    /// Learns a machine (again), and perhaps leaves it on with SSH for the caller's keys.
    ///
    /// # Errors
    /// Refused, denied, its BMC is not known, or what was chosen is not there.
    pub async fn commission(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        way: Option<Way>,
        chosen: &Chosen,
    ) -> Result<Once<MachineView>> {
        let ssh = self.stay_up_keys(ask, chosen.stay_up).await?;
        let found = self.machine_get(&ask.user, which).await?;
        let given = match &way {
            Some(Way::Given(given)) => Some(&**given),
            Some(Way::InBand(_) | Way::Manual) | None => None,
        };
        let rack = self.rack_if_missing(&found.machine, given).await?;
        let known = self.scripts_known(chosen.scripts.iter().chain(&chosen.tests)).await?;
        self.change(ask, which, "commission", |asked, m| {
            // Whether the machine may be commissioned comes first: it is what he asks about.
            rules::edge(asked.user, m, Event::Commission)?;
            let wishes = chosen.resolve(&known, &self.policy.default_tests)?;
            let reached = match &way {
                Some(Way::Given(given)) => Reached::Given(Box::new(given.endpoint())),
                Some(Way::InBand(in_band)) => Reached::InBand(*in_band),
                Some(Way::Manual) => Reached::Manual,
                None => Reached::Known,
            };
            let mut change = rules::commission(asked, m, reached, wishes)?;
            change.machine.rack = change.machine.rack.or(rack);
            change.machine.details.stay_up = chosen.stay_up;
            change.machine.details.ssh = ssh.clone();
            Ok((change, self.given_password(m, given.map(|b| &b.password))))
        })
        .await
    }

    /// Runs hardware tests on a machine that is ready: the named ones, or all built-in ones.
    ///
    /// # Errors
    /// Refused, denied, or there is no such test.
    pub async fn test(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        tests: &[String],
        comment: &str,
    ) -> Result<Once<MachineView>> {
        let known = self.scripts_known(tests).await?;
        self.change(ask, which, "test", |asked, m| {
            rules::edge(asked.user, m, Event::Test)?;
            let tests = script::tests(tests, &known)?;
            Ok((rules::test(asked, m, tests, comment)?, Extra::default()))
        })
        .await
    }

    /// Gives a machine back.
    ///
    /// # Errors
    /// Refused, denied, or erasing is required.
    pub async fn release(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        skip_erase: bool,
        comment: &str,
    ) -> Result<Once<MachineView>> {
        let may_skip = !self.policy.require_erase;
        self.change(ask, which, "release", |asked, m| {
            // The next owner's deployment must not find it, nor anybody keep it.
            let extra = Extra { forget: vec![user_data_purpose(m.id)], ..Extra::default() };
            Ok((rules::release(asked, m, skip_erase, may_skip, comment)?, extra))
        })
        .await
    }

    /// Stops the work in progress.
    ///
    /// # Errors
    /// Refused or denied.
    pub async fn abort(&self, ask: &Ask<MachineView>, which: &str, comment: &str) -> Result<Once<MachineView>> {
        self.change(ask, which, "abort", |asked, m| Ok((rules::abort(asked, m, comment)?, Extra::default()))).await
    }

    /// Applies what `plan` makes of the machine, as it is when it is written. The engine may commit in between: then the
    /// plan is made anew, unless the caller insists on a version. Refuses `verb` if the machine is locked.
    pub(super) async fn change(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        verb: &str,
        plan: impl Fn(&Asked<'_>, &Machine) -> Result<(Change, Extra)>,
    ) -> Result<Once<MachineView>> {
        self.change_locked(ask, which, |asked, m| {
            rules::unlocked(m, verb)?;
            plan(asked, m)
        })
        .await
    }

    /// The same, also if the machine is locked: for unlocking it.
    pub(super) async fn change_locked(
        &self,
        ask: &Ask<MachineView>,
        which: &str,
        plan: impl Fn(&Asked<'_>, &Machine) -> Result<(Change, Extra)>,
    ) -> Result<Once<MachineView>> {
        for _ in 0..TRIES {
            let view = self.machine_get(&ask.user, which).await?;
            ask.still(view.machine.name.as_str(), view.machine.etag())?;
            ask.still_in(&view.machine)?;
            let (change, extra) = plan(&self.asked(ask), &view.machine)?;
            match self.apply(ask, &view, change, extra).await {
                Err(Error::Conflict { .. }) if ask.etag.is_none() => {}
                other => return other,
            }
        }
        Err(Error::Unavailable(format!("machine {which} changes all the time; try again")))
    }

    async fn apply(
        &self,
        ask: &Ask<MachineView>,
        view: &MachineView,
        change: Change,
        extra: Extra,
    ) -> Result<Once<MachineView>> {
        let leads_to = change.edge.map_or(change.machine.state, |edge| edge.to).as_str();
        self.crash.at(Point::VerbReceived, leads_to);
        let render = self.in_transaction(ask);
        let done = self.store.machine_apply(Some(&ask.request), change, view.machine.version, extra, render).await?;
        self.passed(&done);
        Ok(done)
    }

    /// The renderer of the answer, which runs while the verb's transaction is open.
    pub(super) fn in_transaction(
        &self,
        ask: &Ask<MachineView>,
    ) -> impl FnOnce(&MachineView) -> Vec<u8> + Send + 'static + use<> {
        let (render, crash) = (std::sync::Arc::clone(&ask.render), self.crash.clone());
        move |view| {
            crash.at(Point::VerbBeforeCommit, view.machine.state.as_str());
            render(view)
        }
    }

    /// A verb is committed, and nobody has been told.
    pub(super) fn passed(&self, done: &Once<MachineView>) {
        if let Once::Fresh(view) = done {
            self.crash.at(Point::VerbCommitted, view.machine.state.as_str());
        }
    }

    fn asked<'a>(&'a self, ask: &'a Ask<MachineView>) -> Asked<'a> {
        Asked { user: &ask.user, deadlines: &self.policy.deadlines, now: self.clock.now() }
    }

    /// The password that was given for a machine's BMC, sealed.
    pub(super) fn given_password(&self, m: &Machine, password: Option<&Secret<String>>) -> Extra {
        let secrets = password.map(|password| {
            let purpose = given_purpose(m);
            let sealed = self.vault.seal(&purpose, password.expose().as_bytes());
            (purpose, sealed)
        });
        Extra::from(secrets.into_iter().collect::<Vec<_>>())
    }

    async fn rack_if_missing(&self, m: &Machine, bmc: Option<&GivenBmc>) -> Result<Option<RackId>> {
        match (m.rack, bmc) {
            (None, Some(bmc)) => self.rack_that_reaches(bmc.address).await.map(Some),
            (Some(_), _) | (None, None) => Ok(None),
        }
    }
}
