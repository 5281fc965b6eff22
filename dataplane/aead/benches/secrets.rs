//! What a secret costs each request that makes some: `cargo bench -p sealgate-aead`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sealgate_aead::{Aes256Gcm, Library, Secret};
use zeroize::Zeroize;

fn secrets(c: &mut Criterion) {
    let mut group = c.benchmark_group("secret");
    group.bench_function("make and drop, 32 bytes", |b| {
        b.iter(|| black_box(Secret::<32>::from_slice(black_box(&[7; 32]))));
    });
    group.bench_function("the same in a plain wiped box", |b| {
        b.iter(|| {
            let mut bytes = black_box(Box::new(black_box([7_u8; 32])));
            bytes.zeroize();
        });
    });
    group.bench_function("make 100, drop 100", |b| {
        b.iter(|| {
            let all: Vec<_> = (0..100)
                .map(|_| Secret::<32>::from_slice(black_box(&[7; 32])))
                .collect();
            black_box(all)
        });
    });
    let key = Secret::new([7; 32]);
    for library in [Library::Ring, Library::AwsLc] {
        group.bench_function(format!("expand and drop, {library}"), |b| {
            b.iter(|| black_box(Aes256Gcm::with_library(library, black_box(&key))));
        });
    }
    group.bench_function("expand and drop, ring, neither wiped nor scrubbed", |b| {
        use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
        let make = || UnboundKey::new(&AES_256_GCM, black_box(key.expose())).map(LessSafeKey::new);
        b.iter(|| black_box(Box::new(make())));
    });
    group.finish();
}

criterion_group!(benches, secrets);
criterion_main!(benches);
