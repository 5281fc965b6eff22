//! sealgate-uring
