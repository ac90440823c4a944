//! One verb for many machines.

use farrier_proto::v1::{BulkPlan, BulkPlanItem, Operation, OperationItem};

use crate::fake::Fake;

fn operation(status: &str, succeeded: u32, failed: u32) -> Operation {
    let item = OperationItem { machine: "n1".into(), status: "succeeded".into(), text: String::new() };
    Operation {
        id: "0199-o".to_owned(),
        verb: "release".to_owned(),
        status: status.to_owned(),
        finished_at: (status != "running").then(prost_types::Timestamp::default),
        total: 2,
        succeeded,
        failed,
        items: vec![item],
        ..Operation::default()
    }
}

async fn fake() -> Fake {
    let fake = Fake::start().await;
    fake.script(|s| {
        let item = |name: &str| BulkPlanItem { machine: name.to_owned(), refusal: String::new() };
        let items = vec![item("n1"), item("n2")];
        s.plan = BulkPlan { token: "pl4n".to_owned(), count: 2, items, ..BulkPlan::default() };
        s.operations = [operation("running", 0, 0), operation("running", 1, 0)].into();
        s.operation = operation("done", 2, 0);
    });
    fake
}

#[tokio::test]
async fn a_plan_is_shown_and_followed_only_if_the_count_is_known() {
    let fake = fake().await;
    let shown = fake.run(&["bulk", "release", "--filter", "pool=lab", "--plan"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("n2") && shown.stdout.contains("2 machines"), "{shown:?}");
    // Nobody is there to type the count.
    let unsure = fake.run(&["bulk", "release", "n1", "n2"]).await;
    assert_eq!(unsure.code, 2, "{unsure:?}");
    assert!(unsure.stderr.contains("give --expect 2"), "{unsure:?}");
    let wrong = fake.run(&["bulk", "release", "n1", "n2", "--expect", "3"]).await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("--expect says 3, but it is about 2; nothing was done"), "{wrong:?}");
    assert!(fake.script(|s| s.bulk.iter().all(|q| q.options.as_ref().unwrap().validate_only)));

    let args = ["bulk", "release", "n1", "n2", "--yes-count", "2", "--max-parallel", "4", "--stop-after-failures", "1"];
    let done = fake.run(&[&args[..], &["--comment", "moving out"]].concat()).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("of 2 machines 1 succeeded, 0 failed"), "{done:?}");
    assert!(done.stdout.contains("done, of 2 machines 2 succeeded"), "{done:?}");
    let asked = fake.script(|s| s.bulk.last().cloned()).unwrap();
    assert_eq!((asked.plan_token.as_str(), asked.expected_count, asked.max_parallel), ("pl4n", 2, 4));
    assert_eq!((asked.stop_after_failures, asked.comment.as_str(), asked.machines.len()), (1, "moving out", 2));
    assert!(!asked.options.unwrap().validate_only);
}

#[tokio::test]
async fn names_or_a_filter_but_not_both_and_not_neither() {
    let fake = fake().await;
    for args in
        [&["bulk", "release"][..], &["bulk", "release", "n1", "--filter", "pool=lab"], &["bulk", "explode", "n1"]]
    {
        assert_eq!(fake.run(args).await.code, 2, "{args:?}");
    }
}

#[tokio::test]
async fn an_operation_is_watched_and_its_failures_are_told() {
    let fake = fake().await;
    fake.script(|s| s.operation = operation("stopped", 0, 1));
    let watched = fake.run(&["operation", "watch", "0199-o"]).await;
    assert_eq!(watched.code, 5, "{watched:?}");
    assert!(watched.stderr.contains("stopped, of 2 machines 0 succeeded, 1 failed, 1 skipped"), "{watched:?}");
    let shown = fake.run(&["operation", "get", "0199-o", "-o", "json"]).await;
    assert_eq!((shown.code, shown.json()["status"].as_str()), (0, Some("stopped")));
    let listed = fake.run(&["operation", "list"]).await;
    assert!(listed.code == 0 && listed.stdout.contains("0199-o"), "{listed:?}");
    let cancelled = fake.run(&["operation", "cancel", "0199-o"]).await;
    assert!(cancelled.code == 0 && cancelled.stdout.starts_with("operation 0199-o, release: stopped"), "{cancelled:?}");
}
