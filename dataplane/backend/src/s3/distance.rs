//! How far away the store is, as one core measures it: nobody has to configure what every answer shows.

use std::cell::Cell;
use std::time::Duration;

/// From here on a store is far: a request ahead costs less than waiting for its answer. In one data centre an answer
/// takes less; across a continent, or from a store that thinks first, ten times as much.
const FAR: Duration = Duration::from_millis(4);
/// The same of a connection, as long as nothing else is known: that includes resolving a name, and TLS.
const FAR_TO_CONNECT: Duration = Duration::from_millis(10);
/// Answers of which the least counts, at least; at most twice as many. Many, because a core that is busy notices answers
/// late, its own long reads being what it is busy with; and a store hardly ever moves.
const WINDOW: u32 = 256;
/// Answers without which nothing is far: the first ones of a process come late for other reasons.
const ENOUGH: u32 = 4;

/// The least time that an answer has taken of late. The least, and not an average: a store that is near but busy has
/// one quick answer in a while, a store that is far has none.
#[derive(Debug)]
pub(crate) struct Distance {
    connect: Cell<Duration>,
    /// Of the window before this one.
    before: Cell<Duration>,
    least: Cell<Duration>,
    count: Cell<u32>,
}

impl Default for Distance {
    fn default() -> Self {
        Self {
            connect: Cell::new(Duration::MAX),
            before: Cell::new(Duration::MAX),
            least: Cell::new(Duration::MAX),
            count: Cell::new(0),
        }
    }
}

impl Distance {
    /// A connection took this long to be made.
    pub(crate) fn connected(&self, took: Duration) {
        self.connect.set(self.connect.get().min(took));
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

    pub(crate) fn is_far(&self) -> bool {
        let few = self.before.get() == Duration::MAX && self.count.get() < ENOUGH;
        match self.least() {
            Some(_) if few => false,
            Some(least) => least >= FAR,
            None => (FAR_TO_CONNECT..Duration::MAX).contains(&self.connect.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: Duration = Duration::from_micros(300);
    const AWAY: Duration = Duration::from_millis(20);

    #[test]
    fn one_quick_answer_among_many_says_near() {
        let distance = Distance::default();
        assert!(!distance.is_far());
        for i in 0..100 {
            distance.answered(if i % 10 == 0 { NEAR } else { AWAY });
            assert!(!distance.is_far(), "{i}");
        }
        assert_eq!(distance.least(), Some(NEAR));
    }

    #[test]
    fn a_store_that_moves_is_noticed() {
        let distance = Distance::default();
        (1..ENOUGH).for_each(|_| distance.answered(AWAY));
        assert!(!distance.is_far(), "few answers say nothing");
        distance.answered(AWAY);
        assert!(distance.is_far());
        distance.answered(NEAR);
        assert!(!distance.is_far());
        for _ in 0..2 * WINDOW {
            distance.answered(AWAY);
        }
        assert!(distance.is_far());
    }

    #[test]
    fn a_connection_counts_until_an_answer_does() {
        let distance = Distance::default();
        distance.connected(AWAY);
        assert!(distance.is_far());
        distance.connected(NEAR);
        assert!(!distance.is_far());
        (0..ENOUGH).for_each(|_| distance.answered(AWAY));
        assert!(distance.is_far());
    }
}
