//! sealgate-config
