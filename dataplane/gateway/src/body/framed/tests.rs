use futures_util::FutureExt;
use http::{HeaderValue, Method};
use proptest::prelude::*;
use sealgate_http1::Limits;
use sealgate_s3::checksum::{Algorithm, Hasher};
use sealgate_s3::sigv4::{self, Authorization, SecretKey, SigningKeyCache, Verified};
use sealgate_s3::time::parse_amz_date;
use sealgate_uring::testing::MemTransport;
use sealgate_uring::{BlockSize, Pool};

use super::*;
use crate::snapshot::ClientTimeouts;

const CHUNK: usize = 16_384;
const SLOT: usize = 16_400;

/// What follows the body on the wire.
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nhost: s3.amazonaws.com\r\n\r\n";

/// The forms of `x-amz-content-sha256`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Signed,
    SignedTrailer,
    Trailer,
}

impl Form {
    /// AWS's published examples, whose bodies alone are others here.
    fn request(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Form::Signed => (
                "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
                "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
                "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
                 x-amz-storage-class",
            ),
            Form::SignedTrailer => (
                "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
                "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
                "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
                 x-amz-storage-class;x-amz-trailer",
            ),
            Form::Trailer => ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "", ""),
        }
    }

    fn verified(self) -> Verified {
        let (payload, signature, names) = self.request();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders={names},Signature={signature}"
        );
        let mut headers = http::HeaderMap::new();
        for (name, value) in [
            ("host", "s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", payload),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("content-length", "66824"),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
            ("authorization", &authorization),
        ] {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        match self {
            Form::Signed => headers.remove("x-amz-trailer"),
            Form::SignedTrailer => headers.remove("content-length"),
            Form::Trailer => return sigv4::anonymous(&headers).unwrap(),
        };
        let target = b"/examplebucket/chunkObject.txt";
        let authorization = Authorization::parse(target, &headers).unwrap();
        sigv4::verify(
            &authorization,
            &SecretKey::new(b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            &mut SigningKeyCache::new(),
            &Method::PUT,
            target,
            &headers,
            parse_amz_date(b"20130524T000000Z").unwrap(),
        )
        .unwrap()
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish().as_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `payload` in chunks of these sizes over and over; the digits of a size at least `digits`.
fn framed(form: Form, payload: &[u8], sizes: &[usize], digits: usize) -> Vec<u8> {
    let mut signer = form.verified().chunk_signer;
    let mut wire = Vec::new();
    let (mut rest, mut sizes) = (payload, sizes.iter().cycle());
    loop {
        let size = sizes.next().map_or(0, |n| *n).min(rest.len());
        let (chunk, later) = rest.split_at(size);
        wire.extend_from_slice(format!("{size:0digits$x}").as_bytes());
        if let Some(signer) = &mut signer {
            let signature = signer.sign_chunk(&sha256(chunk));
            wire.extend_from_slice(format!(";chunk-signature={}", hex(&signature)).as_bytes());
        }
        wire.extend_from_slice(b"\r\n");
        if size == 0 {
            break;
        }
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
        rest = later;
    }
    let mut crc = Hasher::new(Algorithm::Crc32c);
    crc.update(payload);
    let line = format!("x-amz-checksum-crc32c:{}", crc.finish().to_base64());
    if form != Form::Signed {
        wire.extend_from_slice(format!("{line}\r\n").as_bytes());
    }
    if let (Form::SignedTrailer, Some(signer)) = (form, &mut signer) {
        let signature = signer.sign_trailer(&sha256(format!("{line}\n").as_bytes()));
        wire.extend_from_slice(
            format!("x-amz-trailer-signature:{}\r\n", hex(&signature)).as_bytes(),
        );
    }
    wire.extend_from_slice(b"\r\n");
    wire
}

fn head(form: Form, decoded: usize, raw: usize) -> Vec<u8> {
    let trailer = match form {
        Form::Signed => "",
        _ => "x-amz-trailer: x-amz-checksum-crc32c\r\n",
    };
    format!(
        "PUT /examplebucket/chunkObject.txt HTTP/1.1\r\nhost: s3.amazonaws.com\r\ncontent-length: {raw}\r\n\
         x-amz-content-sha256: {}\r\nx-amz-decoded-content-length: {decoded}\r\n{trailer}\r\n",
        form.request().0
    )
    .into_bytes()
}

/// How a body was received.
struct Received {
    payload: Vec<u8>,
    /// How it ended, without what it was known to be.
    end: Result<(), Failure>,
    /// What is buffered afterwards can be received at most in so much room.
    room: usize,
    fills: usize,
    /// Where the connection can be used again: what came after the body.
    next: Option<Vec<u8>>,
}

/// Receives a request of `head` and `wire` in fragments of these lengths, into blocks of `slots` chunks.
fn receive(
    form: Form,
    head: Vec<u8>,
    wire: &[u8],
    len: usize,
    fragments: &[usize],
    slots: usize,
) -> Received {
    let verified = form.verified();
    let (conn, peer) = MemTransport::with_peer();
    let (mut rest, mut lengths) = (&[&head, wire, NEXT].concat()[..], fragments.iter().cycle());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(lengths.next().map_or(1, |n| *n).min(rest.len()));
        peer.send(now);
        rest = later;
    }
    peer.close();
    let mut client = Client::new(conn);
    let work = async {
        let timeouts = ClientTimeouts::default();
        let Ok(head) = client.next_head(&Limits::DEFAULT, &timeouts).await else {
            panic!("the head is well-formed")
        };
        let mut body = Body::new(&head, &head.headers, &verified).unwrap();
        let pool = Pool::new(4 << 20);
        let [mut block] = pool.try_lease(BlockSize::Large).unwrap();
        let (mut payload, mut fills, mut failed) = (Vec::new(), 0, None);
        while payload.len() < len && failed.is_none() {
            // As the sealing of a stream does it, so that a run begins and ends anywhere.
            let have = payload.len() % (slots * CHUNK);
            let want = (have + len - payload.len()).min(slots * CHUNK);
            let spans = Spans::slots(56, have, want, CHUNK, SLOT);
            let (got, back) = body.fill(&mut client, block, spans).await;
            block = back;
            fills += 1;
            match got {
                Ok(n) => {
                    assert!(n > 0 && n <= spans.len());
                    for range in spans.prefix(n).ranges() {
                        payload.extend_from_slice(&block[range]);
                    }
                }
                Err(e) => failed = Some(e),
            }
        }
        let end = match failed {
            Some(e) => Err(e),
            None => body.finish(&mut client).await.map(|_| ()),
        };
        let room = client.room();
        let left = body.unread().unwrap();
        let usable = client.linger(left, timeouts.idle).await;
        let next = if usable {
            Some(rest_of(&mut client).await)
        } else {
            None
        };
        Received {
            payload,
            end,
            room,
            fills,
            next,
        }
    };
    work.now_or_never().expect("all bytes are there")
}

async fn rest_of<T: Transport>(client: &mut Client<T>) -> Vec<u8> {
    let mut rest = Vec::new();
    while let Ok(raw) = client.raw(u64::MAX).await {
        let n = raw.len();
        if n == 0 {
            break;
        }
        rest.extend_from_slice(raw);
        client.consume(n);
    }
    rest
}

/// Bytes among which line breaks and digits are as frequent as anything.
fn payload(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            b"\r\n0;8aZ\xff"[(state >> 61) as usize]
        })
        .collect()
}

fn forms() -> impl Strategy<Value = Form> {
    prop_oneof![
        Just(Form::Signed),
        Just(Form::SignedTrailer),
        Just(Form::Trailer)
    ]
}

/// Chunks of one size, or of several.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        1usize..200,
        5_000usize..12_000,
        30_000usize..70_000,
        Just(65_536),
        Just(1 << 20)
    ];
    prop_oneof![
        size.clone().prop_map(|n| vec![n]),
        proptest::collection::vec(size, 1..6)
    ]
}

fn fragments() -> impl Strategy<Value = Vec<usize>> {
    let length = prop_oneof![1usize..100, 1usize..5_000, 1usize..200_000, Just(4 << 20)];
    proptest::collection::vec(length, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn framing_and_fragments_change_nothing(
        form in forms(),
        len in prop_oneof![0usize..3, 1usize..100_000, 200_000usize..1_500_000],
        sizes in sizes(),
        digits in prop_oneof![Just(1usize), Just(8)],
        fragments in fragments(),
        slots in 1usize..=64,
        seed in any::<u64>(),
    ) {
        // One-byte chunks of much make the test slow, and show nothing more.
        let len = if sizes.iter().sum::<usize>() / sizes.len() < 200 { len % 20_000 } else { len };
        let payload = payload(len, seed);
        let wire = framed(form, &payload, &sizes, digits);
        let head = head(form, len, wire.len());
        let got = receive(form, head, &wire, len, &fragments, slots);
        prop_assert!(got.end.is_ok(), "{:?}", got.end.err());
        prop_assert!(got.payload == payload);
        prop_assert_eq!(got.next.as_deref(), Some(NEXT));
    }

    #[test]
    fn what_is_broken_is_refused_and_the_next_request_is_found(
        form in forms(),
        len in 1usize..300_000,
        sizes in sizes(),
        fragments in fragments(),
        slots in 1usize..=64,
        at in any::<proptest::sample::Index>(),
        flip in 1u8..=255,
    ) {
        let len = if sizes.iter().sum::<usize>() / sizes.len() < 200 { len % 20_000 + 1 } else { len };
        let payload = payload(len, 7);
        let mut wire = framed(form, &payload, &sizes, 1);
        let at = at.index(wire.len());
        let old = std::mem::replace(&mut wire[at], 0);
        wire[at] = old ^ flip;
        let head = head(form, len, wire.len());
        let got = receive(form, head, &wire, len, &fragments, slots);
        // Another case of a digit or a name, and white space about a trailer's value, say the same.
        let same = old.eq_ignore_ascii_case(&wire[at]) || old == b'\r' && wire[at].is_ascii_whitespace();
        prop_assert!(got.end.is_err() || same && got.payload == payload, "byte {} from {:02x} to {:02x}", at, old, wire[at]);
        if got.next.is_some() {
            prop_assert_eq!(got.next.as_deref(), Some(NEXT));
        }
    }

    #[test]
    fn a_length_that_is_not_the_framings_is_refused(
        form in forms(),
        len in 1usize..300_000,
        sizes in sizes(),
        fragments in fragments(),
        raw in any::<proptest::sample::Index>(),
    ) {
        let len = if sizes.iter().sum::<usize>() / sizes.len() < 200 { len % 20_000 + 1 } else { len };
        let payload = payload(len, 9);
        let wire = framed(form, &payload, &sizes, 1);
        let raw = raw.index(wire.len());
        let got = receive(form, head(form, len, raw), &wire[..raw], len, &fragments, 4);
        // The line break at the end may be missing.
        prop_assert!(got.end.is_err() || raw + 2 >= wire.len());
        prop_assert!(payload.starts_with(&got.payload));
        prop_assert_eq!(got.next.as_deref(), Some(NEXT));
    }
}

/// What comes at once is received at once, and only framing beside its place.
#[test]
fn steady_chunks_take_few_reads_and_no_buffer() {
    for (form, size, most) in [
        // 5 MiB: 128 KiB on a guess, then twice as much each time up to a block of 1 MiB.
        (Form::Signed, 65_536, 10),
        (Form::SignedTrailer, 65_536, 10),
        (Form::Trailer, 65_536, 10),
        (Form::Signed, 131_072, 10),
        (Form::Signed, 16_384, 26),
        (Form::Signed, 8_192, 42),
        // A block's worth at once, and what lies beyond a chunk's end by itself.
        (Form::Trailer, 1 << 20, 12),
        (Form::Trailer, 5 << 20, 8),
    ] {
        let payload = payload(5 << 20, 3);
        let wire = framed(form, &payload, &[size], 1);
        let head = head(form, payload.len(), wire.len());
        let first = head.len();
        let got = receive(
            form,
            head,
            &wire,
            payload.len(),
            &[first, 4096, 8 << 20],
            64,
        );
        assert!(got.end.is_ok() && got.payload == payload);
        assert_eq!(got.next.as_deref(), Some(NEXT));
        assert!(got.fills <= most, "{form:?} of {size}: {} reads", got.fills);
        assert!(
            got.room <= 4096,
            "{form:?} of {size}: room for {}",
            got.room
        );
    }
}

/// A wrong guess costs no more memory than receiving in bulk does, and one after many right ones a block's worth, which is
/// given back.
#[test]
fn what_was_misplaced_is_bounded() {
    let long = [&[65_536; 40][..], &[9_000; 4]].concat();
    for (sizes, most) in [
        (&[65_536, 65_536, 9_000, 9_000][..], AHEAD),
        (&[1 << 20, 8_192, 100_000], AHEAD),
        (&long, AHEAD),
        (&long[..43], MOST_AHEAD),
    ] {
        let payload = payload(5 << 20, 5);
        let wire = framed(Form::Signed, &payload, sizes, 1);
        let head = head(Form::Signed, payload.len(), wire.len());
        let got = receive(Form::Signed, head, &wire, payload.len(), &[8 << 20], 64);
        assert!(got.end.is_ok() && got.payload == payload);
        assert_eq!(got.next.as_deref(), Some(NEXT));
        assert!(got.room <= most + 4096, "{sizes:?}: room for {}", got.room);
    }
}
