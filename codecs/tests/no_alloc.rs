//! A1-3: the usual payload is decoded without allocation. The counter is per thread, so that tests do not disturb one
//! another.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use codecs::payload::flatbuffers::{EncodeReading, encode};
use codecs::payload::{DecodeError, Format, Reading, ReadingSink, Value, decode};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system allocator unchanged; counting touches a thread-local `Cell` without destructor
// and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout, through the functions beside this one.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: `pointer` came from `System` with this layout, through the functions beside this one.
        unsafe { System.realloc(pointer, layout, new_bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[derive(Default)]
struct Sum {
    numbers: f64,
    others: u32,
    bad: u32,
}

impl ReadingSink for Sum {
    fn reading(&mut self, reading: Reading<'_>) {
        match reading.value {
            Value::Number(number) => self.numbers += number,
            _ => self.others += 1,
        }
    }

    fn bad_reading(&mut self, _index: usize, _property: Option<&str>, _error: DecodeError) {
        self.bad += 1;
    }

    fn discard(&mut self) {
        *self = Self::default();
    }
}

/// Decodes and returns the sum of the numbers, the other readings, and the allocations it took.
fn decoded(format: Format, payload: &[u8]) -> (f64, u32, u64) {
    let mut sink = Sum::default();
    let before = allocations();
    let info = decode(format, Some("pm2_5"), payload, &mut sink);
    let allocated = allocations() - before;
    assert!(info.is_ok() && sink.bad == 0, "{info:?}");
    (sink.numbers, sink.others, allocated)
}

#[test]
fn the_usual_json_takes_no_allocation() {
    let message = r#"{"time":"2026-11-21T08:05:00+07:00","seq":1042,"readings":[
        {"property":"pm2_5","value":38.5,"unit":"µg/m³"},
        {"property":"flow;class=motorcycle;lane=1","value":2,"period_s":60,"status":"00","time":1795223100},
        {"property":"pump_state","value":true},{"property":"mực_nước","value":"thấp","model":"X1"}]}"#;
    assert_eq!(decoded(Format::Json, message.as_bytes()), (40.5, 2, 0));
    let late_time = r#"{"readings":[{"property":"pm2_5","value":38.5}],"time":1795223100}"#;
    assert_eq!(decoded(Format::Json, late_time.as_bytes()), (38.5, 0, 0));
    assert_eq!(decoded(Format::Bare, b"38.5\n"), (38.5, 0, 0));
    assert_eq!(
        decoded(Format::Bare, br#"{"value":38.5,"unit":"ug/m3","time":1795223100,"seq":7}"#),
        (38.5, 0, 0)
    );
}

#[test]
fn flatbuffers_take_no_allocation() {
    let one = encode(Some(1_795_223_100_000_000), Some(7), &[EncodeReading::number("pm2_5", 38.5)]);
    assert_eq!(decoded(Format::FlatBuffers, &one), (38.5, 0, 0));
    let several = encode(
        None,
        Some(7),
        &[
            EncodeReading { unit: Some("m"), status: Some("00"), ..EncodeReading::number("own_level", 1.25) },
            EncodeReading { value: Value::Boolean(true), ..EncodeReading::number("pump_state", 0.0) },
            EncodeReading { value: Value::Text("low"), ..EncodeReading::number("pump_state", 0.0) },
        ],
    );
    assert_eq!(decoded(Format::FlatBuffers, &several), (1.25, 2, 0));
}

/// The counter counts: what is unusual does allocate.
#[test]
fn the_counter_counts() {
    let escaped = r#"{"readings":[{"property":"pm2\u005f5","value":38.5}]}"#;
    let (_, _, allocated) = decoded(Format::Json, escaped.as_bytes());
    assert!(allocated > 0);
}
