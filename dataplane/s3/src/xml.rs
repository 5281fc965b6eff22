//! S3's documents: a bounded reader, an escaping writer, and a type per document.
//!
//! Element names and their order are those of the Amazon S3 API Reference.

mod attributes;
mod bucket;
mod copy;
mod delete;
mod list_objects;
mod multipart;
mod reader;
mod tagging;
mod versions;
mod writer;

pub use attributes::{AttributeParts, ObjectAttributes, ShownChecksum, WantedAttributes};
pub use bucket::{BucketEntry, CreateBucketConfiguration, ListAllMyBuckets, LocationConstraint};
pub use copy::CopyResult;
pub use delete::{
    DeleteFailure, DeleteRequest, DeleteResult, Deleted, MAX_OBJECTS as MAX_OBJECTS_TO_DELETE,
    ObjectToDelete,
};
pub use list_objects::{Contents, ListObjectsResult, Owner, Paging};
pub use multipart::{
    CompleteMultipartUpload, CompleteMultipartUploadResult, CompletedPart,
    InitiateMultipartUploadResult, ListMultipartUploadsResult, ListPartsResult, MAX_PART_NUMBER,
    PartEntry, UploadEntry,
};
pub use reader::{Element, Limits, XmlError};
pub use tagging::{MAX_BUCKET_TAGS, MAX_OBJECT_TAGS};
pub use versions::{ListVersionsResult, Tagging, VersionEntry, Versioning};
pub use writer::Writer;

use bytes::Bytes;
use http::StatusCode;

use crate::encoding;
use crate::error::{ErrorCode, S3Error};

/// Namespace of S3's documents.
pub const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// The `<Error>` that some operations put in the body of a `200` (S3-TRAPS 12).
fn error_in_200(root: &Element<'_>) -> Result<(), S3Error> {
    match S3Error::from_element(StatusCode::INTERNAL_SERVER_ERROR, root) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// A store's document that is not what was asked for.
fn unexpected(what: &str) -> S3Error {
    S3Error::with_message(
        ErrorCode::InternalError,
        format!("The store's answer is malformed: {what}."),
    )
}

/// Parses a store's document with this root element.
fn store_document<'a>(body: &'a [u8], root: &'static str) -> Result<Element<'a>, S3Error> {
    let element =
        Element::parse(body, &Limits::STORE).map_err(|e| unexpected(&format!("{root}: {e}")))?;
    error_in_200(&element)?;
    if element.name() == root {
        Ok(element)
    } else {
        Err(unexpected(&format!("no {root}")))
    }
}

/// Parses a client's document with this root element; `MalformedXML` otherwise.
fn client_document<'a>(body: &'a [u8], root: &str) -> Result<Element<'a>, S3Error> {
    match Element::parse(body, &Limits::CLIENT) {
        Ok(element) if element.name() == root => Ok(element),
        _ => Err(S3Error::new(ErrorCode::MalformedXML)),
    }
}

/// A key, prefix or marker of a store's listing.
fn listed(text: &str, url: bool) -> Bytes {
    if url {
        encoding::decode_listing(text)
    } else {
        Bytes::copy_from_slice(text.as_bytes())
    }
}

/// Writes a key, prefix or marker the way the client asked for.
fn write_listed(w: &mut Writer, name: &str, bytes: &[u8], url: bool) {
    if url {
        w.percent_encoded(name, bytes);
    } else {
        w.text(name, &String::from_utf8_lossy(bytes));
    }
}

/// Without the quotes around it.
fn unquote(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix('"')
        .and_then(|e| e.strip_suffix('"'))
        .unwrap_or(etag)
}
