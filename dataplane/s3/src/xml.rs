//! S3's documents: a bounded reader, an escaping writer, and a type per document.
//!
//! Element names and their order are those of the Amazon S3 API Reference.

mod attributes;
mod bucket;
#[cfg(test)]
mod compared;
mod copy;
mod delete;
mod list_objects;
mod multipart;
mod pull;
mod reader;
mod shared;
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
pub use shared::Text;
pub use tagging::{MAX_BUCKET_TAGS, MAX_OBJECT_TAGS};
pub use versions::{ListVersionsResult, Tagging, VersionEntry, Versioning};
pub use writer::Writer;

use bytes::Bytes;
use http::StatusCode;

use pull::Pull;

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

/// What is wrong with a store's listing.
enum Fault {
    Xml(XmlError),
    /// An entry lacks something, as this says.
    Without(&'static str),
}

impl From<XmlError> for Fault {
    fn from(e: XmlError) -> Self {
        Self::Xml(e)
    }
}

impl Fault {
    /// As the answer of a gateway to the document of this root.
    fn of(self, root: &str) -> S3Error {
        match self {
            Self::Xml(e) => unexpected(&format!("{root}: {e}")),
            Self::Without(what) => unexpected(what),
        }
    }
}

/// Begins to read a store's document with this root element.
fn store_reader<'a>(body: &'a [u8], root: &'static str) -> Result<Pull<'a>, S3Error> {
    let fault = |e| Fault::Xml(e).of(root);
    let mut reader = Pull::new(body, &Limits::STORE).map_err(fault)?;
    if reader.root().map_err(fault)? == root {
        return Ok(reader);
    }
    // Another one: an error perhaps.
    match store_document(body, root) {
        Err(e) => Err(e),
        Ok(_) => Err(unexpected(&format!("no {root}"))),
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
    w.open(name);
    write_listed_content(w, bytes, url);
    w.close(name);
}

fn write_listed_content(w: &mut Writer, bytes: &[u8], url: bool) {
    if url {
        w.percent_encoded_content(bytes);
    } else {
        w.bytes_content(bytes);
    }
}

/// Without the quotes around it.
fn unquote(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix('"')
        .and_then(|e| e.strip_suffix('"'))
        .unwrap_or(etag)
}
