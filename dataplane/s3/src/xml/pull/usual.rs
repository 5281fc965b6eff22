//! The short way through what most stores write a thousand times in a page: tags that are known beforehand, in a known
//! order, around plain text. What is not of that form is left to be read by [`Pull`]'s other means.

use super::{Open, Pull, XmlError, text_len};

impl<'a> Pull<'a> {
    /// What `read` makes of the text of the next element, and how much text that is, where nothing but that stands
    /// between these tags. Otherwise nothing has been read, and [`Pull::field`] says what there is.
    #[inline(always)] // Tags that are known are compared by a few instructions.
    pub(crate) fn usual<T>(
        &mut self,
        (open, close): (&'static str, &'static str),
        read: impl FnOnce(&'a [u8]) -> Option<(T, usize)>,
    ) -> Option<T> {
        if self.empty
            || self.open.len() >= self.limits.depth
            || self.elements >= self.limits.elements
        {
            return None;
        }
        let bytes = &self.text.as_bytes()[self.at..];
        let inside = bytes.strip_prefix(open.as_bytes())?;
        let (value, len) = read(inside)?;
        if !inside.get(len..)?.starts_with(close.as_bytes()) {
            return None;
        }
        self.elements += 1;
        self.at += open.len() + len + close.len();
        Some(value)
    }

    /// Begins the next element as [`Pull::child`] does, where this is its tag. Otherwise nothing has been read.
    #[inline(always)]
    pub(crate) fn usual_start(&mut self, open: &'static str) -> Result<bool, XmlError> {
        if self.empty || !self.text.as_bytes()[self.at..].starts_with(open.as_bytes()) {
            return Ok(false);
        }
        self.begin(&open[1..open.len() - 1], true)?;
        self.at += open.len();
        Ok(true)
    }

    /// Ends the element that is open where this is the tag that comes next and does. Otherwise nothing has been read.
    #[inline(always)]
    pub(crate) fn usual_end(&mut self, close: &'static str) -> bool {
        let is_open = |open: &Open<'_>| open.name == &close[2..close.len() - 1];
        let ends = !self.empty
            && self.text.as_bytes()[self.at..].starts_with(close.as_bytes())
            && self.open.last().is_some_and(is_open);
        if ends {
            self.at += close.len();
            self.open.pop();
        }
        ends
    }
}

/// Text without references.
pub(crate) fn plain(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let len = text_len(bytes);
    Some((&bytes[..len], len))
}

/// The same between two quotes, which are references or stand there; without them.
pub(crate) fn quoted(bytes: &[u8]) -> Option<(&[u8], usize)> {
    if let Some(inside) = bytes.strip_prefix(b"\"") {
        let len = text_len(inside);
        return Some((inside[..len].strip_suffix(b"\"")?, 1 + len));
    }
    let quote: &[u8] = match bytes {
        [b'&', b'q', ..] => b"&quot;",
        _ => b"&#34;",
    };
    let inside = bytes.strip_prefix(quote)?;
    let tag = &inside[..text_len(inside)];
    let ends = inside[tag.len()..].starts_with(quote);
    ends.then(|| (tag, tag.len() + 2 * quote.len()))
}

/// A number that cannot be too large.
pub(crate) fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut n = 0;
    for (len, byte) in bytes.iter().enumerate().take(20) {
        match byte.wrapping_sub(b'0') {
            digit @ 0..=9 if len < 19 => n = n * 10 + u64::from(digit),
            _ if len == 0 => return None,
            _ => return Some((n, len)),
        }
    }
    None
}
