//! The JSON encoding (KMIP 2.1, 9.2), and what Cosmian KMS leaves out of it: structures have no `type` there.

use std::borrow::Cow;
use std::io::Write as _;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::message::{Item, Tag, UNKNOWN, Value, enumeration_name, enumeration_value};

/// Room for a request: they are some 900 characters long. A growing buffer would leave copies of keys behind.
const REQUEST_ROOM: usize = 4096;

/// Encodes a request, all tags of which have names.
pub(super) fn encode(item: &Item) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(REQUEST_ROOM));
    write(item, &mut out);
    out
}

fn write(item: &Item, out: &mut Vec<u8>) {
    let (tag, kind) = (item.tag.name().unwrap_or_default(), kind(&item.value));
    // Writing into a vector does not fail.
    let _ = write!(out, "{{\"tag\":\"{tag}\",\"type\":\"{kind}\",\"value\":");
    let _ = match &item.value {
        Value::Structure(items) => {
            out.push(b'[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
            Ok(())
        }
        Value::Integer(value) => write!(out, "{value}"),
        Value::Enumeration(value) => match enumeration_name(item.tag, *value) {
            Some(name) => write!(out, "\"{name}\""),
            None => write!(out, "\"0x{value:08X}\""),
        },
        Value::Text(text) => serde_json::to_writer(&mut *out, text).map_err(Into::into),
        Value::Bytes(bytes) => {
            out.push(b'"');
            bytes
                .iter()
                .try_for_each(|byte| write!(out, "{byte:02X}"))
                .map(|()| out.push(b'"'))
        }
        Value::Other => write!(out, "null"),
    };
    out.push(b'}');
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Structure(_) => "Structure",
        Value::Integer(_) => "Integer",
        Value::Enumeration(_) => "Enumeration",
        Value::Text(_) => "TextString",
        Value::Bytes(_) => "ByteString",
        Value::Other => "Boolean",
    }
}

/// An item as it is written. Texts borrow from the input, so that no copy of a key is made on the way.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    tag: Cow<'a, str>,
    #[serde(borrow, rename = "type", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Content<'a>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    #[serde(borrow)]
    Items(Vec<Written<'a>>),
    Number(i64),
    // `&str`, not `Cow`: an untagged enumeration would copy.
    #[serde(borrow)]
    Borrowed(&'a str),
    Owned(String),
    Other(serde::de::IgnoredAny),
}

/// Decodes a whole message.
///
/// # Errors
/// What is wrong with it; never a part of it.
pub(super) fn decode(text: &[u8]) -> Result<Item, &'static str> {
    let written: Written<'_> =
        serde_json::from_slice(text).map_err(|_| "it is not KMIP in JSON")?;
    item(written)
}

fn item(written: Written<'_>) -> Result<Item, &'static str> {
    let tag = match number(&written.tag) {
        Some(code) => Some(Tag(code))
            .filter(|tag| tag.name().is_some())
            .unwrap_or(Tag::OTHER),
        None => Tag::named(&written.tag),
    };
    let kind = written.kind.as_deref();
    let value = match (kind, written.value) {
        (None | Some("Structure"), Content::Items(items)) => {
            let items: Result<Vec<_>, _> = items.into_iter().map(item).collect();
            Value::Structure(items?)
        }
        (Some("Integer"), Content::Number(value)) => {
            Value::Integer(i32::try_from(value).map_err(|_| "an Integer is out of range")?)
        }
        (Some("Enumeration"), content) => Value::Enumeration(match text(&content) {
            Some(name) => number(name).unwrap_or_else(|| enumeration_value(tag, name)),
            None => UNKNOWN,
        }),
        (Some("TextString"), content) => {
            Value::Text(text(&content).ok_or("a TextString is no text")?.to_owned())
        }
        (Some("ByteString"), content) => {
            let digits = text(&content).ok_or("a ByteString is no text")?;
            Value::Bytes(hex(digits).ok_or("a ByteString is not hexadecimal")?)
        }
        (Some("Structure"), _) => return Err("a Structure is no list"),
        (Some("Integer"), _) => return Err("an Integer is no number"),
        _ => Value::Other,
    };
    Ok(Item { tag, value })
}

fn text<'a>(content: &'a Content<'_>) -> Option<&'a str> {
    match content {
        Content::Borrowed(text) => Some(text),
        Content::Owned(text) => Some(text),
        _ => None,
    }
}

/// `0x` and up to eight hexadecimal digits.
fn number(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn hex(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.chunks_exact(2) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
    }
    Some(bytes)
}
