//! No byte of a stored object can change, and none can be missing, without being noticed.

use sealgate_envelope::law::object_plain_len;
use sealgate_envelope::whole::open;
use sealgate_envelope::*;

use super::support::*;

fn opens(stored: &Stored, body: &[u8]) -> bool {
    open(&dek(), &stored.envelope, body).is_ok()
}

fn flip_every_bit(stored: &mut Stored, bytes: impl Iterator<Item = usize>) {
    for at in bytes {
        for bit in 0..8 {
            stored.body[at] ^= 1 << bit;
            assert!(!opens(stored, &stored.body), "bit {bit} of byte {at}");
            stored.body[at] ^= 1 << bit;
        }
    }
}

#[test]
fn genuine_objects_open() {
    for len in [
        0,
        1,
        300,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        5 * MIB - 1,
        5 * MIB,
        6 * MIB,
    ] {
        let stored = single(len);
        assert_eq!(
            object_plain_len(CipherLen(stored.body.len() as u64)),
            Some(PlainLen(len as u64))
        );
        let (plaintext, trailer) = open(&dek(), &stored.envelope, &stored.body).unwrap();
        assert!(plaintext == stored.plaintext && trailer.is_single());
    }
    for parts in [
        vec![(1, 0)],
        vec![(10_000, 1)],
        vec![(1, 5 * MIB), (2, 0)],
        vec![(3, 6 * MIB), (9, 9)],
    ] {
        let stored = multipart(&parts);
        let (plaintext, trailer) = open(&dek(), &stored.envelope, &stored.body).unwrap();
        assert!(plaintext == stored.plaintext && trailer.part_count() == parts.len());
    }
    let stored = several_parts();
    let (plaintext, trailer) = open(&dek(), &stored.envelope, &stored.body).unwrap();
    assert!(plaintext == stored.plaintext);
    let parts: Vec<_> = trailer
        .parts()
        .map(|part| (part.number, part.len as usize))
        .collect();
    assert_eq!(
        parts,
        [(1, 5 * MIB), (2, 5 * MIB), (7, 5 * MIB + 100), (9, 20_000)]
    );
}

/// All bits and all cuts, in objects of no byte, of one chunk, and of a full chunk with an empty one.
#[test]
fn small_objects_of_either_layout() {
    let small = [
        single(0),
        single(1),
        single(300),
        multipart(&[(1, 0)]),
        multipart(&[(4, 300)]),
    ];
    for mut stored in small {
        let len = stored.body.len();
        flip_every_bit(&mut stored, 0..len);
        for cut in 0..len {
            assert!(
                !opens(&stored, &stored.body[..cut]),
                "cut at {cut} of {len}"
            );
        }
        for longer in 1..300 {
            let longer = [stored.body.as_slice(), &vec![0; longer]].concat();
            assert!(!opens(&stored, &longer));
        }
    }
    let mut stored = single(CHUNK);
    let len = stored.body.len();
    flip_every_bit(&mut stored, (0..100).chain(CHUNK - 100..len));
    flip_every_bit(&mut stored, (100..CHUNK - 100).step_by(97));
    for cut in 0..len {
        assert!(!opens(&stored, &stored.body[..cut]), "cut at {cut}");
    }
}

/// A folder marker has no body: not a byte of one is taken, not even of a genuine empty object; and no other object is
/// taken for one when its body is gone.
#[test]
fn markers_have_no_body() {
    for checksum in [None, Some(ChecksumAlgorithm::Sha256)] {
        let marker = marker(checksum);
        let (plaintext, trailer) = open(&dek(), &marker.envelope, &[]).unwrap();
        assert!(plaintext.is_empty() && trailer.is_single() && trailer.plain_len() == PlainLen(0));
        let told = trailer.checksums().iter().map(|one| one.algorithm).next();
        assert_eq!(told, checksum);
        for len in 1..300 {
            assert!(!opens(&marker, &vec![0; len]), "{len} bytes");
        }
        for other in [single(0), multipart(&[(1, 0)])] {
            assert!(!opens(&marker, &other.body));
            assert!(!opens(&other, &[]));
        }
    }
}

/// The padding of a larger object is in the clear, and must be noticed all the same.
#[test]
fn padding_of_a_larger_object() {
    let mut stored = single(5 * MIB);
    let len = stored.body.len();
    let trailer = len - 216..len;
    assert!(
        stored.body[trailer.clone()][..80]
            .iter()
            .all(|byte| *byte == 0)
    );
    flip_every_bit(&mut stored, trailer);
}

/// Several parts: every bit of every header, of every last chunk that has no plaintext, and of the trailer;
/// other chunks in samples, since what is shown for one chunk holds for all.
#[test]
fn several_parts_every_bit() {
    let mut stored = several_parts();
    let trailer = Trailer::open(
        &dek(),
        &OBJECT,
        CipherLen(stored.body.len() as u64),
        &stored.body,
    )
    .unwrap();
    let mut bytes: Vec<usize> = (trailer.streams_total() as usize..stored.body.len()).collect();
    for part in trailer.parts() {
        let stream = part.stream_range();
        let (start, end) = (stream.start as usize, stream.end as usize);
        bytes.extend(start..start + 56);
        bytes.extend((start + 56..start + 56 + SLOT).step_by(1021));
        bytes.extend([end - 16, end - 9, end - 1]);
    }
    flip_every_bit(&mut stored, bytes.into_iter());
}

/// Each chunk opens by itself, so all bits of a full chunk and of a last one can be tried on them alone.
#[test]
fn every_bit_of_a_chunk() {
    let stored = single(CHUNK + 50);
    let context = StreamContext {
        object_id: OBJECT,
        part_number: 0,
    };
    let (header, chunks) = stored.body.split_first_chunk().unwrap();
    let opener = StreamOpener::new(&dek(), &context, header).unwrap();
    let mut slot = [0; SLOT];
    for bit in 0..SLOT * 8 {
        slot.copy_from_slice(&chunks[..SLOT]);
        slot[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(opener.open_chunk(0, &mut slot), Err(Tampered), "bit {bit}");
    }
    let last = &chunks[SLOT..][..50 + TAG];
    for bit in 0..last.len() * 8 {
        let mut changed = last.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            opener.open_last(1, &mut changed),
            Err(Tampered),
            "bit {bit}"
        );
    }
    assert_eq!(opener.open_last(1, &mut last.to_vec()), Ok(()));
}

#[test]
fn several_parts_every_cut() {
    let stored = several_parts();
    for cut in 0..stored.body.len() {
        assert!(!opens(&stored, &stored.body[..cut]), "cut at {cut}");
    }
}

/// What a store can do with whole parts and whole objects.
#[test]
fn parts_and_objects_in_the_wrong_place() {
    let stored = several_parts();
    let part = law::stream_len(5 * MIB as u64) as usize;
    let (first, rest) = stored.body.split_at(part);
    let (second, rest) = rest.split_at(part);
    assert!(!opens(&stored, &[second, first, rest].concat()), "swapped");
    assert!(!opens(&stored, &[first, first, rest].concat()), "repeated");
    assert!(!opens(&stored, &[first, rest].concat()), "dropped");
    assert!(opens(&stored, &[first, second, rest].concat()));

    // Parts of the same upload, under the trailer of another choice of parts.
    let chosen = multipart(&[(1, 5 * MIB), (2, 5 * MIB)]);
    let other = multipart(&[(1, 5 * MIB), (3, 5 * MIB)]);
    assert_eq!(chosen.body.len(), other.body.len());
    assert!(opens(&chosen, &chosen.body));
    assert!(!opens(
        &chosen,
        &[&other.body[..2 * part], &chosen.body[2 * part..]].concat()
    ));

    // A body under the envelope of the other layout, or of another object of the same size.
    let one = multipart(&[(1, 300)]);
    let whole = single(300);
    assert_eq!(one.body.len(), whole.body.len());
    assert!(!opens(&one, &whole.body) && !opens(&whole, &one.body));
    let fields = EnvelopeFields {
        object_id: ObjectId([1; 16]),
        ..whole.envelope.fields.clone()
    };
    let envelope = Envelope {
        fields,
        ..whole.envelope.clone()
    };
    assert_eq!(
        open(&dek(), &envelope, &whole.body).map(drop),
        Err(Tampered)
    );
    let other_key = Dek::new(sealgate_aead::Secret::new([0; 32]));
    assert_eq!(
        open(&other_key, &whole.envelope, &whole.body).map(drop),
        Err(Tampered)
    );
    let Layout::Single { header, plain_len } = whole.envelope.fields.layout else {
        unreachable!("a single PUT")
    };
    for layout in [
        Layout::Single {
            header,
            plain_len: PlainLen(plain_len.0 + 1),
        },
        Layout::Single {
            header: [0; 56],
            plain_len,
        },
    ] {
        let fields = EnvelopeFields {
            layout,
            ..whole.envelope.fields.clone()
        };
        let envelope = Envelope {
            fields,
            ..whole.envelope.clone()
        };
        assert_eq!(
            open(&dek(), &envelope, &whole.body).map(drop),
            Err(Tampered)
        );
    }
}
