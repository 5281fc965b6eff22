//! sealgate-envelope
