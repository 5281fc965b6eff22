//! sealgate-http1
