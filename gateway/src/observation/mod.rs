//! The observation log's content: what the pipeline made of the messages, one frame per step.
//!
//! A frame holds, in this order: what it covers ([`FrameInfo`]), definitions of names that it is the first to use
//! ([`Definition`]), one [`MessageEntry`] per message, the [`Row`]s, the bytes of text results, quarantined payloads,
//! changes of retained messages, marks of the re-send window, settlements ([`Settlement`]), and outcomes of rows that were unresolved in earlier
//! frames. `obs_no` counts rows and nothing else. Everything behind the pipeline is a fold over these frames.

mod frame;
mod row;
mod settlement;

pub use frame::{
    Definition, FrameInfo, ObservationFrame, ParseError, Quarantined, ResendMark, RetainedChange,
    json_record_bytes, parse_frame, write_frame,
};
pub use row::{
    Classification, MessageEntry, MessageOutcome, Outcome, OutcomeKind, Quality, ResultKind, Row, TextSpan,
    value_bits_equal,
};
pub use settlement::{Remaining, Settled, Settlement};
