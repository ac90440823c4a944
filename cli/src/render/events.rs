//! Events.

use farrier_proto::v1::Event;
use serde_json::{Value, json};

use super::{
    table::{Fit, cell, clean, table},
    words::{self, filled, rfc3339},
};

/// One event for programs.
pub(crate) fn json(event: &Event) -> Value {
    json!({
        "revision": event.revision,
        "at": rfc3339(event.at.as_ref()),
        "machine_id": filled(&event.machine_id),
        "machine": filled(&event.machine_name),
        "kind": event.kind,
        "event": filled(&event.event),
        "from": words::state(event.from),
        "to": words::state(event.to),
        "phase": filled(&event.phase),
        "actor": filled(&event.actor),
        "reason": filled(&event.reason),
    })
}

/// A list for programs.
pub(crate) fn list_json(events: &[Event]) -> Value {
    json!({ "events": events.iter().map(json).collect::<Vec<_>>() })
}

/// A list for people.
pub(crate) fn list_table(events: &[Event], width: Option<u16>) -> String {
    let columns = [
        ("REVISION", Fit::Whole),
        ("TIME", Fit::Whole),
        ("MACHINE", Fit::Whole),
        ("KIND", Fit::Whole),
        ("WHAT", Fit::Wraps),
        ("ACTOR", Fit::Whole),
        ("REASON", Fit::Wraps),
    ];
    let rows = events.iter().map(|e| {
        vec![
            e.revision.to_string(),
            cell(words::seconds(e.at.as_ref())),
            cell(e.machine_name.clone()),
            cell(e.kind.clone()),
            cell(what(e)),
            cell(e.actor.clone()),
            cell(e.reason.clone()),
        ]
    });
    table(width, &columns, rows.collect())
}

/// One line for people who watch.
pub(crate) fn line(event: &Event) -> String {
    let reason = filled(&event.reason).map_or_else(String::new, |r| format!(": {r}"));
    let text = format!(
        "{}  {}  {}  {}  {}{reason}",
        cell(words::seconds(event.at.as_ref())),
        cell(event.machine_name.clone()),
        event.kind,
        cell(what(event)),
        cell(event.actor.clone()),
    );
    clean(&text)
}

/// What changed: `ready -> deploying (deploy)`, or `deploying, booting`.
fn what(event: &Event) -> Option<String> {
    let cause = filled(&event.event).map_or_else(String::new, |e| format!(" ({e})"));
    match (words::state(event.from), words::state(event.to)) {
        (Some(from), Some(to)) if from != to => Some(format!("{from} -> {}{cause}", with_phase(&to, &event.phase))),
        (_, Some(state)) | (Some(state), None) => Some(format!("{}{cause}", with_phase(&state, &event.phase))),
        (None, None) => filled(&event.event).or(filled(&event.phase)).map(str::to_owned),
    }
}

fn with_phase(state: &str, phase: &str) -> String {
    if phase.is_empty() { state.to_owned() } else { format!("{state}, {phase}") }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use farrier_proto::v1::MachineState;
    use prost_types::Timestamp;

    use super::*;

    fn sample() -> Vec<Event> {
        let deploy = Event {
            revision: 41,
            at: Some(Timestamp { seconds: 1_800_000_000, nanos: 250_000_000 }),
            machine_id: "0199".to_owned(),
            machine_name: "n1".to_owned(),
            kind: "transition".to_owned(),
            event: "deploy".to_owned(),
            from: MachineState::Allocated.into(),
            to: MachineState::Deploying.into(),
            phase: "power-off".to_owned(),
            actor: "user:ann".to_owned(),
            reason: "asked by ann".to_owned(),
        };
        let phase = Event {
            revision: 43,
            kind: "phase".to_owned(),
            event: String::new(),
            from: MachineState::Deploying.into(),
            phase: "booting".to_owned(),
            actor: "engine".to_owned(),
            reason: String::new(),
            ..deploy.clone()
        };
        let image = Event { revision: 44, kind: "image".to_owned(), event: "created".to_owned(), ..Event::default() };
        vec![deploy, phase, image]
    }

    #[test]
    fn for_people() {
        expect![[r#"
            REVISION  TIME                  MACHINE  KIND        WHAT                                        ACTOR     REASON
            41        2027-01-15T08:00:00Z  n1       transition  allocated -> deploying, power-off (deploy)  user:ann  asked by ann
            43        2027-01-15T08:00:00Z  n1       phase       deploying, booting                          engine    -
            44        -                     -        image       created                                     -         -"#]]
        .assert_eq(&list_table(&sample(), None));
        let lines: Vec<_> = sample().iter().map(line).collect();
        expect![[r"
            2027-01-15T08:00:00Z  n1  transition  allocated -> deploying, power-off (deploy)  user:ann: asked by ann
            2027-01-15T08:00:00Z  n1  phase  deploying, booting  engine
            -  -  image  created  -"]]
        .assert_eq(&lines.join("\n"));
    }

    #[test]
    fn for_programs() {
        expect![[r#"
            {
              "actor": "user:ann",
              "at": "2027-01-15T08:00:00.250Z",
              "event": "deploy",
              "from": "allocated",
              "kind": "transition",
              "machine": "n1",
              "machine_id": "0199",
              "phase": "power-off",
              "reason": "asked by ann",
              "revision": 41,
              "to": "deploying"
            }"#]]
        .assert_eq(&format!("{:#}", json(&sample()[0])));
    }
}
