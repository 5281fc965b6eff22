//! sealgate-s3
