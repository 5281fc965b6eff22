//! A small least-recently-used cache whose entries also age.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keeps at most `capacity` values, each for at most `ttl`; the least recently used one goes first.
pub(crate) struct Cache<K, V> {
    entries: HashMap<Arc<K>, Entry<V>>,
    /// Keys by the tick of their last use, oldest first.
    order: BTreeMap<u64, Arc<K>>,
    capacity: usize,
    ttl: Duration,
    tick: u64,
}

struct Entry<V> {
    value: Arc<V>,
    used: u64,
    expires: Instant,
}

impl<K: Hash + Eq, V> Cache<K, V> {
    pub(crate) fn new(capacity: usize, ttl: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            capacity: capacity.max(1),
            ttl,
            tick: 0,
        }
    }

    /// The value, unless it is too old; counts as a use.
    pub(crate) fn get(&mut self, key: &K, now: Instant) -> Option<Arc<V>> {
        self.tick += 1;
        let entry = self.entries.get_mut(key)?;
        let owned = self.order.remove(&entry.used)?;
        if entry.expires <= now {
            self.entries.remove(key);
            return None;
        }
        entry.used = self.tick;
        self.order.insert(self.tick, owned);
        Some(Arc::clone(&entry.value))
    }

    /// Puts a value in, for one more `ttl`.
    pub(crate) fn insert(&mut self, key: K, value: Arc<V>, now: Instant) {
        self.tick += 1;
        let key = Arc::new(key);
        let entry = Entry {
            value,
            used: self.tick,
            expires: now + self.ttl,
        };
        if let Some(old) = self.entries.insert(Arc::clone(&key), entry) {
            self.order.remove(&old.used);
        }
        self.order.insert(self.tick, key);
        while self.entries.len() > self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            self.entries.remove(&oldest);
        }
    }

    /// Forgets every key that `keep` does not want.
    pub(crate) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
        self.order.retain(|_, key| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    #[test]
    fn entries_age() {
        let start = Instant::now();
        let mut cache = Cache::new(4, TTL);
        cache.insert(1, Arc::new("one"), start);
        assert_eq!(cache.get(&1, start + TTL / 2).as_deref(), Some(&"one"));
        assert!(
            cache.get(&1, start + TTL).is_none(),
            "a use does not prolong it"
        );
        assert!(cache.get(&1, start).is_none(), "gone for good");
    }

    #[test]
    fn retain_forgets_in_both_indexes() {
        let now = Instant::now();
        let mut cache = Cache::new(4, TTL);
        for n in 0..4 {
            cache.insert(n, Arc::new(n), now);
        }
        cache.retain(|n| n % 2 == 0);
        assert!(cache.get(&1, now).is_none() && cache.get(&2, now).is_some());
        assert_eq!((cache.entries.len(), cache.order.len()), (2, 2));
    }

    proptest! {
        /// Against a plain list in order of use.
        #[test]
        fn keeps_the_most_recently_used(ops in prop::collection::vec((any::<bool>(), 0u8..12), 0..200)) {
            let now = Instant::now();
            let mut cache = Cache::new(5, TTL);
            let mut model: Vec<u8> = Vec::new();
            for (insert, key) in ops {
                let known = model.contains(&key);
                if insert {
                    cache.insert(key, Arc::new(key), now);
                } else {
                    prop_assert_eq!(cache.get(&key, now).is_some(), known);
                }
                if insert || known {
                    model.retain(|k| *k != key);
                    model.push(key);
                    if model.len() > 5 { model.remove(0); }
                }
                prop_assert_eq!(cache.entries.len(), model.len());
                prop_assert_eq!(cache.order.len(), model.len());
            }
        }
    }
}
