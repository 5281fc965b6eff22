//! sealgate-kms
