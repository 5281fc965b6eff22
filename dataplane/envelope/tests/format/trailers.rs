//! Trailers: what they hold, what they refuse, and how they are written and checked in pieces.

use proptest::prelude::*;
use sealgate_envelope::law::{MAX_PART_LEN, MIN_PART_LEN};
use sealgate_envelope::*;

use super::support::{OBJECT, dek};

/// A checksum of every algorithm, or all that a multipart trailer has room for.
pub(crate) fn most_checksums() -> Checksums {
    let mut checksums = Checksums::none();
    for (i, algorithm) in ChecksumAlgorithm::ALL.into_iter().enumerate().rev() {
        let value = vec![i as u8; algorithm.value_len()];
        checksums.insert(Checksum {
            algorithm,
            composite: i % 2 == 1,
            value,
        });
    }
    checksums
}

fn reopen(trailer: &Trailer) -> Trailer {
    let bytes = trailer.seal(&dek(), &OBJECT, [7; 12]).into_vec();
    assert_eq!(bytes.len() as u64, trailer.len());
    Trailer::open(&dek(), &OBJECT, trailer.object_len(), &bytes).unwrap()
}

#[test]
fn a_small_single_put_holds_every_checksum_in_136_bytes() {
    for len in [0, 1, 16_384, MIN_PART_LEN - 1] {
        let trailer = Trailer::single(PlainLen(len), most_checksums()).unwrap();
        assert_eq!(trailer.len(), 136);
        let opened = reopen(&trailer);
        assert_eq!(opened, trailer);
        assert!(opened.is_single());
        assert_eq!(opened.checksums().iter().count(), 6);
        assert_eq!(
            opened
                .checksums()
                .find(ChecksumAlgorithm::Sha256)
                .unwrap()
                .value,
            [4; 32]
        );
        assert_eq!(
            (opened.part_count(), opened.part(1), opened.nth_part(0)),
            (0, None, None)
        );
    }
}

#[test]
fn a_multipart_trailer_has_no_md5() {
    let trailer = Trailer::multipart([(1, 5)], most_checksums()).unwrap();
    assert_eq!(trailer.len(), 136);
    let opened = reopen(&trailer);
    assert!(!opened.is_single());
    assert_eq!(opened.checksums().iter().count(), 5);
    assert_eq!(opened.checksums().find(ChecksumAlgorithm::Md5), None);
    assert!(
        opened
            .checksums()
            .find(ChecksumAlgorithm::Crc32c)
            .unwrap()
            .composite
    );
}

#[test]
fn the_last_checksum_of_an_algorithm_counts() {
    let mut checksums = most_checksums();
    let crc = Checksum {
        algorithm: ChecksumAlgorithm::Crc32,
        composite: false,
        value: vec![9; 4],
    };
    checksums.insert(crc.clone());
    assert_eq!(checksums.iter().count(), 6);
    assert_eq!(checksums.find(ChecksumAlgorithm::Crc32), Some(&crc));
}

#[test]
fn parts_that_break_the_rules_of_s3_are_refused() {
    let multipart = |parts: &[(u16, u64)]| {
        Trailer::multipart(parts.iter().copied(), Checksums::none()).map(drop)
    };
    let min = MIN_PART_LEN;
    assert_eq!(multipart(&[]), Err(LayoutError::NoParts));
    assert_eq!(
        multipart(&[(0, 1)]),
        Err(LayoutError::PartOrder { number: 0 })
    );
    assert_eq!(
        multipart(&[(10_001, 1)]),
        Err(LayoutError::PartOrder { number: 10_001 })
    );
    assert_eq!(
        multipart(&[(u16::MAX, 1)]),
        Err(LayoutError::PartOrder { number: 65_535 })
    );
    assert_eq!(
        multipart(&[(2, min), (2, min)]),
        Err(LayoutError::PartOrder { number: 2 })
    );
    assert_eq!(
        multipart(&[(3, min), (2, min)]),
        Err(LayoutError::PartOrder { number: 2 })
    );
    let small = LayoutError::PartTooSmall {
        number: 2,
        len: min - 1,
    };
    assert_eq!(multipart(&[(1, min), (2, min - 1), (3, min)]), Err(small));
    assert_eq!(multipart(&[(2, min - 1), (3, min - 1)]), Err(small));
    assert_eq!(
        multipart(&[(1, MAX_PART_LEN + 1)]),
        Err(LayoutError::TooLarge {
            len: MAX_PART_LEN + 1
        })
    );
    assert_eq!(multipart(&[(1, min), (2, 0)]), Ok(()));
    assert_eq!(multipart(&[(10_000, MAX_PART_LEN)]), Ok(()));
    let whole = Trailer::single(PlainLen(MAX_PART_LEN + 1), Checksums::none());
    assert_eq!(
        whole,
        Err(LayoutError::TooLarge {
            len: MAX_PART_LEN + 1
        })
    );
}

#[test]
fn parts_are_found_by_number_and_by_place() {
    let min = MIN_PART_LEN;
    let trailer = Trailer::multipart(
        [(1, min), (2, min), (3, min), (7, min), (8, min + 1), (9, 3)],
        Checksums::none(),
    )
    .unwrap();
    assert_eq!(trailer.runs().len(), 4);
    let all: Vec<_> = trailer.parts().collect();
    let (mut plain, mut stored) = (0, 0);
    for (i, part) in all.iter().enumerate() {
        assert_eq!((part.plain_start, part.stream_start), (plain, stored));
        assert_eq!(trailer.nth_part(i), Some(*part));
        assert_eq!(trailer.part(part.number), Some(*part));
        plain = part.plain_range().end;
        stored = part.stream_range().end;
    }
    assert_eq!(
        (plain, stored),
        (trailer.plain_len().0, trailer.streams_total())
    );
    assert_eq!(
        all.iter().map(|part| part.number).collect::<Vec<_>>(),
        [1, 2, 3, 7, 8, 9]
    );
    for absent in [0, 4, 6, 10, u16::MAX] {
        assert_eq!(trailer.part(absent), None);
    }
    assert_eq!(trailer.nth_part(6), None);
}

#[test]
fn a_trailer_opens_only_where_it_belongs() {
    let trailer = Trailer::single(PlainLen(10), Checksums::none()).unwrap();
    let bytes = trailer.seal(&dek(), &OBJECT, [7; 12]).into_vec();
    let object_len = trailer.object_len();
    assert!(Trailer::open(&dek(), &OBJECT, object_len, &bytes).is_ok());
    assert_eq!(
        Trailer::open(&dek(), &ObjectId([0; 16]), object_len, &bytes),
        Err(Tampered)
    );
    assert_eq!(
        Trailer::open(&dek(), &OBJECT, CipherLen(object_len.0 + 1), &bytes),
        Err(Tampered)
    );
    let other = Dek::new(sealgate_aead::Secret::new([0; 32]));
    assert_eq!(
        Trailer::open(&other, &OBJECT, object_len, &bytes),
        Err(Tampered)
    );
    let sealed = Trailer::sealed_len(bytes.last_chunk().unwrap()).unwrap();
    assert!(Trailer::open(&dek(), &OBJECT, object_len, &bytes[bytes.len() - sealed..]).is_ok());
    assert_eq!(
        Trailer::open(
            &dek(),
            &OBJECT,
            object_len,
            &bytes[bytes.len() - sealed + 1..]
        ),
        Err(Tampered)
    );
    assert_eq!(
        Trailer::open(&dek(), &OBJECT, object_len, &bytes[..7]),
        Err(Tampered)
    );
    for tail in [
        *b"SGT\x02\0\0\0\x2a",
        *b"XGT\x01\0\0\0\x2a",
        *b"SGT\x01\0\0\0\x05",
        *b"SGT\x01\xff\xff\xff\xff",
    ] {
        assert_eq!(Trailer::sealed_len(&tail), Err(Tampered));
    }
}

/// Another list, which is genuine but not what the reader was told by the envelope or the first suffix read.
#[test]
fn a_verifier_wants_the_very_trailer_it_expects() {
    let seal = |trailer: &Trailer| trailer.seal(&dek(), &OBJECT, [7; 12]).into_vec();
    let single = Trailer::single(PlainLen(5), Checksums::none()).unwrap();
    let part = Trailer::multipart([(1, 5)], Checksums::none()).unwrap();
    let other_part = Trailer::multipart([(2, 5)], Checksums::none()).unwrap();
    let check = |mut verifier: TrailerVerifier, bytes: &[u8]| {
        verifier.push(bytes)?;
        verifier.finish(&dek(), &OBJECT)
    };
    let single_verifier = || TrailerVerifier::single(PlainLen(5)).unwrap();
    assert_eq!(check(single_verifier(), &seal(&single)), Ok(single.clone()));
    assert_eq!(check(single_verifier(), &seal(&part)), Err(Tampered));
    assert_eq!(
        check(TrailerVerifier::multipart(&part), &seal(&part)),
        Ok(part.clone())
    );
    assert_eq!(
        check(TrailerVerifier::multipart(&part), &seal(&other_part)),
        Err(Tampered)
    );
    assert_eq!(
        check(TrailerVerifier::multipart(&part), &seal(&single)),
        Err(Tampered)
    );
    assert!(TrailerVerifier::single(PlainLen(MAX_PART_LEN + 1)).is_err());

    let bytes = seal(&single);
    assert_eq!(
        check(single_verifier(), &bytes[1..]),
        Err(Tampered),
        "too few"
    );
    assert_eq!(
        check(single_verifier(), &[bytes.clone(), vec![0]].concat()),
        Err(Tampered),
        "too many"
    );
    let mut broken = single_verifier();
    assert_eq!(broken.push(&[0; 137]), Err(Tampered));
    assert_eq!(broken.push(&[]), Err(Tampered), "it stays broken");
}

proptest! {
    #[test]
    fn written_and_verified_in_any_pieces(
        len in 0..40_000_000_u64,
        multi: bool,
        pieces in proptest::collection::vec(1..700_usize, 1..20),
    ) {
        let parts = [(1, MIN_PART_LEN.max(len)), (2, len % 1000)];
        let trailer = match multi {
            true => Trailer::multipart(parts, most_checksums()).unwrap(),
            false => Trailer::single(PlainLen(len), most_checksums()).unwrap(),
        };
        let mut writer = trailer.seal(&dek(), &OBJECT, [8; 12]);
        let whole = writer.clone().into_vec();
        let mut verifier = match multi {
            true => TrailerVerifier::multipart(&trailer),
            false => TrailerVerifier::single(PlainLen(len)).unwrap(),
        };
        let mut written: Vec<u8> = Vec::new();
        for size in pieces.into_iter().cycle() {
            let mut piece = vec![0xEE; size];
            let n = writer.fill(&mut piece);
            verifier.push(&piece[..n]).unwrap();
            written.extend(&piece[..n]);
            prop_assert_eq!(verifier.remaining(), writer.remaining());
            if n < size {
                break;
            }
        }
        prop_assert!(written == whole);
        prop_assert_eq!(verifier.finish(&dek(), &OBJECT).unwrap(), trailer);
    }
}
