//! The calls about a machine's BMC, made through the machine's rack.

use std::future::Future;

use farrier_common::{
    clock::Timestamp,
    hardware::{BmcProtocol, BootDevice, Firmware, PowerState},
    id::{MachineId, RackId},
    secret::Secret,
    tls::Fingerprint,
};
use farrier_proto::{convert, rack};
use tonic::{Code, Response, Status};

use super::{Client, Racks, dial::trouble, permanent, transient};
use crate::{
    domain::{
        bmc::{self, Bmc, BmcFacts, Exchange},
        machine::Machine,
        observation::{Trouble, TroubleKind},
    },
    store::Extra,
};

/// What a probe found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// How the BMC is spoken to.
    pub protocol: BmcProtocol,
    /// The chassis power.
    pub power: Option<PowerState>,
    /// The certificate that it proved to hold, if its protocol has any.
    pub certificate: Option<Fingerprint>,
    /// What it tells of itself.
    pub facts: BmcFacts,
    /// All of it in one line, for people.
    pub text: String,
}

/// Who waits for an answer: a rack asks a BMC first what is waited for most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Nobody; it is asked on schedule.
    Poll,
    /// Somebody who looks.
    Person,
    /// A machine in work.
    Engine,
}

impl Racks {
    /// Logs in to the machine's BMC; finds out how, if that is not known.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses.
    pub async fn probe_bmc(&self, m: &Machine) -> Result<Probed, Trouble> {
        probed(self.call(m, "log in", probe).await?, self.inner.clock.now())
    }

    /// The same with a password that is not kept yet.
    ///
    /// # Errors
    /// As [`Racks::probe_bmc`].
    pub async fn probe_bmc_with(&self, m: &Machine, password: &Secret<String>) -> Result<Probed, Trouble> {
        let bmc = wire(known(m)?, password);
        probed(self.try_once(m, "log in", bmc, &probe).await?, self.inner.clock.now())
    }

    /// Asks the chassis power, for `who`.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses.
    pub async fn get_power(&self, m: &Machine, who: Asker) -> Result<PowerState, Trouble> {
        let urgency = match who {
            Asker::Poll => rack::Urgency::Poll,
            Asker::Person => rack::Urgency::Person,
            Asker::Engine => rack::Urgency::Lifecycle,
        };
        let ask = move |mut c: Client, bmc: rack::Bmc| {
            let request = rack::GetPowerRequest { bmc: Some(bmc), urgency: urgency.into() };
            async move { c.get_power(request).await }
        };
        let r = self.call(m, "tell the power", ask).await?;
        convert::power_from_wire(r.power).ok_or_else(|| transient("the BMC did not tell the power state"))
    }

    /// Brings the chassis to a state and answers when the BMC confirms it.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses, or the state does not come.
    pub async fn set_power(&self, m: &Machine, power: PowerState) -> Result<PowerState, Trouble> {
        let ask = move |mut c: Client, bmc: rack::Bmc| {
            let request = rack::SetPowerRequest { bmc: Some(bmc), power: convert::power_to_wire(power).into() };
            async move { c.set_power(request).await }
        };
        let r = self.call(m, &format!("power {power}"), ask).await?;
        convert::power_from_wire(r.power).ok_or_else(|| transient("the BMC did not tell the power state"))
    }

    /// Off and on again. Not a level: the engine never does this.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses.
    pub async fn cycle_power(&self, m: &Machine) -> Result<(), Trouble> {
        let request = rack::CyclePowerRequest { bmc: Some(self.bmc(m).await?) };
        let mut client = self.inner.client(rack_of(m)?).await?;
        let cycled = client.cycle_power(request).await.map(drop).map_err(|s| trouble(&s));
        self.inner.exchanges.note(m.id, self.inner.clock.now(), "power cycle", &cycled);
        cycled
    }

    /// Chooses what the next boot, and it alone, starts from.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses.
    pub async fn set_boot_device(&self, m: &Machine, device: BootDevice) -> Result<(), Trouble> {
        let device = match device {
            BootDevice::Network => rack::BootDevice::Network,
            BootDevice::Disk => rack::BootDevice::Disk,
        };
        let uefi = m.firmware != Some(Firmware::Bios);
        let ask = move |mut c: Client, bmc: rack::Bmc| {
            let request = rack::SetBootDeviceRequest { bmc: Some(bmc), device: device.into(), uefi };
            async move { c.set_boot_device(request).await }
        };
        self.call(m, "set the boot device", ask).await?;
        Ok(())
    }

    /// Makes the account `username` with our own password exist; says whether it was made now.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses; the account is taken, or there is no room for it.
    pub async fn ensure_bmc_account(&self, m: &Machine, username: &str) -> Result<bool, Trouble> {
        let password = self.password(&own_purpose(m)).await?;
        let take_over = m.details.bmc.as_ref().is_some_and(|b| b.take_over);
        let username = username.to_owned();
        let ask = move |mut c: Client, bmc: rack::Bmc| {
            let request = rack::EnsureBmcAccountRequest {
                bmc: Some(bmc),
                username: username.clone(),
                password: password.expose().clone(),
                take_over,
            };
            async move { c.ensure_bmc_account(request).await }
        };
        Ok(self.call(m, "make the account", ask).await?.created)
    }

    /// Gives our account the password that is to come, and has it proven; answers what then becomes of the secrets: it is the one
    /// in use, and the one before is kept aside.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses, or goes on with the old password.
    pub async fn change_bmc_password(&self, m: &Machine) -> Result<Extra, Trouble> {
        let bmc = self.bmc(m).await?;
        let password = self.password(&pending_purpose(m)).await?;
        let ask = |mut c: Client, bmc: rack::Bmc| {
            let request = rack::ChangeBmcPasswordRequest { bmc: Some(bmc), new_password: password.expose().clone() };
            async move { c.change_bmc_password(request).await }
        };
        let seal = |purpose: String, plain: &str| {
            let sealed = self.inner.vault.seal(&purpose, plain.as_bytes());
            (purpose, sealed)
        };
        let secrets = vec![seal(previous_purpose(m), &bmc.password), seal(own_purpose(m), password.expose())];
        self.try_once(m, "change the password", bmc, &ask).await?;
        Ok(Extra { secrets, forget: vec![pending_purpose(m)], ..Extra::default() })
    }

    /// Starts the BMC itself anew.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses.
    pub async fn reset_bmc(&self, m: &Machine) -> Result<(), Trouble> {
        let request = rack::ResetBmcRequest { bmc: Some(self.bmc(m).await?) };
        let mut client = self.inner.client(rack_of(m)?).await?;
        let reset = client.reset_bmc(request).await.map(drop).map_err(|s| trouble(&s));
        self.inner.exchanges.note(m.id, self.inner.clock.now(), "start anew", &reset);
        reset
    }

    /// The password of the account in use, for an admin who asked for it.
    ///
    /// # Errors
    /// No BMC is known, or nothing is kept for it.
    pub async fn reveal(&self, m: &Machine) -> Result<Secret<String>, Trouble> {
        let bmc = self.bmc(m).await?;
        Ok(Secret::new(bmc.password))
    }

    /// Asks the system to shut down in order; answers when the BMC has taken the command.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses.
    pub async fn soft_off(&self, m: &Machine) -> Result<(), Trouble> {
        let request = rack::SoftOffRequest { bmc: Some(self.bmc(m).await?) };
        let mut client = self.inner.client(rack_of(m)?).await?;
        let asked = client.soft_off(request).await.map(drop).map_err(|s| trouble(&s));
        self.inner.exchanges.note(m.id, self.inner.clock.now(), "shut down", &asked);
        asked
    }

    /// Takes our account `username` off the BMC, and has it proven that it is refused; says whether it was there.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses.
    pub async fn remove_bmc_account(&self, m: &Machine, username: &str) -> Result<bool, Trouble> {
        let username = username.to_owned();
        let ask = move |mut c: Client, bmc: rack::Bmc| {
            let request = rack::RemoveBmcAccountRequest { bmc: Some(bmc), username: username.clone() };
            async move { c.remove_bmc_account(request).await }
        };
        Ok(self.call(m, "remove the account", ask).await?.removed)
    }

    /// The last exchange with the machine's BMC that this process knows of.
    #[must_use]
    pub fn last_exchange(&self, machine: MachineId) -> Option<Exchange> {
        self.inner.exchanges.last(machine)
    }

    /// The last exchanges with the machine's BMC that this process knows of, the newest first.
    #[must_use]
    pub fn exchanges(&self, machine: MachineId) -> Vec<Exchange> {
        self.inner.exchanges.all(machine)
    }

    /// One call that may be repeated. A refused login is tried once more if our account may have another password by now: BMCs
    /// are asked while their passwords are being changed.
    pub(super) async fn call<T, F, A>(&self, m: &Machine, asked: &str, ask: F) -> Result<T, Trouble>
    where
        F: Fn(Client, rack::Bmc) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let bmc = self.bmc(m).await?;
        match self.try_once(m, asked, bmc.clone(), &ask).await {
            Err(t) if t.kind == TroubleKind::Refused => match self.other_password(m, &bmc.password).await? {
                Some(other) => {
                    self.try_once(m, asked, rack::Bmc { password: other.expose().clone(), ..bmc }, &ask).await
                }
                None => Err(t),
            },
            other => other,
        }
    }

    /// One call with one password: a connection that broke (the rack was restarted) is made anew once.
    async fn try_once<T, F, A>(&self, m: &Machine, asked: &str, bmc: rack::Bmc, ask: &F) -> Result<T, Trouble>
    where
        F: Fn(Client, rack::Bmc) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let client = self.inner.client(rack_of(m)?).await?;
        let first = ask(client.clone(), bmc.clone()).await;
        let answer = match first {
            Err(s) if s.code() == Code::Unavailable && s.message().contains("transport error") => {
                ask(client, bmc).await
            }
            other => other,
        };
        let outcome = answer.map(Response::into_inner).map_err(|s| trouble(&s));
        self.inner.exchanges.note(m.id, self.inner.clock.now(), asked, &outcome);
        outcome
    }

    async fn bmc(&self, m: &Machine) -> Result<rack::Bmc, Trouble> {
        let bmc = known(m)?;
        Ok(wire(bmc, &self.password(&password_purpose(m, bmc)).await?))
    }

    async fn password(&self, purpose: &str) -> Result<Secret<String>, Trouble> {
        self.kept(purpose).await?.ok_or_else(|| permanent("no password is kept for this machine's BMC"))
    }

    /// A password that our account may have instead of `used`: one that has come into use since, or that is to come.
    async fn other_password(&self, m: &Machine, used: &str) -> Result<Option<Secret<String>>, Trouble> {
        if !m.details.bmc.as_ref().is_some_and(|b| b.managed) {
            return Ok(None);
        }
        for purpose in [own_purpose(m), pending_purpose(m)] {
            if let Some(other) = self.kept(&purpose).await?.filter(|p| p.expose() != used) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// The password that our account on the machine's BMC has, or is to have.
    ///
    /// # Errors
    /// None is kept, or the database does not answer.
    pub async fn own_password(&self, m: &Machine) -> Result<Secret<String>, Trouble> {
        self.password(&own_purpose(m)).await
    }

    async fn kept(&self, purpose: &str) -> Result<Option<Secret<String>>, Trouble> {
        let sealed = self.inner.store.secret_get(purpose).await.map_err(|e| transient(e.to_string()))?;
        let Some(sealed) = sealed else { return Ok(None) };
        let plain = self.inner.vault.open_sealed(purpose, &sealed).map_err(|e| permanent(e.to_string()))?;
        let text = String::from_utf8(plain.expose().clone());
        text.map(|t| Some(Secret::new(t)))
            .map_err(|_| permanent("the password kept for this machine's BMC is not text"))
    }
}

fn known(m: &Machine) -> Result<&Bmc, Trouble> {
    m.details.bmc.as_ref().ok_or_else(|| permanent("no BMC is known for this machine"))
}

fn wire(bmc: &Bmc, password: &Secret<String>) -> rack::Bmc {
    rack::Bmc {
        protocol: bmc.protocol.map_or(0, |p| convert::protocol_to_wire(p).into()),
        address: bmc.address.to_string(),
        port: bmc.port.into(),
        username: bmc.username.clone(),
        password: password.expose().clone(),
        certificate_sha256: bmc.certificate.map(|c| c.to_string()).unwrap_or_default(),
        system: bmc.system.clone(),
        webhook: bmc.webhook.clone().map(convert::webhook_to_wire),
    }
}

async fn probe(mut client: Client, bmc: rack::Bmc) -> Result<Response<rack::ProbeBmcResponse>, Status> {
    client.probe_bmc(rack::ProbeBmcRequest { bmc: Some(bmc) }).await
}

/// Where the vault keeps the password of an account of our own.
#[must_use]
pub fn own_purpose(m: &Machine) -> String {
    format!("bmc-own/{}", m.id)
}

/// Where the vault keeps the password that an account of our own is to get.
#[must_use]
pub fn pending_purpose(m: &Machine) -> String {
    format!("bmc-pending/{}", m.id)
}

/// Where the vault keeps the password that an account of our own had before.
#[must_use]
pub fn previous_purpose(m: &Machine) -> String {
    format!("bmc-previous/{}", m.id)
}

/// Where the vault keeps the password of the account that an admin gave.
#[must_use]
pub fn given_purpose(m: &Machine) -> String {
    format!("bmc-given/{}", m.id)
}

fn password_purpose(m: &Machine, bmc: &Bmc) -> String {
    if bmc.managed { own_purpose(m) } else { given_purpose(m) }
}

fn probed(r: rack::ProbeBmcResponse, observed_at: Timestamp) -> Result<Probed, Trouble> {
    let told = |what: &str, why: String| transient(format!("the rack told the BMC's {what}: {why}"));
    let protocol = convert::protocol_from_wire(r.protocol)
        .ok_or_else(|| told("protocol", format!("{} is unknown", r.protocol)))?;
    let facts = BmcFacts {
        observed_at,
        firmware_version: r.firmware_version,
        capabilities: r.capabilities,
        speaks: r.speaks.into_iter().filter_map(convert::protocol_from_wire).collect(),
        because: if r.because.is_empty() { "whoever set the BMC said so".to_owned() } else { r.because },
        ..BmcFacts::default()
    };
    let power = convert::power_from_wire(r.power);
    if protocol == BmcProtocol::Webhook {
        let told =
            power.map_or_else(|| "nothing of the power".to_owned(), |power| format!("that the power is {power}"));
        let text =
            format!("by webhook, which tells {told}; it can power alone, and has no identity that could be compared");
        return Ok(Probed { protocol, power, certificate: None, facts, text });
    }
    let can = facts.capabilities.join(", ");
    let (firmware, because) = (&facts.firmware_version, &facts.because);
    let Some(redfish) = r.redfish else {
        let vendor = bmc::maker(r.manufacturer_id);
        let (version, suite, product) = (r.ipmi_version, r.cipher_suite, r.product_id);
        let text = format!(
            "IPMI {version} of {vendor}, product {product}, firmware {firmware}; it can {can}; cipher suite {suite}; chosen \
             because: {because}"
        );
        let cipher_suite = u8::try_from(suite).map_err(|_| told("cipher suite", format!("{suite} is none")))?;
        let facts = BmcFacts { vendor, product: product.to_string(), cipher_suite, ..facts };
        return Ok(Probed { protocol, power, certificate: None, facts, text });
    };
    let certificate = redfish.certificate_sha256.parse().map_err(|e| told("certificate", format!("{e}")))?;
    let text = format!(
        "Redfish {} of {} {}, firmware {firmware}, in {} with serial number {}; it can {can}; vendor rules {}; certificate \
         {certificate}; chosen because: {because}",
        redfish.version,
        redfish.vendor,
        redfish.product,
        redfish.model,
        redfish.serial,
        redfish.rules.join(", "),
    );
    let facts = BmcFacts { vendor: redfish.vendor, product: redfish.product, rules: redfish.rules, ..facts };
    Ok(Probed { protocol, power, certificate: Some(certificate), facts, text })
}

fn rack_of(m: &Machine) -> Result<RackId, Trouble> {
    m.rack.ok_or_else(|| transient("no rack serves this machine yet"))
}
