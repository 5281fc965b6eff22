//! Names of AWS KMS keys, and where each is asked for.
//!
//! Forms of a key's name: <https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id>

use std::path::PathBuf;
use std::time::Duration;

/// A key in AWS KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKms {
    /// The key.
    pub key: AwsKey,
    /// Keys of earlier times, which only open. Never aliases.
    pub previous: Vec<AwsKey>,
    /// Where the key is asked for, in the order of preference; at least one.
    pub regions: Vec<AwsRegion>,
    /// Profile of the shared AWS files.
    pub profile: Option<String>,
    /// Certificates to trust instead of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// A connection to KMS, TLS included.
    pub connect_timeout: Duration,
    /// KMS's answer to one call.
    pub read_timeout: Duration,
}

/// A region in which a key is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsRegion {
    /// Its name, `eu-west-1`.
    pub name: String,
    /// URL to use instead of the region's own.
    pub endpoint: Option<String>,
}

/// A key's id, ARN, alias or alias ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKey {
    /// What an ARN says before the key.
    home: Option<Home>,
    target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Home {
    partition: String,
    region: String,
    account: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Key(String),
    /// With `alias/`.
    Alias(String),
}

/// What is accepted, in words.
pub(crate) const ACCEPTED: &str = "a key id (\"1234abcd-12ab-34cd-56ef-1234567890ab\", \"mrk-…\"), a key ARN \
     (\"arn:aws:kms:REGION:ACCOUNT:key/ID\"), an alias (\"alias/NAME\") or an alias ARN";

impl AwsKey {
    /// Understands one of the four forms.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (home, rest) = match text.strip_prefix("arn:") {
            Some(rest) => {
                let (home, rest) = Home::parse(rest)?;
                (Some(home), rest)
            }
            None => (None, text),
        };
        let target = match (rest.strip_prefix("alias/"), rest.strip_prefix("key/")) {
            (Some(name), _) => {
                if name.starts_with("aws/") {
                    return Err(
                        "alias/aws/… is a key that AWS keeps for its own services; nobody else may use it".into(),
                    );
                }
                let fine = |b: u8| b.is_ascii_alphanumeric() || b"/_-".contains(&b);
                if name.is_empty() || rest.len() > 256 || !name.bytes().all(fine) {
                    return Err(format!("{rest:?} is not the name of an alias"));
                }
                Target::Alias(rest.to_owned())
            }
            (None, Some(id)) if home.is_some() && is_key_id(id) => Target::Key(id.to_owned()),
            (None, None) if home.is_none() && is_key_id(rest) => Target::Key(rest.to_owned()),
            _ => return Err(format!("{text:?} names no key of AWS KMS")),
        };
        Ok(Self { home, target })
    }

    /// The region that an ARN names.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.home.as_ref().map(|home| home.region.as_str())
    }

    /// The key's id; `None` for an alias, which says it only at AWS.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match &self.target {
            Target::Key(id) => Some(id),
            Target::Alias(_) => None,
        }
    }

    /// The alias, with `alias/`.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        match &self.target {
            Target::Key(_) => None,
            Target::Alias(name) => Some(name),
        }
    }

    /// Whether the same name can be asked for in several regions: a multi-Region key has one id everywhere, and an
    /// alias is each region's own.
    #[must_use]
    pub fn spans_regions(&self) -> bool {
        self.id().is_none_or(|id| id.starts_with("mrk-"))
    }

    /// What to call it in a region: an ARN's own region is replaced.
    #[must_use]
    pub fn in_region(&self, region: &str) -> String {
        match &self.target {
            Target::Key(id) => self.neighbour(region, id),
            Target::Alias(name) => match &self.home {
                Some(home) => home.arn(region, name),
                None => name.clone(),
            },
        }
    }

    /// What to call another key of the same account in a region.
    #[must_use]
    pub fn neighbour(&self, region: &str, id: &str) -> String {
        match &self.home {
            Some(home) => home.arn(region, &format!("key/{id}")),
            None => id.to_owned(),
        }
    }
}

impl Home {
    /// Takes `partition:kms:region:account:` off the front.
    fn parse(text: &str) -> Result<(Self, &str), String> {
        let mut parts = text.splitn(5, ':');
        let mut part = || parts.next().unwrap_or_default();
        let (partition, service, region, account, rest) = (part(), part(), part(), part(), part());
        if service != "kms" {
            return Err(format!("this is an ARN of {service:?}, not of \"kms\""));
        }
        if !is_region(region) {
            return Err(format!("the ARN's region {region:?} is none"));
        }
        if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!(
                "the ARN's account {account:?} is not a number of 12 digits"
            ));
        }
        if !partition.starts_with("aws") {
            return Err(format!(
                "the ARN's partition {partition:?} is none (aws, aws-cn, aws-us-gov, …)"
            ));
        }
        let home = Self {
            partition: partition.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
        };
        Ok((home, rest))
    }

    fn arn(&self, region: &str, resource: &str) -> String {
        format!(
            "arn:{}:kms:{region}:{}:{resource}",
            self.partition, self.account
        )
    }
}

/// Whether a text is a key id: a UUID, or `mrk-` and 32 hexadecimal digits, lower case.
#[must_use]
pub fn is_key_id(text: &str) -> bool {
    let hex = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match text.strip_prefix("mrk-") {
        Some(rest) => rest.len() == 32 && hex(rest),
        None => text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(hex),
    }
}

/// Whether a text looks like the name of a region.
pub(crate) fn is_region(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.split('-').count() >= 3
        && text.split('-').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
    const MRK: &str = "mrk-1234abcd12ab34cd56ef1234567890ab";

    #[test]
    fn four_forms_are_understood() {
        let key = AwsKey::parse(ID).expect("an id");
        assert_eq!(
            (key.id(), key.alias(), key.region()),
            (Some(ID), None, None)
        );
        assert_eq!(key.in_region("eu-west-1"), ID);
        assert!(!key.spans_regions());

        let arn = format!("arn:aws:kms:us-east-1:111122223333:key/{MRK}");
        let key = AwsKey::parse(&arn).expect("an ARN");
        assert_eq!((key.id(), key.region()), (Some(MRK), Some("us-east-1")));
        assert!(key.spans_regions());
        assert_eq!(key.in_region("us-east-1"), arn);
        assert_eq!(
            key.in_region("eu-west-1"),
            format!("arn:aws:kms:eu-west-1:111122223333:key/{MRK}")
        );

        let key = AwsKey::parse("alias/sealgate/main").expect("an alias");
        assert_eq!((key.id(), key.alias()), (None, Some("alias/sealgate/main")));
        assert_eq!(key.in_region("eu-west-1"), "alias/sealgate/main");
        assert_eq!(key.neighbour("eu-west-1", ID), ID);

        let arn = "arn:aws-cn:kms:cn-north-1:111122223333:alias/x";
        let key = AwsKey::parse(arn).expect("an alias ARN");
        assert_eq!(key.in_region("cn-north-1"), arn);
        assert_eq!(
            key.neighbour("cn-north-1", ID),
            format!("arn:aws-cn:kms:cn-north-1:111122223333:key/{ID}")
        );
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "names no key"),
            ("main", "names no key"),
            ("key/1234abcd-12ab-34cd-56ef-1234567890ab", "names no key"),
            ("1234ABCD-12ab-34cd-56ef-1234567890ab", "names no key"),
            ("mrk-1234", "names no key"),
            ("alias/", "name of an alias"),
            ("alias/a b", "name of an alias"),
            ("alias/aws/s3", "AWS keeps"),
            ("arn:aws:s3:::bucket", "\"s3\""),
            ("arn:aws:kms:here:111122223333:alias/a", "region"),
            ("arn:aws:kms:eu-west-1:1234:alias/a", "12 digits"),
            ("arn:gcp:kms:eu-west-1:111122223333:alias/a", "partition"),
            (
                "arn:aws:kms:eu-west-1:111122223333:1234abcd-12ab-34cd-56ef-1234567890ab",
                "names no key",
            ),
        ] {
            let said = AwsKey::parse(text).expect_err(text);
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
