//! Both libraries compute the same bytes as each other and as a third one, and one of them is chosen.

use aes_gcm::KeyInit;
use aes_gcm::aead::Aead;
use proptest::prelude::*;
use sealgate_aead::{Aes256Gcm, Forged, Library, Secret, hmac_sha512, measure, pin, selected};

proptest! {
    #[test]
    fn the_same_bytes_everywhere(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in proptest::collection::vec(any::<u8>(), 0..100),
        plaintext in proptest::collection::vec(any::<u8>(), 0..3000),
    ) {
        let payload = aes_gcm::aead::Payload { msg: &plaintext, aad: &aad };
        let expected = aes_gcm::Aes256Gcm::new(&key.into()).encrypt(&nonce.into(), payload).unwrap();
        for library in [Library::AwsLc, Library::Ring] {
            let cipher = Aes256Gcm::with_library(library, &Secret::new(key));
            prop_assert_eq!(cipher.library(), library);
            let mut sealed = plaintext.clone();
            let tag = cipher.seal(nonce, &aad, &mut sealed);
            prop_assert_eq!(&[sealed.as_slice(), &tag].concat(), &expected);
            cipher.open(nonce, &aad, &mut sealed, &tag).unwrap();
            prop_assert_eq!(&sealed, &plaintext);
        }
    }

    #[test]
    fn any_flipped_bit_is_a_forgery(plaintext in proptest::collection::vec(any::<u8>(), 1..200), bit: usize) {
        for library in [Library::AwsLc, Library::Ring] {
            let cipher = Aes256Gcm::with_library(library, &Secret::new([3; 32]));
            let mut message = plaintext.clone();
            let tag = cipher.seal([0; 12], b"where", &mut message);
            message.extend(tag);
            let bit = bit % (message.len() * 8);
            message[bit / 8] ^= 1 << (bit % 8);
            let (text, tag) = message.split_last_chunk_mut::<16>().unwrap();
            prop_assert_eq!(cipher.open([0; 12], b"where", text, tag), Err(Forged));
        }
    }
}

/// One test, since the choice is the process's: the measure, then the pins.
#[test]
fn the_faster_library_is_selected_unless_one_is_pinned() {
    let measured = measure();
    assert!(
        measured.aws_lc > 0.05 && measured.ring > 0.05,
        "{measured:?}"
    );
    assert_eq!(selected(), measured.faster());
    let again = std::thread::spawn(measure).join().unwrap();
    assert_eq!(again, measured, "measured once per process");

    for library in [Library::Ring, Library::AwsLc] {
        pin(library);
        assert_eq!(selected(), library);
        assert_eq!(Aes256Gcm::new(&Secret::new([0; 32])).library(), library);
    }
    assert_eq!(
        format!("{} {}", Library::AwsLc, Library::Ring),
        "aws-lc ring"
    );
}

/// RFC 4231, test case 2.
#[test]
fn hmac_sha_512() {
    let mac = hmac_sha512(b"Jefe", &[b"what do ya want ", b"for nothing?"]).truncated::<32>();
    assert_eq!(
        hex::encode(mac),
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
    );
    let same = hmac_sha512(b"Jefe", &[b"what do ya want for nothing?"]);
    assert!(same.starts_with(&mac));
    let mut other = mac;
    other[31] ^= 1;
    assert!(!same.starts_with(&other));
}

#[test]
fn secrets_compare() {
    let secret = Secret::new([7; 32]);
    assert!(secret.same_as(&secret.duplicate()));
    assert!(!secret.same_as(&Secret::new([8; 32])));
    assert!(Secret::<32>::from_slice(&[7; 32]).is_some_and(|copy| copy.same_as(&secret)));
    assert!(Secret::<32>::from_slice(&[7; 31]).is_none());
}
