//! Sealed objects: their envelopes, their headers on either side, their metadata.

use std::rc::Rc;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use sealgate_backend::s3::preset::Metadata as MetadataLimit;
use sealgate_backend::types::{BackendError, Location, ObjectInfo};
use sealgate_envelope::law::{self, CipherLen};
use sealgate_envelope::metadata::max_chars;
use sealgate_envelope::{
    BackendEtag, ClientEtag, Dek, Envelope, EnvelopeFields, Layout, ObjectId, PlainLen, WrappedKek,
    open_metadata, seal_metadata,
};
use sealgate_http1::{reuse_headers, spare_headers};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_s3::headers::strip_aws_chunked;
use sealgate_telemetry::AuditKind;
use sealgate_uring::Connector;

use crate::audit;
use crate::core::Core;
use crate::failure::Failure;
use crate::keyring::Epoch;
use crate::marker;
use crate::reply::{set, set_encryption, set_etag};
use crate::request::Request;
use crate::snapshot::BucketRule;

pub(crate) const META: &str = "x-amz-meta-";
pub(crate) const ENVELOPE: HeaderName = HeaderName::from_static("x-amz-meta-sealgate");
pub(crate) const METADATA: HeaderName = HeaderName::from_static("x-amz-meta-sealgate-m");
/// Metadata names that are the gateway's own.
const RESERVED: &str = "x-amz-meta-sealgate";

/// Headers of a write that the store keeps as they are.
const KEPT_ON_WRITE: [&str; 7] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "content-language",
    "expires",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];
/// Headers of a write that only an S3 store can honour.
const STORE_ONLY: [&str; 10] = [
    "x-amz-acl",
    "x-amz-grant-read",
    "x-amz-grant-write",
    "x-amz-grant-read-acp",
    "x-amz-grant-write-acp",
    "x-amz-grant-full-control",
    "x-amz-tagging",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-lock-legal-hold",
];
/// Headers that the gateway itself has dealt with by the time a write is sent on.
const CONSUMED: [&str; 28] = [
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
    "x-amz-user-agent",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-type",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-mode",
    "x-amz-mp-object-size",
    "x-amz-copy-source",
    "x-amz-copy-source-range",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-metadata-directive",
    "x-amz-tagging-directive",
    "x-amz-id-2",
    // These go with every request to the store (`standing`), or with the copy (`copy_object`).
    "x-amz-expected-bucket-owner",
    "x-amz-request-payer",
    "x-amz-source-expected-bucket-owner",
];
/// Headers that ask the store to encrypt too: this gateway encrypts, under a key of its own, whatever they say.
const ENCRYPTION: [&str; 4] = [
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-bucket-key-enabled",
];
/// Whether a read hands on this header of the store's.
fn kept_on_read(name: &str) -> bool {
    matches!(
        name,
        "content-type"
            | "cache-control"
            | "content-disposition"
            | "content-encoding"
            | "content-language"
            | "expires"
            | "x-amz-version-id"
            | "x-amz-delete-marker"
            | "x-amz-expiration"
            | "x-amz-restore"
            | "x-amz-storage-class"
            | "x-amz-replication-status"
            | "x-amz-tagging-count"
            | "x-amz-object-lock-mode"
            | "x-amz-object-lock-retain-until-date"
            | "x-amz-object-lock-legal-hold"
            | "x-amz-archive-status"
            | "x-amz-request-charged"
            | "x-amz-website-redirect-location"
    )
}

/// An object of the store whose envelope has been opened.
pub(crate) struct Sealed {
    pub(crate) envelope: Envelope,
    pub(crate) dek: Rc<Dek>,
    pub(crate) info: ObjectInfo,
    pub(crate) plain_len: u64,
}

/// Whether an object claims to be sealed.
pub(crate) fn is_sealed(info: &ObjectInfo) -> bool {
    info.headers.contains_key(&ENVELOPE)
}

/// Whether an object is to be read as it is: it was never sealed, and its bucket's rule allows that.
pub(crate) fn is_plaintext(info: &ObjectInfo, rule: &BucketRule) -> bool {
    !rule.encrypt || rule.plaintext_reads && !is_sealed(info)
}

/// A read's conditions in the store's terms; none where it is not known yet whether the object's ETag has the client's
/// form, or the store's: the gateway checks them itself too.
pub(crate) fn read_conditions(conditions: &Conditions, rule: &BucketRule) -> Conditions {
    if rule.encrypt && rule.plaintext_reads {
        Conditions::default()
    } else {
        store_conditions(conditions, rule)
    }
}

/// Opens an object's envelope: authenticates where it lies and how it is laid out.
pub(crate) async fn unseal<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    info: ObjectInfo,
) -> Result<Sealed, Failure> {
    let Some(value) = info.headers.get(&ENVELOPE) else {
        if marker::is_bare(rq, at, &info) {
            return Ok(marker::stand_in(rq, rq.rule_for(at)?, info));
        }
        return Err(Failure::new(
            ErrorCode::InvalidObjectState,
            "The stored object was not sealed by this gateway, and its bucket holds sealed objects only.",
        ));
    };
    let envelope = Envelope::decode(value.as_bytes())
        .map_err(|e| Failure::tampered(format_args!("the envelope: {e}")))?;
    let dek = open_envelope(rq, at, &envelope).await?;
    let plain_len = plain_len(&envelope, info.len).map_err(Failure::tampered)?;
    Ok(Sealed {
        envelope,
        dek,
        info,
        plain_len,
    })
}

/// Plaintext bytes of an object that has `stored` bytes in the store; says why there can be no such object.
pub(crate) fn plain_len(envelope: &Envelope, stored: u64) -> Result<u64, &'static str> {
    let stored = CipherLen(stored);
    match envelope.fields.layout {
        Layout::Single { plain_len, .. } if law::object_cipher_len(plain_len) == stored => {
            Ok(plain_len.0)
        }
        Layout::Empty { .. } if stored.0 == 0 => Ok(0),
        Layout::Single { .. } | Layout::Empty { .. } => {
            Err("the stored length is not the envelope's")
        }
        Layout::Multipart => law::object_plain_len(stored)
            .map(|plain| plain.0)
            .ok_or("no object has the stored length"),
    }
}

/// Unwraps an envelope's DEK; that authenticates all of the envelope.
pub(crate) async fn open_envelope<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    envelope: &Envelope,
) -> Result<Rc<Dek>, Failure> {
    let kek = &envelope.fields.kek;
    let audited = |outcome| audit::dek(rq, AuditKind::DekUnwrap, at, kek, outcome);
    let opener = match rq.core.keyring.for_reading(kek).await {
        Ok(opener) => opener,
        Err(e) => {
            audited(e.kind())?;
            return Err(e.into());
        }
    };
    let opened = envelope.unwrap_dek(&opener, &envelope_location(at));
    audited(if opened.is_ok() { "ok" } else { "tampered" })?;
    opened
        .map(Rc::new)
        .map_err(|e| Failure::tampered(format_args!("the wrapped key: {e}")))
}

pub(crate) fn envelope_location(at: &Location) -> sealgate_envelope::Location<'_> {
    sealgate_envelope::Location {
        bucket: at.bucket.as_bytes(),
        key: at.key.as_ref(),
    }
}

/// A fresh data key and object id.
pub(crate) fn new_object<C: Connector>(core: &Core<C>) -> (Dek, ObjectId) {
    (
        Dek::new(core.random.secret()),
        ObjectId(core.random.bytes()),
    )
}

/// Wraps `dek` into an envelope for an object at `at`.
pub(crate) fn seal_envelope<C: Connector>(
    rq: &Request<'_, C>,
    rule: &BucketRule,
    epoch: &Epoch,
    at: &Location,
    (dek, object_id): (&Dek, ObjectId),
    layout: Layout,
) -> Result<Envelope, Failure> {
    marker::check(rq, at, &layout)?;
    let fields = EnvelopeFields {
        layout,
        binding: rule.binding,
        object_id,
        kek: WrappedKek {
            name: epoch.key_name.clone(),
            version: epoch.key_version.clone(),
            wrapped: epoch.wrapped.clone(),
        },
    };
    let nonce = rq.core.random.bytes();
    let envelope = fields
        .seal(&epoch.kek, dek, nonce, &envelope_location(at))
        .map_err(|e| {
            Failure::new(
                ErrorCode::InternalError,
                format!("The envelope cannot be stored: {e}."),
            )
        })?;
    audit::dek(rq, AuditKind::DekWrap, at, &envelope.fields.kek, "ok")?;
    Ok(envelope)
}

/// The headers that a store keeps with a sealed object: system headers as they are, the client's metadata as `rule`
/// says, and the envelope.
pub(crate) fn sealed_headers<C: Connector>(
    core: &Core<C>,
    rule: &BucketRule,
    system: HeaderMap,
    metadata: &[(String, Vec<u8>)],
    dek: &Dek,
    envelope: &Envelope,
) -> Result<HeaderMap, Failure> {
    let mut headers = system;
    put_metadata(
        core,
        rule.seal_metadata,
        metadata,
        dek,
        envelope.fields.object_id,
        &mut headers,
    )?;
    put_envelope(envelope, core.store.metadata_limit(), &mut headers)?;
    Ok(headers)
}

/// Stores the envelope with headers that are complete; `limit` is the most user metadata that the store takes.
pub(crate) fn put_envelope(
    envelope: &Envelope,
    limit: MetadataLimit,
    headers: &mut HeaderMap,
) -> Result<(), Failure> {
    let value = envelope.encode().map_err(|e| {
        Failure::new(
            ErrorCode::InternalError,
            format!("The envelope cannot be stored: {e}."),
        )
    })?;
    set(headers, ENVELOPE, &value);
    check_budget(headers, limit)
}

/// Stores the client's metadata, sealed under the object's key or plain.
pub(crate) fn put_metadata<C: Connector>(
    core: &Core<C>,
    seal: bool,
    pairs: &[(String, Vec<u8>)],
    dek: &Dek,
    object_id: ObjectId,
    headers: &mut HeaderMap,
) -> Result<(), Failure> {
    if pairs.is_empty() {
        return Ok(());
    }
    if seal {
        let pairs: Vec<(&str, &[u8])> = pairs.iter().map(|(n, v)| (n.as_str(), &v[..])).collect();
        let limit = core.store.metadata_limit();
        let most = max_chars(limit.bytes.saturating_sub(2 * limit.each));
        let sealed = seal_metadata(dek, &object_id, core.random.bytes(), &pairs, most);
        let value = sealed.map_err(|e| {
            Failure::new(
                ErrorCode::MetadataTooLarge,
                format!("Your metadata is too large: {e}."),
            )
        })?;
        set(headers, METADATA, &value);
    } else {
        for (name, value) in pairs {
            let (Ok(name), Ok(value)) = (
                HeaderName::try_from(format!("{META}{name}")),
                HeaderValue::from_bytes(value),
            ) else {
                return Err(Failure::new(
                    ErrorCode::InvalidArgument,
                    "A metadata header is malformed.",
                ));
            };
            headers.insert(name, value);
        }
    }
    Ok(())
}

/// The store's limit on all user metadata, which the envelope shares (S3-TRAPS 33).
fn check_budget(headers: &HeaderMap, limit: MetadataLimit) -> Result<(), Failure> {
    let used: usize = headers
        .iter()
        .filter_map(|(name, value)| {
            Some(name.as_str().strip_prefix(META)?.len() + limit.each + value.len())
        })
        .sum();
    if used <= limit.bytes {
        return Ok(());
    }
    Err(Failure::new(
        ErrorCode::MetadataTooLarge,
        format!(
            "Your metadata, with the envelope that the gateway adds, has {used} of at most {} bytes.",
            limit.bytes
        ),
    ))
}

/// The client's `x-amz-meta-*`, names without that prefix.
pub(crate) fn client_metadata(headers: &HeaderMap) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
    for name in headers.keys() {
        let Some(short) = name.as_str().strip_prefix(META) else {
            continue;
        };
        if name.as_str().starts_with(RESERVED) {
            return Err(Failure::new(
                ErrorCode::InvalidArgument,
                format!("Metadata names that begin with {RESERVED} are the gateway's own."),
            ));
        }
        let mut value = Vec::new();
        for (i, one) in headers.get_all(name).iter().enumerate() {
            if i > 0 {
                value.push(b',');
            }
            value.extend_from_slice(one.as_bytes());
        }
        pairs.push((short.to_owned(), value));
    }
    Ok(pairs)
}

/// The headers of a write that go to the store as they are. Every other one has been consumed, or is refused: none
/// is dropped silently (S3-TRAPS 17).
pub(crate) fn system_headers(client: &HeaderMap) -> Result<HeaderMap, Failure> {
    let mut headers = spare_headers();
    for (name, value) in client {
        let text = name.as_str();
        if KEPT_ON_WRITE.contains(&text) || STORE_ONLY.contains(&text) {
            headers.append(name.clone(), value.clone());
        } else if name == header::CONTENT_ENCODING {
            if let Some(rest) = strip_aws_chunked(value) {
                headers.append(name.clone(), rest);
            }
        } else if text.starts_with("x-amz-")
            && !text.starts_with(META)
            && !CONSUMED.contains(&text)
            && !ENCRYPTION.contains(&text)
        {
            return Err(Failure::new(
                ErrorCode::NotImplemented,
                format!("The header {text} is not supported here."),
            ));
        }
    }
    // What S3 stores with an object that came without one; a store left to itself would sniff the ciphertext.
    headers
        .entry(header::CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("binary/octet-stream"));
    Ok(headers)
}

/// Refuses what a directory cannot honour, rather than forget it.
pub(crate) fn check_directory_headers(headers: &HeaderMap) -> Result<(), Failure> {
    for name in STORE_ONLY {
        match headers.get(name) {
            None => {}
            // What every object of a directory is anyway.
            Some(value) if name == "x-amz-acl" && value == "private" => {}
            Some(_) if name == "x-amz-tagging" => {}
            Some(_) => {
                return Err(Failure::new(
                    ErrorCode::NotImplemented,
                    format!(
                        "The header {name} needs an S3 store; this gateway keeps its objects in a directory."
                    ),
                ));
            }
        }
    }
    Ok(())
}

impl Drop for Sealed {
    fn drop(&mut self) {
        reuse_headers(std::mem::take(&mut self.info.headers));
    }
}

impl Sealed {
    /// The client's metadata, names without `x-amz-meta-`.
    pub(crate) fn metadata(&self) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        if let Some(value) = self.info.headers.get(&METADATA) {
            return open_metadata(&self.dek, &self.envelope.fields.object_id, value.as_bytes())
                .map_err(|e| Failure::tampered(format_args!("the metadata: {e}")));
        }
        client_metadata_of_store(&self.info.headers)
    }

    /// Everything a HEAD or GET of the whole object says, but its length.
    pub(crate) fn client_headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = plain_headers(&self.info);
        set_etag(&mut headers, &client_etag(&self.info.etag));
        set_encryption(&mut headers, &self.envelope.fields.kek.name);
        for (name, value) in self.metadata()? {
            if let (Ok(name), Ok(value)) = (
                HeaderName::try_from(format!("{META}{name}")),
                HeaderValue::from_bytes(&value),
            ) {
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }
}

/// `x-amz-meta-*` of a stored object but the gateway's own.
fn client_metadata_of_store(headers: &HeaderMap) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut others = HeaderMap::new();
    for (name, value) in headers {
        if name.as_str().starts_with(META) && !name.as_str().starts_with(RESERVED) {
            others.append(name.clone(), value.clone());
        }
    }
    client_metadata(&others)
}

/// The system headers that a stored object hands on.
pub(crate) fn plain_headers(info: &ObjectInfo) -> HeaderMap {
    let mut headers = spare_headers();
    for (name, value) in &info.headers {
        if kept_on_read(name.as_str()) {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    set(
        &mut headers,
        header::LAST_MODIFIED,
        &sealgate_s3::time::http_date(info.last_modified / 1000),
    );
    headers
}

/// What an unsealed object hands on: everything of the store's, its ETag and its metadata too.
pub(crate) fn pass_through_headers(info: &ObjectInfo) -> HeaderMap {
    let mut headers = plain_headers(info);
    set_etag(&mut headers, &info.etag);
    for (name, value) in &info.headers {
        if name.as_str().starts_with(META) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// What a client sees as the ETag of an object whose ETag is `etag` in the store.
pub(crate) fn client_etag(etag: &str) -> String {
    BackendEtag(etag.to_owned()).to_client().0
}

/// What the store calls the object that a client calls `etag`; a tag that no object has where that is none of ours.
pub(crate) fn store_etag(etag: &str) -> String {
    ClientEtag(etag.to_owned())
        .to_backend()
        .map_or_else(|| "sealgate-no-such-etag".to_owned(), |e| e.0)
}

/// A client's conditions in the store's terms.
pub(crate) fn store_conditions(conditions: &Conditions, rule: &BucketRule) -> Conditions {
    if rule.encrypt {
        conditions.map_etags(store_etag)
    } else {
        conditions.clone()
    }
}

/// A failed read of a sealed object as the client sees it: a `304` of the store's names the store's ETag.
pub(crate) fn read_failure(error: BackendError) -> Failure {
    let mut failure = Failure::from(error);
    if let Failure::NotModified(headers) = &mut failure {
        let etag = headers
            .get(header::ETAG)
            .and_then(|v| v.to_str().ok())
            .map(client_etag);
        if let Some(etag) = etag {
            set(headers, header::ETAG, &etag);
        }
    }
    failure
}

/// Length in the store of a sealed object of `plain` bytes.
pub(crate) fn stored_len(plain: u64) -> Result<u64, Failure> {
    if plain > law::MAX_PLAIN_LEN {
        return Err(Failure::new(
            ErrorCode::EntityTooLarge,
            "The object is larger than any can be.",
        ));
    }
    Ok(law::object_cipher_len(PlainLen(plain)).0)
}
