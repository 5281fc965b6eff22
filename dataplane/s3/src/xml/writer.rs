//! Writing documents.

use std::io::Write as _;

use crate::encoding::encode_key;

/// Builds one document, without indentation, as S3 does.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// A document that begins with the XML declaration.
    pub fn document() -> Self {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Self { out }
    }

    /// A document without the XML declaration, for when that was sent before.
    pub fn fragment() -> Self {
        Self {
            out: Vec::with_capacity(512),
        }
    }

    /// Opens the root element, with S3's namespace.
    pub fn root(&mut self, name: &str) {
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b" xmlns=\"");
        self.out.extend_from_slice(super::NAMESPACE.as_bytes());
        self.out.extend_from_slice(b"\">");
    }

    /// Opens an element.
    pub fn open(&mut self, name: &str) {
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    /// Closes an element.
    pub fn close(&mut self, name: &str) {
        self.out.extend_from_slice(b"</");
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b'>');
    }

    /// Text inside the element that is open.
    pub fn content(&mut self, text: &str) {
        escape(text, &mut self.out);
    }

    /// An element that holds text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape(text, &mut self.out);
        self.close(name);
    }

    /// An element that holds what is percent-encoded there; none of it needs XML's own escapes.
    pub fn percent_encoded(&mut self, name: &str, bytes: &[u8]) {
        self.open(name);
        encode_key(bytes, &mut self.out);
        self.close(name);
    }

    /// An element that holds a number.
    pub fn number(&mut self, name: &str, n: u64) {
        self.open(name);
        // Writing to a vector cannot fail.
        let _ = write!(self.out, "{n}");
        self.close(name);
    }

    /// An element that holds `true` or `false`.
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.text(name, if value { "true" } else { "false" });
    }

    /// An element that holds an ETag, which is quoted.
    pub fn etag(&mut self, name: &str, etag: &str) {
        self.open(name);
        self.out.extend_from_slice(b"&quot;");
        escape(etag, &mut self.out);
        self.out.extend_from_slice(b"&quot;");
        self.close(name);
    }

    /// The document.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Escapes text. Control characters become numeric references, as S3 writes them, so that keys survive; the reader of
/// an XML 1.0 document would otherwise also turn a carriage return into a line feed.
fn escape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    // Most text needs nothing: it goes out in runs.
    while let Some(at) = rest.bytes().position(|b| !PLAIN[usize::from(b)]) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut chars = special.chars();
        match chars.next() {
            Some('&') => out.extend_from_slice(b"&amp;"),
            Some('<') => out.extend_from_slice(b"&lt;"),
            Some('>') => out.extend_from_slice(b"&gt;"),
            Some('"') => out.extend_from_slice(b"&quot;"),
            // U+FFFE and U+FFFF are not XML characters either.
            Some(c) if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "&#x{:x};", u32::from(c));
            }
            Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => {}
        }
        rest = chars.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
}

/// The bytes that stand for themselves whatever follows: printable ASCII but markup, tab and line feed.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7f {
        plain[byte] = !matches!(byte as u8, b'&' | b'<' | b'>' | b'"');
        byte += 1;
    }
    plain[b'\t' as usize] = true;
    plain[b'\n' as usize] = true;
    plain
};
