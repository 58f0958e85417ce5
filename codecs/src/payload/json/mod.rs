//! Canonical JSON messages and bare values (`docs/format/json.md`).

use super::{DecodeError, ErrorKind, MessageInfo, ReadingSink};

pub(super) fn decode_message(payload: &[u8], _sink: &mut impl ReadingSink) -> Result<MessageInfo, DecodeError> {
    Err(DecodeError::new(ErrorKind::NotJson, payload.len(), "not read yet"))
}

pub(super) fn decode_bare(
    _topic_property: Option<&str>,
    payload: &[u8],
    _sink: &mut impl ReadingSink,
) -> Result<MessageInfo, DecodeError> {
    Err(DecodeError::new(ErrorKind::NotJson, payload.len(), "not read yet"))
}
