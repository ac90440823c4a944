//! The calls about a machine's BMC, made through the machine's rack.

use std::future::Future;

use farrier_common::{
    hardware::{BootDevice, Firmware, PowerState},
    id::{MachineId, RackId},
    secret::Secret,
    tls::Fingerprint,
};
use farrier_proto::{convert, rack};
use tonic::{Code, Response, Status};

use super::{Client, Exchange, Racks, dial::trouble, permanent, transient};
use crate::domain::{
    machine::{Bmc, Machine},
    observation::Trouble,
};

/// What a BMC says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BmcFacts {
    /// One line for people.
    pub text: String,
    /// The chassis power.
    pub power: Option<PowerState>,
    /// The certificate that it proved to hold, if its protocol has any.
    pub certificate: Option<Fingerprint>,
}

impl Racks {
    /// Logs in to the machine's BMC.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses.
    pub async fn probe_bmc(&self, m: &Machine) -> Result<BmcFacts, Trouble> {
        let bmc = self.bmc(m).await?;
        let ask = move |mut c: Client| {
            let request = rack::ProbeBmcRequest { bmc: Some(bmc.clone()) };
            async move { c.probe_bmc(request).await }
        };
        let r = self.call(m, "log in", ask).await?;
        let power = convert::power_from_wire(r.power);
        let Some(redfish) = &r.redfish else {
            let text = format!(
                "IPMI {}, firmware {}, manufacturer {}, product {}, cipher suite {}",
                r.ipmi_version, r.firmware_version, r.manufacturer_id, r.product_id, r.cipher_suite
            );
            return Ok(BmcFacts { text, power, certificate: None });
        };
        let certificate = redfish.certificate_sha256.parse();
        let certificate = certificate.map_err(|e| transient(format!("the rack told the BMC's certificate: {e}")))?;
        let text = format!(
            "Redfish {} of {} {}, firmware {}, in {} with serial number {}; it can {}; vendor rules {}; certificate {certificate}",
            redfish.version,
            redfish.vendor,
            redfish.product,
            r.firmware_version,
            redfish.model,
            redfish.serial,
            r.capabilities.join(", "),
            redfish.rules.join(", "),
        );
        Ok(BmcFacts { text, power, certificate: Some(certificate) })
    }

    /// Asks the chassis power.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses.
    pub async fn get_power(&self, m: &Machine) -> Result<PowerState, Trouble> {
        let bmc = self.bmc(m).await?;
        let ask = move |mut c: Client| {
            let request = rack::GetPowerRequest { bmc: Some(bmc.clone()) };
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
        let bmc = self.bmc(m).await?;
        let ask = move |mut c: Client| {
            let request = rack::SetPowerRequest { bmc: Some(bmc.clone()), power: convert::power_to_wire(power).into() };
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
        let bmc = self.bmc(m).await?;
        let device = match device {
            BootDevice::Network => rack::BootDevice::Network,
            BootDevice::Disk => rack::BootDevice::Disk,
        };
        let uefi = m.firmware != Some(Firmware::Bios);
        let ask = move |mut c: Client| {
            let request = rack::SetBootDeviceRequest { bmc: Some(bmc.clone()), device: device.into(), uefi };
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
        let bmc = self.bmc(m).await?;
        let password = self.password(&own_purpose(m)).await?;
        let username = username.to_owned();
        let ask = move |mut c: Client| {
            let request = rack::EnsureBmcAccountRequest {
                bmc: Some(bmc.clone()),
                username: username.clone(),
                password: password.expose().clone(),
            };
            async move { c.ensure_bmc_account(request).await }
        };
        Ok(self.call(m, "make the account", ask).await?.created)
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
        let bmc = self.bmc(m).await?;
        let username = username.to_owned();
        let ask = move |mut c: Client| {
            let request = rack::RemoveBmcAccountRequest { bmc: Some(bmc.clone()), username: username.clone() };
            async move { c.remove_bmc_account(request).await }
        };
        Ok(self.call(m, "remove the account", ask).await?.removed)
    }

    /// The last exchange with the machine's BMC that this process knows of.
    #[must_use]
    pub fn last_exchange(&self, machine: MachineId) -> Option<Exchange> {
        self.inner.exchanges.last(machine)
    }

    /// One call that may be repeated: a connection that broke (the rack was restarted) is made anew once.
    async fn call<T, F, A>(&self, m: &Machine, asked: &str, ask: F) -> Result<T, Trouble>
    where
        F: Fn(Client) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let client = self.inner.client(rack_of(m)?).await?;
        let first = ask(client.clone()).await;
        let answer = match first {
            Err(s) if s.code() == Code::Unavailable && s.message().contains("transport error") => ask(client).await,
            other => other,
        };
        let outcome = answer.map(Response::into_inner).map_err(|s| trouble(&s));
        self.inner.exchanges.note(m.id, self.inner.clock.now(), asked, &outcome);
        outcome
    }

    async fn bmc(&self, m: &Machine) -> Result<rack::Bmc, Trouble> {
        let Some(bmc) = &m.details.bmc else { return Err(permanent("no BMC is known for this machine")) };
        let password = self.password(&password_purpose(m, bmc)).await?;
        Ok(rack::Bmc {
            protocol: convert::protocol_to_wire(bmc.protocol).into(),
            address: bmc.address.to_string(),
            port: bmc.port.into(),
            username: bmc.username.clone(),
            password: password.expose().clone(),
            certificate_sha256: bmc.certificate.map(|c| c.to_string()).unwrap_or_default(),
            system: bmc.system.clone(),
        })
    }

    async fn password(&self, purpose: &str) -> Result<Secret<String>, Trouble> {
        let sealed = self.inner.store.secret_get(purpose).await.map_err(|e| transient(e.to_string()))?;
        let sealed = sealed.ok_or_else(|| permanent("no password is kept for this machine's BMC"))?;
        let plain = self.inner.vault.open_sealed(purpose, &sealed).map_err(|e| permanent(e.to_string()))?;
        let text = String::from_utf8(plain.expose().clone());
        text.map(Secret::new).map_err(|_| permanent("the password kept for this machine's BMC is not text"))
    }
}

/// Where the vault keeps the password of an account of our own.
#[must_use]
pub fn own_purpose(m: &Machine) -> String {
    format!("bmc-own/{}", m.id)
}

/// Where the vault keeps the password of the account that an admin gave.
#[must_use]
pub fn given_purpose(m: &Machine) -> String {
    format!("bmc-given/{}", m.id)
}

fn password_purpose(m: &Machine, bmc: &Bmc) -> String {
    if bmc.managed { own_purpose(m) } else { given_purpose(m) }
}

fn rack_of(m: &Machine) -> Result<RackId, Trouble> {
    m.rack.ok_or_else(|| transient("no rack serves this machine yet"))
}
