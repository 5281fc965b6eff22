//! sealgate-bench
