//! Reading documents: a small tree, bounded before it is built.

use std::borrow::Cow;
use std::fmt;

use super::pull::{Event, Pull};

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
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Element<'a> {
    name: &'a str,
    text: Cow<'a, str>,
    children: Vec<Element<'a>>,
}

impl<'a> Element<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            text: Cow::Borrowed(""),
            children: Vec::new(),
        }
    }

    /// Parses a whole document and gives its root element.
    pub fn parse(document: &'a [u8], limits: &Limits) -> Result<Element<'a>, XmlError> {
        let mut reader = Pull::new(document, limits)?;
        let mut current = Element::new(reader.root()?);
        // The elements around it: the reader bounds how many.
        let mut open: Vec<Element<'a>> = Vec::new();
        loop {
            match reader.next()? {
                Event::Start(name) => {
                    open.push(std::mem::replace(&mut current, Element::new(name)))
                }
                Event::End => match open.pop() {
                    Some(parent) => {
                        let child = std::mem::replace(&mut current, parent);
                        current.children.push(child);
                    }
                    None => break,
                },
                Event::Text(text) if current.text.is_empty() => current.text = Cow::Borrowed(text),
                Event::Text(text) => current.text.to_mut().push_str(text),
                Event::Char(c) => {
                    let text = current.text.to_mut();
                    // Room for an ETag at once.
                    text.reserve(40);
                    text.push(c);
                }
                Event::Eof => break,
            }
        }
        reader.finish()?;
        Ok(current)
    }

    /// Local name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Text directly inside.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first element of this name directly inside.
    pub fn child(&self, name: &str) -> Option<&Element<'a>> {
        self.children.iter().find(|c| c.name == name)
    }

    /// The elements in it, whatever their names.
    pub fn elements(&self) -> impl Iterator<Item = &Element<'a>> {
        self.children.iter()
    }

    /// All elements of this name directly inside.
    pub fn children<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Element<'a>> {
        self.children.iter().filter(move |c| c.name == name)
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
