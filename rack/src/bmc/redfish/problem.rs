//! What a refusal means, in our words: status and extended information, without what must not be seen.

use hyper::{StatusCode, header::RETRY_AFTER};
use serde_json::Value;

use super::{super::BmcError, document::shown, http::Answer};

/// Characters of a BMC's explanation that are shown.
const SHOWN: usize = 300;
/// Messages that are shown.
const MESSAGES: usize = 3;

/// Message ids that say "later".
const BUSY: [&str; 5] = [
    "ServiceTemporarilyUnavailable",
    "ResourceInUse",
    "ResourceInStandby",
    "UnableToModifyDuringSystemPOST",
    "ServiceInUnknownState",
];
/// Message ids that say "no more sessions", which waiting does not change soon.
const NO_SESSION: [&str; 2] = ["SessionLimitExceeded", "NoMoreSessions"];

/// Is the BMC busy, so that the same request may succeed later? With the seconds that it asks for, if it does.
pub(super) fn pause(answer: &Answer) -> Option<Option<u64>> {
    let asked = answer.header(RETRY_AFTER.as_str()).and_then(|v| v.trim().parse().ok());
    let ids = ids(&answer.body);
    let names = |list: &[&str]| ids.iter().any(|id| list.contains(&id.as_str()));
    let busy = match answer.status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => !names(&NO_SESSION),
        StatusCode::CONFLICT => asked.is_some() || names(&BUSY),
        StatusCode::BAD_REQUEST => names(&["UnableToModifyDuringSystemPOST"]),
        _ => false,
    };
    busy.then_some(asked)
}

/// The error for an answer that is no success.
pub(super) fn refusal(method: &str, path: &str, answer: &Answer, secrets: &[&str]) -> BmcError {
    let text = format!("{method} {path}: {}{}", answer.status.as_u16(), told(&answer.body, secrets));
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => BmcError::Refused(text),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            BmcError::Unsupported(text)
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => BmcError::Busy(text),
        status if status.is_client_error() || status.is_server_error() => BmcError::Rejected(text),
        _ => BmcError::Nonsense(text),
    }
}

/// What the BMC explains, as `: text`, or nothing. BMCs repeat what they were sent, so every secret is taken out.
pub(super) fn told(body: &[u8], secrets: &[&str]) -> String {
    let messages: Vec<_> = infos(body).iter().filter_map(message).take(MESSAGES).collect();
    // Before it is cut: a part of a secret is one too.
    let whole = secrets.iter().filter(|s| !s.is_empty()).fold(messages.join(" "), |text, s| text.replace(s, "…"));
    let text = shown(&whole, SHOWN);
    if text.is_empty() { text } else { format!(": {text}") }
}

/// The names of the messages, without registry and version.
fn ids(body: &[u8]) -> Vec<String> {
    let last = |id: &str| id.rsplit('.').next().unwrap_or_default().to_owned();
    infos(body).iter().filter_map(|m| m.get("MessageId")?.as_str().map(last)).collect()
}

fn message(info: &Value) -> Option<String> {
    let text = info.get("Message").and_then(Value::as_str).filter(|t| !t.is_empty());
    text.or_else(|| info.get("MessageId").and_then(Value::as_str)).map(str::to_owned)
}

fn infos(body: &[u8]) -> Vec<Value> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let error = value.get("error");
    let infos = error.and_then(|e| e.get("@Message.ExtendedInfo")).or_else(|| value.get("@Message.ExtendedInfo"));
    match infos {
        Some(Value::Array(all)) if !all.is_empty() => all.clone(),
        // Some firmware puts one object where a list belongs.
        Some(one @ Value::Object(_)) => vec![one.clone()],
        Some(_) | None => error
            .filter(|e| e.is_object())
            .map(|e| {
                let part = |name: &str| e.get(name).cloned().unwrap_or_default();
                vec![serde_json::json!({"Message": part("message"), "MessageId": part("code")})]
            })
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: HeaderMap::new(), body: body.to_owned().into() }
    }

    const USED: &str =
        r#"{"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.8.ResourceInUse", "Message": "Later."}]}}"#;
    const FULL: &str = r#"{"error": {"code": "Base.1.0.SessionLimitExceeded", "message": "No room"}}"#;

    #[test]
    fn busy_is_told_from_no() {
        let check =
            |status, body: &str, expected| assert_eq!(pause(&answer(status, body)), expected, "{status} {body}");
        check(503, "", Some(None));
        check(503, FULL, None);
        check(409, USED, Some(None));
        check(409, "{}", None);
        check(400, USED, None);
        let mut asked = answer(503, "");
        asked.headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(pause(&asked), Some(Some(7)));
    }

    #[test]
    fn a_secret_that_is_repeated_is_not_shown() {
        let echo =
            r#"{"error": {"@Message.ExtendedInfo": [{"Message": "The value hunter2 for Password\r\n is weak."}]}}"#;
        let error = refusal("POST", "/x", &answer(400, echo), &["hunter2"]).to_string();
        assert_eq!(error, "the BMC rejects it: POST /x: 400: The value … for Password is weak.");
        assert_eq!(told(b"<html>", &[]), "");
        assert_eq!(told(FULL.as_bytes(), &[]), ": No room");
    }
}
