//! Objects that `tests/data/make_vectors.py` wrote from the specification: they open, and are written again
//! to the same byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealgate_aead::Secret;
use sealgate_envelope::whole::{self, PlainPart};
use sealgate_envelope::*;
use serde::Deserialize;

use super::support::pattern;

#[derive(Deserialize)]
pub(crate) struct Vectors {
    objects: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    kek: String,
    dek: String,
    object_id: String,
    bucket: String,
    key: String,
    binding: String,
    key_name: String,
    key_version: String,
    wrapped_kek: String,
    dek_nonce: String,
    envelope: String,
    layout: String,
    parts: Vec<VectorPart>,
    plain_len: u64,
    trailer_nonce: String,
    checksums: Vec<(u8, String)>,
    body_sha256: String,
    body: Option<String>,
    metadata_nonce: String,
    metadata: Vec<(String, String)>,
    sealed_metadata: String,
    backend_id: Option<String>,
    upload_id: Option<String>,
}

#[derive(Deserialize)]
struct VectorPart {
    number: u16,
    len: usize,
    salt: String,
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

impl Vector {
    fn dek(&self) -> Dek {
        Dek::new(Secret::new(array(&self.dek)))
    }

    fn checksums(&self) -> Checksums {
        let mut checksums = Checksums::none();
        for (code, value) in &self.checksums {
            let algorithm = ChecksumAlgorithm::ALL[usize::from(code & 0x7F) - 1];
            checksums.insert(Checksum {
                algorithm,
                composite: code & 0x80 != 0,
                value: hex::decode(value).unwrap(),
            });
        }
        checksums
    }

    fn seal_body(&self, plaintext: &[u8]) -> Vec<u8> {
        let (dek, object) = (self.dek(), ObjectId(array(&self.object_id)));
        let trailer_nonce = array(&self.trailer_nonce);
        if self.layout == "empty" {
            return Vec::new();
        }
        if self.layout == "single" {
            let salt = array(&self.parts[0].salt);
            return whole::seal_single(
                &dek,
                &object,
                salt,
                trailer_nonce,
                plaintext,
                self.checksums(),
            )
            .unwrap();
        }
        let mut start = 0;
        let part = |part: &VectorPart| {
            start += part.len;
            PlainPart {
                number: part.number,
                salt: array(&part.salt),
                plaintext: &plaintext[start - part.len..start],
            }
        };
        let parts: Vec<_> = self.parts.iter().map(part).collect();
        whole::seal_multipart(&dek, &object, &parts, trailer_nonce, self.checksums()).unwrap()
    }

    fn seal_envelope(&self, body: &[u8]) -> Envelope {
        let layout = match self.layout.as_str() {
            "single" => Layout::Single {
                plain_len: PlainLen(self.plain_len),
                header: *body.first_chunk().unwrap(),
            },
            "empty" => Layout::Empty {
                checksum: self.checksums().iter().next().map(|c| c.algorithm),
            },
            _ => Layout::Multipart,
        };
        let binding = match self.binding.as_str() {
            "none" => Binding::None,
            "key" => Binding::Key,
            _ => Binding::BucketAndKey,
        };
        let kek = WrappedKek {
            name: self.key_name.clone(),
            version: self.key_version.clone(),
            wrapped: hex::decode(&self.wrapped_kek).unwrap(),
        };
        let fields = EnvelopeFields {
            layout,
            binding,
            object_id: ObjectId(array(&self.object_id)),
            kek,
        };
        fields
            .seal(
                &self.kek(),
                &self.dek(),
                array(&self.dek_nonce),
                &self.place(),
            )
            .unwrap()
    }

    fn kek(&self) -> Kek {
        Kek::new(&Secret::new(array(&self.kek)))
    }

    fn place(&self) -> Location<'_> {
        Location {
            bucket: self.bucket.as_bytes(),
            key: self.key.as_bytes(),
        }
    }
}

#[test]
fn objects_of_an_independent_implementation() {
    let vectors: Vectors = serde_json::from_str(include_str!("../data/objects.json")).unwrap();
    assert!(vectors.objects.len() >= 19);
    for vector in &vectors.objects {
        let name = &vector.name;
        // Written the same.
        let plaintext = pattern(vector.plain_len as usize);
        let body = vector.seal_body(&plaintext);
        let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
        assert_eq!(hex::encode(sum), vector.body_sha256, "{name}");
        assert_eq!(
            vector.seal_envelope(&body).encode().unwrap(),
            vector.envelope,
            "{name}"
        );
        let pairs: Vec<_> = vector
            .metadata
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let object = ObjectId(array(&vector.object_id));
        let metadata = seal_metadata(
            &vector.dek(),
            &object,
            array(&vector.metadata_nonce),
            &pairs,
            metadata::MAX_CHARS,
        );
        assert_eq!(metadata.unwrap(), vector.sealed_metadata, "{name}");

        // And opened.
        let body = vector
            .body
            .as_ref()
            .map_or(body, |body| STANDARD.decode(body).unwrap());
        let envelope = Envelope::decode(vector.envelope.as_bytes()).unwrap();
        let dek = envelope.unwrap_dek(&vector.kek(), &vector.place()).unwrap();
        let (opened, trailer) = whole::open(&dek, &envelope, &body).unwrap();
        assert!(opened == plaintext, "{name}");
        assert_eq!(*trailer.checksums(), vector.checksums(), "{name}");
        let opened = open_metadata(&dek, &object, vector.sealed_metadata.as_bytes()).unwrap();
        assert!(
            opened
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_slice()))
                .eq(pairs),
            "{name}"
        );

        let Some(upload_id) = &vector.upload_id else {
            continue;
        };
        let parsed = UploadId::parse(upload_id).unwrap();
        assert_eq!(
            Some(parsed.backend_id()),
            vector.backend_id.as_deref(),
            "{name}"
        );
        assert_eq!(parsed.verify(&dek), Ok(()), "{name}");
        let sealed = UploadId::seal(&dek, parsed.backend_id(), parsed.envelope()).unwrap();
        assert_eq!(sealed, *upload_id, "{name}");
    }
}
