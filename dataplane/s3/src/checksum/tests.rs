use super::*;

const BODY: &[u8] = b"123456789";
const CRC32: &str = "y/Q5Jg==";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut h = HeaderMap::new();
    for (n, v) in pairs {
        h.append(*n, HeaderValue::from_str(v).unwrap());
    }
    h
}

fn check(
    pairs: &[(&'static str, &str)],
    payload: Payload,
    trailers: &[(&str, &str)],
) -> Result<Known, ErrorCode> {
    let mut checks = BodyChecks::from_headers(&headers(pairs), &payload).map_err(|e| e.code)?;
    let (a, b) = BODY.split_at(4);
    checks.update(a);
    checks.update(b);
    let trailers: Vec<_> = trailers
        .iter()
        .map(|(n, v)| (n.to_string(), v.to_string()))
        .collect();
    checks.finish(&trailers).map_err(|e| e.code)
}

#[test]
fn s3_traps_4_checksums_of_clients() {
    let plain = || Payload::Unsigned;
    assert_eq!(check(&[], plain(), &[]), Ok(Known::default()));
    for algorithm in Algorithm::ALL {
        let mut h = Hasher::new(algorithm);
        h.update(BODY);
        let right = h.finish();
        let known = check(&[(algorithm.header(), &right.to_base64())], plain(), &[]).unwrap();
        assert_eq!((known.checksum, known.from_client), (Some(right), true));
        let wrong = Hasher::new(algorithm).finish().to_base64();
        assert_eq!(
            check(&[(algorithm.header(), &wrong)], plain(), &[]),
            Err(ErrorCode::BadDigest)
        );
        assert_eq!(
            check(&[(algorithm.header(), "AA==")], plain(), &[]),
            Err(ErrorCode::InvalidRequest)
        );

        let trailing = &[
            ("x-amz-trailer", algorithm.header()),
            ("x-amz-sdk-checksum-algorithm", algorithm.as_str()),
        ];
        let stream = || Payload::StreamingUnsignedTrailer;
        let value = right.to_base64();
        assert!(
            check(trailing, stream(), &[(algorithm.header(), &value)])
                .unwrap()
                .from_client
        );
        assert_eq!(
            check(trailing, stream(), &[(algorithm.header(), &wrong)]),
            Err(ErrorCode::BadDigest)
        );
        assert_eq!(
            check(trailing, stream(), &[]),
            Err(ErrorCode::MalformedTrailerError)
        );
        assert_eq!(
            check(trailing, stream(), &[(algorithm.header(), "!")]),
            Err(ErrorCode::InvalidRequest)
        );
        assert_eq!(
            check(trailing, plain(), &[]),
            Err(ErrorCode::InvalidRequest)
        );
    }
}

#[test]
fn contradictory_checksums() {
    for pairs in [
        &[
            ("x-amz-checksum-crc32", CRC32),
            ("x-amz-checksum-sha1", "98O8HYCOBHMq32eZZczDTKeuNEE="),
        ][..],
        &[
            ("x-amz-checksum-crc32", CRC32),
            ("x-amz-checksum-crc32", CRC32),
        ],
        &[
            ("x-amz-checksum-crc32", CRC32),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
        ],
        &[("x-amz-checksum-md4", CRC32)],
        &[("x-amz-trailer", "x-amz-checksum-md4")],
        &[("x-amz-sdk-checksum-algorithm", "CRC32")],
        &[
            ("x-amz-sdk-checksum-algorithm", "MD4"),
            ("x-amz-checksum-crc32", CRC32),
        ],
        &[
            ("x-amz-sdk-checksum-algorithm", "SHA1"),
            ("x-amz-checksum-crc32", CRC32),
        ],
    ] {
        assert_eq!(
            check(pairs, Payload::StreamingUnsignedTrailer, &[]),
            Err(ErrorCode::InvalidRequest),
            "{pairs:?}"
        );
    }
    // Neither a mode nor a type is a value.
    let harmless = &[
        ("x-amz-checksum-mode", "ENABLED"),
        ("x-amz-checksum-type", "FULL_OBJECT"),
        ("x-amz-checksum-algorithm", "CRC32"),
    ];
    assert_eq!(
        check(harmless, Payload::Unsigned, &[]),
        Ok(Known::default())
    );
}

#[test]
fn content_md5_is_compared() {
    let right = "JfnnlDI7RTiF9RgfG2JNCw==";
    assert_eq!(content_md5_of(BODY), right);
    assert!(
        check(&[("content-md5", right)], Payload::Unsigned, &[])
            .unwrap()
            .md5
            .is_some()
    );
    let empty = "1B2M2Y8AsgTpgAmY7PhCfg==";
    assert_eq!(
        check(&[("content-md5", empty)], Payload::Unsigned, &[]),
        Err(ErrorCode::BadDigest)
    );
    for bad in [
        "",
        "x",
        "JfnnlDI7RTiF9RgfG2JN",
        "25f9e794323b453885f5181f1b624d0b",
    ] {
        assert_eq!(
            check(&[("content-md5", bad)], Payload::Unsigned, &[]),
            Err(ErrorCode::InvalidDigest),
            "{bad}"
        );
    }
}

#[test]
fn s3_traps_2_the_payload_hash_is_compared() {
    let mut hash = [0; 32];
    hex::decode_to_slice(
        "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
        &mut hash,
    )
    .unwrap();
    assert_eq!(
        check(&[], Payload::Sha256(hash), &[]).unwrap().sha256,
        Some(hash)
    );
    hash[31] ^= 1;
    assert_eq!(
        check(&[], Payload::Sha256(hash), &[]),
        Err(ErrorCode::XAmzContentSHA256Mismatch)
    );
}

#[test]
fn a_checksum_of_our_own() {
    let mut checks = BodyChecks::from_headers(&HeaderMap::new(), &Payload::Unsigned).unwrap();
    assert!(checks.is_empty() && !checks.has_integrity());
    checks.ensure(Algorithm::Crc32);
    checks.update(BODY);
    let known = checks.finish(&[]).unwrap();
    assert_eq!(
        (
            known.checksum.unwrap().to_base64().as_str(),
            known.from_client
        ),
        (CRC32, false)
    );
}
