//! The few XML documents, written and read by hand: all text in them is ours or a key as it was
//! percent-encoded on the wire, which needs no escaping.

use super::object::Object;
use super::state::Upload;

/// Part numbers and ETags of a CompleteMultipartUpload request. ETags come quoted, plainly or as
/// `&quot;`; they are not compared.
pub(super) fn completed_parts(document: &str) -> Option<Vec<u16>> {
    let mut parts = Vec::new();
    let mut rest = document;
    while let Some((_, after)) = rest.split_once("<PartNumber>") {
        let (number, after) = after.split_once("</PartNumber>")?;
        parts.push(number.trim().parse().ok()?);
        rest = after;
    }
    (!parts.is_empty()).then_some(parts)
}

pub(super) fn error(code: &str, resource: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>{code}</Message><Resource>/{resource}</Resource>\
         <RequestId>0</RequestId></Error>"
    )
}

pub(super) fn initiated(path: &str, id: &str) -> String {
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<InitiateMultipartUploadResult>\
         <Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
         </InitiateMultipartUploadResult>"
    )
}

pub(super) fn completed(path: &str, etag: &str) -> String {
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CompleteMultipartUploadResult>\
         <Location>/{path}</Location><Bucket>{bucket}</Bucket><Key>{key}</Key>\
         <ETag>{}</ETag></CompleteMultipartUploadResult>",
        etag.replace('"', "&quot;")
    )
}

pub(super) fn location() -> String {
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint \
     xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></LocationConstraint>"
        .to_owned()
}

/// ListObjectsV2: the first `most` of the objects, whose keys are percent-encoded.
pub(super) fn listing(bucket: &str, found: &[(&str, &Object)], most: usize) -> String {
    let page = &found[..most.min(found.len())];
    let truncated = page.len() < found.len();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult><Name>{bucket}</Name>\
         <Prefix></Prefix><EncodingType>url</EncodingType><KeyCount>{}</KeyCount>\
         <MaxKeys>{most}</MaxKeys><IsTruncated>{truncated}</IsTruncated>",
        page.len(),
    );
    if let Some((last, _)) = page.last().filter(|_| truncated) {
        text += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
    }
    for (key, object) in page {
        text += &format!(
            "<Contents><Key>{key}</Key><LastModified>{}</LastModified><ETag>{}</ETag>\
             <Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            iso8601(object.modified),
            object.etag.replace('"', "&quot;"),
            object.len,
        );
    }
    text + "</ListBucketResult>"
}

/// ListParts: up to `most` parts after number `after`.
pub(super) fn parts(upload: &Upload, id: &str, after: u16, most: usize) -> String {
    let (bucket, key) = upload.path.split_once('/').unwrap_or((&upload.path, ""));
    let mut rest = upload.parts.range(after.saturating_add(1)..);
    let page: Vec<_> = rest.by_ref().take(most).collect();
    let truncated = rest.next().is_some();
    let next = page.last().map_or(after, |(n, _)| **n);
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListPartsResult><Bucket>{bucket}</Bucket>\
         <Key>{key}</Key><UploadId>{id}</UploadId><StorageClass>STANDARD</StorageClass>\
         <PartNumberMarker>{after}</PartNumberMarker>\
         <NextPartNumberMarker>{next}</NextPartNumberMarker><MaxParts>{most}</MaxParts>\
         <IsTruncated>{truncated}</IsTruncated>"
    );
    for (number, part) in page {
        text += &format!(
            "<Part><PartNumber>{number}</PartNumber><LastModified>{}</LastModified>\
             <ETag>{}</ETag><Size>{}</Size></Part>",
            iso8601(part.modified),
            part.etag.replace('"', "&quot;"),
            part.run.len,
        );
    }
    text + "</ListPartsResult>"
}

fn iso8601(seconds: u64) -> String {
    sealgate_s3::time::iso8601(seconds as i64 * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_numbers_are_found() {
        let document = "<CompleteMultipartUpload><Part><ETag>\"a\"</ETag><PartNumber>1</PartNumber>\
                        </Part><Part><PartNumber> 7</PartNumber><ETag>b</ETag></Part>\
                        </CompleteMultipartUpload>";
        assert_eq!(completed_parts(document), Some(vec![1, 7]));
        assert_eq!(completed_parts("<CompleteMultipartUpload/>"), None);
        assert_eq!(completed_parts("<PartNumber>x</PartNumber>"), None);
    }
}
