use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// The example of the S3 API Reference, "Example: Browser-Based Upload using HTTP POST (Using AWS Signature Version 4)",
/// whose lines end with CRLF.
const EXAMPLE: &str = r#"{ "expiration": "2015-12-30T12:00:00.000Z",
  "conditions": [
    {"bucket": "sigv4examplebucket"},
    ["starts-with", "$key", "user/user1/"],
    {"acl": "public-read"},
    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},
    ["starts-with", "$Content-Type", "image/"],
    {"x-amz-meta-uuid": "14365123651274"},
    {"x-amz-server-side-encryption": "AES256"},
    ["starts-with", "$x-amz-meta-tag", ""],

    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
    {"x-amz-date": "20151229T000000Z" }
  ]
}"#;
const NOW: i64 = 1_451_390_000;

type Fields = Vec<(String, String)>;

fn example() -> Fields {
    let policy = STANDARD.encode(EXAMPLE.replace('\n', "\r\n"));
    [
        ("key", "user/user1/${filename}"),
        ("acl", "public-read"),
        (
            "success_action_redirect",
            "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
        ),
        ("Content-Type", "image/jpeg"),
        ("x-amz-meta-uuid", "14365123651274"),
        ("x-amz-server-side-encryption", "AES256"),
        (
            "X-Amz-Credential",
            "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
        ),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Date", "20151229T000000Z"),
        ("x-amz-meta-tag", ""),
        ("Policy", &policy),
        (
            "X-Amz-Signature",
            "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
        ),
    ]
    .map(|(n, v)| (n.to_owned(), v.to_owned()))
    .to_vec()
}

fn secret() -> SecretKey {
    SecretKey::new(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
}

#[test]
fn the_published_example() {
    let form = Form::new(example(), "C:\\photos\\a b.jpg").unwrap();
    assert_eq!(
        form.access_key().unwrap().as_deref(),
        Some("AKIAIOSFODNN7EXAMPLE")
    );
    form.verify(&secret(), &mut SigningKeyCache::new()).unwrap();
    assert_eq!(
        form.check_policy("sigv4examplebucket", NOW).unwrap(),
        (0, u64::MAX)
    );
    assert_eq!(form.key().unwrap(), "user/user1/a b.jpg");
    let headers = form.headers().unwrap();
    assert_eq!(headers["x-amz-acl"], "public-read");
    assert_eq!(headers["content-type"], "image/jpeg");
    assert_eq!(headers["x-amz-meta-uuid"], "14365123651274");
    assert!(!headers.contains_key("x-amz-date") && !headers.contains_key("policy"));
    assert!(form.redirect().is_some());
    let wrong = SecretKey::new(b"other");
    let error = form
        .verify(&wrong, &mut SigningKeyCache::new())
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::SignatureDoesNotMatch);
}

#[test]
fn what_the_policy_does_not_allow() {
    let denied = |change: &dyn Fn(&mut Fields), bucket: &str, now: i64| {
        let mut fields = example();
        change(&mut fields);
        let form = Form::new(fields, "x").unwrap();
        let error = form.check_policy(bucket, now).unwrap_err();
        assert_eq!(error.code, ErrorCode::AccessDenied);
        error.message.into_owned()
    };
    let none = |_: &mut Fields| {};
    let late = denied(&none, "sigv4examplebucket", 1_451_476_800);
    assert_eq!(late, "Invalid according to Policy: Policy expired.");
    assert!(denied(&none, "other", NOW).contains(r#"["eq", "$bucket", "#));
    let key = denied(
        &|f| f[0].1 = "user/user2/x".into(),
        "sigv4examplebucket",
        NOW,
    );
    assert!(
        key.contains("[\"starts-with\",\"$key\",\"user/user1/\"]"),
        "{key}"
    );
    assert!(denied(&|f| f[1].1 = "private".into(), "sigv4examplebucket", NOW).contains("acl"));
    let list = denied(
        &|f| f[3].1 = "image/png, text/html".into(),
        "sigv4examplebucket",
        NOW,
    );
    assert!(list.contains("Content-Type"));
    assert!(denied(&|f| drop(f.remove(9)), "sigv4examplebucket", NOW).contains("x-amz-meta-tag"));
    let extra = denied(
        &|f| f.push(("x-amz-storage-class".into(), "GLACIER".into())),
        "sigv4examplebucket",
        NOW,
    );
    assert_eq!(
        extra,
        "Invalid according to Policy: Extra input fields: x-amz-storage-class"
    );
    let mut fields = example();
    fields.push(("x-ignore-me".into(), "1".into()));
    let form = Form::new(fields, "x").unwrap();
    assert!(form.check_policy("sigv4examplebucket", NOW).is_ok());
}

#[test]
fn policies_that_are_none() {
    let check = |text: &str| {
        Policy::parse(&STANDARD.encode(text))
            .map(|_| ())
            .map_err(|e| e.code)
    };
    let head = r#"{"expiration":"2030-01-01T00:00:00Z","conditions":"#;
    for conditions in [
        "1",
        "[1]",
        "[{}]",
        r#"[{"a":"b","c":"d"}]"#,
        r#"[{"a":1}]"#,
        r#"[["eq","$a"]]"#,
        r#"[["eq","a","b"]]"#,
        r#"[["ends-with","$a","b"]]"#,
        r#"[["content-length-range",-1,2]]"#,
        r#"[["content-length-range","a",2]]"#,
    ] {
        let got = check(&format!("{head}{conditions}}}"));
        assert_eq!(got, Err(ErrorCode::InvalidPolicyDocument), "{conditions}");
    }
    for text in [
        "",
        "[]",
        r#"{"EXPIRATION":"2030-01-01T00:00:00Z","conditions":[]}"#,
        r#"{"expiration":"2030-01-01 00:00","conditions":[]}"#,
        // S3 takes UTC in this one form; Ceph's s3-tests test_post_object_invalid_date_format.
        r#"{"expiration":"2030-01-01 00:00:00.5Z","conditions":[]}"#,
        r#"{"expiration":"2030-01-01T00:00:00+00:00","conditions":[]}"#,
        r#"{"expiration":"2030-01-01T00:00:00Z"}"#,
    ] {
        assert_eq!(check(text), Err(ErrorCode::InvalidPolicyDocument), "{text}");
    }
    assert!(Policy::parse("%").is_err());
    let good =
        r#"[["EQ","$a","\$x\v"],["content-length-range",1,"20"],["content-length-range",5,30]]"#;
    let policy = Policy::parse(&STANDARD.encode(format!("{head}{good}}}"))).unwrap();
    assert_eq!(policy.check(&[("a", "$x\u{b}")], 0).unwrap(), (5, 20));
}

#[test]
fn fields_that_are_missing_or_twice() {
    let mut fields = example();
    fields.push(("KEY".into(), "x".into()));
    assert!(Form::new(fields, "").is_err());
    for gone in [
        "X-Amz-Signature",
        "X-Amz-Date",
        "X-Amz-Credential",
        "X-Amz-Algorithm",
    ] {
        let fields = example().into_iter().filter(|(n, _)| n != gone).collect();
        let form = Form::new(fields, "").unwrap();
        let error = form
            .verify(&secret(), &mut SigningKeyCache::new())
            .unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{gone}");
    }
    assert!(Form::new(Vec::new(), "").unwrap().key().is_err());
}

#[test]
fn version_2_tags_and_answers() {
    let policy = STANDARD.encode("policy");
    let signature = STANDARD.encode(sigv2::sign(&secret(), policy.as_bytes()));
    let tagging = "<Tagging><TagSet><Tag><Key>a b</Key><Value>c&amp;d</Value></Tag><Tag><Key>e</Key><Value/></Tag></TagSet></Tagging>";
    let fields = [
        ("AWSAccessKeyId", "A"),
        ("signature", &signature),
        ("policy", &policy),
        ("tagging", tagging),
        ("success_action_status", "201"),
        ("redirect", "javascript:alert(1)"),
        ("submit", "Upload"),
    ];
    let form = Form::new(
        fields.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
        "",
    )
    .unwrap();
    assert!(form.is_v2());
    assert_eq!(form.access_key().unwrap().as_deref(), Some("A"));
    form.verify(&secret(), &mut SigningKeyCache::new()).unwrap();
    let wrong = SecretKey::new(b"x");
    assert!(form.verify(&wrong, &mut SigningKeyCache::new()).is_err());
    assert_eq!(form.headers().unwrap()["x-amz-tagging"], "a%20b=c%26d&e=");
    assert_eq!((form.status(), form.redirect()), (201, None));
    assert_eq!(
        redirect_location("https://a/x?y=1", "b", "k ü", "\"e-0\""),
        "https://a/x?y=1&bucket=b&key=k%20%C3%BC&etag=%22e-0%22"
    );
}
