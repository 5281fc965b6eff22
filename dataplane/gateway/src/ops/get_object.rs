//! GetObject: whole, a range, or a part.

mod opening;

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use sealgate_backend::Body as StoreBody;
use sealgate_backend::types::{BackendError, GetRequest, Location, ObjectInfo};
use sealgate_envelope::{CHUNK, Layout, Trailer, ranges};
use sealgate_http1::{Framing, reuse_headers};
use sealgate_s3::conditions::{Conditions, Verdict};
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::range::{ByteRange, content_range, if_range_holds};
use sealgate_uring::{Connector, Transport, join};

use crate::ahead::{self, Ahead, Feed};
use crate::checksums;
use crate::client::Client;
use crate::failure::Failure;
use crate::object::{Sealed, client_etag, is_plaintext, read_conditions, read_failure, unseal};
use crate::open::{self, Opener, Piece};
use crate::parts::{self, PartMap};
use crate::pass;
use crate::reply::{Reply, set};
use crate::request::Request;
use crate::seal::lease_blocks;
use crate::snapshot::BucketRule;
pub(crate) use opening::Opening;

/// What of the object a client wants, before its length is known.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Everything,
    Range(ByteRange, HeaderValue),
    Part(u16),
}

impl Wanted {
    pub(crate) fn of<C: Connector>(rq: &Request<'_, C>) -> Result<Self, Failure> {
        let range = rq.headers.get(header::RANGE);
        if let Some(part) = rq.routed.query.number::<u16>("partNumber")? {
            if range.is_some() {
                return Err(Failure::new(
                    ErrorCode::InvalidRequest,
                    "Cannot specify both Range header and partNumber query parameter",
                ));
            }
            if !(1..=10_000).contains(&part) {
                return Err(Failure::new(
                    ErrorCode::InvalidArgument,
                    "Part number must be an integer between 1 and 10000, inclusive",
                ));
            }
            return Ok(Self::Part(part));
        }
        Ok(
            match range.and_then(|value| Some((ByteRange::parse(value)?, value.clone()))) {
                Some((range, value)) => Self::Range(range, value),
                None => Self::Everything,
            },
        )
    }

    /// The bytes, of an object that holds `len`.
    fn resolve(&self, len: u64) -> Result<Range<u64>, Failure> {
        match self {
            Self::Range(range, value) => range
                .resolve(len)
                .map_err(|e| Failure::from(e.to_error(value))),
            _ => Ok(0..len),
        }
    }
}

pub(crate) async fn run<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
) -> Result<Reply, Failure> {
    let at = rq.location()?;
    let rule = rq.rule_for(&at)?;
    let asked = Conditions::from_headers(rq.headers)?;
    if !rule.encrypt {
        return pass::get(rq, client, &at, &asked).await;
    }
    let conditions = read_conditions(&asked, rule);
    let wanted = Wanted::of(rq)?;
    let Some((sealed, found)) = begin(rq, rule, &at, &wanted, &conditions).await? else {
        return pass::get(rq, client, &at, &asked).await;
    };
    check(&asked, &sealed.info)?;
    let answer = locate(rq, &at, &sealed, &wanted).await?;
    let mut headers = sealed.client_headers()?;
    answer.describe(&mut headers, sealed.plain_len);
    override_headers(rq, &mut headers)?;
    if answer.len() == 0 && sealed.plain_len > 0 {
        // An empty part of an object that has others: there is nothing to read, and nothing to release.
        return Ok(Reply::empty(answer.status).with_all(&headers));
    }
    stream(rq, client, &at, sealed, found, answer, headers).await
}

/// The gateway checks a read's conditions itself too: not every store does (S3-TRAPS 31).
pub(crate) fn check(asked: &Conditions, info: &ObjectInfo) -> Result<(), Failure> {
    if asked.is_empty() {
        return Ok(());
    }
    match asked.check_read(&client_etag(&info.etag), info.last_modified / 1000) {
        Verdict::Proceed => Ok(()),
        Verdict::PreconditionFailed => Err(asked.failed_read().into()),
        Verdict::NotModified => {
            let mut headers = crate::object::plain_headers(info);
            crate::reply::set_etag(&mut headers, &client_etag(&info.etag));
            Err(Failure::NotModified(Box::new(headers)))
        }
    }
}

/// A store's body that was asked for before the object's layout was known.
type Found<C> = Option<(Range<u64>, StoreBody<C>)>;

/// The object's envelope, and, where a guess at its layout can have been right, the bytes that the guess asked for;
/// `None` for an object that is to be read as it is.
///
/// Most objects are single PUTs and most ranges begin at a known byte, so the stored bytes can be asked for at once:
/// one request to the store. Whatever depends on the length, and ranges of multipart objects, cost a HEAD first.
async fn begin<C: Connector>(
    rq: &Request<'_, C>,
    rule: &BucketRule,
    at: &Location,
    wanted: &Wanted,
    conditions: &Conditions,
) -> Result<Option<(Sealed, Found<C>)>, Failure> {
    let has_if_range = rq.headers.contains_key(header::IF_RANGE);
    let guess = match wanted {
        Wanted::Everything => Some(None),
        Wanted::Range(ByteRange::Bounded(first, last), _) if !has_if_range => {
            let start = ranges::slot_start(first / CHUNK as u64);
            let end = ranges::slot_start(last / CHUNK as u64 + 1);
            Some(Some((start, Some(end))))
        }
        Wanted::Range(ByteRange::From(first), _) if !has_if_range => {
            Some(Some((ranges::slot_start(first / CHUNK as u64), None)))
        }
        _ => None,
    };
    let Some(range) = guess else {
        let info = rq.store.head(at, conditions).await.map_err(read_failure)?;
        if is_plaintext(&info, rule) {
            return Ok(None);
        }
        return Ok(Some((unseal(rq, at, info).await?, None)));
    };
    let mut request = GetRequest {
        range,
        conditions: conditions.clone(),
    };
    if rq.store.streams() > 1 && !at.key.as_ref().ends_with(b"/") {
        // No more than the first window of a long object: the others have requests of their own. A folder marker has no
        // bytes, so no range either.
        let (start, end) = range.unwrap_or((0, None));
        let first = start + ahead::FIRST;
        request.range = Some((start, Some(end.map_or(first, |end| end.min(first)))));
    }
    match rq.store.get(at, &request).await {
        Ok((info, ..)) if is_plaintext(&info, rule) => Ok(None),
        Ok((info, got, body)) => {
            let sealed = unseal(rq, at, info).await?;
            let multipart = sealed.envelope.fields.layout == Layout::Multipart;
            let usable = !multipart || matches!(wanted, Wanted::Everything);
            Ok(Some((sealed, usable.then_some((got, body)))))
        }
        // Beyond the stored object, so beyond the plaintext: its length is still needed, to say so.
        Err(BackendError::Answer(e))
            if e.code == ErrorCode::InvalidRange && request.range.is_some() =>
        {
            let info = rq.store.head(at, conditions).await.map_err(read_failure)?;
            if is_plaintext(&info, rule) {
                return Ok(None);
            }
            Ok(Some((unseal(rq, at, info).await?, None)))
        }
        Err(e) => Err(read_failure(e)),
    }
}

/// What is answered, once the object is known.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Plaintext bytes.
    pub(crate) range: Range<u64>,
    map: Option<Rc<PartMap>>,
    parts_count: Option<usize>,
}

impl Answer {
    /// Bytes `range` of an object whose layout nobody has looked at yet.
    pub(crate) fn of(range: Range<u64>) -> Self {
        Self {
            status: StatusCode::OK,
            range,
            map: None,
            parts_count: None,
        }
    }

    /// Range headers of the answer.
    pub(crate) fn describe(&self, headers: &mut HeaderMap, len: u64) {
        if self.status == StatusCode::PARTIAL_CONTENT {
            set(
                headers,
                header::CONTENT_RANGE,
                &content_range(&self.range, len),
            );
        }
        if let Some(count) = self.parts_count {
            set(
                headers,
                HeaderName::from_static("x-amz-mp-parts-count"),
                &count.to_string(),
            );
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// Decides which bytes answer the request.
pub(crate) async fn locate<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    sealed: &Sealed,
    wanted: &Wanted,
) -> Result<Answer, Failure> {
    let multipart = sealed.envelope.fields.layout == Layout::Multipart;
    let mut answer = Answer {
        status: StatusCode::OK,
        range: 0..sealed.plain_len,
        map: None,
        parts_count: None,
    };
    match wanted {
        Wanted::Everything => {}
        Wanted::Range(..) => {
            let stale = rq.headers.get(header::IF_RANGE).is_some_and(|value| {
                let etag = client_etag(&sealed.info.etag);
                !if_range_holds(value, &etag, sealed.info.last_modified / 1000)
            });
            if !stale {
                answer.range = wanted.resolve(sealed.plain_len)?;
                answer.status = StatusCode::PARTIAL_CONTENT;
            }
        }
        Wanted::Part(number) => {
            let map = match multipart {
                true => Some(parts::part_map(rq.core, &rq.store, at, sealed).await?),
                false => None,
            };
            // Parts are numbered by their place, as S3 has it for a completed object.
            let place = usize::from(*number) - 1;
            answer.range = match &map {
                Some(map) => map
                    .trailer
                    .parts()
                    .nth(place)
                    .map(|p| p.plain_start..p.plain_start + p.len)
                    .ok_or_else(|| S3Error::new(ErrorCode::InvalidPartNumber))?,
                None if place == 0 => 0..sealed.plain_len,
                None => return Err(S3Error::new(ErrorCode::InvalidPartNumber).into()),
            };
            // No Content-Range can name an empty part.
            if !answer.range.is_empty() {
                answer.status = StatusCode::PARTIAL_CONTENT;
            }
            answer.parts_count = map.as_ref().map(|map| map.trailer.parts().count());
            answer.map = map;
        }
    }
    Ok(answer)
}

/// Sends head and body: every byte authenticated before it leaves, the last ones held back until the object as a
/// whole is.
async fn stream<C: Connector, T: Transport>(
    rq: &Request<'_, C>,
    client: &mut Client<T>,
    at: &Location,
    sealed: Sealed,
    found: Found<C>,
    answer: Answer,
    headers: HeaderMap,
) -> Result<Reply, Failure> {
    let mut opening = open(rq, at, &sealed, found, &answer, rq.store.streams_so_far()).await?;
    let (extent, one_stream) = opening.extent;
    let (mut block, mut spare) =
        lease_blocks(&rq.core.pool, extent, one_stream, &rq.snapshot.timeouts).await?;
    let mut left = answer.len();
    let (next, back) = opening.next(block).await;
    block = back;
    let mut spans = next?;
    // From here on the answer is a success; whatever goes wrong cuts the connection short.
    let mut headers = headers;
    set(
        &mut headers,
        HeaderName::from_static("x-amz-request-id"),
        rq.id,
    );
    let framing = Framing::Length(answer.len());
    let mut head_sent = false;
    let mut trailer = None;
    loop {
        let last = opening.is_done();
        if last {
            // The whole object, its trailer included, is verified before its last bytes leave.
            let used = spans.ranges().last().map_or(0, |r| r.end);
            let (verified, back) = opening.verify(&sealed, block, &mut spare, used).await;
            block = back;
            match verified {
                Ok(found) => trailer = found,
                Err(failure) if head_sent => return Err(Failure::Cut(failure.describe())),
                Err(failure) => return Err(failure),
            }
        }
        if !head_sent {
            add_checksum(rq, at, &sealed, &answer, trailer.as_ref(), &mut headers).await?;
            rq.core
                .put_head(client, answer.status, &headers, framing, rq.keep_alive);
            reuse_headers(std::mem::take(&mut headers));
            head_sent = true;
        }
        left -= spans.len() as u64;
        let within = rq.snapshot.timeouts.for_bytes(spans.len());
        if last {
            let (sent, back) = client.send_block(block, spans, within).await;
            sent.map_err(|e| Failure::Cut(format!("client: {e}")))?;
            opening.pass_rest(back).await;
            break;
        }
        let Some(other) = spare.take() else {
            return Err(Failure::Cut("one block does not hold the object".into()));
        };
        let ((sent, back), (next, other)) = {
            let sending = pin!(client.send_block(block, spans, within));
            let opening = pin!(opening.next(other));
            join(sending, opening).await
        };
        sent.map_err(|e| Failure::Cut(format!("client: {e}")))?;
        spans = next.map_err(|failure| Failure::Cut(failure.describe()))?;
        spare = Some(back);
        block = other;
    }
    if left > 0 {
        return Err(Failure::Cut("the object holds less than it says".into()));
    }
    Ok(Reply::sent(answer.status))
}

/// Finds the stored bytes of the answer and begins to open them; those of a long one by up to `streams` requests at a
/// time.
pub(crate) async fn open<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    sealed: &Sealed,
    found: Found<C>,
    answer: &Answer,
    streams: usize,
) -> Result<Opening<C>, Failure> {
    let range = answer.range.clone();
    let whole = range == (0..sealed.plain_len);
    let mut map = answer.map.clone();
    let (pieces, mut stored) = match sealed.envelope.fields.layout {
        Layout::Single { header, .. } => {
            // The header comes in front of chunk 0; for anything else it is in the envelope.
            let known = (range.start >= CHUNK as u64).then_some(header);
            let piece = Piece::of(0, known, sealed.plain_len, range);
            let stored = piece.cipher_range();
            (VecDeque::from([piece]), stored)
        }
        Layout::Empty { .. } => (VecDeque::new(), 0..0),
        Layout::Multipart => {
            let known = match &map {
                Some(map) => Rc::clone(map),
                None => parts::part_map(rq.core, &rq.store, at, sealed).await?,
            };
            let planned = parts::plan(rq.core, &rq.store, at, sealed, &known, range).await?;
            map = Some(known);
            planned
        }
    };
    if whole {
        stored.end = sealed.info.len;
    }
    let long = streams > 1 && stored.end - stored.start >= ahead::LONG;
    let (got, body) = match found {
        Some((got, body))
            if got.start <= stored.start && (got.end > stored.start || got.end >= stored.end) =>
        {
            (got, body)
        }
        _ => {
            // A store that may turn out to be near is asked for everything.
            let end = match long && rq.store.streams() > 1 {
                true => stored.start + ahead::FIRST,
                false => stored.end,
            };
            let wanted = stored.start..end;
            let request = GetRequest {
                range: (wanted != (0..sealed.info.len)).then_some((wanted.start, Some(wanted.end))),
                conditions: Conditions::if_match(sealed.info.etag.clone()),
            };
            let (info, got, body) = rq.store.get(at, &request).await.map_err(ahead::changed)?;
            if info.etag != sealed.info.etag || info.len != sealed.info.len {
                return Err(Failure::replaced());
            }
            if got.end < end {
                return Err(Failure::tampered(
                    "the store's answer is shorter than the object",
                ));
            }
            (got, body)
        }
    };
    let dek = Rc::clone(&sealed.dek);
    let object_id = sealed.envelope.fields.object_id;
    let extent = open::extent(&pieces);
    let feed = if long || got.end < stored.end {
        let plan = ahead::Plan {
            pool: rq.core.pool.clone(),
            store: rq.store.clone(),
            at: at.clone(),
            info: sealed.info.clone(),
            dek,
            object_id,
            pieces,
            stored,
            most: streams,
        };
        Feed::Ahead(Box::new(Ahead::new(plan, (got, body))))
    } else {
        let pass = stored.start - got.start;
        Feed::One(Opener::new(body, dek, object_id, pieces, pass))
    };
    Ok(Opening {
        feed,
        extent,
        map,
        whole,
    })
}

/// Adds the object's checksum to the answer of a read of everything, for a client that asks for it. It is in the trailer:
/// `known` where that has been read already, one small request to the store otherwise.
pub(crate) async fn add_checksum<C: Connector>(
    rq: &Request<'_, C>,
    at: &Location,
    sealed: &Sealed,
    answer: &Answer,
    known: Option<&Trailer>,
    headers: &mut HeaderMap,
) -> Result<(), Failure> {
    if answer.status != StatusCode::OK || !checksums::wanted(rq.headers) {
        return Ok(());
    }
    match (known, &sealed.envelope.fields.layout) {
        (Some(trailer), _) => checksums::describe(trailer, headers),
        (None, Layout::Single { .. } | Layout::Empty { .. }) => {
            let trailer = parts::trailer(rq.core, &rq.store, at, sealed).await?;
            checksums::describe(&trailer, headers);
        }
        (None, Layout::Multipart) => {
            let map = parts::part_map(rq.core, &rq.store, at, sealed).await?;
            checksums::describe(&map.trailer, headers);
        }
    }
    Ok(())
}

/// Parameters that stand for a header of the answer.
pub(crate) const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-content-type", header::CONTENT_TYPE),
    ("response-content-language", header::CONTENT_LANGUAGE),
    ("response-expires", header::EXPIRES),
    ("response-cache-control", header::CACHE_CONTROL),
    ("response-content-disposition", header::CONTENT_DISPOSITION),
    ("response-content-encoding", header::CONTENT_ENCODING),
];

/// `response-*` parameters replace headers of the answer; for signed requests, which all are.
pub(crate) fn override_headers<C: Connector>(
    rq: &Request<'_, C>,
    headers: &mut HeaderMap,
) -> Result<(), Failure> {
    for (parameter, name) in OVERRIDES {
        if let Some(value) = rq.routed.query.get(parameter) {
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
                S3Error::invalid_argument("The value cannot stand in a header.", parameter, value)
            })?;
            headers.insert(name, value);
        }
    }
    Ok(())
}
