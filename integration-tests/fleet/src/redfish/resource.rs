//! The tree of resources: which URI is what, and what can be done there.

use hyper::Method;
use serde::Deserialize;

use super::quirks::{Creation, LogOwner, Quirks};

/// What a URI names.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `/redfish`
    Versions,
    /// `/redfish/v1`
    Root,
    /// `/redfish/v1/odata`
    ServiceDocument,
    /// `/redfish/v1/$metadata`
    Metadata,
    /// The systems.
    Systems,
    /// The one system.
    System,
    /// Settings of the system for its next start.
    SystemSettings,
    /// The action `ComputerSystem.Reset`.
    SystemReset,
    /// What that action takes.
    SystemResetInfo,
    /// The system's network interfaces.
    SystemInterfaces,
    /// One of them.
    SystemInterface,
    /// The BIOS as it runs.
    Bios,
    /// The BIOS as it will be.
    BiosSettings,
    /// The action `Bios.ResetBios`.
    BiosReset,
    /// Secure boot.
    SecureBoot,
    /// The action `SecureBoot.ResetKeys`.
    SecureBootKeys,
    /// The log services, of the system or of the manager.
    LogServices,
    /// The one log service.
    LogService,
    /// What it has logged.
    LogEntries,
    /// One of these.
    LogEntry,
    /// The managers.
    Managers,
    /// The one manager, which is the BMC.
    Manager,
    /// The action `Manager.Reset`.
    ManagerReset,
    /// What that action takes.
    ManagerResetInfo,
    /// The BMC's network interfaces.
    ManagerInterfaces,
    /// The one of them.
    ManagerInterface,
    /// The BMC's protocols.
    NetworkProtocol,
    /// The chassis.
    ChassisCollection,
    /// The one chassis.
    Chassis,
    /// The account service.
    AccountService,
    /// The accounts.
    Accounts,
    /// One of them.
    Account,
    /// The roles.
    Roles,
    /// One of them.
    Role,
    /// The session service.
    SessionService,
    /// The sessions.
    Sessions,
    /// One of them.
    Session,
    /// The task service.
    TaskService,
    /// The tasks.
    Tasks,
    /// One of them.
    Task,
    /// What `Location` of a 202 names.
    TaskMonitor,
    /// The update service.
    UpdateService,
    /// Its inventory.
    Inventory,
    /// One entry of it.
    Firmware,
    /// The message registries.
    Registries,
    /// One of them.
    Registry,
}

/// A URI that names something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) kind: Kind,
    /// The part of the path that names one member, for kinds of which there can be several.
    pub(super) id: &'a str,
}

/// What the path names, if anything; a slash at its end means nothing.
pub(super) fn locate<'a>(path: &'a str, quirks: &Quirks) -> Option<Target<'a>> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let rest = path.strip_prefix("/redfish")?;
    if rest.is_empty() {
        return Some(Target { kind: Kind::Versions, id: "" });
    }
    let rest = rest.strip_prefix("/v1")?;
    if rest.is_empty() {
        return Some(Target { kind: Kind::Root, id: "" });
    }
    let mut parts = [""; 6];
    let mut count = 0;
    for part in rest.strip_prefix('/')?.split('/') {
        *parts.get_mut(count)? = part;
        count += 1;
    }
    let (first, rest) = parts.get(..count)?.split_first()?;
    let (kind, id) = match *first {
        "odata" if rest.is_empty() => (Kind::ServiceDocument, ""),
        "$metadata" if rest.is_empty() => (Kind::Metadata, ""),
        "Systems" => system(rest, quirks)?,
        "Managers" => manager(rest, quirks)?,
        "Chassis" => match rest {
            [] => (Kind::ChassisCollection, ""),
            [id] if *id == quirks.chassis_id => (Kind::Chassis, *id),
            _ => return None,
        },
        "AccountService" => match rest {
            [] => (Kind::AccountService, ""),
            ["Accounts"] => (Kind::Accounts, ""),
            ["Accounts", id] => (Kind::Account, *id),
            ["Roles"] => (Kind::Roles, ""),
            ["Roles", id] => (Kind::Role, *id),
            _ => return None,
        },
        "SessionService" => match rest {
            [] => (Kind::SessionService, ""),
            ["Sessions"] | ["Sessions", "Members"] => (Kind::Sessions, ""),
            ["Sessions", id] => (Kind::Session, *id),
            _ => return None,
        },
        "TaskService" => match rest {
            [] => (Kind::TaskService, ""),
            ["Tasks"] => (Kind::Tasks, ""),
            ["Tasks", id] => (Kind::Task, *id),
            ["TaskMonitors", id] => (Kind::TaskMonitor, *id),
            _ => return None,
        },
        "UpdateService" => match rest {
            [] => (Kind::UpdateService, ""),
            ["FirmwareInventory"] => (Kind::Inventory, ""),
            ["FirmwareInventory", id @ ("BMC" | "BIOS")] => (Kind::Firmware, *id),
            _ => return None,
        },
        "Registries" => match rest {
            [] => (Kind::Registries, ""),
            ["Base"] => (Kind::Registry, "Base"),
            _ => return None,
        },
        _ => return None,
    };
    Some(Target { kind, id })
}

fn system<'a>(rest: &[&'a str], quirks: &Quirks) -> Option<(Kind, &'a str)> {
    let Some((id, rest)) = rest.split_first() else { return Some((Kind::Systems, "")) };
    if *id != quirks.system_id {
        return None;
    }
    match rest {
        [] => Some((Kind::System, id)),
        ["Settings"] if quirks.boot.via_settings => Some((Kind::SystemSettings, id)),
        ["Actions", "ComputerSystem.Reset"] => Some((Kind::SystemReset, id)),
        ["ResetActionInfo"] if quirks.reset.action_info => Some((Kind::SystemResetInfo, id)),
        ["EthernetInterfaces"] => Some((Kind::SystemInterfaces, id)),
        ["EthernetInterfaces", nic] => Some((Kind::SystemInterface, nic)),
        ["Bios"] => Some((Kind::Bios, id)),
        ["Bios", "Settings"] => Some((Kind::BiosSettings, id)),
        ["Bios", "Actions", "Bios.ResetBios"] => Some((Kind::BiosReset, id)),
        ["SecureBoot"] => Some((Kind::SecureBoot, id)),
        ["SecureBoot", "Actions", "SecureBoot.ResetKeys"] => Some((Kind::SecureBootKeys, id)),
        ["LogServices", rest @ ..] if quirks.log.owner == LogOwner::System => logs(rest, quirks),
        _ => None,
    }
}

fn manager<'a>(rest: &[&'a str], quirks: &Quirks) -> Option<(Kind, &'a str)> {
    let Some((id, rest)) = rest.split_first() else { return Some((Kind::Managers, "")) };
    if *id != quirks.manager_id {
        return None;
    }
    match rest {
        [] => Some((Kind::Manager, id)),
        ["Actions", "Manager.Reset"] => Some((Kind::ManagerReset, id)),
        ["ResetActionInfo"] if quirks.reset.action_info => Some((Kind::ManagerResetInfo, id)),
        ["EthernetInterfaces"] => Some((Kind::ManagerInterfaces, id)),
        ["EthernetInterfaces", nic @ "1"] => Some((Kind::ManagerInterface, nic)),
        ["NetworkProtocol"] => Some((Kind::NetworkProtocol, id)),
        ["LogServices", rest @ ..] if quirks.log.owner == LogOwner::Manager => logs(rest, quirks),
        _ => None,
    }
}

fn logs<'a>(rest: &[&'a str], quirks: &Quirks) -> Option<(Kind, &'a str)> {
    match rest {
        [] => Some((Kind::LogServices, "")),
        [id] if *id == quirks.log.id => Some((Kind::LogService, id)),
        [id, "Entries"] if *id == quirks.log.id => Some((Kind::LogEntries, id)),
        [id, "Entries", entry] if *id == quirks.log.id => Some((Kind::LogEntry, entry)),
        _ => None,
    }
}

/// What can be done at a resource.
pub(super) fn allowed(kind: Kind, quirks: &Quirks) -> &'static [Method] {
    const READ: &[Method] = &[Method::GET, Method::HEAD];
    const CHANGE: &[Method] = &[Method::GET, Method::HEAD, Method::PATCH];
    const MAKE: &[Method] = &[Method::GET, Method::HEAD, Method::POST];
    const END: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE];
    const ACCOUNT: &[Method] = &[Method::GET, Method::HEAD, Method::PATCH, Method::DELETE];
    const ACT: &[Method] = &[Method::POST];
    match kind {
        Kind::System | Kind::SystemSettings | Kind::BiosSettings | Kind::SecureBoot | Kind::SessionService => CHANGE,
        Kind::SystemReset | Kind::ManagerReset | Kind::BiosReset | Kind::SecureBootKeys => ACT,
        Kind::Accounts => match quirks.accounts.creation {
            Creation::Post => MAKE,
            Creation::PatchSlot => READ,
        },
        Kind::Account => match quirks.accounts.creation {
            Creation::Post => ACCOUNT,
            Creation::PatchSlot => CHANGE,
        },
        Kind::Sessions => MAKE,
        Kind::Session => END,
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
        | Kind::Registry => READ,
    }
}

/// Is the resource for everybody to read?
pub(super) fn public(kind: Kind) -> bool {
    matches!(kind, Kind::Versions | Kind::Root | Kind::ServiceDocument | Kind::Metadata)
}
