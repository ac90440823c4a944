//! What goes wrong, in the words of the Base message registry.

use hyper::StatusCode;
use serde_json::{Value, json};

/// The version of the Base registry whose messages are used.
pub(super) const BASE: &str = "Base.1.18";

/// One message with the status that carries it.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    /// The status of the response.
    pub(super) status: StatusCode,
    id: &'static str,
    text: String,
    arguments: Vec<String>,
    property: Option<String>,
    /// For `Retry-After`.
    pub(super) retry_after: Option<u64>,
}

// === impl Problem ===

impl Problem {
    fn new(status: StatusCode, id: &'static str, template: &str, arguments: &[&str]) -> Self {
        let mut text = template.to_owned();
        for (i, argument) in arguments.iter().enumerate() {
            text = text.replace(&format!("%{}", i + 1), argument);
        }
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        Self { status, id, text, arguments, property: None, retry_after: None }
    }

    fn about(mut self, property: &str) -> Self {
        self.property = Some(format!("#/{}", property.replace('.', "/")));
        self
    }

    /// The body of an error response.
    pub(super) fn body(&self) -> Value {
        json!({"error": {
            "code": format!("{BASE}.GeneralError"),
            "message": "A general error has occurred. See ExtendedInfo for more information.",
            "@Message.ExtendedInfo": [self.info()],
        }})
    }

    /// One entry of `@Message.ExtendedInfo`.
    pub(super) fn info(&self) -> Value {
        let success = self.status.is_success();
        let severity = if success { "OK" } else { "Warning" };
        let resolution = if success { "None." } else { "Correct the request and submit it again." };
        let mut info = json!({
            "@odata.type": "#Message.v1_2_1.Message",
            "MessageId": format!("{BASE}.{}", self.id),
            "Message": self.text,
            "MessageArgs": self.arguments,
            "MessageSeverity": severity,
            "Severity": severity,
            "Resolution": resolution,
        });
        if let Some(property) = &self.property {
            info["RelatedProperties"] = json!([property]);
        }
        info
    }

    pub(super) fn success() -> Self {
        Self::new(StatusCode::OK, "Success", "The request completed successfully.", &[])
    }

    pub(super) fn missing(path: &str) -> Self {
        let text = "The resource at the URI '%1' was not found.";
        Self::new(StatusCode::NOT_FOUND, "ResourceMissingAtURI", text, &[path])
    }

    pub(super) fn not_allowed(method: &str) -> Self {
        let text = "The operation %1 is not allowed on this resource.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "OperationNotAllowed", text, &[method])
    }

    pub(super) fn operation_not_allowed(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "OperationNotAllowed", "The operation is not allowed: %1.", &[why])
    }

    pub(super) fn unauthenticated(path: &str) -> Self {
        let text = "While accessing the resource at '%1', the service received an authorization error: no valid login.";
        Self::new(StatusCode::UNAUTHORIZED, "ResourceAtUriUnauthorized", text, &[path, "no valid login"])
    }

    pub(super) fn no_session() -> Self {
        let text = "There is no valid session established with the implementation.";
        Self::new(StatusCode::UNAUTHORIZED, "NoValidSession", text, &[])
    }

    pub(super) fn privilege() -> Self {
        let text =
            "There are insufficient privileges for the account or credentials associated with the current session.";
        Self::new(StatusCode::FORBIDDEN, "InsufficientPrivilege", text, &[])
    }

    pub(super) fn malformed() -> Self {
        let text = "The request body submitted was malformed JSON and could not be parsed by the receiving service.";
        Self::new(StatusCode::BAD_REQUEST, "MalformedJSON", text, &[])
    }

    pub(super) fn body_needed() -> Self {
        let text = "The request body does not hold a JSON object, or an empty one.";
        Self::new(StatusCode::BAD_REQUEST, "EmptyJSON", text, &[])
    }

    pub(super) fn media_type() -> Self {
        let text = "The service detected a malformed request body that it was unable to interpret.";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnrecognizedRequestBody", text, &[])
    }

    pub(super) fn too_large() -> Self {
        let text = "The service detected a malformed request body that it was unable to interpret.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "UnrecognizedRequestBody", text, &[])
    }

    pub(super) fn unknown(property: &str) -> Self {
        let text = "The property %1 is not in the list of valid properties for the resource.";
        Self::new(StatusCode::BAD_REQUEST, "PropertyUnknown", text, &[property]).about(property)
    }

    pub(super) fn read_only(property: &str) -> Self {
        let text = "The property %1 is a read-only property and cannot be assigned a value.";
        Self::new(StatusCode::BAD_REQUEST, "PropertyNotWritable", text, &[property]).about(property)
    }

    pub(super) fn needed(property: &str) -> Self {
        let text = "The property %1 is a required property and must be included in the request.";
        Self::new(StatusCode::BAD_REQUEST, "PropertyMissing", text, &[property]).about(property)
    }

    pub(super) fn wrong_type(value: &Value, property: &str) -> Self {
        let text = "The value '%1' for the property %2 is not a type that the property can accept.";
        Self::new(StatusCode::BAD_REQUEST, "PropertyValueTypeError", text, &[&shown(value), property]).about(property)
    }

    pub(super) fn not_listed(value: &str, property: &str) -> Self {
        let text = "The value '%1' for the property %2 is not in the list of acceptable values.";
        Self::new(StatusCode::BAD_REQUEST, "PropertyValueNotInList", text, &[value, property]).about(property)
    }

    /// A value that is refused; it is not repeated, because it may be a password.
    pub(super) fn refused_value(property: &str, why: &str) -> Self {
        let text = "The value provided for the property %1 is not acceptable: %2.";
        Self::new(StatusCode::BAD_REQUEST, "PropertyValueError", text, &[property, why]).about(property)
    }

    pub(super) fn parameter_missing(action: &str, parameter: &str) -> Self {
        let text = "The action %1 requires the parameter %2 to be present in the request body.";
        Self::new(StatusCode::BAD_REQUEST, "ActionParameterMissing", text, &[action, parameter]).about(parameter)
    }

    pub(super) fn parameter_unknown(action: &str, parameter: &str) -> Self {
        let text = "The action %1 was submitted with the invalid parameter %2.";
        Self::new(StatusCode::BAD_REQUEST, "ActionParameterUnknown", text, &[action, parameter]).about(parameter)
    }

    pub(super) fn parameter_type(value: &Value, parameter: &str, action: &str) -> Self {
        let text = "The value '%1' for the parameter %2 in the action %3 is not a type that the parameter can accept.";
        Self::new(StatusCode::BAD_REQUEST, "ActionParameterValueTypeError", text, &[&shown(value), parameter, action])
            .about(parameter)
    }

    pub(super) fn parameter_not_listed(value: &str, parameter: &str, action: &str) -> Self {
        let text = "The value '%1' for the parameter %2 in the action %3 is not in the list of acceptable values.";
        Self::new(StatusCode::BAD_REQUEST, "ActionParameterValueNotInList", text, &[value, parameter, action])
            .about(parameter)
    }

    pub(super) fn full() -> Self {
        let text = "The create operation failed because the resource has reached the limit of possible resources.";
        Self::new(StatusCode::BAD_REQUEST, "CreateLimitReachedForResource", text, &[])
    }

    pub(super) fn exists(kind: &str, property: &str, value: &str) -> Self {
        let text = "The requested resource of type %1 with the property %2 with the value '%3' already exists.";
        Self::new(StatusCode::BAD_REQUEST, "ResourceAlreadyExists", text, &[kind, property, value]).about(property)
    }

    pub(super) fn cannot_delete() -> Self {
        let text = "The delete request failed because the resource requested cannot be deleted.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "ResourceCannotBeDeleted", text, &[])
    }

    pub(super) fn precondition_failed() -> Self {
        let text = "The ETag supplied did not match the ETag required to change this resource.";
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", text, &[])
    }

    pub(super) fn precondition_required() -> Self {
        let text = "A precondition header or annotation is required to change this resource.";
        Self::new(StatusCode::PRECONDITION_REQUIRED, "PreconditionRequired", text, &[])
    }

    pub(super) fn sessions_full() -> Self {
        let text = "The session establishment failed due to the number of simultaneous sessions exceeding the limit of \
                    the implementation.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SessionLimitExceeded", text, &[])
    }

    pub(super) fn unavailable(seconds: u64) -> Self {
        let text = "The service is temporarily unavailable. Retry in %1 seconds.";
        let shown = seconds.to_string();
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceTemporarilyUnavailable", text, &[&shown]);
        problem.retry_after = Some(seconds);
        problem
    }

    /// For no reason that is told.
    pub(super) fn refused(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, "GeneralError", "A general error has occurred.", &[])
    }

    pub(super) fn busy(seconds: u64) -> Self {
        let text = "The change to the requested resource failed because the resource is in use or in transition.";
        let mut problem = Self::new(StatusCode::CONFLICT, "ResourceInUse", text, &[]);
        problem.retry_after = Some(seconds);
        problem
    }

    pub(super) fn query(parameter: &str) -> Self {
        let text = "The query parameter '%1' is not supported on the requested resource.";
        Self::new(StatusCode::NOT_IMPLEMENTED, "QueryParameterUnsupported", text, &[parameter])
    }
}

/// A value as it is repeated to the sender, cut short.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(100).collect()
}
