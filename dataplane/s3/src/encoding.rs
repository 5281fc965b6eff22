//! Percent encoding: URIs (RFC 3986 §2.3), SigV4's canonical form, and `encoding-type=url` of listings.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";
const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";

/// Bytes that stand for themselves: RFC 3986 unreserved.
const UNRESERVED: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        table[i] = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        i += 1;
    }
    table
};

/// Value of one hexadecimal digit of either case.
pub(crate) const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Appends one byte of a query name or value: everything but unreserved characters is encoded.
fn push(byte: u8, keep_slash: bool, out: &mut Vec<u8>) {
    if UNRESERVED[usize::from(byte)] || (keep_slash && byte == b'/') {
        out.push(byte);
    } else {
        out.extend_from_slice(&[
            b'%',
            HEX_UPPER[usize::from(byte >> 4)],
            HEX_UPPER[usize::from(byte & 15)],
        ]);
    }
}

/// Whether nothing of a path needs encoding.
fn is_canonical(path: &[u8]) -> bool {
    // From `-` to `9` are `-`, `.`, `/` and the digits.
    let plain = |b: u8| {
        ((b | 0x20).wrapping_sub(b'a') < 26)
            | (b.wrapping_sub(b'-') < 13)
            | (b == b'_')
            | (b == b'~')
    };
    all_plain(path, plain)
}

/// Whether all bytes are `plain`, by blocks, so that a compiler looks at all bytes of one at once.
pub(crate) fn all_plain(text: &[u8], plain: impl Fn(u8) -> bool) -> bool {
    let good = |block: &[u8]| block.iter().fold(true, |all, b| all & plain(*b));
    let (blocks, rest) = text.as_chunks::<16>();
    if !blocks.iter().all(|block| good(block)) {
        return false;
    }
    // Some of it once more, rather than byte by byte.
    match (text.last_chunk::<16>(), text.first_chunk::<8>()) {
        (Some(last), _) => rest.is_empty() || good(last),
        (None, Some(first)) => good(first) & text.last_chunk::<8>().is_some_and(|last| good(last)),
        (None, None) => rest.iter().all(|b| plain(*b)),
    }
}

/// Appends a key in canonical URI encoding: unreserved characters and `/` stand for themselves.
pub fn encode_key(key: &[u8], out: &mut Vec<u8>) {
    if is_canonical(key) {
        return out.extend_from_slice(key);
    }
    out.reserve(key.len() + key.len() / 2);
    key.iter().for_each(|b| push(*b, true, out));
}

/// Appends a query name or value in canonical encoding: `/` is encoded too.
pub fn encode_query(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len());
    text.iter().for_each(|b| push(*b, false, out));
}

/// `encoding-type=url` of listings. Space becomes `%20`, which clients that decode `+` and those that do not
/// both read rightly.
pub fn encode_listing(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len() + 8);
    encode_key(text, &mut out);
    String::from_utf8(out).expect("percent encoding is ASCII")
}

/// Why percent encoding could not be undone: a `%` without two hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadEscape;

/// One decoded byte and the rest of `text`.
pub(crate) fn next_byte(text: &[u8], plus_is_space: bool) -> Result<(u8, &[u8]), BadEscape> {
    match text {
        [b'%', rest @ ..] => match rest {
            [high, low, rest @ ..] => match (hex_value(*high), hex_value(*low)) {
                (Some(h), Some(l)) => Ok((h << 4 | l, rest)),
                _ => Err(BadEscape),
            },
            _ => Err(BadEscape),
        },
        [b'+', rest @ ..] if plus_is_space => Ok((b' ', rest)),
        [byte, rest @ ..] => Ok((*byte, rest)),
        [] => Err(BadEscape),
    }
}

/// Undoes percent encoding; borrowed where there is nothing to undo. In a path `+` is a plus, in a query a space.
pub fn decode(text: &[u8], plus_is_space: bool) -> Result<Cow<'_, [u8]>, BadEscape> {
    let plain = text
        .iter()
        .position(|b| *b == b'%' || (plus_is_space && *b == b'+'));
    let Some(plain) = plain else {
        return Ok(Cow::Borrowed(text));
    };
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..plain]);
    let mut rest = &text[plain..];
    while !rest.is_empty() {
        let (byte, tail) = next_byte(rest, plus_is_space)?;
        out.push(byte);
        rest = tail;
    }
    Ok(Cow::Owned(out))
}

/// Decodes a key or prefix of a store's listing that was asked for with `encoding-type=url`. A stray `%` is kept as it
/// is, for stores that do not encode.
pub fn decode_listing(text: &str) -> Bytes {
    match decode(text.as_bytes(), true) {
        Ok(Cow::Owned(decoded)) => Bytes::from(decoded),
        Ok(Cow::Borrowed(same)) => Bytes::copy_from_slice(same),
        Err(BadEscape) => Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// Undoes the percent encoding of a listing's key or prefix into `out`.
pub(crate) fn decode_into(text: &[u8], out: &mut BytesMut) -> Result<(), BadEscape> {
    let mut rest = text;
    while let Some(at) = memchr2(b'%', b'+', rest) {
        out.extend_from_slice(&rest[..at]);
        let (byte, tail) = next_byte(&rest[at..], true)?;
        out.extend_from_slice(&[byte]);
        rest = tail;
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Appends the canonical form of a raw path: each segment decoded once and encoded once, which leaves `//` and dots
/// alone (S3 differs from the other AWS services here).
pub(crate) fn recode_path(path: &[u8], out: &mut Vec<u8>) -> Result<(), BadEscape> {
    if is_canonical(path) {
        out.extend_from_slice(path);
        return Ok(());
    }
    let mut rest = path;
    while !rest.is_empty() {
        let (byte, tail) = next_byte(rest, false)?;
        push(byte, true, out);
        rest = tail;
    }
    Ok(())
}

/// Appends the canonical form of a raw query name or value.
pub(crate) fn recode_query(text: &[u8], out: &mut Vec<u8>) -> Result<(), BadEscape> {
    let mut rest = text;
    while !rest.is_empty() {
        let (byte, tail) = next_byte(rest, true)?;
        push(byte, false, out);
        rest = tail;
    }
    Ok(())
}

/// Appends lower-case hexadecimal.
pub(crate) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for b in bytes {
        out.extend_from_slice(&[
            HEX_LOWER[usize::from(b >> 4)],
            HEX_LOWER[usize::from(b & 15)],
        ]);
    }
}

/// Reads exactly 64 hexadecimal digits of either case: a SHA-256 or HMAC value.
pub(crate) fn hex32(text: &[u8]) -> Option<[u8; 32]> {
    let text: &[u8; 64] = text.try_into().ok()?;
    let mut out = [0; 32];
    for (o, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *o = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(k: &[u8]) -> String {
        let mut out = Vec::new();
        encode_key(k, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn canonical_encoding() {
        assert_eq!(
            key("a b+c%/ü//~.-_*'()".as_bytes()),
            "a%20b%2Bc%25/%C3%BC//~.-_%2A%27%28%29"
        );
        assert_eq!(decode(b"a+b%2b", true).unwrap(), &b"a b+"[..]);
        assert_eq!(decode(b"a+b%2b", false).unwrap(), &b"a+b+"[..]);
        for bad in [&b"%"[..], b"a%2", b"%zz", b"%+1"] {
            assert_eq!(decode(bad, false), Err(BadEscape));
        }
        assert_eq!(decode_listing("100%"), &b"100%"[..]);
    }

    proptest! {
        #[test]
        fn encodings_round_trip(k in proptest::collection::vec(any::<u8>(), 0..200)) {
            let encoded = key(&k);
            prop_assert_eq!(decode(encoded.as_bytes(), false).unwrap(), &k[..]);
            prop_assert_eq!(decode_listing(&encode_listing(&k)), &k[..]);
            let mut q = Vec::new();
            encode_query(&k, &mut q);
            prop_assert_eq!(decode(&q, true).unwrap(), &k[..]);
            let mut again = Vec::new();
            recode_query(&q, &mut again).unwrap();
            prop_assert_eq!(again, q);
            let mut path = Vec::new();
            recode_path(key(&k).as_bytes(), &mut path).unwrap();
            prop_assert_eq!(path, key(&k).into_bytes());
        }

        #[test]
        fn decoding_never_panics(k in proptest::collection::vec(any::<u8>(), 0..50), plus: bool) {
            let _ = decode(&k, plus);
            let _ = recode_path(&k, &mut Vec::new());
        }

        #[test]
        fn hex_round_trips(b: [u8; 32]) {
            let mut h = Vec::new();
            push_hex(&b, &mut h);
            prop_assert_eq!(hex32(&h), Some(b));
        }
    }
}
