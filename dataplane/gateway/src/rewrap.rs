//! Objects under another key, or a newer version of it: the data key is wrapped anew, the bytes stay as they are.
//!
//! The store keeps the envelope in the object's metadata, so an object is re-wrapped by replacing that. How a store can
//! be made to do so without undoing what somebody else writes at the same moment differs: [`Method`].

mod decide;
mod settle;
mod write;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use futures_util::lock::Mutex;
use sealgate_backend::Store;
use sealgate_backend::types::{BackendError, Location, ObjectInfo};
use sealgate_envelope::{Dek, Envelope, Kek, WrappedKek};
use sealgate_kms::{KeyError, RewrappedKek};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::ErrorCode;
use sealgate_s3::xml::Versioning;
use sealgate_telemetry::AuditKind;
use sealgate_uring::{Connector, sleep};

use crate::audit;
use crate::core::Core;
use crate::object::{ENVELOPE, METADATA, envelope_location, plain_len};
use crate::ops::copy_object::MAX_COPY;
use crate::request::STAGING_PREFIX;

pub use decide::{Decision, Target, decide};
pub use settle::UNSAFE;

/// How often one object is looked at again because it changed, or its store or key could not be reached.
const ATTEMPTS: u32 = 6;
/// Longest pause between two of these.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The key that objects shall be under; the one that their bucket rule names if there is none.
    pub to: Option<String>,
    /// Wrap the KEKs that there are with the newest version of their key, rather than put objects under a new KEK.
    pub keep_keks: bool,
    /// Also objects that are under the newest version already.
    pub all: bool,
    /// Copy objects whose deletion is forbidden: the copy is a new version under the same lock.
    pub copy_locked: bool,
    /// Nobody else writes meanwhile: conditions need not hold.
    pub no_writers: bool,
    /// How to write; found out when there is none.
    pub method: Option<Method>,
    /// Say what would be done.
    pub dry_run: bool,
    /// Longest copy in one request, and longest part of a longer one, bytes.
    pub max_copy: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            to: None,
            keep_keks: false,
            all: false,
            copy_locked: false,
            no_writers: false,
            method: None,
            dry_run: false,
            max_copy: MAX_COPY,
        }
    }
}

/// How a store is made to replace an envelope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// It copies the object onto itself with new metadata, if it is still the one that was seen. No data moves.
    Copy,
    /// Its bytes are read and written back, if it is still the one that was seen: for stores whose copies do not keep
    /// that condition, but whose writes do.
    Put,
}

impl Method {
    /// `copy` or `put`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Put => "put",
        }
    }
}

/// What became of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Under the target now.
    Rewrapped(Done),
    /// It was already.
    Current,
    /// Left as it is, for a reason that is nobody's fault.
    Skipped(Skip),
    /// Left as it is: something is wrong.
    Failed {
        /// A short fixed name.
        kind: &'static str,
        /// What happened.
        reason: String,
        /// Whether the same may succeed later without anybody mending anything.
        passing: bool,
    },
}

/// An object that was re-wrapped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Done {
    /// Bytes in the store.
    pub bytes: u64,
    /// They went through this process.
    pub moved: bool,
    /// The store was asked for ranges: the object was too large for one copy.
    pub ranges: bool,
    /// Clients see another ETag than before.
    pub etag_changed: bool,
    /// How often it was overwritten by somebody else meanwhile.
    pub overtaken: u32,
}

/// Why an object was left alone.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Skip {
    /// It has no envelope.
    NotSealed,
    /// Deleted since it was listed.
    Gone,
    /// Retention or a legal hold: a copy would be a new version, and the locked one would stay.
    Locked,
    /// In an archive: the store cannot read it before it is restored.
    Archived,
    /// A staged part of an unfinished upload, sealed under the upload's own key.
    Staged,
    /// The method cannot replace so large an object safely.
    TooLarge,
}

impl Skip {
    /// A short fixed name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSealed => "not_sealed",
            Self::Gone => "gone",
            Self::Locked => "locked",
            Self::Archived => "archived",
            Self::Staged => "staged",
            Self::TooLarge => "too_large",
        }
    }

    /// Whether somebody has to do something about such an object before its old key can go.
    #[must_use]
    pub fn matters(self) -> bool {
        matches!(self, Self::Locked | Self::Archived | Self::TooLarge)
    }
}

/// What keeps a step from being done.
pub(crate) enum Trouble {
    Store(BackendError),
    Key(KeyError),
    Tampered(String),
    TooLong(String),
}

impl From<BackendError> for Trouble {
    fn from(e: BackendError) -> Self {
        Self::Store(e)
    }
}

impl From<KeyError> for Trouble {
    fn from(e: KeyError) -> Self {
        Self::Key(e)
    }
}

type Rewrapping = Shared<LocalBoxFuture<'static, Result<RewrappedKek, KeyError>>>;

/// Re-wraps objects, on one core.
pub struct Rewrapper<C: Connector> {
    core: Rc<Core<C>>,
    options: Options,
    versioning: Versioning,
    method: Cell<Option<Method>>,
    /// Whether the store keeps conditions where uploads are completed; `None` before that is tried.
    completions: Cell<Option<bool>>,
    /// Held while the first object is re-wrapped: it tells the method and makes the KEK that the others use.
    first: Mutex<()>,
    first_done: Cell<bool>,
    targets: RefCell<HashMap<String, Target>>,
    /// With `keep_keks`: each KEK, by its old wrapping.
    keks: RefCell<HashMap<Vec<u8>, Rewrapping>>,
}

impl<C: Connector> Rewrapper<C> {
    /// For objects of one bucket.
    pub fn new(core: Rc<Core<C>>, options: Options, versioning: Versioning) -> Self {
        let method = match &core.store {
            // A directory copies an object onto itself in one step, and nothing moves.
            Store::Fs(_) => Some(Method::Copy),
            Store::S3(_) if options.no_writers => Some(options.method.unwrap_or(Method::Copy)),
            Store::S3(_) => options.method,
        };
        Self {
            core,
            options,
            versioning,
            method: Cell::new(method),
            completions: Cell::new(None),
            first: Mutex::new(()),
            first_done: Cell::new(false),
            targets: RefCell::default(),
            keks: RefCell::default(),
        }
    }

    /// How envelopes are replaced; `None` before that is found out, with the first object that needs it.
    pub fn method(&self) -> Option<Method> {
        self.method.get()
    }

    /// The key and its newest version that the object at `at` shall be under; `None` where no rule seals.
    ///
    /// # Errors
    ///
    /// The key service's.
    pub async fn target(&self, at: &Location) -> Result<Option<Target>, KeyError> {
        let name = match &self.options.to {
            Some(to) => to.clone(),
            None => {
                let snapshot = self.core.snapshot.load();
                match snapshot.rule(&at.bucket, at.key.as_ref()) {
                    Some(rule) if rule.encrypt => rule.key.clone(),
                    _ => return Ok(None),
                }
            }
        };
        self.target_named(&name).await.map(Some)
    }

    /// A key and its newest version, asked for once.
    ///
    /// # Errors
    ///
    /// The key service's.
    pub async fn target_named(&self, name: &str) -> Result<Target, KeyError> {
        if let Some(target) = self.targets.borrow().get(name) {
            return Ok(target.clone());
        }
        let version = match self.core.keyring.client().newest_version(name).await? {
            Some(version) => version,
            // What a provider keeps to itself shows in what it wraps.
            None => self
                .core
                .keyring
                .for_writing(name, 0)
                .await?
                .key_version
                .clone(),
        };
        let target = Target {
            name: name.to_owned(),
            version,
        };
        let mut targets = self.targets.borrow_mut();
        targets.insert(name.to_owned(), target.clone());
        Ok(target)
    }

    /// Re-wraps the object at `at`, whatever others do to it meanwhile.
    pub async fn object(&self, at: &Location) -> Outcome {
        if at.key.as_ref().starts_with(STAGING_PREFIX.as_bytes()) {
            return Outcome::Skipped(Skip::Staged);
        }
        let mut overtaken = 0;
        let mut attempt = 1;
        loop {
            let trouble = match self.once(at).await {
                Ok(Outcome::Rewrapped(done)) => {
                    return Outcome::Rewrapped(Done { overtaken, ..done });
                }
                Ok(outcome) => return outcome,
                Err(trouble) => trouble,
            };
            let pause = match &trouble {
                Trouble::Store(BackendError::Answer(e)) => match &e.code {
                    ErrorCode::NoSuchKey => return Outcome::Skipped(Skip::Gone),
                    ErrorCode::InvalidObjectState => return Outcome::Skipped(Skip::Archived),
                    code if is_overtaken(code) => {
                        overtaken += 1;
                        Duration::ZERO
                    }
                    _ => return failed(trouble),
                },
                // Whether it was done shows when the object is looked at again.
                Trouble::Store(BackendError::Unavailable { retry_after, .. }) => *retry_after,
                Trouble::Key(e) if e.retryable() => e.retry_after().unwrap_or_default(),
                _ => return failed(trouble),
            };
            if attempt == ATTEMPTS {
                return failed(trouble);
            }
            let least = Duration::from_millis(10 << attempt);
            sleep(pause.max(least).min(LONGEST_PAUSE)).await;
            attempt += 1;
        }
    }

    async fn once(&self, at: &Location) -> Result<Outcome, Trouble> {
        let info = self.core.store.head(at, &Conditions::default()).await?;
        let Some(value) = info.headers.get(&ENVELOPE) else {
            return Ok(Outcome::Skipped(Skip::NotSealed));
        };
        let envelope = Envelope::decode(value.as_bytes())
            .map_err(|e| Trouble::Tampered(format!("the envelope: {e}")))?;
        let target = match self.target(at).await? {
            Some(target) => target,
            // Sealed, under a rule that seals no more: its own key.
            None => self.target_named(&envelope.fields.kek.name).await?,
        };
        match decide(&info, &envelope, &target, &self.options) {
            Decision::Current => return Ok(Outcome::Current),
            Decision::Skip(skip) => return Ok(Outcome::Skipped(skip)),
            Decision::Fail(kind, reason) => {
                return Ok(Outcome::Failed {
                    kind,
                    reason,
                    passing: false,
                });
            }
            Decision::Rewrap => {}
        }
        let alone = match self.first_done.get() {
            true => None,
            // Whoever waited goes on with all others.
            false => Some(self.first.lock().await).filter(|_| !self.first_done.get()),
        };
        let envelope = self.wrap_anew(at, &info, &envelope, &target).await?;
        let outcome = if self.options.dry_run {
            Outcome::Rewrapped(Done {
                bytes: info.len,
                ..Done::default()
            })
        } else {
            self.write(at, &info, &envelope).await?
        };
        if matches!(outcome, Outcome::Rewrapped(_)) {
            self.first_done.set(true);
        }
        drop(alone);
        Ok(outcome)
    }

    /// The envelope under the target. Authenticates the old one, where the object lies, and its metadata.
    async fn wrap_anew(
        &self,
        at: &Location,
        info: &ObjectInfo,
        envelope: &Envelope,
        target: &Target,
    ) -> Result<Envelope, Trouble> {
        let core = &self.core;
        let place = envelope_location(at);
        let old = &envelope.fields.kek;
        let (kek, dek, plain_len) = open(core, Command::Rewrap, at, info, envelope).await?;
        let binding = envelope.fields.binding;
        let nonce = core.random.bytes();
        let sealed = if self.options.keep_keks {
            let rewrapped = self.rewrap_kek(old).await?;
            let wrapped = WrappedKek {
                name: old.name.clone(),
                version: rewrapped.version,
                wrapped: rewrapped.wrapped,
            };
            envelope.rewrap(&dek, &kek, wrapped, binding, nonce, &place)
        } else {
            let epoch = core.keyring.for_writing(&target.name, plain_len).await?;
            let wrapped = WrappedKek {
                name: epoch.key_name.clone(),
                version: epoch.key_version.clone(),
                wrapped: epoch.wrapped.clone(),
            };
            envelope.rewrap(&dek, &epoch.kek, wrapped, binding, nonce, &place)
        };
        let sealed = sealed.map_err(|e| Trouble::TooLong(format!("the new envelope: {e}")))?;
        Command::Rewrap.audit(core, AuditKind::DekWrap, at, &sealed.fields.kek, "ok")?;
        Ok(sealed)
    }

    /// The same KEK under the newest version of its key: asked for once for each KEK.
    async fn rewrap_kek(&self, old: &WrappedKek) -> Result<RewrappedKek, KeyError> {
        let known = self.keks.borrow().get(&old.wrapped).cloned();
        let asked = known.unwrap_or_else(|| {
            let client = self.core.keyring.client();
            let answer = client.rewrap(&old.name, &old.version, &old.wrapped);
            let asked = answer.boxed_local().shared();
            let mut keks = self.keks.borrow_mut();
            keks.insert(old.wrapped.clone(), asked.clone());
            asked
        });
        let answer = asked.await;
        if answer.is_err() {
            self.keks.borrow_mut().remove(&old.wrapped);
        }
        answer
    }
}

/// Whether the store says that the object is not the one any more that was seen.
fn is_overtaken(code: &ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::PreconditionFailed
            | ErrorCode::ConditionalRequestConflict
            | ErrorCode::OperationAborted
    )
}

fn failed(trouble: Trouble) -> Outcome {
    let (kind, reason, passing) = match trouble {
        Trouble::Store(BackendError::Answer(e)) if is_overtaken(&e.code) => {
            let reason = "it was overwritten every time it was to be replaced".to_owned();
            ("busy", reason, true)
        }
        Trouble::Store(e @ BackendError::Unavailable { .. }) => {
            ("store_unavailable", e.to_string(), true)
        }
        Trouble::Store(e) => ("store", e.to_string(), false),
        Trouble::Key(e) => (e.kind(), e.to_string(), e.retryable()),
        Trouble::Tampered(what) => ("tampered", format!("failed authentication: {what}"), false),
        Trouble::TooLong(what) => ("too_long", what, false),
    };
    Outcome::Failed {
        kind,
        reason,
        passing,
    }
}

/// What an object is sealed with, and whether it opens.
pub enum Inspected {
    /// It has no envelope.
    NotSealed,
    /// A staged part of an unfinished upload.
    Staged,
    /// Sealed.
    Sealed {
        /// By its envelope; `None` when that cannot be read.
        kek: Option<WrappedKek>,
        /// Why it does not open.
        trouble: Option<String>,
    },
}

/// Opens the envelope and the metadata of an object, whatever key it is under.
pub async fn inspect<C: Connector>(core: &Core<C>, at: &Location, info: &ObjectInfo) -> Inspected {
    if at.key.as_ref().starts_with(STAGING_PREFIX.as_bytes()) {
        return Inspected::Staged;
    }
    let Some(value) = info.headers.get(&ENVELOPE) else {
        return Inspected::NotSealed;
    };
    let (kek, opened) = match Envelope::decode(value.as_bytes()) {
        Ok(envelope) => {
            let opened = open(core, Command::Verify, at, info, &envelope)
                .await
                .map(drop);
            (Some(envelope.fields.kek), opened)
        }
        Err(e) => (None, Err(Trouble::Tampered(format!("the envelope: {e}")))),
    };
    let trouble = opened.err().map(|trouble| match failed(trouble) {
        Outcome::Failed { reason, .. } => reason,
        _ => String::new(),
    });
    Inspected::Sealed { kek, trouble }
}

/// Opens an envelope and authenticates where the object lies, how long it is, and its metadata.
async fn open<C: Connector>(
    core: &Core<C>,
    command: Command,
    at: &Location,
    info: &ObjectInfo,
    envelope: &Envelope,
) -> Result<(Rc<Kek>, Dek, u64), Trouble> {
    let wrapped = &envelope.fields.kek;
    let audited = |outcome| command.audit(core, AuditKind::DekUnwrap, at, wrapped, outcome);
    let kek = match core.keyring.for_reading(wrapped).await {
        Ok(kek) => kek,
        Err(e) => {
            audited(e.kind())?;
            return Err(e.into());
        }
    };
    let dek = match envelope.unwrap_dek(&kek, &envelope_location(at)) {
        Ok(dek) => dek,
        Err(e) => {
            audited("tampered")?;
            return Err(Trouble::Tampered(format!("the wrapped key: {e}")));
        }
    };
    audited("ok")?;
    let plain_len =
        plain_len(envelope, info.len).map_err(|what| Trouble::Tampered(what.to_owned()))?;
    if let Some(sealed) = info.headers.get(&METADATA) {
        sealgate_envelope::open_metadata(&dek, &envelope.fields.object_id, sealed.as_bytes())
            .map_err(|e| Trouble::Tampered(format!("the metadata: {e}")))?;
    }
    Ok((kek, dek, plain_len))
}

/// A command of ours that uses objects' keys, by its name in the audit log.
#[derive(Clone, Copy)]
enum Command {
    Rewrap,
    Verify,
}

impl Command {
    /// Records a use of an object's DEK, as a request's would be.
    fn audit<C: Connector>(
        self,
        core: &Core<C>,
        kind: AuditKind,
        at: &Location,
        kek: &WrappedKek,
        outcome: &'static str,
    ) -> Result<(), Trouble> {
        let (name, operation) = match self {
            Self::Rewrap => ("rewrap", "Rewrap"),
            Self::Verify => ("verify", "Verify"),
        };
        let user = audit::User {
            id: &format!("{name}-{}", std::process::id()),
            access_key: "",
            operation,
        };
        // The log takes more in a moment.
        audit::record(&core.audit, &user, kind, at, kek, outcome)
            .map_err(|_| Trouble::Key(KeyError::Busy))
    }
}

#[cfg(test)]
mod tests;
