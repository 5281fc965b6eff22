//! sealgate-aead
