//! Numbers: what was measured of whom, and what it is held against.

use serde::Serialize;

use crate::relay::Driver;
use crate::units::median;

/// What was done, and what its cost is counted in.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Work {
    /// Such as `PUT 1 GiB`.
    pub(crate) title: String,
    /// Of the cost.
    pub(crate) unit: Unit,
}

/// Of a cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(crate) enum Unit {
    /// CPU seconds per GiB of payload.
    CpuPerGib,
    /// CPU microseconds per request.
    CpuPerRequest,
    /// Mebibytes of memory.
    Mib,
    /// Kibibytes of memory.
    Kib,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// System calls per MiB.
    CallsPerMib,
    /// Hundredths.
    Percent,
}

impl Unit {
    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Unit::CpuPerGib => "CPU-s/GiB",
            Unit::CpuPerRequest => "CPU-µs per request",
            Unit::Mib => "MiB",
            Unit::Kib => "KiB",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::CallsPerMib => "calls/MiB",
            Unit::Percent => "%",
        }
    }

    /// Digits after the point that mean something.
    pub(crate) const fn digits(self) -> usize {
        match self {
            Unit::CpuPerRequest | Unit::Mib | Unit::Percent => 1,
            Unit::CpuPerGib => 3,
            _ => 2,
        }
    }
}

impl Work {
    /// Something that is counted in `unit`.
    pub(crate) fn new(title: impl Into<String>, unit: Unit) -> Work {
        Work {
            title: title.into(),
            unit,
        }
    }
}

/// What one measurement is of.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Cell {
    /// What was done.
    pub(crate) work: Work,
    /// By whom.
    pub(crate) contender: String,
    /// Over how many connections.
    pub(crate) connections: usize,
    /// How it asked the kernel, where that is known.
    pub(crate) driver: Option<Driver>,
}

/// One round's numbers of a cell.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// In the unit of the work.
    pub(crate) cost: f64,
    /// GiB/s, or requests/s: what came of it, on a machine that the other ends share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    /// Of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl From<f64> for Sample {
    fn from(cost: f64) -> Sample {
        Sample {
            cost,
            rate: None,
            latency: None,
        }
    }
}

/// All rounds, in the order in which they were first measured.
#[derive(Default)]
pub(crate) struct Samples(Vec<(Cell, Vec<Sample>)>);

impl Samples {
    /// One more round of a cell.
    pub(crate) fn add(&mut self, cell: Cell, sample: impl Into<Sample>) {
        match self.0.iter_mut().find(|(known, _)| *known == cell) {
            Some((_, samples)) => samples.push(sample.into()),
            None => self.0.push((cell, vec![sample.into()])),
        }
    }

    /// All cells.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &(Cell, Vec<Sample>)> {
        self.0.iter()
    }

    /// All that was done, each once.
    pub(crate) fn works(&self) -> Vec<&Work> {
        let mut works: Vec<&Work> = Vec::new();
        for (cell, _) in &self.0 {
            if !works.contains(&&cell.work) {
                works.push(&cell.work);
            }
        }
        works
    }

    /// The median of what `of` takes from a cell's samples, if the cell was measured.
    pub(crate) fn median(
        &self,
        work: &Work,
        contender: &str,
        connections: usize,
        driver: Option<Driver>,
        of: impl Fn(&Sample) -> f64,
    ) -> Option<f64> {
        let (_, samples) = self.0.iter().find(|(cell, _)| {
            cell.work == *work
                && cell.contender == contender
                && cell.connections == connections
                && (driver.is_none() || cell.driver == driver)
        })?;
        Some(median(&samples.iter().map(of).collect::<Vec<_>>()))
    }

    /// The median cost of a cell.
    pub(crate) fn cost(
        &self,
        work: &Work,
        contender: &str,
        connections: usize,
        driver: Option<Driver>,
    ) -> Option<f64> {
        self.median(work, contender, connections, driver, |s| s.cost)
    }
}

/// A goal, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    /// Such as `G1`.
    pub(crate) goal: &'static str,
    /// What was compared.
    pub(crate) what: String,
    /// Median of the gateway.
    pub(crate) gateway: f64,
    /// The same of what it is held against, where there is such a thing.
    pub(crate) against: Option<f64>,
    /// What the goal is about: a ratio, a difference or a number by itself.
    pub(crate) result: f64,
    /// The result must not exceed this.
    pub(crate) limit: f64,
    /// And would better not exceed this.
    pub(crate) stretch: Option<f64>,
    /// Of the result; empty for a ratio.
    pub(crate) unit: &'static str,
}

impl Verdict {
    /// gateway / against.
    pub(crate) fn ratio(
        goal: &'static str,
        what: impl Into<String>,
        (gateway, against): (f64, f64),
        limit: f64,
        stretch: impl Into<Option<f64>>,
    ) -> Verdict {
        Verdict {
            goal,
            what: what.into(),
            gateway,
            against: Some(against),
            result: gateway / against,
            limit,
            stretch: stretch.into(),
            unit: "",
        }
    }

    /// A number by itself.
    pub(crate) fn absolute(
        goal: &'static str,
        what: impl Into<String>,
        gateway: f64,
        limit: f64,
        unit: &'static str,
    ) -> Verdict {
        Verdict {
            goal,
            what: what.into(),
            gateway,
            against: None,
            result: gateway,
            limit,
            stretch: None,
            unit,
        }
    }

    /// Whether it was reached.
    pub(crate) fn met(&self) -> bool {
        self.result <= self.limit
    }

    /// In a word.
    pub(crate) fn word(&self) -> &'static str {
        if !self.met() {
            "**missed**"
        } else if self.stretch.is_some_and(|stretch| self.result <= stretch) {
            "stretch"
        } else {
            "met"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_one_cell() {
        let mut samples = Samples::default();
        let work = Work::new("PUT", Unit::CpuPerGib);
        let cell = |contender: &str, driver| Cell {
            work: work.clone(),
            contender: contender.into(),
            connections: 1,
            driver: Some(driver),
        };
        for cost in [3.0, 1.0, 2.0] {
            samples.add(cell("a", Driver::Epoll), cost);
            samples.add(cell("a", Driver::IoUring), 10.0 * cost);
        }
        assert_eq!(
            samples.cost(&work, "a", 1, Some(Driver::IoUring)),
            Some(20.0)
        );
        assert_eq!(samples.cost(&work, "a", 1, Some(Driver::Epoll)), Some(2.0));
        assert_eq!(samples.cost(&work, "b", 1, None), None);
        assert_eq!(samples.works().len(), 1);
    }

    #[test]
    fn verdicts_have_three_words() {
        let verdict = |gateway| Verdict::ratio("G1", "", (gateway, 2.0), 1.3, 1.1);
        assert_eq!(verdict(2.0).word(), "stretch");
        assert_eq!(verdict(2.4).word(), "met");
        assert_eq!(verdict(2.7).word(), "**missed**");
    }
}
