//! Answers of all kinds, and how requests are addressed and signed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use sealgate_backend::s3::S3Store;
use sealgate_backend::types::{BackendError, CompletedPart, CopyRequest, ListRequest};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_uring::StoreConnector;

use crate::fake::{FakeStore, error_document};
use crate::harness::{
    Client, Outcome, at, client, client_with, code, end, get, is_protocol, options, put, signer,
};
use crate::scripts;

crate::on_both_drivers! {
    a_copy_that_fails_with_a_200
    a_completion_that_fails_with_a_200
    a_completion_without_an_etag
    head_errors_have_no_body
    a_head_has_the_length_of_a_get
    documents_have_a_limit
    a_long_error_is_told_by_its_status
    a_document_in_chunks_or_until_the_close
    what_is_not_http_is_refused
    interim_answers_are_skipped
    a_connection_that_is_to_be_closed_is
    bytes_after_an_answer_close_the_connection
    the_bucket_in_the_host
    a_session_token_is_sent_and_signed
    keys_are_encoded_once
}

async fn copy(client: &Client) -> Outcome<String> {
    let request = CopyRequest {
        source: at("a b+c"),
        source_conditions: Conditions::if_match("e0"),
        conditions: Conditions::default(),
        headers: HeaderMap::new(),
    };
    client
        .copy(&request, &at("key"))
        .await
        .map(|copied| copied.etag)
}

async fn complete(client: &Client) -> Outcome<String> {
    let parts = [CompletedPart {
        number: 1,
        etag: "p1".into(),
        checksum: None,
    }];
    let stored = client
        .complete_upload(&at("key"), "u1", &parts, &Conditions::default())
        .await;
    stored.map(|stored| stored.etag)
}

async fn list(client: &Client) -> Outcome<Vec<Bytes>> {
    let request = ListRequest {
        max_keys: 10,
        ..ListRequest::default()
    };
    let page = client.list("bucket", &request).await?;
    Ok(page.objects.into_iter().map(|o| o.key).collect())
}

const LISTING: &str = "<ListBucketResult><Name>bucket</Name><Prefix></Prefix><KeyCount>1</KeyCount>\
    <MaxKeys>10</MaxKeys><IsTruncated>false</IsTruncated><EncodingType>url</EncodingType><Contents>\
    <Key>a%20b</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag>\
    <Size>1</Size></Contents></ListBucketResult>";

async fn a_copy_that_fails_with_a_200() {
    let fake = FakeStore::start(scripts![|peer| {
        let request = peer.request();
        assert_eq!(
            request.header("x-amz-copy-source"),
            Some("bucket/a%20b%2Bc")
        );
        assert_eq!(request.header("x-amz-copy-source-if-match"), Some("\"e0\""));
        assert_eq!(request.header("content-length"), Some("0"));
        peer.reply(200, "", format!("   \n{}", error_document("SlowDown")));
        peer.request();
        peer.reply(
            200,
            "",
            "<CopyObjectResult><ETag>\"e2\"</ETag></CopyObjectResult>",
        );
        peer.closed();
    }]);
    let client = client(&fake);
    assert_eq!(code(copy(&client).await), ErrorCode::SlowDown);
    assert_eq!(copy(&client).await.unwrap(), "e2");
    end(client, fake).await;
}

async fn a_completion_that_fails_with_a_200() {
    let fake = FakeStore::start(scripts![|peer| {
        let request = peer.request();
        assert_eq!(request.line(), "POST /bucket/key?uploadId=u1");
        assert!(
            String::from_utf8(request.body)
                .unwrap()
                .contains("<PartNumber>1</PartNumber>")
        );
        // Spaces while it works, then that it has not.
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..3 {
            peer.send("1\r\n \r\n");
            std::thread::sleep(Duration::from_millis(300));
        }
        let error = error_document("InternalError");
        peer.send(format!("{:x}\r\n{error}\r\n0\r\n\r\n", error.len()));
        peer.closed();
    }]);
    let mut options = options(&fake);
    // The spaces say that it is at work.
    options.timeouts.block = Duration::from_millis(700);
    let client = client_with(&fake, options);
    assert_eq!(code(complete(&client).await), ErrorCode::InternalError);
    end(client, fake).await;
}

async fn a_completion_without_an_etag() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.reply(
            200,
            "",
            "<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>key</Key><ETag></ETag>\
             </CompleteMultipartUploadResult>",
        );
        assert_eq!(peer.request().line(), "HEAD /bucket/key");
        peer.send("HTTP/1.1 200 OK\r\nETag: \"whole-1\"\r\nContent-Length: 7\r\n\r\n");
        peer.closed();
    }]);
    let client = client(&fake);
    assert_eq!(complete(&client).await.unwrap(), "whole-1");
    end(client, fake).await;
}

async fn head_errors_have_no_body() {
    let fake = FakeStore::start(scripts![|peer| {
        for status in [404, 404, 403, 412, 304, 400] {
            peer.request();
            // The length of what a GET would answer.
            peer.send(format!(
                "HTTP/1.1 {status} X\r\nContent-Length: 300\r\nETag: \"e\"\r\n\r\n"
            ));
        }
        peer.closed();
    }]);
    let client = client(&fake);
    let (at, conditions) = (at("key"), Conditions::default());
    let head = || client.head(&at, &conditions);
    assert_eq!(code(head().await), ErrorCode::NoSuchKey);
    assert_eq!(
        code(client.head_bucket("bucket").await),
        ErrorCode::NoSuchBucket
    );
    assert_eq!(code(head().await), ErrorCode::AccessDenied);
    assert_eq!(code(head().await), ErrorCode::PreconditionFailed);
    match head().await {
        Err(BackendError::NotModified(headers)) => assert_eq!(headers["etag"], "\"e\""),
        other => panic!("{other:?}"),
    }
    assert_eq!(code(head().await), ErrorCode::BadRequest);
    assert_eq!(client.counters().connects.get(), 1);
    end(client, fake).await;
}

async fn a_head_has_the_length_of_a_get() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.send(
            "HTTP/1.1 200 OK\r\nETag: W/\"e\"\r\nContent-Length: 12345678901\r\n\
             Last-Modified: Thu, 01 Jan 1970 00:00:10 GMT\r\nx-amz-meta-a: b\r\n\r\n",
        );
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nETag: \"e\"\r\n\r\n");
        peer.closed();
    }]);
    let client = client(&fake);
    let info = client
        .head(&at("key"), &Conditions::default())
        .await
        .unwrap();
    assert_eq!((info.len, info.last_modified), (12_345_678_901, 10_000));
    assert_eq!(
        (info.etag.as_str(), &info.headers["x-amz-meta-a"]),
        ("e", &HeaderValue::from_static("b"))
    );
    is_protocol(client.head(&at("key"), &Conditions::default()).await);
    end(client, fake).await;
}

async fn documents_have_a_limit() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                (16 << 20) + 1
            ));
            // Nothing of it is waited for.
            peer.gone();
        },
        |peer| {
            peer.request();
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1100000\r\n");
            let space = vec![b' '; 0x11_0000];
            for _ in 0..16 {
                // The client leaves in the middle.
                if !peer.try_send(&space) {
                    break;
                }
            }
            peer.gone();
        },
    ]);
    let client = client(&fake);
    for _ in 0..2 {
        assert!(is_protocol(list(&client).await).contains("longer than"));
    }
    end(client, fake).await;
}

async fn a_long_error_is_told_by_its_status() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.send(format!(
                "HTTP/1.1 403 X\r\nContent-Length: {}\r\n\r\n<html>",
                17 << 20
            ));
            peer.gone();
        },
        |peer| {
            peer.request();
            peer.send("HTTP/1.1 404 X\r\nContent-Length: 100\r\n\r\n<Error>");
        },
    ]);
    let client = client(&fake);
    assert_eq!(code(get(&client).await), ErrorCode::AccessDenied);
    assert_eq!(code(get(&client).await), ErrorCode::NoSuchKey);
    end(client, fake).await;
}

async fn a_document_in_chunks_or_until_the_close() {
    let fake = FakeStore::start(scripts![|peer| {
        let request = peer.request();
        assert!(
            request.target.contains("encoding-type=url"),
            "{}",
            request.target
        );
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in LISTING.as_bytes().chunks(100) {
            peer.send(format!("{:x}\r\n", piece.len()));
            peer.send(piece);
            peer.send("\r\n");
        }
        peer.send("0\r\nx-trailer: y\r\n\r\n");
        peer.request();
        peer.send(format!("HTTP/1.1 200 OK\r\n\r\n{LISTING}"));
    }]);
    let client = client(&fake);
    for _ in 0..2 {
        assert_eq!(list(&client).await.unwrap(), [Bytes::from_static(b"a b")]);
    }
    assert_eq!(client.counters().connects.get(), 1);
    end(client, fake).await;
}

async fn what_is_not_http_is_refused() {
    let garbage = |peer: &mut crate::fake::Peer| {
        peer.request();
        peer.send("SSH-2.0-OpenSSH_9.6\r\n\r\n");
        peer.gone();
    };
    let fake = FakeStore::start(scripts![garbage, garbage]);
    let client = client(&fake);
    is_protocol(list(&client).await);
    is_protocol(put(&client, &[b"body"]).await);
    end(client, fake).await;
}

async fn interim_answers_are_skipped() {
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
        std::thread::sleep(Duration::from_millis(50));
        peer.object(b"x");
        peer.closed();
    }]);
    let client = client(&fake);
    assert_eq!(get(&client).await.unwrap(), b"x");
    end(client, fake).await;
}

async fn a_connection_that_is_to_be_closed_is() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.reply(200, "ETag: \"e\"\r\nConnection: close\r\n", "x");
            peer.closed();
        },
        |peer| {
            peer.request();
            peer.send("HTTP/1.0 200 OK\r\nETag: \"e\"\r\nContent-Length: 1\r\n\r\ny");
            peer.closed();
        },
        |peer| {
            peer.request();
            peer.object(b"z");
            peer.closed();
        },
    ]);
    let client = client(&fake);
    for expected in [b"x", b"y", b"z"] {
        assert_eq!(get(&client).await.unwrap(), expected);
    }
    end(client, fake).await;
}

async fn bytes_after_an_answer_close_the_connection() {
    let fake = FakeStore::start(scripts![
        |peer| {
            peer.request();
            peer.send(
                "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n",
            );
            peer.closed();
        },
        |peer| {
            peer.request();
            peer.object(b"y");
            peer.closed();
        },
    ]);
    let client = client(&fake);
    assert_eq!(get(&client).await.unwrap(), b"x");
    assert_eq!(get(&client).await.unwrap(), b"y");
    end(client, fake).await;
}

async fn the_bucket_in_the_host() {
    let fake = FakeStore::start(scripts![|peer| {
        for line in ["GET /key", "GET /", "PUT /key"] {
            let request = peer.request();
            assert_eq!(request.line().split('?').next(), Some(line));
            let host = request.header("host").unwrap();
            assert!(host.starts_with("bucket.127.0.0.1:"), "{host}");
            match line {
                "GET /" => peer.reply(200, "", LISTING),
                _ => peer.object(b"x"),
            }
            if line == "PUT /key" {
                assert_eq!(request.body, b"body");
            }
        }
        let request = peer.request();
        assert_eq!(request.line(), "GET /");
        assert!(request.header("host").unwrap().starts_with("127.0.0.1:"));
        peer.error(403, "AccessDenied");
        peer.closed();
    }]);
    let mut options = options(&fake);
    options.path_style = false;
    let client = client_with(&fake, options);
    get(&client).await.unwrap();
    list(&client).await.unwrap();
    put(&client, &[b"body"]).await.unwrap();
    assert_eq!(code(client.list_buckets().await), ErrorCode::AccessDenied);
    end(client, fake).await;
}

async fn a_session_token_is_sent_and_signed() {
    let fake = FakeStore::start(scripts![|peer| {
        for _ in 0..2 {
            let request = peer.request();
            assert_eq!(request.header("x-amz-security-token"), Some("token/+="));
            assert!(
                request
                    .header("authorization")
                    .unwrap()
                    .contains("x-amz-security-token")
            );
            peer.object(b"x");
        }
        assert_eq!(peer.request().header("x-amz-security-token"), None);
        peer.object(b"x");
        peer.closed();
    }]);
    let connector = StoreConnector::new(
        "127.0.0.1",
        fake.addr().port(),
        None,
        Duration::from_secs(5),
    );
    let client = S3Store::new(connector, options(&fake), signer(Some("token/+=")));
    get(&client).await.unwrap();
    put(&client, &[b"body"]).await.unwrap();
    // Another user of the same store shares the connections, not the token.
    get(&client.signed_by(signer(None))).await.unwrap();
    end(client, fake).await;
}

async fn keys_are_encoded_once() {
    let fake = FakeStore::start(scripts![|peer| {
        let request = peer.request();
        assert_eq!(
            request.target,
            "/bucket/a%20b%2Bc//%25%C3%BC%3F%26%3D/../~_-."
        );
        peer.reply(204, "", "");
        let request = peer.request();
        assert_eq!(
            request.target,
            "/bucket/key?partNumber=7&uploadId=u%2F%2B%3D%20%26"
        );
        peer.stored();
        peer.closed();
    }]);
    let client = client(&fake);
    let key = at("a b+c//%ü?&=/../~_-.");
    client.delete(&key, &Conditions::default()).await.unwrap();
    let upload = client.put_part(&at("key"), "u/+= &", 7, 4).await.unwrap();
    crate::harness::send(upload, &[b"body"]).await.unwrap();
    end(client, fake).await;
}
