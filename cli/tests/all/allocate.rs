//! Allocations: what the words of the command line become, and what is shown of the answer.

use farrier_proto::v1::{Architecture, BatchMode};
use serde_json::json;

use crate::fake::Fake;

#[tokio::test]
async fn what_a_machine_must_have_is_sent() {
    let fake = Fake::start().await;
    let line = "machine allocate --arch amd64 --cores 16 --memory 64GiB --disk 500G:ssd --disk 4T --nic 25G:link --gpu 10de \
                --tag fast --not-tag old --pool lab --zone z1 --rack r1 --subnet metal --label row=7 --project moon --lease 8h \
                --not-machine n9 --dry-run";
    let ran = fake.run(&line.split_whitespace().collect::<Vec<_>>()).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "n1 would be allocated; nothing is changed\n"), "{ran:?}");
    let sent = fake.script(|s| s.allocate.clone()).unwrap();
    assert!(sent.options.unwrap().validate_only);
    assert_eq!((sent.machine.as_str(), sent.project.as_str(), sent.lease_seconds), ("", "moon", 28_800));
    let asked = sent.constraints.unwrap();
    assert_eq!(
        (asked.architecture(), asked.min_cpu_cores, asked.min_memory_bytes),
        (Architecture::Amd64, 16, 64 << 30)
    );
    let disks: Vec<_> = asked.disks.iter().map(|d| (d.min_bytes, d.kind.as_str())).collect();
    assert_eq!(disks, [(500_000_000_000, "ssd"), (4_000_000_000_000, "")]);
    assert_eq!((asked.nics[0].min_speed_mbps, asked.nics[0].carrier), (25_000, true));
    assert_eq!((asked.gpus[0].vendor_id.as_str(), asked.labels["row"].as_str()), ("10de", "7"));
    assert_eq!(
        (asked.tags, asked.not_tags, asked.not_machines),
        (vec!["fast".to_owned()], vec!["old".to_owned()], vec!["n9".to_owned()])
    );
    assert_eq!([asked.pool, asked.zone, asked.rack, asked.subnet], ["lab", "z1", "r1", "metal"]);
}

#[tokio::test]
async fn several_have_a_mode_and_a_result_each() {
    let fake = Fake::start().await;
    let ran = fake.run(&["machine", "allocate", "--count", "2", "--as-many-as-possible", "-o", "json"]).await;
    let told = ran.json();
    assert_eq!(
        (&told["results"][0]["machine"]["name"], &told["results"][1]["refusal"]),
        (&json!("n1"), &json!("1 ready: 1 lacks tag gpu"))
    );
    let sent = fake.script(|s| s.batch.clone()).unwrap();
    assert_eq!((sent.mode(), sent.items[0].count), (BatchMode::AsManyAsPossible, 2));
    let ran = fake.run(&["machine", "allocate", "--count", "2", "--all-or-nothing"]).await;
    assert!(ran.stdout.ends_with("1 of 2 allocated\n"), "{}", ran.stdout);
    for wrong in
        [&["--count", "2"][..], &["--all-or-nothing"], &["n1", "--count", "2", "--all-or-nothing"], &["--lease", "8"]]
    {
        let ran = fake.run(&[&["machine", "allocate"], wrong].concat()).await;
        assert_eq!(ran.code, 2, "{wrong:?}: {ran:?}");
    }
}
