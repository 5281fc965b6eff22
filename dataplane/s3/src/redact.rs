//! Keeps secrets out of logs, traces and metrics (S3-TRAPS 23).

use std::borrow::Cow;

use http::HeaderName;

use crate::encoding;

/// Parameters and headers whose values are never printed, in lower case.
const SECRET: &[&str] = &[
    "authorization",
    "awsaccesskeyid",
    "cookie",
    "proxy-authorization",
    "signature",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
    "x-amz-credential",
    "x-amz-s3session-token",
    "x-amz-security-token",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-signature",
];

/// What stands in place of a secret.
pub const MASK: &str = "REDACTED";

fn is_secret(name: &[u8]) -> bool {
    SECRET
        .iter()
        .any(|s| name.eq_ignore_ascii_case(s.as_bytes()))
}

/// Whether a header's value must not be printed.
pub fn is_secret_header(name: &HeaderName) -> bool {
    is_secret(name.as_str().as_bytes())
}

/// A request-target for the log: secret parameters masked, and bytes that are not printable ASCII percent-encoded, so
/// that a line stays a line.
pub fn target(target: &[u8]) -> String {
    let mut out = String::with_capacity(target.len() + 8);
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    };
    print(path, &mut out);
    for (i, pair) in query
        .into_iter()
        .flat_map(|q| q.split(|b| *b == b'&'))
        .enumerate()
    {
        out.push(if i == 0 { '?' } else { '&' });
        let Some(equals) = memchr::memchr(b'=', pair) else {
            print(pair, &mut out);
            continue;
        };
        let (name, value) = pair.split_at(equals);
        print(name, &mut out);
        out.push('=');
        let decoded = encoding::decode(name, true).unwrap_or(Cow::Borrowed(name));
        if is_secret(decoded.trim_ascii()) {
            out.push_str(MASK);
        } else {
            print(&value[1..], &mut out);
        }
    }
    out
}

fn print(raw: &[u8], out: &mut String) {
    for b in raw {
        if b.is_ascii_graphic() && *b != b'"' && *b != b'\\' {
            out.push(char::from(*b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s3_traps_23_secrets_are_masked() {
        assert_eq!(
            target(b"/b/k?X-Amz-Signature=abc&x-amz-date=1&X-Amz-Security-Token=t=&X%2DAmz-Credential=c&acl"),
            "/b/k?X-Amz-Signature=REDACTED&x-amz-date=1&X-Amz-Security-Token=REDACTED&X%2DAmz-Credential=REDACTED&acl"
        );
        assert_eq!(target(b"/b/\n\"\xff?a=\r"), "/b/%0A%22%FF?a=%0D");
        let key = HeaderName::from_static("x-amz-server-side-encryption-customer-key");
        assert!(is_secret_header(&key) && is_secret_header(&http::header::AUTHORIZATION));
        assert!(!is_secret_header(&http::header::ETAG));
    }

    proptest! {
        #[test]
        fn a_signature_never_shows(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut t = raw.clone();
            t.retain(|b| *b != b'?');
            t.extend_from_slice(b"?X-Amz-Signature=0123456789abcdef&x=1");
            let shown = target(&t);
            prop_assert!(!shown.contains("0123456789abcdef"));
            prop_assert!(shown.bytes().all(|b| b.is_ascii_graphic()));
        }
    }
}
