//! JSON numbers: grammar and exact value.

/// White space between JSON tokens.
pub(super) const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
