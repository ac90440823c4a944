//! Responses, with the headers that the protocol wants.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use hyper::{
    Method, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER,
        WWW_AUTHENTICATE,
    },
};
use serde_json::{Value, json};

use super::{problem::Problem, resource::Kind};

fn build(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> Response<Bytes> {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("odata-version"), HeaderValue::from_static("4.0"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CONTENT_LENGTH, length);
    }
    response
}

/// Sets a header whose value may hold what a header cannot; it is left out then.
fn set(response: &mut Response<Bytes>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn json_body(status: StatusCode, body: &Value) -> Response<Bytes> {
    build(status, Some("application/json;charset=utf-8"), Bytes::from(body.to_string()))
}

/// The ETag of a document: the same content has the same one, in every process.
pub(super) fn etag(document: &Value, weak: bool) -> String {
    let mut hasher = DefaultHasher::new();
    document.to_string().hash(&mut hasher);
    let prefix = if weak { "W/" } else { "" };
    format!("{prefix}\"{:016x}\"", hasher.finish())
}

/// A document, with its ETag and what can be done to it.
pub(super) fn document(
    status: StatusCode,
    document: &mut Value,
    tag: &str,
    methods: &[Method],
    kind: Kind,
) -> Response<Bytes> {
    let schema = schema(document);
    // Not in the tag itself, nor in what is no resource.
    if kind != Kind::Versions && kind != Kind::ServiceDocument {
        document["@odata.etag"] = json!(tag);
    }
    let mut response = json_body(status, document);
    set(&mut response, ETAG, tag);
    set(&mut response, ALLOW, &list(methods));
    if let Some(schema) = schema {
        set(&mut response, LINK, &format!("<http://redfish.dmtf.org/schemas/v1/{schema}.json>; rel=describedby"));
    }
    response
}

/// `ComputerSystem.v1_20_0` of `#ComputerSystem.v1_20_0.ComputerSystem`.
fn schema(document: &Value) -> Option<String> {
    let kind = document.get("@odata.type")?.as_str()?.strip_prefix('#')?;
    kind.rsplit_once('.').map(|(schema, _)| schema.to_owned())
}

fn list(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// What a change is answered with that went well: a message.
pub(super) fn message() -> Response<Bytes> {
    json_body(StatusCode::OK, &json!({"@Message.ExtendedInfo": [Problem::success().info()]}))
}

/// Nothing to say.
pub(super) fn no_content() -> Response<Bytes> {
    build(StatusCode::NO_CONTENT, None, Bytes::new())
}

/// Something was made.
pub(super) fn created(uri: &str, document: &Value) -> Response<Bytes> {
    let mut response = json_body(StatusCode::CREATED, document);
    set(&mut response, LOCATION, uri);
    response
}

/// 202, with a task to follow, or without.
pub(super) fn accepted(task: Option<&str>) -> Response<Bytes> {
    let Some(id) = task else { return build(StatusCode::ACCEPTED, None, Bytes::new()) };
    let uri = format!("/redfish/v1/TaskService/Tasks/{id}");
    let body = json!({
        "@odata.id": uri,
        "@odata.type": "#Task.v1_7_3.Task",
        "Id": id,
        "Name": "Task",
        "TaskState": "Running",
        "TaskStatus": "OK",
    });
    let mut response = json_body(StatusCode::ACCEPTED, &body);
    set(&mut response, LOCATION, &format!("/redfish/v1/TaskService/TaskMonitors/{id}"));
    set(&mut response, RETRY_AFTER, "1");
    response
}

/// What went wrong.
pub(super) fn problem(problem: &Problem) -> Response<Bytes> {
    let mut response = json_body(problem.status, &problem.body());
    if let Some(seconds) = problem.retry_after {
        set(&mut response, RETRY_AFTER, &seconds.to_string());
    }
    if problem.status == StatusCode::UNAUTHORIZED {
        set(&mut response, WWW_AUTHENTICATE, "Basic realm=\"Redfish\"");
    }
    response
}

/// 405.
pub(super) fn not_allowed(method: &Method, methods: &[Method]) -> Response<Bytes> {
    let mut response = problem(&Problem::not_allowed(method.as_str()));
    set(&mut response, ALLOW, &list(methods));
    response
}

/// 304.
pub(super) fn not_modified(tag: &str) -> Response<Bytes> {
    let mut response = build(StatusCode::NOT_MODIFIED, None, Bytes::new());
    set(&mut response, ETAG, tag);
    response
}

/// 308.
pub(super) fn redirect(to: &str) -> Response<Bytes> {
    let mut response = build(StatusCode::PERMANENT_REDIRECT, None, Bytes::new());
    set(&mut response, LOCATION, to);
    response
}

/// An XML document.
pub(super) fn xml(text: &'static str) -> Response<Bytes> {
    build(StatusCode::OK, Some("application/xml;charset=utf-8"), Bytes::from_static(text.as_bytes()))
}

/// A fault: what a crashed web server says.
pub(super) fn not_json() -> Response<Bytes> {
    build(StatusCode::OK, Some("application/json"), Bytes::from_static(b"<html><body>It works!</body></html>{\"Id\":"))
}

/// A fault: JSON in which every property is of the wrong type.
pub(super) fn wrong_shape() -> Response<Bytes> {
    let body = json!({"@odata.id": 7, "Members": {}, "PowerState": ["On"], "Actions": "none", "Id": null});
    json_body(StatusCode::OK, &body)
}

/// The response to HEAD: the headers of the one to GET.
pub(super) fn without_body(mut response: Response<Bytes>) -> Response<Bytes> {
    *response.body_mut() = Bytes::new();
    response
}

/// A session's token.
pub(super) fn with_token(mut response: Response<Bytes>, token: &str) -> Response<Bytes> {
    set(&mut response, HeaderName::from_static("x-auth-token"), token);
    response
}
