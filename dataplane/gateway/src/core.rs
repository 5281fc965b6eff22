//! What one core has for itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use http::{HeaderMap, StatusCode};
use sealgate_backend::Store;
use sealgate_http1::{Framing, HttpDate};
use sealgate_s3::sigv4::sign::Signer;
use sealgate_s3::sigv4::verify::SigningKeyCache;
use sealgate_telemetry::{AccessLog, CoreMetrics, RequestIds};
use sealgate_uring::{Connector, Drain, Pool, Transport};

use crate::client::Client;
use crate::keyring::Keyring;
use crate::parts::PartMaps;
use crate::snapshot::{Credential, Snapshot};

/// Everything that a core's connections share; nothing of it is shared with another core but the snapshot.
pub struct Core<C: Connector> {
    /// The configuration; read anew by each request.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Buffers.
    pub pool: Pool,
    /// The store, as the gateway's own user of it.
    pub store: Store<C>,
    /// Region that requests to the store are signed for.
    pub store_region: String,
    /// Key-encryption keys.
    pub keyring: Keyring,
    /// Counters.
    pub metrics: Arc<CoreMetrics>,
    /// Access log; entries are dropped, and counted, when it is full.
    pub access_log: AccessLog,
    /// Request ids.
    pub ids: RequestIds,
    /// Set when the process shuts down.
    pub drain: Drain,
    /// Bytes from the operating system's generator.
    pub random: Random,
    pub(crate) signing_keys: RefCell<SigningKeyCache>,
    pub(crate) part_maps: PartMaps,
    store_users: RefCell<StoreUsers<C>>,
    pub(crate) date: RefCell<HttpDate>,
}

struct StoreUsers<C: Connector> {
    generation: u64,
    by_access_key: HashMap<String, Store<C>>,
}

/// What a core is made of.
pub struct CoreParts<C: Connector> {
    /// See [`Core::snapshot`].
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// See [`Core::pool`].
    pub pool: Pool,
    /// See [`Core::store`].
    pub store: Store<C>,
    /// See [`Core::store_region`].
    pub store_region: String,
    /// Asked for keys that the core lacks.
    pub keys: sealgate_kms::KeyClient,
    /// See [`Core::metrics`].
    pub metrics: Arc<CoreMetrics>,
    /// See [`Core::access_log`].
    pub access_log: AccessLog,
    /// See [`Core::ids`].
    pub ids: RequestIds,
    /// See [`Core::drain`].
    pub drain: Drain,
}

impl<C: Connector> Core<C> {
    /// Puts a core together.
    pub fn new(parts: CoreParts<C>) -> Rc<Self> {
        Rc::new(Self {
            snapshot: parts.snapshot,
            pool: parts.pool,
            store: parts.store,
            store_region: parts.store_region,
            keyring: Keyring::new(parts.keys),
            metrics: parts.metrics,
            access_log: parts.access_log,
            ids: parts.ids,
            drain: parts.drain,
            random: Random(SystemRandom::new()),
            signing_keys: RefCell::default(),
            part_maps: PartMaps::default(),
            store_users: RefCell::new(StoreUsers {
                generation: 0,
                by_access_key: HashMap::new(),
            }),
            date: RefCell::new(HttpDate::at(0)),
        })
    }

    /// The store as the user whom `credential` stands for there.
    pub(crate) fn store_for(
        &self,
        snapshot: &Snapshot,
        credential: Option<&Credential>,
    ) -> Store<C> {
        let Some(user) = credential.and_then(|c| c.store_user.as_ref()) else {
            return self.store.clone();
        };
        let mut users = self.store_users.borrow_mut();
        if users.generation != snapshot.generation {
            users.generation = snapshot.generation;
            users.by_access_key.clear();
        }
        users
            .by_access_key
            .entry(user.access_key.clone())
            .or_insert_with(|| {
                self.store.signed_by(Signer::new(
                    user.access_key.clone(),
                    user.secret.duplicate(),
                    None,
                    self.store_region.clone(),
                ))
            })
            .clone()
    }
}

impl<C: Connector> Core<C> {
    /// Puts a response's head into a client's output, with today's date.
    pub(crate) fn put_head<T: Transport>(
        &self,
        client: &mut Client<T>,
        status: StatusCode,
        headers: &HeaderMap,
        framing: Framing,
        keep_alive: bool,
    ) {
        let mut date = self.date.borrow_mut();
        date.update(u64::try_from(unix_seconds()).unwrap_or(0));
        client.put_head(status, headers, framing, keep_alive, &date);
    }
}

/// The operating system's random generator.
#[derive(Debug)]
pub struct Random(SystemRandom);

impl Random {
    /// `N` fresh random bytes.
    ///
    /// # Panics
    ///
    /// When the operating system has none: nothing can be sealed then.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        #[expect(
            clippy::expect_used,
            reason = "without randomness nothing may be sealed"
        )]
        self.0
            .fill(&mut bytes)
            .expect("the operating system's random generator works");
        bytes
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}
