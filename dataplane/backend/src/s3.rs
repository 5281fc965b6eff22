//! Any S3 store over HTTP or HTTPS.

mod body;
mod bucket;
mod headers;
mod multipart;
mod object;
mod upload;
mod wire;

use std::cell::RefCell;
use std::rc::Rc;

use http::{HeaderMap, Method, header};
use sealgate_s3::route::{RawKey, encode_key};
use sealgate_s3::sigv4::sign::Signer;
use sealgate_uring::Connector;

pub use body::S3Body;
pub use upload::S3Upload;
pub use wire::{StoreCounters, StoreTimeouts};

use crate::types::BackendError;
use wire::{Call, Inbound, MAX_DOCUMENT, Wire};

/// How to address and sign to a store.
#[derive(Clone, Debug)]
pub struct S3Options {
    /// `host[:port]` as it stands in the `Host` header.
    pub authority: String,
    /// `https://host/bucket/key` rather than `https://bucket.host/key`.
    pub path_style: bool,
    /// Time-outs.
    pub timeouts: StoreTimeouts,
}

/// One core's view of an S3 store, for one of the store's users.
///
/// Views made by [`S3Store::signed_by`] share connections.
pub struct S3Store<C: Connector> {
    wire: Rc<Wire<C>>,
    options: Rc<S3Options>,
    signer: Rc<RefCell<Signer>>,
}

impl<C: Connector> Clone for S3Store<C> {
    fn clone(&self) -> Self {
        Self {
            wire: Rc::clone(&self.wire),
            options: Rc::clone(&self.options),
            signer: Rc::clone(&self.signer),
        }
    }
}

impl<C: Connector> S3Store<C> {
    /// A store reached by `connector`, whose requests `signer` signs.
    pub fn new(connector: C, options: S3Options, signer: Signer) -> Self {
        Self {
            wire: Rc::new(Wire::new(connector, options.timeouts)),
            options: Rc::new(options),
            signer: Rc::new(RefCell::new(signer)),
        }
    }

    /// The same store as another of its users.
    pub fn signed_by(&self, signer: Signer) -> Self {
        Self { signer: Rc::new(RefCell::new(signer)), ..self.clone() }
    }

    /// Connections, retries and resumes so far.
    pub fn counters(&self) -> &StoreCounters {
        &self.wire.counters
    }

    /// A request to a bucket or, without one, to the service.
    fn call(&self, method: Method, bucket: &str, key: Option<&RawKey>, query: &[(&str, &str)]) -> Call {
        let mut path = Vec::with_capacity(bucket.len() + key.map_or(0, |k| k.as_ref().len()) + 16);
        path.push(b'/');
        let virtual_host = !self.options.path_style && !bucket.is_empty();
        if !virtual_host && !bucket.is_empty() {
            path.extend_from_slice(bucket.as_bytes());
        }
        if let Some(key) = key {
            if !virtual_host {
                path.push(b'/');
            }
            encode_key(key.as_ref(), &mut path);
        }
        let host = if virtual_host {
            format!("{bucket}.{}", self.options.authority)
        } else {
            self.options.authority.clone()
        };
        let mut headers = HeaderMap::with_capacity(8);
        headers::set(&mut headers, header::HOST, &host);
        Call {
            idempotent: matches!(method, Method::GET | Method::HEAD | Method::DELETE | Method::PUT),
            method,
            host,
            path,
            query: canonical_query(query),
            headers,
            body: Vec::new(),
            long: false,
        }
    }

    /// Sends a call and gives its answer if that is a success.
    async fn send(&self, call: &mut Call) -> Result<Inbound<C::Conn>, BackendError> {
        if !call.body.is_empty() || call.method == Method::POST {
            headers::set(&mut call.headers, header::CONTENT_LENGTH, &call.body.len().to_string());
        }
        let inbound = self.wire.call(&self.signer, call).await?;
        if inbound.head.status.is_success() {
            Ok(inbound)
        } else {
            Err(self.wire.answer_error(inbound).await)
        }
    }

    /// Sends a call and gives its answer's headers and whole body.
    async fn fetch(&self, call: &mut Call) -> Result<(HeaderMap, Vec<u8>), BackendError> {
        let inbound = self.send(call).await?;
        let headers = inbound.head.headers.clone();
        let body = self.wire.document(inbound, MAX_DOCUMENT).await?;
        Ok((headers, body))
    }
}

/// Sorted and encoded as SigV4 wants it; a value of "" gives `name=`.
fn canonical_query(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut encoded: Vec<(Vec<u8>, Vec<u8>)> = pairs
        .iter()
        .map(|(name, value)| (encode(name.as_bytes()), encode(value.as_bytes())))
        .collect();
    encoded.sort();
    let mut query = Vec::new();
    for (name, value) in encoded {
        if !query.is_empty() {
            query.push(b'&');
        }
        query.extend_from_slice(&name);
        query.push(b'=');
        query.extend_from_slice(&value);
    }
    query
}

/// RFC 3986 encoding of everything but unreserved characters, `/` included.
fn encode(bytes: &[u8]) -> Vec<u8> {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    percent_encoding::percent_encode(bytes, KEPT).collect::<String>().into_bytes()
}
