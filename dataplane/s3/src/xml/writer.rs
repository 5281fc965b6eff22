//! Writing documents.

use std::io::Write as _;

use crate::encoding::{all_plain, encode_key};
use crate::time::DateWriter;

/// Builds one document, without indentation, as S3 does.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    dates: DateWriter,
}

impl Writer {
    /// A document that begins with the XML declaration.
    pub fn document() -> Self {
        Self::document_of(512)
    }

    /// The same, with room for so many bytes.
    pub fn document_of(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let dates = DateWriter::default();
        Self { out, dates }
    }

    /// A document without the XML declaration, for when that was sent before.
    pub fn fragment() -> Self {
        Self {
            out: Vec::with_capacity(512),
            dates: DateWriter::default(),
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

    /// Tags, as they are.
    pub(super) fn markup(&mut self, tags: &'static str) {
        self.out.extend_from_slice(tags.as_bytes());
    }

    /// Text inside the element that is open.
    pub fn content(&mut self, text: &str) {
        escape(text.as_bytes(), &mut self.out);
    }

    /// The same of bytes; what is not UTF-8 of them is replaced.
    pub(super) fn bytes_content(&mut self, text: &[u8]) {
        escape(text, &mut self.out);
    }

    /// Bytes inside the element that is open, percent-encoded; then none of it needs XML's own escapes.
    pub(super) fn percent_encoded_content(&mut self, bytes: &[u8]) {
        encode_key(bytes, &mut self.out);
    }

    /// A number inside the element that is open.
    pub(super) fn number_content(&mut self, n: u64) {
        self.out
            .extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    }

    /// A time inside the element that is open, given in milliseconds since the epoch.
    pub(super) fn time_content(&mut self, unix_millis: i64) {
        self.out.extend_from_slice(&self.dates.write(unix_millis));
    }

    /// An element that holds text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        self.content(text);
        self.close(name);
    }

    /// An element that holds a number.
    pub fn number(&mut self, name: &str, n: u64) {
        self.open(name);
        self.number_content(n);
        self.close(name);
    }

    /// An element that holds a time, given in milliseconds since the epoch.
    pub fn time(&mut self, name: &str, unix_millis: i64) {
        self.open(name);
        self.time_content(unix_millis);
        self.close(name);
    }

    /// An element that holds `true` or `false`.
    pub fn boolean(&mut self, name: &str, value: bool) {
        self.text(name, if value { "true" } else { "false" });
    }

    /// An element that holds an ETag, which is quoted.
    pub fn etag(&mut self, name: &str, etag: &str) {
        self.open(name);
        self.markup("&quot;");
        self.content(etag);
        self.markup("&quot;");
        self.close(name);
    }

    /// The document.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Escapes text. Control characters become numeric references, as S3 writes them, so that keys survive; the reader of
/// an XML 1.0 document would otherwise also turn a carriage return into a line feed.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    // Most text needs nothing.
    if all_plain(text, is_plain) {
        return out.extend_from_slice(text);
    }
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| !is_plain(*b)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let ascii = special.iter().position(u8::is_ascii);
        let (run, after) = special.split_at(ascii.unwrap_or(special.len()));
        if run.is_empty() {
            escape_char(char::from(special[0]), out);
            rest = &special[1..];
        } else {
            let run = String::from_utf8_lossy(run);
            run.chars().for_each(|c| escape_char(c, out));
            rest = after;
        }
    }
    out.extend_from_slice(rest);
}

fn escape_char(c: char, out: &mut Vec<u8>) {
    match c {
        '&' => out.extend_from_slice(b"&amp;"),
        '<' => out.extend_from_slice(b"&lt;"),
        '>' => out.extend_from_slice(b"&gt;"),
        '"' => out.extend_from_slice(b"&quot;"),
        '\t' | '\n' => out.push(c as u8),
        // U+FFFE and U+FFFF are not XML characters either.
        c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
            // Writing to a vector cannot fail.
            let _ = write!(out, "&#x{:x};", u32::from(c));
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// The bytes that stand for themselves whatever follows: printable ASCII but markup, tab and line feed.
fn is_plain(byte: u8) -> bool {
    let printable = byte.wrapping_sub(b' ') < 0x7f - b' ';
    let markup = (byte == b'&') | (byte == b'<') | (byte == b'>') | (byte == b'"');
    (printable & !markup) | (byte == b'\t') | (byte == b'\n')
}
