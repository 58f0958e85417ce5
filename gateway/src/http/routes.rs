//! The routes and their handlers.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use super::limits::check_head;
use super::output::answer_stream;
use super::problem::Problem;
use super::{QUERIES_MAX, QUERY_WAIT_MS};
use crate::query::{BadParameter, Format, GatewayView, Request, answer};

/// Rows of a JSON array where no limit is given, and the most.
const JSON_ROWS_DEFAULT: u64 = 10_000;
const JSON_ROWS_MAX: u64 = 100_000;

/// The answer of `/health`: the process is there, nothing more.
const HEALTH: &str = "{\"status\":\"ok\"}\n";

#[derive(Clone)]
struct App {
    view: Arc<dyn GatewayView>,
    metrics: Arc<Registry>,
    /// Streams: as long as their clients are slow.
    streams: Arc<Semaphore>,
    /// Ledger and datastreams: never behind a slow stream.
    questions: Arc<Semaphore>,
    stopping: Arc<AtomicBool>,
}

pub(super) fn router(view: Arc<dyn GatewayView>, stopping: Arc<AtomicBool>) -> Router {
    let mut metrics = Registry::default();
    view.metrics().register(&mut metrics);
    let app = App {
        view,
        metrics: Arc::new(metrics),
        streams: Arc::new(Semaphore::new(QUERIES_MAX)),
        questions: Arc::new(Semaphore::new(QUERIES_MAX)),
        stopping,
    };
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics_page))
        .route("/api/v1/ledger", get(|app: State<App>, uri: Uri| ask(app, uri, "ledger")))
        .route("/api/v1/observations", get(|app: State<App>, uri: Uri| ask(app, uri, "observations")))
        .route("/api/v1/datastreams", get(|app: State<App>, uri: Uri| ask(app, uri, "datastreams")))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(check_head))
        .with_state(app)
}

async fn health() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], HEALTH).into_response()
}

async fn ready(State(app): State<App>) -> Response {
    // Asks the disk, so not on this thread.
    match tokio::task::spawn_blocking(move || app.view.readiness()).await {
        Ok(readiness) => {
            let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, axum::Json(readiness)).into_response()
        }
        Err(_) => broken().into_response(),
    }
}

async fn metrics_page(State(app): State<App>) -> Response {
    let mut page = String::new();
    match encode(&mut page, &app.metrics) {
        Ok(()) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], page).into_response()
        }
        Err(_) => broken().into_response(),
    }
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"))
}

async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only GET and HEAD are served here")
}

async fn ask(State(app): State<App>, uri: Uri, name: &'static str) -> Response {
    answered(app, uri, name).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answered(app: App, uri: Uri, name: &'static str) -> Result<Response, Problem> {
    let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(&uri)
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "bad_query", error.body_text()))?;
    let mut request = Request::parse(name, &parameters)?;
    limit_json(&mut request)?;
    let wait = Duration::from_millis(QUERY_WAIT_MS);
    let places = if name == "observations" { &app.streams } else { &app.questions };
    let Ok(Ok(permit)) = tokio::time::timeout(wait, places.clone().acquire_owned()).await else {
        let detail = "too many queries are being answered; ask again later";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail));
    };
    let content_type = content_type(&request);
    let (mut writer, body) = answer_stream(app.stopping);
    tokio::task::spawn_blocking(move || {
        // Held until the work is done, also when the client has gone.
        let _permit = permit;
        let result = answer(app.view.as_ref(), &request, &mut writer);
        writer.finish(result.map_err(Problem::from));
    });
    // What fails before the first bytes are out is told as a problem; later the answer is cut off, which HTTP shows.
    let body = body.started().await.map_err(|problem| problem.unwrap_or_else(broken))?;
    Ok(([(header::CONTENT_TYPE, content_type)], Body::new(body)).into_response())
}

/// A JSON array is read as a whole by those who ask for it, so it has a limit of rows.
fn limit_json(request: &mut Request) -> Result<(), BadParameter> {
    if let Request::Observations(query, Format::Json) = request {
        let limit = query.limit.unwrap_or(JSON_ROWS_DEFAULT);
        if limit > JSON_ROWS_MAX {
            let sentence =
                format!("at most {JSON_ROWS_MAX} rows of JSON, found {limit}; csv and ndjson take more");
            return Err(BadParameter::new("limit", sentence));
        }
        query.limit = Some(limit);
    }
    Ok(())
}

fn content_type(request: &Request) -> &'static str {
    let (Request::Datastreams(_, format)
    | Request::Ledger(_, format)
    | Request::Observations(_, format)
    | Request::QuarantineList(_, format)
    | Request::QuarantineShow(_, format)) = request;
    match format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Json => "application/json",
        Format::Ndjson => "application/x-ndjson",
        Format::Table => "text/plain; charset=utf-8",
    }
}

fn broken() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "failed",
        "the gateway could not answer; its log says why",
    )
}
