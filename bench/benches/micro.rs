//! What the pieces of a request cost by themselves: `cargo bench -p sealgate-bench`, or of one kind with `-- sigv4`.
//!
//! Inputs are of ordinary shape: a path of 40 bytes, pages of 1,000 keys, runs of 64 chunks. `dataplane/envelope` has
//! benches of its own, which compare a stream with the bare cipher, and `dataplane/aead` those of secrets.

#[path = "micro/aws_chunked.rs"]
mod aws_chunked;
#[path = "micro/envelope.rs"]
mod envelope;
#[path = "micro/http1.rs"]
mod http1;
#[path = "micro/sigv4.rs"]
mod sigv4;
#[path = "micro/xml.rs"]
mod xml;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    envelope::benches,
    sigv4::benches,
    aws_chunked::benches,
    xml::benches,
    http1::benches
);
criterion_main!(benches);
