//! What a gateway proved of a part, in the ETag that it answers with: the client hands it back when it completes the
//! upload, so that the object's checksum can be made of its parts' without any state. Nothing of it is ever stored.

use sealgate_aead::{Mac, hmac_sha512};

use crate::codec::{from_text, to_text};
use crate::keys::{Dek, ObjectId, Purpose};
use crate::trailer::{Checksum, ChecksumAlgorithm};

const MAC_LEN: usize = 16;
/// Longest tag, bytes before they become text: a SHA-256.
const MAX_LEN: usize = 1 + 32 + MAC_LEN;

/// The tag, as text, that says: part `number`, which the store calls `etag`, has this checksum.
pub fn seal(dek: &Dek, object: &ObjectId, number: u16, etag: &str, checksum: &Checksum) -> String {
    let mut bytes = Vec::with_capacity(MAX_LEN);
    bytes.push(checksum.algorithm.code());
    bytes.extend(&checksum.value);
    let mac = mac(dek, object, number, etag, &bytes).truncated::<MAC_LEN>();
    bytes.extend(mac);
    to_text(&bytes)
}

/// What a tag says of part `number`; `None` unless someone who had the DEK said it of this very part. In constant time.
pub fn open(dek: &Dek, object: &ObjectId, number: u16, etag: &str, tag: &str) -> Option<Checksum> {
    let bytes = from_text(tag.as_bytes(), 2 * MAX_LEN).ok()?;
    let (signed, claimed) = bytes.split_last_chunk::<MAC_LEN>()?;
    let (code, value) = signed.split_first()?;
    let algorithm = ChecksumAlgorithm::from_code(*code)?;
    let said = value.len() == algorithm.value_len()
        && mac(dek, object, number, etag, signed).starts_with(claimed);
    said.then(|| Checksum {
        algorithm,
        composite: false,
        value: value.to_vec(),
    })
}

fn mac(dek: &Dek, object: &ObjectId, number: u16, etag: &str, said: &[u8]) -> Mac {
    let key = dek.derive(Purpose::PartTag, object);
    // Only `etag` has a length of its own: what follows it begins with its algorithm, which says how long it is.
    let len = (etag.len() as u64).to_be_bytes();
    hmac_sha512(
        key.expose(),
        &[&number.to_be_bytes(), &len, etag.as_bytes(), said],
    )
}

#[cfg(test)]
mod tests {
    use sealgate_aead::Secret;

    use super::*;

    #[test]
    fn a_tag_opens_for_its_part_alone() {
        let (dek, other) = (
            Dek::new(Secret::new([1; 32])),
            Dek::new(Secret::new([2; 32])),
        );
        let (object, another) = (ObjectId([3; 16]), ObjectId([4; 16]));
        for algorithm in ChecksumAlgorithm::ALL {
            let checksum = Checksum {
                algorithm,
                composite: false,
                value: (0..algorithm.value_len() as u8).collect(),
            };
            let tag = seal(&dek, &object, 7, "etag", &checksum);
            assert_eq!(open(&dek, &object, 7, "etag", &tag), Some(checksum));
            assert_eq!(open(&other, &object, 7, "etag", &tag), None);
            assert_eq!(open(&dek, &another, 7, "etag", &tag), None);
            assert_eq!(open(&dek, &object, 8, "etag", &tag), None);
            assert_eq!(open(&dek, &object, 7, "etah", &tag), None);
            for i in 0..tag.len() {
                let mut changed = tag.clone().into_bytes();
                changed[i] = if changed[i] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(changed).unwrap();
                assert_eq!(open(&dek, &object, 7, "etag", &changed), None, "{i}");
                assert_eq!(open(&dek, &object, 7, "etag", &tag[..i]), None, "{i}");
            }
        }
    }
}
