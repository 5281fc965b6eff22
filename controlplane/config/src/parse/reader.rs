//! Reads one table by its section of the schema.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::{Context, Wrong, values};
use crate::model::Endpoint;
use crate::schema::{self, Fallback, Kind, Row, Section};

/// One table of the file, or the nothing that stands for it.
pub(super) struct Reader<'c> {
    pub(super) context: &'c Context<'c>,
    section: &'static Section,
    /// What a key's provider adds to its section; `None` for other tables and where the provider is unclear.
    provider: Option<&'static Section>,
    /// Dotted path of the table in this file: `buckets[2]`.
    at: String,
    table: &'c DeTable<'c>,
    span: Range<usize>,
}

/// A value and where it stands; a default stands nowhere.
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Option<Range<usize>>,
}

impl<'c> Reader<'c> {
    /// A reader of a table; keys that its section does not know are errors.
    pub(super) fn new(
        context: &'c Context<'c>,
        section: &'static Section,
        at: String,
        table: &'c DeTable<'c>,
        span: Range<usize>,
    ) -> Self {
        let provider = (section.path == schema::KEYS)
            .then(|| table.get("provider")?.get_ref().as_str())
            .flatten()
            .and_then(|name| schema::providers().find(|(n, _)| *n == name));
        let this = Self {
            context,
            section,
            provider: provider.map(|(_, section)| section),
            at,
            table,
            span,
        };
        for key in table.keys() {
            if this.find_row(key.get_ref()).is_none() {
                let wrong = match (section.path == schema::KEYS, provider) {
                    (true, Some((name, _))) => this.of_another(key.get_ref(), name),
                    // Which keys it takes is unclear, and that is an error of its own.
                    (true, None) if owners(key.get_ref()).next().is_some() => continue,
                    _ => None,
                };
                let wrong = wrong.unwrap_or_else(|| this.unknown(key.get_ref()));
                context.report(key.span(), this.path(key.get_ref()), wrong);
            }
        }
        this
    }

    /// The row of a key that this table may have.
    fn find_row(&self, key: &str) -> Option<&'static Row> {
        let own = self.section.row(key);
        own.or_else(|| self.provider.and_then(|section| section.row(key)))
    }

    /// A key that other providers have.
    fn of_another(&self, key: &str, name: &str) -> Option<Wrong> {
        let others: Vec<_> = owners(key).map(|other| format!("{other:?}")).collect();
        let what = format!("has no meaning with provider = {name:?}");
        (!others.is_empty()).then(|| {
            let remedy = format!("remove it, or set provider = {}", others.join(" or "));
            Wrong::from(what).remedy(remedy)
        })
    }

    fn unknown(&self, key: &str) -> Wrong {
        let sections = [Some(self.section), self.provider];
        let rows = sections.into_iter().flatten().flat_map(|s| s.rows);
        let names: Vec<_> = rows.map(|row| row.key).collect();
        let wrong = Wrong::from(format!("there is no key {key:?} here")).accept(names.join(", "));
        match values::nearest(key, names.iter().copied()) {
            Some(name) => wrong.remedy(format!("write {name:?}")),
            None => wrong.remedy("remove it, or move it to the table it belongs to"),
        }
    }

    /// Dotted path of one of the table's keys.
    pub(super) fn path(&self, key: &str) -> String {
        if self.at.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.at)
        }
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Notes an error about a key that is there, or else about the table.
    pub(super) fn wrong(&self, key: &str, wrong: Wrong) {
        let span = match self.table.get_key_value(key) {
            Some((_, value)) => value.span(),
            None => self.span.clone(),
        };
        self.context.report(span, self.path(key), wrong);
    }

    /// Notes an error about a key that does not belong here, and marks the key itself.
    pub(super) fn misplaced(&self, key: &str, wrong: Wrong) {
        if let Some((name, _)) = self.table.get_key_value(key) {
            self.context.report(name.span(), self.path(key), wrong);
        }
    }

    /// Notes that a key has to be there.
    pub(super) fn missing(&self, key: &str) {
        let accepted = self.row(key).map(|row| row.kind.accepted());
        let place = if self.section.header.is_empty() {
            "the file".to_owned()
        } else {
            self.section.header.replace(" …", "")
        };
        let wrong = Wrong {
            what: "is missing".into(),
            accepted,
            remedy: Some(format!("add `{key}` to {place}")),
        };
        self.context
            .report(self.span.clone(), self.path(key), wrong);
    }

    fn row(&self, key: &str) -> Option<&'static Row> {
        let row = self.find_row(key);
        debug_assert!(row.is_some(), "{} has no row {key}", self.section.path);
        row
    }

    /// The value of a key, or its default. `None` when it is absent or wrong, which is noted.
    pub(super) fn value<T>(
        &self,
        key: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Option<Located<T>> {
        let row = self.row(key)?;
        if let Some(given) = self.table.get(key) {
            let span = given.span();
            return match read(given.get_ref()) {
                Ok(value) => Some(Located {
                    value,
                    span: Some(span),
                }),
                Err(mut wrong) => {
                    wrong.accepted = wrong.accepted.or_else(|| Some(row.kind.accepted()));
                    self.context.report(span, self.path(key), wrong);
                    None
                }
            };
        }
        match row.default {
            Fallback::Required => {
                self.missing(key);
                None
            }
            Fallback::Absent(_) => None,
            Fallback::Value(text) => {
                let parsed = DeValue::parse(text).ok()?;
                let value = read(parsed.get_ref()).ok();
                debug_assert!(value.is_some(), "the default of {key} is refused");
                value.map(|value| Located { value, span: None })
            }
        }
    }

    /// Text that is not empty.
    pub(super) fn text(&self, key: &str) -> Option<Located<String>> {
        self.value(key, |value| {
            let text = string(value)?;
            match text.is_empty() {
                true => Err(Wrong::from("is empty".to_owned())),
                false => Ok(text.to_owned()),
            }
        })
    }

    /// Text that a function understands.
    pub(super) fn parsed<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<Located<T>> {
        self.value(key, |value| {
            let text = string(value)?;
            parse(text).ok_or_else(|| refused(text))
        })
    }

    /// One of the values of the row's [`Kind::Choice`], in its order: the index.
    pub(super) fn choice<T: Copy>(&self, key: &str, meanings: &[T]) -> Option<T> {
        let Some(Row {
            kind: Kind::Choice(names),
            ..
        }) = self.row(key)
        else {
            return None;
        };
        debug_assert_eq!(names.len(), meanings.len(), "{key}");
        let chosen = self.value(key, |value| {
            let text = string(value)?;
            let at = names.iter().position(|name| *name == text);
            at.ok_or_else(|| match values::nearest(text, names.iter().copied()) {
                Some(name) => refused(text).remedy(format!("write {name:?}")),
                None => refused(text),
            })
        })?;
        meanings.get(chosen.value).copied()
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        let read = self.value(key, |value| {
            value.as_bool().ok_or_else(|| other_type(value))
        });
        read.map(|found| found.value)
    }

    /// A whole number or a size, within the row's bounds.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        let (least, most, is_size) = match self.row(key)?.kind {
            Kind::Integer { min, max } => (min, max, false),
            Kind::Size { min, max } => (min, max, true),
            _ => return None,
        };
        let read = self.value(key, |value| {
            let number = match value {
                DeValue::Integer(n) => u64::from_str_radix(n.as_str(), n.radix()).ok(),
                DeValue::String(text) if is_size => values::size(text),
                _ => return Err(other_type(value)),
            };
            number
                .filter(|n| (least..=most).contains(n))
                .ok_or_else(|| refused(&shown(value)))
        });
        read.map(|found| found.value)
    }

    /// A whole number whose row's bounds fit.
    pub(super) fn small(&self, key: &str) -> Option<u32> {
        u32::try_from(self.number(key)?).ok()
    }

    /// A duration within the row's bounds.
    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        let Kind::Duration { min, max } = self.row(key)?.kind else {
            return None;
        };
        let bounds = Duration::from_millis(min)..=Duration::from_millis(max);
        let parse = |text: &str| values::duration(text).filter(|d| bounds.contains(d));
        self.parsed(key, parse).map(|found| found.value)
    }

    /// A path; relative ones are relative to the file's folder.
    pub(super) fn file(&self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        Some(self.resolve(&text.value))
    }

    /// A path as it is meant in this file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        let folder = self.context.source.file.parent();
        folder.unwrap_or(std::path::Path::new("")).join(path)
    }

    /// `address:port`.
    pub(super) fn address(&self, key: &str) -> Option<Located<SocketAddr>> {
        self.parsed(key, |text| text.parse().ok())
    }

    /// A store's URL.
    pub(super) fn endpoint(&self, key: &str) -> Option<Located<Endpoint>> {
        self.parsed(key, values::endpoint)
    }

    /// A list of texts that a function understands. Each that it does not is noted.
    pub(super) fn list<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<Vec<T>> {
        let accepted = self.row(key)?.kind.accepted();
        let read = self.value(key, |value| {
            let items = value.as_array().ok_or_else(|| other_type(value))?;
            let mut parsed = Vec::new();
            for (n, item) in items.iter().enumerate() {
                match string(item.get_ref()).and_then(&parse) {
                    Ok(item) => parsed.push(item),
                    Err(mut wrong) => {
                        wrong.accepted = wrong.accepted.or_else(|| Some(accepted.clone()));
                        let at = format!("{}[{}]", self.path(key), n + 1);
                        self.context.report(item.span(), at, wrong);
                    }
                }
            }
            Ok(parsed)
        });
        read.map(|found| found.value)
    }

    /// A table under a key; `None` when it is absent or no table, which is noted.
    pub(super) fn table(&self, key: &str, section: &str) -> Option<Reader<'c>> {
        let row = self.row(key)?;
        let Some(value) = self.table.get(key) else {
            if row.default == Fallback::Required {
                self.missing(key);
            }
            return None;
        };
        match value.get_ref().as_table() {
            Some(table) => Some(Reader::new(
                self.context,
                schema::section(section),
                self.path(key),
                table,
                value.span(),
            )),
            None => {
                self.wrong(key, other_type(value.get_ref()).accept(row.kind.accepted()));
                None
            }
        }
    }

    /// A table under a key, or an empty one in its place: all defaults.
    pub(super) fn table_or_default(&self, key: &str, section: &str) -> Reader<'c> {
        static NOTHING: std::sync::LazyLock<DeTable<'static>> =
            std::sync::LazyLock::new(DeTable::new);
        self.table(key, section).unwrap_or_else(|| Reader {
            context: self.context,
            section: schema::section(section),
            provider: None,
            at: self.path(key),
            table: &NOTHING,
            span: self.span.clone(),
        })
    }

    /// The tables of a list, counted from 1 in messages.
    pub(super) fn tables(&self, key: &str, section: &str) -> Vec<Reader<'c>> {
        let Some(row) = self.row(key) else {
            return Vec::new();
        };
        let Some(value) = self.table.get(key) else {
            if row.default == Fallback::Required {
                self.missing(key);
            }
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong(key, other_type(value.get_ref()).accept(row.kind.accepted()));
            return Vec::new();
        };
        let mut readers = Vec::new();
        for (n, item) in items.iter().enumerate() {
            let at = format!("{}[{}]", self.path(key), n + 1);
            match item.get_ref().as_table() {
                Some(table) => readers.push(Reader::new(
                    self.context,
                    schema::section(section),
                    at,
                    table,
                    item.span(),
                )),
                None => {
                    let wrong = other_type(item.get_ref()).accept("a table");
                    self.context.report(item.span(), at, wrong);
                }
            }
        }
        readers
    }

    /// The named tables under a key, in the order of their names, with the place of each name.
    pub(super) fn named(&self, key: &str, section: &str) -> Vec<(Located<String>, Reader<'c>)> {
        let Some(value) = self.table.get(key) else {
            return Vec::new();
        };
        let Some(tables) = value.get_ref().as_table() else {
            self.wrong(key, other_type(value.get_ref()).accept("tables by name"));
            return Vec::new();
        };
        let mut named = Vec::new();
        for (name, value) in tables {
            let at = self.path(&format!("{key}.{}", name.get_ref()));
            let Some(table) = value.get_ref().as_table() else {
                let wrong = other_type(value.get_ref()).accept("a table");
                self.context.report(value.span(), at, wrong);
                continue;
            };
            let reader = Reader::new(
                self.context,
                schema::section(section),
                at,
                table,
                value.span(),
            );
            let name = Located {
                value: name.get_ref().to_string(),
                span: Some(name.span()),
            };
            named.push((name, reader));
        }
        named
    }
}

/// The providers whose keys have this key.
fn owners(key: &str) -> impl Iterator<Item = &'static str> {
    schema::providers().filter_map(move |(name, section)| section.row(key).map(|_| name))
}

/// Text, or what it is instead.
fn string<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Wrong> {
    value.as_str().ok_or_else(|| other_type(value))
}

fn other_type(value: &DeValue<'_>) -> Wrong {
    Wrong::from(format!("is of another type: {}", value.type_str()))
}

/// A value that is not secret, for a message.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(n) => n.to_string(),
        DeValue::String(text) => text.to_string(),
        other => other.type_str().to_owned(),
    }
}

/// A text that is not accepted, at most 60 characters of it.
pub(super) fn refused(text: &str) -> Wrong {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    Wrong::from(format!("{short:?} is not accepted"))
}
