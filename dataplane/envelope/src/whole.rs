//! Whole objects in memory: for tools and tests, and a short reading of the format in code. The gateway
//! does the same in pieces.

use sealgate_aead::NONCE_LEN;

use crate::envelope::{Envelope, Layout};
use crate::error::{LayoutError, Tampered};
use crate::keys::{Dek, ObjectId};
use crate::law::{CHUNK, CipherLen, PlainLen, STREAM_HEADER, TAG, object_plain_len};
use crate::stream::{SALT_LEN, StreamContext, StreamOpener, StreamSealer};
use crate::trailer::{Checksums, Trailer, TrailerVerifier};

/// A part to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct PlainPart<'a> {
    /// Its number, from 1.
    pub number: u16,
    /// Random bytes, fresh for every attempt.
    pub salt: [u8; SALT_LEN],
    /// Its plaintext.
    pub plaintext: &'a [u8],
}

/// Seals one stream: header, chunks, last chunk.
pub fn seal_stream(
    dek: &Dek,
    context: &StreamContext,
    salt: [u8; SALT_LEN],
    plaintext: &[u8],
) -> Vec<u8> {
    let (mut sealer, header) = StreamSealer::new(dek, context, salt);
    let mut stream = header.to_vec();
    let (chunks, last) = plaintext.as_chunks::<CHUNK>();
    for chunk in chunks {
        let start = stream.len();
        stream.extend(chunk);
        stream.extend([0; TAG]);
        sealer.seal_chunk(&mut stream[start..]);
    }
    let start = stream.len();
    stream.extend(last);
    stream.extend([0; TAG]);
    sealer.seal_last(&mut stream[start..]);
    stream
}

/// Opens one stream of a known place, all of it.
///
/// # Errors
/// [`Tampered`].
pub fn open_stream(dek: &Dek, context: &StreamContext, stream: &[u8]) -> Result<Vec<u8>, Tampered> {
    let (header, body) = stream
        .split_first_chunk::<STREAM_HEADER>()
        .ok_or(Tampered)?;
    let opener = StreamOpener::new(dek, context, header)?;
    let mut plaintext = Vec::with_capacity(body.len());
    let mut slots = body.chunks_exact(CHUNK + TAG);
    let mut index = 0;
    for slot in &mut slots {
        let start = plaintext.len();
        plaintext.extend(slot);
        opener.open_chunk(index, &mut plaintext[start..])?;
        plaintext.truncate(start + CHUNK);
        index += 1;
    }
    let start = plaintext.len();
    plaintext.extend(slots.remainder());
    opener.open_last(index, &mut plaintext[start..])?;
    plaintext.truncate(plaintext.len() - TAG);
    Ok(plaintext)
}

/// Seals the body of a single PUT. Its first [`STREAM_HEADER`] bytes go into the envelope too.
///
/// # Errors
/// [`LayoutError::TooLarge`] above 5 GiB.
pub fn seal_single(
    dek: &Dek,
    object: &ObjectId,
    salt: [u8; SALT_LEN],
    trailer_nonce: [u8; NONCE_LEN],
    plaintext: &[u8],
    checksums: Checksums,
) -> Result<Vec<u8>, LayoutError> {
    let trailer = Trailer::single(PlainLen(plaintext.len() as u64), checksums)?;
    let context = StreamContext {
        object_id: *object,
        part_number: 0,
    };
    let mut body = seal_stream(dek, &context, salt, plaintext);
    body.extend(trailer.seal(dek, object, trailer_nonce).into_vec());
    Ok(body)
}

/// Seals the body of a multipart object.
///
/// # Errors
/// [`LayoutError`] when the parts break S3's rules.
pub fn seal_multipart(
    dek: &Dek,
    object: &ObjectId,
    parts: &[PlainPart<'_>],
    trailer_nonce: [u8; NONCE_LEN],
    checksums: Checksums,
) -> Result<Vec<u8>, LayoutError> {
    let lengths = parts
        .iter()
        .map(|part| (part.number, part.plaintext.len() as u64));
    let trailer = Trailer::multipart(lengths, checksums)?;
    let mut body = Vec::with_capacity(trailer.object_len().0 as usize);
    for part in parts {
        let context = StreamContext {
            object_id: *object,
            part_number: part.number,
        };
        body.extend(seal_stream(dek, &context, part.salt, part.plaintext));
    }
    body.extend(trailer.seal(dek, object, trailer_nonce).into_vec());
    Ok(body)
}

/// Opens a whole object, whose DEK was unwrapped from `envelope`: the plaintext, and the trailer. Every byte
/// of `body` is authenticated.
///
/// # Errors
/// [`Tampered`].
pub fn open(dek: &Dek, envelope: &Envelope, body: &[u8]) -> Result<(Vec<u8>, Trailer), Tampered> {
    let object = &envelope.fields.object_id;
    let object_len = CipherLen(body.len() as u64);
    let verifier = match envelope.fields.layout {
        Layout::Empty { checksum } if body.is_empty() => {
            return Ok((Vec::new(), Trailer::of_nothing(checksum)));
        }
        Layout::Single { plain_len, .. } if object_plain_len(object_len) == Some(plain_len) => {
            TrailerVerifier::single(plain_len).map_err(|_| Tampered)?
        }
        Layout::Single { .. } | Layout::Empty { .. } => return Err(Tampered),
        Layout::Multipart => {
            let trailer = Trailer::open(dek, object, object_len, body)?;
            if trailer.is_single() {
                return Err(Tampered);
            }
            TrailerVerifier::multipart(&trailer)
        }
    };
    let start = body
        .len()
        .checked_sub(verifier.remaining() as usize)
        .ok_or(Tampered)?;
    let (streams, padded) = body.split_at(start);
    let trailer = verify(verifier, dek, object, padded)?;

    let context = |part_number| StreamContext {
        object_id: *object,
        part_number,
    };
    if let Layout::Single { header, .. } = envelope.fields.layout {
        if !streams.starts_with(&header) {
            return Err(Tampered);
        }
        return Ok((open_stream(dek, &context(0), streams)?, trailer));
    }
    let mut plaintext = Vec::with_capacity(trailer.plain_len().0 as usize);
    for part in trailer.parts() {
        let stream = part.stream_range();
        let stream = &streams[stream.start as usize..stream.end as usize];
        plaintext.extend(open_stream(dek, &context(part.number), stream)?);
    }
    Ok((plaintext, trailer))
}

fn verify(
    mut verifier: TrailerVerifier,
    dek: &Dek,
    object: &ObjectId,
    bytes: &[u8],
) -> Result<Trailer, Tampered> {
    verifier.push(bytes)?;
    verifier.finish(dek, object)
}
