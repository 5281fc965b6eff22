//! What a directory says of itself: it has one owner and, but for tags, no configuration, so the true answers to most
//! questions are fixed. What it would have to remember or do, it refuses.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use sealgate_s3::conditions::Conditions;
use sealgate_s3::error::{ErrorCode, S3Error};
use sealgate_s3::route::Operation;
use sealgate_s3::xml::{MAX_BUCKET_TAGS, MAX_OBJECT_TAGS, Tagging, Writer};

use super::error::answer;
use super::{FsStore, Result, tags};
use crate::types::{BackendError, Forward, Forwarded, Location};

/// Who owns everything in a directory.
pub const OWNER: &str = "sealgate";

impl FsStore {
    /// Answers an operation that concerns no object's bytes.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`; what S3 answers where no such configuration exists;
    /// `NotImplemented` for what a directory cannot keep.
    pub async fn forward(&self, request: Forward<'_>) -> Result<Forwarded> {
        match request.key {
            Some(key) => {
                let version = request.query.iter().find(|(name, _)| *name == "versionId");
                if version.is_some_and(|(_, id)| *id != "null") {
                    return Err(answer(ErrorCode::NoSuchVersion));
                }
                let at = Location::new(request.bucket, key.clone());
                let info = self.head(&at, &Conditions::default()).await?;
                if let Some(reply) = self.object_tags(&request, &at, &info.headers).await? {
                    return Ok(reply);
                }
            }
            None => {
                self.bucket_location(request.bucket).await?;
                if let Some(reply) = self.tags_of_bucket(&request).await? {
                    return Ok(reply);
                }
            }
        }
        reply(&request)
    }
}

impl FsStore {
    async fn object_tags(
        &self,
        request: &Forward<'_>,
        at: &Location,
        stored: &HeaderMap,
    ) -> Result<Option<Forwarded>> {
        Ok(Some(match request.operation {
            Operation::GetObjectTagging => xml(tags::of(stored)?.to_xml()),
            Operation::PutObjectTagging => {
                let tags = Tagging::of_client(&request.body, MAX_OBJECT_TAGS)?;
                self.retag(at, &tags).await?;
                empty(StatusCode::OK)
            }
            Operation::DeleteObjectTagging => {
                if stored.contains_key(tags::TAGGING) {
                    self.retag(at, &Tagging::default()).await?;
                }
                empty(StatusCode::NO_CONTENT)
            }
            _ => return Ok(None),
        }))
    }

    async fn tags_of_bucket(&self, request: &Forward<'_>) -> Result<Option<Forwarded>> {
        let bucket = request.bucket;
        Ok(Some(match request.operation {
            Operation::GetBucketTagging => {
                let tags = self.bucket_tags(bucket).await?;
                if tags.0.is_empty() {
                    return Err(answer(ErrorCode::NoSuchTagSet));
                }
                xml(tags.to_xml())
            }
            Operation::PutBucketTagging => {
                let tags = Tagging::of_client(&request.body, MAX_BUCKET_TAGS)?;
                self.set_bucket_tags(bucket, tags).await?;
                empty(StatusCode::NO_CONTENT)
            }
            Operation::DeleteBucketTagging => {
                self.set_bucket_tags(bucket, Tagging::default()).await?;
                empty(StatusCode::NO_CONTENT)
            }
            _ => return Ok(None),
        }))
    }
}

fn reply(request: &Forward<'_>) -> Result<Forwarded> {
    use Operation as O;
    let missing = |code| Err(answer(code));
    match request.operation {
        O::GetBucketAcl | O::GetObjectAcl => Ok(acl()),
        O::PutBucketAcl | O::PutObjectAcl if is_private(request) => Ok(empty(StatusCode::OK)),
        O::GetBucketVersioning => Ok(document("VersioningConfiguration", |_| {})),
        O::GetBucketLogging => Ok(document("BucketLoggingStatus", |_| {})),
        O::GetBucketNotificationConfiguration => Ok(document("NotificationConfiguration", |_| {})),
        O::GetBucketAccelerateConfiguration => Ok(document("AccelerateConfiguration", |_| {})),
        O::GetBucketRequestPayment => Ok(document("RequestPaymentConfiguration", |w| {
            w.text("Payer", "BucketOwner");
        })),
        O::ListBucketAnalyticsConfigurations => Ok(none("ListBucketAnalyticsConfigurationResult")),
        O::ListBucketIntelligentTieringConfigurations => {
            Ok(none("ListBucketIntelligentTieringConfigurationsResult"))
        }
        O::ListBucketInventoryConfigurations => Ok(none("ListInventoryConfigurationsResult")),
        O::ListBucketMetricsConfigurations => Ok(none("ListMetricsConfigurationsResult")),
        O::GetBucketAnalyticsConfiguration
        | O::GetBucketIntelligentTieringConfiguration
        | O::GetBucketInventoryConfiguration
        | O::GetBucketMetricsConfiguration => missing(ErrorCode::NoSuchConfiguration),
        O::GetBucketCors => missing(ErrorCode::NoSuchCORSConfiguration),
        O::GetBucketEncryption => {
            missing(ErrorCode::ServerSideEncryptionConfigurationNotFoundError)
        }
        O::GetBucketLifecycleConfiguration => missing(ErrorCode::NoSuchLifecycleConfiguration),
        O::GetBucketOwnershipControls => missing(ErrorCode::OwnershipControlsNotFoundError),
        O::GetBucketPolicy | O::GetBucketPolicyStatus => missing(ErrorCode::NoSuchBucketPolicy),
        O::GetBucketReplication => missing(ErrorCode::ReplicationConfigurationNotFoundError),
        O::GetBucketWebsite => missing(ErrorCode::NoSuchWebsiteConfiguration),
        O::GetObjectLockConfiguration => missing(ErrorCode::ObjectLockConfigurationNotFoundError),
        O::GetPublicAccessBlock => missing(ErrorCode::NoSuchPublicAccessBlockConfiguration),
        O::GetObjectLegalHold | O::GetObjectRetention => Err(S3Error::with_message(
            ErrorCode::InvalidRequest,
            "Bucket is missing Object Lock Configuration",
        )
        .into()),
        // Gone is what it was already.
        O::DeleteBucketAnalyticsConfiguration
        | O::DeleteBucketCors
        | O::DeleteBucketEncryption
        | O::DeleteBucketIntelligentTieringConfiguration
        | O::DeleteBucketInventoryConfiguration
        | O::DeleteBucketLifecycle
        | O::DeleteBucketMetricsConfiguration
        | O::DeleteBucketOwnershipControls
        | O::DeleteBucketPolicy
        | O::DeleteBucketReplication
        | O::DeleteBucketWebsite
        | O::DeletePublicAccessBlock => Ok(empty(StatusCode::NO_CONTENT)),
        other => Err(cannot(other)),
    }
}

fn cannot(operation: &Operation) -> BackendError {
    S3Error::with_message(
        ErrorCode::NotImplemented,
        format!("{operation} needs an S3 store: this gateway keeps its objects in a directory."),
    )
    .detail("Header", operation.as_str())
    .into()
}

/// Whether an ACL is asked for that everything here has: the canned one that names nobody but the owner.
fn is_private(request: &Forward<'_>) -> bool {
    let grants = |name: &http::HeaderName| name.as_str().starts_with("x-amz-grant-");
    request.body.is_empty()
        && request
            .headers
            .get("x-amz-acl")
            .is_some_and(|acl| acl == "private" || acl == "bucket-owner-full-control")
        && !request.headers.keys().any(grants)
}

fn acl() -> Forwarded {
    let owner = |w: &mut Writer| {
        w.text("ID", OWNER);
        w.text("DisplayName", OWNER);
    };
    document("AccessControlPolicy", |w| {
        w.open("Owner");
        owner(w);
        w.close("Owner");
        w.open("AccessControlList");
        w.open("Grant");
        w.open("Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"");
        owner(w);
        w.close("Grantee");
        w.text("Permission", "FULL_CONTROL");
        w.close("Grant");
        w.close("AccessControlList");
    })
}

fn empty(status: StatusCode) -> Forwarded {
    Forwarded {
        status,
        headers: HeaderMap::new(),
        body: Vec::new(),
    }
}

fn document(root: &str, fill: impl FnOnce(&mut Writer)) -> Forwarded {
    let mut w = Writer::document();
    w.root(root);
    fill(&mut w);
    w.close(root);
    xml(w.finish())
}

fn xml(document: Vec<u8>) -> Forwarded {
    let mut answer = empty(StatusCode::OK);
    answer.body = document;
    let xml = HeaderValue::from_static("application/xml");
    answer.headers.insert(header::CONTENT_TYPE, xml);
    answer
}

/// A list without entries.
fn none(root: &str) -> Forwarded {
    document(root, |w| w.boolean("IsTruncated", false))
}
