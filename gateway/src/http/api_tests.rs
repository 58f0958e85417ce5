//! A2-5: every question over a real socket: odd parameters, the description by code, ETag, compression, time limits.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::HttpServer;
use super::tests::{Answer, get, send, serve};
use crate::api::{Question, openapi};
use crate::parameters::ParameterKind;
use crate::query::fake::FakeView;

fn with_headers(server: &HttpServer, path: &str, headers: &str) -> Answer {
    send(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n"))
}

#[test]
fn a2_5_odd_parameters_are_refused_by_name() {
    let (server, _) = serve(FakeView::default());
    let bbox = "/api/v1/stations?bbox=";
    let series = "/api/v1/series?datastream=H24.05/KHI003/pm2_5";
    let cases: &[(String, &str)] = &[
        // Unknown, repeated, badly escaped.
        ("/api/v1/stations?agancy=x".into(), "agancy"),
        ("/api/v1/stations?agency=a&agency=b".into(), "agency"),
        ("/api/v1/stations?agency=%ff".into(), "agency"),
        ("/api/v1/stations?agency=%4".into(), "agency"),
        ("/api/v1/stations?agency=a%00".into(), "agency"),
        ("/api/v1/stations?q=".into(), "q"),
        (format!("/api/v1/stations?q={}", "x".repeat(257)), "q"),
        ("/api/v1/agencies?limit=1".into(), "limit"),
        ("/api/v1/communes?x".into(), "x"),
        ("/openapi.json?v=2".into(), "v"),
        // Numbers.
        ("/api/v1/stations?limit=0".into(), "limit"),
        ("/api/v1/stations?limit=-1".into(), "limit"),
        ("/api/v1/stations?limit=1e3".into(), "limit"),
        ("/api/v1/stations?limit=10001".into(), "limit"),
        ("/api/v1/stations?limit=99999999999999999999999".into(), "limit"),
        ("/api/v1/stations?limit=".into(), "limit"),
        ("/api/v1/stations?limit=%2B5".into(), "limit"),
        ("/api/v1/latest?limit=0".into(), "limit"),
        ("/api/v1/observations?limit=0".into(), "limit"),
        ("/api/v1/datastreams?limit=0".into(), "limit"),
        ("/api/v1/quarantine?limit=1001".into(), "limit"),
        ("/api/v1/messages?station=H24.05/KHI003&limit=101".into(), "limit"),
        // Boxes.
        (format!("{bbox}NaN,0,1,1"), "bbox"),
        (format!("{bbox}inf,0,1,1"), "bbox"),
        (format!("{bbox}1,2,3"), "bbox"),
        (format!("{bbox}1,2,3,4,5"), "bbox"),
        (format!("{bbox}107,20,106,21"), "bbox"),
        (format!("{bbox}106,21,107,20"), "bbox"),
        (format!("{bbox}106,20,107,91"), "bbox"),
        (format!("{bbox}-181,20,107,21"), "bbox"),
        (bbox.into(), "bbox"),
        // Cursors.
        ("/api/v1/stations?after=x".into(), "after"),
        ("/api/v1/stations?after=".into(), "after"),
        ("/api/v1/stations?after=ff".into(), "after"),
        ("/api/v1/stations?after=61".into(), "after"),
        ("/api/v1/stations?after=%C3%A91".into(), "after"),
        ("/api/v1/latest?after=610062".into(), "after"),
        ("/api/v1/quarantine?after=610062".into(), "after"),
        ("/api/v1/datastreams?after=61".into(), "after"),
        // Times.
        (format!("{series}&from=yesterday"), "from"),
        (format!("{series}&from=2026-11-21T00:00:00"), "from"),
        (format!("{series}&to="), "to"),
        (format!("{series}&from=2026-11-21T00:00:00Z&to=2026-11-20T00:00:00Z"), "from"),
        (format!("{series}&from=2026-11-21T00:00:00Z&to=2026-11-21T00:00:00Z"), "from"),
        ("/api/v1/ledger?from=2&to=1".into(), "from"),
        ("/api/v1/quarantine?from=2&to=1".into(), "from"),
        // Series.
        ("/api/v1/series".into(), "datastream"),
        ("/api/v1/series?datastream=".into(), "datastream"),
        ("/api/v1/series?datastream=H24.05/KHI003".into(), "datastream"),
        ("/api/v1/series?datastream=a/b/c/d".into(), "datastream"),
        (format!("{series}&points=1"), "points"),
        (format!("{series}&points=5001"), "points"),
        (format!("{series}&method=spline"), "method"),
        (format!("{series}&period_s=-1"), "period_s"),
        (format!("{series}&period_s=4294967296"), "period_s"),
        // Names.
        ("/api/v1/messages".into(), "station"),
        ("/api/v1/messages?station=KHI003".into(), "station"),
        ("/api/v1/messages?station=a/b/c".into(), "station"),
        ("/api/v1/quarantine/x".into(), "position"),
        ("/api/v1/quarantine/-1".into(), "position"),
        ("/api/v1/quarantine/%ff".into(), "position"),
        ("/api/v1/quarantine/7?position=8".into(), "position"),
        ("/api/v1/quarantine/7?limit=8".into(), "limit"),
        ("/api/v1/events?property=x".into(), "property"),
        ("/api/v1/events?domain=".into(), "domain"),
    ];
    for (path, parameter) in cases {
        let problem = get(&server, path);
        assert_eq!(problem.status, 400, "{path}: {}", problem.body);
        assert!(problem.head.contains("content-type: application/problem+json"), "{path}");
        let json = problem.json();
        assert_eq!(json["code"], "bad_parameter", "{path}");
        assert_eq!(json["parameter"], *parameter, "{path}");
        assert!(json["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{path}");
    }
    for (path, parameter) in [
        ("/api/v1/series?datastream=H24.05/KHI003/nothing", "datastream"),
        ("/api/v1/series?datastream=H24.05/KHI003/pm2_5&period_s=60", "period_s"),
        ("/api/v1/messages?station=H24.05/nobody", "station"),
        ("/api/v1/quarantine/8", "position"),
    ] {
        let problem = get(&server, path);
        assert_eq!((problem.status, problem.json()["parameter"].as_str()), (404, Some(parameter)), "{path}");
    }
    assert_eq!(get(&server, &format!("/api/v1/stations?{}", "q&".repeat(65))).json()["code"], "bad_query");
}

/// A text that the parameter takes, and one that it does not.
fn examples(kind: ParameterKind) -> (&'static str, Option<&'static str>) {
    match kind {
        ParameterKind::Text => ("environment", Some("")),
        ParameterKind::TextOrNone => ("", None),
        // A period, of which there is only the instantaneous one here.
        ParameterKind::Whole { max: 4_294_967_295, .. } => ("0", Some("x")),
        ParameterKind::Whole { .. } => ("7", Some("x")),
        ParameterKind::Wholes => ("7,8", Some("x")),
        ParameterKind::Time => ("2026-11-21T08:05:00%2B07:00", Some("x")),
        ParameterKind::Flag => ("true", Some("x")),
        ParameterKind::Choice(words) => (words[0], Some("x")),
        ParameterKind::Datastreams | ParameterKind::Datastream => ("H24.05/KHI003/pm2_5", Some("a/b/c/d")),
        ParameterKind::Station => ("H24.05/KHI003", Some("x")),
        ParameterKind::Bbox => ("106,20,107,21", Some("x")),
        ParameterKind::Cursor => ("4800", Some("x")),
    }
}

/// `path` with all required parameters and `value` for the one named.
fn address(question: Question, name: &str, value: &str) -> String {
    let mut path = question.path().to_owned();
    let mut query = Vec::new();
    for parameter in question.parameters() {
        let is_meant = parameter.name == name;
        if !is_meant && !parameter.required {
            continue;
        }
        let value = if is_meant { value } else { examples(parameter.kind).0 };
        if parameter.in_path {
            path = path.replace(&format!("{{{}}}", parameter.name), value);
        } else {
            query.push(format!("{}={value}", parameter.name));
        }
    }
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

#[test]
fn a2_5_the_description_names_every_route_and_every_parameter_and_no_other() {
    let (server, _) = serve(FakeView::default());
    let document = get(&server, "/openapi.json").json();
    assert_eq!(document, openapi());
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    let served: BTreeSet<&str> = Question::ALL.into_iter().map(Question::path).collect();
    assert_eq!(described, served);
    assert_eq!(served.len(), Question::ALL.len(), "no path stands twice");
    for question in Question::ALL {
        if matches!(question, Question::Health | Question::Ready | Question::Metrics) {
            continue;
        }
        let described: Vec<&str> = paths[question.path()]["get"]["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        // What the parser says that it takes.
        let unknown = address(question, "", "");
        let separator = if unknown.contains('?') { '&' } else { '?' };
        let problem = get(&server, &format!("{unknown}{separator}no_such_parameter=1")).json();
        assert_eq!(problem["parameter"], "no_such_parameter", "{question:?}");
        let detail = problem["detail"].as_str().unwrap();
        let taken: Vec<&str> =
            detail.split_once("there are ").map_or(Vec::new(), |(_, names)| names.split(", ").collect());
        assert_eq!(described, taken, "{question:?}");
        for parameter in question.parameters() {
            let (good, bad) = examples(parameter.kind);
            // One of the closed list.
            let good = if parameter.name == "reason" { "not_json" } else { good };
            if question != Question::Events && parameter.kind != ParameterKind::Cursor {
                let answer = get(&server, &address(question, parameter.name, good));
                assert_eq!(answer.status, 200, "{question:?} {}: {}", parameter.name, answer.body);
            }
            if let Some(bad) = bad {
                let answer = get(&server, &address(question, parameter.name, bad));
                assert_eq!(answer.json()["parameter"], parameter.name, "{question:?}={bad}: {}", answer.body);
            }
        }
    }
}

/// As much of JSON Schema as the description uses.
fn check(schema: &Value, value: &Value, at: &str) {
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices.iter().find(|choice| (choice["type"] == "null") == value.is_null());
        return check(fits.unwrap_or_else(|| panic!("{at}: {value}")), value, at);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    };
    let has = |name| types.contains(&name);
    match value {
        Value::Null => assert!(has("null"), "{at}: null"),
        Value::Bool(_) => assert!(has("boolean"), "{at}: {value}"),
        Value::Number(number) => {
            assert!(has("number") || has("integer") && !number.is_f64(), "{at}: {value}");
        }
        Value::String(text) => {
            assert!(has("string"), "{at}: {value}");
            if schema["format"] == "date-time" {
                assert!(codecs::time::parse_rfc3339(text).is_ok(), "{at}: {text}");
            }
            if let Some(words) = schema["enum"].as_array() {
                assert!(words.contains(value), "{at}: {text}");
            }
        }
        Value::Array(items) => {
            assert!(has("array"), "{at}");
            items.iter().for_each(|item| check(&schema["items"], item, &format!("{at}[]")));
        }
        Value::Object(members) => {
            assert!(has("object"), "{at}");
            let Some(properties) = schema["properties"].as_object() else { return };
            for (name, member) in members {
                let schema = properties.get(name).unwrap_or_else(|| panic!("{at}.{name} is not described"));
                check(schema, member, &format!("{at}.{name}"));
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(members.contains_key(name.as_str().unwrap()), "{at} has no {name}");
            }
        }
    }
}

#[test]
fn a2_5_answers_are_as_the_description_says() {
    let (server, _) = serve(FakeView::default());
    let document = openapi();
    for question in Question::ALL {
        let content = &document["paths"][question.path()]["get"]["responses"]["200"]["content"];
        let Some(schema) = content.get("application/json").map(|content| &content["schema"]) else {
            continue;
        };
        let answer = get(&server, &address(question, "", ""));
        assert_eq!(answer.status, 200, "{question:?}: {}", answer.body);
        check(schema, &answer.json(), question.path());
    }
    let series =
        &document["paths"]["/api/v1/series"]["get"]["responses"]["200"]["content"]["application/json"];
    let line = get(&server, "/api/v1/series?datastream=H24.05/KHI003/pm2_5&method=lttb&points=10").json();
    check(&series["schema"], &line, "lttb");
    assert_eq!(line["value"].as_array().unwrap().len(), 10);
    let problem = get(&server, "/api/v1/stations?limit=0").json();
    check(&document["components"]["schemas"]["Problem"], &problem, "problem");
}

#[test]
fn a2_5_a_series_is_down_sampled() {
    let (server, _) = serve(FakeView::default());
    let path = "/api/v1/series?datastream=H24.05/KHI003/pm2_5&points=31&from=2026-10-31T17:00:00Z&to=2026-11-30T17:00:00Z";
    let json = get(&server, path).json();
    assert_eq!(json["unit"], "ug/m3");
    assert_eq!(
        (json["from"].as_str(), json["method"].as_str()),
        (Some("2026-10-31T17:00:00Z"), Some("buckets"))
    );
    assert_eq!(json["bucket_ms"], 86_400_000);
    assert_eq!(json["count"], Value::from(vec![1_440; 30]));
    assert_eq!((json["min"][1].as_f64(), json["max"][1].as_f64()), (Some(1_440.0), Some(2_879.0)));
    assert_eq!(
        (json["mean"][1].as_f64().unwrap().round(), json["last"][1].as_f64()),
        (2_160.0, Some(2_879.0))
    );
    // Without a period: the last day, and as far ahead as clocks may be; now is a minute behind the fake's time.
    let day = get(&server, "/api/v1/series?datastream=H24.05/KHI003/pm2_5").json();
    assert_eq!(
        (day["from"].as_str(), day["to"].as_str()),
        (Some("2026-11-20T01:06:00Z"), Some("2026-11-21T01:11:00Z"))
    );
}

#[test]
fn a2_5_an_answer_that_is_known_already_is_not_sent_again() {
    let (server, _) = serve(FakeView::default());
    let first = get(&server, "/api/v1/communes");
    let tag =
        first.head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag").replace("w/", "W/");
    for known in [tag.clone(), format!("\"x\", {tag}"), tag.replace("W/", ""), "*".to_owned()] {
        let again = with_headers(&server, "/api/v1/communes", &format!("If-None-Match: {known}\r\n"));
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{known}");
        assert!(again.head.contains(&tag.to_ascii_lowercase()));
    }
    let other = with_headers(&server, "/api/v1/communes", "If-None-Match: \"x\"\r\n");
    assert_eq!((other.status, other.body == first.body), (200, true));
}

fn bytes_of(server: &HttpServer, path: &str) -> (String, Vec<u8>) {
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: br, gzip;q=0.8\r\n\r\n");
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase(), bytes[end + 4..].to_vec())
}

#[test]
fn a2_5_answers_are_compressed_for_those_who_take_it() {
    let (server, _) = serve(FakeView::default());
    let plain = get(&server, "/api/v1/communes");
    assert!(!plain.head.contains("content-encoding"), "{}", plain.head);
    let (head, body) = bytes_of(&server, "/api/v1/communes");
    assert!(head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"), "{head}");
    assert!(body.len() < plain.body.len() / 3);
    let mut text = String::new();
    GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.body);
    let (head, _) = bytes_of(&server, "/health");
    assert!(!head.contains("content-encoding"), "{head}");
}

#[test]
fn a2_5_rows_are_compressed_as_they_stream() {
    let (server, _) = serve(FakeView { many: Some(20_000), ..FakeView::default() });
    let request = "GET /api/v1/observations?format=csv HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let mut rest = {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        assert!(String::from_utf8_lossy(&bytes[..end]).contains("content-encoding: gzip"));
        &bytes[end + 4..]
    };
    let mut zipped = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").unwrap();
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if len == 0 {
            break;
        }
        zipped.extend_from_slice(&rest[end + 2..end + 2 + len]);
        rest = &rest[end + 4 + len..];
    }
    let mut text = String::new();
    GzDecoder::new(&zipped[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 20_001);
    // What fails before the first row is a problem in plain text all the same.
    let (server, _) = serve(FakeView { broken: true, ..FakeView::default() });
    let problem = with_headers(&server, "/api/v1/ledger", "Accept-Encoding: gzip\r\n");
    assert_eq!((problem.status, problem.json()["code"].as_str()), (500, Some("failed")));
}

#[test]
fn a2_5_a_question_that_takes_too_long_ends_with_a_problem_and_makes_room() {
    let (server, _) = serve(FakeView { slow: true, ..FakeView::default() });
    // More than may be answered at once, one after the other: each must have given its place back.
    for _ in 0..super::QUERIES_MAX + 1 {
        let problem = get(&server, "/api/v1/series?datastream=H24.05/KHI003/pm2_5");
        assert_eq!((problem.status, problem.json()["code"].as_str()), (503, Some("time_limit")));
    }
    assert_eq!(get(&server, "/api/v1/agencies").status, 200);
}

#[test]
fn a2_5_every_answer_tells_the_browser_to_be_careful() {
    let (server, _) = serve(FakeView::default());
    for path in
        ["/health", "/api/v1/stations", "/api/v1/stations?limit=0", "/nothing", "/api/v1/observations"]
    {
        let head = get(&server, path).head;
        for header in [
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "x-frame-options: deny",
            "cache-control: no-cache",
        ] {
            assert!(head.contains(header), "{path}: {header}: {head}");
        }
    }
    let post = send(
        &server,
        "POST /api/v1/stations HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(post.status == 405 && post.head.contains("allow: get"), "{}", post.head);
}

#[test]
fn a2_5_datastreams_have_pages_beside_their_array() {
    let (server, _) = serve(FakeView::default());
    let first = get(&server, "/api/v1/datastreams?limit=1&agency=H24.05");
    assert_eq!(first.json()[0]["datastream"], "H24.05/KHI003/door");
    let link = first.head.lines().find_map(|line| line.strip_prefix("link: <")).expect("a link");
    let (path, rel) = link.split_once('>').unwrap();
    assert_eq!(rel, "; rel=\"next\"");
    // The head was made lower case for the comparison; the agency's code is not.
    let second = get(&server, &path.replace("h24%2e05", "H24%2E05"));
    assert_eq!(second.json().as_array().unwrap().len(), 1);
    assert_eq!(second.json()[0]["datastream"], "H24.05/KHI003/pm2_5");
    assert!(!second.head.contains("link: "));
}

#[test]
fn a2_5_quarantine_and_messages_show_the_payload() {
    let (server, _) = serve(FakeView::default());
    let list = get(&server, "/api/v1/quarantine?reason=not_json").json();
    assert_eq!(list["next"], Value::Null);
    assert_eq!(list["entries"][0]["position"], 7);
    assert_eq!(list["entries"][0]["sentence"], "the payload ends early");
    let empty = get(&server, "/api/v1/quarantine?reason=not_utf8").json();
    assert_eq!(empty["entries"], Value::Array(Vec::new()));
    let unknown = get(&server, "/api/v1/quarantine?reason=other").json();
    assert!(
        unknown["detail"].as_str().unwrap().contains("there are format_unknown, topic_invalid"),
        "{unknown}"
    );
    let item = get(&server, "/api/v1/quarantine/7").json();
    assert_eq!(item["items"][0]["payload_text"], "{\"readings\":\u{1b}[31m");
    assert!(item["items"][0]["payload_hex"].as_str().unwrap().starts_with("7b22"));

    let json = get(&server, "/api/v1/messages?station=H24.05/KHI003").json();
    assert_eq!(json["recycled"], 3);
    assert_eq!(json["messages"][0]["payload_hex"], "ff00");
    assert_eq!(json["messages"][0]["payload_text"], Value::Null);
    assert_eq!(json["messages"][1]["payload_text"], "{\"m\":\"mưa\"}");
    assert_eq!(json["messages"][1]["received"], "2026-11-21T01:05:00Z");
}

#[test]
fn a2_5_stations_and_latest_are_paged_over_http() {
    let (server, _) = serve(FakeView::default());
    for (path, list, name) in
        [("/api/v1/stations", "stations", "station"), ("/api/v1/latest", "observations", "datastream")]
    {
        let mut told = Vec::new();
        let mut after = String::new();
        loop {
            let json = get(&server, &format!("{path}?limit=1{after}")).json();
            let items = json[list].as_array().unwrap();
            assert_eq!(items.len(), 1, "{path}");
            told.push(items[0][name].as_str().unwrap().to_owned());
            match json["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        let all = get(&server, path).json();
        let all: Vec<&str> =
            all[list].as_array().unwrap().iter().map(|item| item[name].as_str().unwrap()).collect();
        assert_eq!(told, all);
        assert_eq!(told.len(), 4);
    }
}
