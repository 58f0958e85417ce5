use super::super::test_sink::{Collected, Owned, OwnedValue};
use super::super::{
    DecodeError, ErrorKind, Format, MessageInfo, READINGS_PER_MESSAGE_MAX, Value, decode, detect,
};
use super::telemetry::{Message, MessageArgs, Reading, ReadingArgs, finish_message_buffer};
use super::{CONTENT_TYPE, EncodeReading, encode};
use flatbuffers::FlatBufferBuilder;
use proptest::prelude::*;

const T_0805: i64 = 1_795_223_100_000_000;

fn decoded(payload: &[u8]) -> (Result<MessageInfo, DecodeError>, Collected) {
    let mut sink = Collected::default();
    (decode(Format::FlatBuffers, None, payload, &mut sink), sink)
}

fn owned(reading: &EncodeReading<'_>, property: &str, message_time_us: Option<i64>) -> Owned {
    Owned {
        property: property.to_owned(),
        value: match reading.value {
            Value::Number(number) => OwnedValue::Number(number.to_bits()),
            Value::Boolean(boolean) => OwnedValue::Boolean(boolean),
            Value::Text(text) => OwnedValue::Text(text.to_owned()),
            Value::Null => OwnedValue::Null,
        },
        unit: reading.unit.map(str::to_owned),
        status: reading.status.map(str::to_owned),
        time_us: reading.time_us.or(message_time_us),
        period_s: reading.period_s,
    }
}

/// A1-3: one number with property, time and sequence in ≤ 64 bytes, by catalogue number or by name.
#[test]
fn one_number_takes_at_most_64_bytes() {
    for property in ["pm2_5", "residual_chlorine", "level_2", "t"] {
        let payload =
            encode(Some(T_0805), Some(u64::from(u32::MAX)), &[EncodeReading::number(property, 38.4)]);
        assert!(payload.len() <= 64, "{property}: {} bytes", payload.len());
        let (info, sink) = decoded(&payload);
        let expected = MessageInfo {
            seq: Some(u64::from(u32::MAX)),
            time_us: Some(T_0805),
            readings: 1,
            bad_readings: 0,
        };
        assert_eq!(info, Ok(expected));
        assert_eq!(sink.readings, [owned(&EncodeReading::number(property, 38.4), property, Some(T_0805))]);
        assert_eq!(detect(None, &payload), Some(Format::FlatBuffers));
    }
}

/// The bytes that docs/format/telemetry.md explains one by one.
#[test]
fn bytes_of_the_page() {
    let golden =
        b"\x1c\0\0\0SGT1\0\0\0\0\0\0\x0e\0\x1c\0\x0c\0\x08\0\x14\0\0\0\x06\0\x0e\0\0\0\0\0\x01\0\x12\x04\0\0\
        \x00\x07\x2b\xf3\xbe\x60\x06\0\x33\x33\x33\x33\x33\x33\x43\x40";
    assert_eq!(encode(Some(T_0805), Some(1042), &[EncodeReading::number("pm2_5", 38.4)]), golden);
    let (info, sink) = decoded(golden);
    assert_eq!(info.map(|info| info.seq), Ok(Some(1042)));
    assert_eq!(sink.readings, [owned(&EncodeReading::number("pm2_5", 38.4), "pm2_5", Some(T_0805))]);
}

#[test]
fn everything_in_one_message() {
    let readings = [
        EncodeReading { unit: Some("ug/m3"), ..EncodeReading::number("pm2_5", 38.4) },
        EncodeReading { time_us: Some(T_0805 - 30_000_000), ..EncodeReading::number("water_level", -1.27) },
        EncodeReading { period_s: Some(60), ..EncodeReading::number("flow;lane=1;class=motorcycle", 12.0) },
        EncodeReading { value: Value::Boolean(false), ..EncodeReading::number("pump_state", 0.0) },
        EncodeReading { value: Value::Text("đang chạy"), ..EncodeReading::number("pump_state", 0.0) },
        EncodeReading { value: Value::Null, status: Some("02"), ..EncodeReading::number("cod", 0.0) },
        EncodeReading::number("mực_nước;b=2;a=1", 5e-324),
    ];
    let payload = encode(Some(T_0805), None, &readings);
    let (info, sink) = decoded(&payload);
    assert_eq!(info, Ok(MessageInfo { seq: None, time_us: Some(T_0805), readings: 7, bad_readings: 0 }));
    let names = [
        "pm2_5",
        "water_level",
        "flow;class=motorcycle;lane=1",
        "pump_state",
        "pump_state",
        "cod",
        "mực_nước;a=1;b=2",
    ];
    let expected: Vec<_> =
        readings.iter().zip(names).map(|(reading, name)| owned(reading, name, Some(T_0805))).collect();
    assert_eq!(sink.readings, expected);
}

/// Builds a reading that [`encode`] would not.
fn message_with(readings: &[ReadingArgs<'static>]) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let tables: Vec<_> = readings.iter().map(|args| Reading::create(&mut builder, args)).collect();
    let readings = Some(builder.create_vector(&tables));
    let message = Message::create(&mut builder, &MessageArgs { readings, ..MessageArgs::default() });
    finish_message_buffer(&mut builder, message);
    builder.finished_data().to_vec()
}

#[test]
fn a_bad_reading_costs_only_itself() {
    let good = EncodeReading::number("ph", 7.0);
    let long = "x".repeat(257);
    for (bad, kind) in [
        (EncodeReading::number("ph", f64::NAN), ErrorKind::BadNumber),
        (EncodeReading::number("ph", f64::NEG_INFINITY), ErrorKind::BadNumber),
        (EncodeReading::number("p h", 1.0), ErrorKind::NameInvalid),
        (EncodeReading::number(&long, 1.0), ErrorKind::NameInvalid),
        (EncodeReading::number("flow;lane", 1.0), ErrorKind::NameInvalid),
        (EncodeReading { time_us: Some(i64::MAX), ..good }, ErrorKind::TimeAbsurd),
        (EncodeReading { value: Value::Text(&long), ..good }, ErrorKind::ValueTooLong),
        (EncodeReading { unit: Some(&long), ..good }, ErrorKind::UnitTooLong),
        (EncodeReading { status: Some(&long), ..good }, ErrorKind::StatusTooLong),
    ] {
        let payload = encode(None, Some(1), &[good, bad, good]);
        let (info, sink) = decoded(&payload);
        assert_eq!(info, Ok(MessageInfo { seq: Some(1), time_us: None, readings: 2, bad_readings: 1 }));
        let (index, _, error) = &sink.bad[0];
        assert_eq!((*index, error.kind), (1, kind), "{error}");
        assert!(error.offset > 8 && (error.offset as usize) < payload.len(), "{error}");
        assert!(error.message.len() > 15, "a sentence: {error}");
    }
}

#[test]
fn contradictions_are_refused() {
    let plain = || ReadingArgs { number: Some(1.0), property_number: 1, ..ReadingArgs::default() };
    for (args, kind) in [
        (ReadingArgs { number: None, ..plain() }, ErrorKind::ValueMissing),
        (ReadingArgs { missing: true, ..plain() }, ErrorKind::MemberTwice),
        (ReadingArgs { boolean: Some(true), ..plain() }, ErrorKind::MemberTwice),
        (ReadingArgs { property_number: 0, ..plain() }, ErrorKind::PropertyMissing),
        (ReadingArgs { property_number: 60_000, ..plain() }, ErrorKind::PropertyUnknown),
    ] {
        let (info, sink) = decoded(&message_with(&[args, plain()]));
        assert_eq!(info.map(|info| (info.readings, info.bad_readings)), Ok((1, 1)));
        assert_eq!(sink.bad[0].2.kind, kind);
    }
    let mut builder = FlatBufferBuilder::new();
    let property = Some(builder.create_string("ph"));
    let args = MessageArgs { number: Some(1.0), property, property_number: 1, ..MessageArgs::default() };
    let message = Message::create(&mut builder, &args);
    finish_message_buffer(&mut builder, message);
    let (info, sink) = decoded(builder.finished_data());
    assert_eq!(info.map(|info| (info.readings, info.bad_readings)), Ok((0, 1)));
    assert_eq!(sink.bad[0].2.kind, ErrorKind::MemberTwice);
}

#[test]
fn number_in_place_and_readings_may_stand_together() {
    let mut builder = FlatBufferBuilder::new();
    let args = ReadingArgs { number: Some(2.0), property_number: 2, ..ReadingArgs::default() };
    let reading = Reading::create(&mut builder, &args);
    let readings = Some(builder.create_vector(&[reading]));
    let args = MessageArgs { number: Some(1.0), property_number: 1, readings, ..MessageArgs::default() };
    let message = Message::create(&mut builder, &args);
    finish_message_buffer(&mut builder, message);
    let (info, sink) = decoded(builder.finished_data());
    assert_eq!(info.map(|info| info.readings), Ok(2));
    let properties: Vec<_> = sink.readings.iter().map(|reading| &*reading.property).collect();
    assert_eq!(properties, ["pm2_5", "pm10"]);
}

#[test]
fn bad_messages_are_refused_as_a_whole() {
    let good = EncodeReading::number("ph", 7.0);
    let kind_of = |payload: &[u8]| decoded(payload).0.map_err(|error| error.kind);
    assert_eq!(kind_of(b""), Err(ErrorKind::Empty));
    assert_eq!(kind_of(b"{\"readings\":[]}"), Err(ErrorKind::FlatbufferInvalid));
    assert_eq!(kind_of(b"\x08\0\0\0SGT1"), Err(ErrorKind::FlatbufferInvalid));
    assert_eq!(kind_of(b"\xff\xff\xff\xffSGT1\0\0\0\0"), Err(ErrorKind::FlatbufferInvalid));
    assert_eq!(kind_of(&encode(Some(i64::MIN), None, &[good])), Err(ErrorKind::TimeAbsurd));
    assert_eq!(
        kind_of(&encode(None, None, &vec![good; READINGS_PER_MESSAGE_MAX + 1])),
        Err(ErrorKind::TooManyReadings)
    );
    assert!(kind_of(&encode(None, None, &vec![good; READINGS_PER_MESSAGE_MAX])).is_ok());
    assert!(kind_of(&encode(None, None, &[])).is_ok_and(|info| info.readings == 0));

    let mut builder = FlatBufferBuilder::new();
    let message = Message::create(&mut builder, &MessageArgs { seq: Some(1), ..MessageArgs::default() });
    finish_message_buffer(&mut builder, message);
    assert_eq!(kind_of(builder.finished_data()), Err(ErrorKind::ReadingsMissing));

    let mut payload = encode(None, None, &[EncodeReading { status: Some("status"), ..good }]);
    let at = payload.windows(6).position(|window| window == b"status").expect("the status");
    payload[at + 2] = 0xff;
    let error = decoded(&payload).0.expect_err("not UTF-8");
    assert_eq!((error.kind, error.offset as usize), (ErrorKind::NotUtf8, at + 2));
}

/// A small message must not make the verifier walk a large one.
#[test]
fn one_text_shown_a_thousand_times_is_refused() {
    let long = "x".repeat(60_000);
    let reading = EncodeReading { value: Value::Text(&long), ..EncodeReading::number("ph", 0.0) };
    let error = decoded(&encode(None, None, &vec![reading; 1000])).0.expect_err("60 MB to look at");
    assert_eq!(error.kind, ErrorKind::FlatbufferInvalid);
}

#[test]
fn formats_are_told_apart() {
    let binary = encode(None, None, &[EncodeReading::number("ph", 7.0)]);
    assert_eq!(detect(None, &binary), Some(Format::FlatBuffers));
    assert_eq!(detect(Some(CONTENT_TYPE), b"x"), Some(Format::FlatBuffers));
    assert_eq!(detect(Some("application/octet-stream"), &binary), Some(Format::FlatBuffers));
    assert_eq!(detect(Some("Application/JSON; charset=utf-8"), &binary), Some(Format::Json));
    assert_eq!(detect(Some("text/plain"), b" \n{}"), Some(Format::Json));
    assert_eq!(detect(Some(""), b"[1]"), Some(Format::Json));
    assert_eq!(detect(None, b"{  \"SGT1\":1}"), Some(Format::Json));
    for (content_type, payload) in
        [(None, &b""[..]), (None, b"38.4"), (Some("application/senml+json"), b"[{}]"), (None, b"\0\0\0\0SGT")]
    {
        assert_eq!(detect(content_type, payload), None);
    }
}

/// The committed code belongs to the committed schema: `codecs/schemas/generate.sh` writes both together.
#[test]
fn generated_code_is_that_of_the_schema() {
    let schema = include_bytes!("../../../schemas/telemetry.fbs");
    let crc = schema.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    });
    let header = format!("// CRC-32 of codecs/schemas/telemetry.fbs: {:08x}", !crc);
    let recorded = include_str!("telemetry_generated.rs").lines().next();
    assert_eq!(recorded, Some(&*header), "the schema has changed: run codecs/schemas/generate.sh");
}

/// The field ids that devices in the field rely on.
#[test]
fn slots_stay_where_they_are() {
    let slots = [
        Message::VT_TIME_US,
        Message::VT_SEQ,
        Message::VT_NUMBER,
        Message::VT_PROPERTY,
        Message::VT_PROPERTY_NUMBER,
        Message::VT_READINGS,
        Message::VT_SEQ_WIDE,
    ];
    assert_eq!(slots, [4, 6, 8, 10, 12, 14, 16]);
    let slots = [
        Reading::VT_NUMBER,
        Reading::VT_PROPERTY_NUMBER,
        Reading::VT_PROPERTY,
        Reading::VT_QUALIFIERS,
        Reading::VT_TIME_US,
        Reading::VT_BOOLEAN,
        Reading::VT_TEXT,
        Reading::VT_MISSING,
        Reading::VT_UNIT,
        Reading::VT_STATUS,
        Reading::VT_PERIOD_S,
    ];
    assert_eq!(slots, [4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]);
    assert_eq!(
        (
            ReadingArgs::default().missing,
            ReadingArgs::default().period_s,
            MessageArgs::default().property_number
        ),
        (false, 0, 0)
    );
}

fn any_value() -> impl Strategy<Value = (Option<f64>, Option<bool>, Option<String>)> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|number| (
            Some(number),
            None,
            None
        )),
        any::<bool>().prop_map(|boolean| (None, Some(boolean), None)),
        "\\PC{0,60}".prop_map(|text| (None, None, Some(text))),
        Just((None, None, None)),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back(
        time_us in proptest::option::of(0..4_000_000_000_000_000_i64),
        seq in prop_oneof![any::<Option<u64>>(), Just(Some(0)), Just(Some(1 << 32))],
        parts in prop::collection::vec(
            ("[a-z_]{1,20}(;a=[0-9]{1,3})?(;b=x)?", any_value(), proptest::option::of("[a-z]{1,32}"),
             proptest::option::of("[0-9]{1,32}"), proptest::option::of(0..4_000_000_000_000_000_i64),
             proptest::option::of(1..u32::MAX)), 0..5),
    ) {
        let readings: Vec<_> = parts.iter().map(|(property, value, unit, status, time_us, period_s)| EncodeReading {
            property,
            value: match value {
                (Some(number), _, _) => Value::Number(*number),
                (_, Some(boolean), _) => Value::Boolean(*boolean),
                (_, _, Some(text)) => Value::Text(text),
                _ => Value::Null,
            },
            unit: unit.as_deref(),
            status: status.as_deref(),
            time_us: *time_us,
            period_s: *period_s,
        }).collect();
        let (info, sink) = decoded(&encode(time_us, seq, &readings));
        prop_assert_eq!(info.map(|info| (info.seq, info.time_us)), Ok((seq, time_us)));
        let expected: Vec<_> = readings.iter().map(|reading| owned(reading, reading.property, time_us)).collect();
        prop_assert_eq!(sink.readings, expected);
    }

    #[test]
    fn damage_is_read_or_refused(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(), one in any::<bool>(),
    ) {
        let reading = EncodeReading { unit: Some("m"), status: Some("00"), ..EncodeReading::number("flow;a=1", 1.5) };
        let plain = EncodeReading::number("ph", 7.0);
        let mut payload = if one { encode(Some(1), Some(2), &[plain]) } else { encode(Some(1), Some(2), &[reading, plain]) };
        let place = at.index(payload.len());
        payload[place] = byte;
        if let Err(error) = decoded(&payload).0 {
            prop_assert!(error.kind != ErrorKind::Empty);
        }
        payload.truncate(cut.index(payload.len()));
        let _ = decoded(&payload);
    }
}
