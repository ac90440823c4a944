//! Orders on the wire.

use farrier_proto::agent::{self, next_task_response::Task};

use crate::{
    api::images::blob,
    app::gateway::{Order, Seed, ToRun, Work, WriteImage},
};

pub(super) fn order(order: Order) -> agent::NextTaskResponse {
    let task = match order.work {
        Work::Idle => Task::Idle(agent::Idle {}),
        Work::Inventory => Task::Inventory(agent::InventoryTask {}),
        Work::WriteImage(write) => Task::WriteImage(write_image(*write)),
        Work::Erase { sample_permille } => Task::Erase(agent::EraseTask { sample_permille }),
        Work::RunScripts(scripts) => {
            Task::RunScripts(agent::RunScriptsTask { scripts: scripts.into_iter().map(script).collect() })
        }
        Work::PowerOff => Task::PowerOff(agent::PowerOffTask {}),
        Work::BmcAccount { username, password, take_over } => {
            Task::BmcAccount(agent::BmcAccountTask { username, password: password.expose().clone(), take_over })
        }
        Work::OpenSsh { keys } => Task::OpenSsh(agent::OpenSshTask { keys }),
    };
    agent::NextTaskResponse { task_id: order.task.map(|id| id.to_string()).unwrap_or_default(), task: Some(task) }
}

fn script(script: ToRun) -> agent::ScriptToRun {
    agent::ScriptToRun {
        name: script.name.to_string(),
        content: script.content.into_bytes(),
        timeout_seconds: script.timeout_seconds,
    }
}

fn write_image(write: WriteImage) -> agent::WriteImageTask {
    agent::WriteImageTask {
        blob: Some(blob(&write.blob)),
        disk_serial: write.disk_serial.unwrap_or_default(),
        seed: Some(seed(write.seed)),
    }
}

fn seed(seed: Seed) -> agent::NoCloudSeed {
    agent::NoCloudSeed {
        user_data: seed.user_data.expose().clone(),
        meta_data: seed.meta_data,
        network_config: seed.network_config,
        vendor_data: seed.vendor_data.expose().clone(),
    }
}
