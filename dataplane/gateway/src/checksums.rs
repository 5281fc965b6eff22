//! Checksums that a client proved of the plaintext: into the trailer, and back to clients that ask (S3-TRAPS 5).

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use sealgate_envelope::{Checksum, ChecksumAlgorithm, Checksums, Trailer};
use sealgate_s3::checksum::{self, Algorithm, Known};
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::xml::ShownChecksum;

use crate::reply::set;

const TYPE: &str = "x-amz-checksum-type";
const ALGORITHM: &str = "x-amz-checksum-algorithm";

/// What the trailer keeps.
pub(crate) fn for_trailer(known: &Known) -> Checksums {
    let mut checksums = Checksums::none();
    if let Some(checksum) = &known.checksum {
        checksums.insert(for_format(checksum, false));
    }
    if let Some(md5) = known.md5 {
        checksums.insert(Checksum {
            algorithm: ChecksumAlgorithm::Md5,
            composite: false,
            value: md5.to_vec(),
        });
    }
    checksums
}

/// What a part's ETag says of its checksum.
pub(crate) fn tagged(known: &Known) -> Option<Checksum> {
    Some(for_format(known.checksum.as_ref()?, false))
}

/// The checksum that an upload's object is to have, and whether it is composite: fixed when it is created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Declared {
    pub(crate) algorithm: Algorithm,
    pub(crate) composite: bool,
}

impl Declared {
    /// What CreateMultipartUpload asks for.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, S3Error> {
        let Some(algorithm) = named(headers)? else {
            return match headers.contains_key(TYPE) {
                false => Ok(None),
                true => Err(uncheckable(
                    "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.".into(),
                )),
            };
        };
        let composite = is_composite(headers, algorithm, None, None)?;
        Ok(Some(Self {
            algorithm,
            composite,
        }))
    }

    /// As an upload id holds it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (algorithm, kind) = text.split_once('/')?;
        Some(Self {
            algorithm: Algorithm::from_name(algorithm)?,
            composite: match kind {
                "COMPOSITE" => true,
                "FULL_OBJECT" => false,
                _ => return None,
            },
        })
    }

    fn kind(self) -> &'static str {
        if self.composite {
            "COMPOSITE"
        } else {
            "FULL_OBJECT"
        }
    }

    /// Tells the client.
    pub(crate) fn describe(self, headers: &mut HeaderMap) {
        set(
            headers,
            HeaderName::from_static(ALGORITHM),
            self.algorithm.as_str(),
        );
        headers.insert(TYPE, HeaderValue::from_static(self.kind()));
    }
}

impl std::fmt::Display for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.algorithm, self.kind())
    }
}

/// The algorithm that a request asks for.
pub(crate) fn named(headers: &HeaderMap) -> Result<Option<Algorithm>, S3Error> {
    let Some(value) = headers.get(ALGORITHM) else {
        return Ok(None);
    };
    let named = value
        .to_str()
        .ok()
        .and_then(|v| Algorithm::from_name(v.trim()));
    let named = named.ok_or_else(|| {
        uncheckable(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, \
             CRC64NVME, SHA1, SHA256]"
                .into(),
        )
    })?;
    Ok(Some(named))
}

/// A part of a multipart object, as far as checksums go.
pub(crate) struct PartSum {
    pub(crate) number: u16,
    pub(crate) len: u64,
    /// What its upload proved.
    pub(crate) proved: Option<checksum::Checksum>,
    /// What the client says when it completes the upload.
    pub(crate) claimed: Option<(Algorithm, String)>,
}

/// The checksum of a multipart object, made of its parts', and whether it is composite. Whatever the client claims, of a
/// part or of the whole, is compared, or refused where there is nothing to compare it with: never believed.
pub(crate) fn of_parts(
    headers: &HeaderMap,
    declared: Option<Declared>,
    parts: &[PartSum],
) -> Result<Option<(checksum::Checksum, bool)>, S3Error> {
    for part in parts {
        let Some((algorithm, value)) = &part.claimed else {
            continue;
        };
        match part.proved.filter(|p| p.algorithm() == *algorithm) {
            Some(proved) if proved.to_base64() == *value => {}
            Some(_) => {
                return Err(S3Error::new(ErrorCode::InvalidPart)
                    .detail("PartNumber", part.number.to_string()));
            }
            None => {
                return Err(uncheckable(format!(
                    "The {algorithm} of part {} cannot be checked: its upload proved none, or its ETag is not the one \
                     that its upload was answered with.",
                    part.number
                )));
            }
        }
    }
    let claimed = claimed(headers)?;
    let algorithm = match &claimed {
        Some((algorithm, _)) => Some(*algorithm),
        None => declared
            .map(|d| d.algorithm)
            .or_else(|| Some(parts.first()?.proved?.algorithm())),
    };
    let Some(algorithm) = algorithm else {
        return Ok(None);
    };
    let same = |p: &PartSum| p.proved.filter(|c| c.algorithm() == algorithm);
    let Some(sums) = parts.iter().map(same).collect::<Option<Vec<_>>>() else {
        return match claimed {
            None => Ok(None),
            Some(_) => Err(uncheckable(format!(
                "The {algorithm} of the object cannot be checked: that takes the {algorithm} of every part, sent with it, \
                 and the ETags that the parts' uploads were answered with."
            ))),
        };
    };
    let claimed = claimed.map(|(_, value)| value);
    let composite = is_composite(headers, algorithm, claimed.as_deref(), declared)?;
    let made = if composite {
        Some(checksum::Checksum::composite(algorithm, &sums))
    } else {
        let mut rest = sums.iter().zip(parts);
        let first = rest.next().map(|(sum, _)| *sum);
        rest.fold(first, |all, (sum, part)| {
            checksum::Checksum::concat(&all?, sum, part.len)
        })
    };
    if let (Some(made), Some(claimed)) = (&made, claimed) {
        let (value, count) = match claimed.split_once('-') {
            Some((value, count)) => (value, Some(count)),
            None => (&*claimed, None),
        };
        let count_holds = count.is_none_or(|c| composite && c == parts.len().to_string());
        if value != made.to_base64() || !count_holds {
            return Err(S3Error::with_message(
                ErrorCode::BadDigest,
                format!("The {algorithm} you specified did not match the calculated checksum."),
            ));
        }
    }
    Ok(made.map(|made| (made, composite)))
}

/// The one checksum of the object that the client names.
fn claimed(headers: &HeaderMap) -> Result<Option<(Algorithm, String)>, S3Error> {
    let mut found = None;
    for algorithm in Algorithm::ALL {
        for value in headers.get_all(algorithm.header()) {
            let value = String::from_utf8_lossy(value.as_bytes()).trim().to_owned();
            if found.replace((algorithm, value)).is_some() {
                return Err(S3Error::with_message(
                    ErrorCode::InvalidRequest,
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
        }
    }
    Ok(found)
}

/// Which type the object's checksum has: as the client says, or as S3 has it by itself.
fn is_composite(
    headers: &HeaderMap,
    algorithm: Algorithm,
    claimed: Option<&str>,
    declared: Option<Declared>,
) -> Result<bool, S3Error> {
    let declared = declared.filter(|d| d.algorithm == algorithm);
    let only_full = algorithm == Algorithm::Crc64Nvme;
    let only_composite = matches!(algorithm, Algorithm::Sha1 | Algorithm::Sha256);
    let kind = headers.get(TYPE).map(HeaderValue::as_bytes);
    let composite = match (kind, claimed) {
        (Some(b"COMPOSITE"), _) => true,
        (Some(b"FULL_OBJECT"), _) => false,
        (Some(other), _) => {
            let text = String::from_utf8_lossy(other).into_owned();
            let wrong = uncheckable("Value for x-amz-checksum-type header is invalid.".into());
            return Err(wrong.detail("ArgumentValue", text));
        }
        (None, _) if let Some(declared) = declared => declared.composite,
        (None, Some(claimed)) if !only_full && !only_composite => claimed.contains('-'),
        (None, _) => !only_full,
    };
    if let Some(declared) = declared.filter(|d| d.composite != composite) {
        return Err(uncheckable(format!(
            "The upload was created using the {} checksum mode. The complete request must use the same checksum mode.",
            declared.kind()
        )));
    }
    if composite && only_full || !composite && only_composite {
        let kind = if composite {
            "COMPOSITE"
        } else {
            "FULL_OBJECT"
        };
        return Err(S3Error::with_message(
            ErrorCode::InvalidRequest,
            format!(
                "The {kind} checksum type cannot be used with the {algorithm} checksum algorithm."
            ),
        ));
    }
    Ok(composite)
}

fn uncheckable(message: String) -> S3Error {
    S3Error::with_message(ErrorCode::InvalidRequest, message)
}

/// Refuses a checksum of the whole object, where nothing is known of its parts.
pub(crate) fn refuse_claims(headers: &HeaderMap) -> Result<(), S3Error> {
    match claimed(headers)? {
        None => Ok(()),
        Some((algorithm, _)) => Err(uncheckable(format!(
            "The {algorithm} of the object cannot be checked where objects are not encrypted: leave it out."
        ))),
    }
}

/// As the trailer keeps it.
pub(crate) fn for_format(checksum: &checksum::Checksum, composite: bool) -> Checksum {
    Checksum {
        algorithm: match checksum.algorithm() {
            Algorithm::Crc32 => ChecksumAlgorithm::Crc32,
            Algorithm::Crc32c => ChecksumAlgorithm::Crc32c,
            Algorithm::Crc64Nvme => ChecksumAlgorithm::Crc64Nvme,
            Algorithm::Sha1 => ChecksumAlgorithm::Sha1,
            Algorithm::Sha256 => ChecksumAlgorithm::Sha256,
        },
        composite,
        value: checksum.as_bytes().to_vec(),
    }
}

/// As clients know it; S3 shows no MD5 but in an ETag.
pub(crate) fn from_format(one: &Checksum) -> Option<checksum::Checksum> {
    let algorithm = match one.algorithm {
        ChecksumAlgorithm::Crc32 => Algorithm::Crc32,
        ChecksumAlgorithm::Crc32c => Algorithm::Crc32c,
        ChecksumAlgorithm::Crc64Nvme => Algorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1 => Algorithm::Sha1,
        ChecksumAlgorithm::Sha256 => Algorithm::Sha256,
        ChecksumAlgorithm::Md5 => return None,
    };
    checksum::Checksum::from_bytes(algorithm, &one.value)
}

/// What an object's trailer says of its bytes, as if they had been looked at just now.
pub(crate) fn known(trailer: &Trailer) -> Known {
    let mut of_bytes = trailer.checksums().iter().filter(|one| !one.composite);
    Known {
        checksum: of_bytes.find_map(from_format),
        ..Known::default()
    }
}

/// Whether the client wants an object's checksum.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    headers
        .get("x-amz-checksum-mode")
        .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"ENABLED"))
}

/// What clients see of the checksums that the trailer holds of the whole object.
pub(crate) fn shown(trailer: &Trailer) -> Vec<ShownChecksum> {
    let shown = trailer.checksums().iter().filter_map(|one| {
        let sum = from_format(one)?;
        let mut value = sum.to_base64();
        if one.composite {
            value = format!("{value}-{}", trailer.parts().count());
        }
        Some(ShownChecksum {
            algorithm: sum.algorithm(),
            value,
            composite: one.composite,
        })
    });
    shown.collect()
}

/// Tells the client in headers.
pub(crate) fn describe(trailer: &Trailer, headers: &mut HeaderMap) {
    for one in shown(trailer) {
        let name = HeaderName::from_static(one.algorithm.header());
        set(headers, name, &one.value);
        headers.insert("x-amz-checksum-type", HeaderValue::from_static(one.kind()));
    }
}

#[cfg(test)]
mod tests;
