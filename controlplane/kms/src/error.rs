//! The one error of this crate.

use std::fmt;
use std::time::Duration;

/// Why a key could not be had. Says who is at fault and whether asking again can help; never holds key bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The object or the policy names a key that is not configured here. The operator's to mend.
    UnknownKey {
        /// The name that was asked for.
        name: String,
    },
    /// The provider refuses: no permission, the key is disabled, or it is another key. The operator's to mend.
    Denied(String),
    /// The provider cannot be reached or failed; a later attempt may succeed.
    Unavailable {
        /// What happened, for the log.
        reason: String,
        /// When a client should come back.
        retry_after: Duration,
    },
    /// The provider answers, but does not know the key's version (yet): a replica that lags, or an older backup.
    Behind {
        /// What it said, for the log.
        reason: String,
        /// When a client should come back.
        retry_after: Duration,
    },
    /// The provider says that it is asked too often; a later attempt may succeed, an immediate one makes it worse.
    Throttled {
        /// What it said, for the log.
        reason: String,
        /// When a client should come back.
        retry_after: Duration,
    },
    /// The wrapped key or the provider's configuration is not what it should be: corrupt, forged or of another format.
    Invalid(String),
    /// More requests wait than the service takes; a later attempt may succeed.
    Busy,
}

impl KeyError {
    /// Whether the same request may succeed later without anybody mending anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::Behind { .. } | Self::Throttled { .. } | Self::Busy
        )
    }

    /// When a client should come back; `None` when that cannot help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. }
            | Self::Behind { retry_after, .. }
            | Self::Throttled { retry_after, .. } => Some(*retry_after),
            Self::Busy => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// Names the endpoint that said so, where the key has several.
    pub(crate) fn at(&mut self, label: &str, endpoints: usize) {
        if endpoints < 2 {
            return;
        }
        self.prefix(label);
    }

    /// Says in what the trouble came up.
    pub(crate) fn during(mut self, what: &str) -> Self {
        self.prefix(what);
        self
    }

    fn prefix(&mut self, prefix: &str) {
        match self {
            Self::Denied(text)
            | Self::Invalid(text)
            | Self::Unavailable { reason: text, .. }
            | Self::Behind { reason: text, .. }
            | Self::Throttled { reason: text, .. } => *text = format!("{prefix}: {text}"),
            Self::UnknownKey { .. } | Self::Busy => {}
        }
    }

    /// A short fixed name for metric labels.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownKey { .. } => "unknown_key",
            Self::Denied(_) => "denied",
            Self::Unavailable { .. } => "unavailable",
            Self::Behind { .. } => "behind",
            Self::Throttled { .. } => "throttled",
            Self::Invalid(_) => "invalid",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { name } => {
                write!(
                    f,
                    "the key {name:?} is not configured: add [keys.{name}] to the configuration"
                )
            }
            Self::Denied(why) => write!(f, "the key provider refuses: {why}"),
            Self::Unavailable {
                reason,
                retry_after,
            } => write!(
                f,
                "the key provider is unavailable: {reason}; try again in {} s",
                retry_after.as_secs().max(1)
            ),
            Self::Behind {
                reason,
                retry_after,
            } => write!(
                f,
                "the key provider is behind: {reason}; try again in {} s",
                retry_after.as_secs().max(1)
            ),
            Self::Throttled {
                reason,
                retry_after,
            } => write!(
                f,
                "the key provider is asked too often: {reason}; try again in {} s",
                retry_after.as_secs().max(1)
            ),
            Self::Invalid(what) => write!(f, "the wrapped key is unusable: {what}"),
            Self::Busy => f.write_str("too many key requests wait; try again in 1 s"),
        }
    }
}

impl std::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passing_troubles_are_retryable() {
        let wait = Duration::from_secs(3);
        let unavailable = KeyError::Unavailable {
            reason: "down".into(),
            retry_after: wait,
        };
        let throttled = KeyError::Throttled {
            reason: "slow down".into(),
            retry_after: wait,
        };
        let behind = KeyError::Behind {
            reason: "too new".into(),
            retry_after: wait,
        };
        for passing in [&unavailable, &behind, &throttled, &KeyError::Busy] {
            assert!(passing.retryable(), "{passing}");
        }
        assert_eq!(unavailable.retry_after(), Some(wait));
        assert_eq!(throttled.retry_after(), Some(wait));
        for lasting in [
            KeyError::UnknownKey { name: "k".into() },
            KeyError::Denied("no".into()),
            KeyError::Invalid("cut".into()),
        ] {
            assert!(!lasting.retryable(), "{lasting}");
            assert_eq!(lasting.retry_after(), None);
        }
    }

    #[test]
    fn an_unknown_key_says_what_to_configure() {
        let text = KeyError::UnknownKey {
            name: "archive".into(),
        }
        .to_string();
        assert!(text.contains("[keys.archive]"), "{text}");
    }
}
