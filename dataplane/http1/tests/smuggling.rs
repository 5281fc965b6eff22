//! Messages that two parsers could read in two ways, one row each, with the error each must get.

use http::{Method, Version};
use sealgate_http1::{
    ChunkedDecoder, Framing, Limits, MAX_HEADERS, MAX_INTERIM_RESPONSES, MAX_TRAILER_BYTES,
    ParseError, RequestHead, ResponseHead, parse_request, parse_response,
};

fn request(text: &str) -> Result<RequestHead, ParseError> {
    let parsed = parse_request(text.as_bytes(), &Limits::DEFAULT)?;
    let (head, consumed) = parsed.unwrap_or_else(|| panic!("incomplete: {text:?}"));
    assert_eq!(consumed, text.len(), "{text:?}");
    Ok(head)
}

fn response(text: &str, method: &Method) -> Result<ResponseHead, ParseError> {
    let parsed = parse_response(text.as_bytes(), &Limits::DEFAULT, method)?;
    Ok(parsed.unwrap_or_else(|| panic!("incomplete: {text:?}")).0)
}

/// A PUT with these extra lines, each ended as written.
fn put(lines: &str) -> String {
    format!("PUT /b/k HTTP/1.1\r\nHost: s3\r\n{lines}\r\n")
}

#[test]
fn ambiguous_request_framing_is_refused() {
    use ParseError as E;
    let cases = [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            E::LengthAndEncoding,
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            E::LengthAndEncoding,
            400,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            E::RepeatedContentLength,
            400,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            E::RepeatedContentLength,
            400,
        ),
        (
            "Content-Length: 5\r\ncontent-length: 5\r\n",
            E::RepeatedContentLength,
            400,
        ),
        ("Content-Length: 5, 5\r\n", E::ContentLength, 400),
        ("Content-Length: +5\r\n", E::ContentLength, 400),
        ("Content-Length: -5\r\n", E::ContentLength, 400),
        ("Content-Length: 0x5\r\n", E::ContentLength, 400),
        ("Content-Length: 5 5\r\n", E::ContentLength, 400),
        ("Content-Length: 5.0\r\n", E::ContentLength, 400),
        ("Content-Length:\r\n", E::ContentLength, 400),
        (
            "Content-Length: 18446744073709551616\r\n",
            E::ContentLength,
            400,
        ),
        ("Transfer-Encoding: gzip\r\n", E::UnknownTransferCoding, 501),
        (
            "Transfer-Encoding: identity\r\n",
            E::UnknownTransferCoding,
            501,
        ),
        (
            "Transfer-Encoding: xchunked\r\n",
            E::UnknownTransferCoding,
            501,
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            E::UnknownTransferCoding,
            501,
        ),
        (
            "Transfer-Encoding: chunked, gzip\r\n",
            E::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            E::TransferEncoding,
            400,
        ),
        ("Transfer-Encoding: chunked,\r\n", E::TransferEncoding, 400),
        ("Transfer-Encoding: \r\n", E::UnknownTransferCoding, 501),
        (
            "Transfer-Encoding: \"chunked\"\r\n",
            E::UnknownTransferCoding,
            501,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            E::TransferEncoding,
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            E::TransferEncoding,
            400,
        ),
        ("Transfer-Encoding: \x0bchunked\r\n", E::HeaderValue, 400),
        ("Transfer-Encoding : chunked\r\n", E::HeaderName, 400),
        ("Transfer-Encoding\t: chunked\r\n", E::HeaderName, 400),
        ("Content-Length : 5\r\n", E::HeaderName, 400),
        ("X: 1\n", E::BareLineFeed, 400),
        ("X: 1\nContent-Length: 5\r\n", E::BareLineFeed, 400),
        ("X: 1\rContent-Length: 5\r\n", E::HeaderValue, 400),
        ("X: 1\r\r\n", E::HeaderValue, 400),
        ("X: 1\r\n Content-Length: 5\r\n", E::ObsoleteFolding, 400),
        ("X: 1\r\n\tfolded\r\n", E::ObsoleteFolding, 400),
        ("X: a\0b\r\n", E::HeaderValue, 400),
        ("X: a\x7fb\r\n", E::HeaderValue, 400),
        ("Con tent: 1\r\n", E::HeaderName, 400),
        ("no-colon\r\n", E::HeaderName, 400),
        (": no name\r\n", E::HeaderName, 400),
        ("N\u{e4}me: 1\r\n", E::HeaderName, 400),
        ("(x): 1\r\n", E::HeaderName, 400),
        ("Expect: the-unexpected\r\n", E::Expectation, 417),
        ("Expect: 100-continue, more\r\n", E::Expectation, 417),
        (
            "Expect: 100-continue\r\nExpect: 100-continue\r\n",
            E::Expectation,
            417,
        ),
    ];
    for (lines, error, status) in cases {
        let got = request(&put(lines));
        assert_eq!(got.map(|_| ()), Err(error), "{lines:?}");
        assert_eq!(error.status(), status, "{lines:?}");
        assert!(!error.reason().is_empty());
    }
}

#[test]
fn request_lines_are_strict() {
    use ParseError as E;
    let cases = [
        ("GET / HTTP/2.0", E::Version, 505),
        ("PRI * HTTP/2.0", E::Version, 505),
        ("GET / HTTP/1.2", E::Version, 505),
        ("GET / HTTP/0.9", E::Version, 505),
        ("GET / http/1.1", E::RequestLine, 400),
        ("GET / HTTP/1.1 ", E::BareLineFeed, 400),
        ("GET /", E::RequestLine, 400),
        ("GET", E::RequestLine, 400),
        ("GET  / HTTP/1.1", E::RequestLine, 400),
        ("GET /  HTTP/1.1", E::RequestLine, 400),
        ("GET\t/ HTTP/1.1", E::RequestLine, 400),
        ("GET /a b HTTP/1.1", E::RequestLine, 400),
        ("GET /a HTTP/1.1 HTTP/1.1", E::BareLineFeed, 400),
        (" GET / HTTP/1.1", E::RequestLine, 400),
        ("G\x01T / HTTP/1.1", E::RequestLine, 400),
        ("GET /\0 HTTP/1.1", E::RequestLine, 400),
        ("GET /\x7f HTTP/1.1", E::RequestLine, 400),
        ("\x16\x03\x01 / HTTP/1.1", E::RequestLine, 400),
        ("CONNECT s3:443 HTTP/1.1", E::Connect, 501),
        ("GET * HTTP/1.1", E::Target, 400),
        ("GET key HTTP/1.1", E::Target, 400),
        ("GET ftp://s3/k HTTP/1.1", E::Target, 400),
        ("GET http://s3 HTTP/1.1", E::Target, 400),
        ("GET http://other/k HTTP/1.1", E::Host, 400),
        ("GET http:///k HTTP/1.1", E::Host, 400),
        ("GET http://user@s3/k HTTP/1.1", E::Host, 400),
    ];
    for (line, error, status) in cases {
        let got = request(&format!("{line}\r\nHost: s3\r\n\r\n"));
        assert_eq!(got.map(|_| ()), Err(error), "{line:?}");
        assert_eq!(error.status(), status, "{line:?}");
    }
}

#[test]
fn host_must_be_there_once_and_be_one() {
    for lines in [
        "",
        "Host:\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a, b\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: u@a\r\n",
        "Host: a?b\r\n",
        "Host: a\\b\r\n",
    ] {
        let got = request(&format!("GET / HTTP/1.1\r\n{lines}\r\n"));
        assert_eq!(got.map(|_| ()), Err(ParseError::Host), "{lines:?}");
    }
    for host in [
        "s3",
        "b.s3.example.com:9000",
        "127.0.0.1:8080",
        "[::1]:9000",
        "my_bucket.s3",
    ] {
        let head = request(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
        assert_eq!(head.headers["host"], host);
    }
}

#[test]
fn requests_that_are_fine() {
    let head = request(
        "PUT /b/a%20k?x=%2B HTTP/1.1\r\nHOST:s3\r\nContent-Length: \t042 \r\nX-Amz-Date: now\r\n\
         X-Amz-Meta-A: 1\r\nx-amz-meta-a: 2\r\nX-Empty:\r\nX-Utf8: \u{e4}\r\n\r\n",
    )
    .unwrap();
    assert_eq!(head.method, Method::PUT);
    assert_eq!(head.target, "/b/a%20k?x=%2B");
    assert_eq!(head.version, Version::HTTP_11);
    assert_eq!(head.framing, Framing::Length(42));
    assert!(head.keep_alive && !head.expect_continue);
    assert_eq!(head.headers["x-amz-date"], "now");
    assert_eq!(head.headers["x-empty"], "");
    assert_eq!(head.headers["x-utf8"].as_bytes(), "\u{e4}".as_bytes());
    let metas: Vec<_> = head.headers.get_all("x-amz-meta-a").iter().collect();
    assert_eq!(metas, ["1", "2"]);

    let head = request(&put(
        "transfer-encoding: Chunked\r\nExpect: 100-Continue\r\n",
    ))
    .unwrap();
    assert_eq!(head.framing, Framing::Chunked);
    assert!(head.expect_continue);

    // Some clients wait even with nothing to send.
    assert!(
        request(&put("Expect: 100-continue\r\n"))
            .unwrap()
            .expect_continue
    );
    let none = put("Expect: 100-continue\r\nContent-Length: 0\r\n");
    assert!(request(&none).unwrap().expect_continue);

    assert_eq!(request(&put("")).unwrap().framing, Framing::None);
    assert!(
        !request(&put("Connection: foo, Close\r\n"))
            .unwrap()
            .keep_alive
    );
    assert!(
        !request(&put("Connection: foo\r\nConnection: close\r\n"))
            .unwrap()
            .keep_alive
    );
    assert!(
        request(&put("Connection: keep-alive\r\n"))
            .unwrap()
            .keep_alive
    );

    let options = request("OPTIONS * HTTP/1.1\r\nHost: s3\r\n\r\n").unwrap();
    assert_eq!(options.target, "*");
    let absolute = request("GET HTTP://S3:80/b?x HTTP/1.1\r\nHost: s3:80\r\n\r\n").unwrap();
    assert_eq!(absolute.target, "/b?x");
}

#[test]
fn http_1_0_is_answered_once() {
    let head = request("GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert_eq!(head.version, Version::HTTP_10);
    assert!(!head.keep_alive);
    assert!(!head.headers.contains_key("host"));

    let head = request("PUT /k HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    let head = head.unwrap();
    assert_eq!(head.framing, Framing::Length(3));
    assert!(!head.expect_continue);

    let chunked = request("PUT /k HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(chunked.map(|_| ()), Err(ParseError::TransferEncoding));
}

#[test]
fn one_empty_line_before_a_request_is_let_pass() {
    let head = request("\r\nGET /k HTTP/1.1\r\nHost: s3\r\n\r\n").unwrap();
    assert_eq!(head.target, "/k");
    let two = request("\r\n\r\nGET /k HTTP/1.1\r\nHost: s3\r\n\r\n");
    assert_eq!(two.map(|_| ()), Err(ParseError::RequestLine));
}

#[test]
fn limits_hold_before_the_head_is_complete() {
    let limits = Limits {
        head_bytes: 200,
        request_line_bytes: 50,
        headers: 3,
    };
    let parse = |text: &str| parse_request(text.as_bytes(), &limits).map(|r| r.map(|(_, n)| n));

    let line = |len: usize| format!("GET /{} HTTP/1.1", "k".repeat(len - 14));
    assert_eq!(line(50).len(), 50);
    let fits = format!("{}\r\nHost: s3\r\n\r\n", line(50));
    assert_eq!(parse(&fits), Ok(Some(fits.len())));
    assert_eq!(parse(&line(50)), Ok(None));
    assert_eq!(parse(&format!("{}\r", line(50))), Ok(None));
    assert_eq!(
        parse(&format!("{}\r\n", line(51))),
        Err(ParseError::RequestLineTooLong)
    );
    assert_eq!(parse(&line(52)), Err(ParseError::RequestLineTooLong));
    assert_eq!(ParseError::RequestLineTooLong.status(), 414);

    let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: s3\r\n{fields}");
    let three = head("A: 1\r\nB: 1\r\n\r\n");
    assert_eq!(parse(&three), Ok(Some(three.len())));
    assert_eq!(
        parse(&head("A: 1\r\nB: 1\r\nC: 1\r\n")),
        Err(ParseError::TooManyHeaders)
    );
    assert_eq!(ParseError::TooManyHeaders.status(), 431);

    let full = head(&format!("A: {}\r\n\r\n", "x".repeat(200 - 26 - 7)));
    assert_eq!(full.len(), 200);
    assert_eq!(parse(&full), Ok(Some(200)));
    assert_eq!(
        parse(&full.replace("A:", "AA:")),
        Err(ParseError::HeadTooLarge)
    );
    assert_eq!(
        parse(&head(&format!("A: {}", "x".repeat(300)))),
        Err(ParseError::HeadTooLarge)
    );
    assert_eq!(ParseError::HeadTooLarge.status(), 431);
}

#[test]
fn no_limit_exceeds_the_table() {
    let limits = Limits {
        headers: usize::MAX,
        ..Limits::DEFAULT
    };
    let head = |n: usize| {
        let fields = "A: 1\r\n".repeat(n - 1);
        format!("GET / HTTP/1.1\r\nHost: s3\r\n{fields}\r\n")
    };
    assert!(
        parse_request(head(MAX_HEADERS).as_bytes(), &limits)
            .unwrap()
            .is_some()
    );
    let got = parse_request(head(MAX_HEADERS + 1).as_bytes(), &limits).map(|_| ());
    assert_eq!(got, Err(ParseError::TooManyHeaders));
}

#[test]
fn a_tls_hello_is_refused_at_its_first_byte() {
    let got = parse_request(&[0x16, 3, 1, 2, 0, 1, 0, 1], &Limits::DEFAULT).map(|_| ());
    assert_eq!(got, Err(ParseError::RequestLine));
}

#[test]
fn pipelined_requests_are_taken_one_at_a_time() {
    let first = put("Content-Length: 3\r\n");
    let both = format!("{first}abcGET / HTTP/1.1\r\nHost: s3\r\n\r\n");
    let (_, consumed) = parse_request(both.as_bytes(), &Limits::DEFAULT)
        .unwrap()
        .unwrap();
    assert_eq!(consumed, first.len());
}

#[test]
fn responses_are_framed_as_rfc_9112_says() {
    let get = Method::GET;
    let cases = [
        ("200 OK\r\nContent-Length: 5\r\n", Framing::Length(5), true),
        (
            "200 OK\r\nTransfer-Encoding: chunked\r\n",
            Framing::Chunked,
            true,
        ),
        ("200 OK\r\n", Framing::UntilClose, false),
        (
            "200 OK\r\nContent-Length: 5\r\nConnection: close\r\n",
            Framing::Length(5),
            false,
        ),
        ("204 No Content\r\n", Framing::None, true),
        (
            "204 No Content\r\nContent-Length: 5\r\n",
            Framing::None,
            true,
        ),
        (
            "304 Not Modified\r\nContent-Length: 5\r\n",
            Framing::None,
            true,
        ),
        ("503\r\nContent-Length: 0\r\n", Framing::Length(0), true),
        ("503 \r\nContent-Length: 0\r\n", Framing::Length(0), true),
    ];
    for (text, framing, keep_alive) in cases {
        let head = response(&format!("HTTP/1.1 {text}\r\n"), &get).unwrap();
        assert_eq!(head.framing, framing, "{text:?}");
        assert_eq!(head.keep_alive, keep_alive, "{text:?}");
        assert_eq!(head.status.as_str(), &text[..3]);
    }
    let head = response(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        &Method::HEAD,
    )
    .unwrap();
    assert_eq!(head.framing, Framing::None);
    assert_eq!(head.headers["content-length"], "5");
    let old = response("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", &get).unwrap();
    assert!(!old.keep_alive);
}

#[test]
fn bad_responses_are_refused() {
    use ParseError as E;
    let cases = [
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            E::Status,
        ),
        ("HTTP/1.1 600 What\r\n\r\n", E::Status),
        ("HTTP/1.1 099 What\r\n\r\n", E::Status),
        ("HTTP/1.1 20 OK\r\n\r\n", E::StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", E::StatusLine),
        ("HTTP/2 200\r\n\r\n", E::Version),
        ("ICY 200 OK\r\n\r\n", E::Version),
        (
            "HTTP/1.1 200 OK\nContent-Length: 1\r\n\r\n",
            E::BareLineFeed,
        ),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", E::ObsoleteFolding),
        (
            "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n",
            E::HeaderName,
        ),
        (
            "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::TransferEncoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            E::UnknownTransferCoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            E::RepeatedContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::LengthAndEncoding,
        ),
    ];
    for (text, error) in cases {
        let got = response(text, &Method::GET).map(|_| ());
        assert_eq!(got, Err(error), "{text:?}");
    }
}

#[test]
fn interim_responses_are_skipped_up_to_a_bound() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    let text = format!("{interim}{last}ok");
    let (head, consumed) = parse_response(text.as_bytes(), &Limits::DEFAULT, &Method::PUT)
        .unwrap()
        .unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(consumed, text.len() - 2);
    assert!(
        parse_response(interim.as_bytes(), &Limits::DEFAULT, &Method::PUT)
            .unwrap()
            .is_none()
    );

    let many = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM_RESPONSES);
    assert!(response(&format!("{many}{last}"), &Method::PUT).is_ok());
    let got = response(
        &format!("{many}HTTP/1.1 100 More\r\n\r\n{last}"),
        &Method::PUT,
    );
    assert_eq!(got.map(|_| ()), Err(ParseError::TooManyInterimResponses));
}

fn chunked(body: &[u8]) -> Result<(Vec<u8>, bool, usize), ParseError> {
    let mut out = vec![0; body.len()];
    let got = ChunkedDecoder::new().decode(body, &mut out)?;
    out.truncate(got.produced);
    Ok((out, got.done, got.consumed))
}

#[test]
fn bad_chunks_are_refused() {
    use ParseError as E;
    let cases: [(&[u8], E); 22] = [
        (b"5;ext=1\r\nhello\r\n", E::ChunkExtension),
        (b"5 \r\nhello\r\n", E::ChunkExtension),
        (b"5\nhello\r\n", E::Chunk),
        (b"5\rhello\r\n", E::Chunk),
        (b"\r\nhello", E::Chunk),
        (b"+5\r\nhello\r\n", E::Chunk),
        (b"-1\r\n", E::Chunk),
        (b"0x5\r\nhello\r\n", E::Chunk),
        (b" 5\r\nhello\r\n", E::Chunk),
        (b"5g\r\n", E::Chunk),
        (b"10000000000000000\r\n", E::Chunk),
        (b"00000000000000005\r\nhello\r\n", E::Chunk),
        (b"fffffffffffffffff\r\n", E::Chunk),
        (b"5\r\nhelloX\n", E::Chunk),
        (b"5\r\nhello\n", E::Chunk),
        (b"5\r\nhello\rX", E::Chunk),
        (b"0\r\nX\r\n\r\n", E::Trailer),
        (b"0\r\n folded: 1\r\n\r\n", E::Trailer),
        (b"0\r\na : 1\r\n\r\n", E::Trailer),
        (b"0\r\na: 1\n\r\n", E::Trailer),
        (b"0\r\na: \0\r\n\r\n", E::Trailer),
        (b"0\r\n\rX", E::Trailer),
    ];
    for (body, error) in cases {
        assert_eq!(chunked(body), Err(error), "{}", body.escape_ascii());
    }
}

#[test]
fn good_chunks_and_trailers() {
    assert_eq!(chunked(b"0\r\n\r\nGET"), Ok((vec![], true, 5)));
    let body = b"5\r\nhello\r\n0006\r\n world\r\n000\r\nA: 1\r\nb:2\r\n\r\nnext";
    assert_eq!(
        chunked(body),
        Ok((b"hello world".to_vec(), true, body.len() - 4))
    );
    let huge = b"ffffffffffffffff\r\nab";
    assert_eq!(chunked(huge), Ok((b"ab".to_vec(), false, huge.len())));
}

#[test]
fn trailers_are_bounded() {
    let trailer = |len: usize| format!("0\r\na: {}\r\n\r\n", "x".repeat(len - 7));
    let fits = trailer(MAX_TRAILER_BYTES);
    assert_eq!(chunked(fits.as_bytes()), Ok((vec![], true, fits.len())));
    let over = trailer(MAX_TRAILER_BYTES + 1);
    assert_eq!(chunked(over.as_bytes()), Err(ParseError::TrailerTooLarge));
    assert_eq!(ParseError::TrailerTooLarge.status(), 431);
}
