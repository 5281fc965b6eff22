//! Part maps of multipart objects, from their trailers; cached by the store's ETag.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use sealgate_backend::Store;
use sealgate_backend::types::{BackendError, GetRequest, Location};
use sealgate_envelope::{CipherLen, Layout, STREAM_HEADER, Trailer};
use sealgate_s3::conditions::Conditions;
use sealgate_uring::{BlockSize, Connector, Spans};

use crate::core::Core;
use crate::failure::Failure;
use crate::object::Sealed;
use crate::open::{Piece, read_exact};

/// Most objects whose part map one core keeps.
const MAX_MAPS: usize = 512;
/// Most stream headers kept with one map: ranged reads come back to the same few parts.
const MAX_HEADERS: usize = 128;
/// Bytes of the first look at an object's end: the trailer of most objects, whose parts are of one size.
const FIRST_LOOK: u64 = 1024;

/// What is known of one multipart object.
pub(crate) struct PartMap {
    etag: String,
    pub(crate) trailer: Trailer,
    headers: RefCell<HashMap<u16, [u8; STREAM_HEADER]>>,
}

#[derive(Default)]
pub(crate) struct PartMaps(RefCell<Maps>);

#[derive(Default)]
struct Maps {
    by_object: HashMap<(String, Vec<u8>), Rc<PartMap>>,
    order: VecDeque<(String, Vec<u8>)>,
}

impl PartMaps {
    fn get(&self, at: &Location, etag: &str) -> Option<Rc<PartMap>> {
        let maps = self.0.borrow();
        let map = maps
            .by_object
            .get(&(at.bucket.clone(), at.key.as_ref().to_vec()))?;
        (map.etag == etag).then(|| Rc::clone(map))
    }

    fn put(&self, at: &Location, map: Rc<PartMap>) {
        let mut maps = self.0.borrow_mut();
        let name = (at.bucket.clone(), at.key.as_ref().to_vec());
        if maps.by_object.insert(name.clone(), map).is_none() {
            maps.order.push_back(name);
        }
        if maps.order.len() > MAX_MAPS
            && let Some(oldest) = maps.order.pop_front()
        {
            maps.by_object.remove(&oldest);
        }
    }
}

/// The part map of a multipart object; one small request to the store when it is not known yet.
pub(crate) async fn part_map<C: Connector>(
    core: &Core<C>,
    store: &Store<C>,
    at: &Location,
    sealed: &Sealed,
) -> Result<Rc<PartMap>, Failure> {
    if let Some(map) = core.part_maps.get(at, &sealed.info.etag) {
        return Ok(map);
    }
    let trailer = trailer(core, store, at, sealed).await?;
    let map = Rc::new(PartMap {
        etag: sealed.info.etag.clone(),
        trailer,
        headers: RefCell::default(),
    });
    core.part_maps.put(at, Rc::clone(&map));
    Ok(map)
}

/// An object's trailer, by a small read of the object's end; of a folder marker, what it would say.
pub(crate) async fn trailer<C: Connector>(
    core: &Core<C>,
    store: &Store<C>,
    at: &Location,
    sealed: &Sealed,
) -> Result<Trailer, Failure> {
    if let Layout::Empty { checksum } = sealed.envelope.fields.layout {
        return Ok(Trailer::of_nothing(checksum));
    }
    let len = sealed.info.len;
    let mut look = FIRST_LOOK.min(len);
    let bytes = loop {
        let bytes = read_range(core, store, at, &sealed.info.etag, len - look..len).await?;
        let tail = bytes
            .last_chunk()
            .ok_or_else(|| Failure::tampered("the object has no tail"))?;
        let needed = Trailer::sealed_len(tail).map_err(Failure::tampered)?;
        if needed as u64 > len {
            return Err(Failure::tampered("the trailer is longer than the object"));
        }
        if needed <= bytes.len() {
            break bytes;
        }
        look = needed as u64;
    };
    let object_id = &sealed.envelope.fields.object_id;
    let trailer = Trailer::open(&sealed.dek, object_id, CipherLen(len), &bytes)
        .map_err(|e| Failure::tampered(format_args!("the trailer: {e}")))?;
    if trailer.plain_len().0 != sealed.plain_len {
        return Err(Failure::tampered(
            "the trailer is of an object of another length",
        ));
    }
    Ok(trailer)
}

/// A few bytes of a stored object, which must still be the one with `etag`.
async fn read_range<C: Connector>(
    core: &Core<C>,
    store: &Store<C>,
    at: &Location,
    etag: &str,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, Failure> {
    let request = GetRequest {
        range: Some((range.start, Some(range.end))),
        conditions: Conditions::if_match(etag),
    };
    let (_, got, mut body) = store.get(at, &request).await.map_err(replaced)?;
    if got.start != range.start || got.end < range.end {
        return Err(Failure::tampered("the object is shorter than it was"));
    }
    let n = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let wait = core.snapshot.load().timeouts.buffer_wait;
    let mut bytes = Vec::with_capacity(n);
    let size = BlockSize::holding(n);
    let [mut block] = core
        .pool
        .lease::<1>(size, wait)
        .await
        .map_err(|_| Failure::busy())?;
    while bytes.len() < n {
        let step = (n - bytes.len()).min(block.len());
        let (read, back) = read_exact(&mut body, block, 0, step).await;
        block = back;
        read?;
        bytes.extend_from_slice(&block[..step]);
    }
    // At the range's end the body gives its connection back.
    let _ = body.read(block, Spans::contiguous(0..1)).await;
    Ok(bytes)
}

/// An object that changed between two requests of one read: the client should simply ask again.
fn replaced(error: BackendError) -> Failure {
    match error {
        BackendError::Answer(e) if e.code == sealgate_s3::error::ErrorCode::PreconditionFailed => {
            Failure::replaced()
        }
        other => other.into(),
    }
}

/// Bytes `range` of a multipart object as pieces, the first of them with its stream's header; and where in the
/// stored object they begin and end. Reading everything includes the object's trailer.
pub(crate) async fn plan<C: Connector>(
    core: &Core<C>,
    store: &Store<C>,
    at: &Location,
    sealed: &Sealed,
    map: &PartMap,
    range: std::ops::Range<u64>,
) -> Result<(VecDeque<Piece>, std::ops::Range<u64>), Failure> {
    let everything = range == (0..sealed.plain_len);
    let mut pieces = VecDeque::new();
    let mut stored: Option<std::ops::Range<u64>> = None;
    for part in map.trailer.parts() {
        let (start, end) = (part.plain_start, part.plain_start + part.len);
        if !everything && (end <= range.start || start >= range.end) {
            continue;
        }
        let within = range.start.max(start) - start..range.end.min(end) - start;
        let mut piece = Piece::of(part.number, None, part.len, within);
        if pieces.is_empty() && piece.first > 0 {
            let header_at = part.stream_start..part.stream_start + STREAM_HEADER as u64;
            piece.header =
                Some(stream_header(core, store, at, sealed, map, part.number, header_at).await?);
        }
        let cipher = piece.cipher_range();
        let cipher = part.stream_start + cipher.start..part.stream_start + cipher.end;
        stored = Some(stored.map_or(cipher.clone(), |s| s.start..cipher.end));
        pieces.push_back(piece);
    }
    let mut stored = stored.unwrap_or(0..0);
    if everything {
        stored.end = sealed.info.len;
    }
    Ok((pieces, stored))
}

async fn stream_header<C: Connector>(
    core: &Core<C>,
    store: &Store<C>,
    at: &Location,
    sealed: &Sealed,
    map: &PartMap,
    part: u16,
    range: std::ops::Range<u64>,
) -> Result<[u8; STREAM_HEADER], Failure> {
    if let Some(header) = map.headers.borrow().get(&part) {
        return Ok(*header);
    }
    let bytes = read_range(core, store, at, &sealed.info.etag, range).await?;
    let header = <[u8; STREAM_HEADER]>::try_from(&bytes[..])
        .map_err(|_| Failure::tampered("the object ends too early"))?;
    let mut headers = map.headers.borrow_mut();
    if headers.len() >= MAX_HEADERS {
        headers.clear();
    }
    headers.insert(part, header);
    Ok(header)
}
