//! Scripts, and what is chosen of them.

use farrier_proto::v1::ScriptKind;

use crate::fake::Fake;

#[tokio::test]
async fn a_script_is_made_from_a_file() {
    let fake = Fake::start().await;
    let file = fake.file("burn", b"#!/bin/sh\nexit 0\n");
    let create = ["script", "create", "burn-in", "--kind", "test", "--file", &file, "--timeout", "60"];
    let ran = fake.run(&create).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "created script burn-in (test)\n"), "{ran:?}");
    let sent = fake.script(|s| s.new_script.clone()).unwrap();
    assert_eq!(
        (sent.kind(), sent.content.as_str(), sent.timeout_seconds),
        (ScriptKind::Test, "#!/bin/sh\nexit 0\n", 60)
    );
    let (big, odd) = (fake.file("big", &vec![b'x'; (256 << 10) + 1]), fake.file("odd", b"#!\xff"));
    for file in [big, odd] {
        let ran = fake.run(&["script", "create", "x", "--kind", "test", "--file", &file]).await;
        assert_eq!(ran.code, 2, "{ran:?}");
    }
    let ran = fake.run(&["script", "show", "burn-in", "-o", "json"]).await;
    assert_eq!(ran.json()["content"], "#!/bin/sh\n");
    let ran = fake.run(&["script", "delete", "burn-in"]).await;
    assert_eq!(ran.stdout, "deleted script burn-in (test)\n");
}

#[tokio::test]
async fn what_is_chosen_is_sent() {
    let fake = Fake::start().await;
    let flags = ["--script", "raid", "--test", "cpu", "--test", "memory", "--keep-network", "--stay-up"];
    let ran = fake.run(&[&["machine", "commission", "n1"][..], &flags].concat()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let chosen = fake.script(|s| s.commission.clone()).unwrap().commission.unwrap();
    assert_eq!((chosen.scripts, chosen.tests), (vec!["raid".to_owned()], vec!["cpu".to_owned(), "memory".to_owned()]));
    assert_eq!((chosen.keep_storage, chosen.keep_network, chosen.stay_up), (false, true, true));
    let ran = fake.run(&["machine", "test", "n1", "--test", "cpu", "--comment", "noise"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "n1 is testing\n"), "{ran:?}");
    let sent = fake.script(|s| s.test.clone()).unwrap();
    assert_eq!((sent.tests, sent.comment.as_str()), (vec!["cpu".to_owned()], "noise"));
}

#[tokio::test]
async fn results_are_listed_and_one_is_shown_whole() {
    let fake = Fake::start().await;
    let ran = fake.run(&["machine", "results", "n1"]).await;
    assert_eq!(ran.stdout.lines().count(), 3, "{ran:?}");
    let ran = fake.run(&["machine", "results", "n1", "--script", "memory"]).await;
    assert!(ran.stdout.ends_with("\nWhat it wrote the last time:\n\nall\nfine\n"), "{ran:?}");
    let ran = fake.run(&["machine", "results", "n1", "--script", "memory", "-o", "json"]).await;
    assert_eq!(ran.json()["results"][0]["output"], "all\nfine\n");
}
