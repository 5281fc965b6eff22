//! What the gateway does with each operation of S3, and which class of actions allows it: the one table that the code
//! goes by and that `docs/s3-operations.md` shows.

use sealgate_s3::route::Operation;

use crate::snapshot::Action;

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Treatment {
    /// Objects' bytes, sealed or opened on the way.
    Sealed,
    /// Understood, and put in other words for the store, or answered without it.
    Rewritten,
    /// Sent to the store as it came, under the gateway's signature; a directory answers by itself.
    Passed,
    /// `501 NotImplemented`, for the reason that the table gives.
    Refused,
}

/// A line of the table.
pub struct Row {
    /// The operation.
    pub operation: Operation,
    /// The class of actions that holds it; `None` for one that only `*` allows.
    pub class: Option<Action>,
    /// What becomes of it.
    pub treatment: Treatment,
    /// What to know of it; the reason where it is refused.
    pub note: &'static str,
}

macro_rules! class {
    (read) => {
        Some(Action::Read)
    };
    (write) => {
        Some(Action::Write)
    };
    (list) => {
        Some(Action::List)
    };
    (delete) => {
        Some(Action::Delete)
    };
    (admin) => {
        Some(Action::Admin)
    };
    (none) => {
        None
    };
}

macro_rules! treatments {
    ($($title:literal { $($op:ident $class:ident $how:ident $note:literal;)* })*) => {
        /// The table, by subject.
        pub static TABLE: &[(&str, &[Row])] = &[$(($title, &[$(Row {
            operation: Operation::$op,
            class: class!($class),
            treatment: Treatment::$how,
            note: $note,
        }),*])),*];

        /// The class of actions that holds an operation.
        pub(crate) fn class_of(operation: &Operation) -> Option<Action> {
            match operation {
                $($(Operation::$op => class!($class),)*)*
                _ => None,
            }
        }

        /// What becomes of an operation, and the table's note on it.
        pub(crate) fn treatment_of(operation: &Operation) -> (Treatment, &'static str) {
            match operation {
                $($(Operation::$op => (Treatment::$how, $note),)*)*
                _ => (Treatment::Refused, "no such operation is known"),
            }
        }
    };
}

treatments! {
    "Objects" {
        GetObject read Sealed "ranges, `partNumber`, `response-*` overrides, conditions";
        HeadObject read Sealed "as GetObject, without the body";
        PutObject write Sealed "declared length needed; sealed with one fresh key";
        PostObject write Sealed "`write` or `PutObject` of the key; the policy's signature is the request's; a file above 1 MiB has to be the form's last field";
        CopyObject write Sealed "wraps the data key again, moves no data, where source and target are both sealed; needs `read` of the source";
        DeleteObject delete Rewritten "of what is newest, or of a version";
        DeleteObjects delete Rewritten "at most 1,000 keys or versions, with Content-MD5 or a checksum; allowed key by key; those with an ETag one by one";
        GetObjectAttributes read Rewritten "plaintext size, parts and checksum; the store's own answer where objects are not encrypted";
        GetObjectTagging read Passed "";
        PutObjectTagging write Passed "";
        DeleteObjectTagging write Passed "";
        GetObjectAcl read Passed "";
        PutObjectAcl write Passed "canned, by headers of grants, or by document";
        GetObjectRetention read Passed "";
        PutObjectRetention write Passed "`x-amz-bypass-governance-retention` needs `admin`";
        GetObjectLegalHold read Passed "";
        PutObjectLegalHold write Passed "";
        RestoreObject write Passed "from an archive of the store's; `SELECT` requests find ciphertext";
        UpdateObjectEncryption admin Passed "the store's own encryption, a second layer";
        RenameObject write Refused "an envelope is bound to its key, and a store cannot bind it to another: use CopyObject and DeleteObject";
        SelectObjectContent read Refused "objects are sealed, so the store cannot look into them: use GetObject";
        GetObjectTorrent read Refused "its peers would share ciphertext: use GetObject";
    }
    "Multipart uploads" {
        CreateMultipartUpload write Sealed "any replica serves any part";
        UploadPart write Sealed "its ETag carries the checksum that was proved";
        UploadPartCopy write Sealed "opened and sealed again on the way; needs `read` of the source";
        CompleteMultipartUpload write Sealed "idempotent; the client's list is the object; its checksum is made of the parts'";
        AbortMultipartUpload write Rewritten "also removes what waits in staging";
        ListParts list Rewritten "plaintext sizes";
        ListMultipartUploads list Rewritten "the store's own upload ids: good for ListParts and Abort";
    }
    "Listings" {
        ListBuckets list Rewritten "those that the credential may list";
        ListObjects list Rewritten "plaintext sizes by arithmetic, or by HEAD with `listing = \"verify\"`; the store's order";
        ListObjectsV2 list Rewritten "as ListObjects";
        ListObjectVersions list Rewritten "plaintext sizes, as ListObjects; over a directory everything is version `null`";
    }
    "Buckets" {
        CreateBucket admin Rewritten "`x-amz-acl`, `x-amz-grant-*`, `x-amz-object-ownership`, `x-amz-bucket-object-lock-enabled` and the document are passed on";
        DeleteBucket admin Rewritten "";
        HeadBucket list Rewritten "";
        GetBucketLocation list Rewritten "";
        CorsPreflight none Rewritten "answered before authentication, by `[[cors]]` or the bucket's own rules";
        CreateSession none Refused "a session of a directory bucket is a pair of the store's own keys: sign with the gateway's";
    }
    "Buckets: what a client has to know" {
        GetBucketVersioning list Passed "";
        GetObjectLockConfiguration list Passed "";
        GetBucketRequestPayment list Passed "";
        GetBucketAccelerateConfiguration list Passed "";
    }
    "Buckets: configuration" {
        PutBucketVersioning admin Passed "`x-amz-mfa` is passed on";
        PutObjectLockConfiguration admin Passed "";
        PutBucketRequestPayment admin Passed "";
        PutBucketAccelerateConfiguration admin Passed "speeds up nothing: the gateway uses the endpoint that it is configured with";
        GetBucketAbac admin Passed "";
        PutBucketAbac admin Passed "";
        GetBucketAcl admin Passed "";
        PutBucketAcl admin Passed "of the store's users";
        GetBucketPolicy admin Passed "";
        PutBucketPolicy admin Passed "of the store's users; the gateway's own are in `[[credentials]]`";
        DeleteBucketPolicy admin Passed "";
        GetBucketPolicyStatus admin Passed "";
        GetBucketOwnershipControls admin Passed "";
        PutBucketOwnershipControls admin Passed "";
        DeleteBucketOwnershipControls admin Passed "";
        GetPublicAccessBlock admin Passed "";
        PutPublicAccessBlock admin Passed "";
        DeletePublicAccessBlock admin Passed "";
        GetBucketTagging admin Passed "";
        PutBucketTagging admin Passed "";
        DeleteBucketTagging admin Passed "";
        GetBucketCors admin Passed "";
        PutBucketCors admin Passed "the bucket's rules, which preflights and answers go by where no `[[cors]]` matches it";
        DeleteBucketCors admin Passed "";
        GetBucketEncryption admin Passed "";
        PutBucketEncryption admin Passed "the store's own encryption, a second layer";
        DeleteBucketEncryption admin Passed "";
        GetBucketLifecycleConfiguration admin Passed "";
        PutBucketLifecycleConfiguration admin Passed "sizes in filters are ciphertext; see below";
        DeleteBucketLifecycle admin Passed "";
        GetBucketNotificationConfiguration admin Passed "";
        PutBucketNotificationConfiguration admin Passed "events speak of ciphertext; see below";
        GetBucketLogging admin Passed "";
        PutBucketLogging admin Passed "the store's log of the gateway's requests";
        GetBucketReplication admin Passed "";
        PutBucketReplication admin Passed "replicas are ciphertext; see below";
        DeleteBucketReplication admin Passed "";
        GetBucketWebsite admin Passed "";
        PutBucketWebsite admin Passed "the store's site would show ciphertext";
        DeleteBucketWebsite admin Passed "";
        GetBucketAnalyticsConfiguration admin Passed "";
        ListBucketAnalyticsConfigurations admin Passed "";
        PutBucketAnalyticsConfiguration admin Passed "";
        DeleteBucketAnalyticsConfiguration admin Passed "";
        GetBucketIntelligentTieringConfiguration admin Passed "";
        ListBucketIntelligentTieringConfigurations admin Passed "";
        PutBucketIntelligentTieringConfiguration admin Passed "";
        DeleteBucketIntelligentTieringConfiguration admin Passed "";
        GetBucketInventoryConfiguration admin Passed "";
        ListBucketInventoryConfigurations admin Passed "";
        PutBucketInventoryConfiguration admin Passed "lists stored sizes, and staged parts";
        DeleteBucketInventoryConfiguration admin Passed "";
        GetBucketMetricsConfiguration admin Passed "";
        ListBucketMetricsConfigurations admin Passed "";
        PutBucketMetricsConfiguration admin Passed "";
        DeleteBucketMetricsConfiguration admin Passed "";
        GetBucketMetadataConfiguration admin Passed "";
        CreateBucketMetadataConfiguration admin Passed "tables hold stored sizes and the envelopes";
        DeleteBucketMetadataConfiguration admin Passed "";
        UpdateBucketMetadataInventoryTableConfiguration admin Passed "";
        UpdateBucketMetadataJournalTableConfiguration admin Passed "";
        GetBucketMetadataTableConfiguration admin Passed "";
        CreateBucketMetadataTableConfiguration admin Passed "";
        DeleteBucketMetadataTableConfiguration admin Passed "";
    }
}

#[cfg(test)]
mod tests;
