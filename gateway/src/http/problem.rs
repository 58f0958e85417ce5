//! Errors as RFC 9457 problems: `{"type":"about:blank","title":…,"status":…,"code":…,"detail":…,"parameter":…}`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::ApiError;
use crate::query::{BadParameter, QueryError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    /// For programs; a closed list of words.
    pub(super) code: &'static str,
    /// For people: one sentence.
    pub(super) detail: String,
    /// The parameter at fault.
    pub(super) parameter: Option<String>,
    /// The header at fault.
    pub(super) header: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), parameter: None, header: None }
    }

    pub(super) fn at(self, parameter: &str) -> Self {
        Self { parameter: Some(parameter.to_owned()), ..self }
    }

    pub(super) fn at_header(self, header: &'static str) -> Self {
        Self { header: Some(header), ..self }
    }
}

impl From<BadParameter> for Problem {
    fn from(bad: BadParameter) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_parameter", bad.sentence).at(&bad.field)
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Bad(bad) => bad.into(),
            ApiError::Missing(missing) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", missing.sentence).at(&missing.field)
            }
            ApiError::Query(error) => error.into(),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Output(error) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error.to_string())
            }
            QueryError::Cancelled => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "time_limit", error.to_string())
            }
            QueryError::Unavailable(sentence) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", sentence)
            }
            QueryError::Damaged(sentence) | QueryError::Failed(sentence) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", sentence)
            }
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
        if let Some(parameter) = self.parameter {
            body["parameter"] = json!(parameter);
        }
        if let Some(header) = self.header {
            body["header"] = json!(header);
        }
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (self.status, [content_type], body.to_string()).into_response()
    }
}
