//! What holds for every message and every way it can be cut into fragments.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use sealgate_http1::{
    CHUNK_END, ChunkedDecoder, Framing, HttpDate, LAST_CHUNK, Limits, ParseError, RequestParser,
    ResponseParser, encode_chunk_head, encode_request_head, encode_response_head, parse_request,
    parse_response,
};

fn headers() -> impl Strategy<Value = HeaderMap> {
    let field = ("x-[a-z0-9-]{0,20}", "[!-~]([ -~]{0,30}[!-~])?");
    prop::collection::vec(field, 0..12).prop_map(|fields| {
        fields
            .into_iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_str(&value).unwrap())
            })
            .collect()
    })
}

fn same_but(a: &HeaderMap, b: &HeaderMap, extra: &[&str]) -> bool {
    let rest = |map: &HeaderMap| {
        let mut map = map.clone();
        for name in extra {
            map.remove(*name);
        }
        map
    };
    rest(a) == rest(b)
}

/// Bytes that look like HTTP often enough to get past the first check.
fn almost_http() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"GET /k HTTP/1.1\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Just(b"Host: s3\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Expect: 100-continue\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b" ".to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
        "[a-zA-Z-]{1,8}: ?[a-z0-9, ]{0,8}\r\n".prop_map(String::into_bytes),
    ];
    prop::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat())
}

/// Runs a decoder over the input cut after every length in `cuts`, with output pieces of `room`.
fn decode_cut(
    body: &[u8],
    cuts: &[usize],
    room: usize,
) -> (Vec<u8>, usize, Result<bool, ParseError>) {
    let mut decoder = ChunkedDecoder::new();
    let mut payload = Vec::new();
    let mut taken = 0;
    let mut out = vec![0; room];
    let mut cuts = cuts.iter().cycle();
    let mut end = 0;
    while taken < body.len() {
        if end == taken {
            end = body.len().min(taken + *cuts.next().unwrap());
        }
        match decoder.decode(&body[taken..end], &mut out) {
            Err(e) => return (payload, taken, Err(e)),
            Ok(step) => {
                payload.extend_from_slice(&out[..step.produced]);
                taken += step.consumed;
                if step.done {
                    return (payload, taken, Ok(true));
                }
                assert!(step.consumed > 0, "no progress");
            }
        }
    }
    (payload, taken, Ok(false))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_request_is_read_back(
        mut fields in headers(),
        path in "/[!-~]{0,60}",
        method in prop::sample::select(vec!["GET", "PUT", "POST", "DELETE", "HEAD", "PATCHY"]),
        length in prop::option::of(any::<u64>()),
    ) {
        fields.insert("host", HeaderValue::from_static("s3:9000"));
        if let Some(n) = length {
            fields.insert("content-length", HeaderValue::from(n));
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut wire = b"before".to_vec();
        encode_request_head(&mut wire, &method, path.as_bytes(), &fields);
        let wire = &wire[6..];
        let (head, consumed) = parse_request(wire, &Limits::DEFAULT).unwrap().unwrap();
        prop_assert_eq!(consumed, wire.len());
        prop_assert_eq!(head.method, method);
        prop_assert_eq!(head.target, path.as_bytes());
        prop_assert_eq!(head.headers, fields);
        prop_assert_eq!(head.framing, length.map_or(Framing::None, Framing::Length));
    }

    #[test]
    fn no_target_can_split_a_request(target in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut fields = HeaderMap::new();
        fields.insert("host", HeaderValue::from_static("s3"));
        let path = [b"/", &target[..]].concat();
        let mut wire = Vec::new();
        encode_request_head(&mut wire, &Method::GET, &path, &fields);
        let (head, consumed) = parse_request(&wire, &Limits::DEFAULT).unwrap().unwrap();
        prop_assert_eq!(consumed, wire.len());
        prop_assert_eq!(head.headers, fields);
    }

    #[test]
    fn a_written_response_is_read_back(
        mut fields in headers(),
        status in 200_u16..600,
        framing in prop_oneof![
            any::<u64>().prop_map(Framing::Length),
            Just(Framing::Chunked),
            Just(Framing::UntilClose),
        ],
        keep_alive in any::<bool>(),
        forged in any::<bool>(),
        seconds in 0_u64..10_000_000_000,
    ) {
        if forged {
            // What a caller copied from a store must not frame our message.
            fields.insert("content-length", HeaderValue::from_static("7"));
            fields.insert("transfer-encoding", HeaderValue::from_static("chunked"));
            fields.insert("connection", HeaderValue::from_static("upgrade"));
            fields.insert("date", HeaderValue::from_static("yesterday"));
        }
        let status = StatusCode::from_u16(status).unwrap();
        let date = HttpDate::at(seconds);
        let bodyless = status == 204 || status == 304;
        let framing = if bodyless { Framing::None } else { framing };
        let mut wire = Vec::new();
        encode_response_head(&mut wire, status, &fields, framing, keep_alive, &date);
        // Without the caller's length: a 304 keeps it.
        if status == 304 && forged {
            prop_assert!(wire.windows(19).any(|w| w == b"content-length: 7\r\n"));
        }
        let (head, consumed) =
            parse_response(&wire, &Limits::DEFAULT, &Method::GET).unwrap().unwrap();
        prop_assert_eq!(consumed, wire.len());
        prop_assert_eq!(head.status, status);
        prop_assert_eq!(head.framing, framing);
        prop_assert_eq!(head.keep_alive, keep_alive && framing != Framing::UntilClose);
        prop_assert_eq!(head.headers["date"].as_bytes(), date.as_bytes());
        prop_assert_eq!(head.headers.get_all("date").iter().count(), 1);
        let ours = ["date", "content-length", "transfer-encoding", "connection"];
        prop_assert!(same_but(&head.headers, &fields, &ours));
    }

    /// Byte by byte, the parsers say what they say of the whole: the same head, or the same error
    /// no later than at the same byte. Nothing panics.
    #[test]
    fn fragments_change_nothing(bytes in almost_http(), step in 1_usize..5) {
        let limits = Limits { head_bytes: 90, request_line_bytes: 40, headers: 4 };
        let whole = parse_request(&bytes, &limits);
        let mut parser = RequestParser::new();
        let mut result = Ok(None);
        for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
            result = parser.parse(&bytes[..end], &limits);
            if !matches!(result, Ok(None)) {
                break;
            }
        }
        match (whole, result) {
            (Ok(Some((a, n))), Ok(Some((b, m)))) => {
                prop_assert_eq!(n, m);
                prop_assert_eq!((a.method, a.target, a.headers), (b.method, b.target, b.headers));
                prop_assert_eq!((a.framing, a.keep_alive), (b.framing, b.keep_alive));
            }
            (Ok(None), Ok(None)) => {}
            (Err(_), Err(_)) => {}
            (a, b) => prop_assert!(false, "{:?} but in fragments {:?}", a, b),
        }

        let whole = parse_response(&bytes, &limits, &Method::GET);
        let mut parser = ResponseParser::new();
        let mut result = Ok(None);
        for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
            result = parser.parse(&bytes[..end], &limits, &Method::GET);
            if !matches!(result, Ok(None)) {
                break;
            }
        }
        match (whole, result) {
            (Ok(Some((a, n))), Ok(Some((b, m)))) => {
                prop_assert_eq!(n, m);
                prop_assert_eq!((a.status, a.headers, a.framing), (b.status, b.headers, b.framing));
            }
            (Ok(None), Ok(None)) => {}
            (Err(_), Err(_)) => {}
            (a, b) => prop_assert!(false, "{:?} but in fragments {:?}", a, b),
        }
    }

    #[test]
    fn chunks_are_decoded_however_they_are_cut(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        cuts in prop::collection::vec(1_usize..20, 1..8),
        room in 1_usize..50,
        trailer in prop_oneof![Just(""), Just("x-a: 1\r\n"), Just("a:\r\nb: c\r\n")],
        tail in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let mut wire = Vec::new();
        for chunk in chunks.iter().filter(|c| !c.is_empty()) {
            encode_chunk_head(&mut wire, chunk.len() as u64);
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(CHUNK_END);
        }
        encode_chunk_head(&mut wire, 0);
        if trailer.is_empty() {
            wire.extend_from_slice(LAST_CHUNK);
        } else {
            wire.extend_from_slice(b"0\r\n");
            wire.extend_from_slice(trailer.as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        let end = wire.len();
        wire.extend_from_slice(&tail);
        let (payload, taken, result) = decode_cut(&wire, &cuts, room);
        prop_assert_eq!(result, Ok(true));
        prop_assert_eq!(taken, end);
        prop_assert_eq!(payload, chunks.concat());
    }

    /// For any bytes at all, cutting changes neither payload nor verdict.
    #[test]
    fn garbage_chunks_are_judged_alike_however_cut(
        body in "([0-9a-f]{1,2}\r\n)?[0-9a-f\r\n;: x]{0,40}(0\r\n\r\n)?",
        cuts in prop::collection::vec(1_usize..9, 1..6),
        room in 1_usize..9,
    ) {
        let body = body.as_bytes();
        let whole = decode_cut(body, &[usize::MAX / 2], 64);
        let pieces = decode_cut(body, &cuts, room);
        prop_assert_eq!(&whole.2, &pieces.2);
        if whole.2.is_ok() {
            prop_assert_eq!((whole.0, whole.1), (pieces.0, pieces.1));
        }
    }

    #[test]
    fn chunk_sizes_are_lower_case_hex(len in 1_u64..) {
        let mut wire = Vec::new();
        encode_chunk_head(&mut wire, len);
        prop_assert_eq!(wire, format!("{len:x}\r\n").into_bytes());
    }
}
