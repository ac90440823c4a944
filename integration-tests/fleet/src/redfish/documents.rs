//! The documents that the service answers with.
//!
//! Written by hand as JSON; `docs/decisions/0007-redfish-simulator-documents.md` says why they are not generated.

mod accounts;
mod hardware;
mod logs;
mod service;

use chrono::SecondsFormat;
use farrier_common::clock::Timestamp;
use serde_json::{Value, json};

use super::{
    Now, Redfish,
    resource::{Kind, Target},
};

pub(super) use accounts::{ROLES, account_id, account_uri, find_account};
pub(super) use hardware::merged;
pub(super) use service::METADATA;

/// The document at a URI, if there is one.
pub(super) fn render(face: &Redfish, target: Target<'_>, now: Now) -> Option<Value> {
    Some(match target.kind {
        Kind::Versions => json!({"v1": "/redfish/v1/"}),
        Kind::Root => service::root(face),
        Kind::ServiceDocument => service::odata(),
        Kind::Metadata => return None,
        Kind::Systems => members("ComputerSystemCollection", "Systems", &[system_uri(face)]),
        Kind::System => hardware::system(face),
        Kind::SystemSettings => hardware::system_settings(face),
        Kind::SystemResetInfo => hardware::reset_info(&system_uri(face), &face.quirks.reset.system),
        Kind::SystemInterfaces => hardware::system_interfaces(face),
        Kind::SystemInterface => hardware::system_interface(face, target.id)?,
        Kind::Bios => hardware::bios(face),
        Kind::BiosSettings => hardware::bios_settings(face),
        Kind::SecureBoot => hardware::secure_boot(face),
        Kind::LogServices => logs::services(face),
        Kind::LogService => logs::service(face),
        Kind::LogEntries => logs::entries(face),
        Kind::LogEntry => logs::entry(face, target.id)?,
        Kind::Managers => members("ManagerCollection", "Managers", &[manager_uri(face)]),
        Kind::Manager => hardware::manager(face),
        Kind::ManagerResetInfo => hardware::reset_info(&manager_uri(face), &face.quirks.reset.manager),
        Kind::ManagerInterfaces => hardware::manager_interfaces(face),
        Kind::ManagerInterface => hardware::manager_interface(face),
        Kind::NetworkProtocol => hardware::network_protocol(face),
        Kind::ChassisCollection => members("ChassisCollection", "Chassis", &[chassis_uri(face)]),
        Kind::Chassis => hardware::chassis(face),
        Kind::AccountService => accounts::service(face),
        Kind::Accounts => accounts::collection(face),
        Kind::Account => accounts::account(face, target.id, now)?,
        Kind::Roles => accounts::roles(),
        Kind::Role => accounts::role(target.id)?,
        Kind::SessionService => service::sessions_service(face),
        Kind::Sessions => service::sessions(face),
        Kind::Session => service::session(face, target.id)?,
        Kind::TaskService => service::task_service(),
        Kind::Tasks => service::tasks(face),
        Kind::Task | Kind::TaskMonitor => service::task(face, target.id, now.wall)?,
        Kind::UpdateService => service::update_service(),
        Kind::Inventory => service::inventory(),
        Kind::Firmware => service::firmware(face, target.id),
        Kind::Registries => {
            members("MessageRegistryFileCollection", "Registries", &["/redfish/v1/Registries/Base".into()])
        }
        Kind::Registry => service::registry(),
        Kind::SystemReset | Kind::ManagerReset | Kind::BiosReset | Kind::SecureBootKeys => return None,
    })
}

/// What changes by itself and is not part of what an ETag stands for.
pub(super) fn add_time(kind: Kind, document: &mut Value, now: Timestamp) {
    if kind == Kind::Manager {
        document["DateTime"] = json!(stamp(now));
        document["DateTimeLocalOffset"] = json!("+00:00");
    }
}

pub(super) fn system_uri(face: &Redfish) -> String {
    format!("/redfish/v1/Systems/{}", face.quirks.system_id)
}

pub(super) fn manager_uri(face: &Redfish) -> String {
    format!("/redfish/v1/Managers/{}", face.quirks.manager_id)
}

pub(super) fn chassis_uri(face: &Redfish) -> String {
    format!("/redfish/v1/Chassis/{}", face.quirks.chassis_id)
}

/// A collection at `/redfish/v1/PATH`.
fn members(kind: &str, path: &str, uris: &[String]) -> Value {
    let name = kind.strip_suffix("Collection").unwrap_or(kind);
    json!({
        "@odata.id": format!("/redfish/v1/{path}"),
        "@odata.type": format!("#{kind}.{kind}"),
        "Name": format!("{name} Collection"),
        "Members": uris.iter().map(|u| link(u)).collect::<Vec<_>>(),
        "Members@odata.count": uris.len(),
    })
}

fn link(uri: &str) -> Value {
    json!({"@odata.id": uri})
}

fn well() -> Value {
    json!({"State": "Enabled", "Health": "OK"})
}

fn stamp(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
