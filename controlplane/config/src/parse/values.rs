//! The texts and numbers of single values.

use std::time::Duration;

use crate::model::Endpoint;

/// Binary and decimal units of sizes.
const SIZES: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Units of durations, milliseconds. `ms` stands before `s`, which it ends with, and before `m`.
const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// A number and a unit, nothing between them but spaces.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (unit, factor) = units.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text[..text.len() - unit.len()].trim_end();
    digits(number)?.checked_mul(*factor)
}

/// Digits alone: `u64::from_str` would take a plus sign as well.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    measure(text, SIZES).or_else(|| digits(text))
}

/// A duration; a bare number has no meaning.
pub(super) fn duration(text: &str) -> Option<Duration> {
    measure(text, DURATIONS).map(Duration::from_millis)
}

/// A store's address. No path, user, query or fragment.
pub(super) fn endpoint(text: &str) -> Option<Endpoint> {
    let (https, rest) = match text.split_once("://")? {
        ("https", rest) => (true, rest),
        ("http", rest) => (false, rest),
        _ => return None,
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':')?),
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || (!authority.starts_with('[') && !host.chars().all(is_name)) {
        return None;
    }
    let default = if https { 443 } else { 80 };
    let port = match port {
        Some(text) => u16::try_from(digits(text)?).ok().filter(|p| *p > 0)?,
        None => default,
    };
    let name = if authority.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    Some(Endpoint {
        https,
        host: host.to_owned(),
        port,
        // Signed and sent as clients do: without the port that goes without saying.
        authority: if port == default {
            name
        } else {
            format!("{name}:{port}")
        },
    })
}

/// A domain name, lower case.
pub(super) fn domain(text: &str) -> Option<String> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    (text.len() <= 253 && text.split('.').all(label)).then(|| text.to_ascii_lowercase())
}

/// Whether a text may name a bucket or several: `*` stands for any characters.
pub(super) fn bucket_pattern(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'*'))
}

/// Whether a text may name a key in `[keys.<name>]`.
pub(super) fn key_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// Whether a text looks like the name of an environment variable, and not like a secret put in its place.
pub(super) fn variable(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.as_bytes()[0].is_ascii_digit()
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The value that a misspelt one most likely stands for.
pub(super) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let close = |name: &&str| distance(given, name) <= 1 + name.len() / 5;
    known.filter(close).min_by_key(|name| distance(given, name))
}

/// Edits (a character more, less or other, two swapped) between two texts, without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| {
        s.chars()
            .map(|c| c.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    let (a, b) = (fold(a), fold(b));
    let mut rows: [Vec<usize>; 3] = [vec![], vec![], (0..=b.len()).collect()];
    for i in 1..=a.len() {
        rows.rotate_left(1);
        let mut row = vec![i];
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[1][j - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[0][j - 2] + 1);
            }
            row.push(best);
        }
        rows[2] = row;
    }
    rows[2][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("1KiB", Some(1024)),
            ("256 MiB", Some(256 << 20)),
            ("1PiB", Some(1 << 50)),
            ("3kB", Some(3000)),
            ("5TB", Some(5_000_000_000_000)),
            ("9B", Some(9)),
            ("1.5GiB", None),
            ("-1", None),
            ("+1", None),
            ("MiB", None),
            ("1K", None),
            ("", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("5ms", Some(5)),
            ("5s", Some(5000)),
            ("5m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("30", None),
            ("1d", None),
            ("s", None),
            ("-1s", None),
        ] {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn endpoints() {
        for (text, expected) in [
            ("http://s3.local", Some((false, "s3.local", 80, "s3.local"))),
            (
                "https://s3.local/",
                Some((true, "s3.local", 443, "s3.local")),
            ),
            (
                "https://s3.local:443",
                Some((true, "s3.local", 443, "s3.local")),
            ),
            (
                "http://127.0.0.1:8333",
                Some((false, "127.0.0.1", 8333, "127.0.0.1:8333")),
            ),
            (
                "http://[::1]:9000",
                Some((false, "::1", 9000, "[::1]:9000")),
            ),
            ("https://[::1]", Some((true, "::1", 443, "[::1]"))),
            ("s3.local", None),
            ("ftp://s3.local", None),
            ("http://", None),
            ("http://a b", None),
            ("http://a:0", None),
            ("http://a:65536", None),
            ("http://a:+80", None),
            ("http://user:pw@a", None),
            ("http://a/path", None),
            ("http://a?x", None),
            ("http://[::1", None),
            ("http://[zz]", None),
            ("http://[::1]x", None),
        ] {
            let got = endpoint(text);
            let got = got
                .as_ref()
                .map(|e| (e.https, e.host.as_str(), e.port, e.authority.as_str()));
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn misspelt_names_find_the_right_one() {
        let known = ["driver", "cores", "buffer_budget", "aead"];
        let find = |given| nearest(given, known.into_iter());
        assert_eq!(find("drivr"), Some("driver"));
        assert_eq!(find("Cores"), Some("cores"));
        assert_eq!(find("bufer_budgte"), Some("buffer_budget"));
        assert_eq!(find("endpoint"), None);
    }
}
