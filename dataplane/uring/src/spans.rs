//! Which bytes of a [`Block`](crate::Block) an operation touches.

use std::ops::Range;

/// A logical interval `[from, to)` laid out in a block in runs of `data` bytes every `stride` bytes from `base`:
/// the logical offset `o` lives at `base + (o / data) * stride + o % data`.
///
/// That is how plaintext lies in a block of 16 KiB chunks that leave room for the tag after each one: it is read
/// from the socket with one `readv` straight into place, and nothing is moved before sealing.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Spans {
    /// Physical offset of the logical offset 0, bytes.
    pub base: usize,
    /// First logical byte.
    pub from: usize,
    /// One past the last logical byte.
    pub to: usize,
    /// Bytes in a run; not 0.
    pub data: usize,
    /// Bytes from the start of one run to the start of the next, at least `data`.
    pub stride: usize,
}

impl Spans {
    /// The physical range `r` as one run.
    #[must_use]
    pub const fn contiguous(r: Range<usize>) -> Spans {
        Spans {
            base: r.start,
            from: 0,
            to: r.end.saturating_sub(r.start),
            data: usize::MAX,
            stride: usize::MAX,
        }
    }

    /// The logical interval `[from, to)` in runs of `data` bytes every `stride` bytes from `base`.
    ///
    /// # Panics
    /// If `data` is 0 or greater than `stride`: a caller's bug, never a matter of input.
    #[must_use]
    pub const fn slots(base: usize, from: usize, to: usize, data: usize, stride: usize) -> Spans {
        assert!(
            data > 0 && data <= stride,
            "runs must not be empty or overlap"
        );
        Spans {
            base,
            from,
            to,
            data,
            stride,
        }
    }

    /// Logical bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.to.saturating_sub(self.from)
    }

    /// True when no byte is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    /// Drops the first `n` bytes, all of them when there are fewer.
    pub fn advance(&mut self, n: usize) {
        self.from = self.from.saturating_add(n).min(self.to.max(self.from));
    }

    /// The first `n` bytes, or all when there are fewer.
    #[must_use]
    pub fn prefix(&self, n: usize) -> Spans {
        Spans {
            to: self.to.min(self.from.saturating_add(n)),
            ..*self
        }
    }

    /// The physical ranges in logical order: no empty ones, and adjacent runs joined.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let mut rest = *self;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let run = rest.first();
            rest.from += run.len();
            Some(run)
        })
    }

    /// The first physical range; empty when nothing is left.
    #[must_use]
    pub fn first(&self) -> Range<usize> {
        if self.is_empty() {
            return self.base..self.base;
        }
        let within = self.from % self.data;
        let start = self.base + (self.from / self.data) * self.stride + within;
        // Runs without gaps between them are one run.
        let room = if self.data == self.stride {
            self.len()
        } else {
            self.data - within
        };
        start..start + self.len().min(room)
    }

    /// True when all bytes lie in one physical range, so that a plain `recv` or `send` does.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        self.first().len() == self.len()
    }

    /// One past the highest physical byte, 0 when empty.
    #[must_use]
    pub fn physical_end(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let last = self.to - 1;
        self.base + (last / self.data) * self.stride + last % self.data + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, byte by byte.
    fn naive(s: &Spans) -> Vec<usize> {
        (s.from..s.to)
            .map(|o| s.base + (o / s.data) * s.stride + o % s.data)
            .collect()
    }

    fn spans() -> impl Strategy<Value = Spans> {
        (0usize..50, 0usize..300, 0usize..300, 1usize..40, 0usize..20)
            .prop_map(|(base, from, to, data, gap)| Spans::slots(base, from, to, data, data + gap))
    }

    proptest! {
        #[test]
        fn ranges_are_the_definition(s in spans()) {
            let bytes: Vec<usize> = s.ranges().flatten().collect();
            prop_assert_eq!(&bytes, &naive(&s));
            prop_assert_eq!(bytes.len(), s.len());
            prop_assert_eq!(s.physical_end(), bytes.iter().max().map_or(0, |m| m + 1));
            prop_assert_eq!(s.is_contiguous(), s.ranges().count() <= 1);
            prop_assert_eq!(s.first(), s.ranges().next().unwrap_or(s.base..s.base));
            prop_assert!(s.ranges().all(|r| !r.is_empty()));
        }

        #[test]
        fn advancing_and_cutting_split_the_bytes(s in spans(), n in 0usize..320) {
            let all = naive(&s);
            let mut rest = s;
            rest.advance(n);
            let cut = n.min(all.len());
            prop_assert_eq!(naive(&rest), &all[cut..]);
            prop_assert_eq!(naive(&s.prefix(n)), &all[..cut]);
        }
    }

    #[test]
    fn contiguous_is_one_range() {
        let s = Spans::contiguous(7..107);
        assert_eq!(s.ranges().collect::<Vec<_>>(), vec![7..107]);
        assert_eq!(s.len(), 100);
        let mut s = s;
        s.advance(40);
        assert_eq!(s.first(), 47..107);
        s.advance(1000);
        assert!(s.is_empty());
        assert_eq!(s.ranges().count(), 0);
    }

    #[test]
    fn a_full_block_of_chunks_has_one_range_each() {
        let s = Spans::slots(56, 0, 64 * 16384, 16384, 16400);
        assert_eq!(s.ranges().count(), 64);
        assert_eq!(s.physical_end(), 56 + 63 * 16400 + 16384);
    }
}
