//! Unwrapped KEKs by use and age: a least-recently-used cache whose entries are refreshed, expire, and may be used for
//! a grace past that.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::stats::Eviction;

/// How long entries are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// Most entries; the least recently used one goes first.
    pub(crate) capacity: usize,
    /// Time without use after which an entry goes.
    pub(crate) idle: Duration,
    /// Time past its own that an entry may still be had, as [`Lookup::Stale`].
    pub(crate) grace: Duration,
}

/// What is known under a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup<V> {
    Miss,
    /// The value, and how long it still holds.
    Fresh(V, Duration),
    /// The same, in its last fifth: time to get it anew.
    Due(V, Duration),
    /// Past its time, and how much of the grace is left.
    Stale(V, Duration),
}

/// See the module. Knows no clock: callers say what time it is.
pub(crate) struct Cache<K, V> {
    entries: HashMap<Arc<K>, Entry<V>>,
    /// Keys by the tick of their last use, oldest first.
    order: BTreeMap<u64, Arc<K>>,
    ages: Ages,
    tick: u64,
}

struct Entry<V> {
    value: V,
    tick: u64,
    used: Instant,
    due: Instant,
    expires: Instant,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    pub(crate) fn new(ages: Ages) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            ages: Ages {
                capacity: ages.capacity.max(1),
                ..ages
            },
            tick: 0,
        }
    }

    /// Other ages from now on; entries keep the time they were given.
    pub(crate) fn set_ages(&mut self, ages: Ages) {
        self.ages = ages;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value, unless it is too old; counts as a use.
    pub(crate) fn get(&mut self, key: &K, now: Instant) -> Lookup<V> {
        self.tick += 1;
        let Some(entry) = self.entries.get_mut(key) else {
            return Lookup::Miss;
        };
        if entry.over(&self.ages, now).is_some() {
            self.remove(key);
            return Lookup::Miss;
        }
        if let Some(owned) = self.order.remove(&entry.tick) {
            self.order.insert(self.tick, owned);
        }
        (entry.tick, entry.used) = (self.tick, now);
        let value = entry.value.clone();
        if now >= entry.expires {
            return Lookup::Stale(value, entry.expires + self.ages.grace - now);
        }
        let left = entry.expires - now;
        if now >= entry.due {
            Lookup::Due(value, left)
        } else {
            Lookup::Fresh(value, left)
        }
    }

    /// Puts a value in for `ttl`; how many others had to go.
    pub(crate) fn insert(&mut self, key: K, value: V, now: Instant, ttl: Duration) -> usize {
        self.tick += 1;
        let key = Arc::new(key);
        let entry = Entry {
            value,
            tick: self.tick,
            used: now,
            due: now + ttl.mul_f64(0.8),
            expires: now + ttl,
        };
        if let Some(old) = self.entries.insert(Arc::clone(&key), entry) {
            self.order.remove(&old.tick);
        }
        self.order.insert(self.tick, key);
        let mut gone = 0;
        while self.entries.len() > self.ages.capacity {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            self.entries.remove(&oldest);
            gone += 1;
        }
        gone
    }

    /// Forgets a value; whether there was one.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        let entry = self.entries.remove(key);
        if let Some(entry) = &entry {
            self.order.remove(&entry.tick);
        }
        entry.is_some()
    }

    /// Ends the time of all entries: each has to be had anew, or is used by grace.
    pub(crate) fn expire_all(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            entry.expires = entry.expires.min(now);
            entry.due = entry.due.min(now);
        }
    }

    /// Forgets what is too old or long unused, and says why.
    pub(crate) fn sweep(&mut self, now: Instant, mut gone: impl FnMut(Eviction)) {
        let (ages, order) = (self.ages, &mut self.order);
        self.entries
            .retain(|_, entry| match entry.over(&ages, now) {
                Some(why) => {
                    order.remove(&entry.tick);
                    gone(why);
                    false
                }
                None => true,
            });
    }

    /// Until when the longest-lived entry may be had, the grace included.
    pub(crate) fn until(&self) -> Option<Instant> {
        let ends = self.entries.values().map(|entry| entry.expires);
        ends.max().map(|end| end + self.ages.grace)
    }
}

impl<V> Entry<V> {
    /// Why the entry is of no more use, if so.
    fn over(&self, ages: &Ages, now: Instant) -> Option<Eviction> {
        if now >= self.expires + ages.grace {
            Some(Eviction::Expired)
        } else if now >= self.used + ages.idle {
            Some(Eviction::Idle)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn ages(capacity: usize, idle: u64, grace: u64) -> Ages {
        Ages {
            capacity,
            idle: Duration::from_secs(idle),
            grace: Duration::from_secs(grace),
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn entries_age_whatever_their_use() {
        let start = Instant::now();
        let mut cache = Cache::new(ages(4, 100, 0));
        cache.insert(1, "one", start, TTL);
        let at = |cache: &mut Cache<i32, &'static str>, n| cache.get(&1, start + seconds(n));
        assert_eq!(at(&mut cache, 5), Lookup::Fresh("one", seconds(5)));
        assert_eq!(at(&mut cache, 8), Lookup::Due("one", seconds(2)));
        assert_eq!(
            at(&mut cache, 10),
            Lookup::Miss,
            "a use does not prolong it"
        );
        assert_eq!(cache.len(), 0, "gone for good");
    }

    #[test]
    fn a_grace_follows_the_time() {
        let start = Instant::now();
        let mut cache = Cache::new(ages(4, 100, 20));
        cache.insert(1, (), start, TTL);
        assert_eq!(cache.until(), Some(start + seconds(30)));
        let stale = Lookup::Stale((), seconds(1));
        assert_eq!(cache.get(&1, start + seconds(29)), stale);
        assert_eq!(cache.get(&1, start + seconds(30)), Lookup::Miss);
    }

    #[test]
    fn an_ended_time_is_ended_for_all() {
        let start = Instant::now();
        let (mut with, mut without) = (Cache::new(ages(4, 100, 20)), Cache::new(ages(4, 100, 0)));
        for cache in [&mut with, &mut without] {
            cache.insert(1, (), start, TTL);
            cache.expire_all(start + seconds(1));
        }
        let later = start + seconds(2);
        assert_eq!(with.get(&1, later), Lookup::Stale((), seconds(19)));
        assert_eq!(without.get(&1, later), Lookup::Miss);
    }

    #[test]
    fn a_sweep_wipes_what_nobody_uses() {
        let start = Instant::now();
        let mut cache = Cache::new(ages(4, 4, 0));
        for n in 0..3 {
            cache.insert(n, (), start, if n == 2 { seconds(3) } else { TTL });
        }
        cache.get(&0, start + seconds(2));
        let mut gone = Vec::new();
        cache.sweep(start + seconds(4), |why| gone.push(why));
        gone.sort_by_key(|why| *why as u8);
        assert_eq!(gone, [Eviction::Expired, Eviction::Idle]);
        assert_eq!((cache.entries.len(), cache.order.len()), (1, 1));
    }

    proptest! {
        /// Against a plain list in order of use.
        #[test]
        fn keeps_the_most_recently_used(ops in prop::collection::vec((0u8..3, 0u8..12), 0..200)) {
            let now = Instant::now();
            let mut cache = Cache::new(ages(5, 100, 0));
            let mut model: Vec<u8> = Vec::new();
            for (op, key) in ops {
                let known = model.contains(&key);
                match op {
                    0 => { cache.insert(key, key, now, TTL); }
                    1 => prop_assert_eq!(cache.get(&key, now) != Lookup::Miss, known),
                    _ => prop_assert_eq!(cache.remove(&key), known),
                }
                model.retain(|k| *k != key || (op == 1 && !known));
                if op == 0 || (op == 1 && known) {
                    model.push(key);
                    if model.len() > 5 { model.remove(0); }
                }
                prop_assert_eq!(cache.entries.len(), model.len());
                prop_assert_eq!(cache.order.len(), model.len());
            }
        }
    }
}
