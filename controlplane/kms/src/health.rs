//! The health of keys as the last check found it.

use tokio::time::Instant;

use crate::error::KeyError;

/// What is known of one key. Asking costs nothing: the service checks in the background.
#[derive(Clone, Debug)]
pub struct KeyHealth {
    /// Its configured name.
    pub name: String,
    /// Whether new objects are sealed with it.
    pub writes: bool,
    /// What the last check of unwrapping came to; `None` before the first.
    pub(crate) read: Option<Result<(), KeyError>>,
    /// What the last attempt at making a KEK came to; `None` before the first.
    pub(crate) write: Option<Result<(), KeyError>>,
    /// Until when unwrapped KEKs are usable, the grace included; `None` when there are none.
    pub(crate) readers_until: Option<Instant>,
    /// The same of the KEKs that cores write with.
    pub(crate) writers_until: Option<Instant>,
}

/// Whether one way of using a key works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It works.
    Ready,
    /// The provider cannot be reached; what is in memory serves on for now.
    Degraded(KeyError),
    /// It does not work.
    Down(KeyError),
    /// The first check has not ended.
    Unchecked,
}

impl Standing {
    /// Whether requests should be sent here.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self, Self::Ready | Self::Degraded(_))
    }

    /// A short fixed name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded(_) => "degraded",
            Self::Down(_) => "down",
            Self::Unchecked => "unchecked",
        }
    }

    fn of(last: Option<&Result<(), KeyError>>, kept_until: Option<Instant>) -> Self {
        match last {
            None => Self::Unchecked,
            Some(Ok(())) => Self::Ready,
            Some(Err(e))
                if e.retryable() && kept_until.is_some_and(|until| until > Instant::now()) =>
            {
                Self::Degraded(e.clone())
            }
            Some(Err(e)) => Self::Down(e.clone()),
        }
    }
}

impl KeyHealth {
    pub(crate) fn unchecked(name: &str, writes: bool) -> Self {
        Self {
            name: name.to_owned(),
            writes,
            read: None,
            write: None,
            readers_until: None,
            writers_until: None,
        }
    }

    /// Whether objects sealed with it can be read.
    #[must_use]
    pub fn reading(&self) -> Standing {
        Standing::of(self.read.as_ref(), self.readers_until)
    }

    /// Whether objects can be sealed with it; [`Standing::Ready`] for a key that is kept for reading only.
    #[must_use]
    pub fn writing(&self) -> Standing {
        if !self.writes {
            return Standing::Ready;
        }
        Standing::of(self.write.as_ref(), self.writers_until)
    }
}
