//! sealgate-telemetry
