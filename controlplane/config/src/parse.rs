//! From text to [`Config`], by the table of [`crate::schema`].

mod keys;
mod reader;
mod secrets;
mod sections;
mod values;

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::environment::Environment;
use crate::error::{ConfigError, ConfigErrors, Source};
use crate::model::Config;
use crate::schema::{self, Kind, Section};
use reader::Reader;

/// What reading one file needs and collects.
pub(crate) struct Context<'a> {
    source: Source<'a>,
    environment: &'a Environment,
    errors: RefCell<Vec<ConfigError>>,
}

/// What is wrong with a value.
#[derive(Debug, Default)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) accepted: Option<String>,
    pub(crate) remedy: Option<String>,
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Self {
            what,
            ..Self::default()
        }
    }
}

impl Wrong {
    pub(crate) fn accept(mut self, accepted: impl Into<String>) -> Self {
        self.accepted = Some(accepted.into());
        self
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl Context<'_> {
    /// Notes an error at a place of the file.
    pub(crate) fn report(&self, span: Range<usize>, key: impl Into<String>, wrong: Wrong) {
        self.errors.borrow_mut().push(ConfigError {
            file: self.source.file.to_owned(),
            place: Some(self.source.place(span)),
            key: key.into(),
            what: wrong.what,
            accepted: wrong.accepted,
            remedy: wrong.remedy,
        });
    }
}

/// Reads a whole file.
pub(crate) fn config(
    text: &str,
    file: &Path,
    environment: &Environment,
) -> Result<Config, ConfigErrors> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    let mut source = Source {
        file,
        text,
        secrets: Vec::new(),
        broken: !syntax.is_empty(),
    };
    collect_secrets(document.get_ref(), schema::section(""), &mut source.secrets);
    let context = Context {
        source,
        environment,
        errors: RefCell::default(),
    };
    if !syntax.is_empty() {
        for error in syntax {
            let span = error.span().unwrap_or(0..0);
            let what = Wrong::from(format!("not TOML: {}", error.message()));
            context.report(span, "", what.remedy("see https://toml.io"));
        }
        return Err(ConfigErrors::new(context.errors.into_inner()));
    }
    let root = Reader::new(
        &context,
        schema::section(""),
        String::new(),
        document.get_ref(),
        0..0,
    );
    let read = sections::config(&root);
    let errors = context.errors.into_inner();
    match read {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(ConfigErrors::new(errors)),
    }
}

/// Finds every value that must not be shown: those of secret keys, and those of keys that nobody knows, one of which
/// may be a misspelt secret.
fn collect_secrets(table: &DeTable<'_>, section: &Section, into: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        match section.row(key.get_ref()) {
            Some(row) if row.secret => hide(value, into),
            Some(row) if matches!(row.kind, Kind::Table | Kind::Tables) => {
                collect_below(value.get_ref(), section.path, key.get_ref(), into);
            }
            // A table where none belongs, as dotted keys make one.
            Some(_) if value.get_ref().is_table() => hide(value, into),
            Some(_) => {}
            None => hide(value, into),
        }
    }
}

/// Marks a value and all that is in it: the span of a table that dotted keys make does not hold its values.
fn hide(value: &Spanned<DeValue<'_>>, into: &mut Vec<Range<usize>>) {
    into.push(value.span());
    for (_, inner) in value.get_ref().as_table().into_iter().flatten() {
        hide(inner, into);
    }
    for inner in value.get_ref().as_array().into_iter().flatten() {
        hide(inner, into);
    }
}

/// The same in a key's table, whatever its provider is: that may be misspelt.
fn collect_key_secrets(table: &DeTable<'_>, into: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        let sections = schema::providers().map(|(_, section)| section);
        let mut rows = std::iter::once(schema::section(schema::KEYS))
            .chain(sections)
            .filter_map(|section| section.row(key.get_ref()))
            .peekable();
        if rows.peek().is_some_and(|row| row.kind == Kind::Table) {
            collect_below(value.get_ref(), schema::KEYS, key.get_ref(), into);
        } else if rows.peek().is_none() || rows.any(|row| row.secret) || value.get_ref().is_table()
        {
            hide(value, into);
        }
    }
}

/// The same in the tables under a key.
fn collect_below(value: &DeValue<'_>, section: &str, key: &str, into: &mut Vec<Range<usize>>) {
    match (section, key) {
        ("", "keys") => {
            for (_, named) in value.as_table().into_iter().flatten() {
                if let Some(table) = named.get_ref().as_table() {
                    collect_key_secrets(table, into);
                } else {
                    hide(named, into);
                }
            }
        }
        _ => {
            for item in value.as_array().into_iter().flatten() {
                if let Some(table) = item.get_ref().as_table() {
                    let path = below(section, key, true);
                    collect_secrets(table, schema::section(&path), into);
                } else {
                    hide(item, into);
                }
            }
            if let Some(table) = value.as_table() {
                let path = below(section, key, false);
                let inner = schema::section(&path);
                if inner.path == path {
                    collect_secrets(table, inner, into);
                }
            }
        }
    }
}

/// Path of the section under a key.
fn below(section: &str, key: &str, list: bool) -> String {
    let dot = if section.is_empty() { "" } else { "." };
    let brackets = if list { "[]" } else { "" };
    format!("{section}{dot}{key}{brackets}")
}

#[cfg(test)]
mod tests;
