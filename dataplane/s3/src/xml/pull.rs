//! Reading documents event by event: nothing is copied and nothing kept, and every bound holds as it goes.
//!
//! What is well-formed is decided as leniently as by the library that read these documents before (`quick-xml`, which
//! the tests compare with): attributes are passed over unread, names may be anything.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr3_iter};

use super::{Limits, XmlError};

pub(super) mod usual;

/// Reads one document.
pub(crate) struct Pull<'a> {
    text: &'a str,
    /// What is before it has been read.
    at: usize,
    limits: Limits,
    elements: usize,
    open: Vec<Open<'a>>,
    /// The root element has begun.
    rooted: bool,
    /// The element that began last was `<empty/>` and has still to end.
    empty: bool,
}

/// An element that has begun.
struct Open<'a> {
    /// With its prefix.
    name: &'a str,
    /// Nothing of it is a quote, so that an end tag is found by comparing bytes.
    plain: bool,
}

/// What comes next in a document.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Event<'a> {
    /// An element of this local name begins; namespaces are ignored.
    Start(&'a str),
    /// The element that began last and has not ended ends.
    End,
    /// Some text, as it stands there or in CDATA.
    Text(&'a str),
    /// A character reference or entity.
    Char(char),
    /// The document ends.
    Eof,
}

/// The text directly in an element.
#[derive(Debug)]
pub(crate) enum Leaf<'a> {
    /// As it stands in the document.
    Plain(&'a str),
    /// As it stands in the document, with references, all of them good.
    Escaped(&'a str),
    /// Between two quotes, each of them such a reference.
    Quoted(&'a str),
    /// Joined from around comments, CDATA and elements.
    Joined(String),
}

/// Name of an element, and its text unless that is still to be read.
pub(crate) type Field<'a> = (&'a str, Option<Leaf<'a>>);

impl<'a> Leaf<'a> {
    /// The text itself, where it stands in the document if it can be.
    pub(crate) fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Escaped(raw) => {
                let mut text = String::with_capacity(raw.len());
                unescape(raw, |piece| text.push_str(piece));
                Cow::Owned(text)
            }
            Self::Quoted(inner) => Cow::Owned(["\"", inner, "\""].concat()),
            Self::Joined(text) => Cow::Owned(text),
        }
    }
}

impl<'a> Pull<'a> {
    pub(crate) fn new(document: &'a [u8], limits: &Limits) -> Result<Self, XmlError> {
        if document.len() > limits.bytes {
            return Err(XmlError::TooLarge);
        }
        let text = std::str::from_utf8(document).map_err(|_| XmlError::Encoding)?;
        // Stores send white space ahead of the document to keep a connection alive (S3-TRAPS 12).
        let text = text.trim_start_matches('\u{feff}').trim_start();
        Ok(Self {
            text: text.strip_prefix('\u{feff}').unwrap_or(text),
            at: 0,
            limits: *limits,
            elements: 0,
            open: Vec::with_capacity(limits.depth.min(16)),
            rooted: false,
            empty: false,
        })
    }

    /// The next event; [`Event::Eof`] for ever once the document has ended well.
    pub(crate) fn next(&mut self) -> Result<Event<'a>, XmlError> {
        if std::mem::take(&mut self.empty) {
            return Ok(Event::End);
        }
        loop {
            let event = match self.text.as_bytes().get(self.at) {
                None => return self.end_of_document(),
                Some(b'<') => match self.markup()? {
                    Some(event) => event,
                    None => continue,
                },
                Some(b'&') => {
                    let (c, len) = reference(&self.text[self.at..])?;
                    self.at += len;
                    Event::Char(c)
                }
                Some(_) => {
                    let rest = &self.text[self.at..];
                    let len = text_len(rest.as_bytes());
                    self.at += len;
                    Event::Text(&rest[..len])
                }
            };
            if !self.open.is_empty() || !self.is_outside(&event)? {
                return Ok(event);
            }
        }
    }

    /// The root element's name.
    pub(crate) fn root(&mut self) -> Result<&'a str, XmlError> {
        match self.next()? {
            Event::Start(name) => Ok(name),
            _ => Err(malformed("no root element")),
        }
    }

    /// Begins the next element directly inside the one that is open; `None` is the end of that. Text is passed over.
    pub(crate) fn child(&mut self) -> Result<Option<&'a str>, XmlError> {
        // The same as below for what nearly all documents are made of: tags that are names alone.
        if !self.empty {
            let rest = &self.text[self.at..];
            if rest.as_bytes().get(1) == Some(&b'/') {
                if let Some(end) = self.ends_at(self.at) {
                    self.at = end;
                    self.open.pop();
                    return Ok(None);
                }
            } else if let Some((name, len)) = usual_tag(rest) {
                self.begin(name, true)?;
                self.at += len;
                return Ok(Some(name));
            }
        }
        loop {
            match self.next()? {
                Event::Start(name) => return Ok(Some(name)),
                Event::End => return Ok(None),
                Event::Text(_) | Event::Char(_) => {}
                Event::Eof => return Err(malformed("unexpected end")),
            }
        }
    }

    /// As [`Pull::child`], of an element which likely holds text alone: then this has read it to its end, and has the text.
    pub(crate) fn field(&mut self) -> Result<Option<Field<'a>>, XmlError> {
        let rest = &self.text[self.at..];
        if !self.empty
            && self.open.len() < self.limits.depth
            && let Some((name, begin)) = usual_tag(rest)
        {
            let (leaf, len) = run(&rest[begin..])?;
            let end = rest.as_bytes()[begin + len..].strip_prefix(b"</");
            let end = end.and_then(|end| end.strip_prefix(name.as_bytes()));
            if end.is_some_and(|end| end.first() == Some(&b'>')) {
                self.elements += 1;
                if self.elements > self.limits.elements {
                    return Err(XmlError::TooLarge);
                }
                self.at += begin + len + 2 + name.len() + 1;
                return Ok(Some((name, Some(leaf))));
            }
        }
        Ok(self.child()?.map(|name| (name, None)))
    }

    /// The text of a [`Field`].
    pub(crate) fn text(&mut self, leaf: Option<Leaf<'a>>) -> Result<Leaf<'a>, XmlError> {
        match leaf {
            Some(leaf) => Ok(leaf),
            None => self.leaf(),
        }
    }

    /// The text directly in the element that has just begun, to its end. Elements in it are passed over.
    pub(crate) fn leaf(&mut self) -> Result<Leaf<'a>, XmlError> {
        if !self.empty {
            let (leaf, len) = run(&self.text[self.at..])?;
            if let Some(end) = self.ends_at(self.at + len) {
                self.at = end;
                self.open.pop();
                return Ok(leaf);
            }
        }
        let mut text = String::new();
        loop {
            match self.next()? {
                Event::Start(_) => self.skip()?,
                Event::End => return Ok(Leaf::Joined(text)),
                Event::Text(more) => text.push_str(more),
                Event::Char(c) => text.push(c),
                Event::Eof => return Err(malformed("unexpected end")),
            }
        }
    }

    /// Passes over the rest of the element that has just begun.
    pub(crate) fn skip(&mut self) -> Result<(), XmlError> {
        let mut depth = 1;
        while depth > 0 {
            match self.next()? {
                Event::Start(_) => depth += 1,
                Event::End => depth -= 1,
                Event::Text(_) | Event::Char(_) => {}
                Event::Eof => return Err(malformed("unexpected end")),
            }
        }
        Ok(())
    }

    /// Reads what is behind the root element, which must be nothing.
    pub(crate) fn finish(mut self) -> Result<(), XmlError> {
        match self.next()? {
            Event::Eof => Ok(()),
            _ => Err(malformed("unexpected end")),
        }
    }

    fn end_of_document(&self) -> Result<Event<'a>, XmlError> {
        match (self.open.is_empty(), self.rooted) {
            (true, true) => Ok(Event::Eof),
            (true, false) => Err(malformed("no root element")),
            (false, _) => Err(malformed("the document ends inside an element")),
        }
    }

    /// Whether this is text outside of the root element, where there may be white space only.
    fn is_outside(&self, event: &Event<'a>) -> Result<bool, XmlError> {
        let blank = match event {
            Event::Text(text) => text.trim().is_empty(),
            Event::Char(c) => c.is_whitespace(),
            _ => return Ok(false),
        };
        if blank {
            Ok(true)
        } else {
            Err(malformed("text outside of the root element"))
        }
    }

    /// Where the end tag at `at` of the element that is open ends, if there is one in its usual form.
    fn ends_at(&self, at: usize) -> Option<usize> {
        let open = self.open.last().filter(|open| open.plain)?;
        let rest = self.text.as_bytes().get(at..)?.strip_prefix(b"</")?;
        let rest = rest.strip_prefix(open.name.as_bytes())?;
        (rest.first() == Some(&b'>')).then(|| at + 2 + open.name.len() + 1)
    }

    /// Reads what begins with `<`; `None` is nothing of interest.
    fn markup(&mut self) -> Result<Option<Event<'a>>, XmlError> {
        if let Some(end) = self.ends_at(self.at) {
            self.at = end;
            self.open.pop();
            return Ok(Some(Event::End));
        }
        let rest = &self.text[self.at..];
        match rest.as_bytes().get(1) {
            Some(b'!') => self.bang(rest),
            Some(b'?') => {
                // `<?>` is none.
                let len = ended_by(rest, b"?", 2)?;
                if len == 3 {
                    return Err(malformed("a processing instruction does not end"));
                }
                self.at += len;
                Ok(None)
            }
            Some(b'/') => {
                let len = tag_len(rest)?;
                let name = &rest[2..len - 1];
                let trimmed = name.trim_end_matches(is_xml_space);
                // White space alone is kept, and then is nobody's name.
                let name = if trimmed.is_empty() { name } else { trimmed };
                match self.open.pop() {
                    Some(open) if open.name == name => {}
                    _ => return Err(malformed("an end tag without its start tag")),
                }
                self.at += len;
                Ok(Some(Event::End))
            }
            _ => self.start(rest).map(Some),
        }
    }

    fn start(&mut self, rest: &'a str) -> Result<Event<'a>, XmlError> {
        if let Some((name, len)) = usual_tag(rest) {
            self.begin(name, true)?;
            self.at += len;
            return Ok(Event::Start(name));
        }
        let len = tag_len(rest)?;
        let content = &rest[1..len - 1];
        let content = match content.strip_suffix('/') {
            Some(content) => {
                self.empty = true;
                content
            }
            None => content,
        };
        let name = content.split(is_xml_space).next().unwrap_or(content);
        self.begin(name, !name.contains(['\'', '"']))?;
        if self.empty {
            self.open.pop();
        }
        self.at += len;
        let local = name.split_once(':').map_or(name, |(_, local)| local);
        Ok(Event::Start(local))
    }

    /// Begins an element, whose name has its prefix.
    fn begin(&mut self, name: &'a str, plain: bool) -> Result<(), XmlError> {
        self.elements += 1;
        if self.open.len() == self.limits.depth || self.elements > self.limits.elements {
            return Err(XmlError::TooLarge);
        }
        if self.open.is_empty() && std::mem::replace(&mut self.rooted, true) {
            return Err(malformed("two root elements"));
        }
        self.open.push(Open { name, plain });
        Ok(())
    }

    /// Reads a comment, CDATA, or what must not be there.
    fn bang(&mut self, rest: &'a str) -> Result<Option<Event<'a>>, XmlError> {
        if rest.starts_with("<!--") {
            // `<!-->` and `<!--->` are none.
            self.at += ended_by(rest, b"--", 6)?;
            return Ok(None);
        }
        if let Some(content) = rest.strip_prefix("<![CDATA[") {
            let len = ended_by(content, b"]]", 0)?;
            self.at += rest.len() - content.len() + len;
            return Ok(Some(Event::Text(&content[..len - 3])));
        }
        Err(match rest.as_bytes().get(2) {
            Some(b'D' | b'd') => XmlError::Dtd,
            _ => malformed("unknown markup"),
        })
    }
}

fn malformed(why: &'static str) -> XmlError {
    XmlError::Malformed(why.into())
}

/// Every byte of a word.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The bytes of `word` that are below `than`, at most 128, by their highest bits; right up to the first of them.
const fn below(word: u64, than: u8) -> u64 {
    word.wrapping_sub(each(than)) & !word & each(0x80)
}

/// Eight bytes, the first of them lowest.
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

/// Bytes before the first `<` or `&`. A library's search is quicker only where they are many.
fn text_len(bytes: &[u8]) -> usize {
    let special = |b: u8| (b == b'<') | (b == b'&');
    let (blocks, _) = bytes.as_chunks::<16>();
    // All bytes of a block at once, as a compiler sees it.
    let clear = |block: &&[u8; 16]| !block.iter().fold(false, |any, b| any | special(*b));
    let mut at = blocks.iter().take_while(clear).count() * 16;
    while let Some(word) = word(bytes, at) {
        let found = below(word ^ each(b'<'), 1) | below(word ^ each(b'&'), 1);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(|b| special(*b));
    rest.map_or(bytes.len(), |n| at + n)
}

/// The name in `<name>` at the start of `text`, a name of letters alone or nearly so, and the length of that tag.
fn usual_tag(text: &str) -> Option<(&str, usize)> {
    let bytes = text.as_bytes();
    if bytes.first() != Some(&b'<') {
        return None;
    }
    let mut at = 1;
    loop {
        // White space, quotes, slashes and colons are all below the letters.
        let found = below(word(bytes, at)?, b'A');
        if found != 0 {
            at += found.trailing_zeros() as usize / 8;
            return (bytes[at] == b'>').then(|| (&text[1..at], at + 1));
        }
        at += 8;
    }
}

/// Length of what ends with this and a `>` at `from` or behind it.
fn ended_by(text: &str, end: &[u8], from: usize) -> Result<usize, XmlError> {
    let bytes = text.as_bytes();
    memchr_iter(b'>', bytes)
        .find(|i| *i >= from && bytes[..*i].ends_with(end))
        .map(|i| i + 1)
        .ok_or_else(|| malformed("markup does not end"))
}

/// Length of a tag, which no `>` between quotes ends.
fn tag_len(text: &str) -> Result<usize, XmlError> {
    let bytes = text.as_bytes();
    let mut quote = None;
    for i in memchr3_iter(b'>', b'\'', b'"', bytes) {
        match (quote, bytes[i]) {
            (None, b'>') => return Ok(i + 1),
            (None, q) => quote = Some(q),
            (Some(q), b) if q == b => quote = None,
            _ => {}
        }
    }
    Err(malformed("a tag does not end"))
}

/// The character that a reference at the start of `text` means, and the reference's length. There are the five entities
/// of XML and character references; no others without a DTD.
fn reference(text: &str) -> Result<(char, usize), XmlError> {
    let unknown = || malformed("unknown entity");
    let bytes = text.as_bytes();
    // Around every ETag of most stores.
    if bytes.starts_with(b"&quot;") {
        return Ok(('"', 6));
    }
    if bytes.starts_with(b"&#34;") {
        return Ok(('"', 5));
    }
    let end = bytes[1..].iter().position(|b| b";&<".contains(b));
    let end = match end {
        Some(i) if bytes[1 + i] == b';' => 1 + i,
        _ => return Err(malformed("a reference does not end")),
    };
    let c = match &bytes[1..end] {
        b"quot" => '"',
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"apos" => '\'',
        [b'#', number @ ..] => {
            let (digits, radix) = match number {
                [b'x', digits @ ..] => (digits, 16),
                digits => (digits, 10),
            };
            // No sign, which the number's own parser would allow.
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            let digits = Some(digits).filter(|d| !d.starts_with(['+', '-']));
            let code = digits.and_then(|d| u32::from_str_radix(d, radix).ok());
            code.filter(|code| *code != 0)
                .and_then(char::from_u32)
                .ok_or_else(unknown)?
        }
        _ => return Err(unknown()),
    };
    Ok((c, end + 1))
}

/// The text up to the next markup, and its length there.
fn run(text: &str) -> Result<(Leaf<'_>, usize), XmlError> {
    let bytes = text.as_bytes();
    let mut at = text_len(bytes);
    if bytes.get(at) != Some(&b'&') {
        return Ok((Leaf::Plain(&text[..at]), at));
    }
    // Around an ETag are two quotes, and there is no other reference.
    let (mut references, mut quotes, mut inner) = (0, 0, (0, 0));
    while bytes.get(at) == Some(&b'&') {
        let (c, len) = reference(&text[at..])?;
        references += 1;
        match (c, references) {
            ('"', 1) if at == 0 => (quotes, inner.0) = (1, len),
            ('"', 2) => (quotes, inner.1) = (quotes + 1, at),
            _ => {}
        }
        at += len;
        let more = text_len(&bytes[at..]);
        // Text behind the second.
        quotes -= i32::from(references == 2 && more > 0);
        at += more;
    }
    let leaf = if (references, quotes) == (2, 2) {
        Leaf::Quoted(&text[inner.0..inner.1])
    } else {
        Leaf::Escaped(&text[..at])
    };
    Ok((leaf, at))
}

/// The pieces of a text without markup, its references resolved: all of them are good.
pub(super) fn unescape(raw: &str, mut push: impl FnMut(&str)) {
    let mut rest = raw;
    while let Some(at) = memchr(b'&', rest.as_bytes()) {
        push(&rest[..at]);
        let Ok((c, len)) = reference(&rest[at..]) else {
            break;
        };
        push(c.encode_utf8(&mut [0; 4]));
        rest = &rest[at + len..];
    }
    push(rest);
}

fn is_xml_space(c: char) -> bool {
    matches!(c, ' ' | '\r' | '\n' | '\t')
}
