//! Checksums as the configuration has them sent (`checksum` in `[backend]`).

use http::HeaderMap;
use sealgate_backend::types::{BackendError, CompletedPart, Stored};
use sealgate_backend::{Store, Upload};
use sealgate_s3::checksum::{Algorithm, Hasher};
use sealgate_s3::conditions::Conditions;
use sealgate_uring::{BlockSize, Spans, StoreConnector};

use super::Aspect;
use super::probes::{Tell, Tried, found};
use super::target::{Answer, Outcome, PATIENCE, Target, headers};

/// What is written, and in which pieces.
const PIECES: [&[u8]; 2] = [b"as it ", b"was sent"];
/// The same, damaged.
const DAMAGED: &[u8] = b"as it was bent";

/// Writes bodies as the gateway does, and others that their checksum does not fit.
pub(super) async fn all(target: &Target, tell: &Tell) -> Tried {
    let Store::S3(s3) = &target.core.store else {
        return Ok(());
    };
    let Some(sum) = s3.checksum() else {
        return Ok(());
    };
    let whole = PIECES.concat();
    let value = {
        let mut hasher = Hasher::new(sum);
        hasher.update(&whole);
        hasher.finish().to_base64()
    };

    let taken = put(target, "sum-header", &[&whole]).await?;
    let bad = headers(&[(sum.header(), &value)]);
    let damaged = target.put("sum-header-bad", bad, DAMAGED).await?;
    judge(
        target,
        tell,
        sum,
        "as a header",
        ("sum-header", taken),
        &damaged,
    )
    .await?;

    let taken = put(target, "sum-trailer", &PIECES).await?;
    let length = DAMAGED.len();
    let bad = headers(&[
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", &length.to_string()),
        ("x-amz-trailer", sum.header()),
    ]);
    let mut body = format!("{length:x}\r\n").into_bytes();
    body.extend_from_slice(DAMAGED);
    body.extend_from_slice(format!("\r\n0\r\n{}:{value}\r\n\r\n", sum.header()).as_bytes());
    let damaged = target.put("sum-trailer-bad", bad, &body).await?;
    judge(
        target,
        tell,
        sum,
        "as a trailer",
        ("sum-trailer", taken),
        &damaged,
    )
    .await?;

    let done = multipart(target, "sum-parts").await?;
    let stored = target.get("sum-parts", HeaderMap::new()).await?.body;
    let (kept, measured) = match (done.is_ok(), stored == whole) {
        (false, _) if done.code == "InvalidPartOrder" => {
            (true, "refused; the gateway leaves none out then".to_owned())
        }
        (false, _) => (false, format!("refused: {}", done.said())),
        (true, false) => (false, "stored as something else".to_owned()),
        (true, true) => (true, "taken".to_owned()),
    };
    let what = format!("{sum} of a part that leaves numbers out");
    found(tell, what, measured, Aspect::Sent(kept))
}

async fn judge(
    target: &Target,
    tell: &Tell,
    sum: Algorithm,
    how: &str,
    (name, taken): (&str, Answer),
    damaged: &Answer,
) -> Tried {
    let stored = target.get(name, HeaderMap::new()).await?.body;
    let (kept, measured) = match (taken.is_ok(), damaged.is_ok()) {
        (false, _) => (false, format!("refused: {}", taken.said())),
        _ if stored != PIECES.concat() => (false, "stored as something else".to_owned()),
        (true, true) => (false, "not compared".to_owned()),
        (true, false) => (true, "compared".to_owned()),
    };
    let what = format!("{sum} of PutObject {how}");
    found(tell, what, measured, Aspect::Sent(kept))
}

async fn put(target: &Target, name: &str, pieces: &[&[u8]]) -> Outcome {
    let len = pieces.iter().map(|p| p.len() as u64).sum();
    let (at, none) = (target.at(name)?, HeaderMap::new());
    let store = &target.core.store;
    let upload = store.put(&at, &none, &Conditions::default(), len).await;
    answer(send(target, upload, pieces).await?)
}

/// An upload of one part with the last number: those of sealed objects leave numbers out.
async fn multipart(target: &Target, name: &str) -> Outcome {
    let at = target.at(name)?;
    let store = &target.core.store;
    let id = match store.create_upload(&at, &HeaderMap::new()).await {
        Ok(created) => created.id,
        Err(e) => return Answer::error(e),
    };
    let number = 10_000;
    let len = PIECES.iter().map(|p| p.len() as u64).sum();
    let upload = store.put_part(&at, &id, number, len).await;
    let part = match send(target, upload, &PIECES).await? {
        Ok(stored) => CompletedPart {
            number,
            etag: stored.etag,
            checksum: stored.checksum,
        },
        Err(e) => return answer(Err(e)),
    };
    let done = store
        .complete_upload(&at, &id, &[part], &Conditions::default())
        .await;
    if done.is_err() {
        let _ = store.abort_upload(&at, &id).await;
    }
    answer(done)
}

fn answer(result: Result<Stored, BackendError>) -> Outcome {
    match result {
        Ok(stored) => Ok(Answer::done(stored.etag)),
        // Sent four times before it is given up.
        Err(BackendError::Unavailable { reason, .. }) => Ok(Answer {
            status: 503,
            code: reason,
            ..Answer::default()
        }),
        Err(e) => Answer::error(e),
    }
}

/// Sends pieces as one body, each in a write of its own.
async fn send(
    target: &Target,
    upload: Result<Upload<StoreConnector>, BackendError>,
    pieces: &[&[u8]],
) -> Result<Result<Stored, BackendError>, String> {
    target.go_on()?;
    let mut upload = match upload {
        Ok(upload) => upload,
        Err(e) => return Ok(Err(e)),
    };
    let Some((last, before)) = pieces.split_last() else {
        return Err("a body without pieces".into());
    };
    let longest = pieces.iter().map(|p| p.len()).max().unwrap_or(0);
    let leased = target
        .core
        .pool
        .lease::<1>(BlockSize::holding(longest), PATIENCE);
    let [mut block] = leased.await.map_err(|_| "no buffer is free".to_owned())?;
    for piece in before {
        block[..piece.len()].copy_from_slice(piece);
        let (written, back) = upload.write(block, Spans::contiguous(0..piece.len())).await;
        block = back;
        if let Err(e) = written {
            return Ok(Err(e));
        }
    }
    block[..last.len()].copy_from_slice(last);
    Ok(upload
        .finish(block, Spans::contiguous(0..last.len()))
        .await
        .0)
}
