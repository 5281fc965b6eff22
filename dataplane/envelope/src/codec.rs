//! Fields in big-endian order, and URL-safe base64 without padding around them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::DecodeError;

/// The version of the format, first byte of every encoded value.
pub(crate) const VERSION: u8 = 1;

pub(crate) fn to_text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Characters that [`to_text`] makes of `bytes` bytes.
pub(crate) const fn text_len(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// Decodes at most `limit` characters. There is one text for given bytes: padding, other alphabets and
/// stray bits are refused.
pub(crate) fn from_text(text: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    if text.len() > limit {
        return Err(DecodeError::NotBase64);
    }
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| DecodeError::NotBase64)
}

/// Takes fields off the front of encoded bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (field, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Cut)?;
        self.0 = rest;
        Ok(field)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Cut)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u48(&mut self) -> Result<u64, DecodeError> {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(self.bytes(6)?);
        Ok(u64::from_be_bytes(bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The version byte, which must be the known one.
    pub(crate) fn version(&mut self) -> Result<(), DecodeError> {
        match self.u8()? {
            VERSION => Ok(()),
            other => Err(DecodeError::UnknownVersion(other)),
        }
    }

    /// UTF-8 of at most 255 bytes, after its length.
    pub(crate) fn short_text(&mut self) -> Result<String, DecodeError> {
        let len = self.u8()?;
        let bytes = self.bytes(len.into())?.to_vec();
        String::from_utf8(bytes).map_err(|_| DecodeError::NotText)
    }

    /// Bytes of at most 65,535, after their length.
    pub(crate) fn long_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.bytes(len.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may follow.
    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }
}
