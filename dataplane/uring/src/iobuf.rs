//! Our buffers in the terms of the runtime: what the kernel may read and write while an operation is in flight.

use std::ops::Range;

use monoio::buf::{IoBuf, IoBufMut, IoVecBuf, IoVecBufMut};

use crate::{Block, Spans};

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
