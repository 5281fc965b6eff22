//! Reading documents: a small tree, bounded before it is built.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

/// What a document may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the document.
    pub bytes: usize,
    /// Elements inside elements.
    pub depth: usize,
    /// Elements in all.
    pub elements: usize,
}

impl Limits {
    /// An error document or a short answer.
    pub const SMALL: Limits = Limits {
        bytes: 64 * 1024,
        depth: 16,
        elements: 512,
    };
    /// What clients send: `DeleteObjects` of 1,000 keys of 1,024 bytes where each byte may be a six-character
    /// reference, and `CompleteMultipartUpload` of 10,000 parts with nine elements each, both fit.
    pub const CLIENT: Limits = Limits {
        bytes: 8 * 1024 * 1024,
        depth: 12,
        elements: 100_000,
    };
    /// What stores send: pages of 1,000 entries with a dozen elements each, keys url-encoded.
    pub const STORE: Limits = Limits {
        bytes: 16 * 1024 * 1024,
        depth: 16,
        elements: 100_000,
    };
}

/// Why a document was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum XmlError {
    /// Not well-formed, with the parser's reason.
    Malformed(String),
    /// A document type definition: never needed, always a risk.
    Dtd,
    /// Past one of [`Limits`].
    TooLarge,
    /// Not UTF-8.
    Encoding,
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "not well-formed XML: {why}"),
            Self::Dtd => f.write_str("a document type definition is not allowed"),
            Self::TooLarge => f.write_str("the document is too large"),
            Self::Encoding => f.write_str("the document is not UTF-8"),
        }
    }
}

impl std::error::Error for XmlError {}

/// An element: its local name (namespaces are ignored), the text directly in it, and the elements in it.
#[derive(Clone, Debug)]
pub struct Element<'a> {
    name: Rc<str>,
    text: Cow<'a, str>,
    children: Vec<Element<'a>>,
}

impl<'a> Element<'a> {
    fn new(name: Rc<str>) -> Self {
        Self {
            name,
            text: Cow::Borrowed(""),
            children: Vec::new(),
        }
    }

    /// Parses a whole document and gives its root element.
    pub fn parse(document: &'a [u8], limits: &Limits) -> Result<Element<'a>, XmlError> {
        if document.len() > limits.bytes {
            return Err(XmlError::TooLarge);
        }
        let text = std::str::from_utf8(document).map_err(|_| XmlError::Encoding)?;
        // Stores send white space ahead of the document to keep a connection alive (S3-TRAPS 12).
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Element<'a>> = Vec::new();
        let mut names = Names::default();
        let mut root = None;
        let mut elements = 0;
        loop {
            let event = reader
                .read_event()
                .map_err(|e| XmlError::Malformed(e.to_string()))?;
            match event {
                Event::Start(start) => {
                    elements += 1;
                    if open.len() == limits.depth || elements > limits.elements {
                        return Err(XmlError::TooLarge);
                    }
                    if root.is_some() {
                        return Err(XmlError::Malformed("two root elements".into()));
                    }
                    open.push(Element::new(names.local(&start)));
                }
                Event::Empty(start) => {
                    elements += 1;
                    if open.len() == limits.depth || elements > limits.elements {
                        return Err(XmlError::TooLarge);
                    }
                    if root.is_some() {
                        return Err(XmlError::Malformed("two root elements".into()));
                    }
                    let element = Element::new(names.local(&start));
                    attach(element, &mut open, &mut root);
                }
                Event::End(_) => {
                    // The parser checks that names match, so there is one open.
                    let element = open
                        .pop()
                        .ok_or_else(|| XmlError::Malformed("unexpected end".into()))?;
                    attach(element, &mut open, &mut root);
                }
                Event::Text(text) => append(&mut open, text.into_inner())?,
                Event::CData(text) => append(&mut open, text.into_inner())?,
                Event::GeneralRef(reference) => {
                    let c = resolve(&reference)?;
                    append_char(&mut open, c)?;
                }
                Event::DocType(_) => return Err(XmlError::Dtd),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        if !open.is_empty() {
            return Err(XmlError::Malformed(
                "the document ends inside an element".into(),
            ));
        }
        root.ok_or_else(|| XmlError::Malformed("no root element".into()))
    }

    /// Local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Text directly inside.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first element of this name directly inside.
    pub fn child(&self, name: &str) -> Option<&Element<'a>> {
        self.children.iter().find(|c| &*c.name == name)
    }

    /// The elements in it, whatever their names.
    pub fn elements(&self) -> impl Iterator<Item = &Element<'a>> {
        self.children.iter()
    }

    /// All elements of this name directly inside.
    pub fn children<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Element<'a>> {
        self.children.iter().filter(move |c| &*c.name == name)
    }

    /// Text of the first element of this name directly inside.
    pub fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(Element::text)
    }

    /// Whether the first element of this name says `true`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.child_text(name)
            .is_some_and(|t| t.trim().eq_ignore_ascii_case("true"))
    }

    /// Number in the first element of this name.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.child_text(name)?.trim().parse().ok()
    }
}

fn attach<'a>(element: Element<'a>, open: &mut [Element<'a>], root: &mut Option<Element<'a>>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

fn append<'a>(open: &mut [Element<'a>], text: Cow<'a, str>) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) if element.text.is_empty() => element.text = text,
        Some(element) => element.text.to_mut().push_str(&text),
        None if text.trim().is_empty() => {}
        None => {
            return Err(XmlError::Malformed(
                "text outside of the root element".into(),
            ));
        }
    }
    Ok(())
}

/// The same of one character, as of the quotes around every ETag of a listing.
fn append_char(open: &mut [Element<'_>], c: char) -> Result<(), XmlError> {
    match open.last_mut() {
        Some(element) => {
            let text = element.text.to_mut();
            // Room for an ETag at once.
            text.reserve(40);
            text.push(c);
            Ok(())
        }
        None => append(open, Cow::Owned(c.to_string())),
    }
}

/// Names of elements seen, which a listing repeats thousands of times: each is kept once.
#[derive(Default)]
struct Names(Vec<Rc<str>>);

impl Names {
    /// More different names than any document of S3's has.
    const MAX: usize = 32;

    fn local(&mut self, start: &BytesStart<'_>) -> Rc<str> {
        let name = start.local_name();
        let name: &str = name.as_ref();
        if let Some(known) = self.0.iter().find(|known| &***known == name) {
            return Rc::clone(known);
        }
        let name = Rc::from(name);
        if self.0.len() < Self::MAX {
            self.0.push(Rc::clone(&name));
        }
        name
    }
}

/// The five entities of XML and character references; there are no others without a DTD.
fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    let unknown = || XmlError::Malformed("unknown entity".into());
    match &**reference {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => reference
            .resolve_char_ref()
            .map_err(|_| unknown())?
            .ok_or_else(unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Writer;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Element<'_>, XmlError> {
        Element::parse(
            text.as_bytes(),
            &Limits {
                bytes: 4096,
                depth: 4,
                elements: 8,
            },
        )
    }

    #[test]
    fn namespaces_entities_and_cdata() {
        let e = parse(
            "\u{feff}<?xml version='1.0'?><!-- c --><s3:A xmlns:s3='u' a='1'>\n <s3:K>a &lt;&#x1;&#13;<![CDATA[<&>]]></s3:K> <E/></s3:A> ",
        )
        .unwrap();
        assert_eq!(e.name(), "A");
        assert_eq!(e.child_text("K"), Some("a <\u{1}\r<&>"));
        assert_eq!(e.child_text("E"), Some(""));
    }

    #[test]
    fn refused_documents() {
        for bad in [
            "",
            " ",
            "x",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>x",
            "<a>&b;</a>",
            "<a>&#0;</a>",
            "<a>& </a>",
            "</a>",
            "<a><",
        ] {
            assert!(
                matches!(parse(bad), Err(XmlError::Malformed(_))),
                "{bad}: {:?}",
                parse(bad)
            );
        }
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bb\"><!ENTITY c SYSTEM \"file:///etc/passwd\">]><a>&b;&c;</a>";
        assert_eq!(parse(bomb).unwrap_err(), XmlError::Dtd);
        assert_eq!(
            parse("<a><a><a><a><a/></a></a></a></a>").unwrap_err(),
            XmlError::TooLarge
        );
        assert_eq!(
            parse(&format!("<a>{}</a>", "<b/>".repeat(8))).unwrap_err(),
            XmlError::TooLarge
        );
        assert_eq!(parse(&"x".repeat(4097)).unwrap_err(), XmlError::TooLarge);
        assert_eq!(
            Element::parse(b"<a>\xff</a>", &Limits::SMALL).unwrap_err(),
            XmlError::Encoding
        );
    }

    proptest! {
        #[test]
        fn any_text_survives(text in "\\PC*|[\u{1}-\u{7f}]{0,30}|(?s:.{0,30})") {
            let text = text.replace('\0', "");
            let mut w = Writer::document();
            w.root("R");
            w.text("K", &text);
            w.etag("E", &text);
            w.close("R");
            let document = w.finish();
            let root = Element::parse(&document, &Limits::SMALL).unwrap();
            prop_assert_eq!(root.child_text("K"), Some(text.as_str()));
            let quoted = format!("\"{text}\"");
            prop_assert_eq!(root.child_text("E"), Some(quoted.as_str()));
        }

        #[test]
        fn parsing_never_panics(text in "[<>/a&#;x1!\\[\\]CDATA?\" -]{0,60}", raw in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&text);
            let _ = Element::parse(&raw, &Limits::SMALL);
        }
    }
}
