//! The size law: exact for everything that can be stored, and invertible.

use proptest::prelude::*;
use sealgate_envelope::law::*;
use sealgate_envelope::trailer::MAX_SEALED_LEN;
use sealgate_envelope::*;

const TIB: u64 = 1 << 40;

/// The law as `docs/format.md` writes it.
fn by_the_letter(plain: u128) -> u128 {
    let parts = std::cmp::min(10_000, plain / 5_242_880 + 1);
    plain + 16 * (plain / 16_384) + 80 * parts + 128
}

/// Lengths of every magnitude, and those next to a multiple of a chunk or of 5 MiB.
fn plain_len() -> impl Strategy<Value = u64> {
    let any_magnitude = (0..46_u32, any::<u64>()).prop_map(|(bits, n)| n % (2 << bits));
    let edge = |unit: u64| {
        (0..MAX_PLAIN_LEN / unit, 0..3_u64).prop_map(move |(n, d)| (n * unit + d).saturating_sub(1))
    };
    prop_oneof![
        any_magnitude,
        edge(CHUNK as u64),
        edge(MIN_PART_LEN),
        edge(16 * MIN_PART_LEN)
    ]
    .prop_map(|len| len.min(MAX_PLAIN_LEN))
}

/// Listings know one length more, which no other layout than a marker's has.
#[test]
fn nothing_stored_is_listed_as_nothing() {
    assert_eq!(listed_plain_len(CipherLen(0)), Some(PlainLen(0)));
    assert_eq!(object_plain_len(CipherLen(0)), None);
    for cipher in 1..208 {
        assert_eq!(listed_plain_len(CipherLen(cipher)), None);
    }
}

fn check(plain: u64) -> Result<(), TestCaseError> {
    let cipher = object_cipher_len(PlainLen(plain));
    prop_assert_eq!(u128::from(cipher.0), by_the_letter(plain.into()));
    prop_assert_eq!(object_plain_len(cipher), Some(PlainLen(plain)));
    prop_assert_eq!(listed_plain_len(cipher), Some(PlainLen(plain)));
    if plain < MAX_PLAIN_LEN {
        let next = object_cipher_len(PlainLen(plain + 1));
        prop_assert!(next > cipher);
        for between in cipher.0 + 1..next.0 {
            prop_assert_eq!(object_plain_len(CipherLen(between)), None);
        }
    }
    prop_assert_eq!(stream_plain_len(stream_len(plain)), Some(plain));
    Ok(())
}

#[test]
fn every_small_length() {
    (0..70_000)
        .chain(MIN_PART_LEN - 20_000..MIN_PART_LEN + 20_000)
        .for_each(|plain| check(plain).unwrap());
}

#[test]
fn the_edges() {
    for plain in [
        MAX_PLAIN_LEN,
        MAX_PLAIN_LEN - 1,
        5 * TIB,
        5 * TIB - 1,
        9_999 * MIN_PART_LEN,
        10_000 * MIN_PART_LEN,
    ] {
        check(plain).unwrap();
        check(plain - 1).unwrap();
    }
    assert_eq!(object_cipher_len(PlainLen(0)), CipherLen(208));
    assert_eq!(object_plain_len(CipherLen(207)), None);
    assert_eq!(object_plain_len(CipherLen(0)), None);
    assert_eq!(object_plain_len(CipherLen(MAX_CIPHER_LEN + 1)), None);
    assert_eq!(object_plain_len(CipherLen(u64::MAX)), None);
    for short in 0..72 {
        assert_eq!(stream_plain_len(short), None);
    }
    for cut in 0..TAG as u64 {
        assert_eq!(
            stream_plain_len(72 + CHUNK as u64 + cut),
            None,
            "a full chunk and part of a tag"
        );
    }
    // 0.1 % is what the format promises.
    assert!(object_cipher_len(PlainLen(5 * TIB)).0 < 5 * TIB + 5 * TIB / 1000);
    assert!(object_cipher_len(PlainLen(1 << 30)).0 < (1 << 30) + (1 << 30) / 1000);
}

/// Legal parts: numbers with gaps, lengths in runs or all different, at most 5 TiB in all.
fn legal_parts() -> impl Strategy<Value = Vec<(u16, u64)>> {
    let count = prop_oneof![1..20_usize, 1..2_000_usize, 9_990..=10_000_usize];
    let longest = prop_oneof![Just(MIN_PART_LEN), MIN_PART_LEN..=MAX_PART_LEN];
    (count, longest, any::<u64>(), any::<bool>()).prop_map(|(count, longest, seed, alike)| {
        let longest = longest.min(5 * TIB / count as u64).max(MIN_PART_LEN);
        let mut random = seed;
        let mut next = move || {
            // Any sequence will do (Knuth's MMIX).
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            random >> 33
        };
        let mut spare = MAX_PARTS as usize - count;
        let mut number = 0;
        let mut parts: Vec<_> = (0..count)
            .map(|_| {
                let gap = if spare > 0 && next() % 3 == 0 {
                    next() as usize % spare.min(9)
                } else {
                    0
                };
                spare -= gap;
                number += 1 + gap as u16;
                let len = MIN_PART_LEN + next() % (longest - MIN_PART_LEN + 1);
                (
                    number,
                    if alike && next() % 7 != 0 {
                        longest
                    } else {
                        len
                    },
                )
            })
            .collect();
        parts.last_mut().unwrap().1 = next() % (longest + 1);
        parts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn exact_and_invertible(plain in plain_len()) {
        check(plain)?;
    }

    #[test]
    fn only_the_image_is_inverted(cipher in 0..MAX_CIPHER_LEN) {
        if let Some(plain) = object_plain_len(CipherLen(cipher)) {
            prop_assert_eq!(object_cipher_len(plain).0, cipher);
        }
        if let Some(plain) = stream_plain_len(cipher) {
            prop_assert_eq!(stream_len(plain), cipher);
        }
    }

    #[test]
    fn every_single_put_has_the_lawful_size(plain in plain_len().prop_map(|len| len.min(MAX_PART_LEN))) {
        let trailer = Trailer::single(PlainLen(plain), Checksums::none()).unwrap();
        prop_assert_eq!(trailer.streams_total(), stream_len(plain));
        prop_assert_eq!(stream_len(plain) + trailer.len(), object_cipher_len(PlainLen(plain)).0);
        prop_assert!(plain >= MIN_PART_LEN || trailer.len() == 136);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_multipart_layout_has_the_lawful_size(parts in legal_parts()) {
        let plain: u64 = parts.iter().map(|(_, len)| len).sum();
        prop_assert!(plain <= 5 * TIB + MIN_PART_LEN * MAX_PARTS);
        let streams: u64 = parts.iter().map(|(_, len)| stream_len(*len)).sum();
        let trailer = Trailer::multipart(parts.iter().copied(), super::trailers::most_checksums()).unwrap();
        prop_assert_eq!(trailer.plain_len(), PlainLen(plain));
        prop_assert_eq!(trailer.streams_total(), streams);
        prop_assert_eq!(streams + trailer.len(), object_cipher_len(PlainLen(plain)).0);
        prop_assert!(trailer.len() >= 8 * parts.len() as u64 + 128);
        prop_assert_eq!(trailer_len(PlainLen(plain), streams), Some(trailer.len()));

        // The list fits, with every checksum, and comes back.
        let (dek, object) = (super::support::dek(), super::support::OBJECT);
        let writer = trailer.seal(&dek, &object, [1; 12]);
        prop_assert_eq!(writer.remaining(), trailer.len());
        let bytes = writer.into_vec();
        let sealed_len = Trailer::sealed_len(bytes.last_chunk().unwrap()).unwrap();
        prop_assert!(sealed_len <= 8 * parts.len() + 128 && sealed_len <= MAX_SEALED_LEN);
        let suffix = &bytes[bytes.len() - sealed_len..];
        let opened = Trailer::open(&dek, &object, trailer.object_len(), suffix).unwrap();
        prop_assert_eq!(&opened, &trailer);
        prop_assert!(opened.parts().map(|part| (part.number, part.len)).eq(parts.iter().copied()));
    }
}
