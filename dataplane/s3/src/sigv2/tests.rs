//! The examples of the S3 User Guide, "Signing and authenticating REST requests".

use http::HeaderValue;

use super::*;
use crate::sigv4::Authorization;

const ACCESS: &str = "AKIAIOSFODNN7EXAMPLE";

fn secret() -> SecretKey {
    SecretKey::new(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

fn check(
    method: &Method,
    target: &[u8],
    bucket: Option<&str>,
    headers: &HeaderMap,
    now: i64,
) -> Result<Verified, S3Error> {
    let Authorization::V2(signed) = Authorization::parse(target, headers)? else {
        panic!("not version 2");
    };
    assert_eq!(signed.access_key(), ACCESS);
    signed.verify(&secret(), method, target, bucket, headers, now)
}

type Example = (
    Method,
    &'static [u8],
    Option<&'static str>,
    &'static str,
    &'static [(&'static str, &'static str)],
);

#[test]
fn the_published_examples() {
    let examples: [Example; 7] = [
        (
            Method::GET,
            b"/photos/puppy.jpg",
            Some("johnsmith"),
            "bWq2s1WEIj+Ydj0vQ697zp+IXMU=",
            &[("date", "Tue, 27 Mar 2007 19:36:42 +0000")],
        ),
        (
            Method::PUT,
            b"/photos/puppy.jpg",
            Some("johnsmith"),
            "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
            &[
                ("date", "Tue, 27 Mar 2007 21:15:45 +0000"),
                ("content-type", "image/jpeg"),
                ("content-length", "94328"),
            ],
        ),
        (
            Method::GET,
            b"/?prefix=photos&max-keys=50&marker=puppy",
            Some("johnsmith"),
            "htDYFYduRNen8P9ZfE/s9SuKy0U=",
            &[
                ("date", "Tue, 27 Mar 2007 19:42:41 +0000"),
                ("user-agent", "Mozilla/5.0"),
            ],
        ),
        (
            Method::GET,
            b"/?acl",
            Some("johnsmith"),
            "c2WLPFtWHVgbEmeEG93a4cG37dM=",
            &[("date", "Tue, 27 Mar 2007 19:44:46 +0000")],
        ),
        (
            Method::PUT,
            b"/db-backup.dat.gz",
            Some("static.johnsmith.net"),
            "ilyl83RwaSoYIEdixDQcA4OnAnc=",
            &[
                ("date", "Tue, 27 Mar 2007 21:06:08 +0000"),
                ("x-amz-acl", "public-read"),
                ("content-type", "application/x-download"),
                ("content-md5", "4gJE4saaMU4BqNR0kLY+lw=="),
                ("x-amz-meta-reviewedby", "joe@johnsmith.net"),
                ("x-amz-meta-reviewedby", "jane@johnsmith.net"),
                ("x-amz-meta-filechecksum", "0x02661779"),
                ("x-amz-meta-checksumalgorithm", "crc32"),
                ("content-encoding", "gzip"),
            ],
        ),
        (
            Method::GET,
            b"/",
            None,
            "qGdzdERIC03wnaRNKh6OqZehG9s=",
            &[("date", "Wed, 28 Mar 2007 01:29:59 +0000")],
        ),
        (
            Method::GET,
            b"/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re",
            None,
            "DNEZGsoieTZ92F3bUfSPQcbGmlM=",
            &[("date", "Wed, 28 Mar 2007 01:49:49 +0000")],
        ),
    ];
    for (method, target, bucket, signature, pairs) in examples {
        let mut all = headers(pairs);
        let value = format!("AWS {ACCESS}:{signature}");
        all.insert("authorization", HeaderValue::try_from(value).unwrap());
        let now = time::parse_http_date(pairs[0].1).unwrap();
        let verified = check(&method, target, bucket, &all, now).unwrap();
        assert_eq!(verified.payload, Payload::Unsigned);
        let skewed = check(&method, target, bucket, &all, now + MAX_SKEW + 1).unwrap_err();
        assert_eq!(skewed.code, ErrorCode::RequestTimeTooSkewed);
        // Each of method, resource and headers is covered.
        let wrong = check(&Method::DELETE, target, bucket, &all, now).unwrap_err();
        assert_eq!(wrong.code, ErrorCode::SignatureDoesNotMatch);
        let wrong = check(&method, target, Some("other"), &all, now).unwrap_err();
        assert_eq!(wrong.code, ErrorCode::SignatureDoesNotMatch);
        all.insert("x-amz-acl", HeaderValue::from_static("public-read-write"));
        let wrong = check(&method, target, bucket, &all, now).unwrap_err();
        assert_eq!(wrong.code, ErrorCode::SignatureDoesNotMatch);
    }
}

fn presigned(text: &str, query: &str) -> Vec<u8> {
    let signature = STANDARD.encode(sign(&secret(), text.as_bytes()));
    let mut out = Vec::new();
    crate::encoding::recode_query(signature.as_bytes(), &mut out).unwrap();
    let signature = String::from_utf8(out).unwrap().replace('+', "%2B");
    format!("/b/k?{query}AWSAccessKeyId={ACCESS}&Signature={signature}&Expires=1000").into_bytes()
}

#[test]
fn presigned_urls() {
    let none = HeaderMap::new();
    let target = presigned("GET\n\n\n1000\n/b/k", "");
    assert!(check(&Method::GET, &target, None, &none, 1000).is_ok());
    let late = check(&Method::GET, &target, None, &none, 1001).unwrap_err();
    assert_eq!(late.code, ErrorCode::AccessDenied);
    let other = check(&Method::PUT, &target, None, &none, 1000).unwrap_err();
    assert_eq!(other.code, ErrorCode::SignatureDoesNotMatch);

    // Overrides are signed decoded; headers may have been moved into the query.
    let target = presigned(
        "PUT\n\ntext/plain\n1000\nx-amz-acl:private\n/b/k?response-content-type=a b&uploadId=x",
        "uploadId=x&response-content-type=a%20b&x-amz-acl=private&content-type=text%2Fplain&other=1&",
    );
    assert!(check(&Method::PUT, &target, None, &none, 0).is_ok());
    let twice = [&target[..], b"&Expires=2000"].concat();
    assert!(Authorization::parse(&twice, &none).is_err());
}

#[test]
fn malformed() {
    for value in ["AWS", "AWS x", "AWS :bWq2s1WEIj+Ydj0vQ697zp+IXMU="] {
        let map = headers(&[("authorization", value)]);
        let error = Authorization::parse(b"/b/k", &map).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{value}");
    }
    let none = HeaderMap::new();
    for target in [
        "/b?AWSAccessKeyId=a&Signature=bWq2s1WEIj%2BYdj0vQ697zp%2BIXMU%3D",
        "/b?AWSAccessKeyId=a&Signature=bWq2s1WEIj%2BYdj0vQ697zp%2BIXMU%3D&Expires=-1",
    ] {
        let error = Authorization::parse(target.as_bytes(), &none).unwrap_err();
        assert_eq!(error.code, ErrorCode::AccessDenied, "{target}");
    }
    let map = headers(&[("authorization", "AWS x:bWq2s1WEIj+Ydj0vQ697zp+IXMU=")]);
    let target = b"/b?AWSAccessKeyId=a&Signature=bWq2s1WEIj%2BYdj0vQ697zp%2BIXMU%3D&Expires=1";
    assert!(Authorization::parse(target, &map).is_err());
}
