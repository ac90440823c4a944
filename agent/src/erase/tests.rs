use std::{path::Path, sync::Arc};

use farrier_common::{clock::Clock, crash::Crash, id::BootId, secret::Secret};

use super::*;
use crate::{
    image::fetch::{Patience, Store},
    progress::Progress,
};

fn job(root: &Path) -> Job {
    let base = "http://127.0.0.1:1".parse().unwrap();
    let store = Store::new(&base, BootId::generate(), &Secret::random_token(), Patience::default()).unwrap();
    Job {
        host: Arc::new(Host::below(root)),
        store: Arc::new(store),
        clock: Clock::manual("2026-01-02T03:04:05Z".parse().unwrap()),
        boot_mac: None,
        progress: Progress::default(),
        crash: Crash::default(),
    }
}

fn put(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn add_disk(root: &Path, name: &str, size: usize) {
    put(root, &format!("sys/block/{name}/size"), (size / 512).to_string());
    put(root, &format!("sys/block/{name}/serial"), format!("S-{name}"));
    put(root, &format!("dev/{name}"), vec![0x5a; size]);
}

#[tokio::test]
async fn every_disk_is_erased_and_told_in_order() {
    let root = tempfile::tempdir().unwrap();
    add_disk(root.path(), "vda", 3 << 20);
    add_disk(root.path(), "nvme0n1", 34 << 20);
    put(root.path(), "sys/block/nvme0n1/queue/discard_max_bytes", "4096");
    let job = job(root.path());
    let result = run(&job, agent::EraseTask { sample_permille: 10 }).await.unwrap();
    let seen: Vec<_> =
        result.disks.iter().map(|d| (d.disk_name.as_str(), d.disk_serial.as_str(), d.method.as_str())).collect();
    assert_eq!(seen, [("nvme0n1", "S-nvme0n1", "discard"), ("vda", "S-vda", "write-zeroes")]);
    assert_eq!((result.disks[0].size_bytes, result.disks[0].sampled_bytes), (34 << 20, 34 << 20));
    assert_eq!(result.disks[1].finished_at.unwrap().seconds, 1_767_323_045);
    for name in ["vda", "nvme0n1"] {
        assert!(fs::read(root.path().join("dev").join(name)).unwrap().iter().all(|b| *b == 0));
    }
    let progress = job.progress.report();
    assert_eq!((progress.done, progress.total), (37 << 20, 37 << 20));
}

#[tokio::test]
async fn one_bad_disk_fails_the_task_but_not_the_others() {
    let root = tempfile::tempdir().unwrap();
    add_disk(root.path(), "vda", 1 << 20);
    put(root.path(), "sys/block/sda/size", "2048"); // no such device
    let error = run(&job(root.path()), agent::EraseTask { sample_permille: 0 }).await.unwrap_err().to_string();
    assert!(error.starts_with("1 of 2 disks not erased: sda (): opening"), "{error}");
    assert!(fs::read(root.path().join("dev/vda")).unwrap().iter().all(|b| *b == 0));
}

#[tokio::test]
async fn no_disk_is_a_result_only_if_no_controller_lacks_a_driver() {
    let root = tempfile::tempdir().unwrap();
    let job = job(root.path());
    let task = agent::EraseTask { sample_permille: 0 };
    assert!(run(&job, task).await.unwrap().disks.is_empty());
    assert_eq!(job.progress.report().text, "the machine has no disk");
    put(root.path(), "sys/bus/pci/devices/0000:00:02.0/class", "0x010700\n");
    put(root.path(), "sys/bus/pci/devices/0000:00:02.0/vendor", "0x1000\n");
    let error = run(&job, task).await.unwrap_err().to_string();
    assert!(error.contains("0000:00:02.0 (0x1000 )"), "{error}");
    put(root.path(), "sys/bus/pci/devices/0000:00:02.0/driver", "");
    assert!(run(&job, task).await.is_ok());
}

#[tokio::test]
async fn a_share_beyond_all_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let error = run(&job(root.path()), agent::EraseTask { sample_permille: 1001 }).await.unwrap_err().to_string();
    assert_eq!(error, "sample_permille: must be at most 1000, not 1001");
}
