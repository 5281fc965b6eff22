//! What is wrong with a message, and which status says so.

use std::fmt;

use http::StatusCode;

/// A message that is refused. The connection is of no further use: where the message ends is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ParseError {
    status: StatusCode,
    reason: &'static str,
}

impl ParseError {
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason }
    }

    pub(crate) const fn with(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    /// The status that RFC 9110 has for it: 400, 414, 431, 501 or 505.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl std::error::Error for ParseError {}
