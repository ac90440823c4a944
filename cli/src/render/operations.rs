//! Bulk work and its plans.

use farrier_proto::v1::{BulkPlan, Operation};
use serde_json::{Value, json};

use super::{
    table::{Fit, Page, cell, clean, table},
    words::{self, filled, rfc3339},
};

/// One operation for programs.
pub(crate) fn json(operation: &Operation) -> Value {
    let item = |i: &farrier_proto::v1::OperationItem| json!({ "machine": i.machine, "status": i.status, "text": filled(&i.text) });
    json!({
        "id": operation.id,
        "verb": operation.verb,
        "status": operation.status,
        "user": operation.user,
        "created_at": rfc3339(operation.created_at.as_ref()),
        "finished_at": rfc3339(operation.finished_at.as_ref()),
        "total": operation.total,
        "succeeded": operation.succeeded,
        "failed": operation.failed,
        "running": operation.running,
        "waiting": operation.waiting,
        "max_parallel": operation.max_parallel,
        "stop_after_failures": operation.stop_after_failures,
        "comment": filled(&operation.comment),
        "etag": operation.etag,
        "items": operation.items.iter().map(item).collect::<Vec<_>>(),
    })
}

/// A list of operations for programs.
pub(crate) fn list_json(operations: &[Operation]) -> Value {
    json!({ "operations": operations.iter().map(json).collect::<Vec<_>>() })
}

/// One line about an operation.
pub(crate) fn summary(operation: &Operation) -> String {
    format!("operation {}, {}: {}", cell(operation.id.clone()), cell(operation.verb.clone()), progress(operation))
}

/// How far it is.
pub(crate) fn progress(operation: &Operation) -> String {
    let skipped = u64::from(operation.total) - ended(operation).min(operation.total.into());
    let skipped = skipped.saturating_sub(u64::from(operation.running) + u64::from(operation.waiting));
    let more = [("at work", operation.running.into()), ("waiting", operation.waiting.into()), ("skipped", skipped)];
    let more: String = more.iter().filter(|(_, n)| *n > 0).map(|(word, n)| format!(", {n} {word}")).collect();
    let (status, total) = (clean(&operation.status), operation.total);
    format!("{status}, of {total} machines {} succeeded, {} failed{more}", operation.succeeded, operation.failed)
}

/// Machines whose turn is over.
pub(crate) fn ended(operation: &Operation) -> u64 {
    u64::from(operation.succeeded) + u64::from(operation.failed)
}

/// A list of operations for people.
pub(crate) fn list_table(operations: &[Operation], width: Option<u16>) -> String {
    let columns = [
        ("ID", Fit::Whole),
        ("VERB", Fit::Whole),
        ("STATUS", Fit::Whole),
        ("DONE", Fit::Whole),
        ("FAILED", Fit::Whole),
        ("USER", Fit::Spare),
        ("CREATED", Fit::Spare),
        ("COMMENT", Fit::Wraps),
    ];
    let rows = operations.iter().map(|o| {
        vec![
            cell(o.id.clone()),
            cell(o.verb.clone()),
            cell(o.status.clone()),
            format!("{}/{}", ended(o), o.total),
            o.failed.to_string(),
            cell(o.user.clone()),
            cell(words::seconds(o.created_at.as_ref())),
            cell(o.comment.clone()),
        ]
    });
    table(width, &columns, rows.collect())
}

/// An operation and each of its machines, for people.
pub(crate) fn page(operation: &Operation, width: Option<u16>) -> String {
    let columns = [("MACHINE", Fit::Whole), ("STATUS", Fit::Whole), ("WHY", Fit::Wraps)];
    let rows = operation.items.iter();
    let rows = rows.map(|i| vec![cell(i.machine.clone()), cell(i.status.clone()), cell(i.text.clone())]).collect();
    let stop = operation.stop_after_failures;
    Page::default()
        .pair("Operation", operation.id.clone())
        .pair("Verb", operation.verb.clone())
        .pair("Status", progress(operation))
        .pair("User", operation.user.clone())
        .pair("Created", words::seconds(operation.created_at.as_ref()))
        .pair("Finished", words::seconds(operation.finished_at.as_ref()))
        .pair("At once", operation.max_parallel.to_string())
        .pair_if("Stops after", (stop > 0).then(|| format!("{stop} failures")))
        .pair_if("Comment", Some(operation.comment.clone()))
        .section("Machines", &table(width, &columns, rows))
        .text()
}

/// A plan for programs.
pub(crate) fn plan_json(plan: &BulkPlan) -> Value {
    let item = |i: &farrier_proto::v1::BulkPlanItem| json!({ "machine": i.machine, "refusal": filled(&i.refusal) });
    json!({
        "token": plan.token,
        "expires_at": rfc3339(plan.expires_at.as_ref()),
        "count": plan.count,
        "items": plan.items.iter().map(item).collect::<Vec<_>>(),
    })
}

/// A plan for people.
pub(crate) fn plan_table(plan: &BulkPlan, width: Option<u16>) -> String {
    let columns = [("MACHINE", Fit::Whole), ("REFUSED BECAUSE", Fit::Wraps)];
    let rows = plan.items.iter().map(|i| vec![cell(i.machine.clone()), cell(i.refusal.clone())]).collect();
    let refused = plan.items.iter().filter(|i| !i.refusal.is_empty()).count();
    let refused = if refused > 0 { format!("; {refused} would be refused") } else { String::new() };
    format!("{}\n\n{} machines{refused}", table(width, &columns, rows), plan.count)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use farrier_proto::v1::{BulkPlanItem, OperationItem};

    use super::*;

    fn operation() -> Operation {
        let item = |machine: &str, status: &str, text: &str| OperationItem {
            machine: machine.to_owned(),
            status: status.to_owned(),
            text: text.to_owned(),
        };
        Operation {
            id: "0199".to_owned(),
            verb: "release".to_owned(),
            status: "stopped".to_owned(),
            user: "ann".to_owned(),
            total: 3,
            succeeded: 1,
            failed: 1,
            max_parallel: 10,
            stop_after_failures: 1,
            items: vec![
                item("n1", "succeeded", ""),
                item("n2", "failed", "failed-releasing: the agent is silent"),
                item("n3", "skipped", "1 machines failed before its turn"),
            ],
            ..Operation::default()
        }
    }

    #[test]
    fn for_people() {
        expect![[r"
            Operation:    0199
            Verb:         release
            Status:       stopped, of 3 machines 1 succeeded, 1 failed, 1 skipped
            User:         ann
            Created:      -
            Finished:     -
            At once:      10
            Stops after:  1 failures

            Machines
              MACHINE  STATUS     WHY
              n1       succeeded  -
              n2       failed     failed-releasing: the agent is silent
              n3       skipped    1 machines failed before its turn"]]
        .assert_eq(&page(&operation(), None));
        expect![[r"
            ID    VERB     STATUS   DONE  FAILED  USER  CREATED  COMMENT
            0199  release  stopped  2/3   1       ann   -        -"]]
        .assert_eq(&list_table(&[operation()], None));
        let item = |machine: &str, refusal: &str| BulkPlanItem { machine: machine.into(), refusal: refusal.into() };
        let items = vec![item("n1", ""), item("n2", "machine n2 is ready; release is not allowed")];
        expect![[r"
            MACHINE  REFUSED BECAUSE
            n1       -
            n2       machine n2 is ready; release is not allowed

            2 machines; 1 would be refused"]]
        .assert_eq(&plan_table(&BulkPlan { count: 2, items, ..BulkPlan::default() }, None));
    }

    #[test]
    fn for_programs() {
        let told = json(&operation());
        assert_eq!((&told["status"], &told["items"][0]["text"]), (&json!("stopped"), &Value::Null));
        assert_eq!(told["items"][1]["text"], "failed-releasing: the agent is silent");
    }
}
