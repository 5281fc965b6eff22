//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Everything that is wrong with one file, in its order.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

/// One thing that is wrong. Its source line has every secret blanked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Where in the file; `None` when it is about the file as a whole.
    pub place: Option<Place>,
    /// Dotted path of the key: `backend.type`, `buckets[2].match`; empty where there is none.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub accepted: Option<String>,
    /// What to do.
    pub remedy: Option<String>,
}

/// A place in the file and what it looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The line, secrets blanked out.
    pub source: String,
    /// Characters of `source` that the error is about.
    pub marked: Range<usize>,
}

impl ConfigErrors {
    /// In the order of the file; never empty.
    pub(crate) fn new(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(|e| e.place.as_ref().map(|p| (p.line, p.column)));
        errors.dedup();
        Self(errors)
    }

    /// One error about the file as a whole.
    pub(crate) fn whole_file(file: &Path, what: String) -> Self {
        Self(vec![ConfigError {
            file: file.to_owned(),
            place: None,
            key: String::new(),
            what,
            accepted: None,
            remedy: None,
        }])
    }

    /// The errors.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(place) = &self.place {
            let label = format!("line {}", place.line);
            write!(f, "\n  {label} | {}", place.source)?;
            let marks = "^".repeat(place.marked.len().max(1));
            let before = " ".repeat(label.len());
            write!(f, "\n  {before} | {:1$}{marks}", "", place.marked.start)?;
        }
        if let Some(accepted) = &self.accepted {
            write!(f, "\n  accepted: {accepted}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  to do: {remedy}")?;
        }
        Ok(())
    }
}

/// The text of a file, and which parts of it must never be shown.
pub(crate) struct Source<'a> {
    pub(crate) file: &'a Path,
    pub(crate) text: &'a str,
    /// Byte ranges of secrets.
    pub(crate) secrets: Vec<Range<usize>>,
    /// The file is not TOML, so that nobody knows for certain where the secrets are.
    pub(crate) broken: bool,
}

impl Source<'_> {
    /// Describes a byte range of the text.
    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        let start = self.boundary(span.start);
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[line_start..]
            .find('\n')
            .map_or(self.text.len(), |at| line_start + at);
        let end = self
            .boundary(span.end)
            .clamp(start, line_end.max(start))
            .max(start);
        let (source, marked) = self.show(line_start..line_end, start..end);
        Place {
            line: before.matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            source,
            marked,
        }
    }

    /// The nearest place at or before `at` where a character begins.
    fn boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// A line without its secrets, and where `marked` is in it.
    fn show(&self, line: Range<usize>, marked: Range<usize>) -> (String, Range<usize>) {
        let visible_end = if self.broken {
            line.start + visible_when_broken(self.text, &self.text[line.clone()])
        } else {
            line.end
        };
        let (mut shown, mut width) = (String::new(), 0);
        let (mut from, mut to) = (None, None);
        let mut blanked = false;
        for (offset, character) in self.text[line.clone()].char_indices() {
            let at = line.start + offset;
            from = from.or((at >= marked.start).then_some(width));
            to = to.or((at >= marked.end).then_some(width));
            if at >= visible_end || self.secrets.iter().any(|s| s.contains(&at)) {
                if !blanked {
                    shown.push('…');
                    width += 1;
                }
                blanked = true;
                continue;
            }
            blanked = false;
            // One column each, also on a terminal.
            shown.push(if character.is_control() {
                ' '
            } else {
                character
            });
            width += 1;
        }
        let from = from.unwrap_or(width);
        (shown, from..to.unwrap_or(width).max(from))
    }
}

/// How much of a line can be shown when the file is not TOML: a leading key or table header and nothing else, because
/// anything else may be part of a secret.
fn visible_when_broken(text: &str, line: &str) -> usize {
    if text.contains("\"\"\"") || text.contains("'''") {
        return 0;
    }
    let rest = line.trim_start().trim_start_matches('[');
    let key_len = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')))
        .unwrap_or(rest.len());
    let after = rest[key_len..].trim_start();
    let is_header = line.trim_start().starts_with('[');
    if !is_header && !after.starts_with('=') {
        return 0;
    }
    line.len() - rest.len() + key_len
}
