//! The end of every file: what is known of the body in front of it.
//!
//! ```text
//! body ‖ record ‖ footer (48 bytes)
//! footer = "SGATEOBJ" ‖ version (u16) ‖ 0 (u16) ‖ record length (u32) ‖ body length (u64)
//!          ‖ first 24 bytes of SHA-256(record ‖ first 24 bytes of the footer)
//! record = etag (u16 length) ‖ modified, ms (i64) ‖ key (u16 length; of uploads only) ‖ headers (u16 count),
//!          each a name (u16 length) and a value (u32 length)
//! ```
//!
//! Integers are little-endian. One file holds both body and metadata so that one rename publishes both, and the record
//! comes last so that a copy can share the body's blocks. The hash tells a whole file from a damaged one; it
//! authenticates nothing (the envelope does).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use aws_lc_rs::digest::{Context, SHA256};
use http::{HeaderMap, HeaderName, HeaderValue};

const MAGIC: &[u8; 8] = b"SGATEOBJ";
const VERSION: u16 = 1;
/// Length of the footer, bytes.
pub(super) const FOOTER: usize = 48;
/// The footer's bytes that are hashed with the record.
const HASHED: usize = 24;
/// Longest record, bytes. S3 allows 8 KiB of headers in a PUT, so this is ample, and it bounds what a read allocates.
const MAX_RECORD: usize = 64 * 1024;
/// Bytes read from the end of a file at first: holds nearly every record, and small objects entirely.
pub(super) const TAIL: usize = 4096;

/// What a file says of its body.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// 32 hex digits, and `-N` after them for N parts.
    pub(super) etag: String,
    /// When it was written, milliseconds since the epoch.
    pub(super) modified: i64,
    /// The key that an upload is for; empty elsewhere.
    pub(super) key: Vec<u8>,
    /// Everything that was to be stored with the body.
    pub(super) headers: HeaderMap,
}

/// What the last bytes of a file gave.
pub(super) enum Tail {
    /// The record and the length of the body.
    Whole(Record, u64),
    /// So many last bytes of the file are needed.
    Needs(usize),
}

impl Record {
    /// The bytes that follow a body of `body_len` bytes; `None` when the headers are too large.
    pub(super) fn encode(&self, body_len: u64) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(512);
        put_short(&mut out, self.etag.as_bytes())?;
        out.extend(self.modified.to_le_bytes());
        put_short(&mut out, &self.key)?;
        out.extend(u16::try_from(self.headers.len()).ok()?.to_le_bytes());
        for (name, value) in &self.headers {
            put_short(&mut out, name.as_str().as_bytes())?;
            out.extend(u32::try_from(value.len()).ok()?.to_le_bytes());
            out.extend(value.as_bytes());
        }
        let len = out.len();
        if len > MAX_RECORD {
            return None;
        }
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(0u16.to_le_bytes());
        out.extend(u32::try_from(len).ok()?.to_le_bytes());
        out.extend(body_len.to_le_bytes());
        let hash = hash(&out);
        out.extend(hash);
        Some(out)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Reader(bytes);
        let etag = String::from_utf8(rest.short()?.to_vec()).ok()?;
        let modified = i64::from_le_bytes(rest.array()?);
        let key = rest.short()?.to_vec();
        let count = u16::from_le_bytes(rest.array()?);
        let mut headers = HeaderMap::new();
        for _ in 0..count {
            let name = HeaderName::from_bytes(rest.short()?).ok()?;
            let len = u32::from_le_bytes(rest.array()?);
            let value = HeaderValue::from_bytes(rest.take(len as usize)?).ok()?;
            headers.append(name, value);
        }
        rest.0.is_empty().then_some(Self {
            etag,
            modified,
            key,
            headers,
        })
    }

    /// Reads the record of a whole file, with plain calls: for the blocking pool.
    pub(super) fn read(file: &File) -> io::Result<(Self, u64)> {
        let len = file.metadata()?.len();
        let mut want = TAIL;
        loop {
            let mut tail = vec![0; usize::try_from(len).map_or(want, |len| len.min(want))];
            let from = len - tail.len() as u64;
            file.read_exact_at(&mut tail, from)?;
            match decode(&tail, len)? {
                Tail::Whole(record, body_len) => return Ok((record, body_len)),
                Tail::Needs(more) => want = more,
            }
        }
    }
}

/// Reads the record from the last bytes of a file of `file_len` bytes.
///
/// # Errors
/// `InvalidData` when the file is not whole.
pub(super) fn decode(tail: &[u8], file_len: u64) -> io::Result<Tail> {
    let damaged =
        |what| io::Error::new(io::ErrorKind::InvalidData, format!("damaged file: {what}"));
    let Some(footer) = tail.last_chunk::<FOOTER>() else {
        return Err(damaged("shorter than a footer"));
    };
    if !footer.starts_with(MAGIC) {
        return Err(damaged("no footer"));
    }
    let mut fields = Reader(&footer[MAGIC.len()..]);
    let mut parse = || {
        let version = u32::from_le_bytes(fields.array()?);
        let record_len = u32::from_le_bytes(fields.array()?) as usize;
        Some((version, record_len, u64::from_le_bytes(fields.array()?)))
    };
    let (version, record_len, body_len) = parse().ok_or_else(|| damaged("no footer"))?;
    if version != u32::from(VERSION) {
        return Err(damaged("written by a later version"));
    }
    let whole = record_len + FOOTER;
    if record_len > MAX_RECORD || body_len.checked_add(whole as u64) != Some(file_len) {
        return Err(damaged("its length is not what the footer says"));
    }
    if whole > tail.len() {
        return Ok(Tail::Needs(whole));
    }
    let end = &tail[tail.len() - whole..];
    if hash(&end[..record_len + HASHED]) != footer[HASHED..] {
        return Err(damaged("the hash of its record is wrong"));
    }
    let record =
        Record::decode(&end[..record_len]).ok_or_else(|| damaged("its record is malformed"))?;
    Ok(Tail::Whole(record, body_len))
}

fn hash(bytes: &[u8]) -> [u8; FOOTER - HASHED] {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    let mut out = [0; FOOTER - HASHED];
    out.copy_from_slice(&context.finish().as_ref()[..FOOTER - HASHED]);
    out
}

fn put_short(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend(u16::try_from(bytes.len()).ok()?.to_le_bytes());
    out.extend(bytes);
    Some(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let len = u16::from_le_bytes(self.array()?);
        self.take(len.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn record(value: &[u8]) -> Record {
        let mut headers = HeaderMap::new();
        headers.append("x-amz-meta-a", HeaderValue::from_bytes(value).unwrap());
        headers.append("x-amz-meta-a", HeaderValue::from_static("second"));
        headers.append("content-type", HeaderValue::from_static(""));
        Record {
            etag: "0123456789abcdef0123456789abcdef-3".into(),
            modified: 1_700_000_000_123,
            key: b"k/\n".to_vec(),
            headers,
        }
    }

    #[test]
    fn records_survive_files_of_any_size() {
        for (body, value) in [
            (0, 10),
            (1, 10),
            (TAIL, 10),
            (100_000, 10),
            (5, TAIL),
            (0, 60_000),
        ] {
            let record = record(&vec![b'\xe9'; value]);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![7; body]).unwrap();
            file.write_all(&record.encode(body as u64).unwrap())
                .unwrap();
            assert_eq!(Record::read(&file).unwrap(), (record, body as u64));
        }
        assert_eq!(record(&vec![b'x'; MAX_RECORD]).encode(0), None);
    }

    #[test]
    fn every_flip_and_every_cut_is_noticed() {
        let record = record(b"value");
        let mut whole = b"body".to_vec();
        whole.extend(record.encode(4).unwrap());
        assert!(matches!(
            decode(&whole, whole.len() as u64),
            Ok(Tail::Whole(_, 4))
        ));
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut], cut as u64).is_err(), "cut at {cut}");
        }
        for bit in 4 * 8..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped, flipped.len() as u64).is_err(), "bit {bit}");
        }
    }
}
