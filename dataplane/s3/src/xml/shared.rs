//! Text of long documents without a copy: it shares the bytes that the document came in.

use std::fmt;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use super::pull::{Leaf, unescape};
use super::unquote;
use crate::encoding::{all_plain, decode_into};
use crate::time::DateReader;

/// Text that may share the document it was read from, and then keeps all of that.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Text(Bytes);

impl Text {
    /// Its UTF-8, for which nothing has to be checked.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        // Made of text only, so this never is the default.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

/// Where the text of a document's elements lies: in the document, and what had to be unescaped in a few blocks.
pub(super) struct Source<'d> {
    document: &'d Bytes,
    block: BytesMut,
    dates: DateReader,
}

impl<'d> Source<'d> {
    /// Bytes taken at a time for what cannot stay in the document. Together they are never longer than the document by
    /// more than this: unescaped, a text is no longer than before.
    const BLOCK: usize = 16 << 10;

    pub(super) fn new(document: &'d Bytes) -> Self {
        Self {
            document,
            block: BytesMut::new(),
            dates: DateReader::default(),
        }
    }

    /// How many entries of so many bytes the document has room for, up to a whole page.
    pub(super) fn entries(&self, bytes: usize) -> usize {
        (self.document.len() / bytes).min(1000)
    }

    /// The text of an element.
    pub(super) fn text(&mut self, leaf: Leaf<'_>) -> Text {
        Text(self.bytes(leaf))
    }

    /// The same, as bytes that may be percent-encoded.
    pub(super) fn bytes(&mut self, leaf: Leaf<'_>) -> Bytes {
        match leaf {
            Leaf::Plain(text) => self.share(text.as_bytes()),
            Leaf::Escaped(raw) => {
                self.room(raw.len());
                unescape(raw, |piece| self.block.extend_from_slice(piece.as_bytes()));
                self.block.split().freeze()
            }
            leaf => Bytes::from(leaf.into_text().into_owned()),
        }
    }

    /// An ETag without its quotes, which most stores write as references.
    pub(super) fn etag(&mut self, leaf: Leaf<'_>) -> Text {
        match leaf {
            Leaf::Quoted(tag) => Text(self.share(tag.as_bytes())),
            Leaf::Plain(text) => Text(self.share(unquote(text).as_bytes())),
            leaf => unquote(&leaf.into_text()).into(),
        }
    }

    /// A time, in milliseconds since the epoch; `None` where it is none.
    pub(super) fn time(&mut self, leaf: Leaf<'_>) -> Option<i64> {
        self.dates.parse(&leaf.into_text())
    }

    /// A number; `None` where it is none.
    pub(super) fn number(&mut self, leaf: Leaf<'_>) -> Option<u64> {
        let text = leaf.into_text();
        let digits = text.as_bytes();
        // So long that it cannot be too large.
        if !matches!(digits.len(), 1..=19) || !digits.iter().all(u8::is_ascii_digit) {
            return text.trim().parse().ok();
        }
        Some((digits.iter()).fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
    }

    /// A storage class; `None` where the element is empty.
    pub(super) fn class(&mut self, leaf: Leaf<'_>) -> Option<Text> {
        Some(self.text(leaf)).filter(|class| !class.as_bytes().is_empty())
    }

    /// Undoes the percent encoding of a key or prefix of a listing, as [`crate::encoding::decode_listing`] does.
    pub(super) fn decode(&mut self, encoded: &mut Bytes) {
        if all_plain(encoded, |b| (b != b'%') & (b != b'+')) {
            return;
        }
        self.room(encoded.len());
        // A stray `%` is kept as it is, for stores that do not encode.
        match decode_into(encoded, &mut self.block) {
            Ok(()) => *encoded = self.block.split().freeze(),
            Err(_) => self.block.clear(),
        }
    }

    /// `text` of the document, without a copy.
    pub(super) fn share(&self, text: &[u8]) -> Bytes {
        self.document.slice_ref(text)
    }

    /// For [`Pull::usual`]: an ETag without its quotes.
    pub(super) fn usual_etag(&self, tag: &[u8]) -> Text {
        Text(self.share(tag))
    }

    /// For [`Pull::usual`]: a time as S3 writes it, or in whole seconds.
    pub(super) fn usual_time(&mut self, bytes: &[u8]) -> Option<(i64, usize)> {
        let len = if bytes.get(19) == Some(&b'Z') { 20 } else { 24 };
        Some((self.dates.usual(bytes.get(..len)?)?, len))
    }

    fn room(&mut self, len: usize) {
        if self.block.capacity() < len {
            self.block = BytesMut::with_capacity(len.max(Self::BLOCK));
        }
    }
}
