//! A block of memory that operations read into and write from, leased from a [`Pool`](crate::Pool).

use std::io;
use std::mem::size_of;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::slice;

use crate::pool::Inner;
use crate::weave::Piece;
use crate::{Spans, Weave};

/// Bytes of one sealed chunk: 16 KiB of plaintext and its tag (docs/format.md).
const SLOT: usize = 16_400;

/// Room beside the slots for a stream header and for HTTP heads that arrive with the body, bytes.
const SLACK: usize = 8_192;

/// Most ranges of one gathered operation: the slots of a [`BlockSize::Large`], one more because an interval may
/// start and end within a slot, and a head in front. More ranges are done in several operations.
pub(crate) const MAX_RANGES: usize = 72;

/// What lies in front of a block's bytes: `MAX_RANGES` iovecs, rounded up to a cache line.
const HEADER_ROOM: usize = (size_of::<Header>() + 63) & !63;

/// Size of a page, bytes; only used to account for what a mapping really takes.
const PAGE: usize = 4_096;

/// How much a block holds.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum BlockSize {
    /// 40 KiB: heads, small objects, listings.
    Small,
    /// 16 sealed chunks and 8 KiB.
    Medium,
    /// 64 sealed chunks and 8 KiB: bulk streams (buffer size is the one big lever of a relay's cost).
    Large,
}

impl BlockSize {
    /// All sizes, ascending.
    pub(crate) const ALL: [BlockSize; 3] = [BlockSize::Small, BlockSize::Medium, BlockSize::Large];

    /// Usable bytes of a block.
    #[must_use]
    pub const fn capacity(self) -> usize {
        match self {
            BlockSize::Small => 40 * 1024,
            BlockSize::Medium => 16 * SLOT + SLACK,
            BlockSize::Large => 64 * SLOT + SLACK,
        }
    }

    /// The smallest size that holds `n` bytes, [`BlockSize::Large`] when none does.
    #[must_use]
    pub fn holding(n: usize) -> BlockSize {
        BlockSize::ALL
            .into_iter()
            .find(|s| s.capacity() >= n)
            .unwrap_or(BlockSize::Large)
    }

    /// Bytes of address space (and at most of RSS) that a block takes, whole pages: what the pool accounts.
    pub(crate) const fn footprint(self) -> usize {
        (HEADER_ROOM + self.capacity()).next_multiple_of(PAGE)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// The start of a block's mapping. The iovecs live here because the kernel reads them after the call that
/// submits an operation returned: they must not move, and allocating them per operation would cost more than
/// they do.
#[repr(C)]
pub(crate) struct Header {
    ranges: [libc::iovec; MAX_RANGES],
    size: BlockSize,
}

/// The memory of a block, not (or no longer) leased. Whoever holds one holds it alone.
pub(crate) struct Mapping(NonNull<Header>);

impl Mapping {
    /// Maps zeroed memory; its pages take no RSS until they are touched. `None` when the system has none.
    pub(crate) fn new(size: BlockSize) -> Option<Mapping> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no existing memory.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size.footprint(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return None;
        }
        let header = NonNull::new(at.cast::<Header>())?;
        // SAFETY: the mapping is page-aligned, writable, longer than a `Header`, and ours alone.
        unsafe { (&raw mut (*header.as_ptr()).size).write(size) };
        Some(Mapping(header))
    }

    pub(crate) fn size(&self) -> BlockSize {
        // SAFETY: `new` wrote `size`, and the mapping lives as long as `self`.
        unsafe { (*self.0.as_ptr()).size }
    }

    fn bytes(&self) -> *mut u8 {
        // SAFETY: the mapping is HEADER_ROOM + capacity long.
        unsafe { self.0.as_ptr().cast::<u8>().add(HEADER_ROOM) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let len = self.size().footprint();
        // SAFETY: `new` mapped exactly this, and nobody else refers to it any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), len) };
    }
}

/// Memory leased from the core's pool, given back on drop.
///
/// It is initialised in whole, so that it derefs to all of its bytes; but it is not cleared between leases: it
/// still holds what its last user left there, and only what was written under this lease may be sent anywhere.
pub struct Block {
    mapping: Option<Mapping>,
    pool: Rc<Inner>,
}

impl Block {
    pub(crate) fn new(mapping: Mapping, pool: Rc<Inner>) -> Block {
        Block {
            mapping: Some(mapping),
            pool,
        }
    }

    fn mapping(&self) -> &Mapping {
        match &self.mapping {
            Some(mapping) => mapping,
            // Only `drop` takes it.
            None => unreachable!("a block has its mapping until it is dropped"),
        }
    }

    /// Usable bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.mapping().size().capacity()
    }

    /// Address of the first byte; it does not change until the block is dropped, wherever the `Block` moves.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.mapping().bytes()
    }

    /// Refuses what [`Block::check`] does, and a weave for which `aside` has no room.
    pub(crate) fn check_woven(&self, weave: &Weave, aside: &Vec<u8>) -> io::Result<()> {
        if weave.is_empty() || weave.aside() > aside.capacity() - aside.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "nothing to read, or no room for the framing",
            ));
        }
        self.check(&weave.spans())
    }

    /// Refuses spans that lie outside of this block: memory safety of the operations rests on it.
    pub(crate) fn check(&self, spans: &Spans) -> io::Result<()> {
        if spans.data == 0 || spans.stride < spans.data || spans.physical_end() > self.capacity() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "spans reach beyond the block",
            ));
        }
        Ok(())
    }

    /// Writes the iovecs of `head` (when not empty) and of as many ranges of `spans` as there is room for.
    /// Returns their number. The spans must have been checked.
    pub(crate) fn gather(&mut self, head: &[u8], spans: &Spans) -> usize {
        debug_assert!(spans.physical_end() <= self.capacity());
        let bytes = self.as_ptr();
        let head = (!head.is_empty()).then_some((head.as_ptr().cast_mut(), head.len()));
        // SAFETY: the ranges lie within the block, whose `capacity` bytes start at `bytes`.
        let runs = spans
            .ranges()
            .map(|r| (unsafe { bytes.add(r.start) }, r.len()));
        self.put_ranges(head.into_iter().chain(runs))
    }

    /// Writes the iovecs of as much of `weave` as there is room for, what goes aside going behind the bytes of
    /// `aside`. Returns their number. The weave must have been checked, and `aside` have the capacity.
    pub(crate) fn gather_woven(&mut self, weave: &Weave, aside: &mut Vec<u8>) -> usize {
        debug_assert!(weave.spans().physical_end() <= self.capacity());
        debug_assert!(weave.aside() <= aside.capacity() - aside.len());
        let bytes = self.as_ptr();
        let mut spare = aside.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        self.put_ranges(weave.pieces().map(|piece| match piece {
            Piece::Aside(n) => {
                let base = spare;
                // SAFETY: the pieces that go aside are together no longer than the spare capacity.
                spare = unsafe { spare.add(n) };
                (base, n)
            }
            // SAFETY: the ranges lie within the block, whose `capacity` bytes start at `bytes`.
            Piece::Block(range) => (unsafe { bytes.add(range.start) }, range.len()),
        }))
    }

    fn put_ranges(&mut self, all: impl Iterator<Item = (*mut u8, usize)>) -> usize {
        let ranges = self.ranges();
        let mut count = 0;
        for (base, len) in all.take(MAX_RANGES) {
            // SAFETY: `count` is below MAX_RANGES, and the array is ours alone while we hold `&mut self`.
            unsafe {
                ranges.add(count).write(libc::iovec {
                    iov_base: base.cast(),
                    iov_len: len,
                })
            };
            count += 1;
        }
        count
    }

    /// Address of the iovecs that were written last; stable like [`Block::as_ptr`].
    pub(crate) fn ranges(&self) -> *mut libc::iovec {
        self.mapping().0.as_ptr().cast()
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes are initialised (mapped zeroed) and live as long as the block, which we hold shared.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.capacity()) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and we hold the block alone.
        unsafe { slice::from_raw_parts_mut(self.as_ptr(), self.capacity()) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(mapping) = self.mapping.take() {
            self.pool.give_back(mapping);
        }
    }
}

impl std::fmt::Debug for Block {
    // Never the bytes: they may be a client's plaintext.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;

    #[test]
    fn sizes_hold_what_they_say() {
        assert_eq!(BlockSize::holding(0), BlockSize::Small);
        assert_eq!(BlockSize::holding(40 * 1024), BlockSize::Small);
        assert_eq!(BlockSize::holding(40 * 1024 + 1), BlockSize::Medium);
        assert_eq!(
            BlockSize::holding(16 * 16_400 + 8_192 + 1),
            BlockSize::Large
        );
        assert_eq!(BlockSize::holding(usize::MAX), BlockSize::Large);
        for size in BlockSize::ALL {
            assert!(size.footprint() >= size.capacity() + size_of::<Header>());
            assert!(size.footprint() < size.capacity() + HEADER_ROOM + PAGE);
        }
    }

    #[test]
    fn a_block_starts_zeroed_and_is_writable_to_its_end() {
        let pool = Pool::new(4 << 20);
        for size in BlockSize::ALL {
            let [mut block] = pool.try_lease(size).unwrap();
            assert_eq!(block.len(), size.capacity());
            assert!(block.iter().all(|b| *b == 0));
            block.fill(0xa5);
            assert_eq!(
                block.gather(b"head", &Spans::contiguous(0..size.capacity())),
                2
            );
            assert!(
                block.iter().all(|b| *b == 0xa5),
                "the iovecs lie beside the bytes"
            );
            assert_eq!(block.capacity(), size.capacity());
        }
    }

    #[test]
    fn spans_outside_are_refused() {
        let pool = Pool::new(1 << 20);
        let [block] = pool.try_lease(BlockSize::Small).unwrap();
        let end = block.capacity();
        assert!(block.check(&Spans::contiguous(0..end)).is_ok());
        assert!(block.check(&Spans::contiguous(0..end + 1)).is_err());
        assert!(block.check(&Spans::slots(1, 0, end, 1, 1)).is_err());
        let broken = Spans {
            base: 0,
            from: 0,
            to: 1,
            data: 0,
            stride: 0,
        };
        assert!(block.check(&broken).is_err());
    }

    #[test]
    fn more_ranges_than_fit_are_left_for_the_next_operation() {
        let pool = Pool::new(1 << 20);
        let [mut block] = pool.try_lease(BlockSize::Small).unwrap();
        assert_eq!(
            block.gather(b"", &Spans::slots(0, 0, 200, 1, 2)),
            MAX_RANGES
        );
        assert_eq!(block.gather(b"x", &Spans::slots(0, 0, 10, 1, 2)), 11);
        assert_eq!(block.gather(b"", &Spans::contiguous(3..3)), 0);
    }
}
