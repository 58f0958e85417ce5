//! Errors as RFC 9457 problems: `{"type":"about:blank","title":…,"status":…,"code":…,"detail":…,"field":…}`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::query::{BadParameter, QueryError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// For programs; a closed list of words.
    pub(super) code: &'static str,
    /// For people: one sentence.
    pub(super) detail: String,
    /// The parameter or header at fault.
    pub(super) field: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None }
    }

    pub(super) fn at(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }
}

impl From<BadParameter> for Problem {
    fn from(bad: BadParameter) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_parameter", bad.sentence).at(&bad.field)
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Output(error) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error.to_string())
            }
            QueryError::Unavailable(sentence) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", sentence)
            }
            QueryError::Failed(sentence) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", sentence),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            body["field"] = json!(field);
        }
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (self.status, [content_type], body.to_string()).into_response()
    }
}
