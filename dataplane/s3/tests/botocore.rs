//! Requests that botocore signed (`tests/data/generate.py`), verified, routed and read.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sealgate_s3::aws_chunked::{AwsChunked, decoded_length};
use sealgate_s3::checksum::BodyChecks;
use sealgate_s3::copy_source::CopySource;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::{Routed, route};
use sealgate_s3::sigv4::{Authorization, SecretKey, SigningKeyCache, Verified, verify};
use sealgate_s3::xml::{CompleteMultipartUpload, DeleteRequest};
use serde::Deserialize;

const SECRET: &[u8] = b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

#[derive(Deserialize)]
struct Document {
    now: i64,
    requests: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    operation: String,
    bucket: Option<String>,
    key: Option<String>,
    payload: Option<String>,
    source: Option<(String, String)>,
    token: Option<String>,
    #[serde(default)]
    query: std::collections::BTreeMap<String, String>,
    delete: Option<Vec<String>>,
    complete: Option<Vec<(u16, String)>>,
}

impl Request {
    fn method(&self) -> Method {
        self.method.parse().unwrap()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            // The file holds header bytes as Latin-1.
            let bytes: Vec<u8> = value
                .chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap())
                .collect();
            headers.append(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::from_bytes(&bytes).unwrap(),
            );
        }
        headers
    }

    fn route(&self) -> Routed {
        let headers = self.headers();
        let host = headers.get("host").map(HeaderValue::as_bytes);
        route(
            &self.method(),
            self.target.as_bytes(),
            host,
            &headers,
            &["gateway.test".to_owned()],
        )
        .unwrap()
    }

    fn verify(&self, target: &str, headers: &HeaderMap, now: i64) -> Result<Verified, S3Error> {
        let auth = Authorization::parse(target.as_bytes(), headers)?;
        let (secret, mut cache) = (SecretKey::new(SECRET), SigningKeyCache::new());
        verify(
            &auth,
            &secret,
            &mut cache,
            &self.method(),
            target.as_bytes(),
            headers,
            now,
        )
    }
}

fn document() -> Document {
    serde_json::from_str(include_str!("data/botocore.json")).unwrap()
}

#[test]
fn botocores_requests_are_understood() {
    let document = document();
    assert!(document.requests.len() > 100);
    for r in &document.requests {
        let routed = r.route();
        assert_eq!(routed.operation.as_str(), r.expect.operation, "{}", r.name);
        assert_eq!(
            routed.bucket.as_ref().map(|b| b.as_str()),
            r.expect.bucket.as_deref(),
            "{}",
            r.name
        );
        assert_eq!(
            routed.key.as_ref().map(|k| k.as_str()),
            r.expect.key.as_deref(),
            "{}",
            r.name
        );
        for (name, value) in &r.expect.query {
            assert_eq!(routed.query.get(name), Some(value.as_str()), "{}", r.name);
        }
        let headers = r.headers();
        let source = CopySource::from_headers(&headers).unwrap();
        let source = source.map(|s| (s.bucket.into_string(), s.key.as_str().to_owned()));
        assert_eq!(source, r.expect.source, "{}", r.name);
        let auth = Authorization::parse(r.target.as_bytes(), &headers).unwrap();
        assert_eq!(
            auth.session_token(&headers),
            r.expect.token.as_deref(),
            "{}",
            r.name
        );
    }
}

#[test]
fn botocores_signatures_hold_and_any_change_breaks_them() {
    let document = document();
    for r in &document.requests {
        let headers = r.headers();
        r.verify(&r.target, &headers, document.now)
            .unwrap_or_else(|e| panic!("{}: {:?} {:?}", r.name, e, e.detail));
        let code = |target: &str, headers: &HeaderMap| {
            r.verify(target, headers, document.now).unwrap_err().code
        };
        let more = format!(
            "{}{}x=1",
            r.target,
            if r.target.contains('?') { '&' } else { '?' }
        );
        assert_eq!(
            code(&more, &headers),
            ErrorCode::SignatureDoesNotMatch,
            "{}",
            r.name
        );
        let moved = r.target.replacen('/', "/x", 1);
        assert_eq!(
            code(&moved, &headers),
            ErrorCode::SignatureDoesNotMatch,
            "{}",
            r.name
        );
        let mut other = headers.clone();
        other.insert("host", HeaderValue::from_static("elsewhere"));
        assert_eq!(
            code(&r.target, &other),
            ErrorCode::SignatureDoesNotMatch,
            "{}",
            r.name
        );
        let mut added = headers.clone();
        added.insert("x-amz-acl", HeaderValue::from_static("public-read"));
        assert_eq!(
            code(&r.target, &added),
            ErrorCode::AccessDenied,
            "{}",
            r.name
        );
    }
}

#[test]
fn botocores_bodies_are_decoded_and_checked() {
    let document = document();
    let mut streamed = 0;
    for r in &document.requests {
        let headers = r.headers();
        let verified = r.verify(&r.target, &headers, document.now).unwrap();
        let body = hex::decode(&r.body).unwrap();
        let mut checks = BodyChecks::from_headers(&headers, &verified.payload).unwrap();
        let (payload, trailers) = if verified.payload.is_streaming() {
            streamed += 1;
            let len = decoded_length(&headers).unwrap();
            let mut decoder = AwsChunked::new(&verified, &headers, len).unwrap();
            let mut out = vec![0; usize::try_from(len).unwrap()];
            let decoded = decoder.decode(&body, &mut out).unwrap();
            assert!(
                decoded.done && decoded.consumed == body.len() && decoded.produced == out.len(),
                "{}",
                r.name
            );
            (out, decoder.trailers().to_vec())
        } else {
            (body, Vec::new())
        };
        checks.update(&payload);
        let known = checks
            .finish(&trailers)
            .unwrap_or_else(|e| panic!("{}: {e}", r.name));
        if let Some(expected) = &r.expect.payload {
            assert_eq!(payload, expected.as_bytes(), "{}", r.name);
            assert!(
                known.from_client || known.sha256.is_some() || r.name == "unsigned payload",
                "{}",
                r.name
            );
            if !payload.is_empty() && r.name != "unsigned payload" {
                let mut checks = BodyChecks::from_headers(&headers, &verified.payload).unwrap();
                checks.update(&payload[1..]);
                assert!(checks.finish(&trailers).is_err(), "{}", r.name);
            }
        }
        if let Some(keys) = &r.expect.delete {
            let request = DeleteRequest::parse(&payload).unwrap();
            let got: Vec<_> = request
                .objects
                .iter()
                .map(|o| std::str::from_utf8(&o.key).unwrap())
                .collect();
            assert_eq!(got, keys.iter().map(String::as_str).collect::<Vec<_>>());
        }
        if let Some(parts) = &r.expect.complete {
            let request = CompleteMultipartUpload::parse(&payload).unwrap();
            let got: Vec<_> = request
                .parts
                .into_iter()
                .map(|p| (p.number, p.etag))
                .collect();
            assert_eq!(&got, parts);
        }
    }
    assert!(streamed >= 5);
}
