//! `/openapi.json` (OpenAPI 3.1), written from the table of questions and the definitions of their parameters.

use serde_json::{Map, Value, json};

use super::Question;
use crate::parameters::{Parameter, ParameterKind};

/// The whole description.
pub fn openapi() -> Value {
    let paths: Map<String, Value> = Question::ALL
        .into_iter()
        .map(|question| (question.path().to_owned(), json!({ "get": operation(question) })))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sensor gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Times are RFC 3339 in UTC. Every parameter may stand once; unknown ones are errors. Pages are \
                stable while items are added: `next` of an answer is `after` of the next question. Whole answers have an \
                ETag. There is no authentication yet, so only the gateway's own machine may ask.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": { "Problem": problem() } },
    })
}

fn operation(question: Question) -> Value {
    let id: String = question
        .path()
        .trim_start_matches("/api/v1")
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '_' })
        .collect();
    let ok = match content(question) {
        Content::Json(schema) => json!({ "application/json": { "schema": schema } }),
        Content::Rows(schema) => json!({
            "application/json": { "schema": array(schema) },
            "application/x-ndjson": { "schema": { "type": "string" } },
            "text/csv": { "schema": { "type": "string" } },
            "text/plain": { "schema": { "type": "string" } },
        }),
        Content::Text(content_type) => json!({ content_type: { "schema": { "type": "string" } } }),
    };
    let mut responses = json!({
        "200": { "description": question.summary(), "content": ok },
        "default": {
            "description": "What is wrong, as RFC 9457 has it.",
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        },
    });
    match question {
        Question::Observations => {
            responses["200"]["headers"]["x-truncated"] = json!({
                "description": "`true` where there are more rows than the JSON array has.", "schema": { "type": "string" },
            });
        }
        Question::Datastreams => {
            responses["200"]["headers"]["link"] =
                json!({ "description": "The next page, if there is one.", "schema": { "type": "string" } });
        }
        Question::Ready => {
            responses["503"] =
                json!({ "description": "It is not ready.", "content": responses["200"]["content"] });
        }
        _ => {}
    }
    json!({
        "operationId": id.trim_matches('_'),
        "summary": question.summary(),
        "parameters": question.parameters().into_iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses,
    })
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        ParameterKind::Text => json!({ "type": "string", "minLength": 1, "maxLength": 256 }),
        ParameterKind::TextOrNone => json!({ "type": "string", "maxLength": 256 }),
        ParameterKind::Whole { min, max, default } => {
            let mut schema = json!({ "type": "integer", "minimum": min, "maximum": max });
            if let Some(default) = default {
                schema["default"] = json!(default);
            }
            schema
        }
        ParameterKind::Wholes => json!({ "type": "array", "items": { "type": "integer" } }),
        ParameterKind::Time => json!({
            "type": "string", "description": "RFC 3339, or a number of epoch seconds, ms, µs or ns.",
            "examples": ["2026-11-21T08:05:00+07:00"],
        }),
        ParameterKind::Flag => json!({ "type": "boolean", "default": false }),
        ParameterKind::Choice(words) => json!({ "type": "string", "enum": words, "default": words.first() }),
        ParameterKind::Datastreams => json!({ "type": "string", "examples": ["H24.05/KHI003"] }),
        ParameterKind::Datastream => json!({ "type": "string", "examples": ["H24.05/KHI003/pm2_5"] }),
        ParameterKind::Station => json!({ "type": "string", "examples": ["H24.05/KHI003"] }),
        ParameterKind::Bbox => json!({
            "type": "string", "description": "minLon,minLat,maxLon,maxLat", "examples": ["106.5,20.7,106.9,21.0"],
        }),
        ParameterKind::Cursor => json!({ "type": "string", "pattern": "^([0-9a-f]{2})+$" }),
    };
    json!({
        "name": parameter.name,
        "in": if parameter.in_path { "path" } else { "query" },
        "required": parameter.required,
        "description": parameter.meaning,
        "schema": schema,
    })
}

enum Content {
    Json(Value),
    /// JSON array, CSV, NDJSON or a table of such rows.
    Rows(Value),
    Text(&'static str),
}

fn content(question: Question) -> Content {
    Content::Json(match question {
        Question::Metrics => return Content::Text("application/openmetrics-text"),
        Question::Events => return Content::Text("text/event-stream"),
        Question::Observations => return Content::Rows(row()),
        Question::Datastreams => array(datastream()),
        Question::OpenApi => json!({ "type": "object" }),
        Question::Health => object(&[("status", text())], &[]),
        Question::Ready => object(
            &[
                ("ready", boolean()),
                ("reasons", array(text())),
                ("clock", text()),
                ("disk_hours_left", nullable(number())),
                ("states", array(state())),
                ("budgets", array(budget())),
                (
                    "destinations",
                    array(object(&[("destination", text()), ("behind_messages", integer())], &[])),
                ),
            ],
            &[],
        ),
        Question::Agencies => list("agencies", agency()),
        Question::Communes => list("communes", commune()),
        Question::Stations => page("stations", station()),
        Question::Latest => page("observations", observation()),
        Question::Series => series(),
        Question::Messages => object(&[("messages", array(message())), ("recycled", integer())], &[]),
        Question::Ledger => ledger(),
        Question::Quarantine => page("entries", object(&quarantine_members(), &[])),
        Question::QuarantineItem => {
            let payload = [("payload_hex", text()), ("payload_text", nullable(text()))];
            list("items", object(&[&quarantine_members()[..], &payload].concat(), &[]))
        }
    })
}

type Member = (&'static str, Value);

fn state() -> Value {
    let words = ["state", "cause", "remedy", "budget"].map(|name| (name, text()));
    let others = [("blocks", boolean()), ("for_s", integer()), ("hours_left", nullable(number()))];
    object(&[&words[..], &others].concat(), &[])
}

fn budget() -> Value {
    let words = ["budget", "unit"].map(|name| (name, text()));
    let numbers = [
        ("setting", nullable(text())),
        ("used", nullable(integer())),
        ("limit", nullable(integer())),
        ("left", integer()),
        ("hours_left", nullable(number())),
    ];
    object(&[&words[..], &numbers].concat(), &[])
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn number() -> Value {
    json!({ "type": "number" })
}

fn integer() -> Value {
    json!({ "type": "integer" })
}

fn boolean() -> Value {
    json!({ "type": "boolean" })
}

fn nullable(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn array(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// Members that are always there, and those that are where they apply.
fn object(always: &[Member], sometimes: &[Member]) -> Value {
    let properties: Map<String, Value> =
        always.iter().chain(sometimes).map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let required: Vec<&str> = always.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

fn list(name: &'static str, item: Value) -> Value {
    object(&[(name, array(item))], &[])
}

fn page(name: &'static str, item: Value) -> Value {
    object(&[(name, array(item)), ("next", nullable(text()))], &[])
}

fn agency() -> Value {
    object(
        &[
            ("agency", text()),
            ("name", nullable(text())),
            ("name_en", nullable(text())),
            ("stations", integer()),
        ],
        &[],
    )
}

fn commune() -> Value {
    object(
        &[
            ("code", text()),
            ("name", text()),
            ("full_name", text()),
            ("type", text()),
            ("latitude", number()),
            ("longitude", number()),
        ],
        &[],
    )
}

fn station() -> Value {
    object(
        &[
            ("agency", text()),
            ("station", text()),
            ("name", nullable(text())),
            ("name_en", nullable(text())),
            ("commune", nullable(object(&[("code", text()), ("name", text())], &[]))),
            ("longitude", nullable(number())),
            ("latitude", nullable(number())),
            ("domains", array(text())),
            ("datastreams", integer()),
            ("phenomenon_time", nullable(time())),
            ("state", json!({ "type": "string", "enum": ["fresh", "late", "silent"] })),
            ("suspect", boolean()),
        ],
        &[],
    )
}

/// A number, a boolean, a text or null.
fn result() -> Value {
    json!({ "type": ["number", "boolean", "string", "null"] })
}

fn observation() -> Value {
    object(
        &[
            ("datastream", text()),
            ("phenomenonTime", time()),
            ("resultTime", time()),
            ("result", result()),
            ("quality", integer()),
            ("position", integer()),
            ("agency", text()),
            ("station", text()),
            ("property", text()),
            ("domain", text()),
        ],
        &[("unit", text()), ("status", text()), ("period_s", integer()), ("seq", integer())],
    )
}

fn series() -> Value {
    let column = || array(nullable(number()));
    object(
        &[
            ("datastream", text()),
            ("period_s", nullable(integer())),
            ("unit", nullable(text())),
            ("from", time()),
            ("to", time()),
            ("method", text()),
            ("time_ms", array(integer())),
        ],
        &[
            ("bucket_ms", integer()),
            ("min", column()),
            ("mean", column()),
            ("max", column()),
            ("last", column()),
            ("count", array(integer())),
            ("value", column()),
        ],
    )
}

fn message() -> Value {
    object(
        &[
            ("position", integer()),
            ("received", time()),
            ("client", text()),
            ("topic", text()),
            ("qos", integer()),
            ("dup", boolean()),
            ("payload_bytes", integer()),
            ("payload_hex", text()),
            ("payload_text", nullable(text())),
        ],
        &[],
    )
}

fn row() -> Value {
    object(
        &[
            ("datastream", text()),
            ("phenomenon_time", time()),
            ("result_time", time()),
            ("kind", text()),
            ("result", result()),
            ("unit", nullable(text())),
            ("period_s", nullable(integer())),
            ("quality", integer()),
            ("status", nullable(text())),
            ("revision", integer()),
            ("seq", nullable(integer())),
            ("position", integer()),
        ],
        &[],
    )
}

fn datastream() -> Value {
    object(
        &[
            ("datastream", text()),
            ("agency", text()),
            ("station", text()),
            ("property", text()),
            ("period_s", nullable(integer())),
            ("domain", text()),
            ("unit", nullable(text())),
            ("phenomenon_time", nullable(time())),
        ],
        &[],
    )
}

fn ledger() -> Value {
    let counts =
        |names: &[&'static str]| -> Vec<Member> { names.iter().map(|name| (*name, integer())).collect() };
    let messages = counts(&["received", "decoded", "partial", "quarantined", "ignored", "pending"]);
    let mut observations =
        counts(&["total", "inserted", "corrected", "outranked", "duplicate", "unresolved", "quarantined"]);
    observations.push(("flushed", nullable(integer())));
    object(
        &[
            ("durable", integer()),
            ("processed", integer()),
            ("lost", nullable(integer())),
            ("expired", nullable(integer())),
            ("messages", object(&messages, &[])),
            ("observations", object(&observations, &[])),
            (
                "settled",
                object(&counts(&["messages", "readings", "erased_messages", "erased_readings"]), &[]),
            ),
        ],
        &[],
    )
}

fn quarantine_members() -> Vec<Member> {
    vec![
        ("position", integer()),
        ("receive_time", time()),
        ("agency", text()),
        ("client", text()),
        ("topic", text()),
        ("reason", text()),
        ("offset", integer()),
        ("readings", integer()),
        ("payload_bytes", integer()),
        ("sentence", text()),
    ]
}

fn problem() -> Value {
    object(
        &[("type", text()), ("title", text()), ("status", integer()), ("code", text()), ("detail", text())],
        &[("parameter", text()), ("header", text())],
    )
}
