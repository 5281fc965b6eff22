//! Upload ids: what a client is given for a multipart upload carries all that a gateway needs to go on
//! with it, so that any gateway can serve any part after any restart.

use sealgate_aead::hmac_sha512;

use crate::codec::{Reader, from_text, text_len, to_text};
use crate::envelope::{Envelope, Layout};
use crate::error::{DecodeError, Tampered, TooLong};
use crate::keys::{Dek, Purpose};

/// The most characters of an upload id.
pub const MAX_CHARS: usize = 1024;
/// Begins every upload id of version 1; no base64 of ours begins otherwise, and stores' own ids do not.
const PREFIX: &str = "sg1-";
const MAC_LEN: usize = 32;

/// The state of a multipart upload: the store's own upload id, and the envelope of the object to be.
#[derive(Clone, Debug)]
pub struct UploadId {
    backend_id: String,
    envelope: Envelope,
    mac: [u8; MAC_LEN],
}

impl UploadId {
    /// The upload id for the client: URL-safe, at most [`MAX_CHARS`] characters.
    ///
    /// # Errors
    /// [`TooLong`] when the store's upload id is too long to be carried beside the envelope.
    ///
    /// # Panics
    /// When `envelope` is of a single PUT.
    pub fn seal(dek: &Dek, backend_id: &str, envelope: &Envelope) -> Result<String, TooLong> {
        assert_eq!(
            envelope.fields.layout,
            Layout::Multipart,
            "uploads are multipart"
        );
        let envelope_bytes = envelope.to_bytes()?;
        let len = PREFIX.len() + text_len(2 + backend_id.len() + envelope_bytes.len() + MAC_LEN);
        if len > MAX_CHARS {
            return Err(TooLong {
                what: "the upload id",
                len,
                limit: MAX_CHARS,
            });
        }
        let mut bytes = signed_bytes(backend_id, &envelope_bytes);
        let mac = mac(dek, envelope, &bytes).truncated::<MAC_LEN>();
        bytes.extend(mac);
        Ok(format!("{PREFIX}{}", to_text(&bytes)))
    }

    /// Whether `text` looks like an upload id of this gateway, rather than one of the store's own.
    pub fn is_sealed(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Takes an upload id apart. Nothing in it is to be believed before [`verify`](Self::verify).
    ///
    /// # Errors
    /// [`DecodeError`] for anything that this version does not write.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        let text = text.strip_prefix(PREFIX).ok_or(DecodeError::NotBase64)?;
        let bytes = from_text(text.as_bytes(), MAX_CHARS - PREFIX.len())?;
        let (signed, mac) = bytes
            .split_last_chunk::<MAC_LEN>()
            .ok_or(DecodeError::Cut)?;
        let mut reader = Reader(signed);
        let backend_id =
            String::from_utf8(reader.long_bytes()?.to_vec()).map_err(|_| DecodeError::NotText)?;
        let envelope = Envelope::from_bytes(reader.0)?;
        if envelope.fields.layout != Layout::Multipart {
            return Err(DecodeError::UnknownValue {
                field: "layout",
                value: 0,
            });
        }
        Ok(Self {
            backend_id,
            envelope,
            mac: *mac,
        })
    }

    /// The envelope, from which the DEK is to be unwrapped (which authenticates the envelope).
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The store's upload id. It is only a claim before [`verify`](Self::verify).
    pub fn backend_id(&self) -> &str {
        &self.backend_id
    }

    /// Checks that store's id and envelope were put together by someone who had the DEK. In constant time.
    ///
    /// # Errors
    /// [`Tampered`] when they were not.
    pub fn verify(&self, dek: &Dek) -> Result<(), Tampered> {
        let envelope_bytes = self.envelope.to_bytes().map_err(|_| Tampered)?;
        let signed = signed_bytes(&self.backend_id, &envelope_bytes);
        if mac(dek, &self.envelope, &signed).starts_with(&self.mac) {
            Ok(())
        } else {
            Err(Tampered)
        }
    }
}

fn signed_bytes(backend_id: &str, envelope: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 + backend_id.len() + envelope.len() + MAC_LEN);
    // Longer than 65,535 is refused before: it would not fit into MAX_CHARS.
    bytes.extend((backend_id.len() as u16).to_be_bytes());
    bytes.extend(backend_id.as_bytes());
    bytes.extend(envelope);
    bytes
}

fn mac(dek: &Dek, envelope: &Envelope, signed: &[u8]) -> sealgate_aead::Mac {
    let key = dek.derive(Purpose::UploadId, &envelope.fields.object_id);
    hmac_sha512(key.expose(), &[signed])
}
