//! The operations of S3 and how a request names them.

use std::fmt;

use crate::error::{ErrorCode, S3Error};

macro_rules! operations {
    ($($name:ident)*) => {
        /// What a request asks for.
        #[derive(Clone, Debug, Eq, PartialEq, Hash)]
        #[non_exhaustive]
        pub enum Operation {
            $(#[doc = concat!("`", stringify!($name), "` of the Amazon S3 API Reference.")] $name,)*
            /// An `OPTIONS` request: CORS, answered before authentication.
            CorsPreflight,
            /// A sub-resource that S3 may have and this router does not know; never taken for another operation.
            NotImplemented(Box<str>),
        }

        impl Operation {
            /// Every operation that has a name.
            pub const ALL: &'static [Operation] = &[$(Operation::$name,)* Operation::CorsPreflight];

            /// S3's name of the operation.
            pub fn as_str(&self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::CorsPreflight => "CorsPreflight",
                    Self::NotImplemented(_) => "NotImplemented",
                }
            }
        }
    };
}

operations! {
    AbortMultipartUpload
    CompleteMultipartUpload
    CopyObject
    CreateBucket
    CreateBucketMetadataConfiguration
    CreateBucketMetadataTableConfiguration
    CreateMultipartUpload
    CreateSession
    DeleteBucket
    DeleteBucketAnalyticsConfiguration
    DeleteBucketCors
    DeleteBucketEncryption
    DeleteBucketIntelligentTieringConfiguration
    DeleteBucketInventoryConfiguration
    DeleteBucketLifecycle
    DeleteBucketMetadataConfiguration
    DeleteBucketMetadataTableConfiguration
    DeleteBucketMetricsConfiguration
    DeleteBucketOwnershipControls
    DeleteBucketPolicy
    DeleteBucketReplication
    DeleteBucketTagging
    DeleteBucketWebsite
    DeleteObject
    DeleteObjects
    DeleteObjectTagging
    DeletePublicAccessBlock
    GetBucketAbac
    GetBucketAccelerateConfiguration
    GetBucketAcl
    GetBucketAnalyticsConfiguration
    GetBucketCors
    GetBucketEncryption
    GetBucketIntelligentTieringConfiguration
    GetBucketInventoryConfiguration
    GetBucketLifecycleConfiguration
    GetBucketLocation
    GetBucketLogging
    GetBucketMetadataConfiguration
    GetBucketMetadataTableConfiguration
    GetBucketMetricsConfiguration
    GetBucketNotificationConfiguration
    GetBucketOwnershipControls
    GetBucketPolicy
    GetBucketPolicyStatus
    GetBucketReplication
    GetBucketRequestPayment
    GetBucketTagging
    GetBucketVersioning
    GetBucketWebsite
    GetObject
    GetObjectAcl
    GetObjectAttributes
    GetObjectLegalHold
    GetObjectLockConfiguration
    GetObjectRetention
    GetObjectTagging
    GetObjectTorrent
    GetPublicAccessBlock
    HeadBucket
    HeadObject
    ListBucketAnalyticsConfigurations
    ListBucketIntelligentTieringConfigurations
    ListBucketInventoryConfigurations
    ListBucketMetricsConfigurations
    ListBuckets
    ListMultipartUploads
    ListObjects
    ListObjectsV2
    ListObjectVersions
    ListParts
    PostObject
    PutBucketAbac
    PutBucketAccelerateConfiguration
    PutBucketAcl
    PutBucketAnalyticsConfiguration
    PutBucketCors
    PutBucketEncryption
    PutBucketIntelligentTieringConfiguration
    PutBucketInventoryConfiguration
    PutBucketLifecycleConfiguration
    PutBucketLogging
    PutBucketMetricsConfiguration
    PutBucketNotificationConfiguration
    PutBucketOwnershipControls
    PutBucketPolicy
    PutBucketReplication
    PutBucketRequestPayment
    PutBucketTagging
    PutBucketVersioning
    PutBucketWebsite
    PutObject
    PutObjectAcl
    PutObjectLegalHold
    PutObjectLockConfiguration
    PutObjectRetention
    PutObjectTagging
    PutPublicAccessBlock
    RenameObject
    RestoreObject
    SelectObjectContent
    UpdateBucketMetadataInventoryTableConfiguration
    UpdateBucketMetadataJournalTableConfiguration
    UpdateObjectEncryption
    UploadPart
    UploadPartCopy
}

impl Operation {
    /// The `501` for an operation that is not offered; it names what was asked for.
    pub fn not_implemented(&self) -> S3Error {
        let what: &str = match self {
            Self::NotImplemented(name) => name,
            known => known.as_str(),
        };
        S3Error::with_message(
            ErrorCode::NotImplemented,
            format!("A header or query you provided implies functionality that is not implemented: {what}"),
        )
        .detail("Header", what)
    }
}

impl Operation {
    /// Method, whether it is an object's, and query parameter of an operation on a sub-resource.
    pub fn sub_resource(&self) -> Option<(&'static str, bool, &'static str)> {
        SUB_RESOURCES
            .iter()
            .find(|(.., operation)| operation == self)
            .map(|(level, name, verb, _)| (verb.name(), *level == Level::Object, *name))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the path names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Level {
    Service,
    Bucket,
    Object,
}

/// The methods that S3 has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    Get,
    Head,
    Put,
    Post,
    Delete,
}

/// Sub-resources: (level, query parameter, method, operation). `list-type`, `uploadId` and `partNumber` are decided by
/// their values and stand in `route.rs`.
pub(super) static SUB_RESOURCES: &[(Level, &str, Verb, Operation)] = {
    use Level::{Bucket, Object};
    use Operation as O;
    use Verb::{Delete, Get, Post, Put};
    &[
        (Bucket, "abac", Get, O::GetBucketAbac),
        (Bucket, "abac", Put, O::PutBucketAbac),
        (
            Bucket,
            "accelerate",
            Get,
            O::GetBucketAccelerateConfiguration,
        ),
        (
            Bucket,
            "accelerate",
            Put,
            O::PutBucketAccelerateConfiguration,
        ),
        (Bucket, "acl", Get, O::GetBucketAcl),
        (Bucket, "acl", Put, O::PutBucketAcl),
        (Bucket, "analytics", Get, O::GetBucketAnalyticsConfiguration),
        (Bucket, "analytics", Put, O::PutBucketAnalyticsConfiguration),
        (
            Bucket,
            "analytics",
            Delete,
            O::DeleteBucketAnalyticsConfiguration,
        ),
        (Bucket, "cors", Get, O::GetBucketCors),
        (Bucket, "cors", Put, O::PutBucketCors),
        (Bucket, "cors", Delete, O::DeleteBucketCors),
        (Bucket, "delete", Post, O::DeleteObjects),
        (Bucket, "encryption", Get, O::GetBucketEncryption),
        (Bucket, "encryption", Put, O::PutBucketEncryption),
        (Bucket, "encryption", Delete, O::DeleteBucketEncryption),
        (
            Bucket,
            "intelligent-tiering",
            Get,
            O::GetBucketIntelligentTieringConfiguration,
        ),
        (
            Bucket,
            "intelligent-tiering",
            Put,
            O::PutBucketIntelligentTieringConfiguration,
        ),
        (
            Bucket,
            "intelligent-tiering",
            Delete,
            O::DeleteBucketIntelligentTieringConfiguration,
        ),
        (Bucket, "inventory", Get, O::GetBucketInventoryConfiguration),
        (Bucket, "inventory", Put, O::PutBucketInventoryConfiguration),
        (
            Bucket,
            "inventory",
            Delete,
            O::DeleteBucketInventoryConfiguration,
        ),
        (Bucket, "lifecycle", Get, O::GetBucketLifecycleConfiguration),
        (Bucket, "lifecycle", Put, O::PutBucketLifecycleConfiguration),
        (Bucket, "lifecycle", Delete, O::DeleteBucketLifecycle),
        (Bucket, "location", Get, O::GetBucketLocation),
        (Bucket, "logging", Get, O::GetBucketLogging),
        (Bucket, "logging", Put, O::PutBucketLogging),
        (
            Bucket,
            "metadataConfiguration",
            Get,
            O::GetBucketMetadataConfiguration,
        ),
        (
            Bucket,
            "metadataConfiguration",
            Post,
            O::CreateBucketMetadataConfiguration,
        ),
        (
            Bucket,
            "metadataConfiguration",
            Delete,
            O::DeleteBucketMetadataConfiguration,
        ),
        (
            Bucket,
            "metadataInventoryTable",
            Put,
            O::UpdateBucketMetadataInventoryTableConfiguration,
        ),
        (
            Bucket,
            "metadataJournalTable",
            Put,
            O::UpdateBucketMetadataJournalTableConfiguration,
        ),
        (
            Bucket,
            "metadataTable",
            Get,
            O::GetBucketMetadataTableConfiguration,
        ),
        (
            Bucket,
            "metadataTable",
            Post,
            O::CreateBucketMetadataTableConfiguration,
        ),
        (
            Bucket,
            "metadataTable",
            Delete,
            O::DeleteBucketMetadataTableConfiguration,
        ),
        (Bucket, "metrics", Get, O::GetBucketMetricsConfiguration),
        (Bucket, "metrics", Put, O::PutBucketMetricsConfiguration),
        (
            Bucket,
            "metrics",
            Delete,
            O::DeleteBucketMetricsConfiguration,
        ),
        (
            Bucket,
            "notification",
            Get,
            O::GetBucketNotificationConfiguration,
        ),
        (
            Bucket,
            "notification",
            Put,
            O::PutBucketNotificationConfiguration,
        ),
        (Bucket, "object-lock", Get, O::GetObjectLockConfiguration),
        (Bucket, "object-lock", Put, O::PutObjectLockConfiguration),
        (
            Bucket,
            "ownershipControls",
            Get,
            O::GetBucketOwnershipControls,
        ),
        (
            Bucket,
            "ownershipControls",
            Put,
            O::PutBucketOwnershipControls,
        ),
        (
            Bucket,
            "ownershipControls",
            Delete,
            O::DeleteBucketOwnershipControls,
        ),
        (Bucket, "policy", Get, O::GetBucketPolicy),
        (Bucket, "policy", Put, O::PutBucketPolicy),
        (Bucket, "policy", Delete, O::DeleteBucketPolicy),
        (Bucket, "policyStatus", Get, O::GetBucketPolicyStatus),
        (Bucket, "publicAccessBlock", Get, O::GetPublicAccessBlock),
        (Bucket, "publicAccessBlock", Put, O::PutPublicAccessBlock),
        (
            Bucket,
            "publicAccessBlock",
            Delete,
            O::DeletePublicAccessBlock,
        ),
        (Bucket, "replication", Get, O::GetBucketReplication),
        (Bucket, "replication", Put, O::PutBucketReplication),
        (Bucket, "replication", Delete, O::DeleteBucketReplication),
        (Bucket, "requestPayment", Get, O::GetBucketRequestPayment),
        (Bucket, "requestPayment", Put, O::PutBucketRequestPayment),
        (Bucket, "session", Get, O::CreateSession),
        (Bucket, "tagging", Get, O::GetBucketTagging),
        (Bucket, "tagging", Put, O::PutBucketTagging),
        (Bucket, "tagging", Delete, O::DeleteBucketTagging),
        (Bucket, "uploads", Get, O::ListMultipartUploads),
        (Bucket, "versioning", Get, O::GetBucketVersioning),
        (Bucket, "versioning", Put, O::PutBucketVersioning),
        (Bucket, "versions", Get, O::ListObjectVersions),
        (Bucket, "website", Get, O::GetBucketWebsite),
        (Bucket, "website", Put, O::PutBucketWebsite),
        (Bucket, "website", Delete, O::DeleteBucketWebsite),
        (Object, "acl", Get, O::GetObjectAcl),
        (Object, "acl", Put, O::PutObjectAcl),
        (Object, "attributes", Get, O::GetObjectAttributes),
        (Object, "encryption", Put, O::UpdateObjectEncryption),
        (Object, "legal-hold", Get, O::GetObjectLegalHold),
        (Object, "legal-hold", Put, O::PutObjectLegalHold),
        (Object, "renameObject", Put, O::RenameObject),
        (Object, "restore", Post, O::RestoreObject),
        (Object, "retention", Get, O::GetObjectRetention),
        (Object, "retention", Put, O::PutObjectRetention),
        (Object, "select", Post, O::SelectObjectContent),
        (Object, "tagging", Get, O::GetObjectTagging),
        (Object, "tagging", Put, O::PutObjectTagging),
        (Object, "tagging", Delete, O::DeleteObjectTagging),
        (Object, "torrent", Get, O::GetObjectTorrent),
        (Object, "uploads", Post, O::CreateMultipartUpload),
    ]
};

/// Parameters that refine an operation and never choose one, whatever the level.
pub(super) const ORDINARY: &[&str] = &[
    "AWSAccessKeyId",
    "Expires",
    "Signature",
    "bucket-region",
    "content-md5",
    "content-type",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "id",
    "key-marker",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "prefix",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "select-type",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
];
