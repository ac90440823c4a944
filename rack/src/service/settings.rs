//! Settings of the firmware on the wire.

use farrier_proto::{rack as proto, v1};

use crate::bmc::settings::{Attribute, SecureBoot, Settings, Wanted};

pub(super) fn wanted(attributes: Vec<v1::BiosSetting>, secure_boot: Option<bool>) -> Wanted {
    Wanted { attributes: attributes.into_iter().map(|a| (a.name, a.value)).collect(), secure_boot }
}

pub(super) fn response(settings: Settings) -> proto::GetBiosSettingsResponse {
    let attribute = |Attribute { name, value, pending }| v1::BiosAttribute { name, value, pending };
    let secure_boot = |SecureBoot { enable, enforced, mode }| v1::SecureBoot { enable, enforced, mode };
    let settings = v1::BiosSettings {
        attributes: settings.attributes.into_iter().map(attribute).collect(),
        secure_boot: settings.secure_boot.map(secure_boot),
    };
    proto::GetBiosSettingsResponse { settings: Some(settings) }
}
