use http::HeaderMap;
use sealgate_s3::checksum::{Algorithm, Checksum, Hasher};

use super::{Declared, PartSum, of_parts};

fn sum(algorithm: Algorithm, data: &[u8]) -> Checksum {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(data);
    hasher.finish()
}

/// Two parts, as their uploads proved them and a client names them.
fn parts(algorithm: Algorithm) -> Vec<PartSum> {
    [&b"first"[..], b"second part"]
        .into_iter()
        .zip(1..)
        .map(|(data, number)| {
            let proved = sum(algorithm, data);
            PartSum {
                number,
                len: data.len() as u64,
                claimed: Some((algorithm, proved.to_base64())),
                proved: Some(proved),
            }
        })
        .collect()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

fn made(headers: &HeaderMap, parts: &[PartSum]) -> Result<Option<(String, bool)>, String> {
    of_parts(headers, None, parts)
        .map(|made| made.map(|(sum, composite)| (sum.to_base64(), composite)))
        .map_err(|e| e.code.as_str().to_owned())
}

#[test]
fn the_whole_is_made_of_the_parts() {
    for algorithm in Algorithm::ALL {
        let parts = parts(algorithm);
        let whole = sum(algorithm, b"firstsecond part").to_base64();
        let sums = parts.iter().filter_map(|p| p.proved.as_ref());
        let composite = Checksum::composite(algorithm, sums).to_base64();
        let (full, by_parts) = (
            Ok(Some((whole.clone(), false))),
            Ok(Some((composite.clone(), true))),
        );
        let type_of = |kind: &'static str| headers(&[("x-amz-checksum-type", kind)]);
        let name = algorithm.header();
        let counted = format!("{composite}-2");
        if algorithm == Algorithm::Crc64Nvme {
            assert_eq!(made(&HeaderMap::new(), &parts), full);
            assert_eq!(
                made(&type_of("COMPOSITE"), &parts),
                Err("InvalidRequest".into())
            );
            assert_eq!(made(&headers(&[(name, &whole)]), &parts), full);
            continue;
        }
        assert_eq!(made(&HeaderMap::new(), &parts), by_parts);
        assert_eq!(made(&headers(&[(name, &counted)]), &parts), by_parts);
        let wrong = format!("{composite}-3");
        assert_eq!(
            made(&headers(&[(name, &wrong)]), &parts),
            Err("BadDigest".into())
        );
        if matches!(algorithm, Algorithm::Crc32 | Algorithm::Crc32c) {
            assert_eq!(made(&type_of("FULL_OBJECT"), &parts), full);
            assert_eq!(made(&headers(&[(name, &whole)]), &parts), full);
            assert_eq!(
                made(&headers(&[(name, &composite)]), &parts),
                Err("BadDigest".into())
            );
        } else {
            assert_eq!(
                made(&type_of("FULL_OBJECT"), &parts),
                Err("InvalidRequest".into())
            );
        }
    }
}

#[test]
fn claims_are_compared_or_refused() {
    let good = || parts(Algorithm::Crc32);
    let none = HeaderMap::new();
    let mut lying = good();
    lying[1].claimed = lying[0].claimed.clone();
    assert_eq!(made(&none, &lying), Err("InvalidPart".into()));
    let mut unproved = good();
    unproved[1].proved = None;
    assert_eq!(made(&none, &unproved), Err("InvalidRequest".into()));
    unproved[1].claimed = None;
    assert_eq!(made(&none, &unproved), Ok(None));
    let whole = sum(Algorithm::Crc32, b"firstsecond part").to_base64();
    let claim = headers(&[("x-amz-checksum-crc32", &whole)]);
    assert_eq!(made(&claim, &unproved), Err("InvalidRequest".into()));
    let other = headers(&[("x-amz-checksum-sha256", &whole)]);
    assert_eq!(made(&other, &good()), Err("InvalidRequest".into()));
    let two = headers(&[
        ("x-amz-checksum-sha256", &whole),
        ("x-amz-checksum-crc32", &whole),
    ]);
    assert_eq!(made(&two, &good()), Err("InvalidRequest".into()));
    let unnamed: Vec<_> = good()
        .into_iter()
        .map(|p| PartSum { claimed: None, ..p })
        .collect();
    assert_eq!(made(&claim, &unnamed), Ok(Some((whole, false))));
}

#[test]
fn what_an_upload_was_created_for_holds() {
    let asked = |algorithm: &'static str, kind: &'static str| {
        let kind = Some(("x-amz-checksum-type", kind)).filter(|k| !k.1.is_empty());
        let algorithm = Some(("x-amz-checksum-algorithm", algorithm)).filter(|a| !a.1.is_empty());
        let pairs: Vec<_> = algorithm.into_iter().chain(kind).collect();
        Declared::of(&headers(&pairs)).map_err(|e| e.code.as_str().to_owned())
    };
    for wrong in [
        ("CRC7", ""),
        ("", "COMPOSITE"),
        ("CRC32", "HALF"),
        ("SHA1", "FULL_OBJECT"),
        ("CRC64NVME", "COMPOSITE"),
    ] {
        assert_eq!(
            asked(wrong.0, wrong.1),
            Err("InvalidRequest".into()),
            "{wrong:?}"
        );
    }
    assert_eq!(asked("", ""), Ok(None));
    let by_itself = asked("crc32", "").unwrap().unwrap();
    assert_eq!(by_itself.to_string(), "CRC32/COMPOSITE");
    let full = asked("CRC32", "FULL_OBJECT").unwrap().unwrap();
    assert_eq!(Declared::parse(&full.to_string()), Some(full));
    assert_eq!(Declared::parse("CRC32/HALF"), None);

    let parts = parts(Algorithm::Crc32);
    let kind = |headers: &HeaderMap| {
        let made = of_parts(headers, Some(full), &parts);
        made.map(|made| made.map(|(_, composite)| composite))
            .map_err(|e| e.code.as_str().to_owned())
    };
    assert_eq!(kind(&HeaderMap::new()), Ok(Some(false)));
    let other = headers(&[("x-amz-checksum-type", "COMPOSITE")]);
    assert_eq!(kind(&other), Err("InvalidRequest".into()));
}
