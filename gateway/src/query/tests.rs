//! A1-8: the same parameters, rows and renderings for every door.

use proptest::prelude::*;

use super::fake::{FakeView, TIME_US};
use super::*;

fn parameters(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect()
}

fn parse(name: &str, pairs: &[(&str, &str)]) -> Result<Request, BadParameter> {
    Request::parse(name, &parameters(pairs))
}

fn text_of(name: &str, pairs: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    answer(&FakeView::default(), &parse(name, pairs).unwrap(), &mut Quiet(&mut out)).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn rows_as_csv() {
    assert_eq!(
        text_of("observations", &[("format", "csv")]),
        "datastream,phenomenon_time,result_time,kind,result,unit,period_s,quality,status,revision,seq,position\n\
         H24.05/KHI003/pm2_5,2026-11-21T01:05:00Z,2026-11-21T01:05:00.214Z,number,38.4,ug/m3,,1,,0,1042,93112\n\
         H24.05/KHI003/pm2_5,2026-11-21T01:05:00Z,2026-11-21T01:05:00.214Z,number,1e300,ug/m3,3600,1,,1,,93112\n\
         H24.05/KHI003/door,2026-11-21T01:05:00Z,2026-11-21T01:05:00.214Z,boolean,true,,,1,,0,1042,93112\n\
         H24.05/KHI003/note,2026-11-21T01:05:00Z,2026-11-21T01:05:00.214Z,text,\"a \"\"b\"\",\nc\",,,1,\"0,0\",0,1042,93112\n\
         H24.05/KHI003/pm2_5,2026-11-21T01:05:00Z,2026-11-21T01:05:00.214Z,null,,ug/m3,,9,,0,1042,93112\n"
    );
}

#[test]
fn rows_as_json_and_ndjson() {
    let lines = text_of("observations", &[("format", "ndjson")]);
    let objects: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 5);
    assert!(lines.starts_with(
        "{\"datastream\":\"H24.05/KHI003/pm2_5\",\"phenomenon_time\":\"2026-11-21T01:05:00Z\",\
         \"result_time\":\"2026-11-21T01:05:00.214Z\",\"kind\":\"number\",\"result\":38.4,\"unit\":\"ug/m3\",\
         \"period_s\":null,\"quality\":1,\"status\":null,\"revision\":0,\"seq\":1042,\"position\":93112}\n"
    ));
    assert_eq!(objects[3]["result"], "a \"b\",\nc");
    assert_eq!(objects[4]["result"], serde_json::Value::Null);
    for object in &objects {
        let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        let mut columns = COLUMNS.to_vec();
        keys.sort_unstable();
        columns.sort_unstable();
        assert_eq!(keys, columns);
    }
    let array: serde_json::Value = serde_json::from_str(&text_of("observations", &[])).unwrap();
    assert_eq!(array, serde_json::Value::Array(objects));
}

#[test]
fn rows_as_a_table() {
    let table = text_of("observations", &[("format", "table"), ("limit", "4")]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[0].starts_with("datastream           phenomenon_time       result_time"));
    assert!(lines[4].contains("a \"b\",\\nc"), "control characters do not reach the terminal: {table}");
    let column = lines[0].find("position").unwrap();
    assert!(lines[1..].iter().all(|line| &line[column..] == "93112"), "{table}");
}

#[test]
fn a_long_table_streams_with_the_widths_of_its_beginning() {
    let view = FakeView { many: Some(3_000), ..FakeView::default() };
    let mut out = Vec::new();
    answer(&view, &parse("observations", &[("format", "table")]).unwrap(), &mut Quiet(&mut out)).unwrap();
    let table = String::from_utf8(out).unwrap();
    assert_eq!(table.lines().count(), 3_001);
    let column = table.lines().next().unwrap().find("position").unwrap();
    for (position, line) in table.lines().skip(1).enumerate() {
        assert_eq!(&line[column..], position.to_string());
    }
}

#[test]
fn answers_without_rows_are_whole() {
    for (format, text) in [("json", "[]\n"), ("ndjson", ""), ("csv", &*format!("{}\n", COLUMNS.join(",")))] {
        assert_eq!(text_of("observations", &[("format", format), ("datastream", "nobody")]), text);
    }
    let nobody = [("format", "table"), ("datastream", "nobody")];
    assert!(text_of("observations", &nobody).starts_with("datastream"));
}

#[test]
fn numbers_are_as_short_as_they_can_be() {
    for (number, text) in [
        (38.4, "38.4"),
        (38.0, "38"),
        (0.0, "0"),
        (-0.0, "-0.0"),
        (1e300, "1e300"),
        (-1.5e-9, "-1.5e-9"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e21, "1e21"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (123_456_789.0, "123456789"),
    ] {
        let mut out = "x".to_owned();
        write_number(number, &mut out);
        assert_eq!(out, format!("x{text}"));
    }
}

proptest! {
    #[test]
    fn numbers_read_back_as_the_same(bits in any::<u64>()) {
        let number = f64::from_bits(bits);
        prop_assume!(number.is_finite());
        let mut text = String::new();
        write_number(number, &mut text);
        prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits);
        prop_assert!(serde_json::from_str::<serde_json::Number>(&text).is_ok(), "{} is a number of JSON", text);
    }

    #[test]
    fn any_parameters_are_taken_or_refused(field in "datastream|from|to|limit|format|revisions|\\PC*", value in "\\PC{0,40}") {
        let _ = Request::parse("observations", &[(field, value)]);
    }
}

#[test]
fn datastreams_are_selected_by_name_or_by_what_they_belong_to() {
    let exact = |property: &str| DatastreamSelector::Exact {
        agency: "A".to_owned(),
        station: "S".to_owned(),
        property: property.to_owned(),
    };
    let station = DatastreamSelector::Station { agency: "A".to_owned(), station: "S".to_owned() };
    for (text, selector) in [
        ("A", DatastreamSelector::Agency("A".to_owned())),
        ("A/", DatastreamSelector::Agency("A".to_owned())),
        ("A/S", station.clone()),
        ("A/S/", station),
        ("A/S/p", exact("p")),
        // Qualifiers in any order mean the same.
        ("A/S/flow;lane=1;class=motorcycle", exact("flow;class=motorcycle;lane=1")),
    ] {
        assert_eq!(DatastreamSelector::parse(text), Ok(selector), "{text}");
    }
    for text in ["", "/", "A//p", "A/S/p/", "A/S/p/q", "A/S/a b", "A B"] {
        assert!(DatastreamSelector::parse(text).is_err(), "{text}");
    }
    assert!(exact("p").includes("A", "S", "p") && !exact("p").includes("A", "S", "q"));
    assert!(DatastreamSelector::parse("A").unwrap().includes("A", "x", "y"));
    assert!(!DatastreamSelector::parse("A").unwrap().includes("AB", "x", "y"));
}

#[test]
fn times_are_rfc_3339_or_epochs_by_magnitude() {
    for text in [
        "2026-11-21T01:05:00Z",
        "2026-11-21T08:05:00+07:00",
        "2026-11-21T08:05:00 07:00",
        "2026-11-21 01:05:00Z",
        "1795223100",
        "1795223100.0",
        "1795223100000",
        "1795223100000000",
    ] {
        let Ok(Request::Observations(query, _)) = parse("observations", &[("from", text)]) else {
            panic!("{text}")
        };
        assert_eq!(query.from_us, Some(TIME_US), "{text}");
    }
}

#[test]
fn bad_parameters_are_named() {
    for (name, field, value, sentence) in [
        ("observations", "from", "yesterday", "the time is not RFC 3339"),
        ("observations", "to", "2026-11-21T01:05:00", "the time has no zone"),
        ("observations", "limit", "-1", "expected a whole number, found \"-1\""),
        ("observations", "limit", "0", "at least 1, found 0"),
        ("observations", "limit", "many", "expected a whole number, found \"many\""),
        ("observations", "format", "xml", "expected json, csv, ndjson or table, found \"xml\""),
        ("observations", "revisions", "maybe", "expected true or false, found \"maybe\""),
        ("observations", "datastream", "a/b/c/d", "expected agency/station/property"),
        ("observations", "datastream", "a b", "the agency has the character ' '"),
        ("observations", "station", "x", "unknown parameter; there are datastream, from"),
        ("ledger", "format", "csv", "expected json or table, found \"csv\""),
        ("quarantine_list", "limit", "1000000", "at most 10000, found 1000000"),
        ("quarantine_show", "position", "x", "expected a whole number"),
        ("tea", "", "", "there is no \"tea\""),
    ] {
        let bad = parse(name, &[(field, value)]).unwrap_err();
        assert!(bad.sentence.starts_with(sentence), "{field}={value}: {bad}");
        assert!(field.is_empty() || bad.field == field, "{bad}");
    }
    assert_eq!(
        parse("ledger", &[("agency", "a"), ("agency", "b")]).unwrap_err().to_string(),
        "agency: it is given twice"
    );
    assert_eq!(parse("ledger", &[("from", "2"), ("to", "1")]).unwrap_err().field, "from");
    assert_eq!(parse("quarantine_show", &[]).unwrap_err().field, "position");
}

#[test]
fn the_ledger_as_json_and_as_a_page() {
    let json: serde_json::Value = serde_json::from_str(&text_of("ledger", &[])).unwrap();
    assert_eq!(json["durable"], 12);
    assert_eq!(json["messages"]["received"], 12);
    assert_eq!(json["observations"]["flushed"], 6);
    let page = text_of("ledger", &[("format", "table"), ("agency", "a")]);
    assert!(
        page.starts_with("durable 12, processed 11\n\nmessages\n  received                       12\n"),
        "{page}"
    );
    assert!(page.contains("  flushed                         -\n"), "{page}");
    assert!(page.ends_with("settled\n  messages                        2\n  readings                        3\n  erased messages                 1\n  erased readings                 1\n"), "{page}");
}

#[test]
fn quarantine_is_listed_and_shown() {
    let csv = text_of("quarantine_list", &[("format", "csv")]);
    assert_eq!(
        csv,
        "position,receive_time,agency,client,topic,reason,offset,readings,payload_bytes,sentence\n\
         7,2026-11-21T01:05:00Z,H24.05,box-1,obs/H24.05/KHI003,not_json,12,0,17,the payload ends early\n"
    );
    assert_eq!(text_of("quarantine_list", &[("reason", "retention")]), "[]\n");
    let json: serde_json::Value =
        serde_json::from_str(&text_of("quarantine_show", &[("position", "7")])).unwrap();
    assert_eq!(json[0]["payload"], "{\"readings\":\u{1b}[31m");
    let page = text_of("quarantine_show", &[("position", "7"), ("format", "table")]);
    assert!(page.contains("payload        {\"readings\":\\u{1b}[31m\n"), "{page}");
    let page = text_of("quarantine_show", &[("position", "8"), ("format", "table")]);
    assert_eq!(page, "nothing of message 8 is in quarantine\n");
}

#[test]
fn datastreams_are_listed() {
    let json: serde_json::Value = serde_json::from_str(&text_of("datastreams", &[])).unwrap();
    assert_eq!(json[0]["phenomenon_time"], serde_json::Value::Null);
    assert_eq!(json[1]["datastream"], "H24.05/KHI003/pm2_5");
    assert_eq!(json[1]["phenomenon_time"], "2026-11-21T01:05:00Z");
    assert_eq!(text_of("datastreams", &[("agency", "nobody")]), "[]\n");
}
