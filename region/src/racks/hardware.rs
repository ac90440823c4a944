//! What a BMC tells of the machine's hardware and firmware, and takes for it.

use farrier_common::clock::Timestamp;
use farrier_proto::{convert, rack, v1};

use super::{Client, Racks, permanent};
use crate::domain::{
    bios::{Attribute, SecureBoot, Settings, Wanted},
    bmc::{BmcEvent, EventLog},
    machine::Machine,
    observation::Trouble,
};

impl Racks {
    /// The newest entries of the BMC's own event log.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses, or has none.
    pub async fn bmc_events(&self, m: &Machine, limit: u32) -> Result<EventLog, Trouble> {
        let ask = |mut c: Client, bmc: rack::Bmc| async move {
            c.get_bmc_events(rack::GetBmcEventsRequest { bmc: Some(bmc), limit }).await
        };
        let told = self.call(m, "read the event log", ask).await?;
        Ok(EventLog { events: told.events.into_iter().map(event).collect(), more: told.more, name: told.log })
    }

    /// The settings of the machine's firmware.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses, or has none.
    pub async fn bios_settings(&self, m: &Machine) -> Result<Settings, Trouble> {
        let ask = |mut c: Client, bmc: rack::Bmc| async move {
            c.get_bios_settings(rack::GetBiosSettingsRequest { bmc: Some(bmc) }).await
        };
        let told = self.call(m, "read the settings of the firmware", ask).await?;
        told.settings.map(settings).ok_or_else(|| permanent("the rack answers without settings"))
    }

    /// Sets some of them, from the machine's next start on.
    ///
    /// # Errors
    /// The rack or the BMC does not answer, or refuses; there is no such setting, or it cannot be so.
    pub async fn set_bios_settings(&self, m: &Machine, wanted: &Wanted) -> Result<(), Trouble> {
        let setting = |(name, value): &(String, String)| v1::BiosSetting { name: name.clone(), value: value.clone() };
        let attributes: Vec<_> = wanted.attributes().iter().map(setting).collect();
        let ask = |mut c: Client, bmc: rack::Bmc| {
            let (attributes, secure_boot) = (attributes.clone(), wanted.secure_boot());
            let request = rack::SetBiosSettingsRequest { bmc: Some(bmc), attributes, secure_boot };
            async move { c.set_bios_settings(request).await }
        };
        self.call(m, "set the firmware", ask).await.map(drop)
    }
}

fn event(event: v1::BmcEvent) -> BmcEvent {
    let v1::BmcEvent { id, at, severity, text } = event;
    let at = at.and_then(|at| Timestamp::from_timestamp(at.seconds, 0));
    BmcEvent { id, at, severity: convert::severity_from_wire(severity), text }
}

fn settings(settings: v1::BiosSettings) -> Settings {
    let attribute = |v1::BiosAttribute { name, value, pending }| Attribute { name, value, pending };
    let secure_boot = |v1::SecureBoot { enable, enforced, mode }| SecureBoot { enable, enforced, mode };
    Settings {
        attributes: settings.attributes.into_iter().map(attribute).collect(),
        secure_boot: settings.secure_boot.map(secure_boot),
    }
}
