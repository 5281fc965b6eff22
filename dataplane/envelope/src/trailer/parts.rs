//! The list of parts of a multipart object, run-length coded.

use std::ops::Range;

use super::Trailer;
use crate::codec::Reader;
use crate::error::{DecodeError, LayoutError};
use crate::law::{MAX_PART_LEN, MAX_PARTS, MIN_PART_LEN, stream_len};

/// Parts with consecutive numbers and equal lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRun {
    /// The number of the first.
    pub first: u16,
    /// How many there are.
    pub count: u16,
    /// Plaintext bytes of each.
    pub len: u64,
}

/// One part of a multipart object, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, as uploaded.
    pub number: u16,
    /// Plaintext bytes.
    pub len: u64,
    /// Where its plaintext begins in the object's plaintext.
    pub plain_start: u64,
    /// Where its stream begins in the stored object.
    pub stream_start: u64,
}

impl Part {
    /// Its place in the object's plaintext.
    pub const fn plain_range(&self) -> Range<u64> {
        self.plain_start..self.plain_start + self.len
    }

    /// Its place in the stored object.
    pub const fn stream_range(&self) -> Range<u64> {
        self.stream_start..self.stream_start + stream_len(self.len)
    }
}

/// Legal parts: S3's rules hold for every value of this type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartList {
    runs: Vec<PartRun>,
    count: usize,
    plain_total: u64,
    stream_total: u64,
}

/// Set in the number of a run's first part when a count follows: part numbers stay below 2¹⁴.
const COUNTED: u16 = 0x8000;

impl PartList {
    /// Appends a run: to the last one, when it continues it.
    pub(super) fn push(&mut self, run: PartRun) -> Result<(), LayoutError> {
        let PartRun { first, count, len } = run;
        let out_of_order = LayoutError::PartOrder {
            number: first.into(),
        };
        let last_number = u64::from(first) + u64::from(count) - 1;
        if first == 0 || last_number > MAX_PARTS {
            return Err(out_of_order);
        }
        if len > MAX_PART_LEN {
            return Err(LayoutError::TooLarge { len });
        }
        if count > 1 && len < MIN_PART_LEN {
            return Err(LayoutError::PartTooSmall { number: first, len });
        }
        match self.runs.last_mut() {
            Some(PartRun {
                first: f,
                count: c,
                len,
            }) if *f + *c > first || *len < MIN_PART_LEN => {
                return Err(match *f + *c > first {
                    true => out_of_order,
                    false => LayoutError::PartTooSmall {
                        number: *f + *c - 1,
                        len: *len,
                    },
                });
            }
            Some(last) if last.first + last.count == first && last.len == len => {
                last.count += count
            }
            _ => self.runs.push(run),
        }
        // At most 10,000 parts of 5 GiB: no overflow.
        self.count += usize::from(count);
        self.plain_total += u64::from(count) * len;
        self.stream_total += u64::from(count) * stream_len(len);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn runs(&self) -> &[PartRun] {
        &self.runs
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn plain_total(&self) -> u64 {
        self.plain_total
    }

    pub(super) fn stream_total(&self) -> u64 {
        self.stream_total
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for PartRun { first, count, len } in &self.runs {
            out.extend((first | if *count > 1 { COUNTED } else { 0 }).to_be_bytes());
            // 48 bits: MAX_PART_LEN has 33.
            out.extend(&len.to_be_bytes()[2..]);
            if *count > 1 {
                out.extend(count.to_be_bytes());
            }
        }
    }

    /// Reads runs to the end. There is one encoding of given parts; others are refused.
    pub(super) fn decode(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let mut list = Self::default();
        while !reader.is_empty() {
            let number = reader.u16()?;
            let len = reader.u48()?;
            let count = if number & COUNTED != 0 {
                reader.u16()?
            } else {
                1
            };
            let undefined = DecodeError::UnknownValue {
                field: "part",
                value: number.into(),
            };
            if number & COUNTED != 0 && count < 2 {
                return Err(undefined);
            }
            let runs = list.runs.len();
            list.push(PartRun {
                first: number & !COUNTED,
                count,
                len,
            })
            .map_err(|_| undefined)?;
            if list.runs.len() == runs {
                return Err(undefined);
            }
        }
        Ok(list)
    }
}

/// The parts of a multipart object. A single PUT has none.
impl Trailer {
    /// How many parts the object has; 0 for a single PUT.
    pub fn part_count(&self) -> usize {
        self.parts.count()
    }

    /// The parts as they are coded: runs of equal parts.
    pub fn runs(&self) -> &[PartRun] {
        self.parts.runs()
    }

    /// Every part, in order.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.parts_from(0)
    }

    /// The part with a number, as uploaded.
    pub fn part(&self, number: u16) -> Option<Part> {
        let part = |(run, start): (&PartRun, Part)| {
            let index = number
                .checked_sub(run.first)
                .filter(|index| *index < run.count)?;
            Some(nth(run, &start, index))
        };
        self.run_starts().find_map(part)
    }

    /// The part in place `index`, from 0, whatever its number is.
    pub fn nth_part(&self, index: usize) -> Option<Part> {
        let mut before = 0;
        for (run, start) in self.run_starts() {
            let within = index - before;
            if within < usize::from(run.count) {
                return Some(nth(run, &start, within as u16));
            }
            before += usize::from(run.count);
        }
        None
    }

    /// The parts from the one that holds plaintext byte `offset` on.
    pub(crate) fn parts_from(&self, offset: u64) -> impl Iterator<Item = Part> + '_ {
        self.run_starts().flat_map(move |(run, start)| {
            // Skips by division: a run may have thousands of parts before the offset.
            let skipped = offset
                .saturating_sub(start.plain_start)
                .checked_div(run.len)
                .unwrap_or(0);
            let skipped = skipped.min(run.count.into()) as u16;
            (skipped..run.count).map(move |index| nth(run, &start, index))
        })
    }

    /// Each run with the place of its first part.
    fn run_starts(&self) -> impl Iterator<Item = (&PartRun, Part)> {
        let (mut plain_start, mut stream_start) = (0, 0);
        self.parts.runs().iter().map(move |run| {
            let start = Part {
                number: run.first,
                len: run.len,
                plain_start,
                stream_start,
            };
            plain_start += u64::from(run.count) * run.len;
            stream_start += u64::from(run.count) * stream_len(run.len);
            (run, start)
        })
    }
}

fn nth(run: &PartRun, start: &Part, index: u16) -> Part {
    Part {
        number: run.first + index,
        len: run.len,
        plain_start: start.plain_start + u64::from(index) * run.len,
        stream_start: start.stream_start + u64::from(index) * stream_len(run.len),
    }
}
