//! Searching this process's own memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use sealgate_aead::Secret;

/// What a needle is masked with, so that it is no copy of what it looks for.
const MASK: u8 = 0xA5;
const STEP: usize = 1 << 16;

/// 32 bytes to be found, kept masked: the search itself never assembles them outside its buffer.
pub(crate) struct Needle([u8; 32]);

impl Needle {
    /// Some bytes of its own for each seed.
    pub(crate) fn new(seed: u8) -> Self {
        Self(std::array::from_fn(|i| {
            (i as u8)
                .wrapping_mul(73)
                .wrapping_add(seed.wrapping_mul(31))
                ^ (i as u8 >> 2)
        }))
    }

    /// The first 32 of known bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(std::array::from_fn(|i| bytes[i] ^ MASK))
    }

    /// The bytes as a secret.
    #[inline(never)]
    pub(crate) fn secret(&self) -> Secret<32> {
        Secret::fill_with(|bytes| {
            for (byte, masked) in bytes.iter_mut().zip(&self.0) {
                *byte = masked ^ MASK;
            }
            Ok::<(), ()>(())
        })
        .unwrap_or_else(|()| unreachable!("the closure succeeds"))
    }

    /// Appends the bytes, one by one.
    pub(crate) fn push_to(&self, text: &mut Vec<u8>) {
        for masked in &self.0 {
            text.push(masked ^ MASK);
        }
    }

    /// Round keys 2 and 3 of AES-256 under these bytes (FIPS 197, 5.2), which only an expanded key holds.
    #[inline(never)]
    pub(crate) fn later_round_keys(&self) -> Self {
        let mut words = [[0_u8; 4]; 16];
        for (i, byte) in self.0.iter().enumerate() {
            words[i / 4][i % 4] = byte ^ MASK;
        }
        for i in 8..16 {
            let mut word = words[i - 1];
            if i == 8 {
                word.rotate_left(1);
            }
            if i % 4 == 0 {
                word = word.map(substitute);
            }
            if i == 8 {
                word[0] ^= 1;
            }
            words[i] = std::array::from_fn(|j| word[j] ^ words[i - 8][j]);
        }
        let needle = Self(std::array::from_fn(|i| words[8 + i / 4][i % 4] ^ MASK));
        words.fill([0; 4]);
        std::hint::black_box(&mut words);
        needle
    }

    /// Where the bytes are, in all memory that this process can write.
    pub(crate) fn find(&self) -> Vec<u64> {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut buffer = vec![0; STEP + 31];
        let own = buffer.as_ptr_range();
        let own = own.start as u64..own.end as u64;
        let mut found = Vec::new();
        for region in writable_regions() {
            for start in region.clone().step_by(STEP) {
                let len = (region.end - start).min(buffer.len() as u64) as usize;
                // Guard pages and the like cannot be read.
                let Ok(len) = memory.read_at(&mut buffer[..len], start) else {
                    continue;
                };
                let hits = buffer[..len]
                    .windows(32)
                    .enumerate()
                    .filter(|(_, window)| self.is(window));
                found.extend(
                    hits.map(|(at, _)| start + at as u64)
                        .filter(|at| !own.contains(at)),
                );
                buffer.fill(0);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn is(&self, window: &[u8]) -> bool {
        window
            .iter()
            .zip(&self.0)
            .all(|(byte, masked)| byte ^ MASK == *masked)
    }
}

/// The S-box (FIPS 197, 5.1.1): the inverse in GF(2^8), then an affine map.
fn substitute(byte: u8) -> u8 {
    let product = |mut a: u8, mut b: u8| {
        let mut sum = 0;
        while b != 0 {
            if b & 1 != 0 {
                sum ^= a;
            }
            a = (a << 1) ^ if a & 0x80 != 0 { 0x1b } else { 0 };
            b >>= 1;
        }
        sum
    };
    let inverse = (0..=255).find(|x| product(*x, byte) == 1).unwrap_or(0);
    (0..5).fold(0x63, |sum, n| sum ^ inverse.rotate_left(n))
}

fn regions() -> Vec<(Range<u64>, bool)> {
    let maps = BufReader::new(File::open("/proc/self/maps").unwrap());
    let region = |line: String| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let parse = |text| u64::from_str_radix(text, 16).ok();
        Some((parse(start)?..parse(end)?, rest.starts_with("rw")))
    };
    maps.lines()
        .map_while(Result::ok)
        .filter_map(region)
        .collect()
}

fn writable_regions() -> Vec<Range<u64>> {
    let writable = |(range, writable)| if writable { Some(range) } else { None };
    regions().into_iter().filter_map(writable).collect()
}

/// How much a search looks at.
pub(crate) fn searched_bytes() -> u64 {
    writable_regions().iter().map(|r| r.end - r.start).sum()
}

/// The kernel's flags of the region around an address (proc(5), VmFlags).
pub(crate) fn protection(at: u64) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in text.lines() {
        if let Some((start, end)) = line
            .split_once(' ')
            .and_then(|(range, _)| range.split_once('-'))
            && let (Ok(start), Ok(end)) =
                (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16))
        {
            inside = (start..end).contains(&at);
        } else if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    Vec::new()
}
