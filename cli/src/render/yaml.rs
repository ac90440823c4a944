//! JSON values as YAML: same names, same values. Whatever YAML 1.1 or 1.2 would take for something else is quoted.

use serde_json::Value;
use serde_saphyr::SerializerOptions;

/// One document.
pub(crate) fn text(value: &Value) -> String {
    let mut options = SerializerOptions::default();
    // A value stays on its line, so that `grep` finds it.
    options.prefer_block_scalars = false;
    // JSON is YAML too.
    serde_saphyr::to_string_with_options(value, options).unwrap_or_else(|_| format!("{value:#}"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_stay_what_they_are() {
        let value = json!({
            "absent": null,
            "deadline": "2027-01-15T08:58:45Z",
            "disks": [{ "name": "sda", "rotational": true, "size_bytes": 549_755_813_888_u64 }, { "name": "sdb" }],
            "empty": { "list": [], "map": {}, "text": "" },
            "etag": "17",
            "like": ["no", "on", "null", "~", "1e3", "0x10", "1:30", ".5", "- a", "# b", "a: b", "a #b", " x ", "'", "\"", "*a", "&a", "!a", "%a", "@a", "|", "{}"],
            "mac": "52:54:00:00:00:01",
            "notes": "first\nsecond\ttab",
            "reason": "waits: for the agent".repeat(8),
            "unsafe": "a\u{1b}[2J",
        });
        expect![[r##"
            absent: null
            deadline: "2027-01-15T08:58:45Z"
            disks:
            - name: sda
              rotational: true
              size_bytes: 549755813888
            - name: sdb
            empty:
              list: []
              map: {}
              text: ""
            etag: "17"
            like:
            - "no"
            - "on"
            - "null"
            - "~"
            - "1e3"
            - "0x10"
            - "1:30"
            - ".5"
            - "- a"
            - "# b"
            - "a: b"
            - "a #b"
            - " x "
            - "'"
            - "\""
            - "*a"
            - "&a"
            - "!a"
            - "%a"
            - "@a"
            - "|"
            - "{}"
            mac: "52:54:00:00:00:01"
            notes: "first\nsecond\ttab"
            reason: "waits: for the agentwaits: for the agentwaits: for the agentwaits: for the agentwaits: for the agentwaits: for the agentwaits: for the agentwaits: for the agent"
            unsafe: "a\e[2J"
        "##]].assert_eq(&text(&value));
    }
}
