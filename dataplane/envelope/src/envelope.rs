//! The envelope: what the store keeps in one metadata value so that an object can be opened with nothing
//! but itself and its key service.

use sealgate_aead::{NONCE_LEN, Secret, TAG_LEN};

use crate::codec::{Reader, VERSION, from_text, text_len, to_text};
use crate::error::{DecodeError, Tampered, TooLong};
use crate::keys::{Dek, Kek, ObjectId};
use crate::law::{MAX_PLAIN_LEN, PlainLen, STREAM_HEADER};
use crate::trailer::ChecksumAlgorithm;

/// The most characters of an encoded envelope. S3 allows 2 KB for all user metadata of an object; this
/// leaves the larger part of it to the client.
pub const MAX_CHARS: usize = 600;

/// Bytes of a wrapped DEK: nonce, sealed key, tag.
pub const WRAPPED_DEK_LEN: usize = NONCE_LEN + 32 + TAG_LEN;

/// Begins the associated data of a DEK's wrap.
const WRAP_LABEL: &[u8] = b"sealgate/v1 dek\0";

/// How the body is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One stream, part number 0. Its length and header are here too, so that a ranged read is one request.
    Single {
        /// Plaintext bytes of the object.
        plain_len: PlainLen,
        /// The stream's salt and commitment, the same 56 bytes that begin the body.
        header: [u8; STREAM_HEADER],
    },
    /// One stream for each part of a multipart upload; the trailer lists them.
    Multipart,
    /// Nothing: a folder marker, an empty object whose key ends with `/`, of which some stores keep no body. All that
    /// is to be known of it is here.
    Empty {
        /// Of which algorithm the client had sent a checksum; its value is
        /// [`that of no bytes`](ChecksumAlgorithm::of_nothing).
        checksum: Option<ChecksumAlgorithm>,
    },
}

/// What a wrapped DEK is bound to besides its own envelope: where the object lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Binding {
    /// The key: an object moved to another key in the store does not open. It survives replication to
    /// another bucket.
    #[default]
    Key,
    /// Bucket and key.
    BucketAndKey,
    /// Nothing: the object opens wherever it lies.
    None,
}

impl Binding {
    const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Key => 1,
            Self::BucketAndKey => 2,
        }
    }

    const fn from_code(code: u8) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::None),
            1 => Ok(Self::Key),
            2 => Ok(Self::BucketAndKey),
            other => Err(DecodeError::UnknownValue {
                field: "binding",
                value: other as u64,
            }),
        }
    }
}

/// Where an object lies in the store. The bytes are those of the names themselves, not percent-encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The bucket's name.
    pub bucket: &'a [u8],
    /// The object's key.
    pub key: &'a [u8],
}

/// A KEK as its key service wrapped it, and the names by which the service finds the key that unwraps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKek {
    /// The key's name in the gateway's configuration, at most 255 bytes.
    pub name: String,
    /// The version of that key, as its provider calls it (may be empty), at most 255 bytes.
    pub version: String,
    /// The wrapped KEK, as the provider returned it.
    pub wrapped: Vec<u8>,
}

/// All of an envelope but the wrapped DEK, which is bound to all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeFields {
    /// How the body is laid out.
    pub layout: Layout,
    /// What the DEK is bound to.
    pub binding: Binding,
    /// The object.
    pub object_id: ObjectId,
    /// The KEK that wraps the DEK.
    pub kek: WrappedKek,
}

impl EnvelopeFields {
    /// Wraps `dek` under `kek` for an object at `location`. `nonce` is random, and used for this wrap only.
    ///
    /// # Errors
    /// [`TooLong`] when the names or the wrapped KEK do not fit into an envelope.
    pub fn seal(
        self,
        kek: &Kek,
        dek: &Dek,
        nonce: [u8; NONCE_LEN],
        location: &Location<'_>,
    ) -> Result<Envelope, TooLong> {
        let encoded = self.encode()?;
        let mut wrapped_dek = [0; WRAPPED_DEK_LEN];
        let (nonce_room, sealed) = wrapped_dek.split_at_mut(NONCE_LEN);
        let (key, tag_room) = sealed.split_at_mut(32);
        nonce_room.copy_from_slice(&nonce);
        key.copy_from_slice(dek.expose());
        let tag = kek.0.seal(nonce, &self.wrap_aad(&encoded, location), key);
        tag_room.copy_from_slice(&tag);
        Ok(Envelope {
            fields: self,
            wrapped_dek,
        })
    }

    /// The encoding of these fields, which the wrapped DEK follows.
    fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let WrappedKek {
            name,
            version,
            wrapped,
        } = &self.kek;
        let mut bytes = Vec::with_capacity(MAX_CHARS);
        bytes.extend([VERSION, self.layout.code(), self.binding.code()]);
        bytes.extend(self.object_id.0);
        for (what, text) in [("the key name", name), ("the key version", version)] {
            let too_long = TooLong {
                what,
                len: text.len(),
                limit: u8::MAX.into(),
            };
            bytes.push(text.len().try_into().map_err(|_| too_long)?);
            bytes.extend(text.as_bytes());
        }
        let too_long = TooLong {
            what: "the wrapped KEK",
            len: wrapped.len(),
            limit: u16::MAX.into(),
        };
        bytes.extend(
            u16::try_from(wrapped.len())
                .map_err(|_| too_long)?
                .to_be_bytes(),
        );
        bytes.extend(wrapped);
        match &self.layout {
            Layout::Single { plain_len, header } => {
                bytes.extend(plain_len.0.to_be_bytes());
                bytes.extend(header);
            }
            Layout::Multipart => {}
            Layout::Empty { checksum } => bytes.push(checksum.map_or(0, ChecksumAlgorithm::code)),
        }
        match text_len(bytes.len() + WRAPPED_DEK_LEN) {
            len if len > MAX_CHARS => Err(TooLong {
                what: "the envelope",
                len,
                limit: MAX_CHARS,
            }),
            _ => Ok(bytes),
        }
    }

    /// Associated data of the DEK's wrap: a label, every field of the envelope, and the location as far as
    /// the binding goes. The fields end by themselves (their lengths precede them), and the binding is one
    /// of them, so no two different contents make the same bytes.
    fn wrap_aad(&self, encoded: &[u8], location: &Location<'_>) -> Vec<u8> {
        let mut aad = Vec::with_capacity(MAX_CHARS + location.key.len() + location.bucket.len());
        aad.extend(WRAP_LABEL);
        aad.extend(encoded);
        if self.binding == Binding::BucketAndKey {
            // S3 bucket names have at most 63 characters.
            aad.extend((location.bucket.len() as u16).to_be_bytes());
            aad.extend(location.bucket);
        }
        if self.binding != Binding::None {
            aad.extend(location.key);
        }
        aad
    }
}

impl Layout {
    const fn code(&self) -> u8 {
        match self {
            Self::Single { .. } => 0,
            Self::Multipart => 1,
            Self::Empty { .. } => 2,
        }
    }

    /// The fields of the layout with this code, which are the last before the wrapped DEK.
    fn decode(code: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match code {
            0 => Ok(Self::Single {
                plain_len: plain_len(reader.u64()?)?,
                header: reader.array()?,
            }),
            1 => Ok(Self::Multipart),
            2 => Ok(Self::Empty {
                checksum: match reader.u8()? {
                    0 => None,
                    code => Some(ChecksumAlgorithm::from_code(code).ok_or(
                        DecodeError::UnknownValue {
                            field: "checksum",
                            value: code.into(),
                        },
                    )?),
                },
            }),
            other => Err(DecodeError::UnknownValue {
                field: "layout",
                value: other.into(),
            }),
        }
    }
}

/// The envelope of one object: its fields, and the DEK wrapped so that it is bound to all of them.
///
/// A decoded envelope proves nothing yet; [`unwrap_dek`](Self::unwrap_dek) authenticates every field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Everything but the DEK.
    pub fields: EnvelopeFields,
    /// Nonce, sealed DEK and tag.
    pub wrapped_dek: [u8; WRAPPED_DEK_LEN],
}

impl Envelope {
    /// The value of `x-amz-meta-sealgate`: URL-safe base64, at most [`MAX_CHARS`] characters.
    ///
    /// # Errors
    /// [`TooLong`], for fields that were changed after sealing.
    pub fn encode(&self) -> Result<String, TooLong> {
        self.to_bytes().map(|bytes| to_text(&bytes))
    }

    /// Reads the value of `x-amz-meta-sealgate`.
    ///
    /// # Errors
    /// [`DecodeError`] for anything but an envelope of version 1; unknown values are refused, not skipped.
    pub fn decode(text: &[u8]) -> Result<Self, DecodeError> {
        Self::from_bytes(&from_text(text, MAX_CHARS)?)
    }

    /// Unwraps the DEK, and with it authenticates every field of this envelope and the object's location.
    ///
    /// # Errors
    /// [`Tampered`] when anything differs from what was sealed, or the KEK is another one.
    pub fn unwrap_dek(&self, kek: &Kek, location: &Location<'_>) -> Result<Dek, Tampered> {
        let encoded = self.fields.encode().map_err(|_| Tampered)?;
        let aad = self.fields.wrap_aad(&encoded, location);
        let (nonce, rest) = self
            .wrapped_dek
            .split_first_chunk()
            .expect("60 bytes begin with 12");
        let (sealed, tag) = rest
            .split_first_chunk::<32>()
            .expect("48 bytes begin with 32");
        let tag = tag.try_into().expect("16 bytes are left");
        let dek = Secret::fill_with(|key| {
            *key = *sealed;
            kek.0.open(*nonce, &aad, key, tag)
        })?;
        Ok(Dek::new(dek))
    }

    /// The same object under another KEK, at another location, or bound in another way: the body stays as it
    /// is. `nonce` is random, and used for this wrap only.
    ///
    /// # Errors
    /// [`TooLong`] when the names or the wrapped KEK do not fit.
    pub fn rewrap(
        &self,
        dek: &Dek,
        kek: &Kek,
        wrapped_kek: WrappedKek,
        binding: Binding,
        nonce: [u8; NONCE_LEN],
        location: &Location<'_>,
    ) -> Result<Self, TooLong> {
        let EnvelopeFields {
            layout, object_id, ..
        } = self.fields;
        EnvelopeFields {
            layout,
            binding,
            object_id,
            kek: wrapped_kek,
        }
        .seal(kek, dek, nonce, location)
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, TooLong> {
        let mut bytes = self.fields.encode()?;
        bytes.extend(self.wrapped_dek);
        Ok(bytes)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader(bytes);
        reader.version()?;
        let layout_code = reader.u8()?;
        let binding = Binding::from_code(reader.u8()?)?;
        let object_id = ObjectId(reader.array()?);
        let kek = WrappedKek {
            name: reader.short_text()?,
            version: reader.short_text()?,
            wrapped: reader.long_bytes()?.to_vec(),
        };
        let layout = Layout::decode(layout_code, &mut reader)?;
        let wrapped_dek = reader.array()?;
        reader.end()?;
        Ok(Self {
            fields: EnvelopeFields {
                layout,
                binding,
                object_id,
                kek,
            },
            wrapped_dek,
        })
    }
}

fn plain_len(value: u64) -> Result<PlainLen, DecodeError> {
    if value > MAX_PLAIN_LEN {
        return Err(DecodeError::UnknownValue {
            field: "plaintext length",
            value,
        });
    }
    Ok(PlainLen(value))
}
