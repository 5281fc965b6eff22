//! Lists that no writer of this version makes. They cannot come from outside, since the list is sealed; a
//! reader refuses them all the same.

use super::{Checksums, PartRun, Trailer};
use crate::error::DecodeError;
use crate::law::{MIN_PART_LEN, PlainLen};

const MIN: u64 = MIN_PART_LEN;

fn list(layout: u8, plain_len: u64, checksums: &[u8], runs: &[(u16, u64, Option<u16>)]) -> Vec<u8> {
    let mut list = vec![layout];
    list.extend(plain_len.to_be_bytes());
    list.extend(checksums);
    for (first, len, count) in runs {
        list.extend(first.to_be_bytes());
        list.extend(&len.to_be_bytes()[2..]);
        list.extend(count.iter().flat_map(|count| count.to_be_bytes()));
    }
    list
}

fn refused(list: &[u8]) -> DecodeError {
    Trailer::decode(list).expect_err("not a list of version 1")
}

#[test]
fn what_the_writer_makes_is_what_the_specification_says() {
    let parts = [(1, MIN), (2, MIN), (4, MIN), (5, 7)];
    let trailer = Trailer::multipart(parts, Checksums::none()).unwrap();
    let mut encoded = Vec::new();
    trailer.encode(&mut encoded);
    let expected = list(
        1,
        3 * MIN + 7,
        &[0],
        &[(0x8001, MIN, Some(2)), (4, MIN, None), (5, 7, None)],
    );
    assert_eq!(encoded, expected);
    assert_eq!(Trailer::decode(&encoded).as_ref(), Ok(&trailer));
    assert_eq!(
        trailer.runs()[0],
        PartRun {
            first: 1,
            count: 2,
            len: MIN
        }
    );

    let single = Trailer::single(PlainLen(3), Checksums::none()).unwrap();
    assert_eq!(Trailer::decode(&list(0, 3, &[0], &[])), Ok(single));
}

#[test]
fn other_encodings_of_the_same_parts() {
    let part = |value| DecodeError::UnknownValue {
        field: "part",
        value,
    };
    let two_runs = [(1, MIN, None), (2, MIN, None)];
    assert_eq!(refused(&list(1, 2 * MIN, &[0], &two_runs)), part(2));
    assert_eq!(
        refused(&list(1, MIN, &[0], &[(0x8001, MIN, Some(1))])),
        part(0x8001)
    );
    assert_eq!(
        refused(&list(1, 0, &[0], &[(0x8001, MIN, Some(0))])),
        part(0x8001)
    );
}

#[test]
fn parts_that_cannot_be() {
    for runs in [
        [(0, MIN, None), (1, 1, None)],
        [(2, MIN, None), (2, 1, None)],
        [(1, MIN - 1, None), (2, MIN, None)],
        [(1, MIN, None), (10_001, 1, None)],
        [(1, MIN, None), (0x8000 | 9_999, MIN, Some(3))],
        [(1, MIN, None), (0x8002, 9, Some(2))],
        [(1, MIN, None), (2, (1 << 48) - 1, None)],
    ] {
        let total = runs
            .iter()
            .map(|(_, len, count)| len * u64::from(count.unwrap_or(1)))
            .sum();
        assert!(matches!(
            refused(&list(1, total, &[0], &runs)),
            DecodeError::UnknownValue { field: "part", .. }
        ));
    }
}

#[test]
fn fields_that_contradict_each_other() {
    let length = |value| DecodeError::UnknownValue {
        field: "plaintext length",
        value,
    };
    assert_eq!(refused(&list(1, 0, &[0], &[])), length(0));
    assert_eq!(refused(&list(1, 8, &[0], &[(1, 7, None)])), length(8));
    assert_eq!(refused(&list(0, u64::MAX, &[0], &[])), length(u64::MAX));
    assert_eq!(
        refused(&list(0, 7, &[0], &[(1, 7, None)])),
        DecodeError::TrailingBytes
    );
    let layout = DecodeError::UnknownValue {
        field: "layout",
        value: 2,
    };
    assert_eq!(refused(&list(2, 7, &[0], &[])), layout);
}

#[test]
fn checksums_that_are_not_defined() {
    let checksum = |value| DecodeError::UnknownValue {
        field: "checksum",
        value,
    };
    assert_eq!(refused(&list(0, 7, &[1, 7], &[])), checksum(7));
    assert_eq!(refused(&list(0, 7, &[1, 0x80], &[])), checksum(0x80));
    assert_eq!(
        refused(&list(0, 7, &[2, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0], &[])),
        checksum(1),
        "descending"
    );
    assert_eq!(
        refused(&list(0, 7, &[2, 1, 0, 0, 0, 0, 0x81, 0, 0, 0, 0], &[])),
        checksum(0x81),
        "twice"
    );
    assert_eq!(
        refused(&list(0, 7, &[1, 1, 0, 0, 0], &[])),
        DecodeError::Cut
    );
    for len in 0..10 {
        assert_eq!(refused(&list(0, 7, &[0], &[])[..len]), DecodeError::Cut);
    }
}
