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
        let mark = if is_multipart(tag) { "" } else { MARK };
        ClientEtag([head, tag, mark, quote].concat())
    }
}

impl ClientEtag {
    /// What the store calls it; `None` for an ETag that no object of ours has, so that it matches nothing.
    pub fn to_backend(&self) -> Option<BackendEtag> {
        let (head, tag, quote) = take_apart(&self.0);
        if is_multipart(tag) {
            return Some(BackendEtag(self.0.clone()));
        }
        let tag = tag.strip_suffix(MARK)?;
        Some(BackendEtag([head, tag, quote].concat()))
    }
}

/// What precedes the tag (`W/`, a quote), the tag, and the quote after it.
fn take_apart(etag: &str) -> (&str, &str, &str) {
    let start = if etag.starts_with("W/") { 2 } else { 0 };
    let quoted = etag.len() >= start + 2 && etag[start..].starts_with('"') && etag.ends_with('"');
    let (from, to) = if quoted {
        (start + 1, etag.len() - 1)
    } else {
        (start, etag.len())
    };
    (&etag[..from], &etag[from..to], &etag[to..])
}

/// Ends in `-` and a number from 1.
fn is_multipart(tag: &str) -> bool {
    tag.rsplit_once('-').is_some_and(|(_, parts)| {
        parts.bytes().all(|byte| byte.is_ascii_digit())
            && !parts.is_empty()
            && !parts.starts_with('0')
    })
}
