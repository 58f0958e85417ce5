//! What the contract promises, and that the two readers agree on anything.

use super::super::test_sink::{Collected, Owned, OwnedValue};
use super::super::{
    DecodeError, ErrorKind, Format, MessageInfo, PAYLOAD_BYTES_MAX, READINGS_PER_MESSAGE_MAX, decode,
};
use super::{fast, slow};
use proptest::prelude::*;

const T_0805: i64 = 1_795_223_100_000_000;

fn json(payload: &str) -> (Result<MessageInfo, DecodeError>, Collected) {
    let mut sink = Collected::default();
    (decode(Format::Json, None, payload.as_bytes(), &mut sink), sink)
}

fn bare(payload: impl AsRef<[u8]>) -> (Result<MessageInfo, DecodeError>, Collected) {
    let mut sink = Collected::default();
    (decode(Format::Bare, Some("pm2_5"), payload.as_ref(), &mut sink), sink)
}

fn is_usual(payload: &str) -> bool {
    fast::message(payload, &mut Collected::default()).is_some()
}

fn number(property: &str, value: f64) -> Owned {
    Owned {
        property: property.to_owned(),
        value: OwnedValue::Number(value.to_bits()),
        unit: None,
        status: None,
        time_us: None,
        period_s: None,
    }
}

#[test]
fn the_message_of_the_contract() {
    let payload = r#"{"time":"2026-11-21T08:05:00+07:00","seq":1042,
 "readings":[{"property":"pm2_5","value":38.4,"unit":"ug/m3"},
             {"property":"water_level","value":1.27,"unit":"m","status":"00","time":"2026-11-21T08:04:30+07:00"}]}"#;
    let (info, sink) = json(payload);
    let info = info.expect("valid");
    assert_eq!(info, MessageInfo { seq: Some(1042), time_us: Some(T_0805), readings: 2, bad_readings: 0 });
    assert_eq!(
        sink.readings,
        [
            Owned { unit: Some("ug/m3".to_owned()), time_us: Some(T_0805), ..number("pm2_5", 38.4) },
            Owned {
                unit: Some("m".to_owned()),
                status: Some("00".to_owned()),
                time_us: Some(T_0805 - 30_000_000),
                ..number("water_level", 1.27)
            },
        ]
    );
    assert!(is_usual(payload));
}

#[test]
fn members_stand_in_any_order_and_extra_ones_are_ignored() {
    let usual = r#"{"readings":[{"value":1,"extra":"x","property":"rain","period_s":600},{"property":"ph","value":7,
        "time":1795223101}],"battery":3.6,"seq":7,"ok":true,"none":null,"time":1795223100}"#;
    let nested = usual.replace("3.6", r#"{"v":[3.6,{"a":null}]}"#);
    let escaped = usual.replace("rain", "r\\u0061in").replace("seq", "s\\u0065q");
    for (payload, is_fast) in [(usual, true), (&*nested, false), (&*escaped, false)] {
        let (info, sink) = json(payload);
        assert_eq!(is_usual(payload), is_fast, "{payload}");
        assert_eq!(info.map(|info| (info.seq, info.time_us)), Ok((Some(7), Some(T_0805))));
        let rain = Owned { time_us: Some(T_0805), period_s: Some(600), ..number("rain", 1.0) };
        let ph = Owned { time_us: Some(T_0805 + 1_000_000), ..number("ph", 7.0) };
        assert_eq!(sink.readings, [rain, ph]);
    }
}

#[test]
fn every_result_type_and_qualifiers() {
    let payload = r#"{"readings":[
        {"property":"pump_state","value":true},{"property":"pump_state","value":"đang chạy"},
        {"property":"cod","value":null,"status":"02"},
        {"property":"flow;lane=1","value":12,"period_s":60,"tags":{"class":"motorcycle","peak":false,"x":2.5,"no":null}},
        {"property":"flow","value":-0.0,"tags":{},"unit":"","period_s":0,"status":null}]}"#;
    let (info, sink) = json(payload);
    assert_eq!(info, Ok(MessageInfo { readings: 5, ..MessageInfo::default() }));
    assert!(is_usual(payload));
    let values: Vec<_> = sink.readings.iter().map(|reading| reading.value.clone()).collect();
    assert_eq!(
        values,
        [
            OwnedValue::Boolean(true),
            OwnedValue::Text("đang chạy".to_owned()),
            OwnedValue::Null,
            OwnedValue::Number(12.0_f64.to_bits()),
            OwnedValue::Number((-0.0_f64).to_bits()),
        ]
    );
    assert_eq!(sink.readings[2].status.as_deref(), Some("02"));
    assert_eq!(sink.readings[3].property, "flow;class=motorcycle;lane=1;peak=false;x=2.5");
    assert_eq!(sink.readings[3].period_s, Some(60));
    assert_eq!(sink.readings[4], number("flow", -0.0));
}

/// A1-3: bad values are errors with offset and sentence; the readings beside them live.
#[test]
fn a_bad_reading_costs_only_itself() {
    let text = "x".repeat(257);
    let long = "x".repeat(33);
    for (reading, kind, offset_of) in [
        (r#"{"property":"a","value":NaN}"#.to_owned(), ErrorKind::BadNumber, "NaN"),
        (r#"{"property":"a","value":-Infinity}"#.to_owned(), ErrorKind::BadNumber, "-Inf"),
        (r#"{"property":"a","value":1e999}"#.to_owned(), ErrorKind::BadNumber, "1e999"),
        (r#"{"property":"a b","value":1}"#.to_owned(), ErrorKind::NameInvalid, "\"a b"),
        (format!(r#"{{"property":"{text}","value":1}}"#), ErrorKind::NameInvalid, "\"xxx"),
        (r#"{"property":"a","value":1,"tags":{"x":"y z"}}"#.to_owned(), ErrorKind::NameInvalid, "\"a"),
        (r#"{"property":"a","value":1,"tags":{"x":[1]}}"#.to_owned(), ErrorKind::MemberType, "[1]"),
        (r#"{"property":"a","value":1,"tags":"x"}"#.to_owned(), ErrorKind::MemberType, "\"x"),
        (
            r#"{"property":"a","value":1,"tags":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1}}"#
                .to_owned(),
            ErrorKind::NameInvalid,
            r#"{"a":1,"b"#,
        ),
        (format!(r#"{{"property":"a","value":"{text}"}}"#), ErrorKind::ValueTooLong, "\"xxx"),
        (format!(r#"{{"property":"a","value":1,"unit":"{long}"}}"#), ErrorKind::UnitTooLong, "\"xxx"),
        (format!(r#"{{"property":"a","value":1,"status":"{long}"}}"#), ErrorKind::StatusTooLong, "\"xxx"),
        (r#"{"property":"a","value":1,"unit":5}"#.to_owned(), ErrorKind::MemberType, "5"),
        (r#"{"property":"a","value":{}}"#.to_owned(), ErrorKind::MemberType, "{}"),
        (r#"{"property":"a","value":[1]}"#.to_owned(), ErrorKind::MemberType, "[1]"),
        (r#"{"property":"a","value":"\ud800"}"#.to_owned(), ErrorKind::MemberType, "\"\\ud"),
        (r#"{"property":"a"}"#.to_owned(), ErrorKind::ValueMissing, "{\"property\":\"a\"}"),
        (r#"{}"#.to_owned(), ErrorKind::PropertyMissing, "{}"),
        (r#"{"value":1}"#.to_owned(), ErrorKind::PropertyMissing, "{\"value\":1}"),
        (r#"{"property":1,"value":1}"#.to_owned(), ErrorKind::MemberType, "1,"),
        (r#"{"property":"a","value":1,"value":2}"#.to_owned(), ErrorKind::MemberTwice, "2"),
        (r#"{"property":"a","value":1,"time":"now"}"#.to_owned(), ErrorKind::TimeUnreadable, "\"now"),
        (
            r#"{"property":"a","value":1,"time":"2026-11-21T08:05:00"}"#.to_owned(),
            ErrorKind::TimeUnreadable,
            "\"2026",
        ),
        (r#"{"property":"a","value":1,"time":true}"#.to_owned(), ErrorKind::TimeUnreadable, "true"),
        (r#"{"property":"a","value":1,"time":NaN}"#.to_owned(), ErrorKind::TimeUnreadable, "NaN"),
        (
            r#"{"property":"a","value":1,"time":"9999-01-01T00:00:00Z"}"#.to_owned(),
            ErrorKind::TimeAbsurd,
            "\"9999",
        ),
        (r#"{"property":"a","value":1,"time":-1}"#.to_owned(), ErrorKind::TimeAbsurd, "-1"),
        (r#"{"property":"a","value":1,"period_s":-60}"#.to_owned(), ErrorKind::PeriodInvalid, "-60"),
        (r#"{"property":"a","value":1,"period_s":4294967296}"#.to_owned(), ErrorKind::PeriodInvalid, "4294"),
        (r#"{"property":"a","value":1,"period_s":"60"}"#.to_owned(), ErrorKind::PeriodInvalid, "\"60"),
        ("17".to_owned(), ErrorKind::NotAnObject, "17"),
        ("NaN".to_owned(), ErrorKind::NotAnObject, "NaN"),
    ] {
        let prefix = r#"{"seq":3,"readings":[{"property":"good","value":1},"#;
        let payload = format!(r#"{prefix}{reading},{{"property":"better","value":2}}]}}"#);
        let (info, sink) = json(&payload);
        let info = info.expect("the message can be read");
        assert_eq!((info.seq, info.readings, info.bad_readings), (Some(3), 2, 1), "{reading}");
        assert_eq!(sink.readings, [number("good", 1.0), number("better", 2.0)], "{reading}");
        let (index, _, error) = &sink.bad[0];
        assert_eq!((*index, error.kind), (1, kind), "{reading}: {error}");
        let expected = prefix.len() + reading.find(offset_of).expect("a part of the reading");
        assert_eq!(error.offset as usize, expected, "{reading}: {error}");
        assert!(error.message.len() > 15, "a sentence: {error}");
    }
}

#[test]
fn bad_messages_say_what_and_where() {
    let many = |count: usize| {
        let readings = vec![r#"{"property":"a","value":1}"#; count].join(",");
        format!(r#"{{"readings":[{readings}]}}"#)
    };
    let (info, sink) = json(&many(READINGS_PER_MESSAGE_MAX));
    assert_eq!((info.expect("just enough").readings, sink.readings.len()), (1024, 1024));
    for (payload, kind, offset) in [
        (String::new(), ErrorKind::Empty, 0),
        (" \n".to_owned(), ErrorKind::Empty, 0),
        ("hello".to_owned(), ErrorKind::NotJson, 0),
        (r#"{"readings":[{"property":"a","value":1}]"#.to_owned(), ErrorKind::NotJson, 39),
        (r#"{"readings":[{"property":"a","value":01}]}"#.to_owned(), ErrorKind::NotJson, 38),
        (r#"{"readings":[{"property":"a","value":1}]} x"#.to_owned(), ErrorKind::NotJson, 42),
        (r#"{"readings":[{"property":"a","value":1},]}"#.to_owned(), ErrorKind::NotJson, 40),
        ("{\n\"a\":1,\n\"readings\":[{\"property\":'a'}]}".to_owned(), ErrorKind::NotJson, 33),
        ("[]".to_owned(), ErrorKind::NotAnObject, 0),
        (" 5".to_owned(), ErrorKind::NotAnObject, 1),
        ("{}".to_owned(), ErrorKind::ReadingsMissing, 0),
        (r#"{"seq":1,"reading":[]}"#.to_owned(), ErrorKind::ReadingsMissing, 0),
        (r#"{"readings":{}}"#.to_owned(), ErrorKind::MemberType, 12),
        (r#"{"readings":NaN}"#.to_owned(), ErrorKind::MemberType, 12),
        (r#"{"seq":1,"seq":1,"readings":[]}"#.to_owned(), ErrorKind::MemberTwice, 15),
        (r#"{"seq":-1,"readings":[]}"#.to_owned(), ErrorKind::SeqInvalid, 7),
        (r#"{"seq":1.5,"readings":[]}"#.to_owned(), ErrorKind::SeqInvalid, 7),
        (r#"{"seq":"1","readings":[]}"#.to_owned(), ErrorKind::SeqInvalid, 7),
        (r#"{"time":"yesterday","readings":[]}"#.to_owned(), ErrorKind::TimeUnreadable, 8),
        (r#"{"time":1e30,"readings":[]}"#.to_owned(), ErrorKind::TimeAbsurd, 8),
        (many(READINGS_PER_MESSAGE_MAX + 1), ErrorKind::TooManyReadings, 13 + 1024 * 27),
    ] {
        let (info, sink) = json(&payload);
        let error = info.expect_err(&payload);
        assert_eq!((error.kind, error.offset as usize), (kind, offset), "{payload:.60}: {error}");
        assert!(
            sink.readings.is_empty() && sink.bad.is_empty(),
            "nothing is left of a bad message: {payload:.60}"
        );
    }
    let mut sink = Collected::default();
    let error = decode(Format::Json, None, b"{\"a\":\"\xff\"}", &mut sink).expect_err("not UTF-8");
    assert_eq!((error.kind, error.offset), (ErrorKind::NotUtf8, 6));
    let error =
        decode(Format::Json, None, &vec![b' '; PAYLOAD_BYTES_MAX + 1], &mut sink).expect_err("too long");
    assert_eq!(error.kind, ErrorKind::PayloadTooLong);
}

#[test]
fn deep_nesting_is_no_danger() {
    let deep = format!(r#"{{"x":{}1{},"readings":[]}}"#, "[".repeat(200_000), "]".repeat(200_000));
    let (info, _) = json(&deep);
    assert!(info.is_ok_and(|info| info.readings == 0) || json(&deep).0.is_err());
    let (info, _) = json(&"[".repeat(200_000));
    assert!(info.is_err());
}

#[test]
fn bare_values() {
    for (payload, value) in [
        ("38.4", OwnedValue::Number(38.4_f64.to_bits())),
        (" -12e-1\r\n", OwnedValue::Number((-1.2_f64).to_bits())),
        ("true", OwnedValue::Boolean(true)),
        ("false\n", OwnedValue::Boolean(false)),
    ] {
        let (info, sink) = bare(payload);
        assert_eq!(info, Ok(MessageInfo { readings: 1, ..MessageInfo::default() }), "{payload}");
        assert_eq!(sink.readings.len(), 1);
        assert_eq!((&*sink.readings[0].property, &sink.readings[0].value), ("pm2_5", &value));
    }
    let object = r#" {"value":38.4,"unit":"ug/m3","time":1795223100,"seq":9,"status":"00","period_s":3600,
        "tags":{"height":2},"property":5}"#;
    let escaped = object.replace("ug", "\\u0075g");
    let nested = object.replace("\"property\":5", "\"property\":{\"a\":[]}");
    for payload in [object, &escaped, &nested] {
        let (info, sink) = bare(payload);
        let reading = Owned {
            unit: Some("ug/m3".to_owned()),
            status: Some("00".to_owned()),
            time_us: Some(T_0805),
            period_s: Some(3600),
            ..number("pm2_5;height=2", 38.4)
        };
        assert_eq!(info.map(|info| (info.seq, info.time_us, info.readings)), Ok((Some(9), Some(T_0805), 1)));
        assert_eq!(sink.readings, [reading], "{payload}");
    }
}

#[test]
fn anything_else_bare_is_an_error() {
    for (payload, kind, offset) in [
        (&b""[..], ErrorKind::Empty, 0),
        (b"  ", ErrorKind::Empty, 0),
        (b"abc", ErrorKind::NotJson, 0),
        (b" 38,4", ErrorKind::NotJson, 3),
        (b"38.4 ug/m3", ErrorKind::NotJson, 4),
        (b"1 2", ErrorKind::NotJson, 1),
        (b"null", ErrorKind::NotJson, 0),
        (b"True", ErrorKind::NotJson, 0),
        (b"\"on\"", ErrorKind::NotJson, 0),
        (b"[1]", ErrorKind::NotJson, 0),
        (b"+5", ErrorKind::NotJson, 0),
        (b" nan", ErrorKind::BadNumber, 1),
        (b"-inf", ErrorKind::BadNumber, 0),
        (b"Infinity", ErrorKind::BadNumber, 0),
        (b"1e999", ErrorKind::BadNumber, 0),
        (b"12\xff", ErrorKind::NotUtf8, 2),
        (b"{\"value\":\"\xff\"}", ErrorKind::NotUtf8, 10),
        (b"{\"value\":NaN}", ErrorKind::BadNumber, 9),
        (b"{\"unit\":\"m\"}", ErrorKind::ValueMissing, 0),
        (b"{\"value\":1,\"seq\":-1}", ErrorKind::SeqInvalid, 17),
        (b"{\"value\":1,\"seq\":1,\"seq\":2}", ErrorKind::MemberTwice, 25),
        (b"{\"value\":1", ErrorKind::NotJson, 9),
    ] {
        let (info, sink) = bare(payload);
        let error = info.expect_err("an error");
        let text = String::from_utf8_lossy(payload);
        assert_eq!((error.kind, error.offset), (kind, offset), "{text}: {error}");
        assert!(sink.readings.is_empty() && sink.bad.is_empty());
    }
    let mut sink = Collected::default();
    let error =
        decode(Format::Bare, Some("pm 2"), b"1", &mut sink).expect_err("a space in the topic's property");
    assert_eq!(error.kind, ErrorKind::NameInvalid);
    let error = decode(Format::Bare, None, b"1", &mut sink).expect_err("no property");
    assert_eq!(error.kind, ErrorKind::PropertyMissing);
}

/// What the two readers say about one payload: the same, wherever the fast one says something.
fn compare(payload: &[u8]) -> Result<bool, TestCaseError> {
    let Ok(text) = std::str::from_utf8(payload) else { return Ok(false) };
    let (mut fast_sink, mut slow_sink) = (Collected::default(), Collected::default());
    let slow_info = slow::Checked::new(payload).and_then(|checked| slow::message(&checked, &mut slow_sink));
    let Some(fast_info) = fast::message(text, &mut fast_sink) else { return Ok(false) };
    prop_assert_eq!(Ok(fast_info), slow_info, "{}", text);
    prop_assert_eq!(fast_sink, slow_sink, "{}", text);
    Ok(true)
}

fn any_json_scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<f64>().prop_map(|value| format!("{value}")),
        4 => "-?[0-9]{1,20}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
        2 => (0_i64..4_102_444_800_000).prop_map(|count| count.to_string()),
        2 => "\"[0-9A-Za-z_;=/%°³ \\\\nu-]{0,12}\"",
        1 => "\"\\PC{0,8}\"",
        2 => (0_i64..4_102_444_800_000_000).prop_map(|time| format!("\"{}\"", crate::time::format_rfc3339(time))),
        2 => prop::sample::select(vec!["true", "false", "null", "NaN", "{}", "[]", "\"\"", "0"]).prop_map(str::to_owned),
    ]
}

fn any_white_space() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", "", "", " ", "\n", "\t\r ", "  "])
}

fn any_object(
    names: Vec<&'static str>,
    more: impl Strategy<Value = String>,
) -> impl Strategy<Value = String> {
    let member =
        (prop::sample::select(names), prop_oneof![4 => any_json_scalar(), 1 => more], any_white_space());
    prop::collection::vec(member, 0..6).prop_map(|members| {
        let members: Vec<_> = members
            .into_iter()
            .map(|(name, value, space)| format!("{space}\"{name}\"{space}:{space}{value}{space}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

fn any_reading() -> impl Strategy<Value = String> {
    let names =
        vec!["property", "value", "unit", "status", "time", "period_s", "seq", "other", "v\\u0061lue"];
    let tags = any_object(vec!["lane", "class", "a", "b"], Just("1".to_owned())).boxed();
    let name = prop::sample::select(vec!["pm2_5", "flow;lane=1", "flow;b=1;a=2", "mưa", "a b", "x"]);
    prop_oneof![
        1 => any_object(names, tags.clone()),
        4 => (name, any_json_scalar(), tags, any_json_scalar(), 0_u8..8).prop_map(|(name, value, tags, other, which)| {
            match which {
                0 => format!(r#"{{"property":"{name}","value":{value},"tags":{tags}}}"#),
                1 => format!(r#"{{"value":{value},"property":"{name}","time":{other}}}"#),
                2 => format!(r#"{{"value":{value},"property":"{name}","unit":{other}}}"#),
                3 => format!(r#"{{"value":{value},"period_s":{other},"property":"{name}"}}"#),
                4 => format!(r#"{{"value":{value},"status":{other},"property":"{name}","extra":{tags}}}"#),
                _ => format!(r#"{{"property":"{name}","value":{value}}}"#),
            }
        }),
    ]
}

fn any_message() -> impl Strategy<Value = String> {
    let readings =
        prop::collection::vec(any_reading(), 0..4).prop_map(|readings| format!("[{}]", readings.join(",")));
    let time = prop::sample::select(vec![
        "1795223100",
        "\"2026-11-21T08:05:00+07:00\"",
        "null",
        "1795223100.5",
        "\"x\"",
    ]);
    (readings, time, any_json_scalar(), any_white_space(), 0_u8..6).prop_map(
        |(readings, time, scalar, space, order)| match order {
            0 => format!(r#"{{"time":{time},"seq":1042,{space}"readings":{space}{readings}}}{space}"#),
            1 => format!(r#"{space}{{"readings":{readings},{space}"time":{time}}}"#),
            2 => format!(r#"{{"readings":{readings},"seq":{scalar},"time":{time}}}"#),
            3 => format!(r#"{{"readings":{readings},"extra":{scalar}}}"#),
            4 => format!(r#"{{"seq":7,"readings":{readings}{space}}}"#),
            _ => format!(r#"{{"readings":{readings}}}"#),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// A1-3: the one-pass reader and serde_json say the same.
    #[test]
    fn the_readers_agree_on_generated_messages(message in any_message()) {
        compare(message.as_bytes())?;
    }

    #[test]
    fn the_readers_agree_on_damaged_messages(
        message in any_message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..4),
    ) {
        let mut payload = message.into_bytes();
        for (index, byte, kind) in damage {
            let at = index.index(payload.len().max(1));
            match kind {
                _ if payload.is_empty() => {}
                0 => payload[at] = byte,
                1 => payload[at] = b"\"\\{}[]:,0-.eE tnN"[usize::from(byte) % 17],
                2 => { payload.remove(at); }
                _ => payload.insert(at, byte),
            }
        }
        compare(&payload)?;
        let mut sink = Collected::default();
        if let Err(error) = decode(Format::Json, None, &payload, &mut sink) {
            prop_assert!(error.offset as usize <= payload.len());
            prop_assert!(sink.readings.is_empty() && sink.bad.is_empty());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..64)) {
        for format in [Format::Json, Format::Bare, Format::FlatBuffers] {
            let _ = decode(format, Some("a"), &payload, &mut Collected::default());
        }
    }

    /// Number for number: what a float prints as comes back bit for bit.
    #[test]
    fn numbers_come_back(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
        let payload = format!(r#"{{"readings":[{{"property":"a","value":{value}}}]}}"#);
        prop_assert!(is_usual(&payload));
        let (_, sink) = json(&payload);
        prop_assert_eq!(&sink.readings[0].value, &OwnedValue::Number(value.to_bits()));
        let (_, sink) = bare(format!("{value:e}"));
        prop_assert_eq!(&sink.readings[0].value, &OwnedValue::Number(value.to_bits()));
    }
}

/// The comparison means something only if the fast reader reads a good part of what is generated.
#[test]
fn the_generator_hits_the_usual_shape() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let strategy = any_message();
    let usual = (0..500)
        .filter(|_| {
            let message = strategy.new_tree(&mut runner).expect("a strategy without filters").current();
            is_usual(&message)
        })
        .count();
    assert!((100..=400).contains(&usual), "{usual} of 500 messages are usual");
}
