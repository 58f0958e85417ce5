//! A cursor over the bytes of one packet. It only measures: `None` means that the bytes end too soon, and the caller
//! says which rule that breaks.

#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// A variable byte integer of one to four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VariableByteInteger {
    /// The value, the bytes it took, and whether fewer bytes could have said it.
    Value { value: u32, length: usize, minimal: bool },
    /// The bytes end before the integer does.
    Incomplete,
    /// The fourth byte still asks for a fifth.
    TooLong,
}

/// Reads the variable byte integer at the start of `bytes`.
#[inline]
pub(super) fn variable_byte_integer(bytes: &[u8]) -> VariableByteInteger {
    let mut value = 0;
    for index in 0..4 {
        let Some(&byte) = bytes.get(index) else {
            return VariableByteInteger::Incomplete;
        };
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return VariableByteInteger::Value { value, length: index + 1, minimal: index == 0 || byte != 0 };
        }
    }
    VariableByteInteger::TooLong
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.rest.split_first_chunk::<2>()?;
        self.rest = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    /// Bytes behind a two-byte length: binary data, or a string that is still to be checked.
    #[inline]
    pub(super) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}
