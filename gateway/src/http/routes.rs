//! The routes, one for each question, and how each kind of answer is sent.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::encoding::{Encoder, Wanted, whole};
use super::events::{EventFilter, EventHub};
use super::limits::{check_head, secure};
use super::output::answer_stream;
use super::problem::Problem;
use super::query_string;
use super::{HttpSettings, QUERIES_MAX, QUERY_WAIT_MS};
use crate::api::{self, Question};
use crate::cancel::Cancel;
use crate::parameters::{BadParameter, Given};
use crate::query::{self, Format, GatewayView};

/// Rows of a JSON array where no limit is given, and the most.
const JSON_ROWS_DEFAULT: u64 = 10_000;
const JSON_ROWS_MAX: u64 = 100_000;

/// There are more rows than the array has.
const TRUNCATED: HeaderName = HeaderName::from_static("x-truncated");

/// The answer of `/health`: the process is there, nothing more.
const HEALTH: &str = "{\"status\":\"ok\"}\n";

#[derive(Clone)]
pub(super) struct App {
    view: Arc<dyn GatewayView>,
    settings: HttpSettings,
    metrics: Arc<Registry>,
    /// Streams: as long as their clients are slow.
    streams: Arc<Semaphore>,
    /// Everything that is answered as a whole: never behind a slow stream.
    questions: Arc<Semaphore>,
    events: Arc<EventHub>,
    stopping: Arc<AtomicBool>,
}

pub(super) fn router(
    view: Arc<dyn GatewayView>,
    settings: HttpSettings,
    events: Arc<EventHub>,
    stopping: Arc<AtomicBool>,
) -> Router {
    let mut metrics = Registry::default();
    view.metrics().register(&mut metrics);
    let app = App {
        view,
        settings,
        metrics: Arc::new(metrics),
        streams: Arc::new(Semaphore::new(QUERIES_MAX)),
        questions: Arc::new(Semaphore::new(QUERIES_MAX)),
        events,
        stopping,
    };
    let mut router = Router::new();
    for question in Question::ALL {
        let serve = move |State(app): State<App>, request: Request| async move {
            serve(app, question, request).await.unwrap_or_else(IntoResponse::into_response)
        };
        router = router.route(question.path(), get(serve));
    }
    router
        .merge(super::console::router(app.settings.console.clone()))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(check_head))
        .layer(from_fn(secure))
        .with_state(app)
}

async fn serve(app: App, question: Question, request: Request) -> Result<Response, Problem> {
    match question {
        Question::Health => {
            return Ok(([(header::CONTENT_TYPE, "application/json")], HEALTH).into_response());
        }
        Question::Ready => return ready(app).await,
        Question::Metrics => return metrics_page(app).await,
        _ => {}
    }
    let wanted = Wanted::of(request.headers());
    let mut parameters = query_string::parse(request.uri().query().unwrap_or_default())?;
    let allowed = question.parameters();
    if let Some((name, _)) = parameters
        .iter()
        .find(|(name, _)| allowed.iter().any(|parameter| parameter.in_path && parameter.name == name))
    {
        return Err(BadParameter::new(name, "it is a part of the path, not of the query").into());
    }
    parameters.extend(path_parameter(question, request.uri().path())?);
    match question {
        Question::Observations => observations(app, &wanted, &parameters).await,
        Question::Events => events(&app, &parameters),
        _ => answered(app, question, wanted, parameters).await,
    }
}

/// The part of the path that stands where the route has braces, at its end.
fn path_parameter(question: Question, path: &str) -> Result<Option<(String, String)>, BadParameter> {
    let Some((before, name)) = question.path().split_once('{') else { return Ok(None) };
    let part = path.get(before.len()..).unwrap_or_default();
    query_string::path_part(name.trim_end_matches('}'), part).map(Some)
}

async fn ready(app: App) -> Result<Response, Problem> {
    // Asks the disk, so not on this thread.
    let readiness = tokio::task::spawn_blocking(move || app.view.readiness()).await.map_err(|_| broken())?;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, axum::Json(readiness)).into_response())
}

async fn metrics_page(app: App) -> Result<Response, Problem> {
    let mut page = String::new();
    let view = app.view.clone();
    // Asks the disk, so not on this thread.
    tokio::task::spawn_blocking(move || view.refresh_metrics()).await.map_err(|_| broken())?;
    encode(&mut page, &app.metrics).map_err(|_| broken())?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], page).into_response())
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"))
}

async fn method_not_allowed() -> Response {
    let detail = "only GET and HEAD are served here";
    let mut response =
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

impl App {
    async fn place(&self, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
        let wait = Duration::from_millis(QUERY_WAIT_MS);
        match tokio::time::timeout(wait, places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let detail = "too many queries are being answered; ask again later";
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail))
            }
        }
    }

    /// Waits for an answer as long as questions may take.
    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Result<T, Problem> {
        let limit_ms = self.settings.question_ms_max;
        tokio::time::timeout(Duration::from_millis(limit_ms), answer).await.map_err(|_| {
            let detail = format!(
                "the answer took longer than {limit_ms} ms; ask for less (a shorter period, fewer datastreams)"
            );
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "time_limit", detail)
        })
    }
}

/// Answers as a whole, from a blocking thread.
async fn answered(
    app: App,
    question: Question,
    wanted: Wanted,
    parameters: Vec<(String, String)>,
) -> Result<Response, Problem> {
    let permit = app.place(&app.questions).await?;
    let cancel = Cancel::default();
    // The thread stops also when the client has gone.
    let _cancel_on_drop = cancel.on_drop();
    let view = app.view.clone();
    let path = question.path();
    let work = tokio::task::spawn_blocking(move || {
        // Held until the work is done.
        let _permit = permit;
        let answer = api::answer(question, view.as_ref(), &parameters, &cancel)?;
        let mut response = whole(&wanted, answer.content_type, answer.body);
        if let Some(next) = answer.next_query
            && let Ok(link) = HeaderValue::from_str(&format!("<{path}?{next}>; rel=\"next\""))
        {
            response.headers_mut().insert(header::LINK, link);
        }
        Ok::<_, api::ApiError>(response)
    });
    match app.in_time(work).await? {
        Ok(response) => Ok(response.map_err(Problem::from)?),
        Err(_) => Err(broken()),
    }
}

/// Observations as they come, until the client goes.
fn events(app: &App, parameters: &[(String, String)]) -> Result<Response, Problem> {
    let filter = EventFilter::of(&Given::new(parameters, &Question::Events.parameters())?)?;
    let body = app.events.listen(filter).ok_or_else(|| {
        let detail = "too many listeners are connected; ask again later, or raise http.event_listeners_max";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
    })?;
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::new(body)).into_response())
}

/// Rows, which stream in bounded memory however many they are.
async fn observations(
    app: App,
    wanted: &Wanted,
    parameters: &[(String, String)],
) -> Result<Response, Problem> {
    let mut request = query::Request::parse("observations", parameters)?;
    let cancel = Cancel::default();
    let cancel_on_drop = cancel.on_drop();
    let limit = limit_json(&mut request, &cancel)?;
    let permit = app.place(&app.streams).await?;
    let content_type = request.format().content_type();
    let (request, permit, truncated) = match limit {
        None => (request, permit, false),
        // An array has no place for a mark, so it stands in the head, and is found out before.
        Some(limit) => {
            let view = app.view.clone();
            let look = move || match &request {
                query::Request::Observations(query, _) => {
                    let more = view.has_more_than(query, limit);
                    more.map(|more| (request, permit, more))
                }
                _ => Ok((request, permit, false)),
            };
            app.in_time(tokio::task::spawn_blocking(look)).await?.map_err(|_| broken())??
        }
    };
    let (writer, body) = answer_stream(app.stopping.clone(), cancel_on_drop);
    let (gzip, view) = (wanted.gzip, app.view.clone());
    tokio::task::spawn_blocking(move || {
        // Held until the work is done, also when the client has gone.
        let _permit = permit;
        let mut out = Encoder::new(gzip, writer);
        let result = query::answer(view.as_ref(), &request, &mut query::Quiet(&mut out));
        if let Some(writer) = out.finish() {
            writer.finish(result.map_err(Problem::from));
        }
    });
    // What fails before the first bytes are out is told as a problem; later the answer is cut off, which HTTP shows.
    let body = app.in_time(body.started()).await?.map_err(|problem| problem.unwrap_or_else(broken))?;
    let mut response = ([(header::CONTENT_TYPE, content_type)], Body::new(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if truncated {
        headers.insert(TRUNCATED, HeaderValue::from_static("true"));
    }
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// A JSON array is read as a whole by those who ask for it, so it has a limit of rows, which is given.
fn limit_json(request: &mut query::Request, cancel: &Cancel) -> Result<Option<u64>, BadParameter> {
    let query::Request::Observations(query, format) = request else { return Ok(None) };
    query.cancel = cancel.clone();
    if *format == Format::Json {
        let limit = query.limit.unwrap_or(JSON_ROWS_DEFAULT);
        if limit > JSON_ROWS_MAX {
            let sentence =
                format!("at most {JSON_ROWS_MAX} rows of JSON, found {limit}; csv and ndjson take more");
            return Err(BadParameter::new("limit", sentence));
        }
        query.limit = Some(limit);
        return Ok(Some(limit));
    }
    Ok(None)
}

pub(super) fn broken() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "failed",
        "the gateway could not answer; its log says why",
    )
}
