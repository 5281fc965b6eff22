//! `multipart/form-data` (RFC 7578) as browsers send it to S3: small fields, then one file of any size.
//!
//! The parser reads up to the file's first byte and no further; the file itself is never held.

use memchr::memmem;

use crate::error::{ErrorCode, S3Error};

/// Most bytes of names and values before the file (S3's own limit).
pub const MAX_FIELDS: usize = 20 << 10;
/// Most bytes before the file with all part headers and boundaries.
pub const MAX_PREFACE: usize = 64 << 10;
/// Longest boundary (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;

fn malformed(why: &'static str) -> S3Error {
    S3Error::with_message(
        ErrorCode::MalformedPOSTRequest,
        format!("The body of your POST request is not well-formed multipart/form-data: {why}."),
    )
}

/// The boundary that a `Content-Type` names.
pub fn boundary(content_type: &[u8]) -> Result<Vec<u8>, S3Error> {
    let text = std::str::from_utf8(content_type)
        .map_err(|_| malformed("the Content-Type is not ASCII"))?;
    let value = parameters(text).find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let fine = |b: &String| {
        !b.is_empty()
            && b.len() <= MAX_BOUNDARY
            && !b.ends_with(' ')
            && b.bytes().all(|c| c == b' ' || c.is_ascii_graphic())
    };
    value
        .map(|(_, boundary)| boundary)
        .filter(fine)
        .map(String::into_bytes)
        .ok_or_else(|| malformed("the Content-Type has no valid boundary"))
}

/// The parameters behind a header's first word: `; name=value`, `; name="value"`.
///
/// In quotes only `\"` is an escape: browsers percent-encode quotes, and old ones send `C:\dir\file` as it is.
fn parameters(text: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = text.split_once(';').map_or("", |(_, rest)| rest);
    std::iter::from_fn(move || {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_matches([' ', '\t', ';']);
        let after = after.trim_start();
        let Some(quoted) = after.strip_prefix('"') else {
            let (value, next) = after.split_once(';').unwrap_or((after, ""));
            rest = next;
            return Some((name, value.trim().to_owned()));
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices().peekable();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    rest = &quoted[at + 1..];
                    return Some((name, value));
                }
                '\\' if characters.next_if(|(_, c)| *c == '"').is_some() => value.push('"'),
                c => value.push(c),
            }
        }
        None
    })
}

/// What the parser has come to.
#[derive(Debug, Eq, PartialEq)]
pub enum Step {
    /// It needs more bytes.
    More,
    /// The file begins behind the bytes that were used; its name as the client gave it.
    File(String),
}

enum State {
    Start,
    /// Behind a delimiter.
    Boundary,
    Headers,
    Value(String),
    Done,
}

/// Reads a form up to its file.
pub struct Parser {
    /// CRLF, two hyphens, boundary.
    delimiter: Vec<u8>,
    /// Bytes that are not understood yet.
    buffer: Vec<u8>,
    /// How far of them has been searched in vain.
    searched: usize,
    state: State,
    fields: Vec<(String, String)>,
    field_bytes: usize,
    total: usize,
}

impl Parser {
    /// A parser for this boundary.
    pub fn new(boundary: &[u8]) -> Self {
        Self {
            delimiter: [b"\r\n--", boundary].concat(),
            // The first delimiter has no line before it; this makes it like the others.
            buffer: b"\r\n".to_vec(),
            searched: 0,
            state: State::Start,
            fields: Vec::new(),
            field_bytes: 0,
            total: 0,
        }
    }

    /// Takes bytes of the body: how many of them were used, and what came of it. Behind [`Step::File`] the rest is the
    /// file's.
    ///
    /// Errors: `MalformedPOSTRequest`, `MaxPostPreDataLengthExceededError`, `InvalidArgument` for a form without a file.
    pub fn push(&mut self, data: &[u8]) -> Result<(usize, Step), S3Error> {
        // What belongs to the file is given back, and does not count.
        let room = MAX_PREFACE - self.total;
        let taken = data.len().min(room);
        self.buffer.extend_from_slice(&data[..taken]);
        let file = self.advance()?;
        let used = match &file {
            Some(_) => taken - self.buffer.len(),
            None => taken,
        };
        self.total += used;
        match file {
            Some(name) => {
                self.buffer.clear();
                self.state = State::Done;
                Ok((used, Step::File(name)))
            }
            None if self.total >= MAX_PREFACE => Err(too_large()),
            None => Ok((used, Step::More)),
        }
    }

    /// The fields before the file, in order.
    pub fn into_fields(self) -> Vec<(String, String)> {
        self.fields
    }

    /// Finds `needle` in the buffer without looking at anything twice.
    fn find(&mut self, needle: &[u8]) -> Option<usize> {
        let from = self.searched.min(self.buffer.len());
        let found = memmem::find(&self.buffer[from..], needle);
        match found {
            Some(at) => {
                self.searched = 0;
                Some(from + at)
            }
            None => {
                self.searched = (self.buffer.len() + 1)
                    .saturating_sub(needle.len())
                    .max(self.searched);
                None
            }
        }
    }

    fn consume(&mut self, n: usize) {
        self.buffer.drain(..n);
        self.searched = 0;
    }

    /// As far as the buffer goes; a file's name when its first byte is reached.
    fn advance(&mut self) -> Result<Option<String>, S3Error> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Start => {
                    let len = self.delimiter.len();
                    // Some clients put an empty line first.
                    if self.buffer.len() == 3 && self.buffer[2] == b'\r' {
                        self.state = State::Start;
                        return Ok(None);
                    }
                    let skip = if self.buffer.starts_with(b"\r\n\r\n") {
                        2
                    } else {
                        0
                    };
                    let have = &self.buffer[skip..];
                    let known = have.len().min(len);
                    if have[..known] != self.delimiter[..known] {
                        return Err(malformed("it does not begin with the boundary"));
                    }
                    if known < len {
                        self.state = State::Start;
                        return Ok(None);
                    }
                    self.consume(skip + len);
                    self.state = State::Boundary;
                }
                State::Boundary => {
                    let blank = |b: &&u8| matches!(b, b' ' | b'\t');
                    let blanks = self.buffer.iter().take_while(blank).count();
                    let rest = &self.buffer[blanks..];
                    if rest.len() < 2 {
                        self.state = State::Boundary;
                        return Ok(None);
                    }
                    match &rest[..2] {
                        // The CRLF stays: an empty set of headers ends at once.
                        b"\r\n" => self.consume(blanks),
                        b"--" if blanks == 0 => return Err(no_file()),
                        _ => return Err(malformed("a boundary is followed by other characters")),
                    }
                    self.state = State::Headers;
                }
                State::Headers => {
                    let Some(end) = self.find(b"\r\n\r\n") else {
                        self.state = State::Headers;
                        return Ok(None);
                    };
                    let (name, filename) = disposition(&self.buffer[..end])?;
                    self.consume(end + 4);
                    if name.eq_ignore_ascii_case("file") {
                        return Ok(Some(filename.unwrap_or_default()));
                    }
                    self.count(name.len())?;
                    self.state = State::Value(name);
                }
                State::Value(name) => {
                    let delimiter = std::mem::take(&mut self.delimiter);
                    let end = self.find(&delimiter);
                    self.delimiter = delimiter;
                    let Some(end) = end else {
                        if self.field_bytes + self.searched > MAX_FIELDS {
                            return Err(too_large());
                        }
                        self.state = State::Value(name);
                        return Ok(None);
                    };
                    self.count(end)?;
                    let value = std::str::from_utf8(&self.buffer[..end])
                        .map_err(|_| malformed("a field's value is not UTF-8"))?
                        .to_owned();
                    self.fields.push((name, value));
                    self.consume(end + self.delimiter.len());
                    self.state = State::Boundary;
                }
                State::Done => return Ok(None),
            }
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), S3Error> {
        self.field_bytes += bytes;
        if self.field_bytes > MAX_FIELDS {
            return Err(too_large());
        }
        Ok(())
    }
}

fn too_large() -> S3Error {
    S3Error::new(ErrorCode::MaxPostPreDataLengthExceededError)
        .detail("MaxPostPreDataLength", MAX_FIELDS.to_string())
}

fn no_file() -> S3Error {
    S3Error::invalid_argument(
        "POST requires exactly one file upload per request.",
        "file",
        "0",
    )
}

/// Name and file name of a part, by its headers (each behind a CRLF).
fn disposition(block: &[u8]) -> Result<(String, Option<String>), S3Error> {
    let text =
        std::str::from_utf8(block).map_err(|_| malformed("a part's headers are not UTF-8"))?;
    let mut found = None;
    for line in text.split("\r\n").filter(|l| !l.is_empty()) {
        let (header, value) = line
            .split_once(':')
            .ok_or_else(|| malformed("a part's header has no colon"))?;
        let value = value.trim();
        if header.eq_ignore_ascii_case("content-transfer-encoding") {
            let plain = ["binary", "8bit", "7bit"];
            if !plain.iter().any(|p| value.eq_ignore_ascii_case(p)) {
                return Err(malformed("a part has a Content-Transfer-Encoding"));
            }
        }
        if !header.eq_ignore_ascii_case("content-disposition") {
            continue;
        }
        let kind = value.split(';').next().unwrap_or("").trim();
        if !kind.eq_ignore_ascii_case("form-data") || found.is_some() {
            return Err(malformed("a part is no form-data"));
        }
        let (mut name, mut filename) = (None, None);
        for (key, value) in parameters(value) {
            match key.to_ascii_lowercase().as_str() {
                "name" if name.is_none() => name = Some(value),
                "filename" if filename.is_none() => filename = Some(value),
                _ => {}
            }
        }
        found = Some((name, filename));
    }
    match found {
        Some((Some(name), filename)) if !name.is_empty() => Ok((name, filename)),
        _ => Err(malformed("a part has no name")),
    }
}

/// Where a file ends that a form is expected to end with, and what is behind it.
pub struct Ending {
    /// CRLF, two hyphens, boundary.
    delimiter: memmem::Finder<'static>,
}

impl Ending {
    /// For this boundary.
    pub fn new(boundary: &[u8]) -> Self {
        let delimiter = [b"\r\n--", boundary].concat();
        Self {
            delimiter: memmem::Finder::new(&delimiter).into_owned(),
        }
    }

    /// The closing delimiter with its last CRLF, as every browser sends it.
    pub fn standard(&self) -> Vec<u8> {
        [self.delimiter.needle(), b"--\r\n"].concat()
    }

    /// Length of the file at the beginning of `rest`, which is all that is left of the form. Fields behind the file are
    /// ignored, as S3 ignores them.
    pub fn file_len(&self, rest: &[u8]) -> Result<usize, S3Error> {
        let unclosed = || malformed("the closing boundary is missing");
        let end = self.delimiter.find(rest).ok_or_else(unclosed)?;
        let closing = [self.delimiter.needle(), b"--"].concat();
        memmem::find(&rest[end..], &closing).ok_or_else(unclosed)?;
        Ok(end)
    }
}

/// Looks for a delimiter in a file that is read in pieces.
pub struct Scan {
    ending: Ending,
    /// The last bytes of what was seen, fewer than a delimiter has.
    carry: Vec<u8>,
}

impl Scan {
    /// A scan for this boundary.
    pub fn new(ending: Ending) -> Self {
        Self {
            ending,
            carry: Vec::new(),
        }
    }

    /// Whether the file so far, with this piece, holds a delimiter.
    pub fn found_in(&mut self, piece: &[u8]) -> bool {
        let needle = self.ending.delimiter.needle().len();
        if self.ending.delimiter.find(piece).is_some() {
            return true;
        }
        let head = piece.len().min(needle - 1);
        self.carry.extend_from_slice(&piece[..head]);
        if self.ending.delimiter.find(&self.carry).is_some() {
            return true;
        }
        if piece.len() >= needle {
            self.carry.clear();
            self.carry
                .extend_from_slice(&piece[piece.len() - (needle - 1)..]);
        } else {
            let surplus = self.carry.len().saturating_sub(needle - 1);
            self.carry.drain(..surplus);
        }
        false
    }

    /// The end that the form was expected to have, compared with what came behind the file.
    pub fn check_end(&self, end: &[u8]) -> Result<(), S3Error> {
        if end == self.ending.standard() {
            return Ok(());
        }
        Err(not_last())
    }
}

/// A file too large to be held has to be the form's end, for its length to be known.
pub fn not_last() -> S3Error {
    malformed(
        "in a form with more than 1 MiB from its file on, the file must be the last field, and the closing boundary must end the \
         body with CRLF",
    )
}

#[cfg(test)]
mod tests;
