//! A circuit breaker: an endpoint that keeps failing is left alone for a while, then tried with one call.

use std::time::Duration;

use tokio::time::Instant;

/// Closed, open or half-open. Knows no clock: callers say what time it is.
pub(crate) struct Breaker {
    failures_to_open: u32,
    open_for: Duration,
    state: State,
}

enum State {
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    Open {
        until: Instant,
    },
    HalfOpen,
}

/// A call that was let through. It has to come back by [`Breaker::report`].
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// It decides whether the breaker closes again.
    probe: bool,
}

/// What a call said of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It answered, be it with a refusal.
    Well,
    /// No answer, a failure, or too much asked of it.
    Ill,
    /// The call ended before it could tell.
    None,
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened,
    Closed,
}

impl Breaker {
    pub(crate) fn new(failures_to_open: u32, open_for: Duration) -> Self {
        Self {
            failures_to_open: failures_to_open.max(1),
            open_for,
            state: State::Closed { failures: 0 },
        }
    }

    /// Lets a call through, or says when to come again.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Ticket, Duration> {
        match self.state {
            State::Closed { .. } => Ok(Ticket { probe: false }),
            State::Open { until } if now < until => Err(until - now),
            State::Open { .. } => {
                self.state = State::HalfOpen;
                Ok(Ticket { probe: true })
            }
            // The probe's answer is due any moment.
            State::HalfOpen => Err(Duration::from_secs(1).min(self.open_for)),
        }
    }

    /// Takes a call's evidence. That of calls from before it opened comes late and changes nothing.
    pub(crate) fn report(
        &mut self,
        ticket: Ticket,
        evidence: Evidence,
        now: Instant,
    ) -> Option<Change> {
        match (&mut self.state, evidence) {
            (State::Closed { failures }, Evidence::Well) => *failures = 0,
            (State::Closed { failures }, Evidence::Ill) => {
                *failures += 1;
                if *failures >= self.failures_to_open {
                    return Some(self.open(now));
                }
            }
            (State::HalfOpen, Evidence::Well) if ticket.probe => {
                self.state = State::Closed { failures: 0 };
                return Some(Change::Closed);
            }
            (State::HalfOpen, Evidence::Ill) if ticket.probe => {
                self.open(now);
            }
            // A probe that was given up: the next call is the probe.
            (State::HalfOpen, Evidence::None) if ticket.probe => {
                self.state = State::Open { until: now };
            }
            _ => {}
        }
        None
    }

    fn open(&mut self, now: Instant) -> Change {
        self.state = State::Open {
            until: now + self.open_for,
        };
        Change::Opened
    }

    /// 0 closed, 1 half-open, 2 open: as metrics show it.
    pub(crate) fn level(&self) -> u8 {
        match self.state {
            State::Closed { .. } => 0,
            State::HalfOpen => 1,
            State::Open { .. } => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(5);

    fn fail(breaker: &mut Breaker, now: Instant) -> Option<Change> {
        let ticket = breaker.admit(now).expect("admitted");
        breaker.report(ticket, Evidence::Ill, now)
    }

    #[test]
    fn opens_after_failures_in_a_row_and_closes_by_one_probe() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(3, OPEN_FOR);
        assert_eq!(fail(&mut breaker, now), None);
        assert_eq!(fail(&mut breaker, now), None);
        let ticket = breaker.admit(now).expect("closed");
        assert_eq!(breaker.report(ticket, Evidence::Well, now), None);
        assert_eq!(fail(&mut breaker, now), None, "a success starts over");
        assert_eq!(fail(&mut breaker, now), None);
        assert_eq!(fail(&mut breaker, now), Some(Change::Opened));
        assert_eq!(breaker.admit(now), Err(OPEN_FOR));
        now += OPEN_FOR;
        let probe = breaker.admit(now).expect("half-open");
        assert!(breaker.admit(now).is_err(), "one probe at a time");
        assert_eq!(breaker.report(probe, Evidence::Ill, now), None);
        assert_eq!(breaker.admit(now), Err(OPEN_FOR), "open again");
        now += OPEN_FOR;
        let probe = breaker.admit(now).expect("half-open");
        assert_eq!(
            breaker.report(probe, Evidence::Well, now),
            Some(Change::Closed)
        );
        assert!(breaker.admit(now).is_ok());
    }

    #[test]
    fn a_probe_that_was_given_up_leaves_room_for_the_next() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1, OPEN_FOR);
        fail(&mut breaker, now);
        let later = now + OPEN_FOR;
        let probe = breaker.admit(later).expect("half-open");
        breaker.report(probe, Evidence::None, later);
        assert!(breaker.admit(later).is_ok());
    }

    #[test]
    fn late_answers_neither_close_nor_open() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1, OPEN_FOR);
        let (late_well, late_ill) = (breaker.admit(now).unwrap(), breaker.admit(now).unwrap());
        fail(&mut breaker, now);
        breaker.report(late_well, Evidence::Well, now);
        assert_eq!(breaker.level(), 2);
        let later = now + OPEN_FOR;
        let probe = breaker.admit(later).expect("half-open");
        breaker.report(late_ill, Evidence::Ill, later);
        assert_eq!(breaker.level(), 1, "only the probe decides");
        breaker.report(probe, Evidence::Well, later);
        assert_eq!(breaker.level(), 0);
    }

    proptest! {
        /// Whatever calls do: no call passes while it is open, one at most while half-open, and it opens exactly
        /// after so many failures in a row.
        #[test]
        fn holds_back_as_promised(threshold in 1u32..6, steps in prop::collection::vec((0u8..5, 0u64..4000), 1..300)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(threshold, OPEN_FOR);
            let mut out: Vec<Ticket> = Vec::new();
            let (mut row, mut open_until) = (0, None::<Instant>);
            for (step, millis) in steps {
                now += Duration::from_millis(millis);
                if step < 2 {
                    let probes = out.iter().filter(|t| t.probe).count();
                    match breaker.admit(now) {
                        Ok(ticket) => {
                            prop_assert!(open_until.is_none_or(|until| now >= until));
                            prop_assert!(!ticket.probe || probes == 0);
                            prop_assert_eq!(ticket.probe, open_until.is_some());
                            out.push(ticket);
                        }
                        Err(wait) => {
                            prop_assert!(open_until.is_some() && wait <= OPEN_FOR);
                        }
                    }
                } else if let Some(ticket) = out.pop() {
                    let evidence = [Evidence::Well, Evidence::Ill, Evidence::None][step as usize - 2];
                    let decides = open_until.is_none() || ticket.probe;
                    breaker.report(ticket, evidence, now);
                    match evidence {
                        Evidence::Well if decides => (row, open_until) = (0, None),
                        Evidence::Ill if decides => {
                            row += 1;
                            if open_until.is_some() || row >= threshold {
                                open_until = Some(now + OPEN_FOR);
                            }
                        }
                        Evidence::None if decides && open_until.is_some() => open_until = Some(now),
                        _ => {}
                    }
                }
                prop_assert_eq!(breaker.level() > 0, open_until.is_some());
            }
        }
    }
}
