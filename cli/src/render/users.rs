//! Users and their tokens.

use farrier_proto::v1::{CreateTokenResponse, Token, User};
use serde_json::{Value, json};

use super::{
    table::{Fit, cell, table},
    words::{self, filled, rfc3339},
};

/// One user for programs.
pub(crate) fn json(user: &User) -> Value {
    json!({
        "id": user.id,
        "name": user.name,
        "role": words::role(user.role),
        "created_at": rfc3339(user.created_at.as_ref()),
        "etag": user.etag,
    })
}

/// A list of users for programs.
pub(crate) fn list_json(users: &[User]) -> Value {
    json!({ "users": users.iter().map(json).collect::<Vec<_>>() })
}

/// One line about a user.
pub(crate) fn summary(user: &User) -> String {
    format!("{} ({})", cell(user.name.clone()), cell(words::role(user.role)))
}

/// A list of users for people.
pub(crate) fn list_table(users: &[User], width: Option<u16>) -> String {
    let columns = [("NAME", Fit::Whole), ("ROLE", Fit::Whole), ("CREATED", Fit::Whole), ("ID", Fit::Wraps)];
    let rows = users.iter().map(|u| {
        let created = words::seconds(u.created_at.as_ref());
        vec![cell(u.name.clone()), cell(words::role(u.role)), cell(created), cell(u.id.clone())]
    });
    table(width, &columns, rows.collect())
}

// === tokens ===

/// One token for programs; what lets its bearer in is not part of it.
pub(crate) fn token_json(token: &Token) -> Value {
    json!({
        "id": token.id,
        "user": token.user,
        "comment": filled(&token.comment),
        "created_at": rfc3339(token.created_at.as_ref()),
        "expires_at": rfc3339(token.expires_at.as_ref()),
        "revoked": token.revoked,
    })
}

/// A new token with its secret, for programs.
pub(crate) fn new_token_json(answer: &CreateTokenResponse) -> Value {
    json!({ "token": answer.token.as_ref().map(token_json), "secret": answer.secret })
}

/// A list of tokens for programs.
pub(crate) fn tokens_json(tokens: &[Token]) -> Value {
    json!({ "tokens": tokens.iter().map(token_json).collect::<Vec<_>>() })
}

/// One line about a token.
pub(crate) fn token_summary(token: &Token) -> String {
    let until = words::seconds(token.expires_at.as_ref())
        .map_or_else(|| "does not expire".to_owned(), |t| format!("expires {t}"));
    let revoked = if token.revoked { ", revoked" } else { "" };
    format!("token {} of {}, {until}{revoked}", cell(token.id.clone()), cell(token.user.clone()))
}

/// A list of tokens for people.
pub(crate) fn tokens_table(tokens: &[Token], width: Option<u16>) -> String {
    let columns = [
        ("ID", Fit::Whole),
        ("USER", Fit::Whole),
        ("CREATED", Fit::Whole),
        ("EXPIRES", Fit::Whole),
        ("REVOKED", Fit::Whole),
        ("COMMENT", Fit::Wraps),
    ];
    let rows = tokens.iter().map(|t| {
        vec![
            cell(t.id.clone()),
            cell(t.user.clone()),
            cell(words::seconds(t.created_at.as_ref())),
            words::seconds(t.expires_at.as_ref()).unwrap_or_else(|| "never".to_owned()),
            if t.revoked { "yes" } else { "no" }.to_owned(),
            cell(t.comment.clone()),
        ]
    });
    table(width, &columns, rows.collect())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use farrier_proto::v1::Role;
    use prost_types::Timestamp;

    use super::*;

    fn user() -> User {
        User {
            id: "0199".to_owned(),
            name: "ann".to_owned(),
            role: Role::Admin.into(),
            created_at: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            etag: "1".to_owned(),
            ..User::default()
        }
    }

    fn token() -> Token {
        Token {
            id: "019a".to_owned(),
            user: "ann".to_owned(),
            comment: "laptop".to_owned(),
            created_at: Some(Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            expires_at: None,
            revoked: false,
        }
    }

    #[test]
    fn for_people() {
        expect![[r#"
            NAME  ROLE   CREATED               ID
            ann   admin  2027-01-15T08:00:00Z  0199"#]]
        .assert_eq(&list_table(&[user()], None));
        expect![[r#"
            ID    USER  CREATED               EXPIRES  REVOKED  COMMENT
            019a  ann   2027-01-15T08:00:00Z  never    no       laptop"#]]
        .assert_eq(&tokens_table(&[token()], None));
        expect!["token 019a of ann, does not expire"].assert_eq(&token_summary(&token()));
    }

    #[test]
    fn for_programs() {
        expect![[r#"
            {
              "users": [
                {
                  "created_at": "2027-01-15T08:00:00Z",
                  "etag": "1",
                  "id": "0199",
                  "name": "ann",
                  "role": "admin"
                }
              ]
            }"#]]
        .assert_eq(&format!("{:#}", list_json(&[user()])));
        expect![[r#"
            {
              "tokens": [
                {
                  "comment": "laptop",
                  "created_at": "2027-01-15T08:00:00Z",
                  "expires_at": null,
                  "id": "019a",
                  "revoked": false,
                  "user": "ann"
                }
              ]
            }"#]]
        .assert_eq(&format!("{:#}", tokens_json(&[token()])));
    }
}
