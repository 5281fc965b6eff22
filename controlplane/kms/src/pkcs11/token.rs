//! Modules, tokens, sessions and logins, shared by all keys of this process.
//!
//! A module is initialised once per process, and a login holds for all of a process's sessions with a token: so both
//! are kept here, by the module's path and the token's name, and not with the key.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::failure::Failure;

/// Idle sessions kept for one token.
const IDLE_MAX: usize = 16;

/// Which token of a module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenSelector {
    /// The one with this label.
    Label(String),
    /// The one in this slot. Slot numbers of many modules change when tokens come and go.
    Slot(u64),
}

impl fmt::Display for TokenSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "token {label:?}"),
            Self::Slot(number) => write!(f, "the token in slot {number}"),
        }
    }
}

/// Why a module cannot be used.
#[derive(Debug)]
pub struct Pkcs11Error {
    module: PathBuf,
    what: String,
}

impl fmt::Display for Pkcs11Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PKCS#11 module {}: {}", self.module.display(), self.what)
    }
}

impl std::error::Error for Pkcs11Error {}

/// All modules that this process has loaded. They stay: a library with threads of its own cannot be unloaded safely.
static MODULES: Mutex<BTreeMap<PathBuf, Module>> = Mutex::new(BTreeMap::new());

struct Module {
    library: Pkcs11,
    tokens: BTreeMap<TokenSelector, Weak<Token>>,
}

/// One token, as long as a key needs it.
pub(super) struct Token {
    library: Pkcs11,
    selector: TokenSelector,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Counts connections, so that a failure in an old one does not end the new one.
    generation: u64,
    /// The PIN that the token refused. It is not offered again: tokens count wrong PINs and lock themselves.
    refused: Option<Zeroizing<String>>,
}

struct Connection {
    slot: Slot,
    /// Keeps the login: it ends with the last session.
    _anchor: Session,
    idle: Vec<Session>,
}

impl Token {
    /// The token that all keys with this module and selector share.
    pub(super) fn shared(
        module: &Path,
        selector: &TokenSelector,
    ) -> Result<Arc<Self>, Pkcs11Error> {
        let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
        if !modules.contains_key(module) {
            let library = load(module)?;
            let tokens = BTreeMap::new();
            modules.insert(module.to_owned(), Module { library, tokens });
        }
        let Some(module) = modules.get_mut(module) else {
            unreachable!("it was put there above")
        };
        if let Some(token) = module.tokens.get(selector).and_then(Weak::upgrade) {
            return Ok(token);
        }
        let token = Arc::new(Self {
            library: module.library.clone(),
            selector: selector.clone(),
            state: Mutex::default(),
        });
        module
            .tokens
            .insert(selector.clone(), Arc::downgrade(&token));
        Ok(token)
    }

    /// Runs `work` with a session that is logged in. One attempt: what fails is cleaned up for the next.
    pub(super) fn with_session<T>(
        &self,
        pin: &Zeroizing<String>,
        work: impl FnOnce(&Session) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (session, generation) = self.session(pin)?;
        let done = work(&session);
        let mut state = self.lock();
        let current = state.generation == generation;
        match (&done, state.connection.as_mut()) {
            (Ok(_), Some(connection)) if current && connection.idle.len() < IDLE_MAX => {
                connection.idle.push(session);
            }
            (Err(Failure::Lost(_)), Some(_)) if current => {
                let lost = state.connection.take();
                drop(state);
                drop((lost, session));
            }
            // After other failures an operation may still be open in the session: it is closed.
            _ => {
                drop(state);
                drop(session);
            }
        }
        done
    }

    fn session(&self, pin: &Zeroizing<String>) -> Result<(Session, u64), Failure> {
        let mut state = self.lock();
        if state.connection.is_none() {
            state.connection = Some(self.connect(pin, &mut state.refused)?);
            state.generation += 1;
        }
        let generation = state.generation;
        let Some(connection) = state.connection.as_mut() else {
            unreachable!("it was put there above")
        };
        let session = match connection.idle.pop() {
            Some(session) => session,
            None => match self
                .library
                .open_ro_session(connection.slot)
                .map_err(Failure::from)
            {
                Ok(session) => session,
                Err(failure) => {
                    if matches!(failure, Failure::Lost(_)) {
                        state.connection = None;
                    }
                    return Err(failure);
                }
            },
        };
        Ok((session, generation))
    }

    fn connect(
        &self,
        pin: &Zeroizing<String>,
        refused: &mut Option<Zeroizing<String>>,
    ) -> Result<Connection, Failure> {
        let known = refused.as_ref();
        if known.is_some_and(|known| same(known, pin)) {
            return Err(Failure::Denied(format!(
                "{} has refused the PIN, and it is not offered again before a restart: mend `pin` and reload",
                self.selector
            )));
        }
        let slot = self.find_slot()?;
        let about = self.library.get_token_info(slot)?;
        // A human may need the last attempt; logging in by hand with the right PIN resets the count.
        let barred = match (about.user_pin_locked(), about.user_pin_final_try()) {
            (true, _) => Some("has locked its user PIN: the security officer has to set a new one"),
            (_, true) => Some(
                "locks itself at the next wrong PIN, so none is offered: log in once by hand, for example with \
                 `pkcs11-tool --login --list-objects`",
            ),
            _ => None,
        };
        if let Some(why) = barred {
            return Err(Failure::Denied(format!("{} {why}", self.selector)));
        }
        let anchor = self.library.open_ro_session(slot)?;
        let secret = AuthPin::new(pin.as_str().into());
        match anchor.login(UserType::User, Some(&secret)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(e) => {
                let failure = Failure::from(e);
                if let Failure::Denied(what) = failure {
                    *refused = Some(pin.clone());
                    return Err(Failure::Denied(format!(
                        "{what} to the login; this PIN is not offered again, so that {} does not lock itself: mend `pin` \
                         and reload",
                        self.selector
                    )));
                }
                return Err(failure);
            }
        }
        *refused = None;
        Ok(Connection {
            slot,
            _anchor: anchor,
            idle: Vec::new(),
        })
    }

    fn find_slot(&self) -> Result<Slot, Failure> {
        let slots = match self.library.get_slots_with_token() {
            // Another user of the library in this process may have ended it.
            Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {
                initialise(&self.library)?;
                self.library.get_slots_with_token()?
            }
            other => other?,
        };
        let mut labels = Vec::new();
        let mut found = Vec::new();
        for slot in slots {
            // A token that cannot be asked is not ours to complain of.
            let Ok(about) = self.library.get_token_info(slot) else {
                continue;
            };
            let matches = match &self.selector {
                TokenSelector::Label(label) => about.label() == label,
                TokenSelector::Slot(number) => slot.id() == *number,
            };
            if matches {
                found.push(slot);
            } else if about.token_initialized() {
                labels.push(format!("{:?} in slot {}", about.label(), slot.id()));
            }
        }
        match found.as_slice() {
            [slot] => Ok(*slot),
            // It may be plugged in, or come back, at any time.
            [] => Err(Failure::Lost(format!(
                "{} is not there; the module has {}",
                self.selector,
                if labels.is_empty() {
                    "none".to_owned()
                } else {
                    labels.join(", ")
                }
            ))),
            several => {
                let numbers: Vec<_> = several.iter().map(|slot| slot.id().to_string()).collect();
                Err(Failure::Denied(format!(
                    "several tokens are {}: choose one with `slot` (slots {})",
                    self.selector,
                    numbers.join(", ")
                )))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In constant time.
fn same(a: &str, b: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}

fn load(path: &Path) -> Result<Pkcs11, Pkcs11Error> {
    let refuse = |what: String| Pkcs11Error {
        module: path.to_owned(),
        what,
    };
    let library = Pkcs11::new(path).map_err(|e| match e {
        Error::LibraryLoading(e) => refuse(format!("cannot be loaded: {e}")),
        other => refuse(format!("is not a PKCS#11 module: {other}")),
    })?;
    initialise(&library).map_err(|e| refuse(format!("does not start: C_Initialize says {e}")))?;
    Ok(library)
}

fn initialise(library: &Pkcs11) -> Result<(), Error> {
    let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    match library.initialize(arguments) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        other => other,
    }
}
