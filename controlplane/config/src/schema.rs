//! Every key of the configuration: the one table that the parser and docs/configuration.md are made of.

mod access;
mod keys;
mod operations;
mod resilience;
mod table;

use Fallback::{Absent, Required, Value};

pub(crate) use keys::KEYS;
pub(crate) use operations::CLASSES;
pub use operations::OPERATIONS;
pub use table::SECTIONS;

/// Milliseconds.
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;

/// A table of the file.
#[derive(Debug)]
pub struct Section {
    /// Its path: `listen`, `keys.<name>`, `buckets[]`, …
    pub path: &'static str,
    /// How it is written in a file.
    pub header: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys.
    pub rows: &'static [Row],
}

/// One key.
#[derive(Debug)]
pub struct Row {
    /// Its name in the table.
    pub key: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What holds when it is left out.
    pub default: Fallback,
    /// What it means.
    pub doc: &'static str,
    /// Its value never appears in a message.
    pub secret: bool,
}

/// What values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// The name of an environment variable.
    Variable,
    /// A path; relative to the configuration file's folder.
    Path,
    /// `address:port`.
    Address,
    /// `http://host[:port]` or `https://host[:port]`.
    Url,
    /// A list of such, each once.
    Urls,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// Bytes: a whole number, or text like `"256MiB"`.
    Size {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// Text like `"30s"`.
    Duration {
        /// Least, milliseconds.
        min: u64,
        /// Most, milliseconds.
        max: u64,
    },
    /// One of these.
    Choice(&'static [&'static str]),
    /// Text with `*`, and for buckets an optional `/prefix`.
    Pattern,
    /// A key prefix, which may be empty.
    Prefix,
    /// A list of domain names.
    Domains,
    /// A list of texts; what they are.
    Texts(&'static str),
    /// A list of action names.
    Actions,
    /// `"off"`, `"stdout"` or a path.
    LogTarget,
    /// A table of its own section.
    Table,
    /// A list of tables of their own section.
    Tables,
}

/// What holds when a key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It cannot be left out.
    Required,
    /// This value, as TOML.
    Value(&'static str),
    /// No value; what that means.
    Absent(&'static str),
}

/// The section at a path.
pub(crate) fn section(path: &str) -> &'static Section {
    let found = SECTIONS.iter().find(|section| section.path == path);
    found.unwrap_or(&SECTIONS[0])
}

/// What providers add to a key's table, each with the provider's name.
pub(crate) fn providers() -> impl Iterator<Item = (&'static str, &'static Section)> {
    SECTIONS.iter().filter_map(|section| {
        let name = section.path.strip_prefix(KEYS)?.strip_prefix(' ')?;
        Some((name, section))
    })
}

impl Section {
    /// The row of a key.
    pub(crate) fn row(&self, key: &str) -> Option<&'static Row> {
        let rows: &'static [Row] = section(self.path).rows;
        rows.iter().find(|row| row.key == key)
    }
}

impl Kind {
    /// What is accepted, in words.
    #[must_use]
    pub fn accepted(&self) -> String {
        match self {
            Self::Text => "text in quotes, not empty".into(),
            Self::Variable => "the name of an environment variable (A-Z, 0-9, _)".into(),
            Self::Path => "a path in quotes".into(),
            Self::Address => {
                "\"address:port\", for example \"0.0.0.0:9000\" or \"[::]:9000\"".into()
            }
            Self::Url => "\"http://host[:port]\" or \"https://host[:port]\"".into(),
            Self::Urls => "a list of \"https://host[:port]\"".into(),
            Self::Boolean => "true or false".into(),
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Size { min, max } => format!(
                "bytes, or text like \"256MiB\" (KiB, MiB, GiB, TiB, kB, MB, GB, TB), from {} to {}",
                size(*min),
                size(*max)
            ),
            Self::Duration { min, max } => format!(
                "text like \"30s\" (ms, s, m, h), from {} to {}",
                span(*min),
                span(*max)
            ),
            Self::Choice(values) => quoted(values),
            Self::Pattern => {
                "a name of letters, digits, '.', '-', in which * stands for any characters".into()
            }
            Self::Prefix => "text in quotes".into(),
            Self::Domains => "a list of domain names, for example [\"s3.example.net\"]".into(),
            Self::Texts(what) => format!("a list of {what}"),
            Self::Actions => format!("a list of {} or names of S3 operations", quoted(CLASSES)),
            Self::LogTarget => "\"off\", \"stdout\" or the path of a file".into(),
            Self::Table => "a table".into(),
            Self::Tables => "a list of tables".into(),
        }
    }
}

/// `"a", "b" or "c"`.
fn quoted(values: &[&str]) -> String {
    let all: Vec<_> = values.iter().map(|v| format!("{v:?}")).collect();
    match all.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => all.concat(),
    }
}

/// Bytes in the largest binary unit that fits evenly.
fn size(bytes: u64) -> String {
    let units = ["", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024 && value.is_multiple_of(1024) && unit + 1 < units.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value}{}", units[unit])
}

/// Milliseconds in the largest unit that fits evenly.
fn span(millis: u64) -> String {
    for (unit, length) in [("h", HOUR), ("m", 60 * SECOND), ("s", SECOND)] {
        if millis >= length && millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    format!("{millis}ms")
}

/// docs/configuration.md, whole.
#[must_use]
pub fn document() -> String {
    let mut out = String::from(include_str!("schema/preface.md"));
    for section in SECTIONS.iter().skip(1) {
        out.push_str(&format!("\n## `{}`\n\n{}\n\n", section.header, section.doc));
        out.push_str("| key | accepted | default | meaning |\n|---|---|---|---|\n");
        for row in section.rows {
            let accepted = if matches!(row.kind, Kind::Table | Kind::Tables) {
                "see below".to_owned()
            } else {
                row.kind.accepted()
            };
            let default = match row.default {
                Required => "required".to_owned(),
                Value(value) => format!("`{value}`"),
                Absent(meaning) => meaning.to_owned(),
            };
            let cells = [
                format!("`{}`", row.key),
                accepted,
                default,
                row.doc.to_owned(),
            ];
            let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            out.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
    }
    out
}
