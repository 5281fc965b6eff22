//! The S3 store, against stores that do as a script says.

#[path = "s3_store/answers.rs"]
mod answers;
#[path = "s3_store/checksums.rs"]
mod checksums;
#[path = "s3_store/fake.rs"]
mod fake;
#[path = "s3_store/get.rs"]
mod get;
#[path = "s3_store/harness.rs"]
mod harness;
#[path = "s3_store/parts.rs"]
mod parts;
#[path = "s3_store/retry.rs"]
mod retry;
#[path = "s3_store/signed.rs"]
mod signed;
#[path = "s3_store/tls.rs"]
mod tls;
#[path = "s3_store/upload.rs"]
mod upload;
#[path = "s3_store/versions.rs"]
mod versions;
