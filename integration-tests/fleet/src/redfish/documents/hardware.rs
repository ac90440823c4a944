//! System, manager and chassis.

use serde_json::{Map, Value, json};

use super::{Redfish, chassis_uri, link, logs, manager_uri, members, system_uri, well};
use crate::redfish::{
    boot,
    quirks::{LogOwner, ResetRules},
};

pub(super) fn system(face: &Redfish) -> Value {
    let uri = system_uri(face);
    let machine = &face.machine;
    let mut document = json!({
        "@odata.id": uri,
        "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "Id": face.quirks.system_id,
        "Name": "System",
        "SystemType": "Physical",
        "Manufacturer": face.personality.manufacturer,
        "Model": face.personality.product,
        "SerialNumber": machine.serial,
        "UUID": machine.uuid,
        "HostName": "",
        "PowerState": if face.chassis.is_on() { "On" } else { "Off" },
        "BiosVersion": face.quirks.bios_version,
        "Status": well(),
        "ProcessorSummary": {"Count": machine.processors, "Status": well()},
        "MemorySummary": {"TotalSystemMemoryGiB": machine.memory_gib, "Status": well()},
        "Boot": boot_part(face, !face.quirks.boot.via_settings),
        "EthernetInterfaces": link(&format!("{uri}/EthernetInterfaces")),
        "Bios": link(&format!("{uri}/Bios")),
        "SecureBoot": link(&format!("{uri}/SecureBoot")),
        "Links": {"Chassis": [link(&chassis_uri(face))], "ManagedBy": [link(&manager_uri(face))]},
        "Actions": {"#ComputerSystem.Reset": reset_action(&uri, "ComputerSystem.Reset", &face.quirks.reset, false)},
    });
    if face.quirks.log.owner == LogOwner::System {
        document["LogServices"] = link(&logs::services_uri(face));
    }
    if face.quirks.boot.via_settings {
        document["@Redfish.Settings"] = settings(&format!("{uri}/Settings"));
    }
    document
}

/// What is put there takes effect at the next start; here that is so for a boot override anyway.
pub(super) fn system_settings(face: &Redfish) -> Value {
    json!({
        "@odata.id": format!("{}/Settings", system_uri(face)),
        "@odata.type": "#ComputerSystem.v1_20_0.ComputerSystem",
        "Id": "Settings",
        "Name": "Future state of the system",
        "Boot": boot_part(face, true),
    })
}

fn settings(uri: &str) -> Value {
    json!({
        "@odata.type": "#Settings.v1_3_5.Settings",
        "SettingsObject": link(uri),
        "SupportedApplyTimes": ["OnReset"],
    })
}

fn boot_part(face: &Redfish, writable: bool) -> Value {
    let rules = &face.quirks.boot;
    let (next, _) = face.chassis.boot();
    let (enabled, target, mode) = match &next {
        None => ("Disabled", "None", "UEFI"),
        Some(next) => (
            if next.persistent { "Continuous" } else { "Once" },
            boot::name(next.target),
            if next.uefi { "UEFI" } else { "Legacy" },
        ),
    };
    let mut part = json!({
        "BootSourceOverrideEnabled": enabled,
        "BootSourceOverrideTarget": target,
        "BootSourceOverrideMode": mode,
    });
    if rules.http_uri {
        part["HttpBootUri"] = json!(next.and_then(|n| n.http_uri));
    }
    if writable {
        part["BootSourceOverrideTarget@Redfish.AllowableValues"] = json!(rules.targets);
        part["BootSourceOverrideMode@Redfish.AllowableValues"] = json!(["Legacy", "UEFI"]);
        let enabled: &[&str] =
            if rules.continuous { &["Disabled", "Once", "Continuous"] } else { &["Disabled", "Once"] };
        part["BootSourceOverrideEnabled@Redfish.AllowableValues"] = json!(enabled);
    }
    part
}

fn reset_action(uri: &str, action: &str, rules: &ResetRules, manager: bool) -> Value {
    let mut part = json!({"target": format!("{uri}/Actions/{action}")});
    if rules.action_info {
        part["@Redfish.ActionInfo"] = json!(format!("{uri}/ResetActionInfo"));
    }
    if rules.beside_action {
        part["ResetType@Redfish.AllowableValues"] = json!(if manager { &rules.manager } else { &rules.system });
    }
    part
}

pub(super) fn reset_info(uri: &str, values: &[String]) -> Value {
    json!({
        "@odata.id": format!("{uri}/ResetActionInfo"),
        "@odata.type": "#ActionInfo.v1_4_0.ActionInfo",
        "Id": "ResetActionInfo",
        "Name": "Reset Action Info",
        "Parameters": [{
            "Name": "ResetType", "Required": true, "DataType": "String", "AllowableValues": values,
        }],
    })
}

pub(super) fn system_interfaces(face: &Redfish) -> Value {
    let path = format!("Systems/{}/EthernetInterfaces", face.quirks.system_id);
    let uris: Vec<_> = (1..=face.machine.macs.len()).map(|n| format!("/redfish/v1/{path}/{n}")).collect();
    members("EthernetInterfaceCollection", &path, &uris)
}

pub(super) fn system_interface(face: &Redfish, id: &str) -> Option<Value> {
    let number: usize = id.parse().ok()?;
    let mac = face.machine.macs.get(number.checked_sub(1)?)?;
    // "01" is another URI than "1", and names nothing.
    (number.to_string() == id).then(|| {
        json!({
            "@odata.id": format!("{}/EthernetInterfaces/{id}", system_uri(face)),
            "@odata.type": "#EthernetInterface.v1_12_0.EthernetInterface",
            "Id": id,
            "Name": format!("Ethernet Interface {id}"),
            "MACAddress": mac.to_string(),
            "PermanentMACAddress": mac.to_string(),
            "InterfaceEnabled": true,
            "LinkStatus": if face.chassis.is_on() { "LinkUp" } else { "LinkDown" },
            "SpeedMbps": 10000,
            "Status": well(),
        })
    })
}

pub(super) fn bios(face: &Redfish) -> Value {
    let uri = format!("{}/Bios", system_uri(face));
    json!({
        "@odata.id": uri,
        "@odata.type": "#Bios.v1_2_2.Bios",
        "Id": "Bios",
        "Name": "BIOS Configuration Current Settings",
        "Attributes": face.bios.current(&face.quirks.bios),
        "@Redfish.Settings": settings(&format!("{uri}/Settings")),
        "Actions": {"#Bios.ResetBios": {"target": format!("{uri}/Actions/Bios.ResetBios")}},
    })
}

pub(super) fn bios_settings(face: &Redfish) -> Value {
    json!({
        "@odata.id": format!("{}/Bios/Settings", system_uri(face)),
        "@odata.type": "#Bios.v1_2_2.Bios",
        "Id": "Settings",
        "Name": "BIOS Configuration Pending Settings",
        "Attributes": face.bios.pending(),
    })
}

pub(super) fn secure_boot(face: &Redfish) -> Value {
    let uri = format!("{}/SecureBoot", system_uri(face));
    let state = face.bios.secure_boot();
    json!({
        "@odata.id": uri,
        "@odata.type": "#SecureBoot.v1_1_0.SecureBoot",
        "Id": "SecureBoot",
        "Name": "UEFI Secure Boot",
        "SecureBootEnable": state.wanted,
        "SecureBootCurrentBoot": if state.enforced { "Enabled" } else { "Disabled" },
        "SecureBootMode": if state.keys { "UserMode" } else { "SetupMode" },
        "Actions": {"#SecureBoot.ResetKeys": {
            "target": format!("{uri}/Actions/SecureBoot.ResetKeys"),
            "ResetKeysType@Redfish.AllowableValues": crate::redfish::bios::KEY_RESETS,
        }},
    })
}

pub(super) fn manager(face: &Redfish) -> Value {
    let uri = manager_uri(face);
    let mut document = json!({
        "@odata.id": uri,
        "@odata.type": "#Manager.v1_19_0.Manager",
        "Id": face.quirks.manager_id,
        "Name": "Manager",
        "ManagerType": "BMC",
        "Manufacturer": face.personality.manufacturer,
        "Model": face.quirks.manager_model,
        "FirmwareVersion": face.personality.firmware,
        "UUID": face.machine.manager_uuid(),
        "ServiceEntryPointUUID": face.machine.manager_uuid(),
        "PowerState": "On",
        "Status": well(),
        "EthernetInterfaces": link(&format!("{uri}/EthernetInterfaces")),
        "NetworkProtocol": link(&format!("{uri}/NetworkProtocol")),
        "Links": {
            "ManagerForServers": [link(&system_uri(face))],
            "ManagerForChassis": [link(&chassis_uri(face))],
        },
        "Actions": {"#Manager.Reset": reset_action(&uri, "Manager.Reset", &face.quirks.reset, true)},
    });
    if face.quirks.log.owner == LogOwner::Manager {
        document["LogServices"] = link(&logs::services_uri(face));
    }
    document
}

pub(super) fn manager_interfaces(face: &Redfish) -> Value {
    let path = format!("Managers/{}/EthernetInterfaces", face.quirks.manager_id);
    members("EthernetInterfaceCollection", &path, &[format!("/redfish/v1/{path}/1")])
}

pub(super) fn manager_interface(face: &Redfish) -> Value {
    let machine = &face.machine;
    let mut document = json!({
        "@odata.id": format!("{}/EthernetInterfaces/1", manager_uri(face)),
        "@odata.type": "#EthernetInterface.v1_12_0.EthernetInterface",
        "Id": "1",
        "Name": "Manager Ethernet Interface",
        "MACAddress": machine.bmc_mac.to_string(),
        "PermanentMACAddress": machine.bmc_mac.to_string(),
        "InterfaceEnabled": true,
        "LinkStatus": "LinkUp",
        "Status": well(),
    });
    let shown = machine.bmc_address.to_string();
    if machine.bmc_address.is_ipv4() {
        document["IPv4Addresses"] =
            json!([{"Address": shown, "SubnetMask": "255.0.0.0", "AddressOrigin": "Static", "Gateway": "0.0.0.0"}]);
    } else {
        document["IPv6Addresses"] = json!([{"Address": shown, "PrefixLength": 64, "AddressOrigin": "Static"}]);
    }
    document
}

pub(super) fn network_protocol(face: &Redfish) -> Value {
    let on = |port: u16| json!({"ProtocolEnabled": true, "Port": port});
    json!({
        "@odata.id": format!("{}/NetworkProtocol", manager_uri(face)),
        "@odata.type": "#ManagerNetworkProtocol.v1_10_0.ManagerNetworkProtocol",
        "Id": "NetworkProtocol",
        "Name": "Manager Network Protocol",
        "HostName": "",
        "Status": well(),
        "HTTP": {"ProtocolEnabled": false, "Port": 80},
        "HTTPS": on(443),
        "IPMI": on(623),
    })
}

pub(super) fn chassis(face: &Redfish) -> Value {
    json!({
        "@odata.id": chassis_uri(face),
        "@odata.type": "#Chassis.v1_24_0.Chassis",
        "Id": face.quirks.chassis_id,
        "Name": "Chassis",
        "ChassisType": "RackMount",
        "Manufacturer": face.personality.manufacturer,
        "Model": face.personality.product,
        "SerialNumber": face.machine.serial,
        "PowerState": if face.chassis.is_on() { "On" } else { "Off" },
        "Status": well(),
        "Links": {"ComputerSystems": [link(&system_uri(face))], "ManagedBy": [link(&manager_uri(face))]},
    })
}

/// The defaults with what was changed laid over them.
pub(in crate::redfish) fn merged<'a>(
    base: impl Iterator<Item = (&'a String, &'a Value)>,
    over: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Value {
    Value::Object(base.chain(over).map(|(k, v)| (k.clone(), v.clone())).collect::<Map<_, _>>())
}
