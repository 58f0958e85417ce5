//! The console and its map, served from the binary: `/`, `/console/…`, `/map/…`.
//!
//! Assets are built in ([`assets`]), and compressed when they are asked for first. The map's data may be replaced: with the setting `console.map_dir` everything under
//! `/map/` is read from that directory, and nothing of it from the binary.

mod assets;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use codecs::property_catalogue::properties;
use serde_json::{Map, json};
use tokio::sync::{OnceCell, Semaphore};

use self::assets::{ASSETS, MAP_ASSETS, content_type};
use super::encoding::{Lasting, Wanted, whole};
use super::problem::Problem;
use crate::config::Config;

/// Only the console's own scripts, styles, fonts and questions; no frame round it, no form out of it.
const POLICY: &str =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Largest file that is served from `console.map_dir`.
const MAP_FILE_BYTES_MAX: u64 = 64 << 20;
/// Such files that are read at once.
const MAP_READS_MAX: usize = 2;

/// What the configuration says.
#[derive(Clone, Debug, Default)]
pub struct ConsoleSettings {
    /// Replaces the map data that are built in.
    pub map_dir: Option<PathBuf>,
    /// Ages that part fresh, late and silent stations, as the API uses them.
    pub fresh_max_s: u32,
    pub late_max_s: u32,
    /// How far ahead of the gateway's clock an observation may lie.
    pub clock_skew_max_s: u32,
}

impl ConsoleSettings {
    pub fn of(config: &Config) -> Self {
        let map_dir = &config.console.map_dir;
        Self {
            map_dir: (!map_dir.as_os_str().is_empty()).then(|| map_dir.clone()),
            fresh_max_s: config.api.fresh_max_s,
            late_max_s: config.api.late_max_s,
            clock_skew_max_s: config.pipeline.clock_skew_max_s,
        }
    }
}

/// A file that is built in, and its answer once somebody has asked for it.
struct Asset {
    bytes: &'static [u8],
    answer: OnceCell<Lasting>,
}

type Assets = HashMap<&'static str, Asset>;

struct Console {
    settings: ConsoleSettings,
    assets: Assets,
    map_assets: Assets,
    facts: OnceCell<Lasting>,
    reads: Semaphore,
}

impl Console {
    fn new(settings: ConsoleSettings) -> Self {
        let table = |assets: &[(&'static str, &'static [u8])]| -> Assets {
            assets.iter().map(|(name, bytes)| (*name, Asset { bytes, answer: OnceCell::new() })).collect()
        };
        Self {
            settings,
            assets: table(ASSETS),
            map_assets: table(MAP_ASSETS),
            facts: OnceCell::new(),
            reads: Semaphore::new(MAP_READS_MAX),
        }
    }
}

pub(super) fn router<S: Clone + Send + Sync + 'static>(settings: ConsoleSettings) -> Router<S> {
    if let Some(dir) = &settings.map_dir
        && !dir.is_dir()
    {
        tracing::warn!(map_dir = %dir.display(), "console.map_dir is no directory: the console has no map");
    }
    let console = Arc::new(Console::new(settings));
    Router::new()
        .route("/", get(built_in))
        .route("/console/{*path}", get(built_in))
        .route("/console/facts.json", get(facts))
        .route("/map/{*path}", get(map))
        .with_state(console)
}

async fn built_in(State(console): State<Arc<Console>>, request: Request) -> Response {
    let path = request.uri().path();
    let name = if path == "/" { "index.html" } else { path.trim_start_matches("/console/") };
    asset(&console.assets, name, &Wanted::of(request.headers()))
        .await
        .unwrap_or_else(|| missing(path).into_response())
}

/// `None` = there is no such file.
async fn asset(assets: &Assets, name: &str, wanted: &Wanted) -> Option<Response> {
    let Asset { bytes, answer } = assets.get(name)?;
    Some(lasting(answer, name, Bytes::from_static(bytes), wanted).await)
}

/// The answer of `cell`, which is made of `bytes` the first time, away from the thread that serves all.
async fn lasting(cell: &OnceCell<Lasting>, name: &str, bytes: Bytes, wanted: &Wanted) -> Response {
    let kind = content_type(name);
    let made = cell.get_or_try_init(|| tokio::task::spawn_blocking(move || Lasting::new(kind, bytes))).await;
    match made {
        Ok(made) => with_policy(made.answer(wanted)),
        Err(_) => super::routes::broken().into_response(),
    }
}

/// What the console knows from the gateway's build and configuration: names of properties, limits of the states.
async fn facts(State(console): State<Arc<Console>>, request: Request) -> Response {
    let text = if console.facts.initialized() { String::new() } else { facts_of(&console.settings) };
    lasting(&console.facts, "facts.json", text.into(), &Wanted::of(request.headers())).await
}

fn facts_of(settings: &ConsoleSettings) -> String {
    let names: Map<_, _> = properties()
        .iter()
        .map(|entry| (entry.code.to_owned(), json!({ "vi": entry.name_vi, "en": entry.name_en })))
        .collect();
    let facts = json!({
        "properties": names,
        "fresh_max_s": settings.fresh_max_s,
        "late_max_s": settings.late_max_s,
        "clock_skew_max_s": settings.clock_skew_max_s,
    });
    facts.to_string()
}

async fn map(State(console): State<Arc<Console>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let wanted = Wanted::of(request.headers());
    let name = path.trim_start_matches("/map/");
    let Some(dir) = &console.settings.map_dir else {
        let answer = asset(&console.map_assets, name, &wanted).await;
        return answer.unwrap_or_else(|| missing(&path).into_response());
    };
    // Only names that the console asks for: nothing else of the directory is anybody's business.
    let Some((known, _)) = console.map_assets.get_key_value(name) else {
        return missing(&path).into_response();
    };
    let (file, kind) = (dir.join(known), content_type(known));
    // The semaphore is never closed; without a permit the read would only be unlimited.
    let _permit = console.reads.acquire().await.ok();
    match tokio::task::spawn_blocking(move || read(&file).map(|bytes| whole(&wanted, kind, bytes))).await {
        Ok(Ok(answer)) => with_policy(answer),
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => super::routes::broken().into_response(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let failed = |error: std::io::Error| {
        tracing::warn!(path = %path.display(), %error, "a file of console.map_dir cannot be read");
        Problem::new(StatusCode::NOT_FOUND, "not_found", "console.map_dir has no such file")
    };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAP_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAP_FILE_BYTES_MAX {
        let detail = format!("the file of console.map_dir has more than {MAP_FILE_BYTES_MAX} bytes");
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", detail));
    }
    Ok(bytes)
}

/// The console's own policy.
fn with_policy(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

fn missing(path: &str) -> Problem {
    let path: String = path.chars().take(100).collect();
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"))
}
