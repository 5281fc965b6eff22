//! Where one read puts the bytes of a body that is framed: payload into a block, framing beside it.

use std::ops::Range;

use crate::Spans;

/// Most turns of a [`Weave`]: bounds the iovecs of a read, and what it takes to keep one.
const TURNS: usize = 20;

/// Framing and the payload behind it.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Turn {
    /// Bytes of framing: they go aside.
    pub aside: usize,
    /// Bytes of payload: they go into the block.
    pub payload: usize,
}

/// A plan for one read: turns of framing, appended to a vector, and payload, put into the spans of a block, in the
/// order in which the bytes are expected on the wire. Where the plan is wrong, [`Weave::unweave`] gives the bytes
/// as they came.
#[derive(Clone, Debug)]
pub struct Weave {
    spans: Spans,
    turns: [Turn; TURNS],
    count: usize,
    payload: usize,
    aside: usize,
}

/// A run of bytes in the order of the wire.
pub(crate) enum Piece {
    /// So many go aside, behind those that went there before.
    Aside(usize),
    /// These of the block.
    Block(Range<usize>),
}

impl Piece {
    pub(crate) fn len(&self) -> usize {
        match self {
            Piece::Aside(n) => *n,
            Piece::Block(range) => range.len(),
        }
    }
}

impl Weave {
    /// No turns yet; `spans` are the place of the payload.
    #[must_use]
    pub const fn new(spans: Spans) -> Weave {
        Weave {
            spans,
            turns: [Turn {
                aside: 0,
                payload: 0,
            }; TURNS],
            count: 0,
            payload: 0,
            aside: 0,
        }
    }

    /// Adds a turn as far as there is room for it; false when there is none for another.
    pub fn push(&mut self, aside: usize, payload: usize) -> bool {
        if self.count == TURNS || self.is_full() {
            return false;
        }
        let payload = payload.min(self.spans.len() - self.payload);
        self.turns[self.count] = Turn { aside, payload };
        self.count += 1;
        self.payload += payload;
        self.aside += aside;
        self.count < TURNS && !self.is_full()
    }

    /// The turns, in order.
    #[must_use]
    pub fn turns(&self) -> &[Turn] {
        &self.turns[..self.count]
    }

    /// Where the payload goes.
    #[must_use]
    pub fn spans(&self) -> Spans {
        self.spans.prefix(self.payload)
    }

    /// Bytes that go aside when all come.
    #[must_use]
    pub fn aside(&self) -> usize {
        self.aside
    }

    /// Bytes that are asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.aside + self.payload
    }

    /// True when nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes `of` of a read, numbered as they came, of which `aside` holds those that went aside.
    #[must_use]
    pub fn unweave(&self, block: &[u8], aside: &[u8], of: Range<usize>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(of.len());
        let (mut at, mut aside) = (0, aside);
        for piece in self.pieces() {
            let n = piece.len().min(of.end - at);
            let came = match piece {
                Piece::Aside(_) => {
                    let (came, rest) = aside.split_at(n);
                    aside = rest;
                    came
                }
                Piece::Block(range) => &block[range.start..range.start + n],
            };
            bytes.extend_from_slice(&came[of.start.saturating_sub(at).min(n)..]);
            at += n;
        }
        bytes
    }

    fn is_full(&self) -> bool {
        self.payload == self.spans.len()
    }

    /// How many of the first `n` bytes go aside.
    pub(crate) fn aside_of(&self, n: usize) -> usize {
        let (mut left, mut aside) = (n, 0);
        for turn in self.turns() {
            let now = turn.aside.min(left);
            aside += now;
            left = left.saturating_sub(turn.aside + turn.payload);
        }
        aside
    }

    /// The runs in the order of the wire, no empty ones.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let mut spans = self.spans;
        self.turns().iter().flat_map(move |turn| {
            let payload = spans.prefix(turn.payload);
            spans.advance(turn.payload);
            let aside = (turn.aside > 0).then_some(Piece::Aside(turn.aside));
            aside.into_iter().chain(payload.ranges().map(Piece::Block))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weaves() -> impl Strategy<Value = Weave> {
        let spans = (0usize..50, 0usize..40, 1usize..300, 1usize..40, 0usize..20).prop_map(
            |(base, from, len, data, gap)| Spans::slots(base, from, from + len, data, data + gap),
        );
        let turns = proptest::collection::vec((0usize..12, 0usize..60), 0..2 * TURNS);
        (spans, turns).prop_map(|(spans, turns)| {
            let mut weave = Weave::new(spans);
            let mut more = true;
            for (aside, payload) in turns {
                let had = weave.len();
                let pushed = weave.push(aside, payload);
                assert!(
                    more || (!pushed && weave.len() == had),
                    "it said there was no room"
                );
                more = pushed;
            }
            weave
        })
    }

    proptest! {
        #[test]
        fn bytes_come_back_as_they_came(weave in weaves(), got in 0usize..400, from in 0usize..400) {
            let got = got.min(weave.len());
            let from = from.min(got);
            let wire: Vec<u8> = (0..got).map(|i| (i % 251) as u8).collect();
            let (mut block, mut aside) = (vec![0xee; 8000], Vec::new());
            let mut rest = &wire[..];
            for piece in weave.pieces() {
                let (now, later) = rest.split_at(piece.len().min(rest.len()));
                rest = later;
                match piece {
                    Piece::Aside(_) => aside.extend_from_slice(now),
                    Piece::Block(range) => block[range.start..range.start + now.len()].copy_from_slice(now),
                }
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(aside.len(), weave.aside_of(got));
            prop_assert_eq!(weave.unweave(&block, &aside, from..got), &wire[from..]);
        }

        #[test]
        fn no_payload_beyond_the_spans(weave in weaves()) {
            let block: usize = weave.pieces().map(|p| match p { Piece::Block(r) => r.len(), Piece::Aside(_) => 0 }).sum();
            prop_assert_eq!(block, weave.spans().len());
            prop_assert_eq!(block + weave.aside(), weave.len());
            prop_assert_eq!(weave.turns().iter().map(|t| t.payload).sum::<usize>(), block);
            prop_assert!(weave.pieces().all(|p| p.len() > 0));
        }
    }
}
