//! The byte path of a write: client → sealed in place → store, with the next read under way while the last run
//! of chunks is written.

use std::pin::pin;
use std::time::Duration;

use sealgate_backend::Upload;
use sealgate_backend::types::Stored;
use sealgate_envelope::{CHUNK, SLOT, STREAM_HEADER, StreamSealer, TAG, TrailerWriter};
use sealgate_s3::checksum::Known;
use sealgate_uring::{Block, BlockSize, Connector, Pool, Spans, Transport, join};

use crate::body::Body;
use crate::client::Client;
use crate::failure::Failure;
use crate::snapshot::ClientTimeouts;

/// Where plaintext comes from: a client's body, or an object that is copied.
pub(crate) trait Source {
    /// Reads at least one byte into `spans`, which hold no more than what is left.
    fn fill(
        &mut self,
        block: Block,
        spans: Spans,
    ) -> impl Future<Output = (Result<usize, Failure>, Block)>;

    /// Verifies all that can be verified once the last byte has been read. Nothing is committed before.
    fn finish(&mut self) -> impl Future<Output = Result<Known, Failure>>;
}

/// A client's body as a source.
pub(crate) struct FromClient<'c, T: Transport> {
    client: &'c mut Client<T>,
    body: &'c mut Body,
    timeouts: ClientTimeouts,
}

impl<'c, T: Transport> FromClient<'c, T> {
    /// Only the time that the client itself takes counts towards its minimum rate.
    pub(crate) fn new(
        client: &'c mut Client<T>,
        body: &'c mut Body,
        timeouts: ClientTimeouts,
    ) -> Self {
        client
            .conn
            .watch()
            .minimum_rate(timeouts.minimum_rate, RATE_WINDOW);
        Self {
            client,
            body,
            timeouts,
        }
    }
}

impl<T: Transport> FromClient<'_, T> {
    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.body.left()
    }

    /// Bytes that come next, at least one; [`Self::used`] says how many of them are done with.
    pub(crate) async fn peek(&mut self) -> Result<&[u8], Failure> {
        self.body.peek(self.client).await
    }

    /// Moves on by `n` of the bytes that were seen last.
    pub(crate) fn used(&mut self, n: usize) {
        self.body.used(self.client, n);
    }
}

/// What a client's rate is averaged over.
const RATE_WINDOW: Duration = Duration::from_secs(10);

impl<T: Transport> Source for FromClient<'_, T> {
    async fn fill(&mut self, block: Block, spans: Spans) -> (Result<usize, Failure>, Block) {
        self.body.fill(self.client, block, spans).await
    }

    async fn finish(&mut self) -> Result<Known, Failure> {
        let watch = self.client.conn.watch();
        watch.clear();
        watch.deadline_in(self.timeouts.for_bytes(0));
        let known = self.body.finish(self.client).await;
        self.client.conn.watch().clear();
        known
    }
}

/// What follows the stream's last chunk.
pub(crate) enum Tail<F> {
    /// Nothing: a part of a multipart object.
    Part,
    /// The object's trailer, made once the body's checksums are known.
    Trailer(F),
}

/// What a stream is moved in: one block that holds it all, or two, of which one is filled while the other is written.
pub(crate) type Blocks = (Block, Option<Block>);

/// The blocks that a stream of `len` plaintext bytes is moved in: two, so that one is filled while the other is
/// written, or one that holds it all.
pub(crate) async fn lease(
    pool: &Pool,
    len: u64,
    timeouts: &ClientTimeouts,
) -> Result<Blocks, Failure> {
    let whole = len <= slots_bytes(block_size(len));
    lease_blocks(pool, len, whole, timeouts).await
}

/// Blocks for moving `len` bytes of chunks; one of them is enough when `whole`.
pub(crate) async fn lease_blocks(
    pool: &Pool,
    len: u64,
    whole: bool,
    timeouts: &ClientTimeouts,
) -> Result<Blocks, Failure> {
    let (size, wait) = (block_size(len), timeouts.buffer_wait);
    if whole && len <= slots_bytes(size) {
        let [only] = pool
            .lease::<1>(size, wait)
            .await
            .map_err(|_| Failure::busy())?;
        Ok((only, None))
    } else {
        let [a, b] = pool
            .lease::<2>(size, wait)
            .await
            .map_err(|_| Failure::busy())?;
        Ok((a, Some(b)))
    }
}

pub(crate) fn block_size(len: u64) -> BlockSize {
    [BlockSize::Small, BlockSize::Medium]
        .into_iter()
        .find(|&size| len <= slots_bytes(size))
        .unwrap_or(BlockSize::Large)
}

pub(crate) const fn slots_bytes(size: BlockSize) -> u64 {
    (slots(size.capacity()) * CHUNK) as u64
}

/// Whole slots of a block, room left for a stream header, a short last chunk's tag and a small trailer.
pub(crate) const fn slots(capacity: usize) -> usize {
    (capacity - RESERVED) / SLOT
}

/// Bytes of a block that slots leave free.
const RESERVED: usize = 4096;

/// One block's worth of a stream on its way.
struct Run {
    /// Where the slots begin: behind the stream's header in the first run.
    base: usize,
    /// Plaintext bytes this run will hold.
    want: usize,
    /// Plaintext bytes read so far.
    have: usize,
    /// Slots sealed so far.
    sealed: usize,
}

impl Run {
    fn end(&self) -> usize {
        let short = self.have - self.sealed * CHUNK;
        self.base + self.sealed * SLOT + short
    }
}

/// Fills and seals one run. Each chunk is sealed as soon as it is whole, while it is still in the cache.
async fn fill<S: Source>(
    source: &mut S,
    sealer: &mut StreamSealer,
    run: &mut Run,
    block: Block,
) -> (Result<(), Failure>, Block) {
    let mut block = block;
    while run.have < run.want {
        let spans = Spans::slots(run.base, run.have, run.want, CHUNK, SLOT);
        let (got, back) = source.fill(block, spans).await;
        block = back;
        match got {
            Ok(n) => run.have += n,
            Err(e) => return (Err(e), block),
        }
        let whole = run.have / CHUNK;
        if whole > run.sealed {
            let start = run.base + run.sealed * SLOT;
            let end = run.base + whole * SLOT;
            sealer.seal_slots(&mut block[start..end]);
            run.sealed = whole;
        }
    }
    (Ok(()), block)
}

/// Streams `len` bytes of `source` into `upload`: stream header, chunks, then `tail`.
///
/// The last bytes are held back until the source has verified what the client declared of the body; on any error
/// the upload is dropped and nothing becomes visible.
pub(crate) async fn seal_into<
    S: Source,
    C: Connector,
    F: FnOnce(&Known) -> Result<TrailerWriter, Failure>,
>(
    source: &mut S,
    mut upload: Upload<C>,
    (mut sealer, header): (StreamSealer, [u8; STREAM_HEADER]),
    len: u64,
    tail: Tail<F>,
    (first, mut spare): Blocks,
) -> Result<(Stored, Known), Failure> {
    let capacity = slots(first.capacity()) * CHUNK;
    let mut left = len;
    let mut next_run = |base: usize| {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(capacity);
        left -= want as u64;
        Run {
            base,
            want,
            have: 0,
            sealed: 0,
        }
    };
    let mut block = first;
    block[..STREAM_HEADER].copy_from_slice(&header);
    let mut run = next_run(STREAM_HEADER);
    let mut done = run.want as u64;
    let (filled, back) = fill(source, &mut sealer, &mut run, block).await;
    block = back;
    filled?;
    while done < len {
        let Some(other) = spare.take() else {
            unreachable!("two blocks are leased for more than one run")
        };
        let mut next = next_run(0);
        done += next.want as u64;
        let ((written, back), (filled, other)) = {
            let writing = pin!(upload.write(block, Spans::contiguous(0..run.end())));
            let filling = pin!(fill(source, &mut sealer, &mut next, other));
            join(writing, filling).await
        };
        written?;
        filled?;
        spare = Some(back);
        block = other;
        run = next;
    }
    let known = source.finish().await?;
    let mut end = run.end() + TAG;
    sealer.seal_last(&mut block[run.base + run.sealed * SLOT..end]);
    if let Tail::Trailer(make) = tail {
        let mut trailer = make(&known)?;
        loop {
            let room = block.len() - end;
            let n = trailer.fill(&mut block[end..end + room]);
            end += n;
            if trailer.remaining() == 0 {
                break;
            }
            let (written, back) = upload.write(block, Spans::contiguous(0..end)).await;
            block = back;
            written?;
            end = 0;
        }
    }
    let (stored, _) = upload.finish(block, Spans::contiguous(0..end)).await;
    Ok((stored?, known))
}
