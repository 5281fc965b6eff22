//! ETags: one value on every surface, computed from the store's, and back again.
//!
//! The store's ETag of a single PUT is usually the MD5 of what it stores, which is not the MD5 of what the
//! client sent, and clients compare. So the client is shown an ETag that no client takes for an MD5:
//! `<store's>-0`. S3's form for multipart objects, `<hex>-<parts>`, is no MD5 either and stays as it is.

/// An ETag as the client sees it, as in the header: with quotes, where there are any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientEtag(pub String);

/// An ETag as the store gives it, as in the header: with quotes, where there are any.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendEtag(pub String);

/// Ends the client's form of an ETag that is not in multipart form.
const MARK: &str = "-0";

impl BackendEtag {
    /// What the client sees.
    pub fn to_client(&self) -> ClientEtag {
        let (head, tag, quote) = take_apart(&self.0);
        ClientEtag([head, tag, mark(tag.as_bytes()), quote].concat())
    }

    /// The pieces of what the client sees of the store's `etag`: without a copy, for listings.
    pub fn client_pieces(etag: &[u8]) -> [&[u8]; 4] {
        let (from, to) = tag_within(etag);
        let tag = &etag[from..to];
        [&etag[..from], tag, mark(tag).as_bytes(), &etag[to..]]
    }
}

/// What follows the store's tag in the client's form.
fn mark(tag: &[u8]) -> &'static str {
    if is_multipart(tag) { "" } else { MARK }
}

impl ClientEtag {
    /// What the store calls it; `None` for an ETag that no object of ours has, so that it matches nothing.
    pub fn to_backend(&self) -> Option<BackendEtag> {
        let (head, tag, quote) = take_apart(&self.0);
        if is_multipart(tag.as_bytes()) {
            return Some(BackendEtag(self.0.clone()));
        }
        let tag = tag.strip_suffix(MARK)?;
        Some(BackendEtag([head, tag, quote].concat()))
    }
}

/// What precedes the tag (`W/`, a quote), the tag, and the quote after it.
fn take_apart(etag: &str) -> (&str, &str, &str) {
    let (from, to) = tag_within(etag.as_bytes());
    (&etag[..from], &etag[from..to], &etag[to..])
}

/// Where the tag itself begins and ends.
fn tag_within(etag: &[u8]) -> (usize, usize) {
    let start = if etag.starts_with(b"W/") { 2 } else { 0 };
    let quoted =
        etag.len() >= start + 2 && etag[start..].starts_with(b"\"") && etag.ends_with(b"\"");
    if quoted {
        (start + 1, etag.len() - 1)
    } else {
        (start, etag.len())
    }
}

/// Ends in `-` and a number from 1.
fn is_multipart(tag: &[u8]) -> bool {
    let digits = tag.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (before, parts) = tag.split_at(tag.len() - digits);
    before.ends_with(b"-") && !parts.is_empty() && !parts.starts_with(b"0")
}
