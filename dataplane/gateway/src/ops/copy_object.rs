//! CopyObject. Between sealed objects no data moves: the data key is wrapped anew and the store copies.

use http::{HeaderMap, HeaderName, HeaderValue};
use sealgate_backend::Store;
use sealgate_backend::types::{
    BackendError, Copied, CopyRequest, GetRequest, Location, ObjectInfo, Stored,
};
use sealgate_envelope::WrappedKek;
use sealgate_s3::checksum::{Hasher, Known};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::copy_source::CopySource;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::Operation;
use sealgate_s3::xml::CopyResult;
use sealgate_telemetry::AuditKind;
use sealgate_uring::Connector;

use crate::audit;
use crate::checksums;
use crate::failure::Failure;
use crate::marker;
use crate::object::{
    Sealed, check_directory_headers, client_etag, client_metadata, envelope_location, is_plaintext,
    put_envelope, put_metadata, store_conditions, system_headers, unseal,
};
use crate::ops::put_object::{NewObject, put_sealed};
use crate::ops::upload_part_copy::{Range, open_source};
use crate::parts;
use crate::pass;
use crate::reply::{Reply, set_encryption};
use crate::request::{Request, check_reserved};
use crate::seal::Source;
use crate::snapshot::BucketRule;
use crate::source::Summed;

/// S3's limit on a copy in one request, bytes.
pub(crate) const MAX_COPY: u64 = 5 << 30;
/// System headers that a copy takes from its source. Where a website redirects to, S3 does not copy.
pub(crate) const COPIED: [&str; 6] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
];

/// Where a copy comes from, found and allowed.
pub(crate) struct Found {
    pub(crate) at: Location,
    /// Whether it is to be opened.
    pub(crate) sealed: bool,
    pub(crate) info: ObjectInfo,
}

/// Finds the source of a copy and checks the client's conditions on it.
pub(crate) async fn find_source<C: Connector>(rq: &Request<'_, C>) -> Result<Found, Failure> {
    let source = CopySource::from_headers(rq.headers)?.ok_or_else(|| {
        S3Error::invalid_argument("The copy source is missing.", "x-amz-copy-source", "")
    })?;
    check_reserved(&source.key)?;
    let at = Location {
        bucket: source.bucket.as_str().to_owned(),
        key: source.key,
        version: source.version_id,
    };
    rq.allow(&Operation::GetObject, &at.bucket, at.key.as_ref())?;
    let rule = rq.rule_for(&at)?;
    let info = match rq.store.head(&at, &Conditions::default()).await {
        Ok(info) => info,
        Err(e) => return Err(no_source(rq, e, &at).await),
    };
    let sealed = !is_plaintext(&info, rule);
    let etag = if sealed {
        client_etag(&info.etag)
    } else {
        info.etag.clone()
    };
    Conditions::from_copy_source_headers(rq.headers)?
        .check_copy_source(&etag, info.last_modified / 1000)?;
    Ok(Found { at, sealed, info })
}

/// A source that is not there. What its HEAD said of a delete marker is no answer to a copy, and what is missing a HEAD
/// does not tell.
async fn no_source<C: Connector>(
    rq: &Request<'_, C>,
    error: BackendError,
    at: &Location,
) -> Failure {
    if matches!(&error, BackendError::Answer(e) if e.code == ErrorCode::NoSuchKey)
        && let Err(BackendError::Answer(e)) = rq.store.head_bucket(&at.bucket).await
        && e.code == ErrorCode::NoSuchBucket
    {
        return S3Error::new(ErrorCode::NoSuchBucket)
            .detail("BucketName", &*at.bucket)
            .into();
    }
    match error {
        BackendError::Answer(e)
            if e.code == ErrorCode::MethodNotAllowed && at.version.is_some() =>
        {
            Failure::new(
                ErrorCode::InvalidRequest,
                "The source of a copy request may not specifically refer to a delete marker by version id.",
            )
        }
        BackendError::Answer(e) => S3Error { headers: None, ..e }.into(),
        e => e.into(),
    }
}

/// Names the version that was copied, where the store keeps versions and did not name it itself.
pub(crate) fn set_source_version(headers: &mut HeaderMap, source: &ObjectInfo) {
    if let Some(version) = source.headers.get("x-amz-version-id") {
        headers
            .entry("x-amz-copy-source-version-id")
            .or_insert_with(|| version.clone());
    }
}

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let to = rq.location()?;
    let rule = rq.rule_for(&to)?;
    if let Store::Fs(_) = rq.store {
        check_directory_headers(rq.headers)?;
    }
    let replace = directive(rq.headers, "x-amz-metadata-directive")?;
    let of_source = rq.of_source()?;
    let found = find_source(&of_source).await?;
    let onto_itself = found.at.bucket == to.bucket && found.at.key == to.key;
    let summed = checksums::named(rq.headers)?;
    let changed =
        replace || summed.is_some() || found.at.version.is_some() || found.sealed != rule.encrypt;
    if onto_itself && !changed {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let mut conditions = store_conditions(&Conditions::from_headers(rq.headers)?, rule);
    let mut headers = new_headers(rq, &found.info, replace)?;
    let replace_tags = directive(rq.headers, "x-amz-tagging-directive")?;
    // A checksum that is asked for takes the plaintext.
    let anew = found.sealed
        && rule.encrypt
        && (summed.is_some() || marker::copies_anew(&found.at, &found.info, &to));
    let by_store = found.sealed == rule.encrypt && !anew;
    let may_lose = rq.store.keeps_put_if_match() && !rq.store.bare_folders();
    if anew && onto_itself && conditions.is_empty() && may_lose {
        // What was written since would be lost.
        conditions = Conditions::if_match(found.info.etag.clone());
    }
    if by_store {
        if replace_tags {
            let replace = HeaderValue::from_static("REPLACE");
            headers.insert("x-amz-tagging-directive", replace);
        }
        // Other stores' requests are about one bucket: this one names two.
        let owner = "x-amz-source-expected-bucket-owner";
        headers.extend(
            rq.headers
                .get(owner)
                .map(|v| (HeaderName::from_static(owner), v.clone())),
        );
    } else if !replace_tags {
        copy_tags(&of_source.store, &found.at, &mut headers).await?;
    }
    match (found.sealed, rule.encrypt) {
        (true, true) if !anew => rewrap(rq, found, &to, rule, replace, headers, conditions).await,
        (false, false) => {
            let metadata = if replace {
                client_metadata(rq.headers)?
            } else {
                plain_metadata(&found.info)
            };
            put_plain(&metadata, &mut headers);
            put_algorithm(rq.headers, &mut headers);
            let source_conditions = Conditions::if_match(found.info.etag.clone());
            let request = CopyRequest {
                source: found.at,
                source_conditions,
                conditions,
                headers,
            };
            let copied = copy_pinned(rq, &request, &to).await?;
            let result = CopyResult {
                etag: copied.etag,
                last_modified: copied.last_modified,
                checksum: None,
            };
            let mut reply = Reply::xml(result.to_object_xml()).with_all(&copied.headers);
            set_source_version(&mut reply.headers, &found.info);
            Ok(reply)
        }
        _ => {
            transcode(
                (rq, &of_source),
                found,
                &to,
                rule,
                replace,
                headers,
                conditions,
            )
            .await
        }
    }
}

/// Gives a copy that the store does not make the tags of its source.
async fn copy_tags<C: Connector>(
    store: &Store<C>,
    source: &Location,
    headers: &mut HeaderMap,
) -> Result<(), Failure> {
    headers.remove("x-amz-tagging");
    if let Some(tags) = store.tags_header(source).await? {
        headers.insert("x-amz-tagging", tags);
    }
    Ok(())
}

/// `REPLACE` rather than `COPY`.
fn directive(headers: &HeaderMap, name: &'static str) -> Result<bool, S3Error> {
    match headers.get(name).map(HeaderValue::as_bytes) {
        None | Some(b"COPY") => Ok(false),
        Some(b"REPLACE") => Ok(true),
        Some(other) => Err(S3Error::invalid_argument(
            "The directive must be COPY or REPLACE.",
            name,
            String::from_utf8_lossy(other),
        )),
    }
}

/// System headers of the new object.
fn new_headers<C: Connector>(
    rq: &Request<'_, C>,
    source: &ObjectInfo,
    replace: bool,
) -> Result<HeaderMap, Failure> {
    let mut headers = system_headers(rq.headers)?;
    if !replace {
        for name in COPIED {
            headers.remove(name);
            if let Some(value) = source.headers.get(name) {
                headers.insert(name, value.clone());
            }
        }
    }
    Ok(headers)
}

/// Wraps the data key for its new place, and has the store copy the bytes as they are.
async fn rewrap<C: Connector>(
    rq: &Request<'_, C>,
    found: Found,
    to: &Location,
    rule: &BucketRule,
    replace: bool,
    mut headers: HeaderMap,
    conditions: Conditions,
) -> Result<Reply, Failure> {
    let core = rq.core;
    let sealed = unseal(rq, &found.at, found.info).await?;
    marker::check(rq, to, &sealed.envelope.fields.layout)?;
    if sealed.info.len > MAX_COPY {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120",
        ));
    }
    let epoch = core
        .keyring
        .for_writing(&rule.key, sealed.plain_len)
        .await?;
    let kek = WrappedKek {
        name: epoch.key_name.clone(),
        version: epoch.key_version.clone(),
        wrapped: epoch.wrapped.clone(),
    };
    let envelope = sealed
        .envelope
        .rewrap(
            &sealed.dek,
            &epoch.kek,
            kek,
            rule.binding,
            core.random.bytes(),
            &envelope_location(to),
        )
        .map_err(|e| {
            Failure::new(
                ErrorCode::InternalError,
                format!("The envelope cannot be stored: {e}."),
            )
        })?;
    audit::dek(rq, AuditKind::DekWrap, to, &envelope.fields.kek, "ok")?;
    let metadata = if replace {
        client_metadata(rq.headers)?
    } else {
        sealed.metadata()?
    };
    let object_id = envelope.fields.object_id;
    put_metadata(
        core,
        rule.seal_metadata,
        &metadata,
        &sealed.dek,
        object_id,
        &mut headers,
    )?;
    put_envelope(&envelope, core.store.metadata_limit(), &mut headers)?;
    let request = CopyRequest {
        source: found.at,
        source_conditions: Conditions::if_match(sealed.info.etag.clone()),
        conditions,
        headers,
    };
    let copied = copy_pinned(rq, &request, to).await?;
    let result = CopyResult {
        etag: client_etag(&copied.etag),
        last_modified: copied.last_modified,
        checksum: None,
    };
    let mut reply = Reply::xml(result.to_object_xml()).with_all(&copied.headers);
    set_source_version(&mut reply.headers, &sealed.info);
    set_encryption(&mut reply.headers, &rule.key);
    Ok(reply)
}

/// Has the store copy the very state of the source that `request.source_conditions` names.
///
/// Where the store does not look at that condition (S3-TRAPS 31), another object could get the envelope that was made
/// for this one. So an object is copied onto itself through the gateway there, as it is; and after a copy to elsewhere
/// the source is looked at once more.
async fn copy_pinned<C: Connector>(
    rq: &Request<'_, C>,
    request: &CopyRequest,
    to: &Location,
) -> Result<Copied, Failure> {
    // A version that is named does not change.
    let is_fixed = request.source.version.is_some();
    let onto_itself = request.source.bucket == to.bucket && request.source.key == to.key;
    if onto_itself && !is_fixed && !rq.store.copies_in_place() {
        return copy_through(rq, request, to).await;
    }
    let copied = rq.store.copy(request, to).await?;
    if is_fixed || rq.store.pins_copies() {
        return Ok(copied);
    }
    let of_source = rq.of_source()?.store;
    let now = of_source
        .head(&request.source, &Conditions::default())
        .await;
    if let Ok(info) = &now {
        let modified = info.last_modified / 1000;
        let is_same = request
            .source_conditions
            .check_copy_source(&info.etag, modified);
        if is_same.is_ok() {
            return Ok(copied);
        }
    }
    // What is there now nobody could open. If it cannot be removed, reading it says so.
    let version = copied.headers.get("x-amz-version-id");
    let made = Location {
        version: version.and_then(|v| v.to_str().ok()).map(str::to_owned),
        ..to.clone()
    };
    if let Err(e) = rq.store.delete(&made, &Conditions::default()).await {
        tracing::warn!(error = %e, bucket = %to.bucket, "a copy of two states was left behind");
    }
    Err(Failure::new(
        ErrorCode::SlowDown,
        "The source was replaced while it was copied. Please try again.",
    ))
}

/// Copies an object onto itself through the gateway, its bytes as they are in the store.
async fn copy_through<C: Connector>(
    rq: &Request<'_, C>,
    request: &CopyRequest,
    to: &Location,
) -> Result<Copied, Failure> {
    let get = GetRequest {
        range: None,
        conditions: request.source_conditions.clone(),
    };
    let (info, range, body) = rq.store.get(&request.source, &get).await?;
    request
        .source_conditions
        .check_copy_source(&info.etag, info.last_modified / 1000)?;
    let mut conditions = request.conditions.clone();
    if conditions.is_empty() && rq.store.keeps_put_if_match() {
        // What was written since would be lost.
        conditions = request.source_conditions.clone();
    }
    let mut headers = request.headers.clone();
    headers.remove("x-amz-source-expected-bucket-owner");
    if headers.remove("x-amz-tagging-directive").is_none() {
        copy_tags(&rq.store, to, &mut headers).await?;
    }
    let len = range.end - range.start;
    let upload = rq.store.put(to, &headers, &conditions, len).await?;
    let mut source = crate::source::FromStore { body };
    let stored = pass::copy_into(rq, &mut source, upload, len).await?;
    let info = rq.store.head(to, &Conditions::default()).await?;
    Ok(Copied {
        etag: stored.etag,
        last_modified: info.last_modified,
        headers: stored.headers,
    })
}

/// Copies between a sealed and an unsealed place, from or to a folder marker, or with a checksum that is made anew: the
/// bytes go through the gateway.
async fn transcode<C: Connector>(
    (rq, of_source): (&Request<'_, C>, &Request<'_, C>),
    found: Found,
    to: &Location,
    rule: &BucketRule,
    replace: bool,
    headers: HeaderMap,
    conditions: Conditions,
) -> Result<Reply, Failure> {
    let mut sealed: Option<Sealed> = None;
    let source_info = found.info.clone();
    let (len, metadata) = if found.sealed {
        let opened = unseal(rq, &found.at, found.info.clone()).await?;
        let metadata = opened.metadata()?;
        (sealed.insert(opened).plain_len, metadata)
    } else {
        (source_info.len, plain_metadata(&source_info))
    };
    let metadata = if replace {
        client_metadata(rq.headers)?
    } else {
        metadata
    };
    let new = NewObject {
        rule,
        at: to,
        headers,
        metadata,
        len,
        conditions,
        blocks: None,
    };
    let algorithm = match (checksums::named(rq.headers)?, &sealed) {
        (None, Some(sealed)) if rule.encrypt => {
            // As a copy by the store would, it keeps the checksum of its source.
            let trailer = parts::trailer(rq.core, &of_source.store, &found.at, sealed).await?;
            checksums::shown(&trailer).last().map(|sum| sum.algorithm)
        }
        (named, _) => named,
    };
    let hasher = algorithm.map(Hasher::new);
    let (stored, known) = if let Some(sealed) = &sealed {
        let mut source = open_source(of_source, &found.at, sealed, Range::Everything).await?;
        write(rq, new, &mut source, hasher).await?
    } else {
        let request = GetRequest {
            range: None,
            conditions: Conditions::if_match(source_info.etag.clone()),
        };
        let (_, _, body) = of_source.store.get(&found.at, &request).await?;
        write(rq, new, &mut crate::source::FromStore { body }, hasher).await?
    };
    let info = rq.store.head(to, &Conditions::default()).await?;
    let etag = if rule.encrypt {
        client_etag(&stored.etag)
    } else {
        stored.etag
    };
    let result = CopyResult {
        etag,
        last_modified: info.last_modified,
        checksum: known.checksum,
    };
    let mut reply = Reply::xml(result.to_object_xml()).with_all(&stored.headers);
    set_source_version(&mut reply.headers, &source_info);
    if rule.encrypt {
        set_encryption(&mut reply.headers, &rule.key);
    }
    Ok(reply)
}

/// Writes a copy as its rule says: sealed, or as it is.
async fn write<C: Connector, S: Source>(
    rq: &Request<'_, C>,
    mut new: NewObject<'_>,
    source: &mut S,
    hasher: Option<Hasher>,
) -> Result<(Stored, Known), Failure> {
    let mut source = Summed { source, hasher };
    if new.rule.encrypt {
        return put_sealed(rq, new, &mut source).await;
    }
    put_plain(&new.metadata, &mut new.headers);
    let upload = rq.store.put(new.at, &new.headers, &new.conditions, new.len);
    let stored = pass::copy_into(rq, &mut source, upload.await?, new.len).await?;
    Ok((stored, Known::default()))
}

/// Asks the store for the checksum that the client asks for, of what is kept as it is.
fn put_algorithm(asked: &HeaderMap, headers: &mut HeaderMap) {
    let name = "x-amz-checksum-algorithm";
    if let Some(algorithm) = asked.get(name) {
        headers.insert(name, algorithm.clone());
    }
}

fn plain_metadata(info: &ObjectInfo) -> Vec<(String, Vec<u8>)> {
    info.headers
        .iter()
        .filter_map(|(name, value)| {
            let short = name.as_str().strip_prefix("x-amz-meta-")?;
            Some((short.to_owned(), value.as_bytes().to_vec()))
        })
        .collect()
}

fn put_plain(metadata: &[(String, Vec<u8>)], headers: &mut HeaderMap) {
    for (name, value) in metadata {
        if let (Ok(name), Ok(value)) = (
            HeaderName::try_from(format!("x-amz-meta-{name}")),
            HeaderValue::from_bytes(value),
        ) {
            headers.insert(name, value);
        }
    }
}
