use proptest::prelude::*;

use super::*;

fn encode(
    boundary: &str,
    fields: &[(String, String)],
    file: (&str, &[u8]),
    after: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.extend_from_slice(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
            .as_bytes(),
        );
    }
    out.extend_from_slice(
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: image/png\r\n\r\n",
            file.0
        )
        .as_bytes(),
    );
    out.extend_from_slice(file.1);
    if after {
        out.extend_from_slice(
            format!(
                "\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"submit\"\r\n\r\nUpload"
            )
            .as_bytes(),
        );
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    out
}

type Read = (Vec<(String, String)>, String, usize);

fn read(boundary: &str, body: &[u8], piece: usize) -> Result<Read, S3Error> {
    let mut parser = Parser::new(boundary.as_bytes());
    let mut at = 0;
    while at < body.len() {
        let end = (at + piece).min(body.len());
        let (used, step) = parser.push(&body[at..end])?;
        at += used;
        if let Step::File(name) = step {
            return Ok((parser.into_fields(), name, at));
        }
        assert_eq!(at, end);
    }
    Err(malformed("cut"))
}

#[test]
fn boundaries() {
    for (text, want) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        (
            "multipart/form-data;charset=utf-8; Boundary=\"a b;c\"",
            Some("a b;c"),
        ),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=\"abc", None),
        ("multipart/form-data; boundary=\"abc \"", None),
    ] {
        let got = boundary(text.as_bytes()).ok();
        assert_eq!(got.as_deref(), want.map(str::as_bytes), "{text}");
    }
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    assert!(boundary(long.as_bytes()).is_err());
}

#[test]
fn what_browsers_and_libraries_send() {
    let body = "--b\r\nContent-Disposition: form-data; name=\"key\"; filename=\"key\"\r\n\r\n\r\n--b  \r\n\
                content-disposition:form-data;name=file;filename=\"C:\\a\\\"b\\c.txt\"\r\n\r\nDATA\r\n--b--";
    for piece in [1, 3, 1000] {
        let (fields, name, at) = read("b", body.as_bytes(), piece).unwrap();
        assert_eq!(fields, [("key".to_owned(), String::new())]);
        assert_eq!(name, "C:\\a\"b\\c.txt");
        assert_eq!(&body[at..], "DATA\r\n--b--");
        let ending = Ending::new(b"b");
        assert_eq!(ending.file_len(&body.as_bytes()[at..]).unwrap(), 4);
    }
    assert!(read("b", format!("\r\n{body}").as_bytes(), 2).is_ok());
}

#[test]
fn refusals() {
    let part = |headers: &str| format!("--b\r\n{headers}\r\n\r\nv\r\n--b--\r\n");
    for body in [
        "".to_owned(),
        "x".to_owned(),
        "--c\r\n".to_owned(),
        "--bx\r\n".to_owned(),
        "--b\r\n\r\n".to_owned(),
        part("Content-Disposition: attachment; name=\"a\""),
        part("Content-Disposition: form-data"),
        part("Content-Disposition: form-data; name=\"\""),
        part("Content-Disposition: form-data; name=\"a"),
        part("no colon"),
        part("Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64"),
    ] {
        let error = read("b", body.as_bytes(), 7).unwrap_err();
        assert_eq!(error.code, ErrorCode::MalformedPOSTRequest, "{body:?}");
    }
    let none = part("Content-Disposition: form-data; name=\"a\"");
    assert_eq!(
        read("b", none.as_bytes(), 7).unwrap_err().code,
        ErrorCode::InvalidArgument
    );
    for size in [MAX_FIELDS, MAX_PREFACE, 1 << 20] {
        let fields = [("a".to_owned(), "v".repeat(size))];
        let body = encode("b", &fields, ("n", b""), false);
        let error = read("b", &body, 4000).unwrap_err();
        assert_eq!(
            error.code,
            ErrorCode::MaxPostPreDataLengthExceededError,
            "{size}"
        );
    }
    let headers = format!("--b\r\nX: {}", "h".repeat(1 << 20));
    let error = read("b", headers.as_bytes(), 4000).unwrap_err();
    assert_eq!(error.code, ErrorCode::MaxPostPreDataLengthExceededError);
    assert!(Ending::new(b"b").file_len(b"data").is_err());
    assert!(Ending::new(b"b").file_len(b"data\r\n--b\r\nx").is_err());
}

proptest! {
    #[test]
    fn forms_are_read_whatever_the_pieces(
        names in proptest::collection::vec("[a-z-]{1,12}", 0..6),
        value in "[^\u{0}]{0,60}",
        file in proptest::collection::vec(any::<u8>(), 0..200),
        piece in 1usize..64,
        after in any::<bool>(),
    ) {
        let fields: Vec<_> = names
            .into_iter()
            .filter(|n| n != "file")
            .map(|n| (n, value.clone()))
            .collect();
        let body = encode("xBOUNDARYx", &fields, ("n.txt", &file), after);
        let (got, name, at) = read("xBOUNDARYx", &body, piece).unwrap();
        prop_assert_eq!(got, fields);
        prop_assert_eq!(name, "n.txt");
        let ending = Ending::new(b"xBOUNDARYx");
        prop_assert_eq!(ending.file_len(&body[at..]).unwrap(), file.len());
        // A scan finds the delimiter wherever the pieces end, and not before.
        let mut scan = Scan::new(ending);
        for p in file.chunks(piece) {
            prop_assert!(!scan.found_in(p));
        }
        let rest = &body[at + file.len()..];
        prop_assert!(rest.chunks(piece).any(|p| scan.found_in(p)));
    }

    #[test]
    fn garbage_is_refused_and_never_panics(
        body in proptest::collection::vec(prop_oneof![
            Just(b"--b".to_vec()), Just(b"\r\n".to_vec()), Just(b"\r\n\r\n".to_vec()),
            Just(b"Content-Disposition: form-data; name=\"file\"".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..8),
        ], 0..40),
        piece in 1usize..16,
    ) {
        let body = body.concat();
        if let Ok((_, _, at)) = read("b", &body, piece) {
            prop_assert!(at <= body.len());
        }
        let _ = boundary(&body);
        let _ = Ending::new(b"b").file_len(&body);
    }
}
