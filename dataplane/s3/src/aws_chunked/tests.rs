use super::*;
use crate::sigv4::{Authorization, SecretKey, SigningKeyCache, verify};
use crate::time::parse_amz_date;
use http::{HeaderValue, Method};
use proptest::prelude::*;

const PLAIN: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// The request of AWS's published examples, verified.
fn published(payload: &'static str, signature: &str, trailer: bool) -> (Verified, HeaderMap) {
    let names = if trailer {
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer"
    } else {
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class"
    };
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders={names},\
         Signature={signature}"
    );
    let mut h = HeaderMap::new();
    for (n, v) in [
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("x-amz-content-sha256", payload),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("content-length", "66824"),
        ("authorization", &authorization),
    ] {
        h.insert(n, HeaderValue::from_str(v).unwrap());
    }
    if trailer {
        h.insert(
            "x-amz-trailer",
            HeaderValue::from_static("x-amz-checksum-crc32c"),
        );
        h.remove("content-length");
    }
    let target = b"/examplebucket/chunkObject.txt";
    let auth = Authorization::parse(target, &h).unwrap();
    let secret = SecretKey::new(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    let now = parse_amz_date(b"20130524T000000Z").unwrap();
    let v = verify(
        &auth,
        &secret,
        &mut SigningKeyCache::new(),
        &Method::PUT,
        target,
        &h,
        now,
    )
    .unwrap();
    (v, h)
}

fn published_plain() -> (Verified, HeaderMap) {
    published(
        PLAIN,
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        false,
    )
}

fn published_trailer() -> (Verified, HeaderMap) {
    published(
        TRAILER,
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        true,
    )
}

fn body(chunks: &[(usize, &str)], tail: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, signature) in chunks {
        out.extend_from_slice(format!("{n:x};chunk-signature={signature}\r\n").as_bytes());
        if *n > 0 {
            out.extend(std::iter::repeat_n(b'a', *n));
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(tail.as_bytes());
    out
}

fn whole(decoder: &mut AwsChunked, input: &[u8]) -> Result<(Vec<u8>, Decoded), ErrorCode> {
    let mut out = vec![0; 70_000];
    let d = decoder.decode(input, &mut out).map_err(|e| e.code)?;
    out.truncate(d.produced);
    Ok((out, d))
}

#[test]
fn published_chunked_upload() {
    let (v, h) = published_plain();
    let input = body(
        &[
            (
                65_536,
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            ),
            (
                1024,
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            ),
            (
                0,
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ),
        ],
        "\r\n",
    );
    assert_eq!(input.len(), 66_824);
    let mut decoder = AwsChunked::new(&v, &h, decoded_length(&h).unwrap()).unwrap();
    let (out, d) = whole(&mut decoder, &input).unwrap();
    assert_eq!((out.len(), d.consumed, d.done), (66_560, 66_824, true));
    assert!(out.iter().all(|b| *b == b'a'));
    // One flipped byte anywhere is noticed before the end.
    for at in (0..input.len()).filter(|at| at % 997 == 0 || *at > input.len() - 200 || *at < 100) {
        let mut bad = input.clone();
        bad[at] ^= 1;
        let mut decoder = AwsChunked::new(&v, &h, 66_560).unwrap();
        let done = whole(&mut decoder, &bad).is_ok_and(|(_, d)| d.done);
        assert!(!done, "flip at {at}");
    }
    // Every truncation as well.
    for at in [
        0,
        1,
        50,
        86,
        65_000,
        66_000,
        input.len() - 3,
        input.len() - 1,
    ] {
        let mut decoder = AwsChunked::new(&v, &h, 66_560).unwrap();
        assert!(
            !whole(&mut decoder, &input[..at]).unwrap().1.done,
            "cut at {at}"
        );
    }
}

#[test]
fn published_trailer_upload() {
    let (v, h) = published_trailer();
    let chunks = &[
        (
            65_536,
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        ),
        (
            1024,
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        ),
        (
            0,
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ),
    ];
    let signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    // With CRLF, and with the bare LF and empty line of some SDKs, which end with one line break more or less.
    for tail in [
        format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{signature}\r\n\r\n"),
        format!("x-amz-checksum-crc32c:sOO8/Q==\n\r\nx-amz-trailer-signature:{signature}\r\n\r\n"),
        format!("x-amz-checksum-crc32c:sOO8/Q==\nx-amz-trailer-signature:{signature}\n\n\r\n"),
    ] {
        let mut decoder = AwsChunked::new(&v, &h, 66_560).unwrap();
        let input = body(chunks, &tail);
        let (out, d) = whole(&mut decoder, &input).unwrap();
        assert_eq!(
            (out.len(), d.consumed, d.done),
            (66_560, input.len(), true),
            "{tail:?}"
        );
        assert_eq!(
            decoder.trailers(),
            [("x-amz-checksum-crc32c".to_owned(), "sOO8/Q==".to_owned())]
        );
    }
    for (tail, code) in [
        (
            "x-amz-checksum-crc32c:sOO8/R==\r\nx-amz-trailer-signature:SIG\r\n\r\n",
            Some(ErrorCode::SignatureDoesNotMatch),
        ),
        (
            "x-amz-trailer-signature:SIG\r\n\r\n",
            Some(ErrorCode::SignatureDoesNotMatch),
        ),
        (
            "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:00\r\n\r\n",
            Some(ErrorCode::MalformedTrailerError),
        ),
        (
            "x-amz-checksum-crc32:sOO8/Q==\r\n",
            Some(ErrorCode::MalformedTrailerError),
        ),
        ("nonsense\r\n", Some(ErrorCode::MalformedTrailerError)),
        (
            "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
            Some(ErrorCode::MalformedTrailerError),
        ),
        ("x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n", None),
        ("", None),
    ] {
        let mut decoder = AwsChunked::new(&v, &h, 66_560).unwrap();
        let result = whole(&mut decoder, &body(chunks, &tail.replace("SIG", signature)));
        match code {
            Some(code) => assert_eq!(result.unwrap_err(), code, "{tail:?}"),
            None => assert!(!result.unwrap().1.done, "{tail:?}"),
        }
    }
}

fn unsigned(trailers: &'static str, len: u64) -> AwsChunked {
    let mut h = HeaderMap::new();
    h.insert("x-amz-content-sha256", HeaderValue::from_static(UNSIGNED));
    if !trailers.is_empty() {
        h.insert("x-amz-trailer", HeaderValue::from_static(trailers));
    }
    AwsChunked::new(&crate::sigv4::anonymous(&h).unwrap(), &h, len).unwrap()
}

#[test]
fn s3_traps_1_unsigned_trailer_forms() {
    for tail in [
        "x-amz-checksum-crc32:AAAA\r\n\r\n",
        "X-Amz-Checksum-CRC32: AAAA\n\r\n\r\n",
        "x-amz-checksum-crc32:AAAA\n\n",
    ] {
        let mut decoder = unsigned("x-amz-checksum-crc32", 5);
        let (out, d) = whole(
            &mut decoder,
            format!("3\r\nabc\r\n2\r\nde\r\n0\r\n{tail}").as_bytes(),
        )
        .unwrap();
        assert_eq!((&out[..], d.done), (&b"abcde"[..], true), "{tail:?}");
        assert_eq!(
            decoder.trailers(),
            [("x-amz-checksum-crc32".to_owned(), "AAAA".to_owned())]
        );
    }
    let (_, d) = whole(&mut unsigned("", 0), b"0\r\n\r\n").unwrap();
    assert!(d.done);
}

#[test]
fn broken_framing() {
    let long = format!("{}1\r\n", "0".repeat(200));
    let many = "0".repeat(17) + "\r\n";
    let line = format!("0\r\nx-amz-checksum-crc32:{}\r\n\r\n", "A".repeat(300));
    for (input, code) in [
        ("6\r\nabcdef\r\n0\r\n\r\n", ErrorCode::IncompleteBody),
        ("4\r\nabcd\r\n0\r\n\r\n", ErrorCode::IncompleteBody),
        ("ffffffffffffffff\r\n", ErrorCode::IncompleteBody),
        ("5\nabcde", ErrorCode::InvalidRequest),
        ("5 \r\nabcde", ErrorCode::InvalidRequest),
        ("+5\r\nabcde", ErrorCode::InvalidRequest),
        ("0x5\r\nabcde", ErrorCode::InvalidRequest),
        ("\r\n", ErrorCode::InvalidRequest),
        ("5;a=b\r\nabcde", ErrorCode::InvalidRequest),
        ("5\r\nabcdeX", ErrorCode::InvalidRequest),
        ("5\r\nabcde\n", ErrorCode::InvalidRequest),
        (
            "5\r\nabcde\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\nX",
            ErrorCode::InvalidRequest,
        ),
        (
            "5\r\nabcde\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n\r\n\r\n",
            ErrorCode::InvalidRequest,
        ),
        ("5\r\nabcde\r\n0\r\n\r\n", ErrorCode::MalformedTrailerError),
        (
            "5\r\nabcde\r\n0\r\nx-amz-checksum-sha1:AAAA\r\n",
            ErrorCode::MalformedTrailerError,
        ),
        (
            "5\r\nabcde\r\n0\r\nx-amz-checksum-crc32:A\r\nx-amz-checksum-crc32:A\r\n",
            ErrorCode::MalformedTrailerError,
        ),
        (&long, ErrorCode::InvalidRequest),
        (&many, ErrorCode::InvalidRequest),
        (
            &line.replace("0\r\nx", "5\r\nabcde\r\n0\r\nx"),
            ErrorCode::MalformedTrailerError,
        ),
    ] {
        let mut decoder = unsigned("x-amz-checksum-crc32", 5);
        assert_eq!(
            whole(&mut decoder, input.as_bytes()).unwrap_err(),
            code,
            "{input:?}"
        );
        // Nothing revives it.
        assert_eq!(
            whole(&mut decoder, b"\r\n").unwrap_err(),
            ErrorCode::InvalidRequest
        );
    }
}

#[test]
fn lengths() {
    let read = |v: &'static str| {
        let mut h = HeaderMap::new();
        h.insert(DECODED_LENGTH, HeaderValue::from_static(v));
        decoded_length(&h).map_err(|e| e.code)
    };
    assert_eq!(read("66560"), Ok(66_560));
    for bad in ["", "+5", "-1", "5.0", "99999999999999999999999"] {
        assert_eq!(read(bad), Err(ErrorCode::MissingContentLength), "{bad}");
    }
    assert_eq!(
        decoded_length(&HeaderMap::new()).unwrap_err().code,
        ErrorCode::MissingContentLength
    );
}

fn expects(decoder: &AwsChunked) -> Vec<(usize, u64)> {
    let all = decoder.expected().take(9);
    all.map(|e| (e.framing, e.payload)).collect()
}

#[test]
fn what_is_expected() {
    let mut decoder = unsigned("x-amz-checksum-crc32", 0x250);
    // Nothing is known of the first header.
    assert_eq!(expects(&decoder), [(MAX_CHUNK_HEADER, 0)]);
    decoder.decode(b"10", &mut []).unwrap();
    assert_eq!(expects(&decoder), [(126, 0)]);
    decoder.decode(b"0\r\n", &mut []).unwrap();
    // 100 and 50 more, whose header is a digit shorter, and the end.
    assert_eq!(
        expects(&decoder),
        [(0, 0x100), (7, 0x100), (6, 0x50), (TRAILER_ROOM, 0)]
    );
    assert_eq!(decoder.payload_left(), 0x100);
    decoder.in_place(&[b'a'; 0xff]).unwrap();
    decoder.in_place(b"a").unwrap();
    assert_eq!(decoder.payload_left(), 0);
    decoder.decode(b"\r\n1", &mut []).unwrap();
    assert_eq!(
        expects(&decoder),
        [(4, 0x100), (6, 0x50), (TRAILER_ROOM, 0)]
    );
    // A chunk of another size: the next one may have any.
    decoder.decode(b"0\r\n", &mut []).unwrap();
    assert_eq!(expects(&decoder), [(0, 0x10), (6, 0)]);
    decoder.in_place(&[b'a'; 0x10]).unwrap();
    decoder.decode(b"\r\n000000", &mut []).unwrap();
    // A line longer than the last one.
    assert_eq!(expects(&decoder), [(MAX_CHUNK_HEADER, 0)]);
    decoder.decode(b"10\r\n", &mut []).unwrap();
    // Two of a size again, and zeros in front of it again.
    assert_eq!(expects(&decoder)[..3], [(0, 0x10), (12, 0x10), (12, 0x10)]);
    assert!(decoder.in_place(&[b'a'; 0x11]).is_err());
    assert_eq!(expects(&decoder), []);
    // Nothing revives it.
    assert!(decoder.in_place(b"a").is_err());
    assert!(decoder.decode(b"a", &mut [0]).is_err());
}

/// Chunks signed by the verifier's own arithmetic, which the published examples above pin down.
fn signed_stream(chunks: &[Vec<u8>]) -> (Verified, HeaderMap, Vec<u8>, u64) {
    let (v, h) = published_trailer();
    let mut signer = v.chunk_signer.clone().unwrap();
    let hex_of = |b: &[u8]| hex::encode(b);
    let sha = |b: &[u8]| digest::digest(&digest::SHA256, b);
    let mut out = Vec::new();
    let mut total = 0;
    for chunk in chunks.iter().filter(|c| !c.is_empty()).chain([&Vec::new()]) {
        let signature = signer.sign_chunk(sha(chunk).as_ref());
        out.extend_from_slice(
            format!(
                "{:x};chunk-signature={}\r\n",
                chunk.len(),
                hex_of(&signature)
            )
            .as_bytes(),
        );
        if !chunk.is_empty() {
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        total += chunk.len() as u64;
    }
    let signature = signer.sign_trailer(sha(b"x-amz-checksum-crc32c:AAAA\n").as_ref());
    let tail = format!(
        "x-amz-checksum-crc32c:AAAA\r\nx-amz-trailer-signature:{}\r\n\r\n",
        hex_of(&signature)
    );
    out.extend_from_slice(tail.as_bytes());
    (v, h, out, total)
}

/// Decodes with the given sizes of input pieces and output slices, over and over.
fn fragmented(
    decoder: &mut AwsChunked,
    input: &[u8],
    ins: &[usize],
    outs: &[usize],
) -> Result<(Vec<u8>, bool), ErrorCode> {
    let (mut out, mut at, mut i, mut idle) = (Vec::new(), 0, 0, 0);
    while at < input.len() {
        let piece = &input[at..input.len().min(at + ins[i % ins.len()])];
        let mut slice = vec![0; outs[i % outs.len()]];
        i += 1;
        let d = decoder.decode(piece, &mut slice).map_err(|e| e.code)?;
        assert!(d.consumed <= piece.len() && d.produced <= slice.len());
        at += d.consumed;
        out.extend_from_slice(&slice[..d.produced]);
        idle = if d.consumed == 0 { idle + 1 } else { 0 };
        assert!(idle <= outs.len(), "no progress");
    }
    Ok((out, decoder.is_done()))
}

proptest! {
    #[test]
    fn decoding_does_not_depend_on_fragmentation(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..5),
        ins in proptest::collection::vec(1usize..40, 1..6),
        outs in proptest::collection::vec(0usize..40, 1..6),
    ) {
        prop_assume!(outs.iter().any(|o| *o > 0));
        let (v, h, input, total) = signed_stream(&chunks);
        let mut decoder = AwsChunked::new(&v, &h, total).unwrap();
        let (out, done) = fragmented(&mut decoder, &input, &ins, &outs).unwrap();
        prop_assert!(done);
        prop_assert_eq!(out, chunks.concat());
        prop_assert_eq!(decoder.trailers().len(), 1);
    }

    #[test]
    fn what_is_in_place_is_as_if_it_had_been_moved(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..5),
        pieces in proptest::collection::vec(1usize..40, 1..6),
        wrong in any::<bool>(),
    ) {
        let (v, h, input, total) = signed_stream(&chunks);
        let mut decoder = AwsChunked::new(&v, &h, total).unwrap();
        let (mut at, mut seen, mut i) = (0, Vec::new(), 0);
        let mut refused = false;
        while at < input.len() && !refused {
            i += 1;
            let most = input.len().min(at + pieces[i % pieces.len()]);
            let left = usize::try_from(decoder.payload_left()).unwrap();
            if left > 0 {
                let mut payload = input[at..most.min(at + left)].to_vec();
                at += payload.len();
                seen.extend_from_slice(&payload);
                if wrong {
                    payload[0] ^= 1;
                }
                refused = decoder.in_place(&payload).is_err();
            } else {
                at += decoder.decode(&input[at..most], &mut []).unwrap().consumed;
            }
        }
        prop_assert_eq!(refused, wrong && total > 0);
        prop_assert_eq!(decoder.is_done(), !refused);
        prop_assert!(refused || seen == chunks.concat());
    }

    #[test]
    fn no_changed_byte_goes_unnoticed(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..30), 1..4),
        at in any::<proptest::sample::Index>(),
        flip in 1u8..=255,
        ins in proptest::collection::vec(1usize..40, 1..3),
    ) {
        let (v, h, mut input, total) = signed_stream(&chunks);
        let at = at.index(input.len());
        let old = input[at];
        input[at] ^= flip;
        let mut decoder = AwsChunked::new(&v, &h, total).unwrap();
        if let Ok((out, true)) = fragmented(&mut decoder, &input, &ins, &[64]) {
            // Only the case of a hexadecimal digit or of a trailer's name, and white space about a trailer's value, may
            // change: what they say stays the same.
            let same_case = old.eq_ignore_ascii_case(&input[at]);
            let blank = old == b'\r' && input[at].is_ascii_whitespace();
            prop_assert!(same_case || blank, "byte {} from {:02x} to {:02x}", at, old, input[at]);
            prop_assert_eq!(out, chunks.concat());
        }
    }

    #[test]
    fn decoding_never_panics(
        input in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'2'), Just(b';'), any::<u8>()], 0..80),
        len in 0u64..20,
        ins in proptest::collection::vec(1usize..9, 1..4),
    ) {
        let _ = fragmented(&mut unsigned("x-amz-checksum-crc32", len), &input, &ins, &[3]);
    }
}
