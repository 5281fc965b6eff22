//! Sizes as people write them, and the plaintext that all instruments send.

/// Bytes of a mebibyte.
pub(crate) const MIB: usize = 1 << 20;

/// Bytes of a gibibyte.
pub(crate) const GIB: u64 = 1 << 30;

/// `123`, `16KiB`, `1MiB`, `1GiB`; a bare K, M or G is binary too.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(format!("unknown unit {unit:?}: use KiB, MiB or GiB")),
    };
    let number: u64 = number.parse().map_err(|e| format!("{text:?}: {e}"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("{text:?} is too large"))
}

/// For people: the largest unit that divides `bytes`.
pub(crate) fn show_size(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| bytes >> shift << shift == bytes && bytes >> shift > 0)
        .map_or(format!("{bytes} B"), |(shift, unit)| {
            format!("{} {unit}", bytes >> shift)
        })
}

/// Bytes that look random and depend on their place alone, so that a reader can check any range:
/// the little-endian words of SplitMix64 (Steele, Lea, Flood 2014) at counter `offset / 8`.
/// `offset` must be a multiple of 8.
pub(crate) fn fill_pattern(seed: u64, offset: u64, out: &mut [u8]) {
    debug_assert!(offset.is_multiple_of(8));
    let first = seed.wrapping_add(offset / 8);
    let mut words = out.chunks_exact_mut(8);
    let mut index = first;
    for word in &mut words {
        word.copy_from_slice(&splitmix(index).to_le_bytes());
        index = index.wrapping_add(1);
    }
    let rest = words.into_remainder();
    rest.copy_from_slice(&splitmix(index).to_le_bytes()[..rest.len()]);
}

/// A word of the pattern: also a random number that is the same in each run.
pub(crate) const fn splitmix(index: u64) -> u64 {
    let mut z = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The middle of the values, or the mean of the two in the middle. NaN of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("7"), Ok(7));
        assert_eq!(parse_size("16KiB"), Ok(16 << 10));
        assert_eq!(parse_size("3m"), Ok(3 << 20));
        assert_eq!(parse_size("20G"), Ok(20 << 30));
        assert!(parse_size("").is_err());
        assert!(parse_size("GiB").is_err());
        assert!(parse_size("5 parsecs").is_err());
        assert!(parse_size("99999999999G").is_err());
        for size in [1, 1023, 1024, 5 << 20, 20 << 30] {
            assert_eq!(parse_size(&show_size(size).replace(' ', "")), Ok(size));
        }
    }

    #[test]
    fn a_pattern_depends_on_the_place_alone() {
        let mut whole = [0; 100];
        fill_pattern(7, 0, &mut whole);
        let mut part = [0; 52];
        fill_pattern(7, 48, &mut part);
        assert_eq!(part, whole[48..]);
        assert_ne!(whole[..8], whole[8..16]);
    }

    #[test]
    fn medians() {
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
