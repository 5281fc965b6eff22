//! What is tried.

use std::sync::mpsc::Sender;

use http::{HeaderMap, Method};
use sealgate_backend::Store;
use sealgate_backend::s3::preset::Condition;
use sealgate_backend::types::{BackendError, CompletedPart};
use sealgate_s3::checksum::{Algorithm, Hasher, content_md5_of};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::xml::{DeleteRequest, ObjectToDelete, Versioning};

use super::target::{Answer, Target, headers};
use super::{Aspect, Finding, sums};

/// No object has it.
const NEVER: &str = "\"0123456789abcdef0123456789abcdef\"";
/// Before there was anything.
const LONG_AGO: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
/// S3's least part, bytes.
const PART: usize = 5 << 20;
/// Least metadata that is tried: below it no gateway works.
const LEAST_METADATA: usize = 1024;
/// Most metadata that is tried, bytes: an answer's head has to hold it too.
const MOST_METADATA: usize = 16 << 10;
/// Most keys of a DeleteObjects.
const MOST_DELETED: usize = 1000;

pub(super) type Tried = Result<(), String>;
pub(super) type Tell = Sender<Finding>;

/// Tries everything.
pub(super) async fn all(target: &Target, tell: &Tell) -> Tried {
    puts(target, tell).await?;
    completes(target, tell).await?;
    copies(target, tell).await?;
    deletes(target, tell).await?;
    reads(target, tell).await?;
    metadata(target, tell).await?;
    parts(target, tell).await?;
    if target.is_s3() {
        checksums(target, tell).await?;
        sums::all(target, tell).await?;
        versioning(target, tell).await?;
        bulk_deletes(target, tell).await?;
    }
    folders(target, tell).await?;
    keys(target, tell).await?;
    order(target, tell).await
}

pub(super) fn found(
    tell: &Tell,
    what: impl Into<String>,
    measured: impl Into<String>,
    aspect: Aspect,
) -> Tried {
    let finding = Finding {
        what: what.into(),
        measured: measured.into(),
        aspect,
    };
    tell.send(finding)
        .map_err(|_| "nobody listens any more".to_owned())
}

/// Whether an answer to a condition that does not hold shows that it is kept; `whole` says that nothing changed, and
/// `holds` is the answer to one that does hold.
fn kept(
    tell: &Tell,
    condition: Condition,
    answer: &Answer,
    whole: bool,
    holds: Option<&Answer>,
) -> Tried {
    let (kept, measured) = match (answer, holds) {
        (a, _) if a.is_ok() => (false, "ignored".to_owned()),
        (_, Some(h)) if !h.is_ok() => (false, format!("refused though it holds: {}", h.said())),
        _ if !whole => (false, format!("{}, but done all the same", answer.said())),
        (a, _) if a.status == 412 || a.code == "NoSuchKey" => (true, "kept".to_owned()),
        (a, _) => (false, format!("not known: {}", a.said())),
    };
    let aspect = Aspect::Condition(condition, kept);
    found(tell, condition.to_string(), measured, aspect)
}

async fn puts(target: &Target, tell: &Tell) -> Tried {
    let first = target.put("put", HeaderMap::new(), b"first").await?;
    if !first.is_ok() {
        return Err(format!("PutObject: {}", first.said()));
    }
    let unless_new = ("if-none-match", "*");
    let answer = target.put("put", headers(&[unless_new]), b"second").await?;
    let whole = is_first(target, "put").await?;
    let holds = target
        .put("put-new", headers(&[unless_new]), b"first")
        .await?;
    kept(tell, Condition::PutIfAbsent, &answer, whole, Some(&holds))?;

    let (answer, whole, holds) = put_if_match(target, '"').await?;
    if holds.is_ok() || answer.is_ok() {
        kept(tell, Condition::PutIfMatch, &answer, whole, Some(&holds))?;
    } else {
        let (answer, whole, bare) = put_if_match(target, ' ').await?;
        if bare.is_ok() && !answer.is_ok() && whole {
            let what = Condition::PutIfMatch.to_string();
            found(
                tell,
                what,
                "kept for ETags without quotes",
                Aspect::BareEtags,
            )?;
        } else {
            kept(tell, Condition::PutIfMatch, &answer, whole, Some(&holds))?;
        }
    }
    for (condition, name) in [
        (Condition::NoneMatchTag, "if-none-match"),
        (Condition::Unmodified, "if-unmodified-since"),
    ] {
        let first = target.put("put", HeaderMap::new(), b"first").await?;
        let current = format!("\"{}\"", first.etag);
        let value = match condition {
            Condition::Unmodified => LONG_AGO,
            _ => &current,
        };
        let answer = target
            .put("put", headers(&[(name, value)]), b"second")
            .await?;
        let whole = is_first(target, "put").await?;
        kept(tell, condition, &answer, whole, None)?;
    }
    Ok(())
}

/// `If-Match` that does not hold, whether nothing changed, and one that holds, with ETags quoted so.
async fn put_if_match(target: &Target, quote: char) -> Result<(Answer, bool, Answer), String> {
    let quoted = |etag: &str| {
        format!("{quote}{}{quote}", etag.trim_matches('"'))
            .trim()
            .to_owned()
    };
    target.put("put", HeaderMap::new(), b"first").await?;
    let wrong = headers(&[("if-match", &quoted(NEVER))]);
    let answer = target.put("put", wrong, b"second").await?;
    let whole = is_first(target, "put").await?;
    let now = target.put("put", HeaderMap::new(), b"first").await?;
    let right = headers(&[("if-match", &quoted(&now.etag))]);
    Ok((answer, whole, target.put("put", right, b"first").await?))
}

/// Whether an object has not been replaced.
async fn is_first(target: &Target, name: &str) -> Result<bool, String> {
    Ok(target.get(name, HeaderMap::new()).await?.body == b"first")
}

/// An upload of one small part.
async fn small_upload(target: &Target, name: &str) -> Result<(String, Vec<CompletedPart>), String> {
    let upload = target.create_upload(name).await?;
    let part = target.part(name, &upload, 1, b"second").await?;
    Ok((upload, vec![part]))
}

async fn completes(target: &Target, tell: &Tell) -> Tried {
    let none = HeaderMap::new;
    for (condition, name, value) in [
        (Condition::CompleteIfAbsent, "if-none-match", "*"),
        (Condition::CompleteIfMatch, "if-match", NEVER),
    ] {
        target.put("complete", none(), b"first").await?;
        let (upload, parts) = small_upload(target, "complete").await?;
        let wrong = headers(&[(name, value)]);
        let answer = target.complete("complete", &upload, &parts, wrong).await?;
        let whole = is_first(target, "complete").await?;
        target.abort("complete", &upload).await?;
        let (at, right) = match condition {
            Condition::CompleteIfAbsent => {
                target.delete("complete-new", none()).await?;
                ("complete-new", headers(&[("if-none-match", "*")]))
            }
            _ => {
                let etag = target.put("complete", none(), b"first").await?.etag;
                ("complete", headers(&[("if-match", &format!("\"{etag}\""))]))
            }
        };
        let (upload, parts) = small_upload(target, at).await?;
        let holds = target.complete(at, &upload, &parts, right).await?;
        target.abort(at, &upload).await?;
        kept(tell, condition, &answer, whole, Some(&holds))?;
    }
    Ok(())
}

async fn copies(target: &Target, tell: &Tell) -> Tried {
    let none = HeaderMap::new;
    let no_conditions = Conditions::default;
    let source = target.put("copy-from", none(), b"second").await?;
    let plain = target
        .copy("copy-from", "copy-to", &no_conditions(), none())
        .await?;
    if !plain.is_ok() {
        return found(tell, "CopyObject", plain.said(), Aspect::None);
    }
    for (condition, wrong) in [
        (Condition::CopyIfAbsent, ("if-none-match", "*")),
        (Condition::CopyIfMatch, ("if-match", NEVER)),
    ] {
        target.put("copy-to", none(), b"first").await?;
        let answer = target
            .copy("copy-from", "copy-to", &no_conditions(), headers(&[wrong]))
            .await?;
        let whole = is_first(target, "copy-to").await?;
        let (to, right) = match condition {
            Condition::CopyIfAbsent => ("copy-new", headers(&[("if-none-match", "*")])),
            _ => {
                let now = target.put("copy-to", none(), b"first").await?;
                let current = format!("\"{}\"", now.etag);
                ("copy-to", headers(&[("if-match", &current)]))
            }
        };
        let holds = target
            .copy("copy-from", to, &no_conditions(), right)
            .await?;
        kept(tell, condition, &answer, whole, Some(&holds))?;
    }
    target.put("copy-to", none(), b"first").await?;
    let never = Conditions::if_match(NEVER.trim_matches('"'));
    let answer = target.copy("copy-from", "copy-to", &never, none()).await?;
    let whole = is_first(target, "copy-to").await?;
    let right = Conditions::if_match(source.etag);
    let holds = target.copy("copy-from", "copy-to", &right, none()).await?;
    kept(tell, Condition::CopySource, &answer, whole, Some(&holds))
}

async fn deletes(target: &Target, tell: &Tell) -> Tried {
    let none = HeaderMap::new;
    target.put("delete", none(), b"first").await?;
    let wrong = headers(&[("if-match", NEVER)]);
    let answer = target.delete("delete", wrong).await?;
    let whole = is_first(target, "delete").await?;
    let first = target.put("delete", none(), b"first").await?;
    let right = headers(&[("if-match", &format!("\"{}\"", first.etag))]);
    let holds = target.delete("delete", right).await?;
    kept(tell, Condition::DeleteIfMatch, &answer, whole, Some(&holds))
}

/// What the gateway checks itself too.
async fn reads(target: &Target, tell: &Tell) -> Tried {
    target.put("read", HeaderMap::new(), b"first").await?;
    let never = headers(&[("if-match", NEVER)]);
    let answer = target.get("read", never).await?;
    let measured = match answer.status {
        412 => "kept".to_owned(),
        _ => format!("{}; the gateway looks itself", answer.said()),
    };
    found(tell, "If-Match on GetObject", measured, Aspect::None)
}

/// The most metadata, found by halving.
async fn metadata(target: &Target, tell: &Tell) -> Tried {
    const NAME: &str = "x-amz-meta-m";
    let taken = async |size: usize| -> Result<bool, String> {
        // Names count without `x-amz-meta-`.
        let value = "v".repeat(size - 1);
        // A store may end the connection rather than answer.
        let answer = target
            .put("metadata", headers(&[(NAME, &value)]), b"")
            .await;
        if !answer.is_ok_and(|a| a.is_ok()) {
            return Ok(false);
        }
        let back = target.head("metadata").await?;
        Ok(back
            .headers
            .get(NAME)
            .is_some_and(|v| v.as_bytes() == value.as_bytes()))
    };
    let what = "user metadata, bytes";
    if !taken(LEAST_METADATA).await? {
        let measured = format!("fewer than {LEAST_METADATA}");
        return found(tell, what, measured, Aspect::Metadata(0));
    }
    if taken(MOST_METADATA).await? {
        let measured = format!("{MOST_METADATA} and more");
        return found(tell, what, measured, Aspect::Metadata(MOST_METADATA));
    }
    let (mut good, mut bad) = (LEAST_METADATA, MOST_METADATA);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match taken(middle).await? {
            true => good = middle,
            false => bad = middle,
        }
    }
    found(tell, what, good.to_string(), Aspect::Metadata(good))
}

/// Multipart uploads, and how ETags look.
async fn parts(target: &Target, tell: &Tell) -> Tried {
    let none = HeaderMap::new;
    let upload = target.create_upload("small-parts").await?;
    let mut small = Vec::new();
    for number in [1, 2] {
        small.push(target.part("small-parts", &upload, number, b"x").await?);
    }
    let answer = target
        .complete("small-parts", &upload, &small, none())
        .await?;
    target.abort("small-parts", &upload).await?;
    let (refused, measured) = match answer.is_ok() {
        true => (false, "taken".to_owned()),
        false => (true, format!("refused: {}", answer.said())),
    };
    let aspect = Aspect::MinimumPart(refused);
    found(tell, "parts of 1 byte before the last", measured, aspect)?;

    let first = target.put("single", none(), b"first").await?;
    let plain_md5 = first.etag == "8b04d5e3775d298e78455efc5ca404d5";
    found(
        tell,
        "ETag of a PutObject",
        if plain_md5 { "the MD5" } else { "not the MD5" },
        Aspect::None,
    )?;
    if !target.is_s3() {
        return Ok(());
    }
    // Two parts, the first as long as S3 wants it.
    let upload = target.create_upload("parts").await?;
    let list = vec![
        target.part("parts", &upload, 1, &vec![b'a'; PART]).await?,
        target.part("parts", &upload, 2, b"b").await?,
    ];
    let done = target.complete("parts", &upload, &list, none()).await?;
    if !done.is_ok() {
        return Err(format!("CompleteMultipartUpload: {}", done.said()));
    }
    let measured = match done.etag.as_str() {
        "" => "empty; the gateway asks for it",
        _ => "there",
    };
    let what = "ETag in the answer of CompleteMultipartUpload";
    found(tell, what, measured, Aspect::None)?;
    let etag = target.head("parts").await?.etag;
    let form = match etag.ends_with("-2") {
        true => "MD5-2".to_owned(),
        false => format!("{} characters, not …-2", etag.len()),
    };
    found(tell, "ETag of two parts", form, Aspect::None)?;
    let again = target.complete("parts", &upload, &list, none()).await;
    let again = again.map_or_else(|e| e, |answer| answer.said());
    found(tell, "CompleteMultipartUpload again", again, Aspect::None)?;
    let query = [("partNumber", "2")];
    let part = target
        .raw(Method::GET, Some("parts"), &query, none(), Vec::new())
        .await?;
    let (reads, measured) = match (part.is_ok(), part.body.len()) {
        (true, 1) => (true, "the part".to_owned()),
        (true, n) if n > PART => (false, "the whole object".to_owned()),
        (true, n) => (false, format!("{n} bytes")),
        (false, _) => (false, part.said()),
    };
    let aspect = Aspect::PartNumbers(reads);
    found(tell, "GetObject ?partNumber=2", measured, aspect)?;
    let copied = target
        .copy("parts", "parts", &Conditions::default(), none())
        .await?;
    let after = match copied.is_ok() {
        true => target.head("parts").await?.etag,
        false => String::new(),
    };
    let measured = match (copied.is_ok(), after == etag) {
        (true, true) => "kept".to_owned(),
        (true, false) if after.contains('-') => "another of its form".to_owned(),
        (true, false) => "becomes a plain one".to_owned(),
        (false, _) => copied.said(),
    };
    let aspect = Aspect::SelfCopyKeepsEtag(after == etag);
    let what = "ETag of two parts after a copy onto itself";
    found(tell, what, measured, aspect)
}

async fn checksums(target: &Target, tell: &Tell) -> Tried {
    let none = HeaderMap::new;
    let body = b"checked";
    let sum = |algorithm, body: &[u8]| {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(body);
        hasher.finish().to_base64()
    };
    let right = sum(Algorithm::Sha256, body);
    let wrong = sum(Algorithm::Sha256, b"other");
    let header = "x-amz-checksum-sha256";
    let good = target
        .put("checksum", headers(&[(header, &right)]), body)
        .await?;
    let bad = target
        .put("checksum-bad", headers(&[(header, &wrong)]), body)
        .await?;
    let asked = headers(&[("x-amz-checksum-mode", "ENABLED")]);
    let back = target.get("checksum", asked).await?;
    let returned = back
        .headers
        .get(header)
        .is_some_and(|v| v.as_bytes() == right.as_bytes());
    let measured = match (good.is_ok(), bad.is_ok(), returned) {
        (false, ..) => format!("refused: {}", good.said()),
        (true, false, true) => "compared, and given back".into(),
        (true, false, false) => "compared, not given back".into(),
        (true, true, true) => "not compared, given back".into(),
        (true, true, false) => "ignored".into(),
    };
    let kept = good.is_ok() && !bad.is_ok() && returned;
    let aspect = Aspect::Checksums(kept);
    found(tell, "x-amz-checksum-sha256 on PutObject", measured, aspect)?;

    let chunked = |sum: &str| {
        let text = format!("7\r\nchecked\r\n0\r\nx-amz-checksum-crc32:{sum}\r\n\r\n");
        text.into_bytes()
    };
    let with = headers(&[
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "7"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ]);
    let good = chunked(&sum(Algorithm::Crc32, body));
    let bad = chunked(&sum(Algorithm::Crc32, b"other"));
    let good = target.put("trailer", with.clone(), &good).await?;
    let bad = target.put("trailer-bad", with, &bad).await?;
    let stored = target.get("trailer", none()).await?.body;
    let (kept, measured) = match (good.is_ok(), stored == body, bad.is_ok()) {
        (false, ..) => (false, format!("refused: {}", good.said())),
        (true, false, _) => (false, "stored as if it were data".into()),
        (true, true, false) => (true, "compared".into()),
        (true, true, true) => (false, "not compared".into()),
    };
    let aspect = Aspect::Trailers(kept);
    found(tell, "checksum as a trailer", measured, aspect)
}

async fn versioning(target: &Target, tell: &Tell) -> Tried {
    let Store::S3(s3) = &target.core.store else {
        return Ok(());
    };
    let (can, measured) = match s3.versioning(&target.bucket).await {
        Ok(Versioning::Never) => (true, "off in this bucket".to_owned()),
        Ok(Versioning::Enabled) => (true, "on in this bucket".to_owned()),
        Ok(Versioning::Suspended) => (true, "suspended in this bucket".to_owned()),
        Err(BackendError::Answer(e)) => (false, format!("not known: {}", e.code.as_str())),
        Err(e) => return Err(e.to_string()),
    };
    found(tell, "versions", measured, Aspect::Versioning(can))
}

async fn bulk_deletes(target: &Target, tell: &Tell) -> Tried {
    let request = |count: usize| {
        let objects = (0..count).map(|n| ObjectToDelete {
            key: format!("{}bulk/{n}", target.prefix).into(),
            ..ObjectToDelete::default()
        });
        let request = DeleteRequest {
            objects: objects.collect(),
            quiet: true,
        };
        request.to_xml()
    };
    let send = async |body: Vec<u8>, digest: bool| {
        let mut headers = HeaderMap::new();
        if digest {
            headers.insert("content-md5", content_md5_of(&body));
        }
        let query = [("delete", "")];
        target.raw(Method::POST, None, &query, headers, body).await
    };
    let said = |answer: Answer| match answer.is_ok() {
        true => "taken".to_owned(),
        false => format!("refused: {}", answer.said()),
    };
    let most = said(send(request(MOST_DELETED), true).await?);
    let what = format!("DeleteObjects of {MOST_DELETED} keys");
    found(tell, what, most, Aspect::None)?;
    let over = said(send(request(MOST_DELETED + 1), true).await?);
    let what = format!("DeleteObjects of {} keys", MOST_DELETED + 1);
    found(tell, what, over, Aspect::None)?;
    let bare = said(send(request(1), false).await?);
    found(
        tell,
        "DeleteObjects without Content-MD5",
        bare,
        Aspect::None,
    )
}

/// Whether an empty object whose key ends with `/` keeps its metadata, as the envelope of a folder marker has to be kept.
async fn folders(target: &Target, tell: &Tell) -> Tried {
    const NAME: &str = "x-amz-meta-m";
    let put = target
        .put("folder/", headers(&[(NAME, "kept")]), b"")
        .await?;
    let (kept, measured) = if put.is_ok() {
        let back = target.head("folder/").await?;
        match back.headers.get(NAME).is_some_and(|v| v == "kept") {
            true => (true, "kept".to_owned()),
            false => (false, "not kept".to_owned()),
        }
    } else {
        (false, format!("refused: {}", put.said()))
    };
    let aspect = Aspect::FolderMetadata(kept);
    found(
        tell,
        "metadata of an empty object \"folder/\"",
        measured,
        aspect,
    )
}

/// Keys that are lost or changed somewhere.
async fn keys(target: &Target, tell: &Tell) -> Tried {
    let odd = [
        "a+b",
        "a%2Fb",
        "a b",
        "a//b",
        "ü-ö",
        "a&b<c>\"d'",
        "a?b#c",
        "./a",
        "a/../b",
        "back\\slash",
        "ends/",
    ];
    for (number, name) in odd.into_iter().enumerate() {
        let name = format!("odd{number:02}/{name}");
        let shown = name.split_once('/').map_or("", |(_, name)| name);
        let body = shown.as_bytes();
        let put = target.put(&name, HeaderMap::new(), body).await?;
        let measured = if !put.is_ok() {
            format!("refused: {}", put.said())
        } else {
            let got = target.get(&name, HeaderMap::new()).await?;
            let names = target.list(&format!("odd{number:02}/"), 1000).await?;
            let listed = names.iter().any(|n| n == name.as_bytes());
            match (got.is_ok() && got.body == body, listed) {
                (true, true) => "as it is".to_owned(),
                (true, false) => "read, but listed differently".to_owned(),
                (false, _) if got.is_ok() => "its data is lost".to_owned(),
                (false, _) => format!("taken, but not there: {}", got.said()),
            }
        };
        found(tell, format!("the key {shown:?}"), measured, Aspect::None)?;
    }
    Ok(())
}

async fn order(target: &Target, tell: &Tell) -> Tried {
    let names = ["B", "a-", "a/b", "a0", "b", "é"];
    for name in names {
        let put = target
            .put(&format!("order/{name}"), HeaderMap::new(), b"")
            .await?;
        if !put.is_ok() {
            return Err(format!("PutObject: {}", put.said()));
        }
    }
    let whole = target.list("order/", 1000).await?;
    let measured = match (whole.len() == names.len(), whole.is_sorted()) {
        (true, true) => "bytewise".to_owned(),
        (true, false) => format!("another: {}", joined(&whole)),
        (false, _) => format!("incomplete: {}", joined(&whole)),
    };
    found(tell, "order of listings", measured, Aspect::None)?;
    let paged = target.list("order/", 2).await?;
    let measured = match paged == whole {
        true => "the same listing".to_owned(),
        false => format!("another listing: {}", joined(&paged)),
    };
    found(tell, "pages of two keys", measured, Aspect::None)
}

fn joined(names: &[Vec<u8>]) -> String {
    let names = names.iter().map(|n| String::from_utf8_lossy(n));
    let short = names.map(|n| n.trim_start_matches("order/").to_owned());
    short.collect::<Vec<_>>().join(" ")
}
