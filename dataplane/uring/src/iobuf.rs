//! Our buffers in the terms of the runtime: what the kernel may read and write while an operation is in flight.

use std::io;
use std::ops::Range;

use monoio::buf::{IoBuf, IoBufMut, IoVecBuf, IoVecBufMut};

use crate::weave::Piece;
use crate::{Block, Spans, Weave};

/// One physical range of a block.
pub(crate) struct Run {
    pub(crate) block: Block,
    range: Range<usize>,
}

impl Run {
    /// `range` must lie within the block (checked: memory safety rests on it).
    pub(crate) fn new(block: Block, range: Range<usize>) -> Run {
        assert!(
            range.start <= range.end && range.end <= block.capacity(),
            "range outside of the block"
        );
        Run { block, range }
    }
}

// SAFETY: the pointer is into the block's mapping, which does not move and lives as long as the block, which
// `self` owns; `new` checked that the range lies within; a block's bytes are all initialised.
unsafe impl IoBuf for Run {
    fn read_ptr(&self) -> *const u8 {
        self.block.as_ptr().wrapping_add(self.range.start)
    }

    fn bytes_init(&self) -> usize {
        self.range.len()
    }
}

// SAFETY: as above, and `self` owns the block alone.
unsafe impl IoBufMut for Run {
    fn write_ptr(&mut self) -> *mut u8 {
        self.block.as_ptr().wrapping_add(self.range.start)
    }

    fn bytes_total(&mut self) -> usize {
        self.range.len()
    }

    // The bytes always count as initialised.
    unsafe fn set_init(&mut self, _: usize) {}
}

/// Several ranges of a block, optionally after a head.
pub(crate) struct Ranges {
    pub(crate) head: Vec<u8>,
    pub(crate) block: Block,
    count: usize,
}

impl Ranges {
    /// `head[from..]`, then `spans`, as far as they fit one operation. The spans must lie within the block
    /// (checked: memory safety rests on it).
    pub(crate) fn new(head: Vec<u8>, from: usize, mut block: Block, spans: &Spans) -> Ranges {
        assert!(block.check(spans).is_ok(), "spans outside of the block");
        let count = block.gather(&head[from..], spans);
        Ranges { head, block, count }
    }
}

// SAFETY: the iovecs lie in the block's mapping and point into the block and into the heap buffer of `head`;
// `self` owns both and touches neither, so all stay valid and in place for as long as the runtime holds `self`.
unsafe impl IoVecBuf for Ranges {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.block.ranges()
    }

    fn read_iovec_len(&self) -> usize {
        self.count
    }
}

// SAFETY: as above; reads are only made with an empty head, so that all ranges are of the block, which `self`
// owns alone.
unsafe impl IoVecBufMut for Ranges {
    fn write_iovec_ptr(&mut self) -> *mut libc::iovec {
        self.block.ranges()
    }

    fn write_iovec_len(&mut self) -> usize {
        self.count
    }

    unsafe fn set_init(&mut self, _: usize) {}
}

/// What a [`Weave`] plans: ranges of a block and the spare capacity of a vector by turns.
pub(crate) struct Woven {
    aside: Vec<u8>,
    block: Block,
    count: usize,
}

impl Woven {
    /// As much of `weave` as fits one operation; it must fit the block and the vector (checked: memory safety rests
    /// on it).
    pub(crate) fn new(mut block: Block, weave: &Weave, mut aside: Vec<u8>) -> Woven {
        assert!(
            block.check_woven(weave, &aside).is_ok(),
            "weave outside of its buffers"
        );
        let count = block.gather_woven(weave, &mut aside);
        Woven {
            aside,
            block,
            count,
        }
    }

    /// The buffers after a read of `result` by the same `weave`.
    pub(crate) fn done(mut self, weave: &Weave, result: &io::Result<usize>) -> (Block, Vec<u8>) {
        if let Ok(n) = result {
            let len = self.aside.len() + weave.aside_of(*n);
            assert!(len <= self.aside.capacity(), "more bytes than asked for");
            // SAFETY: a scatter read fills its ranges in order, so that of the `n` bytes those that go aside have
            // been written behind one another from the start of the spare capacity.
            unsafe { self.aside.set_len(len) };
        }
        (self.block, self.aside)
    }
}

// SAFETY: the iovecs lie in the block's mapping and point into the block and into the heap buffer of `aside`;
// `self` owns both alone and touches neither, so all stay valid and in place for as long as the runtime holds
// `self`. The ranges do not overlap, and none lies within what the vector says is initialised.
unsafe impl IoVecBufMut for Woven {
    fn write_iovec_ptr(&mut self) -> *mut libc::iovec {
        self.block.ranges()
    }

    fn write_iovec_len(&mut self) -> usize {
        self.count
    }

    // `done` does it, with the weave at hand.
    unsafe fn set_init(&mut self, _: usize) {}
}

/// The spare capacity of a vector.
pub(crate) struct Spare(pub(crate) Vec<u8>);

// SAFETY: the pointer is into the vector's heap buffer, which stays in place while `self` owns the vector and
// does not touch it; `bytes_total` is what is allocated after the initialised part.
unsafe impl IoBufMut for Spare {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.0.spare_capacity_mut().len()
    }

    unsafe fn set_init(&mut self, n: usize) {
        let len = self.0.len() + n;
        assert!(len <= self.0.capacity(), "more bytes than asked for");
        // SAFETY: the runtime promises that `n` bytes of the spare capacity were written.
        unsafe { self.0.set_len(len) };
    }
}

/// Part of a vector.
pub(crate) struct Part {
    pub(crate) vec: Vec<u8>,
    from: usize,
    to: usize,
}

impl Part {
    /// `vec[from..to]` (checked: memory safety rests on it).
    pub(crate) fn new(vec: Vec<u8>, from: usize, to: usize) -> Part {
        assert!(from <= to && to <= vec.len(), "part outside of the vector");
        Part { vec, from, to }
    }
}

// SAFETY: the pointer is into the vector's heap buffer, which stays in place while `self` owns the vector;
// `new` checked the bounds, and what lies within a vector's length is initialised.
unsafe impl IoBuf for Part {
    fn read_ptr(&self) -> *const u8 {
        self.vec[self.from..].as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.to - self.from
    }
}

/// Copies `bytes` into the spans, which advance; returns how many fitted.
pub(crate) fn scatter(block: &mut Block, spans: &mut Spans, bytes: &[u8]) -> usize {
    let mut done = 0;
    while done < bytes.len() && !spans.is_empty() {
        let run = spans.first();
        let n = run.len().min(bytes.len() - done);
        block[run.start..run.start + n].copy_from_slice(&bytes[done..done + n]);
        spans.advance(n);
        done += n;
    }
    done
}

/// Puts bytes that come in several pieces where a [`Weave`] has them.
pub(crate) struct Weaver<'w, I> {
    pieces: I,
    now: Option<Piece>,
    block: &'w mut Block,
    aside: &'w mut Vec<u8>,
    done: usize,
}

/// Starts with the first byte of `weave`.
pub(crate) fn weaver<'w>(
    weave: &'w Weave,
    block: &'w mut Block,
    aside: &'w mut Vec<u8>,
) -> Weaver<'w, impl Iterator<Item = Piece>> {
    let mut pieces = weave.pieces();
    Weaver {
        now: pieces.next(),
        pieces,
        block,
        aside,
        done: 0,
    }
}

impl<I: Iterator<Item = Piece>> Weaver<'_, I> {
    /// Takes what fits, and says how much that was.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let (Some(piece), false) = (&mut self.now, rest.is_empty()) {
            let n = piece.len().min(rest.len());
            let (now, later) = rest.split_at(n);
            rest = later;
            match piece {
                Piece::Aside(left) => {
                    self.aside.extend_from_slice(now);
                    *left -= n;
                }
                Piece::Block(range) => {
                    self.block[range.start..range.start + n].copy_from_slice(now);
                    range.start += n;
                }
            }
            if piece.len() == 0 {
                self.now = self.pieces.next();
            }
        }
        self.done += bytes.len() - rest.len();
        bytes.len() - rest.len()
    }

    /// Bytes taken so far.
    pub(crate) fn done(&self) -> usize {
        self.done
    }
}
