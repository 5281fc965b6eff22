//! Wycheproof's vectors: AES-256-GCM with both libraries, HKDF-SHA-512.

use sealgate_aead::{Aes256Gcm, Library, Secret, hkdf_expand_sha512, hkdf_extract_sha512};
use wycheproof::TestResult;

const LIBRARIES: [Library; 2] = [Library::AwsLc, Library::Ring];

/// The vectors with 256-bit keys, 96-bit nonces and 128-bit tags: the only sizes the interface has.
#[test]
fn aes_256_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    let groups = set.test_groups.iter();
    for group in groups.filter(|g| g.key_size == 256 && g.nonce_size == 96 && g.tag_size == 128) {
        for test in &group.tests {
            let key = Secret::from_slice(&test.key).unwrap();
            let nonce = test.nonce.as_slice().try_into().unwrap();
            let tag: [u8; 16] = test.tag.as_slice().try_into().unwrap();
            for library in LIBRARIES {
                let cipher = Aes256Gcm::with_library(library, &key);
                let mut opened = test.ct.to_vec();
                let result = cipher.open(nonce, &test.aad, &mut opened, &tag);
                if test.result == TestResult::Invalid {
                    assert!(result.is_err(), "{library} test {}", test.tc_id);
                    invalid += 1;
                    continue;
                }
                assert_eq!(result, Ok(()), "{library} test {}", test.tc_id);
                assert_eq!(opened, *test.pt, "{library} test {}", test.tc_id);
                assert_eq!(cipher.seal(nonce, &test.aad, &mut opened), tag);
                assert_eq!(opened, *test.ct, "{library} test {}", test.tc_id);
                valid += 1;
            }
        }
    }
    assert!(
        valid >= 60 && invalid >= 40,
        "only {valid} valid and {invalid} invalid vectors were run"
    );
}

#[test]
fn hkdf_sha_512() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha512).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let derive = || {
            let mut okm = vec![0; test.size];
            let prk = hkdf_extract_sha512(&test.salt, &test.ikm);
            // The parts of the info are concatenated, wherever they are cut.
            let (head, rest) = test.info.split_at(test.info.len() / 2);
            hkdf_expand_sha512(prk.expose(), &[head, rest], &mut okm);
            okm
        };
        match test.result {
            TestResult::Invalid => assert!(
                std::panic::catch_unwind(derive).is_err(),
                "test {}",
                test.tc_id
            ),
            _ => assert_eq!(derive(), *test.okm, "test {}", test.tc_id),
        }
        run += 1;
    }
    assert_eq!(run, set.number_of_tests);
}
