//! Documents: a page of 1,000 keys read from the store and written for the client, and the two long ones that clients
//! send.

use std::fmt::Write as _;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use sealgate_s3::xml::{CompleteMultipartUpload, DeleteRequest, ListObjectsResult};

const ENTRIES: usize = 1000;

fn document(root: &str, head: &str, entry: impl Fn(usize) -> String) -> Vec<u8> {
    let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}>{head}");
    for i in 1..=ENTRIES {
        text += &entry(i);
    }
    let _ = write!(text, "</{root}>");
    text.into_bytes()
}

pub(crate) fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("xml");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    let listing = document(
        "ListBucketResult",
        "<Name>bucket</Name><Prefix></Prefix><EncodingType>url</EncodingType><KeyCount>1000</KeyCount>\
         <MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>",
        |i| {
            format!(
                "<Contents><Key>a/folder/of/ordinary/depth/object-{i:06}.bin</Key>\
                 <LastModified>2013-05-24T00:00:00.000Z</LastModified>\
                 <ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>{i}</Size>\
                 <StorageClass>STANDARD</StorageClass></Contents>"
            )
        },
    );
    let listing = Bytes::from(listing);
    let rewrite = || ListObjectsResult::parse(black_box(&listing)).map(|page| page.to_xml());
    assert!(rewrite().is_ok());
    group.bench_function("rewrite a listing of 1,000", |b| b.iter(rewrite));

    let delete = document("Delete", "<Quiet>true</Quiet>", |i| {
        format!("<Object><Key>a/folder/of/ordinary/depth/object-{i:06}.bin</Key></Object>")
    });
    assert!(DeleteRequest::parse(&delete).is_ok());
    group.bench_function("parse a Delete of 1,000", |b| {
        b.iter(|| DeleteRequest::parse(black_box(&delete)));
    });

    let complete = document("CompleteMultipartUpload", "", |i| {
        format!(
            "<Part><PartNumber>{i}</PartNumber><ETag>\"d41d8cd98f00b204e9800998ecf8427e\"</ETag></Part>"
        )
    });
    assert!(CompleteMultipartUpload::parse(&complete).is_ok());
    group.bench_function("parse a CompleteMultipartUpload of 1,000", |b| {
        b.iter(|| CompleteMultipartUpload::parse(black_box(&complete)));
    });
    group.finish();
}
