//! Public keys for SSH.

use farrier_proto::v1::SshKey;
use serde_json::{Value, json};

use super::{
    table::{Fit, cell, table},
    words::{self, rfc3339},
};

/// One key for programs.
pub(crate) fn json(key: &SshKey) -> Value {
    json!({
        "id": key.id,
        "user": key.user,
        "public_key": key.public_key,
        "fingerprint": key.fingerprint,
        "created_at": rfc3339(key.created_at.as_ref()),
    })
}

/// A list for programs.
pub(crate) fn list_json(keys: &[SshKey]) -> Value {
    json!({ "ssh_keys": keys.iter().map(json).collect::<Vec<_>>() })
}

/// One line about a key.
pub(crate) fn summary(key: &SshKey) -> String {
    format!("{} of {} ({})", cell(key.fingerprint.clone()), cell(key.user.clone()), kind_and_comment(key))
}

fn kind_and_comment(key: &SshKey) -> String {
    let mut words = key.public_key.splitn(3, ' ');
    let (kind, comment) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
    cell(format!("{kind} {comment}").trim().to_owned())
}

/// A list for people.
pub(crate) fn list_table(keys: &[SshKey], width: Option<u16>) -> String {
    let columns = [
        ("ID", Fit::Whole),
        ("USER", Fit::Whole),
        ("FINGERPRINT", Fit::Whole),
        ("CREATED", Fit::Spare),
        ("KEY", Fit::Wraps),
    ];
    let rows = keys.iter().map(|key| {
        vec![
            cell(key.id.clone()),
            cell(key.user.clone()),
            cell(key.fingerprint.clone()),
            cell(words::seconds(key.created_at.as_ref())),
            kind_and_comment(key),
        ]
    });
    table(width, &columns, rows.collect())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_key_is_told_by_its_fingerprint() {
        let key = SshKey {
            id: "019a".to_owned(),
            user: "ann".to_owned(),
            public_key: "ssh-ed25519 AAAA ann on her laptop".to_owned(),
            fingerprint: "SHA256:abc".to_owned(),
            created_at: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
        };
        expect!["SHA256:abc of ann (ssh-ed25519 ann on her laptop)"].assert_eq(&summary(&key));
        expect![[r#"
            ID    USER  FINGERPRINT  CREATED               KEY
            019a  ann   SHA256:abc   2027-01-15T08:00:00Z  ssh-ed25519 ann on her laptop"#]]
        .assert_eq(&list_table(&[key], None));
    }
}
