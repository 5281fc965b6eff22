//! What one core has for itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use http::{HeaderMap, StatusCode};
use sealgate_aead::Secret;
use sealgate_backend::Store;
use sealgate_http1::{Framing, HttpDate};
use sealgate_s3::sigv4::sign::Signer;
use sealgate_s3::sigv4::verify::SigningKeyCache;
use sealgate_telemetry::{AccessLog, AuditLog, CoreMetrics, RequestIds};
use sealgate_uring::{Connector, Drain, Pool, Transport};

use crate::client::Client;
use crate::cors::CorsCache;
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
    /// Audit log: uses of objects' keys.
    pub audit: AuditLog,
    /// Request ids.
    pub ids: RequestIds,
    /// Set when the process shuts down.
    pub drain: Drain,
    /// Bytes from the operating system's generator.
    pub random: Random,
    pub(crate) signing_keys: RefCell<SigningKeyCache>,
    pub(crate) part_maps: PartMaps,
    pub(crate) cors: CorsCache,
    /// Of the configuration that the rest was made from.
    generation: Cell<u64>,
    store_users: RefCell<HashMap<String, Store<C>>>,
    pub(crate) date: RefCell<HttpDate>,
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
    /// See [`Core::audit`].
    pub audit: AuditLog,
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
            audit: parts.audit,
            ids: parts.ids,
            drain: parts.drain,
            random: Random(SystemRandom::new()),
            signing_keys: RefCell::default(),
            part_maps: PartMaps::default(),
            cors: CorsCache::default(),
            generation: Cell::new(0),
            store_users: RefCell::default(),
            date: RefCell::new(HttpDate::at(0)),
        })
    }

    /// Lets go of everything that was made from an earlier configuration: secrets and keys that may be gone from this one.
    pub(crate) fn adopt(&self, snapshot: &Snapshot) {
        if self.generation.replace(snapshot.generation) != snapshot.generation {
            self.signing_keys.borrow_mut().clear();
            self.store_users.borrow_mut().clear();
            self.keyring.end_epochs();
        }
    }

    /// Lets go of secrets whose time is over. To be called now and then: a core without requests has them too.
    pub fn tidy(&self) {
        self.adopt(&self.snapshot.load());
        self.keyring.sweep();
    }

    /// The store as the user whom `credential` stands for there.
    pub(crate) fn store_for(&self, credential: Option<&Credential>) -> Store<C> {
        let Some(user) = credential.and_then(|c| c.store_user.as_ref()) else {
            return self.store.clone();
        };
        self.store_users
            .borrow_mut()
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
        self.fill(&mut bytes);
        bytes
    }

    /// A fresh random key, which exists nowhere but in key memory.
    ///
    /// # Panics
    ///
    /// As [`bytes`](Self::bytes).
    #[must_use]
    pub fn secret<const N: usize>(&self) -> Secret<N> {
        let filled = Secret::fill_with(|bytes| {
            self.fill(bytes);
            Ok::<(), Infallible>(())
        });
        match filled {
            Ok(secret) => secret,
        }
    }

    fn fill(&self, bytes: &mut [u8]) {
        #[expect(
            clippy::expect_used,
            reason = "without randomness nothing may be sealed"
        )]
        self.0
            .fill(bytes)
            .expect("the operating system's random generator works");
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}
