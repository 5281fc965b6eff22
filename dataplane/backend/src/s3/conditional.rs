//! Conditions of writes at a store that does not keep them all (S3-TRAPS 31): nobody is told that one held when
//! nothing looked.

use http::{HeaderMap, HeaderValue, header};
use sealgate_s3::conditions::{Conditions, EtagList};
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_uring::Connector;

use super::S3Store;
use super::preset::{Condition, Preset};
use crate::types::{BackendError, Location};

/// What becomes of a condition that the store does not keep.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unkept {
    /// `501 NotImplemented`.
    #[default]
    Refused,
    /// A HEAD before the write: what somebody else writes between the two is lost.
    Emulated,
    /// Every condition is sent, and the store believed: for what finds out by itself.
    Sent,
}

/// Which write a condition is on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Write {
    Put,
    Complete,
    Copy,
    Delete,
}

impl Write {
    fn if_absent(self) -> Condition {
        match self {
            Self::Put | Self::Delete => Condition::PutIfAbsent,
            Self::Complete => Condition::CompleteIfAbsent,
            Self::Copy => Condition::CopyIfAbsent,
        }
    }

    fn if_match(self) -> Condition {
        match self {
            Self::Put => Condition::PutIfMatch,
            Self::Complete => Condition::CompleteIfMatch,
            Self::Copy => Condition::CopyIfMatch,
            Self::Delete => Condition::DeleteIfMatch,
        }
    }
}

impl<C: Connector> S3Store<C> {
    /// The conditions that go to the store with a write of `at`. Those that it does not keep are refused, or checked
    /// here, as [`S3Options::unkept`](super::S3Options::unkept) says.
    pub(super) async fn conditions_of(
        &self,
        write: Write,
        at: &Location,
        conditions: &Conditions,
    ) -> Result<Conditions, BackendError> {
        let unkept = self.options.unkept;
        if conditions.is_empty() || unkept == Unkept::Sent {
            return Ok(conditions.clone());
        }
        let preset = self.options.preset;
        if preset.assumed {
            if unkept == Unkept::Emulated {
                self.check(at, conditions).await?;
            }
            return Ok(conditions.clone());
        }
        let mut sent = conditions.clone();
        let mut checked = Conditions::default();
        let mut lacking = None;
        let keeps_match = preset.keeps(write.if_match()) && !is_list(preset, write, &sent);
        if !keeps_match && sent.if_match.is_some() {
            checked.if_match = sent.if_match.take();
            lacking = Some(write.if_match());
        }
        let none_match = match &sent.if_none_match {
            Some(EtagList::Any) => write.if_absent(),
            _ => Condition::NoneMatchTag,
        };
        if !preset.keeps(none_match) && sent.if_none_match.is_some() {
            checked.if_none_match = sent.if_none_match.take();
            lacking = Some(none_match);
        }
        if !preset.keeps(Condition::Unmodified) && sent.if_unmodified_since.is_some() {
            checked.if_unmodified_since = sent.if_unmodified_since.take();
            lacking = Some(Condition::Unmodified);
        }
        match lacking {
            None => {}
            Some(lacking) if unkept == Unkept::Refused => {
                return Err(not_kept(lacking, preset.name).into());
            }
            Some(_) => self.check(at, &checked).await?,
        }
        Ok(sent)
    }

    /// Whether what is at `at` now meets the conditions of a write.
    async fn check(&self, at: &Location, conditions: &Conditions) -> Result<(), BackendError> {
        let existing = match self.head(at, &Conditions::default()).await {
            Ok(info) => Some(info),
            Err(BackendError::Answer(e)) if e.code == ErrorCode::NoSuchKey => None,
            Err(e) => return Err(e),
        };
        let existing = existing
            .as_ref()
            .map(|info| (info.etag.as_str(), info.last_modified / 1000));
        Ok(conditions.check_write(existing)?)
    }
}

/// Takes the quotes off the ETag in the condition of a PutObject, for a store that would compare them.
pub(super) fn bare(preset: &Preset, headers: &mut HeaderMap) {
    if !preset.bare_etags {
        return;
    }
    let Some(value) = headers.get(header::IF_MATCH) else {
        return;
    };
    let bare = value
        .to_str()
        .ok()
        .and_then(|v| v.strip_prefix('"')?.strip_suffix('"'));
    if let Some(bare) = bare.and_then(|v| HeaderValue::from_str(v).ok()) {
        headers.insert(header::IF_MATCH, bare);
    }
}

/// Whether there are several ETags where the store compares the whole list with the one it has.
fn is_list(preset: &Preset, write: Write, conditions: &Conditions) -> bool {
    preset.bare_etags
        && write == Write::Put
        && matches!(&conditions.if_match, Some(EtagList::Tags(tags)) if tags.len() > 1)
}

fn not_kept(condition: Condition, store: &str) -> S3Error {
    S3Error::with_message(
        ErrorCode::NotImplemented,
        format!(
            "The store behind this gateway ({store}) does not keep {condition}: the write would take effect whether the \
             condition holds or not."
        ),
    )
    .detail("Store", store)
    .detail("Condition", condition.to_string())
}
