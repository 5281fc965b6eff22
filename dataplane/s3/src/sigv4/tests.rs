//! AWS's published examples: S3 API Reference, "Authenticating Requests: Using the Authorization Header", "… Using Query
//! Parameters" and "Signature Calculations … Multiple Chunks".

use super::*;
use crate::time::parse_amz_date;
use http::Method;

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const HOST: &str = "examplebucket.s3.amazonaws.com";

fn now() -> i64 {
    parse_amz_date(b"20130524T000000Z").unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut h = HeaderMap::new();
    h.insert("host", HeaderValue::from_static(HOST));
    for (n, v) in pairs {
        h.append(*n, HeaderValue::from_bytes(v.as_bytes()).unwrap());
    }
    h
}

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed},Signature={signature}"
    )
}

fn check_at(method: &Method, target: &str, h: &HeaderMap, now: i64) -> Result<Verified, S3Error> {
    let auth = Authorization::parse(target.as_bytes(), h)?;
    assert_eq!(auth.access_key(), Some(ACCESS_KEY));
    verify(
        &auth,
        &SecretKey::new(SECRET),
        &mut SigningKeyCache::new(),
        method,
        target.as_bytes(),
        h,
        now,
    )
}

fn check(method: &Method, target: &str, h: &HeaderMap) -> Result<Verified, ErrorCode> {
    check_at(method, target, h, now()).map_err(|e| e.code)
}

const GET_SIGNATURE: &str = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";

fn get_object() -> HeaderMap {
    headers(&[
        ("range", "bytes=0-9"),
        (CONTENT_SHA256, EMPTY_SHA256),
        ("x-amz-date", "20130524T000000Z"),
        (
            "authorization",
            &authorization("host;range;x-amz-content-sha256;x-amz-date", GET_SIGNATURE),
        ),
    ])
}

#[test]
fn published_get_object() {
    let v = check(&Method::GET, "/test.txt", &get_object()).unwrap();
    assert!(matches!(v.payload, Payload::Sha256(_)));
    assert_eq!(v.region, "us-east-1");
}

#[test]
fn published_put_object() {
    let hash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let h = headers(&[
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        (CONTENT_SHA256, hash),
        (
            "authorization",
            &authorization(
                "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
            ),
        ),
    ]);
    assert!(check(&Method::PUT, "/test%24file.text", &h).is_ok());
    // The same path, escaped differently, has the same canonical form.
    assert!(check(&Method::PUT, "/test$file.text", &h).is_ok());
    assert_eq!(
        check(&Method::PUT, "/test%2524file.text", &h).unwrap_err(),
        ErrorCode::SignatureDoesNotMatch
    );
}

#[test]
fn published_get_lifecycle_and_list() {
    for (target, signature) in [
        (
            "/?lifecycle",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            "/?max-keys=2&prefix=J",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
        (
            "/?prefix=J&max-keys=2",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let h = headers(&[
            (CONTENT_SHA256, EMPTY_SHA256),
            ("x-amz-date", "20130524T000000Z"),
            (
                "authorization",
                &authorization("host;x-amz-content-sha256;x-amz-date", signature),
            ),
        ]);
        assert!(check(&Method::GET, target, &h).is_ok(), "{target}");
    }
}

const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z\
    &X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
    &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

#[test]
fn published_presigned_url() {
    let v = check(&Method::GET, PRESIGNED, &headers(&[])).unwrap();
    assert_eq!((v.payload, v.presigned), (Payload::Unsigned, true));
}

#[test]
fn s3_traps_3_presigned_urls_live_for_their_time_and_no_skew() {
    let h = headers(&[]);
    for (at, message) in [
        (86_400, None),
        (-900, None),
        (86_401, Some("Request has expired")),
        (-901, Some("Request is not valid yet")),
    ] {
        let result = check_at(&Method::GET, PRESIGNED, &h, now() + at);
        match message {
            None => assert!(result.is_ok(), "{at}"),
            Some(m) => {
                let e = result.unwrap_err();
                assert_eq!((e.code, &*e.message), (ErrorCode::AccessDenied, m));
            }
        }
    }
    for (from, to) in [
        ("Expires=86400", "Expires=604801"),
        ("Expires=86400", "Expires=0"),
        ("Expires=86400", "Expires=-1"),
        ("Expires=86400", "Expires=1h"),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        ("&X-Amz-Date=20130524T000000Z", ""),
        ("&X-Amz-SignedHeaders=host", ""),
        ("SignedHeaders=host", "SignedHeaders=range"),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=20130525T000000Z"),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=yesterday"),
        ("%2Fs3%2F", "%2Fsqs%2F"),
        ("aws4_request", "aws5_request"),
        (
            "&X-Amz-Expires=86400",
            "&X-Amz-Expires=86400&X-Amz-Expires=1",
        ),
    ] {
        let bad = PRESIGNED.replace(from, to);
        assert_eq!(
            check(&Method::GET, &bad, &h).unwrap_err(),
            ErrorCode::AuthorizationQueryParametersError,
            "{to}"
        );
    }
    for changed in [
        PRESIGNED.replace("86400", "86399"),
        format!("{PRESIGNED}&x=1"),
        PRESIGNED.replace("aeeed9", "aeeed8"),
    ] {
        assert_eq!(
            check(&Method::GET, &changed, &h).unwrap_err(),
            ErrorCode::SignatureDoesNotMatch
        );
    }
    let short = PRESIGNED.replace("aeeed9", "");
    assert_eq!(
        check(&Method::GET, &short, &h).unwrap_err(),
        ErrorCode::SignatureDoesNotMatch
    );
}

#[test]
fn s3_traps_3_header_signatures_allow_fifteen_minutes() {
    for (at, ok) in [(-900, true), (900, true), (-901, false), (901, false)] {
        let result = check_at(&Method::GET, "/test.txt", &get_object(), now() + at);
        assert_eq!(
            result.map(drop).map_err(|e| e.code),
            if ok {
                Ok(())
            } else {
                Err(ErrorCode::RequestTimeTooSkewed)
            }
        );
    }
}

#[test]
fn anything_else_is_another_request() {
    let wrong = Err(ErrorCode::SignatureDoesNotMatch);
    let go = |m: Method, t: &str, h: &HeaderMap| check(&m, t, h).map(drop);
    assert_eq!(go(Method::HEAD, "/test.txt", &get_object()), wrong);
    assert_eq!(go(Method::GET, "/test.txt/", &get_object()), wrong);
    assert_eq!(go(Method::GET, "//test.txt", &get_object()), wrong);
    assert_eq!(go(Method::GET, "/./test.txt", &get_object()), wrong);
    assert_eq!(go(Method::GET, "/test.txt?acl", &get_object()), wrong);
    for (name, value) in [
        ("host", "other"),
        ("range", "bytes=0-8"),
        (CONTENT_SHA256, UNSIGNED_PAYLOAD),
    ] {
        let mut h = get_object();
        h.insert(name, HeaderValue::from_static(value));
        assert_eq!(go(Method::GET, "/test.txt", &h), wrong, "{name}");
    }
    // White space and the case of a header's name do not count; a second value does.
    let mut h = get_object();
    h.insert("range", HeaderValue::from_static("  bytes=0-9 "));
    assert_eq!(go(Method::GET, "/test.txt", &h), Ok(()));
    h.append("range", HeaderValue::from_static("bytes=0-9"));
    assert_eq!(go(Method::GET, "/test.txt", &h), wrong);
    // An unsigned header of ours may not be slipped in.
    let mut h = get_object();
    h.insert("x-amz-acl", HeaderValue::from_static("public-read"));
    let e = check_at(&Method::GET, "/test.txt", &h, now()).unwrap_err();
    assert_eq!(
        (e.code, e.detail[0].1.as_str()),
        (ErrorCode::AccessDenied, "x-amz-acl")
    );
    let mut h = get_object();
    h.insert("user-agent", HeaderValue::from_static("any"));
    assert_eq!(go(Method::GET, "/test.txt", &h), Ok(()));
    // The wrong secret.
    let auth = Authorization::parse(b"/test.txt", &get_object()).unwrap();
    let (secret, mut cache) = (SecretKey::new(b"wrong"), SigningKeyCache::new());
    let e = verify(
        &auth,
        &secret,
        &mut cache,
        &Method::GET,
        b"/test.txt",
        &get_object(),
        now(),
    )
    .unwrap_err();
    assert_eq!(e.code, ErrorCode::SignatureDoesNotMatch);
    assert!(e.detail.iter().any(
        |(n, v)| *n == "StringToSign" && v.starts_with("AWS4-HMAC-SHA256\n20130524T000000Z\n")
    ));
    assert!(
        e.detail
            .iter()
            .any(|(n, v)| *n == "CanonicalRequest" && v.ends_with(EMPTY_SHA256))
    );
}

#[test]
fn malformed_authorization() {
    let good = authorization("host;x-amz-content-sha256;x-amz-date", GET_SIGNATURE);
    for (from, to, code) in [
        (
            "AWS4-HMAC-SHA256 ",
            "AWS4-ECDSA-P256-SHA256 ",
            ErrorCode::NotImplemented,
        ),
        ("AWS4-HMAC-SHA256 ", "AWS ", ErrorCode::InvalidArgument),
        ("AWS4-HMAC-SHA256 ", "Bearer ", ErrorCode::InvalidArgument),
        (
            "Credential=",
            "Cred=",
            ErrorCode::AuthorizationHeaderMalformed,
        ),
        ("/us-east-1/", "/", ErrorCode::AuthorizationHeaderMalformed),
        ("/us-east-1/", "//", ErrorCode::AuthorizationHeaderMalformed),
        ("/s3/", "/ec2/", ErrorCode::AuthorizationHeaderMalformed),
        (
            "20130524",
            "2013-5-4",
            ErrorCode::AuthorizationHeaderMalformed,
        ),
        (
            "20130524",
            "20130525",
            ErrorCode::AuthorizationHeaderMalformed,
        ),
        (
            "SignedHeaders=host;",
            "SignedHeaders=",
            ErrorCode::AuthorizationHeaderMalformed,
        ),
        (
            "host;",
            "host;host;",
            ErrorCode::AuthorizationHeaderMalformed,
        ),
        ("host;", "Host;", ErrorCode::AuthorizationHeaderMalformed),
        (
            ",Signature=",
            ",Signature=0",
            ErrorCode::AuthorizationHeaderMalformed,
        ),
        (
            ",Signature=",
            ",Signature=x,Signature=",
            ErrorCode::AuthorizationHeaderMalformed,
        ),
    ] {
        let h = headers(&[
            ("x-amz-date", "20130524T000000Z"),
            (CONTENT_SHA256, EMPTY_SHA256),
            ("authorization", &good.replacen(from, to, 1)),
        ]);
        assert_eq!(
            Authorization::parse(b"/", &h).unwrap_err().code,
            code,
            "{to}"
        );
    }
    let mut h = headers(&[("authorization", &good)]);
    assert_eq!(
        Authorization::parse(b"/", &h).unwrap_err().code,
        ErrorCode::AccessDenied
    );
    h.insert("x-amz-date", HeaderValue::from_static("20130524T000000Z"));
    assert_eq!(
        check(&Method::GET, "/", &h).unwrap_err(),
        ErrorCode::InvalidRequest
    );
    h.insert(CONTENT_SHA256, HeaderValue::from_static("abc"));
    assert_eq!(
        check(&Method::GET, "/", &h).unwrap_err(),
        ErrorCode::InvalidArgument
    );
    assert_eq!(
        Authorization::parse(PRESIGNED.as_bytes(), &h)
            .unwrap_err()
            .code,
        ErrorCode::InvalidArgument
    );
    h.append("authorization", HeaderValue::from_static("x"));
    assert_eq!(
        Authorization::parse(b"/", &h).unwrap_err().code,
        ErrorCode::AuthorizationHeaderMalformed
    );
    let v2 = b"/?AWSAccessKeyId=a&Expires=1&Signature=s";
    let old = Authorization::parse(v2, &headers(&[])).unwrap();
    assert_eq!(old.access_key(), Some("a"));
    assert!(old.is_presigned());
    let refused = verify(
        &old,
        &SecretKey::new(b"s"),
        &mut SigningKeyCache::new(),
        &Method::GET,
        v2,
        &headers(&[]),
        0,
    );
    assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidRequest);
}

#[test]
fn anonymous_requests() {
    let h = headers(&[]);
    let auth = Authorization::parse(b"/k?prefix=X-Amz-Signature", &h).unwrap();
    assert!(auth.access_key().is_none());
    assert_eq!(anonymous(&h).unwrap().payload, Payload::Unsigned);
    let refused = verify(
        &auth,
        &SecretKey::new(b""),
        &mut SigningKeyCache::new(),
        &Method::GET,
        b"/k",
        &h,
        0,
    );
    assert_eq!(refused.unwrap_err().code, ErrorCode::AccessDenied);
    let trailer = headers(&[(CONTENT_SHA256, "STREAMING-UNSIGNED-PAYLOAD-TRAILER")]);
    assert_eq!(
        anonymous(&trailer).unwrap().payload,
        Payload::StreamingUnsignedTrailer
    );
    assert!(
        anonymous(&headers(&[(
            CONTENT_SHA256,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
        )]))
        .is_err()
    );
}

#[test]
fn the_signer_makes_what_the_verifier_takes() {
    let mut signer = Signer::new(
        ACCESS_KEY,
        SecretKey::new(SECRET),
        Some("token/+=".to_owned().into()),
        "eu-x-1",
    );
    let mut cache = SigningKeyCache::new();
    let secret = SecretKey::new(SECRET);
    for (i, payload) in [
        PayloadHash::Unsigned,
        PayloadHash::Empty,
        PayloadHash::of(b"body"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut path = b"/bucket/".to_vec();
        encoding::encode_key("a b//../+%\u{fc}".as_bytes(), &mut path);
        let query = b"uploadId=x%2F%2B&partNumber=1&acl";
        let mut h = HeaderMap::new();
        h.insert(
            "x-amz-meta-x",
            HeaderValue::from_bytes("  ü   y ".as_bytes()).unwrap(),
        );
        h.insert("content-type", HeaderValue::from_static("text/plain"));
        let at = now() + i as i64 * 86_400;
        // A second time, as after a lost connection.
        for _ in 0..2 {
            signer.sign(
                &Method::PUT,
                "store:9000",
                &path,
                query,
                &mut h,
                payload,
                at,
            );
        }
        let target = [&path[..], b"?", query].concat();
        let auth = Authorization::parse(&target, &h).unwrap();
        assert_eq!(auth.session_token(&h), Some("token/+="));
        let v = verify(&auth, &secret, &mut cache, &Method::PUT, &target, &h, at).unwrap();
        match payload {
            PayloadHash::Unsigned => assert_eq!(v.payload, Payload::Unsigned),
            _ => assert!(matches!(v.payload, Payload::Sha256(_))),
        }
        assert!(h["authorization"].is_sensitive());
    }
    // Byte for byte what AWS publishes: the list example.
    let mut signer = Signer::new(ACCESS_KEY, SecretKey::new(SECRET), None, "us-east-1");
    let mut h = HeaderMap::new();
    signer.sign(
        &Method::GET,
        HOST,
        b"/",
        b"max-keys=2&prefix=J",
        &mut h,
        PayloadHash::Empty,
        now(),
    );
    let published = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
    assert!(
        h["authorization"]
            .to_str()
            .unwrap()
            .ends_with(&format!("Signature={published}"))
    );
}

#[test]
fn a_presigned_url_may_carry_a_payload_hash() {
    let mut h = headers(&[]);
    h.insert(CONTENT_SHA256, HeaderValue::from_static(UNSIGNED_PAYLOAD));
    assert!(check(&Method::GET, PRESIGNED, &h).is_ok());
    h.insert(CONTENT_SHA256, HeaderValue::from_static(EMPTY_SHA256));
    assert_eq!(
        check(&Method::GET, PRESIGNED, &h).unwrap_err(),
        ErrorCode::AccessDenied
    );
}

proptest::proptest! {
    #[test]
    fn parsing_never_panics(
        header in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
        fields in "AWS4-HMAC-SHA256 [ACSa-z0-9/=,; -]{0,80}",
        query in "X-Amz-(Algorithm|Signature|Credential)=[A-Za-z0-9/%&=+-]{0,60}",
    ) {
        let target = format!("/?{query}");
        for value in [&header[..], fields.as_bytes()] {
            let mut h = headers(&[("x-amz-date", "20130524T000000Z")]);
            if let Ok(value) = HeaderValue::from_bytes(value) {
                h.insert("authorization", value);
            }
            let _ = Authorization::parse(target.as_bytes(), &h);
            let _ = Authorization::parse(b"/", &h);
        }
    }
}
