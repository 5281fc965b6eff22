//! What is done, how often, and with how many bytes.

use std::fmt;
use std::str::FromStr;

use crate::units::{parse_size, show_size, splitmix};

/// One kind of request, or of a few that belong together.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Verb {
    /// PutObject.
    Put,
    /// GetObject, whole.
    Get,
    /// GetObject of a range somewhere.
    Range,
    /// HeadObject.
    Head,
    /// ListObjectsV2.
    List,
    /// CreateMultipartUpload, UploadPart one after the other, CompleteMultipartUpload.
    Multipart,
}

impl Verb {
    const ALL: [Verb; 6] = [
        Verb::Put,
        Verb::Get,
        Verb::Range,
        Verb::Head,
        Verb::List,
        Verb::Multipart,
    ];

    /// As in a mix.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verb::Put => "put",
            Verb::Get => "get",
            Verb::Range => "range",
            Verb::Head => "head",
            Verb::List => "list",
            Verb::Multipart => "multipart",
        }
    }

    /// Whether it stores an object.
    pub(crate) const fn writes(self) -> bool {
        matches!(self, Verb::Put | Verb::Multipart)
    }
}

/// Things with weights: `get=8,put=2`; a weight left out is 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Weighted<T>(Vec<(T, u64)>);

impl<T: Copy> Weighted<T> {
    /// Always the same.
    pub(crate) fn only(one: T) -> Weighted<T> {
        Weighted(vec![(one, 1)])
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = T> {
        self.0.iter().map(|(one, _)| *one)
    }

    /// Which one comes in round `number`: the same in each run. `seed` keeps two choices of a round apart.
    pub(crate) fn pick(&self, number: u64, seed: u64) -> T {
        let sum: u64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut at = splitmix(number.wrapping_add(seed << 48)) % sum;
        for (one, weight) in &self.0 {
            if at < *weight {
                return *one;
            }
            at -= weight;
        }
        self.0[0].0
    }

    fn parse(text: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Weighted<T>, String> {
        let pair = |pair: &str| {
            let (name, weight) = pair.split_once('=').unwrap_or((pair, "1"));
            let weight: u64 = weight
                .parse()
                .map_err(|e| format!("weight {weight:?}: {e}"))?;
            Ok((one(name)?, weight))
        };
        let pairs = text
            .split(',')
            .map(pair)
            .collect::<Result<Vec<_>, String>>()?;
        match pairs.iter().map(|(_, weight)| weight).sum() {
            0_u64 => Err("all weights are 0".into()),
            _ => Ok(Weighted(pairs)),
        }
    }
}

impl FromStr for Weighted<Verb> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Weighted::parse(text, |name| {
            let names = Verb::ALL.map(Verb::name);
            let found = Verb::ALL.into_iter().find(|verb| verb.name() == name);
            found.ok_or_else(|| format!("{name:?} is none of {}", names.join(", ")))
        })
    }
}

impl FromStr for Weighted<u64> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Weighted::parse(text, parse_size)
    }
}

impl fmt::Display for Weighted<u64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (size, weight)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{}={weight}", show_size(*size))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_kept() {
        let mix: Weighted<Verb> = "get=8,put=2,list".parse().unwrap();
        let count = |verb| (0..11_000).filter(|n| mix.pick(*n, 1) == verb).count();
        assert!(
            (7_700..8_300).contains(&count(Verb::Get)),
            "{}",
            count(Verb::Get)
        );
        assert!(
            (1_700..2_300).contains(&count(Verb::Put)),
            "{}",
            count(Verb::Put)
        );
        assert!(
            (800..1_200).contains(&count(Verb::List)),
            "{}",
            count(Verb::List)
        );
        assert_eq!(count(Verb::Head), 0);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!("".parse::<Weighted<Verb>>().is_err());
        assert!("get=x".parse::<Weighted<Verb>>().is_err());
        assert!("get=0".parse::<Weighted<Verb>>().is_err());
        assert!(
            "fetch"
                .parse::<Weighted<Verb>>()
                .unwrap_err()
                .contains("multipart")
        );
        let sizes: Weighted<u64> = "1KiB=9,1GiB".parse().unwrap();
        assert_eq!(sizes.all().collect::<Vec<_>>(), [1 << 10, 1 << 30]);
    }
}
