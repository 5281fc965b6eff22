//! Folder markers: empty objects whose keys end with `/`, which clients make to have a folder without anything in it.
//!
//! Stores that keep objects as files keep no body under such a key, and what is sealed is never empty. So a marker has
//! a layout of its own ([`Layout::Empty`]): no body, and all that is to be known in the envelope. This module decides
//! where that layout is used; it is used nowhere else.

use sealgate_backend::types::{Location, ObjectInfo, Stored};
use sealgate_envelope::envelope::WRAPPED_DEK_LEN;
use sealgate_envelope::law::{CipherLen, listed_plain_len};
use sealgate_envelope::{Envelope, EnvelopeFields, Layout, PlainLen, WrappedKek};
use sealgate_s3::checksum::Known;
use sealgate_s3::error::ErrorCode;
use sealgate_uring::{Connector, Spans};

use crate::checksums;
use crate::failure::Failure;
use crate::object::{Sealed, new_object, seal_envelope, sealed_headers};
use crate::ops::put_object::NewObject;
use crate::request::Request;
use crate::seal::{Source, lease};
use crate::snapshot::BucketRule;

fn names_folder(at: &Location) -> bool {
    at.key.as_ref().ends_with(b"/")
}

/// Whether a new object of `len` plaintext bytes at `at` is a marker.
pub(crate) fn is_marker(at: &Location, len: u64) -> bool {
    len == 0 && names_folder(at)
}

/// Whether a copy of the sealed object `source` is written by the gateway: it begins or ends at a marker, and so does
/// not keep its layout, or is one that the store would not copy (SeaweedFS, versitygw).
pub(crate) fn copies_anew(from: &Location, source: &ObjectInfo, to: &Location) -> bool {
    (names_folder(from) || names_folder(to))
        && listed_plain_len(CipherLen(source.len)) == Some(PlainLen(0))
}

/// Refuses an object that the store would take, and lose.
pub(crate) fn check<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    layout: &Layout,
) -> Result<(), Failure> {
    if matches!(layout, Layout::Empty { .. }) || !names_folder(at) || !rq.store.bare_folders() {
        return Ok(());
    }
    Err(Failure::new(
        ErrorCode::NotImplemented,
        "The store keeps no data under a key that ends with a slash: only an empty object can be put there, in one piece.",
    ))
}

/// Stores a marker. Its body, which is empty, is verified before anything is sent.
pub(crate) async fn put<C: Connector, S: Source>(
    rq: &Request<'_, C>,
    new: NewObject<'_>,
    source: &mut S,
) -> Result<(Stored, Known), Failure> {
    let core = rq.core;
    let known = source.finish().await?;
    let (dek, object_id) = new_object(core);
    let epoch = core.keyring.for_writing(&new.rule.key, 0).await?;
    let checksum = known.checksum.as_ref();
    let layout = Layout::Empty {
        checksum: checksum.map(|sum| checksums::for_format(sum, false).algorithm),
    };
    let envelope = seal_envelope(rq, new.rule, &epoch, new.at, (&dek, object_id), layout)?;
    let headers = sealed_headers(core, new.rule, new.headers, &new.metadata, &dek, &envelope)?;
    let (block, _) = match new.blocks {
        Some(blocks) => blocks,
        None => lease(&core.pool, 0, &rq.snapshot.timeouts).await?,
    };
    let upload = rq.store.put(new.at, &headers, &new.conditions, 0).await?;
    let (stored, _) = upload.finish(block, Spans::contiguous(0..0)).await;
    Ok((stored?, known))
}

/// Whether a stored object is a folder of which the store has kept no more than its name, so that there is nothing to
/// open. Over such a store nobody has ever put data there ([`check`]): an empty answer hides none.
pub(crate) fn is_bare<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    stored: &ObjectInfo,
) -> bool {
    stored.len == 0 && names_folder(at) && rq.store.bare_folders()
}

/// A bare folder as the marker that it stands for: as if sealed just now, without metadata.
pub(crate) fn stand_in<C: Connector>(
    rq: &Request<'_, C>,
    rule: &BucketRule,
    info: ObjectInfo,
) -> Sealed {
    let (dek, object_id) = new_object(rq.core);
    let kek = WrappedKek {
        name: rule.key.clone(),
        version: String::new(),
        wrapped: Vec::new(),
    };
    Sealed {
        envelope: Envelope {
            fields: EnvelopeFields {
                layout: Layout::Empty { checksum: None },
                binding: rule.binding,
                object_id,
                kek,
            },
            wrapped_dek: [0; WRAPPED_DEK_LEN],
        },
        dek: dek.into(),
        info,
        plain_len: 0,
    }
}
