//! The life-cycle's verbs: what is sent, what a refusal looks like, and that nothing is done twice.

use std::{collections::HashSet, time::Duration};

use farrier_proto::v1::{Architecture, MachineState, PowerState, StateRefusal};
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    fake::{Fake, machine},
    proxy::Proxy,
};

#[tokio::test]
async fn a_refusal_says_what_is_allowed() {
    let fake = Fake::start().await;
    let refusal = StateRefusal {
        machine: "n1".to_owned(),
        state: MachineState::Ready.into(),
        verb: "deploy".to_owned(),
        allowed_verbs: vec!["allocate".to_owned(), "commission".to_owned()],
    };
    let detail = prost_types::Any {
        type_url: "type.googleapis.com/farrier.v1.StateRefusal".to_owned(),
        value: refusal.encode_to_vec(),
    };
    let rich = tonic_types::Status { code: 9, message: "deploy is refused".to_owned(), details: vec![detail] };
    let status = Status::with_details(Code::FailedPrecondition, "deploy is refused", rich.encode_to_vec().into());
    fake.script(|s| s.refusals.push_back(Some(status)));
    let ran = fake.run(&["machine", "deploy", "n1", "--image", "debian-13"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""));
    assert_eq!(
        ran.stderr,
        "error: deploy is refused (FAILED_PRECONDITION)\n  \
         machine n1 is in state ready; deploy is not allowed; allowed now: allocate, commission\n"
    );
}

#[tokio::test]
async fn each_bad_field_has_its_line() {
    let fake = Fake::start().await;
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("image", "no image has this name");
    let status = Status::with_error_details(Code::InvalidArgument, "the request is not valid", details);
    fake.script(|s| s.refusals.push_back(Some(status)));
    let ran = fake.run(&["machine", "deploy", "n1", "--image", "x"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.ends_with("\n  image: no image has this name\n"), "{}", ran.stderr);
}

#[tokio::test]
async fn an_unavailable_region_is_asked_again_with_the_same_request_id() {
    let fake = Fake::start().await;
    let away = || Some(Status::unavailable("the region restarts"));
    fake.script(|s| s.refusals = [away(), away(), None].into());
    let ran = fake.run(&["machine", "allocate", "n1", "-o", "json"]).await;
    assert_eq!((ran.code, ran.json()["state"].as_str()), (0, Some("allocated")), "{ran:?}");
    let ids = fake.script(|s| s.request_ids.clone());
    assert_eq!(ids.len(), 3);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1, "{ids:?}");
    assert_eq!(ids[0].len(), 36);
    fake.run(&["machine", "allocate", "n1"]).await;
    assert_ne!(fake.script(|s| s.request_ids.last().cloned()), ids.first().cloned(), "another call, another id");
}

#[tokio::test]
async fn an_answer_that_got_lost_is_asked_for_again_with_the_same_request_id() {
    let fake = Fake::start().await;
    let proxy = Proxy::start(fake.address).await;
    fake.save_login(proxy.address);
    // The region does the first call and holds its answer back until the connection is gone.
    fake.script(|s| s.hold_answers = 1);
    let run = fake.run(&["machine", "release", "n1", "-o", "json"]);
    let cut = async {
        while fake.script(|s| s.request_ids.is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.cut();
    };
    let (ran, ()) = tokio::join!(run, cut);
    assert_eq!((ran.code, ran.json()["state"].as_str()), (0, Some("releasing")), "{ran:?}");
    let ids = fake.script(|s| s.request_ids.clone());
    assert_eq!((ids.len(), ids.iter().collect::<HashSet<_>>().len()), (2, 1), "{ids:?}");
}

#[tokio::test]
async fn trying_again_has_a_bound() {
    let fake = Fake::start().await;
    fake.script(|s| s.refusals = (0..100).map(|_| Some(Status::unavailable("gone"))).collect());
    let ran = fake.run(&["machine", "allocate"]).await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(fake.script(|s| s.request_ids.len()) < 20);
}

#[tokio::test]
async fn a_created_machine_is_sent_as_given() {
    let fake = Fake::start().await;
    let password = fake.file("password", b"calvin\n");
    let args =
        ["machine", "create", "--name", "n1", "--mac", "52-54-00-AA-00-01", "52:54:00:aa:00:02", "--arch", "arm64"];
    let bmc =
        ["--bmc-address", "10.9.0.7", "--bmc-user", "root", "--bmc-password-file", &password, "--label", "zone=a"];
    let ran = fake.run(&[&args[..], &bmc[..]].concat()).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "n1 is commissioning\n"), "{ran:?}");
    let request = fake.script(|s| s.create.clone()).unwrap();
    assert_eq!(request.macs, ["52:54:00:aa:00:01", "52:54:00:aa:00:02"]);
    assert_eq!((request.architecture(), request.labels["zone"].as_str()), (Architecture::Arm64, "a"));
    let bmc = request.bmc.unwrap();
    assert_eq!((bmc.username.as_str(), bmc.password.as_str(), bmc.port, bmc.use_as_is), ("root", "calvin", 0, false));
}

#[tokio::test]
async fn half_a_bmc_is_a_mistake() {
    let fake = Fake::start().await;
    let create = ["machine", "create", "--mac", "52:54:00:aa:00:01", "--arch", "amd64"];
    for args in [
        &create[..],
        &["machine", "commission", "n1", "--bmc-address", "10.9.0.7"],
        &["machine", "commission", "n1", "--bmc-user", "root"],
        &["machine", "commission", "n1", "--timeout", "5"],
    ] {
        let ran = fake.run(args).await;
        assert_eq!(ran.code, 2, "{args:?} {ran:?}");
    }
    let ran = fake.run(&["machine", "commission", "n1"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn user_data_goes_as_it_is_and_has_a_limit() {
    let fake = Fake::start().await;
    let (good, big) = (fake.file("good", b"#cloud-config\n\xff"), fake.file("big", &vec![b'x'; (1 << 20) + 1]));
    let ran = fake.run(&["machine", "deploy", "n1", "--image", "i", "--user-data", &good, "--disk", "D1"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let request = fake.script(|s| s.deploy.clone()).unwrap();
    assert_eq!((request.user_data.as_slice(), request.disk_serial.as_str()), (&b"#cloud-config\n\xff"[..], "D1"));
    let ran = fake.run(&["machine", "deploy", "n1", "--image", "i", "--user-data", &big]).await;
    assert_eq!(ran.code, 2);
}

#[tokio::test]
async fn power_is_told_in_a_line() {
    let fake = Fake::start().await;
    fake.script(|s| s.machine = machine(MachineState::Ready, ""));
    let ran = fake.run(&["machine", "power", "query", "n1"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "n1: power is on\n"));
}

#[tokio::test]
async fn a_person_tells_what_he_did() {
    let fake = Fake::start().await;
    let ran = fake.run(&["machine", "tell-power", "n1", "off", "--comment", "pulled the plug"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = fake.script(|s| s.told_power.clone()).unwrap();
    assert_eq!(
        (told.machine.as_str(), told.power(), told.comment.as_str()),
        ("n1", PowerState::Off, "pulled the plug")
    );
    let ran = fake.run(&["machine", "tell-power", "n1", "cycle"]).await;
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("[possible values: off, on]"), "{}", ran.stderr);
}

#[tokio::test]
async fn there_is_one_way_to_a_bmc() {
    let fake = Fake::start().await;
    for two in [
        &["--bmc-manual", "--bmc-in-band"][..],
        &["--bmc-manual", "--bmc-address", "10.0.0.9"],
        &["--bmc-manual", "--bmc-take-over"],
    ] {
        let ran = fake.run(&[&["machine", "commission", "n1"], two].concat()).await;
        assert!(ran.code == 2 && ran.stderr.contains("cannot be used with"), "{ran:?}");
    }
    let ran = fake.run(&["machine", "create", "--mac", "52:54:00:00:00:01", "--arch", "amd64"]).await;
    assert!(ran.code == 2 && ran.stderr.contains("--bmc-manual"), "{ran:?}");
    assert_eq!(fake.script(|s| s.request_ids.len()), 0, "nobody was asked");
}
