//! How far away the store is, as one core measures it: nobody has to configure what every answer shows.

use std::cell::Cell;
use std::time::Duration;

/// Answers of which the least counts, at least; at most twice as many. Many, because a core that is busy notices answers
/// late, its own long reads being what it is busy with; and a store hardly ever moves.
const WINDOW: u32 = 256;
/// Answers without which it is not sure that a store is far: the first ones of a process come late for other reasons.
const ENOUGH: u32 = 4;

/// The least time that an answer has taken of late. The least, and not an average: a store that is near but busy has
/// one quick answer in a while, a store that is far has none.
#[derive(Debug)]
pub(crate) struct Distance {
    /// From here on it is far.
    far: Duration,
    /// Of the window before this one.
    before: Cell<Duration>,
    least: Cell<Duration>,
    count: Cell<u32>,
}

/// What the answers say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// One was quick.
    Near,
    /// None was quick, but there were only so few: none at all, perhaps.
    Unsure(u32),
    /// None was quick.
    Far,
}

impl Distance {
    pub(crate) fn new(far: Duration) -> Self {
        Self {
            far,
            before: Cell::new(Duration::MAX),
            least: Cell::new(Duration::MAX),
            count: Cell::new(0),
        }
    }

    /// An answer began this long after its request, which was a small one.
    pub(crate) fn answered(&self, took: Duration) {
        self.least.set(self.least.get().min(took));
        self.count.set(self.count.get() + 1);
        if self.count.get() >= WINDOW {
            self.before.set(self.least.replace(Duration::MAX));
            self.count.set(0);
        }
    }

    /// What the store takes to answer; `None` before it has.
    pub(crate) fn least(&self) -> Option<Duration> {
        let least = self.before.get().min(self.least.get());
        (least != Duration::MAX).then_some(least)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let few = self.before.get() == Duration::MAX && self.count.get() < ENOUGH;
        match self.least() {
            Some(least) if least < self.far => Verdict::Near,
            _ if few => Verdict::Unsure(self.count.get()),
            _ => Verdict::Far,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Duration = Duration::from_micros(300);
    const AWAY: Duration = Duration::from_millis(20);

    fn distance() -> Distance {
        Distance::new(Duration::from_millis(4))
    }

    #[test]
    fn one_quick_answer_among_many_says_near() {
        let distance = distance();
        for i in 0..100 {
            distance.answered(if i % 10 == 0 { NEAR } else { AWAY });
            assert_eq!(distance.verdict(), Verdict::Near, "{i}");
        }
        assert_eq!(distance.least(), Some(NEAR));
    }

    #[test]
    fn few_answers_are_not_sure_unless_one_is_quick() {
        for quick in 0..ENOUGH {
            let distance = distance();
            for i in 0..ENOUGH {
                assert_eq!(distance.verdict(), Verdict::Unsure(i));
                if i == quick {
                    break;
                }
                distance.answered(AWAY);
            }
            distance.answered(NEAR);
            assert_eq!(distance.verdict(), Verdict::Near);
        }
    }

    #[test]
    fn a_store_that_moves_is_noticed() {
        let distance = distance();
        (0..ENOUGH).for_each(|_| distance.answered(AWAY));
        assert_eq!(distance.verdict(), Verdict::Far);
        distance.answered(NEAR);
        assert_eq!(distance.verdict(), Verdict::Near);
        for i in 0..2 * WINDOW {
            distance.answered(AWAY);
            let near = i < WINDOW - ENOUGH - 1;
            assert!(!near || distance.verdict() == Verdict::Near, "{i}");
        }
        assert_eq!(distance.verdict(), Verdict::Far);
    }

    #[test]
    fn what_is_far_is_configured() {
        let distance = Distance::new(AWAY + NEAR);
        (0..ENOUGH).for_each(|_| distance.answered(AWAY));
        assert_eq!(distance.verdict(), Verdict::Near);
        let distance = Distance::new(AWAY);
        (0..ENOUGH).for_each(|_| distance.answered(AWAY));
        assert_eq!(distance.verdict(), Verdict::Far);
    }
}
