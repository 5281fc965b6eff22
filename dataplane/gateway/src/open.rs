//! The byte path of a read: store → opened in place → client, with the next read under way while the last run of
//! chunks is written. Only authenticated bytes are ever handed on.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::rc::Rc;

use sealgate_backend::Body as StoreBody;
use sealgate_backend::types::BackendError;
use sealgate_envelope::{
    CHUNK, Dek, ObjectId, SLOT, STREAM_HEADER, StreamContext, StreamOpener, TAG,
};
use sealgate_uring::{Block, Connector, Spans};

use crate::failure::Failure;
use crate::seal::slots;

/// What to read of one stream: chunks `first..`, plaintext bytes of them, and which of those are wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Piece {
    /// Part number of the stream's context; 0 for a single PUT.
    pub(crate) part: u16,
    /// The stream's header when it is known already; otherwise it comes in front of chunk 0.
    pub(crate) header: Option<[u8; STREAM_HEADER]>,
    /// The header, once it has been read, of a stream that is read in several pieces.
    later: Option<Rc<OnceCell<[u8; STREAM_HEADER]>>>,
    /// First chunk of the stream to read.
    pub(crate) first: u64,
    /// Whole chunks to read.
    pub(crate) whole: u64,
    /// Length of the stream's last chunk, when it is read too.
    pub(crate) last: Option<usize>,
    /// Plaintext bytes at the front that are authenticated, but not wanted.
    pub(crate) skip: usize,
    /// Plaintext bytes wanted.
    pub(crate) take: u64,
}

impl Piece {
    /// Bytes `range` of a stream that holds `len` plaintext bytes; all of it includes its end.
    pub(crate) fn of(
        part: u16,
        header: Option<[u8; STREAM_HEADER]>,
        len: u64,
        range: std::ops::Range<u64>,
    ) -> Self {
        let chunk = CHUNK as u64;
        let chunks = len / chunk;
        let first = range.start / chunk;
        // A range up to the end reads the last chunk even when that is empty: it proves that the stream ends there.
        let to_end = range.end == len || range.end > chunks * chunk;
        let end = if to_end {
            chunks
        } else {
            range.end.div_ceil(chunk)
        };
        Self {
            part,
            header,
            later: None,
            first,
            whole: end.saturating_sub(first),
            last: to_end.then(|| (len % chunk) as usize),
            skip: (range.start % chunk) as usize,
            take: range.end - range.start,
        }
    }

    /// Where the piece's bytes are within its stream.
    pub(crate) fn cipher_range(&self) -> std::ops::Range<u64> {
        let start = self.first * SLOT as u64 + STREAM_HEADER as u64;
        let end = start + self.whole * SLOT as u64 + self.last.map_or(0, |n| (n + TAG) as u64);
        if self.inline_header() {
            start - STREAM_HEADER as u64..end
        } else {
            start..end
        }
    }

    /// Bytes of the stream that are read.
    pub(crate) fn len(&self) -> u64 {
        let range = self.cipher_range();
        range.end - range.start
    }

    /// Takes as many whole chunks off the front as `room` stored bytes hold; `None` when that is no chunk, or all.
    pub(crate) fn split_off_front(&mut self, room: u64) -> Option<Self> {
        let header = if self.inline_header() {
            STREAM_HEADER
        } else {
            0
        };
        let chunks = (room.checked_sub(header as u64)? / SLOT as u64).min(self.whole);
        if chunks == 0 || chunks == self.whole && self.last.is_none() {
            return None;
        }
        if self.header.is_none() {
            self.later.get_or_insert_default();
        }
        let take = self.take.min(chunks * CHUNK as u64 - self.skip as u64);
        let front = Self {
            whole: chunks,
            last: None,
            take,
            ..self.clone()
        };
        self.first += chunks;
        self.whole -= chunks;
        self.skip = 0;
        self.take -= take;
        Some(front)
    }

    /// Whether the stream's header is known, or comes first.
    pub(crate) fn has_header(&self) -> bool {
        let later = self.later.as_ref();
        self.first == 0 || self.header.is_some() || later.is_some_and(|l| l.get().is_some())
    }

    fn inline_header(&self) -> bool {
        self.first == 0 && self.header.is_none()
    }
}

/// One block's worth of a piece.
struct Run {
    header: bool,
    first: u64,
    whole: usize,
    last: Option<usize>,
    skip: usize,
    take: usize,
}

impl Run {
    fn len(&self) -> usize {
        let header = if self.header { STREAM_HEADER } else { 0 };
        header + self.whole * SLOT + self.last.map_or(0, |n| n + TAG)
    }
}

/// Plaintext bytes of all chunks to open, wanted or not; and whether they are of one stream.
pub(crate) fn extent(pieces: &VecDeque<Piece>) -> (u64, bool) {
    let chunks = |p: &Piece| p.whole * CHUNK as u64 + p.last.unwrap_or(0) as u64;
    (pieces.iter().map(chunks).sum(), pieces.len() <= 1)
}

/// Opens consecutive pieces of an object out of a store's body.
pub(crate) struct Opener<C: Connector> {
    body: StoreBody<C>,
    dek: Rc<Dek>,
    object_id: ObjectId,
    pieces: VecDeque<Piece>,
    stream: Option<StreamOpener>,
    /// Bytes of the body before the first piece that have to be passed over.
    pass: u64,
}

impl<C: Connector> Opener<C> {
    pub(crate) fn new(
        body: StoreBody<C>,
        dek: Rc<Dek>,
        object_id: ObjectId,
        pieces: VecDeque<Piece>,
        pass: u64,
    ) -> Self {
        Self {
            body,
            dek,
            object_id,
            pieces,
            stream: None,
            pass,
        }
    }

    /// Nothing more to open.
    pub(crate) fn is_done(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What is left of the store's body: the object's trailer, after a read of everything.
    pub(crate) fn body(&mut self) -> &mut StoreBody<C> {
        &mut self.body
    }

    /// Reads and opens as much as `block` holds: the spans of the plaintext that is wanted.
    pub(crate) async fn next(&mut self, block: Block) -> (Result<Spans, Failure>, Block) {
        let mut block = block;
        while self.pass > 0 {
            let n = usize::try_from(self.pass)
                .unwrap_or(usize::MAX)
                .min(block.len());
            let (read, back) = read_exact(&mut self.body, block, 0, n).await;
            block = back;
            if let Err(e) = read {
                return (Err(e), block);
            }
            self.pass -= n as u64;
        }
        let Some(run) = self.plan(&block) else {
            return (Ok(Spans::contiguous(0..0)), block);
        };
        match self.open(&run, block).await {
            (Ok(base), block) => (
                Ok(Spans::slots(
                    base,
                    run.skip,
                    run.skip + run.take,
                    CHUNK,
                    SLOT,
                )),
                block,
            ),
            (Err(e), block) => (Err(e), block),
        }
    }

    /// Takes one block's worth off the first piece.
    fn plan(&mut self, block: &Block) -> Option<Run> {
        let piece = self.pieces.front_mut()?;
        let room = slots(block.capacity());
        let whole = usize::try_from(piece.whole).unwrap_or(usize::MAX).min(room);
        let ends = whole as u64 == piece.whole && (whole < room || piece.last == Some(0));
        let header = piece.inline_header();
        let last = if ends { piece.last.take() } else { None };
        let plain = whole * CHUNK + last.unwrap_or(0);
        let skip = piece.skip.min(plain);
        let take = usize::try_from(piece.take)
            .unwrap_or(usize::MAX)
            .min(plain - skip);
        let run = Run {
            header,
            first: piece.first,
            whole,
            last,
            skip,
            take,
        };
        piece.first += whole as u64;
        piece.whole -= whole as u64;
        piece.take -= take as u64;
        piece.skip -= skip;
        Some(run)
    }

    async fn open(&mut self, run: &Run, block: Block) -> (Result<usize, Failure>, Block) {
        let mut block = block;
        let base = if run.header { STREAM_HEADER } else { 0 };
        let mut have = 0;
        let mut opened = 0;
        let want = run.len();
        loop {
            if have >= base
                && self.stream.is_none()
                && let Err(e) = self.start_stream(run, &block)
            {
                return (Err(e), block);
            }
            // Each chunk is opened as soon as it is whole, while it is still in the cache.
            let whole = (have.saturating_sub(base) / SLOT).min(run.whole);
            if whole > opened
                && let Some(stream) = &self.stream
            {
                let slots = &mut block[base + opened * SLOT..base + whole * SLOT];
                if let Err(e) = stream.open_slots(run.first + opened as u64, slots) {
                    return (Err(Failure::tampered(e)), block);
                }
                opened = whole;
            }
            if have == want {
                break;
            }
            let (got, back) = self.body.read(block, Spans::contiguous(have..want)).await;
            block = back;
            match got {
                Ok(0) => return (Err(Failure::tampered("the object ends too early")), block),
                Ok(n) => have += n,
                Err(e) => return (Err(e.into()), block),
            }
        }
        if let (Some(n), Some(stream)) = (run.last, &self.stream) {
            let at = base + run.whole * SLOT;
            let index = run.first + run.whole as u64;
            if let Err(e) = stream.open_last(index, &mut block[at..at + n + TAG]) {
                return (Err(Failure::tampered(e)), block);
            }
        }
        if self
            .pieces
            .front()
            .is_some_and(|p| p.whole == 0 && p.last.is_none())
        {
            self.pieces.pop_front();
            self.stream = None;
        }
        (Ok(base), block)
    }

    fn start_stream(&mut self, run: &Run, block: &Block) -> Result<(), Failure> {
        let Some(piece) = self.pieces.front() else {
            return Ok(());
        };
        let context = StreamContext {
            object_id: self.object_id,
            part_number: piece.part,
        };
        let mut header = [0; STREAM_HEADER];
        match (&piece.header, run.header) {
            (Some(known), _) => header = *known,
            (None, true) => {
                header.copy_from_slice(&block[..STREAM_HEADER]);
                if let Some(later) = &piece.later {
                    let _ = later.set(header);
                }
            }
            (None, false) => match piece.later.as_ref().and_then(|later| later.get()) {
                Some(later) => header = *later,
                None => return Err(Failure::tampered("a stream without its header")),
            },
        }
        let stream = StreamOpener::new(&self.dek, &context, &header).map_err(Failure::tampered)?;
        self.stream = Some(stream);
        Ok(())
    }
}

/// Reads exactly `n` bytes to `at`.
pub(crate) async fn read_exact<C: Connector>(
    body: &mut StoreBody<C>,
    block: Block,
    at: usize,
    n: usize,
) -> (Result<(), Failure>, Block) {
    let mut block = block;
    let mut have = 0;
    while have < n {
        let (got, back) = body.read(block, Spans::contiguous(at + have..at + n)).await;
        block = back;
        match got {
            Ok(0) => return (Err(Failure::tampered("the object ends too early")), block),
            Ok(got) => have += got,
            Err(e) => return (Err(BackendError::into(e)), block),
        }
    }
    (Ok(()), block)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sealgate_envelope::law::stream_len;

    use super::*;

    proptest! {
        /// The chunks of a piece hold the range, no chunk more than needed, and lie where the stream has them.
        #[test]
        fn a_piece_holds_its_range(
            len in 0u64..200_000,
            a in any::<prop::sample::Index>(),
            b in any::<prop::sample::Index>(),
        ) {
            let (a, b) = (a.index(len as usize + 1) as u64, b.index(len as usize + 1) as u64);
            let range = a.min(b)..a.max(b);
            prop_assume!(!range.is_empty() || len == 0);
            let piece = Piece::of(1, None, len, range.clone());
            let chunk = CHUNK as u64;
            let plain_start = piece.first * chunk;
            let plain_end = plain_start + piece.whole * chunk + piece.last.unwrap_or(0) as u64;
            prop_assert_eq!(plain_start + piece.skip as u64, range.start);
            prop_assert_eq!(piece.take, range.end - range.start);
            prop_assert!(plain_end >= range.end);
            prop_assert!(range.is_empty() || piece.skip < CHUNK);
            prop_assert!(plain_end < range.end + chunk || piece.last.is_some());
            let cipher = piece.cipher_range();
            prop_assert_eq!(cipher.end == stream_len(len), piece.last.is_some());
            prop_assert!(cipher.end <= stream_len(len));
            prop_assert_eq!(cipher.start == 0, piece.first == 0);
        }
    }

    proptest! {
        /// Cut up, a piece is the same bytes of the stream and of the plaintext, in order.
        #[test]
        fn a_piece_in_pieces_is_the_piece(
            len in 0u64..400_000,
            start in 0u64..400_000,
            rooms in prop::collection::vec(0u64..100_000, 0..8),
        ) {
            let piece = Piece::of(1, None, len, start.min(len)..len);
            let (mut rest, mut pieces) = (piece.clone(), Vec::new());
            for room in rooms {
                if let Some(front) = rest.split_off_front(room) {
                    prop_assert!(front.len() <= room && front.last.is_none() && front.whole > 0);
                    pieces.push(front);
                }
            }
            prop_assert!(rest.whole > 0 || rest.last.is_some());
            prop_assert!(pieces.is_empty() || rest.has_header() == (rest.first == 0));
            pieces.push(rest);
            let (whole, mut at) = (piece.cipher_range(), piece.cipher_range().start);
            let (mut take, mut skip) = (0, 0);
            for one in &pieces {
                let range = one.cipher_range();
                prop_assert_eq!(range.start, at);
                at = range.end;
                take += one.take;
                skip += one.skip;
            }
            prop_assert_eq!((at, take, skip), (whole.end, piece.take, piece.skip));
        }
    }

    #[test]
    fn everything_includes_the_empty_last_chunk() {
        for chunks in 0..4 {
            let len = chunks * CHUNK as u64;
            let piece = Piece::of(0, None, len, 0..len);
            assert_eq!((piece.whole, piece.last), (chunks, Some(0)));
            assert_eq!(piece.cipher_range(), 0..stream_len(len));
        }
    }
}
