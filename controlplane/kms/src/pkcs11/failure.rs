//! What a token's refusal means.

use std::time::Duration;

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

use crate::error::KeyError;

/// Why a call into the module came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// Sessions or the login are gone, or the token is: the next call starts from nothing.
    Lost(String),
    /// Nothing that can be told apart from a wrong tag.
    Vague(String),
    /// It may work another time.
    Passing(String),
    /// The operator's to mend.
    Denied(String),
    /// The wrapped key is at fault.
    Invalid(String),
    /// Not the token's.
    Other(KeyError),
}

impl Failure {
    pub(super) fn into_error(self, name: &str) -> KeyError {
        match self {
            Self::Lost(what) | Self::Vague(what) | Self::Passing(what) => KeyError::Unavailable {
                reason: format!("key {name:?}: {what}"),
                retry_after: Duration::from_secs(1),
            },
            Self::Denied(what) => KeyError::Denied(format!("key {name:?}: {what}")),
            Self::Invalid(what) => KeyError::Invalid(format!(
                "the key-encryption key in this object's envelope, wrapped by key {name:?}: {what}"
            )),
            Self::Other(error) => error,
        }
    }
}

/// Of the standard's return values (PKCS#11 3.0, 5.1), those that say who is at fault.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (code, function) = match &error {
            Error::Pkcs11(code, function) => (code, *function),
            other => return Self::Denied(format!("the module cannot do this: {other}")),
        };
        let what = format!("{function} says {code:?}");
        let opens = matches!(function, Function::Decrypt);
        match code {
            RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::UserNotLoggedIn
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::DeviceRemoved
            | RvError::DeviceError
            | RvError::SlotIdInvalid
            | RvError::CryptokiNotInitialized => Self::Lost(what),
            RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::DataInvalid
            | RvError::DataLenRange
                if opens =>
            {
                Self::Invalid(format!("it does not open ({what})"))
            }
            RvError::GeneralError | RvError::FunctionFailed if opens => Self::Vague(what),
            RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized
            | RvError::UserTypeInvalid
            | RvError::UserAnotherAlreadyLoggedIn
            | RvError::UserTooManyTypes
            | RvError::KeyFunctionNotPermitted
            | RvError::KeyTypeInconsistent
            | RvError::KeySizeRange
            | RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::FunctionNotSupported
            | RvError::ActionProhibited
            | RvError::FunctionRejected
            | RvError::FipsSelfTestFailed => Self::Denied(format!("the token refuses: {what}")),
            // A key that was found a moment ago and is gone, too many sessions, no memory, …
            _ => Self::Passing(format!("the token failed: {what}")),
        }
    }
}
