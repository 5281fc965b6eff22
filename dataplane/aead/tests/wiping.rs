//! Keys leave no copy in memory: the test searches all writable memory of its own process for the key while
//! it is in use, and looks at the same addresses again after it was dropped.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use sealgate_aead::{Aes256Gcm, Library, Secret};

const MASK: u8 = 0xA5;
const STEP: usize = 1 << 16;

/// Finds where 32 bytes are that, masked, are `masked`. They are never assembled by the search itself,
/// except in its buffer, which is searched for no key.
fn find(masked: &[u8; 32]) -> Vec<u64> {
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
                .filter(|(_, window)| is_key(window, masked));
            found.extend(
                hits.map(|(at, _)| start + at as u64)
                    .filter(|at| !own.contains(at)),
            );
            buffer.fill(0);
        }
    }
    found.sort();
    found.dedup();
    found
}

fn is_key(window: &[u8], masked: &[u8; 32]) -> bool {
    window
        .iter()
        .zip(masked)
        .all(|(byte, masked)| byte ^ MASK == *masked)
}

fn writable_regions() -> Vec<Range<u64>> {
    let maps = BufReader::new(File::open("/proc/self/maps").unwrap());
    let region = |line: String| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let parse = |text| u64::from_str_radix(text, 16).ok();
        rest.starts_with("rw").then_some(parse(start)?..parse(end)?)
    };
    maps.lines()
        .map_while(Result::ok)
        .filter_map(region)
        .collect()
}

/// The addresses in `found` that still hold the key.
fn still_there(found: &[u64], masked: &[u8; 32]) -> Vec<u64> {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut window = [0; 32];
    let holds =
        |at: &u64| memory.read_exact_at(&mut window, *at).is_ok() && is_key(&window, masked);
    found.iter().copied().filter(holds).collect()
}

/// Whether an address is in the stack of this thread, where copies that the compiler spilled are no one's.
fn on_stack(at: u64) -> bool {
    let here = &raw const at as u64;
    at.abs_diff(here) < 2 << 20
}

fn masked_key(seed: u8) -> [u8; 32] {
    std::array::from_fn(|i| (i as u8).wrapping_mul(73).wrapping_add(seed))
}

#[inline(never)]
fn secret(masked: &[u8; 32]) -> Secret<32> {
    Secret::fill_with(|bytes| {
        bytes
            .iter_mut()
            .zip(masked)
            .for_each(|(byte, masked)| *byte = masked ^ MASK);
        Ok::<(), ()>(())
    })
    .unwrap_or_else(|()| unreachable!("the closure succeeds"))
}

/// One test: two at once would allocate what the other one freed.
#[test]
fn dropped_keys_are_gone_from_memory() {
    for (seed, library) in [(11, Library::AwsLc), (97, Library::Ring)] {
        let masked = masked_key(seed);
        let key = secret(&masked);
        let alone = find(&masked);
        let cipher = Aes256Gcm::with_library(library, &key);
        // An AES-256 key schedule begins with the key itself.
        let with_schedule: Vec<u64> = find(&masked)
            .into_iter()
            .filter(|at| !on_stack(*at))
            .collect();
        let in_use = with_schedule
            .iter()
            .filter(|at| !alone.contains(at))
            .count();
        assert!(
            in_use >= 1,
            "{library}: the key schedule was not found, so the search shows nothing"
        );

        drop(cipher);
        let left = still_there(&with_schedule, &masked);
        assert!(
            left.iter().all(|at| alone.contains(at)),
            "{library}: the key schedule is still in memory"
        );
        assert!(!left.is_empty(), "the secret itself lives on");
        drop(key);
        assert_eq!(
            still_there(&with_schedule, &masked),
            [],
            "{library}: the secret is still in memory"
        );
    }
}
