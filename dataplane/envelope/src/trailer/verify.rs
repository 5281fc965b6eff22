//! Checking a trailer while it streams by, at the end of a whole read.

use super::{Checksums, Trailer};
use crate::error::{LayoutError, Tampered};
use crate::keys::{Dek, ObjectId};
use crate::law::PlainLen;

/// Takes the bytes of a trailer in pieces, checks that its padding is zero, and keeps only the end, where
/// the sealed list is.
#[derive(Clone, Debug)]
pub struct TrailerVerifier {
    expected: Trailer,
    /// Bytes still to come, before the window.
    padding: u64,
    window: Vec<u8>,
    window_len: usize,
    broken: bool,
}

impl TrailerVerifier {
    /// For a single PUT of `plain_len` bytes, as its envelope says.
    ///
    /// # Errors
    /// [`LayoutError::TooLarge`] when there is no such object.
    pub fn single(plain_len: PlainLen) -> Result<Self, LayoutError> {
        Ok(Self::new(Trailer::single(plain_len, Checksums::none())?))
    }

    /// For a multipart object, whose trailer was opened before its parts were read.
    pub fn multipart(trailer: &Trailer) -> Self {
        Self::new(trailer.clone())
    }

    fn new(expected: Trailer) -> Self {
        let len = expected.len();
        let window_len = len.min(expected.window() as u64) as usize;
        let window = Vec::with_capacity(window_len);
        Self {
            padding: len - window_len as u64,
            window,
            window_len,
            expected,
            broken: false,
        }
    }

    /// Bytes of the trailer that have not been pushed yet.
    pub fn remaining(&self) -> u64 {
        self.padding + (self.window_len - self.window.len()) as u64
    }

    /// Takes the next bytes, as many as there are up to the end of the object.
    ///
    /// # Errors
    /// [`Tampered`] when the padding is not zero, or more bytes come than the trailer has; so does every
    /// later call.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Tampered> {
        let padding = self.padding.min(bytes.len() as u64) as usize;
        let (padding, rest) = bytes.split_at(padding);
        self.padding -= padding.len() as u64;
        let too_many = rest.len() > self.window_len - self.window.len();
        if self.broken || too_many || !is_zero(padding) {
            self.broken = true;
            return Err(Tampered);
        }
        self.window.extend(rest);
        Ok(())
    }

    /// Opens the sealed list, and compares it with what was known about the object.
    ///
    /// # Errors
    /// [`Tampered`] when the trailer is not that of this object, or has not come whole.
    pub fn finish(self, dek: &Dek, object: &ObjectId) -> Result<Trailer, Tampered> {
        if self.broken || self.remaining() > 0 {
            return Err(Tampered);
        }
        let opened = Trailer::open(dek, object, self.expected.object_len(), &self.window)?;
        let tail = self.window.last_chunk().ok_or(Tampered)?;
        let padding = self
            .window
            .len()
            .checked_sub(Trailer::sealed_len(tail)?)
            .ok_or(Tampered)?;
        let same =
            opened.plain_len == self.expected.plain_len && opened.parts == self.expected.parts;
        if same && is_zero(&self.window[..padding]) {
            Ok(opened)
        } else {
            Err(Tampered)
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
