//! Request ids.

use std::cell::Cell;
use std::fmt::Write;

/// Makes request ids that look like S3's: 16 upper-case hexadecimal digits.
///
/// They are unique within a process and, by their seed, most likely across processes; they are no secret.
#[derive(Debug)]
pub struct RequestIds {
    state: Cell<u64>,
}

/// One request's id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestId(String);

impl RequestIds {
    /// Ids that follow from `seed`, which should be random for each core.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Cell::new(seed),
        }
    }

    /// The next id.
    #[must_use]
    pub fn next(&self) -> RequestId {
        // SplitMix64 (Steele, Lea, Flood 2014): a bijection of a counter, so no id comes twice in 2^64.
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let mut text = String::with_capacity(16);
        let _ = write!(text, "{z:016X}");
        RequestId(text)
    }
}

impl RequestId {
    /// As it stands in `x-amz-request-id`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::RequestIds;

    #[test]
    fn ids_are_sixteen_digits_and_differ() {
        let ids = RequestIds::new(7);
        let many: std::collections::HashSet<String> = (0..10_000)
            .map(|_| ids.next().as_str().to_owned())
            .collect();
        assert_eq!(many.len(), 10_000);
        assert!(
            many.iter()
                .all(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        );
    }
}
