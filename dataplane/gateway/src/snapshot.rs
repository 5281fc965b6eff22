//! The configuration as the data plane uses it: compiled, immutable, swapped whole on reload.

use std::collections::HashMap;
use std::time::Duration;

use sealgate_envelope::Binding;
use sealgate_s3::route::Operation;
use sealgate_s3::sigv4::SecretKey;

use crate::treatment::class_of;

/// Everything a request needs to know of the configuration.
pub struct Snapshot {
    /// Domains under which virtual-host style names a bucket.
    pub base_domains: Vec<String>,
    /// By access key.
    pub credentials: HashMap<String, Credential>,
    /// What requests without a signature may do; its secret is nobody's.
    pub anonymous: Option<Credential>,
    /// CORS rules in place of the buckets' own.
    pub cors: Vec<CorsRule>,
    /// First match wins.
    pub buckets: Vec<BucketRule>,
    /// Time-outs towards clients.
    pub timeouts: ClientTimeouts,
    /// Rises with every reload: per-core state made from an older one is remade.
    pub generation: u64,
}

/// Somebody who may send requests.
pub struct Credential {
    /// Shared secret of signatures.
    pub secret: SecretKey,
    /// What is allowed; anything else is not.
    pub allow: Vec<Grant>,
    /// Whose signature the store sees, where it is not the gateway's own.
    pub store_user: Option<StoreUser>,
    /// Whether version 2 signatures are taken too.
    pub sigv2: bool,
}

/// A user of the store.
pub struct StoreUser {
    /// Access key at the store.
    pub access_key: String,
    /// Secret key at the store.
    pub secret: SecretKey,
}

/// A CORS rule for some buckets.
pub struct CorsRule {
    /// Bucket name, `*` matches any run of characters.
    pub bucket: String,
    /// What it allows.
    pub rule: sealgate_s3::cors::Rule,
}

/// A set of operations on a set of keys.
pub struct Grant {
    /// Bucket name, `*` matches any run of characters.
    pub bucket: String,
    /// Key prefix; empty for the whole bucket.
    pub prefix: Vec<u8>,
    /// What may be done there.
    pub actions: Vec<Action>,
}

/// Name of the action that lifts retentions in governance mode: no operation, as in S3's own policies.
pub const BYPASS_GOVERNANCE: &str = "BypassGovernanceRetention";

/// A class of operations, or one operation by its S3 name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Everything.
    All,
    /// GetObject, HeadObject and what else reads an object.
    Read,
    /// PutObject, multipart uploads, copies.
    Write,
    /// Listings of buckets, keys, uploads and parts.
    List,
    /// Deletions of objects.
    Delete,
    /// Buckets themselves and their configuration; retentions in governance mode.
    Admin,
    /// One operation.
    Operation(String),
}

/// How the objects under a bucket or prefix are kept.
#[derive(Clone, Debug)]
pub struct BucketRule {
    /// Bucket name, `*` matches any run of characters.
    pub bucket: String,
    /// Key prefix; empty for the whole bucket.
    pub prefix: Vec<u8>,
    /// Name of the key that wraps; one of `[keys.<name>]`.
    pub key: String,
    /// How listings learn plaintext sizes.
    pub listing: Listing,
    /// What an envelope is bound to.
    pub binding: Binding,
    /// Seal the client's metadata.
    pub seal_metadata: bool,
    /// Read objects that are not sealed as they are, rather than refuse them.
    pub plaintext_reads: bool,
    /// Off: bytes pass as they are.
    pub encrypt: bool,
}

/// How a listing learns plaintext sizes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listing {
    /// By the size law: every object under the rule is sealed.
    Computed,
    /// By a HEAD of each object: a bucket that is being migrated.
    Verify,
}

/// Time-outs towards clients.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// From a request's first byte to the end of its head.
    pub header: Duration,
    /// Between requests.
    pub idle: Duration,
    /// Bytes per second that a body must average over a block, in either direction.
    pub minimum_rate: u64,
    /// How long a request waits for a buffer before `503 SlowDown`.
    pub buffer_wait: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(20),
            idle: Duration::from_secs(75),
            minimum_rate: 4 << 10,
            buffer_wait: Duration::from_secs(10),
        }
    }
}

impl ClientTimeouts {
    /// How long `bytes` may take: at the minimum rate, with ten seconds' grace.
    #[must_use]
    pub fn for_bytes(&self, bytes: usize) -> Duration {
        Duration::from_secs(10 + bytes as u64 / self.minimum_rate.max(1))
    }
}

/// Whether a key has a prefix, most often the empty one: to compare nothing at no address costs a processor dozens of
/// nanoseconds (the C library's comparison reads there and discards the fault), a thousand times for each listing.
fn under(prefix: &[u8], key: &[u8]) -> bool {
    prefix.is_empty() || key.starts_with(prefix)
}

impl Snapshot {
    /// The rule for an object, or for a bucket as a whole when `key` is empty.
    #[must_use]
    pub fn rule(&self, bucket: &str, key: &[u8]) -> Option<&BucketRule> {
        self.buckets
            .iter()
            .find(|rule| matches_glob(&rule.bucket, bucket) && under(&rule.prefix, key))
    }

    /// The rules for the objects of a bucket, to look up many keys.
    #[must_use]
    pub fn rules(&self, bucket: &str) -> BucketRules<'_> {
        let mut rules = Vec::new();
        for rule in &self.buckets {
            if matches_glob(&rule.bucket, bucket) {
                rules.push(rule);
                // What comes after it is for no key.
                if rule.prefix.is_empty() {
                    break;
                }
            }
        }
        BucketRules(rules)
    }
}

/// The rules of one bucket that can be a key's, the first that fits deciding.
#[derive(Clone, Debug)]
pub struct BucketRules<'s>(Vec<&'s BucketRule>);

impl<'s> BucketRules<'s> {
    /// As [`Snapshot::rule`].
    #[must_use]
    pub fn of(&self, key: &[u8]) -> Option<&'s BucketRule> {
        let mut rules = self.0.iter();
        rules.find(|rule| under(&rule.prefix, key)).copied()
    }
}

impl Credential {
    /// Whether `operation` is allowed on `key` of `bucket`. For listings `key` is the prefix that is listed.
    #[must_use]
    pub fn allows(&self, operation: &Operation, bucket: &str, key: &[u8]) -> bool {
        self.allow.iter().any(|grant| {
            matches_glob(&grant.bucket, bucket)
                && under(&grant.prefix, key)
                && grant.actions.iter().any(|action| action.covers(operation))
        })
    }
}

impl Credential {
    /// Whether `operation` is allowed anywhere in `bucket`.
    #[must_use]
    pub fn allows_any(&self, operation: &Operation, bucket: &str) -> bool {
        self.allow.iter().any(|grant| {
            matches_glob(&grant.bucket, bucket)
                && grant.actions.iter().any(|action| action.covers(operation))
        })
    }

    /// Whether a retention in governance mode may be lifted from `key` of `bucket`.
    #[must_use]
    pub fn may_bypass_governance(&self, bucket: &str, key: &[u8]) -> bool {
        self.allow.iter().any(|grant| {
            matches_glob(&grant.bucket, bucket)
                && under(&grant.prefix, key)
                && grant.actions.iter().any(|action| match action {
                    Action::All | Action::Admin => true,
                    Action::Operation(name) => name == BYPASS_GOVERNANCE,
                    _ => false,
                })
        })
    }

    /// Whether the names of buckets may be listed: where anything may be.
    #[must_use]
    pub fn may_list_buckets(&self) -> bool {
        self.allow.iter().any(|grant| {
            grant
                .actions
                .iter()
                .any(|action| action.covers(&Operation::ListBuckets))
        })
    }
}

impl Action {
    fn covers(&self, operation: &Operation) -> bool {
        match self {
            Self::All => true,
            Self::Operation(name) => name == operation.as_str(),
            class => class_of(operation).as_ref() == Some(class),
        }
    }
}

/// `*` in `pattern` matches any run of characters, the empty one included.
#[must_use]
pub fn matches_glob(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(first) = pieces.next() else {
        return name.is_empty();
    };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.len() >= piece.len() && rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::matches_glob;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, want) in [
            ("*", "", true),
            ("*", "abc", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abd", false),
            ("a*b*c", "a-b-b-c", true),
            ("ab*b", "ab", false),
            ("*-prod", "x-prod", true),
            ("*-prod", "x-prod-1", false),
        ] {
            assert_eq!(matches_glob(pattern, name), want, "{pattern} {name}");
        }
    }
}
