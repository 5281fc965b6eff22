use std::collections::HashSet;

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn go(method: Method, target: &str) -> Result<Routed, S3Error> {
    route(
        &method,
        target.as_bytes(),
        Some(b"127.0.0.1:9000"),
        &HeaderMap::new(),
        &[],
    )
}

fn key(target: &str) -> String {
    go(Method::GET, target)
        .unwrap()
        .key
        .unwrap()
        .as_str()
        .to_owned()
}

#[test]
fn plain_operations() {
    for (method, target, operation) in [
        (Method::GET, "/", Operation::ListBuckets),
        (Method::GET, "/bucket", Operation::ListObjects),
        (
            Method::GET,
            "/bucket/?list-type=2&prefix=a",
            Operation::ListObjectsV2,
        ),
        (Method::HEAD, "/bucket", Operation::HeadBucket),
        (Method::PUT, "/bucket/", Operation::CreateBucket),
        (Method::DELETE, "/bucket", Operation::DeleteBucket),
        (
            Method::GET,
            "/bucket?location",
            Operation::GetBucketLocation,
        ),
        (
            Method::GET,
            "/bucket?uploads=",
            Operation::ListMultipartUploads,
        ),
        (Method::POST, "/bucket?delete", Operation::DeleteObjects),
        (
            Method::GET,
            "/bucket?inventory",
            Operation::ListBucketInventoryConfigurations,
        ),
        (
            Method::GET,
            "/bucket?inventory&id=1",
            Operation::GetBucketInventoryConfiguration,
        ),
        (
            Method::GET,
            "/bucket?versions",
            Operation::ListObjectVersions,
        ),
        (Method::PUT, "/bucket/k", Operation::PutObject),
        (
            Method::GET,
            "/bucket/k?versionId=3&response-content-type=a%2Fb",
            Operation::GetObject,
        ),
        (Method::GET, "/bucket/k?partNumber=3", Operation::GetObject),
        (
            Method::HEAD,
            "/bucket/k?partNumber=3",
            Operation::HeadObject,
        ),
        (Method::DELETE, "/bucket/k", Operation::DeleteObject),
        (
            Method::POST,
            "/bucket/k?uploads",
            Operation::CreateMultipartUpload,
        ),
        (
            Method::PUT,
            "/bucket/k?partNumber=1&uploadId=u",
            Operation::UploadPart,
        ),
        (
            Method::POST,
            "/bucket/k?uploadId=u",
            Operation::CompleteMultipartUpload,
        ),
        (
            Method::DELETE,
            "/bucket/k?uploadId=u&x-id=AbortMultipartUpload",
            Operation::AbortMultipartUpload,
        ),
        (
            Method::GET,
            "/bucket/k?uploadId=u&max-parts=1",
            Operation::ListParts,
        ),
        (
            Method::GET,
            "/bucket/k?tagging&versionId=1",
            Operation::GetObjectTagging,
        ),
        (
            Method::POST,
            "/bucket/k?select&select-type=2",
            Operation::SelectObjectContent,
        ),
        (
            Method::GET,
            "/bucket/k?X-Amz-Signature=1&X-Amz-Date=2",
            Operation::GetObject,
        ),
        (Method::OPTIONS, "/bucket/k", Operation::CorsPreflight),
        (Method::OPTIONS, "*", Operation::CorsPreflight),
        (
            Method::GET,
            "http://host:1/bucket/k?acl",
            Operation::GetObjectAcl,
        ),
        (Method::GET, "https://host", Operation::ListBuckets),
    ] {
        assert_eq!(
            go(method.clone(), target).unwrap().operation,
            operation,
            "{method} {target}"
        );
    }
}

#[test]
fn copies_are_named_by_their_header() {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-copy-source", HeaderValue::from_static("b/k"));
    let to = |t: &str| {
        route(&Method::PUT, t.as_bytes(), None, &headers, &[])
            .unwrap()
            .operation
    };
    assert_eq!(to("/bucket/k"), Operation::CopyObject);
    let hoisted = "/bucket/k?X-Amz-Copy-Source=b%2Fk&X-Amz-Signature=s";
    assert_eq!(
        go(Method::PUT, hoisted).unwrap().operation,
        Operation::CopyObject
    );
    assert_eq!(
        to("/bucket/k?uploadId=u&partNumber=1"),
        Operation::UploadPartCopy
    );
    headers.insert(
        "content-type",
        HeaderValue::from_static("Multipart/Form-Data; boundary=x"),
    );
    let form = route(&Method::POST, b"/bucket", None, &headers, &[])
        .unwrap()
        .operation;
    assert_eq!(form, Operation::PostObject);
}

#[test]
fn s3_traps_29_unknown_sub_resources_never_become_another_operation() {
    for (method, target, name) in [
        (Method::GET, "/bucket?foo", "foo"),
        (Method::GET, "/bucket?foo=bar&list-type=2", "foo"),
        (Method::GET, "/bucket/k?versions", "versions"),
        (Method::PUT, "/bucket/k?policy", "policy"),
        (Method::DELETE, "/bucket?uploadId=x", "uploadId"),
        (Method::GET, "/bucket?versionId=x", "versionId"),
        (Method::DELETE, "/bucket/k?ACL", "ACL"),
        (Method::GET, "/?Action=AssumeRole", "Action"),
        (Method::PUT, "/bucket/k?append", "append"),
    ] {
        let operation = go(method, target).unwrap().operation;
        assert_eq!(
            operation,
            Operation::NotImplemented(name.into()),
            "{target}"
        );
        let error = operation.not_implemented();
        assert_eq!(error.status().as_u16(), 501);
        assert!(error.message.contains(name));
    }
}

#[test]
fn refused_requests() {
    for (method, target, code) in [
        (Method::POST, "/", ErrorCode::MethodNotAllowed),
        (Method::PATCH, "/bucket/k", ErrorCode::MethodNotAllowed),
        (Method::POST, "/bucket/k", ErrorCode::MethodNotAllowed),
        (
            Method::DELETE,
            "/bucket?location",
            ErrorCode::MethodNotAllowed,
        ),
        (Method::HEAD, "/bucket/k?acl", ErrorCode::MethodNotAllowed),
        (
            Method::GET,
            "/bucket/k?acl&tagging",
            ErrorCode::InvalidArgument,
        ),
        (
            Method::GET,
            "/bucket?list-type=3",
            ErrorCode::InvalidArgument,
        ),
        (
            Method::PUT,
            "/bucket/k?uploadId=u",
            ErrorCode::InvalidArgument,
        ),
        (
            Method::PUT,
            "/bucket/k?partNumber=1",
            ErrorCode::InvalidArgument,
        ),
        (
            Method::DELETE,
            "/bucket/k?partNumber=1",
            ErrorCode::InvalidArgument,
        ),
        (
            Method::PUT,
            "/bucket/k?versionId=1",
            ErrorCode::InvalidArgument,
        ),
        (
            Method::POST,
            "/bucket",
            ErrorCode::RequestIsNotMultiPartContent,
        ),
        (Method::GET, "/b", ErrorCode::InvalidBucketName),
        (Method::GET, "//k", ErrorCode::InvalidBucketName),
        (Method::GET, "/..%2fetc/k", ErrorCode::InvalidBucketName),
        (Method::GET, "/.sealgate/k", ErrorCode::InvalidBucketName),
        (Method::GET, "/bucket/%zz", ErrorCode::InvalidURI),
        (Method::GET, "/bucket/%ff", ErrorCode::InvalidURI),
        (Method::GET, "/bucket/k?prefix=%ff", ErrorCode::InvalidURI),
        (Method::GET, "bucket", ErrorCode::InvalidURI),
        (Method::GET, "", ErrorCode::InvalidURI),
    ] {
        assert_eq!(go(method, target).unwrap_err().code, code, "{target}");
    }
    let long = format!("/bucket/{}", "k".repeat(1025));
    assert_eq!(
        go(Method::GET, &long).unwrap_err().code,
        ErrorCode::KeyTooLongError
    );
    assert!(go(Method::GET, &long[..long.len() - 1]).is_ok());
}

#[test]
fn s3_traps_14_keys_are_kept_byte_for_byte() {
    for (target, want) in [
        ("/bucket/a//b", "a//b"),
        ("/bucket//", "/"),
        ("/bucket///x", "//x"),
        ("/bucket/a/../b/./c", "a/../b/./c"),
        ("/bucket/..", ".."),
        ("/bucket/a/", "a/"),
        ("/bucket/a+b%2B%20c", "a+b+ c"),
        ("/bucket/%25%2525", "%%25"),
        ("/bucket/%00%01%0a%0D%7f", "\0\u{1}\n\r\u{7f}"),
        ("/bucket/%C3%BC\u{fc}", "\u{fc}\u{fc}"),
        ("/bucket/a%2Fb%3Fc%23", "a/b?c#"),
        ("/bucket/a&b=c;d", "a&b=c;d"),
    ] {
        assert_eq!(key(target), want, "{target}");
    }
}

#[test]
fn s3_traps_22_virtual_hosts() {
    let bases = ["s3.example.com".to_owned(), "example.com".to_owned()];
    let at = |host: &str, target: &str| {
        let r = route(
            &Method::GET,
            target.as_bytes(),
            Some(host.as_bytes()),
            &HeaderMap::new(),
            &bases,
        )
        .unwrap();
        (
            r.bucket.map(Bucket::into_string),
            r.key.map(|k| k.as_str().to_owned()),
        )
    };
    let some = |s: &str| Some(s.to_owned());
    assert_eq!(
        at("my.bucket.s3.example.com:9000", "/a/b"),
        (some("my.bucket"), some("a/b"))
    );
    assert_eq!(at("BUCKET.S3.Example.com.", "/"), (some("bucket"), None));
    assert_eq!(
        at("bucket.example.com", "//x"),
        (some("bucket"), some("/x"))
    );
    assert_eq!(
        at("s3.example.com", "/bucket/x"),
        (some("bucket"), some("x"))
    );
    assert_eq!(at("other.org", "/bucket/x"), (some("bucket"), some("x")));
    assert_eq!(at("127.0.0.1:80", "/bucket/x"), (some("bucket"), some("x")));
    assert_eq!(at("[::1]:80", "/bucket/x"), (some("bucket"), some("x")));
    let hidden = route(
        &Method::GET,
        b"/x",
        Some(b".s3.example.com"),
        &HeaderMap::new(),
        &bases,
    );
    assert_eq!(hidden.unwrap_err().code, ErrorCode::InvalidBucketName);
}

#[test]
fn every_operation_can_be_reached_and_is_named_once() {
    let mut reached: HashSet<Operation> = SUB_RESOURCES.iter().map(|(.., o)| o.clone()).collect();
    use Operation as O;
    reached.extend([
        O::ListBuckets,
        O::ListObjects,
        O::ListObjectsV2,
        O::HeadBucket,
        O::CreateBucket,
        O::DeleteBucket,
        O::PostObject,
        O::GetObject,
        O::HeadObject,
        O::PutObject,
        O::DeleteObject,
        O::CopyObject,
        O::UploadPart,
        O::UploadPartCopy,
        O::CompleteMultipartUpload,
        O::AbortMultipartUpload,
        O::ListParts,
        O::CorsPreflight,
        O::ListBucketAnalyticsConfigurations,
        O::ListBucketIntelligentTieringConfigurations,
        O::ListBucketInventoryConfigurations,
        O::ListBucketMetricsConfigurations,
    ]);
    let names: HashSet<&str> = Operation::ALL.iter().map(Operation::as_str).collect();
    assert_eq!(names.len(), Operation::ALL.len());
    for operation in Operation::ALL {
        assert!(reached.contains(operation), "{operation} cannot be reached");
    }
    let rules: HashSet<_> = SUB_RESOURCES
        .iter()
        .map(|(l, s, v, _)| format!("{l:?}{s}{v:?}"))
        .collect();
    assert_eq!(rules.len(), SUB_RESOURCES.len());
}

#[test]
fn parameters() {
    let q = Query::parse(b"a=1&b&c=x%20y+z&&=v&n=-1").unwrap();
    assert_eq!(
        (q.get("a"), q.get("b"), q.get("c"), q.get("d")),
        (Some("1"), Some(""), Some("x y z"), None)
    );
    assert_eq!(q.number::<u64>("a").unwrap(), Some(1));
    assert_eq!(q.number::<u64>("b").unwrap(), None);
    assert!(q.number::<i64>("n").is_err());
    assert!(Query::parse(&b"a&".repeat(129)).is_err());
    assert!(
        Query::parse(b"encoding-type=xml")
            .unwrap()
            .url_encoded()
            .is_err()
    );
    let q =
        Query::parse(b"X-Amz-Signature=s&x-amz-acl=private&X-Amz-Meta-A=b&X-Amz-Security-Token=t")
            .unwrap();
    let mut h = HeaderMap::new();
    h.insert("x-amz-acl", HeaderValue::from_static("kept"));
    q.hoisted_headers(&mut h);
    assert_eq!(
        (&h["x-amz-acl"], &h["x-amz-meta-a"], h.len()),
        (&"kept".parse().unwrap(), &"b".parse().unwrap(), 2)
    );
}

proptest! {
    #[test]
    fn route_never_panics(
        method in prop_oneof![Just(Method::GET), Just(Method::PUT), Just(Method::POST), Just(Method::DELETE), Just(Method::HEAD)],
        target in proptest::collection::vec(any::<u8>(), 0..60),
        shaped in "/[a-z%/.]{0,8}/[a-z%/.0-9]{0,8}\\?[a-zA-Z=&%-]{0,20}",
        host in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let bases = ["a.b".to_owned(), String::new()];
        let _ = route(&method, &target, Some(&host), &HeaderMap::new(), &bases);
        let _ = route(&method, shaped.as_bytes(), Some(&host), &HeaderMap::new(), &bases);
    }

    #[test]
    fn every_key_round_trips(text in "(?s:.{1,200})") {
        prop_assume!(text.len() <= MAX_KEY_LEN);
        let mut target = b"/bucket/".to_vec();
        encode_key(text.as_bytes(), &mut target);
        let routed = route(&Method::GET, &target, None, &HeaderMap::new(), &[]).unwrap();
        let key = routed.key.unwrap();
        prop_assert_eq!(key.as_ref(), text.as_bytes());
        prop_assert_eq!(routed.operation, Operation::GetObject);
    }
}
