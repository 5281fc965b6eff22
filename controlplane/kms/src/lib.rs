//! Where key-encryption keys (KEKs) come from and how the data plane asks for them.
//!
//! ```text
//! KMS key ──wraps──> KEK (32 bytes, one per epoch) ──wraps──> DEK (one per object)
//! ```
//!
//! A core that needs a KEK asks its [`KeyClient`]: the request crosses to the control plane over a bounded channel,
//! the [`KeyService`] answers it from its cache or from the key's [`Provider`], and the reply comes back over a
//! one-shot channel that works on any runtime. Nothing here is on the byte path: a core asks once per epoch and key.
//!
//! Providers are one trait; what every provider needs (cache, single flight, deadlines, retries, breakers, hedging,
//! fall-back, health checks) is done once, in the service. docs/kms/failure.md tells how it behaves.
#![forbid(unsafe_code)]

pub mod aws;
mod cache;
mod client;
pub mod env;
mod epoch;
mod error;
mod events;
pub mod file;
mod health;
pub mod kmip;
pub mod pkcs11;
mod policy;
mod provider;
mod service;
mod stats;
mod tls;
pub mod vault;
mod web;

pub use client::{KeyClient, KeyRequest};
pub use epoch::{EpochBounds, EpochLease, KekEpoch, UnwrappedKek};
pub use error::KeyError;
pub use events::{KeyEvent, KeyEvents, KeyOperation, KeySource};
pub use health::{KeyHealth, Standing};
pub use policy::KeyPolicy;
pub use provider::{GeneratedKek, Provider, ProviderFuture, RewrappedKek};
pub use service::{Endpoint, KeyService, KeyStatus, Keys, NamedKey, ServiceLimits, WRAPPED_MAX};
pub use stats::{EndpointReport, KeyReport, LATENCY_BOUNDS};
