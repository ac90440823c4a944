//! Scripts, and what they did.

use farrier_proto::v1::{Script, ScriptResult};
use serde_json::{Value, json};

use super::{
    table::{Fit, Page, cell, table},
    words::{self, filled, rfc3339},
};

/// One script for programs.
pub(crate) fn json(script: &Script) -> Value {
    json!({
        "id": filled(&script.id),
        "name": script.name,
        "kind": words::script_kind(script.kind),
        "content": filled(&script.content),
        "timeout_seconds": script.timeout_seconds,
        "built_in": script.built_in,
        "description": filled(&script.description),
        "created_at": rfc3339(script.created_at.as_ref()),
        "etag": script.etag,
    })
}

/// A list for programs.
pub(crate) fn list_json(scripts: &[Script]) -> Value {
    json!({ "scripts": scripts.iter().map(json).collect::<Vec<_>>() })
}

/// One line about a script.
pub(crate) fn summary(script: &Script) -> String {
    format!("script {} ({})", cell(script.name.clone()), cell(words::script_kind(script.kind)))
}

/// A list for people.
pub(crate) fn list_table(scripts: &[Script], width: Option<u16>) -> String {
    let columns = [
        ("NAME", Fit::Whole),
        ("KIND", Fit::Whole),
        ("TIMEOUT", Fit::Whole),
        ("BUILT IN", Fit::Whole),
        ("DESCRIPTION", Fit::Wraps),
    ];
    let rows = scripts.iter().map(|s| {
        vec![
            cell(s.name.clone()),
            cell(words::script_kind(s.kind)),
            words::span(s.timeout_seconds.into()),
            if s.built_in { "yes" } else { "no" }.to_owned(),
            cell(s.description.clone()),
        ]
    });
    table(width, &columns, rows.collect())
}

/// Everything about a script, for people.
pub(crate) fn page(script: &Script) -> String {
    let page = Page::default()
        .pair("Name", script.name.clone())
        .pair("Id", script.id.clone())
        .pair("Kind", words::script_kind(script.kind))
        .pair("Timeout", words::span(script.timeout_seconds.into()))
        .pair("Built in", if script.built_in { "yes" } else { "no" }.to_owned())
        .pair("Description", script.description.clone())
        .pair("Created", words::seconds(script.created_at.as_ref()));
    if script.content.is_empty() { page.text() } else { page.section("Content", &lines(&script.content)).text() }
}

// === what they did ===

fn result_json(result: &ScriptResult) -> Value {
    json!({
        "script": result.script,
        "kind": result.kind,
        "status": result.status,
        "exit_code": result.exit_code,
        "output": result.output,
        "started_at": rfc3339(result.started_at.as_ref()),
        "finished_at": rfc3339(result.finished_at.as_ref()),
        "boot_id": result.boot_id,
    })
}

/// The same without the output, which comes with the list of results alone.
pub(crate) fn brief_json(result: &ScriptResult) -> Value {
    let mut json = result_json(result);
    if let Some(fields) = json.as_object_mut() {
        fields.remove("output");
    }
    json
}

/// What scripts did, for programs.
pub(crate) fn results_json(results: &[ScriptResult]) -> Value {
    json!({ "results": results.iter().map(result_json).collect::<Vec<_>>() })
}

/// What scripts did, for people.
pub(crate) fn results_table(results: &[ScriptResult], width: Option<u16>) -> String {
    let columns = [
        ("SCRIPT", Fit::Whole),
        ("KIND", Fit::Whole),
        ("STATUS", Fit::Whole),
        ("CODE", Fit::Whole),
        ("FINISHED", Fit::Whole),
        ("TOOK", Fit::Whole),
        ("LAST LINE", Fit::Wraps),
    ];
    let rows = results.iter().map(|r| {
        let times = words::time(r.started_at.as_ref()).zip(words::time(r.finished_at.as_ref()));
        let took = times.map(|(from, to)| words::span((to - from).num_seconds()));
        vec![
            cell(r.script.clone()),
            cell(r.kind.clone()),
            cell(r.status.clone()),
            r.exit_code.to_string(),
            cell(words::seconds(r.finished_at.as_ref())),
            cell(took),
            cell(r.output.lines().last().unwrap_or_default().to_owned()),
        ]
    });
    table(width, &columns, rows.collect())
}

/// The table, and all that one of them wrote.
pub(crate) fn with_output(table: &str, result: &ScriptResult) -> String {
    let output = if result.output.is_empty() { "nothing".to_owned() } else { lines(&result.output) };
    format!("{table}\n\nWhat it wrote the last time:\n\n{output}")
}

/// Line by line, as they came: what could lead a terminal astray is made harmless.
fn lines(text: &str) -> String {
    text.lines().map(super::table::clean).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use farrier_proto::v1::ScriptKind;
    use prost_types::Timestamp;

    use super::*;

    fn script() -> Script {
        Script {
            id: "0199".to_owned(),
            name: "burn-in".to_owned(),
            kind: ScriptKind::Test.into(),
            content: "#!/bin/sh\nexit 0\n".to_owned(),
            timeout_seconds: 3600,
            description: "an hour of heat".to_owned(),
            created_at: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            etag: "1".to_owned(),
            ..Script::default()
        }
    }

    fn result() -> ScriptResult {
        ScriptResult {
            script: "burn-in".to_owned(),
            kind: "test".to_owned(),
            status: "failed".to_owned(),
            exit_code: 1,
            output: "warming up\ntoo hot\n".to_owned(),
            started_at: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            finished_at: Some(Timestamp { seconds: 1_800_000_061, nanos: 0 }),
            boot_id: "019b".to_owned(),
        }
    }

    #[test]
    fn for_people() {
        let built_in = Script { name: "cpu".to_owned(), built_in: true, ..script() };
        expect![[r#"
            NAME     KIND  TIMEOUT  BUILT IN  DESCRIPTION
            burn-in  test  1h00m    no        an hour of heat
            cpu      test  1h00m    yes       an hour of heat"#]]
        .assert_eq(&list_table(&[script(), built_in], None));
        expect![[r#"
            Name:         burn-in
            Id:           0199
            Kind:         test
            Timeout:      1h00m
            Built in:     no
            Description:  an hour of heat
            Created:      2027-01-15T08:00:00Z

            Content
              #!/bin/sh
              exit 0"#]]
        .assert_eq(&page(&script()));
        expect!["script burn-in (test)"].assert_eq(&summary(&script()));
        let table = results_table(&[result()], None);
        expect![[r#"
            SCRIPT   KIND  STATUS  CODE  FINISHED              TOOK   LAST LINE
            burn-in  test  failed  1     2027-01-15T08:01:01Z  1m01s  too hot

            What it wrote the last time:

            warming up
            too hot"#]]
        .assert_eq(&with_output(&table, &result()));
    }

    #[test]
    fn for_programs() {
        expect![[r##"
            {
              "scripts": [
                {
                  "built_in": false,
                  "content": "#!/bin/sh\nexit 0\n",
                  "created_at": "2027-01-15T08:00:00Z",
                  "description": "an hour of heat",
                  "etag": "1",
                  "id": "0199",
                  "kind": "test",
                  "name": "burn-in",
                  "timeout_seconds": 3600
                }
              ]
            }"##]]
        .assert_eq(&format!("{:#}", list_json(&[script()])));
        expect![[r#"
            {
              "results": [
                {
                  "boot_id": "019b",
                  "exit_code": 1,
                  "finished_at": "2027-01-15T08:01:01Z",
                  "kind": "test",
                  "output": "warming up\ntoo hot\n",
                  "script": "burn-in",
                  "started_at": "2027-01-15T08:00:00Z",
                  "status": "failed"
                }
              ]
            }"#]]
        .assert_eq(&format!("{:#}", results_json(&[result()])));
    }
}
