//! Documents about buckets: `ListAllMyBucketsResult`, `LocationConstraint`, `CreateBucketConfiguration`.

use super::{Owner, Writer, client_document, store_document, unexpected};
use crate::error::S3Error;
use crate::time;

/// One bucket of `ListBuckets`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BucketEntry {
    /// Name.
    pub name: String,
    /// Milliseconds since the epoch.
    pub created: i64,
    /// Region, where the store names one.
    pub region: Option<String>,
}

/// Answer of `ListBuckets`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListAllMyBuckets {
    /// Who asked.
    pub owner: Owner,
    /// Buckets by name.
    pub buckets: Vec<BucketEntry>,
    /// Token of the next page.
    pub continuation_token: Option<String>,
    /// The request's prefix.
    pub prefix: Option<String>,
}

impl ListAllMyBuckets {
    /// The document.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut w = Writer::document();
        w.root("ListAllMyBucketsResult");
        self.owner.write(&mut w, "Owner");
        w.open("Buckets");
        for bucket in &self.buckets {
            w.open("Bucket");
            w.text("Name", &bucket.name);
            w.time("CreationDate", bucket.created);
            if let Some(region) = &bucket.region {
                w.text("BucketRegion", region);
            }
            w.close("Bucket");
        }
        w.close("Buckets");
        if let Some(token) = &self.continuation_token {
            w.text("ContinuationToken", token);
        }
        if let Some(prefix) = &self.prefix {
            w.text("Prefix", prefix);
        }
        w.close("ListAllMyBucketsResult");
        w.finish()
    }

    /// Reads a store's answer.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = store_document(body, "ListAllMyBucketsResult")?;
        let buckets = root.children("Buckets").flat_map(|b| b.children("Bucket"));
        Ok(Self {
            owner: Owner::read(&root, "Owner").unwrap_or_default(),
            buckets: buckets
                .map(|b| {
                    Ok(BucketEntry {
                        name: b
                            .child_text("Name")
                            .ok_or_else(|| unexpected("a bucket without Name"))?
                            .to_owned(),
                        created: b
                            .child_text("CreationDate")
                            .and_then(time::parse_iso8601)
                            .unwrap_or(0),
                        region: b.child_text("BucketRegion").map(str::to_owned),
                    })
                })
                .collect::<Result<_, S3Error>>()?,
            continuation_token: root
                .child_text("ContinuationToken")
                .filter(|t| !t.is_empty())
                .map(str::to_owned),
            prefix: root.child_text("Prefix").map(str::to_owned),
        })
    }
}

/// Answer of `GetBucketLocation`; empty for `us-east-1`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LocationConstraint(pub String);

impl LocationConstraint {
    /// The document.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut w = Writer::document();
        w.root("LocationConstraint");
        // The text stands in the root element itself.
        w.content(&self.0);
        w.close("LocationConstraint");
        w.finish()
    }

    /// Reads a store's answer.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        // Some stores nest the element in another: in itself, or in a `CreateBucketConfiguration`.
        let root = store_document(body, "LocationConstraint")
            .or_else(|_| store_document(body, "CreateBucketConfiguration"))?;
        let inner = root.child("LocationConstraint").unwrap_or(&root);
        Ok(Self(inner.text().trim().to_owned()))
    }
}

/// Body of `CreateBucket`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CreateBucketConfiguration {
    /// Region, when named.
    pub location_constraint: Option<String>,
}

impl CreateBucketConfiguration {
    /// Reads a client's body; an empty one means no configuration.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let root = client_document(body, "CreateBucketConfiguration")?;
        Ok(Self {
            location_constraint: root
                .child_text("LocationConstraint")
                .map(|t| t.trim().to_owned())
                .filter(|t| !t.is_empty()),
        })
    }

    /// The document for a store.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut w = Writer::document();
        w.root("CreateBucketConfiguration");
        if let Some(location) = &self.location_constraint {
            w.text("LocationConstraint", location);
        }
        w.close("CreateBucketConfiguration");
        w.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_round_trip() {
        let all = ListAllMyBuckets {
            owner: Owner {
                id: "i".into(),
                display_name: "d & d".into(),
            },
            buckets: vec![
                BucketEntry {
                    name: "a".into(),
                    created: 1000,
                    region: None,
                },
                BucketEntry {
                    name: "b".into(),
                    created: 2,
                    region: Some("r".into()),
                },
            ],
            continuation_token: Some("t".into()),
            prefix: None,
        };
        assert_eq!(ListAllMyBuckets::parse(&all.to_xml()).unwrap(), all);
        for region in ["", "eu-west-1"] {
            let l = LocationConstraint(region.into());
            assert_eq!(LocationConstraint::parse(&l.to_xml()).unwrap(), l);
            let c = CreateBucketConfiguration {
                location_constraint: Some(region.to_owned()).filter(|r| !r.is_empty()),
            };
            assert_eq!(CreateBucketConfiguration::parse(&c.to_xml()).unwrap(), c);
        }
        assert_eq!(
            CreateBucketConfiguration::parse(b" \n").unwrap(),
            CreateBucketConfiguration::default()
        );
        assert!(CreateBucketConfiguration::parse(b"<x/>").is_err());
    }
}
