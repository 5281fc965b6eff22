//! Streams are Cobblestone-256: Wycheproof's vectors, and a construction from other parts.

use aes_gcm::KeyInit;
use aes_gcm::aead::Aead;
use aws_lc_rs::{digest, hmac};
use proptest::prelude::*;
use sealgate_aead::Secret;
use sealgate_envelope::whole::{open_stream, seal_stream};
use sealgate_envelope::*;
use wycheproof::TestResult;
use wycheproof::chunked_encryption::{TestFlag, TestName, TestSet};

/// The plaintext that a reader of the stream gets before it meets an error, and whether it met one.
fn read(opener: &StreamOpener, chunks: &[u8]) -> (Vec<u8>, Result<(), Tampered>) {
    let mut plaintext = Vec::new();
    let mut slots = chunks.chunks_exact(SLOT);
    let mut index = 0;
    for slot in &mut slots {
        let mut slot = slot.to_vec();
        if opener.open_chunk(index, &mut slot).is_err() {
            return (plaintext, Err(Tampered));
        }
        plaintext.extend(&slot[..CHUNK]);
        index += 1;
    }
    let mut last = slots.remainder().to_vec();
    let result = opener.open_last(index, &mut last);
    if result.is_ok() {
        plaintext.extend(&last[..last.len() - TAG]);
    }
    (plaintext, result)
}

#[test]
fn wycheproof_vectors() {
    let set = TestSet::load(TestName::Cobblestone256).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        run += 1;
        let id = test.tc_id;
        let has = |flag| test.flags.contains(&flag);
        let stream = miniz_oxide::inflate::decompress_to_vec_zlib(&test.ct).unwrap();
        let Some(key) = Secret::from_slice(&test.key) else {
            assert!(has(TestFlag::InvalidKeySize), "test {id}");
            continue;
        };
        let dek = Dek::new(key);
        let opener = stream.split_first_chunk().and_then(|(header, chunks)| {
            Some((
                StreamOpener::with_context(&dek, &test.ctx, header).ok()?,
                chunks,
            ))
        });
        let Some((opener, chunks)) = opener else {
            assert!(has(TestFlag::HeaderFailure), "test {id}");
            continue;
        };
        assert!(!has(TestFlag::HeaderFailure), "test {id}");

        let (plaintext, result) = read(&opener, chunks);
        assert_eq!(
            result.is_ok(),
            test.result == TestResult::Valid,
            "test {id}"
        );
        assert_eq!(plaintext.len(), test.msg_length.unwrap_or(0), "test {id}");
        if let Some(expected) = &test.msg_sha512 {
            let sum = digest::digest(&digest::SHA512, &plaintext);
            assert_eq!(sum.as_ref(), expected.as_slice(), "test {id}");
        }
        // The last chunk alone, as a reader that seeks from the end opens it.
        let last_start = chunks.len() / SLOT * SLOT;
        let mut last = chunks[last_start..].to_vec();
        let last_opens = opener
            .open_last((last_start / SLOT) as u64, &mut last)
            .is_ok();
        let valid = test.result == TestResult::Valid;
        assert_eq!(
            last_opens,
            valid || has(TestFlag::ValidFinalChunk),
            "test {id}"
        );
        if valid {
            let mut sealed = stream[..STREAM_HEADER].to_vec();
            sealed.extend(seal_chunks(
                &dek,
                &test.ctx,
                *stream.first_chunk().unwrap(),
                &plaintext,
            ));
            assert_eq!(sealed, stream, "test {id}");
        }
    }
    assert_eq!((run, set.number_of_tests), (35, 35));
}

/// Seals with the salt of a vector: full chunks as one run of slots.
fn seal_chunks(dek: &Dek, context: &[u8], salt: [u8; 24], plaintext: &[u8]) -> Vec<u8> {
    let (mut sealer, _) = StreamSealer::with_context(dek, context, salt);
    let (chunks, last) = plaintext.as_chunks::<CHUNK>();
    let mut run: Vec<u8> = chunks
        .iter()
        .flat_map(|chunk| [chunk.as_slice(), &[0; TAG]].concat())
        .collect();
    sealer.seal_slots(&mut run);
    assert!(!sealer.is_finished() && sealer.chunks() == chunks.len() as u64);
    let mut last = [last, &[0; TAG]].concat();
    sealer.seal_last(&mut last);
    assert!(sealer.is_finished());
    [run, last].concat()
}

/// The construction by the letter of c2sp.org/chunked-encryption, from HMAC and another AES-GCM.
fn reference(key: &[u8; 32], context: &[u8], salt: &[u8; 24], plaintext: &[u8]) -> Vec<u8> {
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA512, key);
    let info = [
        b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0",
        salt.as_slice(),
        context,
    ]
    .concat();
    let first = hmac::sign(&hmac_key, &[info.as_slice(), &[1]].concat());
    let second = hmac::sign(&hmac_key, &[first.as_ref(), &info, &[2]].concat());
    let okm = [first.as_ref(), second.as_ref()].concat();
    let cipher = aes_gcm::Aes256Gcm::new(okm[..32].try_into().unwrap());
    let mut out = [salt.as_slice(), &okm[44..76]].concat();
    for index in 0..=plaintext.len() / CHUNK {
        let chunk = &plaintext[index * CHUNK..plaintext.len().min((index + 1) * CHUNK)];
        let mut nonce = [[0; 4].as_slice(), &(index as u64).to_be_bytes()].concat();
        nonce
            .iter_mut()
            .zip(&okm[32..44])
            .for_each(|(byte, base)| *byte ^= base);
        let nonce: [u8; 12] = nonce.try_into().unwrap();
        out.extend(cipher.encrypt(&nonce.into(), chunk).unwrap());
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_reference_writes_the_same_streams(
        key: [u8; 32],
        salt: [u8; 24],
        object: [u8; 16],
        part_number: u16,
        len in prop_oneof![0..70_000_usize, Just(CHUNK - 1), Just(CHUNK), Just(CHUNK + 1), Just(2 * CHUNK)],
    ) {
        let plaintext = super::support::pattern(len);
        let dek = Dek::new(Secret::new(key));
        let context = StreamContext { object_id: ObjectId(object), part_number };
        let stream = seal_stream(&dek, &context, salt, &plaintext);
        prop_assert_eq!(stream.len() as u64, law::stream_len(len as u64));
        let encoded = [b"sealgate/v1\0", object.as_slice(), &part_number.to_be_bytes()].concat();
        prop_assert!(stream == reference(&key, &encoded, &salt, &plaintext));
        prop_assert!(open_stream(&dek, &context, &stream) == Ok(plaintext));

        let other = StreamContext { part_number: part_number ^ 1, ..context };
        prop_assert_eq!(open_stream(&dek, &other, &stream), Err(Tampered));
        let other = StreamContext { object_id: ObjectId([0; 16]), ..context };
        prop_assert_eq!(open_stream(&dek, &other, &stream), Err(Tampered));
    }
}

#[test]
fn runs_of_slots_open_from_any_chunk() {
    let (dek, context) = (
        super::support::dek(),
        StreamContext {
            object_id: super::support::OBJECT,
            part_number: 3,
        },
    );
    let plaintext = super::support::pattern(5 * CHUNK);
    let stream = seal_stream(&dek, &context, [9; 24], &plaintext);
    let (header, chunks) = stream.split_first_chunk().unwrap();
    let opener = StreamOpener::new(&dek, &context, header).unwrap();
    let mut run = chunks[2 * SLOT..5 * SLOT].to_vec();
    opener.open_slots(2, &mut run).unwrap();
    for (slot, chunk) in run.chunks(SLOT).zip(plaintext[2 * CHUNK..].chunks(CHUNK)) {
        assert_eq!(slot[..CHUNK], *chunk);
    }
    let mut run = chunks[2 * SLOT..5 * SLOT].to_vec();
    assert_eq!(
        opener.open_slots(1, &mut run),
        Err(Tampered),
        "at another place"
    );
    assert_eq!(
        opener.open_slots(2, &mut run[..SLOT + 1]),
        Err(Tampered),
        "not whole slots"
    );
    // A full chunk is never the last one, and the last one never stands for a full chunk.
    let mut slot = chunks[..SLOT].to_vec();
    assert_eq!(opener.open_last(0, &mut slot), Err(Tampered));
    let mut last = chunks[5 * SLOT..].to_vec();
    assert_eq!(opener.open_chunk(5, &mut last), Err(Tampered));
    assert_eq!(opener.open_last(5, &mut last), Ok(()));
    assert_eq!(
        opener.open_last(law::MAX_PLAIN_LEN, &mut last),
        Err(Tampered),
        "beyond the last chunk number"
    );
}

#[test]
#[should_panic(expected = "the stream has ended")]
fn nothing_is_sealed_after_the_last_chunk() {
    let context = StreamContext {
        object_id: super::support::OBJECT,
        part_number: 0,
    };
    let (mut sealer, _) = StreamSealer::new(&super::support::dek(), &context, [0; 24]);
    sealer.seal_last(&mut [0; TAG]);
    sealer.seal_chunk(&mut [0; SLOT]);
}
