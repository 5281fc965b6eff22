//! Any range of the plaintext is where the arithmetic says.

use proptest::prelude::*;
use sealgate_envelope::ranges::chunk_run;
use sealgate_envelope::*;

use super::support::*;

/// Reads a run as a gateway does: whole chunks, opened in place, then cut to what was asked for.
fn open_run(opener: &StreamOpener, stream: &[u8], run: &ChunkRun) -> Vec<u8> {
    let mut bytes = stream[run.cipher.start as usize..run.cipher.end as usize].to_vec();
    let mut plaintext = Vec::new();
    let last = run.count - 1;
    for (slot, i) in bytes.chunks_mut(SLOT).zip(0..) {
        match run.ends_stream && i == last {
            true => opener.open_last(run.first + i, slot).unwrap(),
            false => opener.open_chunk(run.first + i, slot).unwrap(),
        }
        plaintext.extend(&slot[..slot.len() - TAG]);
    }
    assert_eq!(bytes.len().div_ceil(SLOT) as u64, run.count);
    plaintext[run.skip as usize..(run.skip + run.take) as usize].to_vec()
}

fn context(part_number: u16) -> StreamContext {
    StreamContext {
        object_id: OBJECT,
        part_number,
    }
}

proptest! {
    #[test]
    fn of_a_single_put(
        len in prop_oneof![1..100_000_usize, (1..5_usize, 0..3_usize).prop_map(|(n, d)| n * CHUNK + d - 1)],
        a: usize,
        b: usize,
    ) {
        let stored = single(len);
        let (start, end) = (a % len, b % len + 1);
        let range = start.min(end - 1)..end.max(start + 1);
        let run = chunk_run(len as u64, range.start as u64..range.end as u64).unwrap();
        let opener = StreamOpener::new(&dek(), &context(0), stored.body.first_chunk().unwrap()).unwrap();
        prop_assert!(open_run(&opener, &stored.body, &run) == stored.plaintext[range.clone()]);
        // No chunk is read for nothing.
        prop_assert!(run.skip < CHUNK as u64);
        prop_assert!(run.count <= range.len().div_ceil(CHUNK) as u64 + 1);
    }

    #[test]
    fn of_any_length(len in 1..law::MAX_PLAIN_LEN, a: u64, b: u64) {
        let (start, end) = (a % len, b % len + 1);
        let range = start.min(end - 1)..end.max(start + 1);
        let run = chunk_run(len, range.clone()).unwrap();
        let chunk = CHUNK as u64;
        prop_assert_eq!(run.first * chunk + run.skip, range.start);
        prop_assert_eq!(run.take, range.end - range.start);
        prop_assert_eq!(run.cipher.start, 56 + run.first * SLOT as u64);
        prop_assert!(run.cipher.end <= law::stream_len(len));
        prop_assert_eq!(run.ends_stream, run.cipher.end == law::stream_len(len));
        let chunks = run.cipher.end - run.cipher.start;
        prop_assert_eq!(chunks.div_ceil(SLOT as u64), run.count);
        prop_assert_eq!(run.ends_stream, !chunks.is_multiple_of(SLOT as u64));
    }

    #[test]
    fn of_many_parts(
        mut lengths in proptest::collection::vec(law::MIN_PART_LEN..law::MAX_PART_LEN, 1..50),
        last in 0..law::MAX_PART_LEN,
        equal: bool,
        a: u64,
        b: u64,
    ) {
        if equal {
            let first = lengths[0];
            lengths.fill(first);
        }
        lengths.push(last);
        let parts = lengths.iter().zip(1..).map(|(len, i)| (3 * i, *len));
        let consecutive = lengths.iter().zip(1..).map(|(len, i)| (i, *len));
        for trailer in [Trailer::multipart(parts, Checksums::none()), Trailer::multipart(consecutive, Checksums::none())] {
            let trailer = trailer.unwrap();
            let len = trailer.plain_len().0;
            let (start, end) = (a % len, b % len + 1);
            let range = start.min(end - 1)..end.max(start + 1);
            let pieces: Vec<_> = trailer.pieces(range.clone()).collect();
            let mut at = range.start;
            for (i, piece) in pieces.iter().enumerate() {
                let within = piece.run.first * CHUNK as u64 + piece.run.skip;
                prop_assert_eq!(piece.part.plain_start + within, at);
                at += piece.run.take;
                prop_assert_eq!(trailer.part(piece.part.number), Some(piece.part));
                prop_assert!(piece.includes_header() || i == 0);
                let object_range = piece.object_range();
                let header_start = piece.header_range().start;
                let after_header = object_range.start - header_start;
                let together = piece.includes_header();
                prop_assert!((together && after_header == 0) || (!together && after_header > 56));
                if let Some(next) = pieces.get(i + 1) {
                    prop_assert_eq!(object_range.end, next.object_range().start);
                }
            }
            prop_assert_eq!(at, range.end);
        }
    }
}

#[test]
fn of_several_parts() {
    let stored = several_parts();
    let trailer = Trailer::open(
        &dek(),
        &OBJECT,
        CipherLen(stored.body.len() as u64),
        &stored.body,
    )
    .unwrap();
    let len = stored.plaintext.len();
    let edges: Vec<usize> = [0, 5 * MIB, 10 * MIB, 15 * MIB + 100, len]
        .into_iter()
        .flat_map(|edge| {
            [
                edge.saturating_sub(CHUNK),
                edge.saturating_sub(1),
                edge,
                edge + 1,
                edge + CHUNK + 1,
            ]
        })
        .filter(|edge| *edge <= len)
        .collect();
    for (start, end) in edges
        .iter()
        .flat_map(|start| edges.iter().map(|end| (*start, *end)))
    {
        let mut read = Vec::new();
        for piece in trailer.pieces(start as u64..end as u64) {
            let stream = &stored.body
                [piece.part.stream_range().start as usize..piece.part.stream_range().end as usize];
            let header = &stored.body
                [piece.header_range().start as usize..piece.header_range().end as usize];
            let opener = StreamOpener::new(
                &dek(),
                &context(piece.part.number),
                header.try_into().unwrap(),
            )
            .unwrap();
            read.extend(open_run(&opener, stream, &piece.run));
        }
        assert!(
            read == stored.plaintext[start..end.max(start)],
            "{start}..{end}"
        );
    }
}

#[test]
#[allow(clippy::reversed_empty_ranges)]
fn of_nothing() {
    for (len, range) in [
        (0, 0..0),
        (0, 0..1),
        (10, 3..3),
        (10, 10..10),
        (10, 5..11),
        (10, 7..3),
        (10, u64::MAX..u64::MAX),
    ] {
        assert_eq!(chunk_run(len, range.clone()), None, "{range:?} of {len}");
        let trailer = Trailer::multipart([(1, len)], Checksums::none()).unwrap();
        assert_eq!(trailer.pieces(range).count(), 0);
    }
}

#[test]
fn a_range_up_to_the_end_includes_the_empty_last_chunk() {
    let len = 2 * CHUNK as u64;
    let run = chunk_run(len, 0..len).unwrap();
    assert_eq!((run.count, run.ends_stream), (3, true));
    assert_eq!(run.cipher.end, law::stream_len(len));
    let run = chunk_run(len, 0..len - 1).unwrap();
    assert_eq!((run.count, run.ends_stream), (2, false));
}
