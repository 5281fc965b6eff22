use memchr::memchr;

use crate::{Limits, MAX_HEADERS, ParseError};

/// Finds the end of a head, line by line, and remembers where it stopped. What httparse is
/// lenient about (bare LF, folding) is refused here, where every line end is seen anyway.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// Where the head begins: after the one empty line that RFC 9112 section 2.2 lets pass.
    start: usize,
    /// Where the line being looked at begins.
    line: usize,
    /// Everything before this was looked at.
    scanned: usize,
    /// Lines of this head seen to their end.
    lines: usize,
}

/// The bytes of a complete head within the buffer.
pub(crate) struct Found {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl HeadScan {
    /// Starts over for a head that begins at `at`.
    pub(crate) fn restart(&mut self, at: usize) {
        *self = HeadScan {
            start: at,
            line: at,
            scanned: at,
            lines: 0,
        };
    }

    /// Looks for the empty line. `first_line` bounds the first line (without CRLF) and names the
    /// error when it is longer. `buf` must begin with the bytes of the earlier calls.
    pub(crate) fn find(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        first_line: Option<usize>,
    ) -> Result<Option<Found>, ParseError> {
        if buf.len() < self.scanned {
            // The caller began another message without telling: look at all of it.
            self.restart(0);
        }
        while let Some(found) = memchr(b'\n', &buf[self.scanned..]) {
            let lf = self.scanned + found;
            if lf == self.line || buf[lf - 1] != b'\r' {
                return Err(ParseError::BareLineFeed);
            }
            let line = &buf[self.line..lf - 1];
            self.scanned = lf + 1;
            if self.line_is_last(line, limits, first_line)? {
                let found = Found {
                    start: self.start,
                    end: lf + 1,
                };
                if found.end - found.start > limits.head_bytes {
                    return Err(ParseError::HeadTooLarge);
                }
                return Ok(Some(found));
            }
            self.line = lf + 1;
        }
        self.scanned = buf.len();
        self.check_partial(buf, limits, first_line)?;
        Ok(None)
    }

    /// Judges one complete line; true when it is the empty line that ends the head.
    fn line_is_last(
        &mut self,
        line: &[u8],
        limits: &Limits,
        first_line: Option<usize>,
    ) -> Result<bool, ParseError> {
        match (self.lines, line.first()) {
            (0, None) => {
                if self.start != 0 || first_line.is_none() {
                    return Err(ParseError::RequestLine);
                }
                self.start = self.scanned;
                Ok(false)
            }
            (_, None) => Ok(true),
            (0, Some(&first)) => {
                if !first.is_ascii_graphic() {
                    return Err(ParseError::RequestLine);
                }
                if first_line.is_some_and(|limit| line.len() > limit) {
                    return Err(ParseError::RequestLineTooLong);
                }
                self.lines = 1;
                Ok(false)
            }
            (_, Some(b' ' | b'\t')) => Err(ParseError::ObsoleteFolding),
            (n, Some(_)) => {
                if n > limits.headers.min(MAX_HEADERS) {
                    return Err(ParseError::TooManyHeaders);
                }
                self.lines = n + 1;
                Ok(false)
            }
        }
    }

    /// Refuses as early as possible: a peer that never ends its line, or that speaks another
    /// protocol (a TLS hello on a plain port begins with 0x16).
    fn check_partial(
        &self,
        buf: &[u8],
        limits: &Limits,
        first_line: Option<usize>,
    ) -> Result<(), ParseError> {
        let head = buf.len() - self.start;
        if self.lines == 0 {
            if let Some(&first) = buf.get(self.line)
                && !(first.is_ascii_graphic() || first == b'\r')
            {
                return Err(ParseError::RequestLine);
            }
            // One more than the limit: the CR of the line's end may have come without its LF.
            if first_line.is_some_and(|limit| buf.len() - self.line > limit + 1) {
                return Err(ParseError::RequestLineTooLong);
            }
        }
        if head >= limits.head_bytes {
            return Err(ParseError::HeadTooLarge);
        }
        Ok(())
    }
}
