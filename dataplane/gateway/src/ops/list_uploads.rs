//! ListMultipartUploads. It shows the store's upload ids: the sealed state is with the client that began an upload.

use bytes::Bytes;
use sealgate_backend::types::UploadsRequest;
use sealgate_s3::xml::{ListMultipartUploadsResult, UploadEntry};
use sealgate_uring::Connector;

use crate::failure::Failure;
use crate::ops::buckets::owner;
use crate::ops::list_objects::{MAX_PAGE, page_size};
use crate::reply::Reply;
use crate::request::Request;

pub(crate) async fn run<C: Connector>(rq: &Request<'_, C>) -> Result<Reply, Failure> {
    let query = &rq.routed.query;
    let text = |name| Bytes::copy_from_slice(query.get(name).unwrap_or("").as_bytes());
    let asked = page_size(query.number::<i64>("max-uploads")?, "max-uploads")?.clamp(1, MAX_PAGE);
    let request = UploadsRequest {
        prefix: text("prefix"),
        delimiter: text("delimiter"),
        key_marker: text("key-marker"),
        upload_id_marker: query.get("upload-id-marker").unwrap_or("").to_owned(),
        max_uploads: asked,
    };
    let page = rq.store.list_uploads(rq.bucket()?, &request).await?;
    let result = ListMultipartUploadsResult {
        bucket: rq.bucket()?.to_owned(),
        key_marker: request.key_marker,
        upload_id_marker: request.upload_id_marker,
        is_truncated: page.next.is_some(),
        next: page.next,
        prefix: request.prefix,
        delimiter: request.delimiter,
        url_encoded: query.url_encoded()?,
        max_uploads: asked as u64,
        uploads: page
            .uploads
            .into_iter()
            .map(|upload| UploadEntry {
                key: upload.key,
                upload_id: upload.upload_id,
                owner: owner(),
                storage_class: Some("STANDARD".into()),
                initiated: upload.initiated,
            })
            .collect(),
        common_prefixes: page.common_prefixes,
    };
    Ok(Reply::xml(result.to_xml()))
}
