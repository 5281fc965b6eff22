//! CreateMultipartUpload.

use sealgate_backend::Store;
use sealgate_envelope::{Layout, UploadId};
use sealgate_s3::error::ErrorCode;
use sealgate_s3::xml::InitiateMultipartUploadResult;
use sealgate_uring::Connector;

use crate::checksums::Declared;
use crate::failure::Failure;
use crate::object::{
    check_directory_headers, client_metadata, new_object, seal_envelope, sealed_headers,
    system_headers,
};
use crate::pass;
use crate::reply::{Reply, set_encryption};
use crate::request::Request;
use crate::uploads;

/// What an upload's KEK is charged with: its length is not known yet, and it may be the longest there is.
const CHARGED: u64 = 1 << 30;

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    if let Store::Fs(_) = rq.store {
        check_directory_headers(rq.headers)?;
    }
    let core = rq.core;
    let declared = if rule.encrypt {
        Declared::of(rq.headers)?
    } else {
        None
    };
    let (upload_id, kept) = if rule.encrypt {
        let (dek, object_id) = new_object(core);
        let epoch = core.keyring.for_writing(&rule.key, CHARGED).await?;
        let envelope = seal_envelope(rq, rule, &epoch, &at, (&dek, object_id), Layout::Multipart)?;
        let metadata = client_metadata(rq.headers)?;
        let system = system_headers(rq.headers)?;
        let headers = sealed_headers(core, rule, system, &metadata, &dek, &envelope)?;
        let created = rq.store.create_upload(&at, &headers).await?;
        match UploadId::seal(
            &dek,
            &uploads::with_declared(&created.id, declared),
            &envelope,
        ) {
            Ok(id) => (id, created.headers),
            Err(e) => {
                // Nobody will ever name this upload: it must not stay.
                let _ = rq.store.abort_upload(&at, &created.id).await;
                return Err(Failure::new(
                    ErrorCode::InternalError,
                    format!("The upload id cannot be given out: {e}."),
                ));
            }
        }
    } else {
        let headers = pass::headers(rq)?;
        let created = rq.store.create_upload(&at, &headers).await?;
        (created.id, created.headers)
    };
    let result = InitiateMultipartUploadResult {
        bucket: at.bucket.clone(),
        key: at.key.as_bytes().clone(),
        upload_id,
    };
    let mut reply = Reply::xml(result.to_xml()).with_all(&kept);
    if rule.encrypt {
        set_encryption(&mut reply.headers, &rule.key);
        if let Some(declared) = declared {
            declared.describe(&mut reply.headers);
        }
    }
    Ok(reply)
}
