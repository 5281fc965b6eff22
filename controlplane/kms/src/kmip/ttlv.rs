//! The binary encoding (KMIP 2.1, 9.1): tag, 3 bytes; type, 1; length, 4; value, padded with zeros to 8.
//!
//! Decoding is strict where it matters (lengths, padding, nesting) and forgets what this provider does not need.

use zeroize::Zeroizing;

use super::message::{Item, Tag, Value};

/// Longest message, bytes: a wrapped KEK and its surroundings take some 300, all attributes of a key a few thousand.
pub(super) const MESSAGE_MAX: usize = 64 * 1024;
/// Bytes before a value.
pub(super) const HEADER_LEN: usize = 8;
/// Deepest nesting of structures; answers to these requests have 6.
const DEPTH_MAX: usize = 16;

const STRUCTURE: u8 = 1;
const INTEGER: u8 = 2;
const ENUMERATION: u8 = 5;
const TEXT: u8 = 7;
const BYTES: u8 = 8;
/// Types that nothing is read from: of 8 bytes, of 4, and of any length.
const LONG_INTEGER: u8 = 3;
const BOOLEAN: u8 = 6;
const DATE: u8 = 9;
const DATE_WITH_MICROSECONDS: u8 = 11;
const INTERVAL: u8 = 10;
const BIG_INTEGER: u8 = 4;

/// Encodes a message. [`Value::Other`] has no encoding and is left out: it never is in a request.
pub(super) fn encode(item: &Item) -> Zeroizing<Vec<u8>> {
    // Room for all of it at once: a growing buffer would leave copies of keys behind.
    let mut out = Zeroizing::new(Vec::with_capacity(encoded_len(item)));
    write(item, &mut out);
    out
}

fn value_len(item: &Item) -> usize {
    match &item.value {
        Value::Structure(items) => items.iter().map(encoded_len).sum(),
        Value::Integer(_) | Value::Enumeration(_) => 4,
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Other => 0,
    }
}

fn encoded_len(item: &Item) -> usize {
    match item.value {
        Value::Other => 0,
        _ => HEADER_LEN + value_len(item).next_multiple_of(8),
    }
}

fn write(item: &Item, out: &mut Vec<u8>) {
    let kind = match &item.value {
        Value::Structure(_) => STRUCTURE,
        Value::Integer(_) => INTEGER,
        Value::Enumeration(_) => ENUMERATION,
        Value::Text(_) => TEXT,
        Value::Bytes(_) => BYTES,
        Value::Other => return,
    };
    out.extend_from_slice(&item.tag.0.to_be_bytes()[1..]);
    out.push(kind);
    // Requests are far below 4 GiB.
    let len = value_len(item);
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    match &item.value {
        Value::Structure(items) => items.iter().for_each(|item| write(item, out)),
        Value::Integer(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Enumeration(value) => out.extend_from_slice(&value.to_be_bytes()),
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        Value::Bytes(bytes) => out.extend_from_slice(bytes),
        Value::Other => {}
    }
    out.resize(out.len() + (len.next_multiple_of(8) - len), 0);
}

/// Bytes that follow a message's first eight.
pub(super) fn body_len(header: &[u8; HEADER_LEN]) -> Result<usize, &'static str> {
    let (tag, kind, len) = split_header(header);
    if tag != Tag::RESPONSE_MESSAGE.0 || kind != STRUCTURE {
        return Err("it does not begin as a KMIP answer does");
    }
    if len > MESSAGE_MAX - HEADER_LEN {
        return Err("it is longer than 64 KiB");
    }
    Ok(len)
}

fn split_header(header: &[u8; HEADER_LEN]) -> (u32, u8, usize) {
    let [a, b, c, kind, d, e, f, g] = *header;
    let len = u32::from_be_bytes([d, e, f, g]);
    (u32::from_be_bytes([0, a, b, c]), kind, len as usize)
}

/// Decodes a whole message.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<Item, &'static str> {
    if bytes.len() > MESSAGE_MAX {
        return Err("it is longer than 64 KiB");
    }
    match take(bytes, 0)? {
        (item, []) => Ok(item),
        _ => Err("bytes follow the message"),
    }
}

/// One item off the front.
fn take(bytes: &[u8], depth: usize) -> Result<(Item, &[u8]), &'static str> {
    let (header, rest) = bytes
        .split_first_chunk::<HEADER_LEN>()
        .ok_or("an item is cut short")?;
    let (tag, kind, len) = split_header(header);
    let padded = len.next_multiple_of(8);
    let (value, rest) = rest
        .split_at_checked(padded)
        .ok_or("an item is longer than what is left")?;
    let (value, padding) = value.split_at(len);
    if padding.iter().any(|byte| *byte != 0) {
        return Err("padding is not zero");
    }
    let tag = Tag(tag);
    let tag = if tag.name().is_some() {
        tag
    } else {
        Tag::OTHER
    };
    let four = || <[u8; 4]>::try_from(value).map_err(|_| "a number is not 4 bytes long");
    let value = match kind {
        STRUCTURE => {
            if depth == DEPTH_MAX {
                return Err("it is nested too deeply");
            }
            Value::Structure(structure(value, depth + 1)?)
        }
        INTEGER => Value::Integer(i32::from_be_bytes(four()?)),
        ENUMERATION => Value::Enumeration(u32::from_be_bytes(four()?)),
        TEXT => {
            let text = std::str::from_utf8(value).map_err(|_| "a text is not UTF-8")?;
            Value::Text(text.to_owned())
        }
        BYTES => Value::Bytes(Zeroizing::new(value.to_vec())),
        INTERVAL => four().map(|_| Value::Other)?,
        BIG_INTEGER => Value::Other,
        LONG_INTEGER | BOOLEAN | DATE | DATE_WITH_MICROSECONDS if value.len() == 8 => Value::Other,
        LONG_INTEGER | BOOLEAN | DATE | DATE_WITH_MICROSECONDS => {
            return Err("a long number is not 8 bytes long");
        }
        _ => return Err("an item is of an unknown type"),
    };
    Ok((Item { tag, value }, rest))
}

fn structure(mut bytes: &[u8], depth: usize) -> Result<Vec<Item>, &'static str> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let (item, rest) = take(bytes, depth)?;
        items.push(item);
        bytes = rest;
    }
    Ok(items)
}
