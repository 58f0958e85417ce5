//! A2-4: the console is whole, comes from the binary alone, and its map can be replaced.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;

use super::assets::{ASSETS, MAP_ASSETS, content_type};
use super::{Console, ConsoleSettings, POLICY, built_in, facts, map};

fn files_below(dir: &Path, top: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, top, found);
        } else {
            found.insert(path.strip_prefix(top).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// A file that somebody adds and forgets in the table would be missing in the binary only.
#[test]
fn a2_4_every_file_of_the_console_is_built_in() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
    let mut files = BTreeSet::new();
    files_below(&top, &top, &mut files);
    let built_in: BTreeSet<_> = ASSETS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(MAP_ASSETS.iter().map(|(name, _)| format!("map/{name}")))
        .collect();
    assert_eq!(built_in, files);
}

/// Licences that ask for their text beside the work: BSD, MIT, OFL, LGPL.
#[test]
fn a2_4_licence_texts_are_served_beside_the_works() {
    for name in ["vendor/leaflet/LICENSE", "vendor/uplot/LICENSE", "vendor/inter/LICENSE"] {
        assert!(ASSETS.iter().any(|(known, bytes)| *known == name && bytes.len() > 500), "{name}");
    }
    for name in
        ["licences/LGPL-3.0.txt", "licences/GPL-3.0.txt", "licences/MIT-vietnamese-provinces-database.txt"]
    {
        assert!(MAP_ASSETS.iter().any(|(known, bytes)| *known == name && bytes.len() > 500), "{name}");
    }
}

/// What devices wrote must never become markup, and nothing may be asked of another host.
#[test]
fn a2_4_no_module_sets_markup_or_asks_elsewhere() {
    for (name, bytes) in ASSETS.iter().filter(|(name, _)| !name.starts_with("vendor/")) {
        let Ok(text) = std::str::from_utf8(bytes) else { continue };
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "createContextualFragment",
        ] {
            assert!(!text.contains(forbidden), "{name} has {forbidden}");
        }
        for (at, _) in text.match_indices("://") {
            let found = &text[text[..at].rfind(|c: char| !c.is_ascii_alphabetic()).map_or(0, |p| p + 1)..];
            assert!(
                found.starts_with("http://www.w3.org/2000/svg"),
                "{name} names another host: {:.60}",
                found
            );
        }
    }
}

#[test]
fn a2_4_content_types() {
    for (name, expected) in [
        ("index.html", "text/html; charset=utf-8"),
        ("js/main.js", "text/javascript; charset=utf-8"),
        ("land.geojson", "application/geo+json"),
        ("inter.woff2", "font/woff2"),
        ("LICENSE", "text/plain; charset=utf-8"),
    ] {
        assert_eq!(content_type(name), expected);
    }
}

fn request(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn console(map_dir: Option<&Path>) -> axum::extract::State<Arc<Console>> {
    let settings = ConsoleSettings {
        map_dir: map_dir.map(Path::to_owned),
        fresh_max_s: 900,
        late_max_s: 7_200,
        clock_skew_max_s: 300,
    };
    axum::extract::State(Arc::new(Console::new(settings)))
}

async fn body(response: Response) -> Vec<u8> {
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

#[test]
fn a2_4_pages_come_with_policy_etag_and_gzip() {
    run(async {
        let page = built_in(console(None), request("/", &[("accept-encoding", "gzip")])).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(page.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        assert!(POLICY.starts_with("default-src 'self';"));
        assert_eq!(page.headers()[header::CONTENT_ENCODING], "gzip");
        let tag = page.headers()[header::ETAG].to_str().unwrap().to_owned();
        let again = built_in(console(None), request("/", &[("if-none-match", &tag)])).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(body(again).await.is_empty());
        for path in
            ["/console/nothing.js", "/console/", "/console/../Cargo.toml", "/console/map/land.geojson"]
        {
            assert_eq!(
                built_in(console(None), request(path, &[])).await.status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
        let facts = body(facts(console(None), request("/console/facts.json", &[])).await).await;
        let facts: serde_json::Value = serde_json::from_slice(&facts).unwrap();
        assert_eq!(facts["properties"]["pm2_5"]["vi"], "Bụi PM2,5");
        assert_eq!(facts["clock_skew_max_s"].as_u64(), Some(300));
        assert_eq!((facts["fresh_max_s"].as_u64(), facts["late_max_s"].as_u64()), (Some(900), Some(7_200)));
    });
}

/// The thread that serves all must not compress the same file for every visitor.
#[test]
fn a2_4_an_asset_is_compressed_once() {
    run(async {
        let console = console(None);
        let ask = || async {
            body(
                built_in(console.clone(), request("/console/js/main.js", &[("accept-encoding", "gzip")]))
                    .await,
            )
            .await
        };
        let asset = &console.assets["js/main.js"];
        assert!(!asset.answer.initialized());
        let first = ask().await;
        let made = std::ptr::from_ref(asset.answer.get().unwrap());
        assert_eq!(ask().await, first);
        assert!(std::ptr::eq(made, asset.answer.get().unwrap()));
        assert!(first.len() < asset.bytes.len() / 2);
    });
}

/// LGPL data must be replaceable, and the directory is no door to other files.
#[test]
fn a2_4_a_directory_replaces_the_map() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("land.geojson"), "{\"mine\":true}").unwrap();
    fs::write(dir.path().join("secret.txt"), "no").unwrap();
    run(async {
        let own = map(console(None), request("/map/land.geojson", &[])).await;
        assert!(body(own).await.len() > 100_000, "the map that is built in");
        let replaced = map(console(Some(dir.path())), request("/map/land.geojson", &[])).await;
        assert_eq!(body(replaced).await, b"{\"mine\":true}");
        for path in
            ["/map/rivers.geojson", "/map/secret.txt", "/map/../land.geojson", "/map/%2e%2e/x", "/map/"]
        {
            let answer = map(console(Some(dir.path())), request(path, &[])).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        }
    });
}

/// The dark colours stand twice, since a style sheet cannot join a media query and an attribute; they must not drift apart.
#[test]
fn a2_4_dark_is_dark_whoever_asks_for_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("console/css/tokens.css");
    let text = fs::read_to_string(path).unwrap();
    let block = |selector: &str| -> Vec<String> {
        let (_, behind) = text.split_once(selector).expect("the selector stands in the file");
        let (block, _) = behind.split_once('}').expect("a block ends");
        block.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    let chosen = block(":root[data-theme=\"dark\"] {");
    assert!(chosen.len() > 20, "{chosen:?}");
    assert_eq!(chosen, block(":root:not([data-theme=\"light\"]) {"));
}
