//! Versions: which one is asked for, which one is answered, and what is said of delete markers (S3-TRAPS 28).

use sealgate_backend::types::{BackendError, GetRequest, Location, ToDelete, VersionsRequest};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::RawKey;

use crate::fake::{FakeStore, error_document};
use crate::harness::{at, client, code, end, get, get_range, read_by};
use crate::scripts;

crate::on_both_drivers! {
    a_version_is_asked_for_and_must_be_the_one_that_is_answered
    a_version_that_has_been_replaced_is_read_to_its_end
    an_asked_for_version_is_resumed_as_that_version
    delete_markers_say_what_they_are
    outcomes_of_a_bulk_deletion_are_by_version
    a_part_is_resumed_as_a_range
    a_store_that_overlooks_part_numbers_is_not_believed
    versions_are_listed_as_asked
}

fn version(id: &str) -> Location {
    at("key").at_version(Some(id.into()))
}

fn answer<T>(outcome: Result<T, BackendError>) -> S3Error {
    match outcome.err() {
        Some(BackendError::Answer(e)) => e,
        other => panic!("no answer but {other:?}"),
    }
}

async fn a_version_is_asked_for_and_must_be_the_one_that_is_answered() {
    let fake = FakeStore::start(scripts![|peer| {
        for named in ["x-amz-version-id: v1\r\n", "x-amz-version-id: v2\r\n", ""] {
            assert_eq!(peer.request().line(), "HEAD /bucket/key?versionId=v1");
            peer.send(format!(
                "HTTP/1.1 200 X\r\nContent-Length: 3\r\nETag: \"e\"\r\n{named}\r\n"
            ));
        }
        assert_eq!(peer.request().line(), "HEAD /bucket/key?versionId=null");
        peer.send("HTTP/1.1 200 X\r\nContent-Length: 3\r\nETag: \"e\"\r\n\r\n");
        assert_eq!(peer.request().line(), "HEAD /bucket/key?versionId=v1");
        peer.send("HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n");
        peer.closed();
    }]);
    let client = client(&fake);
    let none = Conditions::default();
    assert_eq!(client.head(&version("v1"), &none).await.unwrap().len, 3);
    // A store that takes no notice of the id has no such version.
    for _ in 0..2 {
        let outcome = client.head(&version("v1"), &none).await;
        assert_eq!(code(outcome), ErrorCode::NoSuchVersion);
    }
    assert_eq!(client.head(&version("null"), &none).await.unwrap().len, 3);
    let outcome = client.head(&version("v1"), &none).await;
    assert_eq!(code(outcome), ErrorCode::NoSuchVersion);
    end(client, fake).await;
}

/// The head of a version with six bytes, and three of them.
const HALF: &str =
    "HTTP/1.1 200 X\r\nETag: \"e1\"\r\nx-amz-version-id: v1\r\nContent-Length: 6\r\n\r\nobj";

async fn a_version_that_has_been_replaced_is_read_to_its_end() {
    for gone in [(412, "PreconditionFailed"), (404, "NoSuchKey")] {
        let fake = FakeStore::start(scripts![
            |peer| {
                assert_eq!(peer.request().line(), "GET /bucket/key");
                peer.send(HALF);
            },
            move |peer| {
                assert_eq!(peer.request().line(), "GET /bucket/key");
                peer.error(gone.0, gone.1);
                let request = peer.request();
                assert_eq!(request.line(), "GET /bucket/key?versionId=v1");
                assert_eq!(request.header("if-match"), Some("\"e1\""));
                peer.range(&request, b"object");
                peer.closed();
            },
        ]);
        let client = client(&fake);
        assert_eq!(get(&client).await.unwrap(), b"object");
        end(client, fake).await;
    }
}

async fn an_asked_for_version_is_resumed_as_that_version() {
    let fake = FakeStore::start(scripts![
        |peer| {
            assert_eq!(peer.request().line(), "GET /bucket/key?versionId=v1");
            peer.send(HALF);
        },
        |peer| {
            let request = peer.request();
            assert_eq!(request.line(), "GET /bucket/key?versionId=v1");
            peer.range(&request, b"object");
            peer.closed();
        },
    ]);
    let client = client(&fake);
    let asked = client.get(&version("v1"), &GetRequest::default()).await;
    let (_, _, mut body) = asked.unwrap();
    assert_eq!(read_by(&mut body, 100).await.0, b"object");
    drop(body);
    end(client, fake).await;
}

async fn delete_markers_say_what_they_are() {
    const MARKER: &str = "x-amz-delete-marker: true\r\nx-amz-version-id: m1\r\n";
    let fake = FakeStore::start(scripts![|peer| {
        peer.request();
        peer.reply(404, MARKER, error_document("NoSuchKey"));
        peer.request();
        peer.send(format!(
            "HTTP/1.1 404 X\r\nContent-Length: 0\r\n{MARKER}\r\n"
        ));
        peer.request();
        let headers = format!("{MARKER}Allow: DELETE\r\n");
        peer.reply(405, &headers, error_document("MethodNotAllowed"));
        peer.closed();
    }]);
    let client = client(&fake);
    let none = Conditions::default();
    let errors = [
        answer(get_range(&client, None).await),
        answer(client.head(&at("key"), &none).await),
        answer(client.get(&version("m1"), &GetRequest::default()).await),
    ];
    let codes: Vec<_> = errors.iter().map(|e| e.code.as_str()).collect();
    assert_eq!(codes, ["NoSuchKey", "NoSuchKey", "MethodNotAllowed"]);
    for e in &errors {
        let headers = e.headers.as_ref().unwrap();
        assert_eq!(headers["x-amz-delete-marker"], "true");
        assert_eq!(headers["x-amz-version-id"], "m1");
    }
    assert_eq!(errors[2].headers.as_ref().unwrap()["allow"], "DELETE");
    end(client, fake).await;
}

async fn outcomes_of_a_bulk_deletion_are_by_version() {
    let fake = FakeStore::start(scripts![|peer| {
        let request = peer.request();
        let body = String::from_utf8(request.body).unwrap();
        assert!(
            body.contains("<Key>a</Key><VersionId>1</VersionId>"),
            "{body}"
        );
        peer.reply(
            200,
            "",
            "<DeleteResult><Deleted><Key>a</Key><VersionId>2</VersionId></Deleted>\
             <Deleted><Key>b</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>m</DeleteMarkerVersionId></Deleted>\
             <Deleted><Key>c</Key></Deleted>\
             <Error><Key>a</Key><VersionId>1</VersionId><Code>AccessDenied</Code><Message>m</Message></Error></DeleteResult>",
        );
        peer.closed();
    }]);
    let client = client(&fake);
    let named = [
        ("a", Some("1")),
        ("a", Some("2")),
        ("b", None),
        ("c", Some("9")),
        ("d", None),
    ];
    let objects: Vec<ToDelete> = named
        .iter()
        .map(|(key, version)| ToDelete {
            key: RawKey::copy_from(key.as_bytes()).unwrap(),
            version: version.map(str::to_owned),
        })
        .collect();
    let outcomes = client.delete_many("bucket", &objects).await.unwrap();
    assert_eq!(
        outcomes[0].as_ref().unwrap_err().code,
        ErrorCode::AccessDenied
    );
    assert!(!outcomes[1].as_ref().unwrap().delete_marker);
    let marker = outcomes[2].as_ref().unwrap();
    assert_eq!(
        (
            marker.delete_marker,
            marker.delete_marker_version.as_deref()
        ),
        (true, Some("m"))
    );
    // A store that does not repeat the version of a key that was named once.
    assert!(outcomes[3].is_ok());
    assert_eq!(
        outcomes[4].as_ref().unwrap_err().code,
        ErrorCode::InternalError
    );
    end(client, fake).await;
}

async fn a_part_is_resumed_as_a_range() {
    let fake = FakeStore::start(scripts![
        |peer| {
            let request = peer.request();
            assert_eq!(request.line(), "GET /bucket/key?partNumber=2");
            assert_eq!(request.header("range"), None);
            peer.send(
                "HTTP/1.1 206 X\r\nETag: \"e1\"\r\nContent-Range: bytes 3-5/6\r\nContent-Length: 3\r\n\r\ne",
            );
        },
        |peer| {
            let request = peer.request();
            assert_eq!(request.line(), "GET /bucket/key");
            assert_eq!(request.header("range"), Some("bytes=4-5"));
            peer.range(&request, b"object");
            peer.closed();
        },
    ]);
    let client = client(&fake);
    let part = client.get_part(&at("key"), 2, &Conditions::default()).await;
    let (info, range, mut body) = part.unwrap();
    assert_eq!((info.len, range), (6, 3..6));
    assert_eq!(read_by(&mut body, 100).await.0, b"ect");
    drop(body);
    end(client, fake).await;
}

async fn a_store_that_overlooks_part_numbers_is_not_believed() {
    let fake = FakeStore::start(scripts![|peer| {
        for etag in ["e1", "e1-2", "e1"] {
            peer.request();
            peer.send(format!(
                "HTTP/1.1 200 X\r\nContent-Length: 6\r\nETag: \"{etag}\"\r\n\r\n"
            ));
        }
        peer.closed();
    }]);
    let client = client(&fake);
    let none = Conditions::default();
    // Part 1 of an object that has no parts is all of it.
    let (_, range) = client.head_part(&at("key"), 1, &none).await.unwrap();
    assert_eq!(range, 0..6);
    for number in [1, 2] {
        let outcome = client.head_part(&at("key"), number, &none).await;
        assert_eq!(code(outcome), ErrorCode::NotImplemented);
    }
    end(client, fake).await;
}

async fn versions_are_listed_as_asked() {
    let fake = FakeStore::start(scripts![|peer| {
        let target = peer.request().target;
        for parameter in [
            "delimiter=%2F",
            "key-marker=a%20b",
            "max-keys=7",
            "prefix=a",
            "version-id-marker=v3",
        ] {
            assert!(target.contains(parameter), "{parameter} in {target}");
        }
        peer.reply(
            200,
            "",
            "<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>a/</NextKeyMarker>\
             <CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></ListVersionsResult>",
        );
        peer.closed();
    }]);
    let client = client(&fake);
    let request = VersionsRequest {
        prefix: "a".into(),
        delimiter: "/".into(),
        after: Some(("a b".into(), "v3".into())),
        max_keys: 7,
    };
    let page = client.list_versions("bucket", &request).await.unwrap();
    assert_eq!(page.common_prefixes, ["a/"]);
    assert_eq!(page.next, Some(("a/".into(), String::new())));
    end(client, fake).await;
}
