//! The root, sessions, tasks, updates and registries.

use farrier_common::clock::Timestamp;
use serde_json::{Value, json};

use super::{Redfish, link, manager_uri, members, stamp, system_uri, well};

/// `$metadata`: where the schemas of the documents are.
pub(in super::super) const METADATA: &str = include_str!("metadata.xml");

pub(super) fn root(face: &Redfish) -> Value {
    json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": "#ServiceRoot.v1_16_0.ServiceRoot",
        "Id": "RootService",
        "Name": "Root Service",
        "RedfishVersion": face.quirks.redfish_version,
        "UUID": face.machine.manager_uuid(),
        "Vendor": face.quirks.vendor,
        "Product": face.quirks.product,
        "ProtocolFeaturesSupported": {
            "ExcerptQuery": false,
            "FilterQuery": false,
            "OnlyMemberQuery": false,
            "SelectQuery": false,
        },
        "Systems": link("/redfish/v1/Systems"),
        "Managers": link("/redfish/v1/Managers"),
        "Chassis": link("/redfish/v1/Chassis"),
        "AccountService": link("/redfish/v1/AccountService"),
        "SessionService": link("/redfish/v1/SessionService"),
        "Tasks": link("/redfish/v1/TaskService"),
        "UpdateService": link("/redfish/v1/UpdateService"),
        "Registries": link("/redfish/v1/Registries"),
        "Links": {"Sessions": link("/redfish/v1/SessionService/Sessions")},
    })
}

pub(super) fn odata() -> Value {
    let part = |name: &str, url: &str| json!({"name": name, "kind": "Singleton", "url": url});
    json!({
        "@odata.context": "/redfish/v1/$metadata",
        "value": [
            part("Service", "/redfish/v1/"),
            part("Systems", "/redfish/v1/Systems"),
            part("Managers", "/redfish/v1/Managers"),
            part("Chassis", "/redfish/v1/Chassis"),
            part("AccountService", "/redfish/v1/AccountService"),
            part("SessionService", "/redfish/v1/SessionService"),
            part("Tasks", "/redfish/v1/TaskService"),
            part("UpdateService", "/redfish/v1/UpdateService"),
            part("Registries", "/redfish/v1/Registries"),
            part("Sessions", "/redfish/v1/SessionService/Sessions"),
        ],
    })
}

pub(super) fn sessions_service(face: &Redfish) -> Value {
    json!({
        "@odata.id": "/redfish/v1/SessionService",
        "@odata.type": "#SessionService.v1_1_9.SessionService",
        "Id": "SessionService",
        "Name": "Session Service",
        "Status": well(),
        "ServiceEnabled": true,
        "SessionTimeout": face.sessions.timeout_s,
        "Sessions": link("/redfish/v1/SessionService/Sessions"),
    })
}

pub(super) fn sessions(face: &Redfish) -> Value {
    let uris: Vec<_> = face.sessions.iter().map(|s| session_uri(&s.id)).collect();
    members("SessionCollection", "SessionService/Sessions", &uris)
}

fn session_uri(id: &str) -> String {
    format!("/redfish/v1/SessionService/Sessions/{id}")
}

pub(super) fn session(face: &Redfish, id: &str) -> Option<Value> {
    let session = face.sessions.get(id)?;
    Some(json!({
        "@odata.id": session_uri(&session.id),
        "@odata.type": "#Session.v1_7_0.Session",
        "Id": session.id,
        "Name": "User Session",
        "UserName": session.user,
        "Password": null,
        "CreatedTime": stamp(session.created),
    }))
}

pub(super) fn task_service() -> Value {
    json!({
        "@odata.id": "/redfish/v1/TaskService",
        "@odata.type": "#TaskService.v1_2_1.TaskService",
        "Id": "TaskService",
        "Name": "Task Service",
        "Status": well(),
        "ServiceEnabled": true,
        "CompletedTaskOverWritePolicy": "Oldest",
        "LifeCycleEventOnTaskStateChange": false,
        "Tasks": link("/redfish/v1/TaskService/Tasks"),
    })
}

pub(super) fn tasks(face: &Redfish) -> Value {
    let uris: Vec<_> = face.tasks.iter().map(|t| format!("/redfish/v1/TaskService/Tasks/{}", t.id)).collect();
    members("TaskCollection", "TaskService/Tasks", &uris)
}

pub(super) fn task(face: &Redfish, id: &str, now: Timestamp) -> Option<Value> {
    let task = face.tasks.get(id)?;
    let done = task.is_done(now);
    let mut document = json!({
        "@odata.id": format!("/redfish/v1/TaskService/Tasks/{}", task.id),
        "@odata.type": "#Task.v1_7_3.Task",
        "Id": task.id,
        "Name": task.name,
        "TaskState": if done { "Completed" } else { "Running" },
        "TaskStatus": "OK",
        "PercentComplete": if done { 100 } else { 50 },
        "StartTime": stamp(task.started),
        "TaskMonitor": format!("/redfish/v1/TaskService/TaskMonitors/{}", task.id),
        "Messages": [],
    });
    if done {
        document["EndTime"] = json!(stamp(task.ends));
    }
    Some(document)
}

pub(super) fn update_service() -> Value {
    json!({
        "@odata.id": "/redfish/v1/UpdateService",
        "@odata.type": "#UpdateService.v1_14_0.UpdateService",
        "Id": "UpdateService",
        "Name": "Update Service",
        "Status": well(),
        "ServiceEnabled": false,
        "FirmwareInventory": link("/redfish/v1/UpdateService/FirmwareInventory"),
    })
}

pub(super) fn inventory() -> Value {
    let uris = ["BMC", "BIOS"].map(|n| format!("/redfish/v1/UpdateService/FirmwareInventory/{n}"));
    members("SoftwareInventoryCollection", "UpdateService/FirmwareInventory", &uris)
}

pub(super) fn firmware(face: &Redfish, id: &str) -> Value {
    let (version, related) = match id {
        "BMC" => (&face.personality.firmware, manager_uri(face)),
        _ => (&face.quirks.bios_version, format!("{}/Bios", system_uri(face))),
    };
    json!({
        "@odata.id": format!("/redfish/v1/UpdateService/FirmwareInventory/{id}"),
        "@odata.type": "#SoftwareInventory.v1_10_0.SoftwareInventory",
        "Id": id,
        "Name": format!("{id} firmware"),
        "Version": version,
        "Updateable": false,
        "Status": well(),
        "RelatedItem": [link(&related)],
        "RelatedItem@odata.count": 1,
    })
}

pub(super) fn registry() -> Value {
    json!({
        "@odata.id": "/redfish/v1/Registries/Base",
        "@odata.type": "#MessageRegistryFile.v1_1_3.MessageRegistryFile",
        "Id": "Base",
        "Name": "Base Message Registry File",
        "Languages": ["en"],
        "Registry": super::super::problem::BASE,
        "Location": [{
            "Language": "en",
            "PublicationUri": "https://redfish.dmtf.org/registries/Base.1.18.1.json",
        }],
    })
}
