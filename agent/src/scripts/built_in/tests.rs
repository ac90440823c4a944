use std::{fs, net::TcpListener, path::Path};

use super::*;

fn check(root: &Path) -> Check {
    Check {
        host: Arc::new(Host::below(root)),
        boot_mac: None,
        share: Duration::from_millis(30),
        until: Instant::now() + Duration::from_mins(1),
        progress: Progress::default(),
    }
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn disk(root: &Path, name: &str, bytes: usize) {
    put(root, &format!("sys/block/{name}/size"), &(bytes / 512).to_string());
    put(root, &format!("sys/block/{name}/serial"), &format!("S-{name}"));
    put(root, &format!("dev/{name}"), "");
    fs::write(root.join("dev").join(name), vec![7; bytes]).unwrap();
}

fn text(verdict: Verdict) -> String {
    match verdict {
        Verdict::Passed(text) => format!("passed: {text}"),
        Verdict::Failed(text) => format!("failed: {text}"),
        Verdict::Skipped(text) => format!("skipped: {text}"),
    }
}

#[test]
fn sound_processors_compute_what_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let told = text(cpu::test(&check(dir.path())));
    assert!(told.starts_with("passed: ") && told.ends_with("all with the known result"), "{told}");
}

#[test]
fn half_of_the_free_memory_is_tested() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "proc/meminfo", "MemTotal: 9999999 kB\nMemAvailable:   65536 kB\n");
    let told = text(memory::test(&Check { share: Duration::from_mins(1), ..check(dir.path()) }));
    assert_eq!(told, "passed: 32 of 32 MiB held all patterns");
}

#[test]
fn disks_are_read_and_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    assert_eq!(text(disk_read::test(&check(root))), "skipped: the machine has no disk");
    disk(root, "vda", 3 << 20);
    put(root, "sys/block/sda/device/ioerr_cnt", "0x2\n");
    put(root, "sys/block/sda/device/state", "running\n");
    disk(root, "sda", 1 << 20);
    let told = text(disk_read::test(&check(root)));
    assert!(told.starts_with("passed: sda (serial \"S-sda\"): 1 samples, 1 MiB read; 2 errors since"), "{told}");
    assert!(told.contains("\nvda (serial \"S-vda\"): "), "{told}");
    assert!(fs::read(root.join("dev/vda")).unwrap().iter().all(|b| *b == 7));

    put(root, "sys/block/sda/device/state", "offline\n");
    let told = text(disk_read::test(&check(root)));
    assert!(told.starts_with("failed: sda (serial \"S-sda\"): FAILED: the kernel says that it is offline"), "{told}");
    put(root, "sys/block/sda/device/state", "running\n");
    fs::remove_file(root.join("dev/vda")).unwrap();
    let told = text(disk_read::test(&check(root)));
    assert!(told.contains("vda (serial \"S-vda\"): FAILED: ") && told.contains("cannot be opened"), "{told}");
}

#[test]
fn the_network_needs_a_link_and_a_rack() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    assert!(text(network::test(&check(root))).starts_with("failed: the command line: "));
    let rack = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = rack.local_addr().unwrap();
    put(root, "proc/cmdline", &format!("quiet farrier.agent={at} farrier.http=http://{at}\n"));
    let mac = "52:54:00:00:00:01";
    let interface = |root: &Path, carrier: &str| {
        put(root, "sys/class/net/eth0/address", mac);
        put(root, "sys/class/net/eth0/type", "1");
        put(root, "sys/class/net/eth0/carrier", carrier);
        put(root, "sys/class/net/eth0/speed", "1000");
        fs::create_dir_all(root.join("sys/class/net/eth0/device")).unwrap();
    };
    interface(root, "0");
    assert_eq!(text(network::test(&check(root))), format!("failed: eth0 ({mac}) has no link"));
    interface(root, "1");
    let told = text(network::test(&check(root)));
    assert!(
        told.starts_with(&format!("passed: eth0 ({mac}) has a link of 1000 Mbit/s\nthe rack's agent port")),
        "{told}"
    );
    let other = Check { boot_mac: Some("52:54:00:00:00:02".parse().unwrap()), ..check(root) };
    assert!(text(network::test(&other)).starts_with("failed: the interface that the machine booted from is not there"));
    drop(rack);
    let told = text(network::test(&check(root)));
    assert!(told.starts_with(&format!("failed: the rack's agent port {at} does not answer")), "{told}");
}
