//! Envelopes, sealed metadata and upload ids: every field is authenticated, every bound is kept.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use sealgate_aead::Secret;
use sealgate_envelope::envelope::MAX_CHARS;
use sealgate_envelope::*;

use super::support::*;

const HEADER: [u8; 56] = [0xC0; 56];
const SINGLE: Layout = Layout::Single {
    plain_len: PlainLen(123_456_789),
    header: HEADER,
};
/// Most characters of a sealed metadata value at S3.
const S3_METADATA: usize = metadata::max_chars(metadata::S3_METADATA_LIMIT);
/// A folder marker, with and without a checksum.
const EMPTY: [Layout; 2] = [
    Layout::Empty { checksum: None },
    Layout::Empty {
        checksum: Some(ChecksumAlgorithm::Crc64Nvme),
    },
];
const LAYOUTS: [Layout; 4] = [SINGLE, Layout::Multipart, EMPTY[0], EMPTY[1]];
const BINDINGS: [Binding; 3] = [Binding::None, Binding::Key, Binding::BucketAndKey];

fn seal(layout: Layout, binding: Binding) -> Envelope {
    fields(layout, binding)
        .seal(&kek(), &dek(), [0x77; 12], &PLACE)
        .unwrap()
}

/// Shows that an unwrapped key is the right one without looking at it.
fn is_our_dek(dek_found: &Dek) -> bool {
    let text = seal_metadata(&dek(), &OBJECT, [0; 12], &[("a", b"b")], S3_METADATA).unwrap();
    open_metadata(dek_found, &OBJECT, text.as_bytes()).is_ok()
}

/// Every way to read a changed text: refused when decoded, or when unwrapped.
fn opens(text: &[u8]) -> bool {
    Envelope::decode(text).is_ok_and(|envelope| envelope.unwrap_dek(&kek(), &PLACE).is_ok())
}

#[test]
fn there_and_back() {
    for binding in BINDINGS {
        for layout in LAYOUTS {
            let envelope = seal(layout, binding);
            let text = envelope.encode().unwrap();
            assert!(
                text.bytes()
                    .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
            );
            let decoded = Envelope::decode(text.as_bytes()).unwrap();
            assert_eq!(decoded, envelope);
            assert!(is_our_dek(&decoded.unwrap_dek(&kek(), &PLACE).unwrap()));
        }
    }
}

#[test]
fn every_bit_and_every_cut_is_noticed() {
    for layout in LAYOUTS {
        let text = seal(layout, Binding::Key).encode().unwrap();
        assert!(opens(text.as_bytes()));
        let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !opens(URL_SAFE_NO_PAD.encode(&changed).as_bytes()),
                "bit {bit}"
            );
        }
        for len in 0..bytes.len() {
            assert!(
                !opens(URL_SAFE_NO_PAD.encode(&bytes[..len]).as_bytes()),
                "cut at {len}"
            );
        }
        assert!(!opens(
            URL_SAFE_NO_PAD
                .encode([bytes.as_slice(), &[0]].concat())
                .as_bytes()
        ));
        // The text itself, too: no other text stands for the same bytes.
        for at in 0..text.len() {
            for other in 0..=255 {
                let mut changed = text.clone().into_bytes();
                if std::mem::replace(&mut changed[at], other) != other {
                    assert!(!opens(&changed), "character {at} as {other}");
                }
            }
        }
        for tail in ["=", "==", " ", "\n", "A"] {
            assert!(!opens(format!("{text}{tail}").as_bytes()));
        }
    }
}

#[test]
fn what_is_refused_is_named() {
    let text = seal(Layout::Multipart, Binding::Key).encode().unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
    let decode = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        Envelope::decode(URL_SAFE_NO_PAD.encode(bytes).as_bytes()).unwrap_err()
    };
    assert_eq!(decode(0, 2), DecodeError::UnknownVersion(2));
    assert_eq!(
        decode(1, 3),
        DecodeError::UnknownValue {
            field: "layout",
            value: 3
        }
    );
    assert_eq!(
        decode(2, 3),
        DecodeError::UnknownValue {
            field: "binding",
            value: 3
        }
    );
    assert_eq!(decode(20, 0xFF), DecodeError::NotText);
    assert_eq!(Envelope::decode(b""), Err(DecodeError::Cut));
    assert_eq!(Envelope::decode(b"AQ=="), Err(DecodeError::NotBase64));
    assert_eq!(
        Envelope::decode(&[b'A'; MAX_CHARS + 1]),
        Err(DecodeError::NotBase64)
    );
}

/// No store can make one layout of another by editing the envelope: whatever it writes there, the DEK does not unwrap.
#[test]
fn no_layout_passes_for_another() {
    for from in LAYOUTS {
        for to in LAYOUTS {
            let sealed = seal(from, Binding::Key);
            let fields = EnvelopeFields {
                layout: to,
                ..sealed.fields
            };
            let edited = Envelope { fields, ..sealed };
            let text = edited.encode().unwrap();
            assert_eq!(opens(text.as_bytes()), from == to, "{from:?} as {to:?}");
        }
    }
}

#[test]
fn a_marker_has_no_unknown_checksum() {
    let text = seal(EMPTY[0], Binding::Key).encode().unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
    let at = bytes.len() - 61;
    for code in 0..=255 {
        bytes[at] = code;
        let found = Envelope::decode(URL_SAFE_NO_PAD.encode(&bytes).as_bytes());
        let unknown = DecodeError::UnknownValue {
            field: "checksum",
            value: code.into(),
        };
        assert_eq!(found.err(), (code > 6).then_some(unknown), "{code}");
    }
}

#[test]
fn the_binding_is_kept() {
    let other_key = Location {
        bucket: BUCKET,
        key: b"other",
    };
    let other_bucket = Location {
        bucket: b"other",
        key: KEY,
    };
    let opens = |binding, place| seal(SINGLE, binding).unwrap_dek(&kek(), &place).is_ok();
    assert!(opens(Binding::None, other_key) && opens(Binding::None, other_bucket));
    assert!(!opens(Binding::Key, other_key) && opens(Binding::Key, other_bucket));
    assert!(
        !opens(Binding::BucketAndKey, other_key) && !opens(Binding::BucketAndKey, other_bucket)
    );
    // Bucket and key are not merely strung together.
    let shifted = Location {
        bucket: &[BUCKET, &KEY[..1]].concat(),
        key: &KEY[1..],
    };
    assert!(!opens(Binding::BucketAndKey, shifted));
    let wrong_kek = Kek::new(&Secret::new([0; 32]));
    assert_eq!(
        seal(SINGLE, Binding::None)
            .unwrap_dek(&wrong_kek, &PLACE)
            .map(drop),
        Err(Tampered)
    );
}

#[test]
fn rewrapping_moves_the_object_and_nothing_else() {
    LAYOUTS.into_iter().for_each(moved_and_nothing_else);
}

fn moved_and_nothing_else(layout: Layout) {
    let old = seal(layout, Binding::Key);
    let place = Location {
        bucket: b"archive",
        key: b"new name",
    };
    let new_kek = Kek::new(&Secret::new([9; 32]));
    let wrapped = WrappedKek {
        name: "next".into(),
        version: String::new(),
        wrapped: vec![1; 184],
    };
    let dek = old.unwrap_dek(&kek(), &PLACE).unwrap();
    let new = old
        .rewrap(
            &dek,
            &new_kek,
            wrapped.clone(),
            Binding::BucketAndKey,
            [1; 12],
            &place,
        )
        .unwrap();
    assert_eq!((new.fields.layout, new.fields.object_id), (layout, OBJECT));
    assert_eq!(
        (new.fields.binding, &new.fields.kek),
        (Binding::BucketAndKey, &wrapped)
    );
    assert!(is_our_dek(&new.unwrap_dek(&new_kek, &place).unwrap()));
    assert!(new.unwrap_dek(&new_kek, &PLACE).is_err());
    assert!(new.unwrap_dek(&kek(), &place).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let seal = |name: usize, version: usize, wrapped: usize, layout| {
        let kek_fields = WrappedKek {
            name: "n".repeat(name),
            version: "v".repeat(version),
            wrapped: vec![0; wrapped],
        };
        let fields = EnvelopeFields {
            kek: kek_fields,
            ..fields(layout, Binding::Key)
        };
        let envelope = fields.seal(&kek(), &dek(), [0; 12], &PLACE)?;
        let text = envelope.encode()?;
        assert!(text.len() <= MAX_CHARS && opens(text.as_bytes()));
        Ok::<_, TooLong>(text.len())
    };
    assert!(seal(12, 6, 184, SINGLE).unwrap() <= 480, "AWS KMS");
    assert!(seal(40, 7, 256, SINGLE).is_ok(), "RSA-2048");
    assert_eq!(seal(2, 1, 300, SINGLE), Ok(600));
    let too_long = TooLong {
        what: "the envelope",
        len: 602,
        limit: 600,
    };
    assert_eq!(seal(3, 1, 300, SINGLE), Err(too_long));
    assert_eq!(seal(40, 24, 303, Layout::Multipart), Ok(600));
    let too_long = TooLong {
        what: "the key name",
        len: 256,
        limit: 255,
    };
    assert_eq!(seal(256, 0, 1, SINGLE), Err(too_long));
    let too_long = TooLong {
        what: "the key version",
        len: 256,
        limit: 255,
    };
    assert_eq!(seal(0, 256, 1, SINGLE), Err(too_long));
    assert_eq!(
        seal(0, 0, 70_000, SINGLE).unwrap_err().what,
        "the wrapped KEK"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..450), shape in 0..4) {
        let mut bytes = bytes;
        // Often enough a plausible beginning, so that the later fields are reached.
        if shape > 0 && bytes.len() > 20 {
            bytes[..3].copy_from_slice(&[1, (shape - 1) as u8, 1]);
            bytes[19] %= 16;
        }
        let text = URL_SAFE_NO_PAD.encode(&bytes);
        if let Ok(envelope) = Envelope::decode(text.as_bytes()) {
            prop_assert_eq!(envelope.encode().unwrap(), text);
            prop_assert!(envelope.unwrap_dek(&kek(), &PLACE).is_err());
        }
    }

    #[test]
    fn metadata_there_and_back(pairs in proptest::collection::vec(("[a-z-]{0,20}", ".{0,40}"), 0..6)) {
        let given: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let text = seal_metadata(&dek(), &OBJECT, [4; 12], &given, S3_METADATA).unwrap();
        let opened = open_metadata(&dek(), &OBJECT, text.as_bytes()).unwrap();
        prop_assert!(opened.iter().map(|(name, value)| (name.as_str(), value.as_slice())).eq(given));
    }
}

#[test]
fn metadata_is_confidential_and_authentic() {
    let text = seal_metadata(
        &dek(),
        &OBJECT,
        [4; 12],
        &[("color", b"blue"), ("empty", b"")],
        S3_METADATA,
    )
    .unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
    assert!(!bytes.windows(4).any(|window| window == b"blue"));
    let opens = |bytes: &[u8]| {
        open_metadata(&dek(), &OBJECT, URL_SAFE_NO_PAD.encode(bytes).as_bytes()).is_ok()
    };
    assert!(opens(&bytes));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&changed), "bit {bit}");
    }
    assert!((0..bytes.len()).all(|len| !opens(&bytes[..len])));
    assert_eq!(
        open_metadata(&dek(), &ObjectId([0; 16]), text.as_bytes()),
        Err(Tampered)
    );
    assert_eq!(
        open_metadata(&Dek::new(Secret::new([0; 32])), &OBJECT, text.as_bytes()),
        Err(Tampered)
    );
}

/// With the longest envelope it fills S3's 2 KB to the last byte, and no further.
#[test]
fn metadata_keeps_to_the_budget_of_s3() {
    let limit = S3_METADATA;
    assert_eq!(
        "sealgate".len() + MAX_CHARS + "sealgate-m".len() + limit,
        2048
    );
    let seal_within = |len: usize, limit| {
        seal_metadata(&dek(), &OBJECT, [4; 12], &[("n", &vec![b'x'; len])], limit)
    };
    let seal = |len| seal_within(len, limit);
    // 1430 characters are 1072 bytes; version, nonce, tag, two lengths and the name take 34 of them.
    let longest = seal(1038).unwrap();
    assert_eq!(longest.len(), limit);
    assert!(open_metadata(&dek(), &OBJECT, longest.as_bytes()).is_ok());
    assert_eq!(
        seal(1039),
        Err(TooLong {
            what: "the sealed metadata",
            len: limit + 1,
            limit
        })
    );
    assert!(seal(200_000).is_err());
    // A store that takes more gives more room, but not without end.
    assert_eq!(metadata::max_chars(0), 0);
    let most = metadata::max_chars(usize::MAX);
    assert_eq!(most, metadata::MAX_CHARS);
    let large = seal_within(12_000, most).unwrap();
    assert!(open_metadata(&dek(), &OBJECT, large.as_bytes()).is_ok());
    assert!(seal_within(13_000, usize::MAX).is_err());
}

#[test]
fn upload_ids_carry_the_upload() {
    let envelope = seal(Layout::Multipart, Binding::Key);
    let backend_id = "2~Gkw8hWT3UmGk-A_n.b/c=";
    let text = UploadId::seal(&dek(), backend_id, &envelope).unwrap();
    assert!(
        text.bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    );
    assert!(UploadId::is_sealed(&text) && !UploadId::is_sealed(backend_id));
    let id = UploadId::parse(&text).unwrap();
    assert_eq!((id.backend_id(), id.envelope()), (backend_id, &envelope));
    let dek_found = id.envelope().unwrap_dek(&kek(), &PLACE).unwrap();
    assert_eq!(id.verify(&dek_found), Ok(()));
    assert_eq!(id.verify(&Dek::new(Secret::new([0; 32]))), Err(Tampered));
    assert!(UploadId::parse(backend_id).is_err());

    let bytes = URL_SAFE_NO_PAD
        .decode(text.strip_prefix("sg1-").unwrap())
        .unwrap();
    let opens = |bytes: &[u8]| {
        UploadId::parse(&format!("sg1-{}", URL_SAFE_NO_PAD.encode(bytes))).is_ok_and(|id| {
            id.envelope()
                .unwrap_dek(&kek(), &PLACE)
                .is_ok_and(|dek| id.verify(&dek).is_ok())
        })
    };
    assert!(opens(&bytes));
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&changed), "bit {bit}");
    }
    assert!((0..bytes.len()).all(|len| !opens(&bytes[..len])));
    assert!(!opens(&[bytes.as_slice(), &[0]].concat()));
}

#[test]
fn upload_ids_have_at_most_1024_characters() {
    let longest = WrappedKek {
        name: "n".repeat(40),
        version: "v".repeat(24),
        wrapped: vec![0; 303],
    };
    let fields = EnvelopeFields {
        kek: longest,
        ..fields(Layout::Multipart, Binding::Key)
    };
    let envelope = fields.seal(&kek(), &dek(), [0; 12], &PLACE).unwrap();
    assert_eq!(envelope.encode().unwrap().len(), MAX_CHARS);
    let text = UploadId::seal(&dek(), &"x".repeat(281), &envelope).unwrap();
    assert_eq!(text.len(), 1024);
    assert_eq!(UploadId::parse(&text).unwrap().backend_id().len(), 281);
    let too_long = UploadId::seal(&dek(), &"x".repeat(282), &envelope).unwrap_err();
    assert_eq!((too_long.what, too_long.limit), ("the upload id", 1024));
    assert!(UploadId::seal(&dek(), &"x".repeat(100_000), &envelope).is_err());
}
