//! What is to be done with an object, from its headers alone.

use http::{HeaderMap, HeaderValue};
use sealgate_backend::types::ObjectInfo;
use sealgate_envelope::Envelope;
use sealgate_s3::time::parse_iso8601;

use super::{Options, Skip};
use crate::core::unix_seconds;

/// What objects shall be under.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The key's name in the configuration.
    pub name: String,
    /// Its newest version.
    pub version: String,
}

/// See [`decide`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// It is to be put under the target.
    Rewrap,
    /// It is there.
    Current,
    /// It is to be left alone.
    Skip(Skip),
    /// It cannot be replaced without losing something: a short fixed name, and what.
    Fail(&'static str, String),
}

/// What is to be done with an object that a store describes so.
#[must_use]
pub fn decide(
    info: &ObjectInfo,
    envelope: &Envelope,
    target: &Target,
    options: &Options,
) -> Decision {
    let kek = &envelope.fields.kek;
    if kek.name == target.name && kek.version == target.version && !options.all {
        return Decision::Current;
    }
    if options.keep_keks && kek.name != target.name {
        let reason = format!(
            "its key-encryption key is of the key {:?} and cannot be kept under {:?}: run again without --keep-keks",
            kek.name, target.name
        );
        return Decision::Fail("other_key", reason);
    }
    if is_archived(&info.headers) {
        return Decision::Skip(Skip::Archived);
    }
    if is_locked(&info.headers, unix_seconds()) && !options.copy_locked {
        return Decision::Skip(Skip::Locked);
    }
    if let Some(n) = text(&info.headers, "x-amz-missing-meta") {
        let reason =
            format!("{n} of its metadata entries cannot be read over HTTP and would be lost");
        return Decision::Fail("metadata", reason);
    }
    Decision::Rewrap
}

/// In a class that has to be restored before it can be read, and not restored.
fn is_archived(headers: &HeaderMap) -> bool {
    let restored =
        text(headers, "x-amz-restore").is_some_and(|v| v.contains("ongoing-request=\"false\""));
    let archived = headers.contains_key("x-amz-archive-status")
        || matches!(
            text(headers, "x-amz-storage-class"),
            Some("GLACIER" | "DEEP_ARCHIVE")
        );
    archived && !restored
}

/// Under retention or a legal hold at `now`, seconds since the epoch. A date that cannot be read counts as the future.
fn is_locked(headers: &HeaderMap, now: i64) -> bool {
    let held = LEGAL_HOLD
        .iter()
        .any(|name| text(headers, name).is_some_and(|v| v.eq_ignore_ascii_case("ON")));
    let retained = headers.contains_key(LOCK_MODE)
        && text(headers, LOCK_UNTIL)
            .and_then(parse_iso8601)
            .is_none_or(|until| until / 1000 > now);
    held || retained
}

pub(super) const LOCK_MODE: &str = "x-amz-object-lock-mode";
pub(super) const LOCK_UNTIL: &str = "x-amz-object-lock-retain-until-date";
/// As S3 names it, and as some stores do.
pub(super) const LEGAL_HOLD: [&str; 2] = [
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-legal-hold-status",
];

/// The headers that put a copy under the same lock.
pub(super) fn keep_lock(from: &HeaderMap, to: &mut HeaderMap) {
    if !is_locked(from, unix_seconds()) {
        return;
    }
    for name in [LOCK_MODE, LOCK_UNTIL] {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
    let held = LEGAL_HOLD
        .iter()
        .any(|name| text(from, name).is_some_and(|v| v.eq_ignore_ascii_case("ON")));
    if held {
        to.insert(LEGAL_HOLD[0], HeaderValue::from_static("ON"));
    }
}

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use sealgate_aead::Secret;
    use sealgate_envelope::{
        Binding, Dek, EnvelopeFields, Kek, Layout, Location, ObjectId, WrappedKek,
    };

    use super::*;

    fn envelope(name: &str, version: &str) -> Envelope {
        let location = Location {
            bucket: b"b",
            key: b"k",
        };
        EnvelopeFields {
            layout: Layout::Multipart,
            binding: Binding::Key,
            object_id: ObjectId([7; 16]),
            kek: WrappedKek {
                name: name.into(),
                version: version.into(),
                wrapped: vec![1; 69],
            },
        }
        .seal(
            &Kek::new(&Secret::new([1; 32])),
            &Dek::new(Secret::new([2; 32])),
            [3; 12],
            &location,
        )
        .unwrap()
    }

    fn info(headers: &[(&'static str, &'static str)]) -> ObjectInfo {
        ObjectInfo {
            len: 208,
            etag: "e".into(),
            last_modified: 0,
            headers: headers
                .iter()
                .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
                .collect(),
        }
    }

    fn target(name: &str, version: &str) -> Target {
        Target {
            name: name.into(),
            version: version.into(),
        }
    }

    #[test]
    fn only_what_is_under_the_targets_newest_version_is_left_alone() {
        let options = Options::default();
        for (name, version, decision) in [
            ("main", "2", Decision::Current),
            ("main", "1", Decision::Rewrap),
            ("main", "3", Decision::Rewrap),
            ("other", "2", Decision::Rewrap),
        ] {
            let found = decide(
                &info(&[]),
                &envelope(name, version),
                &target("main", "2"),
                &options,
            );
            assert_eq!(found, decision, "{name} {version}");
        }
        let all = Options {
            all: true,
            ..Options::default()
        };
        let found = decide(
            &info(&[]),
            &envelope("main", "2"),
            &target("main", "2"),
            &all,
        );
        assert_eq!(found, Decision::Rewrap);
    }

    #[test]
    fn keks_are_kept_under_their_own_key_only() {
        let keep = Options {
            keep_keks: true,
            ..Options::default()
        };
        let decide = |name| {
            decide(
                &info(&[]),
                &envelope(name, "1"),
                &target("main", "2"),
                &keep,
            )
        };
        assert_eq!(decide("main"), Decision::Rewrap);
        assert!(matches!(decide("other"), Decision::Fail("other_key", _)));
    }

    #[test]
    fn locked_archived_and_unreadable_objects() {
        use Decision::{Rewrap, Skip as Left};
        const PAST: &str = "2001-01-01T00:00:00Z";
        const FUTURE: &str = "2999-01-01T00:00:00Z";
        let locked = Left(Skip::Locked);
        for (headers, decision) in [
            (
                &[("x-amz-object-lock-legal-hold", "ON")][..],
                locked.clone(),
            ),
            (
                &[("x-amz-object-lock-legal-hold-status", "ON")],
                locked.clone(),
            ),
            (&[("x-amz-object-lock-legal-hold", "OFF")], Rewrap),
            (
                &[(LOCK_MODE, "COMPLIANCE"), (LOCK_UNTIL, FUTURE)],
                locked.clone(),
            ),
            (
                &[(LOCK_MODE, "GOVERNANCE"), (LOCK_UNTIL, "soon")],
                locked.clone(),
            ),
            (&[(LOCK_MODE, "GOVERNANCE")], locked),
            (&[(LOCK_MODE, "GOVERNANCE"), (LOCK_UNTIL, PAST)], Rewrap),
            (&[("x-amz-storage-class", "GLACIER")], Left(Skip::Archived)),
            (&[("x-amz-storage-class", "STANDARD_IA")], Rewrap),
            (
                &[
                    ("x-amz-storage-class", "GLACIER"),
                    (
                        "x-amz-restore",
                        "ongoing-request=\"false\", expiry-date=\"x\"",
                    ),
                ],
                Rewrap,
            ),
        ] {
            let found = decide(
                &info(headers),
                &envelope("main", "1"),
                &target("main", "2"),
                &Options::default(),
            );
            assert_eq!(found, decision, "{headers:?}");
        }
        let missing = info(&[("x-amz-missing-meta", "1")]);
        let found = decide(
            &missing,
            &envelope("main", "1"),
            &target("main", "2"),
            &Options::default(),
        );
        assert!(matches!(found, Decision::Fail("metadata", _)));
    }

    #[test]
    fn a_lock_that_holds_goes_to_the_copy() {
        let headers = |pairs| info(pairs).headers;
        let mut copy = HeaderMap::new();
        keep_lock(
            &headers(&[
                (LOCK_MODE, "COMPLIANCE"),
                (LOCK_UNTIL, "2001-01-01T00:00:00Z"),
            ]),
            &mut copy,
        );
        assert!(copy.is_empty());
        let from = headers(&[
            (LOCK_MODE, "COMPLIANCE"),
            (LOCK_UNTIL, "2999-01-01T00:00:00Z"),
            ("x-amz-object-lock-legal-hold-status", "ON"),
        ]);
        keep_lock(&from, &mut copy);
        assert_eq!(copy[LOCK_MODE], "COMPLIANCE");
        assert_eq!(copy[LOCK_UNTIL], "2999-01-01T00:00:00Z");
        assert_eq!(copy["x-amz-object-lock-legal-hold"], "ON");
    }
}
