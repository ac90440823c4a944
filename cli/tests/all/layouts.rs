//! Declared storage and network: files as the documentation shows them, and what became of a copy.

use farrier_proto::v1::{CloneMatch, CloneResult, MachineState};

use crate::fake::{Fake, machine};

/// An example of `docs/layouts.md`.
fn example(name: &str) -> String {
    let page = include_str!("../../../docs/layouts.md");
    let (_, after) = page.split_once(&format!("```json {name}\n")).unwrap();
    after.split_once("\n```").unwrap().0.to_owned()
}

#[tokio::test]
async fn layouts_are_sent_as_the_files_say() {
    let fake = Fake::start().await;
    let storage = fake.file("storage.json", example("storage").as_bytes());
    let network = fake.file("network.toml", b"[[interfaces]]\nname = \"eth0\"\n[interfaces.addresses]\ndhcp4 = true\n");
    let ran =
        fake.run(&["machine", "configure", "n1", "--storage", &storage, "--network", &network, "--dry-run"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let request = fake.script(|s| s.configure.clone()).unwrap();
    assert!(request.options.unwrap().validate_only);
    assert_eq!(request.update_mask.unwrap().paths, ["storage", "network"]);
    let storage = request.storage.unwrap();
    assert_eq!((storage.raids[0].level, storage.filesystems[2].r#type.as_str()), (1, "ext4"));
    assert!(request.network.unwrap().interfaces[0].addresses.as_ref().unwrap().dhcp4);

    let network = fake.file("network.json", example("network").as_bytes());
    let ran = fake.run(&["machine", "configure", "n1", "--network", &network, "--remove-storage"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let request = fake.script(|s| s.configure.clone()).unwrap();
    assert_eq!((request.storage, request.network.unwrap().bonds[0].mode.as_str()), (None, "802.3ad"));
    assert!(!request.options.unwrap().validate_only);
}

#[tokio::test]
async fn files_that_are_no_layout_are_refused_here() {
    let fake = Fake::start().await;
    for (name, content, why) in [
        ("a.json", "{\"disc\": []}", "unknown field `disc`"),
        ("a.toml", "disks = 7", "invalid type"),
        ("a.txt", "{}", "must end in .json or .toml"),
    ] {
        let file = fake.file(name, content.as_bytes());
        let ran = fake.run(&["machine", "configure", "n1", "--storage", &file]).await;
        assert!(ran.code == 2 && ran.stderr.contains(why), "{ran:?}");
    }
    let file = fake.file("b.json", b"{}");
    for args in [&["n1"][..], &["n1", "--storage", &file, "--remove-storage"]] {
        let ran = fake.run(&[&["machine", "configure"], args].concat()).await;
        assert_eq!(ran.code, 2, "{ran:?}");
    }
    assert!(fake.script(|s| s.configure.is_none()));
}

#[tokio::test]
async fn each_destination_has_its_line() {
    let fake = Fake::start().await;
    let of = |source: &str, destination: &str, rule: &str| CloneMatch {
        source: source.to_owned(),
        destination: destination.to_owned(),
        rule: rule.to_owned(),
    };
    let good = CloneResult {
        destination: "n2".to_owned(),
        machine: Some(machine(MachineState::Ready, "")),
        matches: vec![of("sda", "vda", "size-and-type"), of("route default via 10.0.0.1", "", "dropped")],
        ..CloneResult::default()
    };
    let bad = CloneResult {
        destination: "n3".to_owned(),
        refusals: vec!["it is new".to_owned(), "no NIC".to_owned()],
        ..CloneResult::default()
    };
    fake.script(|s| s.cloned = vec![good.clone(), bad]);
    let ran = fake.run(&["machine", "clone", "n1", "n2", "n3", "--storage", "--network", "--dry-run"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.stdout.contains("sda -> vda (size-and-type); route default via 10.0.0.1 -> nothing (dropped)"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("it is new; no NIC"), "{ran:?}");
    assert!(ran.stderr.contains("1 of 2 destinations were refused"), "{ran:?}");
    let request = fake.script(|s| s.clone.clone()).unwrap();
    assert!(request.options.unwrap().validate_only && request.storage && request.network);
    fake.script(|s| s.cloned = vec![good]);
    let ran = fake.run(&["machine", "clone", "n1", "n2", "--network", "-o", "json"]).await;
    assert_eq!((ran.code, ran.json()["results"][0]["matches"][0]["rule"].as_str()), (0, Some("size-and-type")));
    assert_eq!(fake.run(&["machine", "clone", "n1", "n2"]).await.code, 2, "say what to copy");
}
