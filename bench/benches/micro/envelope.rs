//! The stored format: runs of chunks, the envelope, the trailer.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use sealgate_aead::Secret;
use sealgate_envelope::{
    Binding, CHUNK, Checksums, Dek, Envelope, EnvelopeFields, Kek, Layout, Location, ObjectId,
    PlainLen, SLOT, StreamContext, StreamOpener, StreamSealer, Trailer, WrappedKek,
};

const OBJECT: ObjectId = ObjectId([1; 16]);
const CONTEXT: StreamContext = StreamContext {
    object_id: OBJECT,
    part_number: 0,
};
const PLACE: Location<'static> = Location {
    bucket: b"bucket",
    key: b"a/folder/of/ordinary/depth/object-000000.bin",
};

pub(crate) fn benches(c: &mut Criterion) {
    runs(c);
    documents(c);
}

fn runs(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelope");
    let dek = Dek::new(Secret::new([2; 32]));
    for slots in [1, 64] {
        group.throughput(Throughput::Bytes((slots * CHUNK) as u64));
        let (mut sealer, header) = StreamSealer::new(&dek, &CONTEXT, [4; 24]);
        let mut run = vec![5; slots * SLOT];
        sealer.seal_slots(&mut run);
        let sealed = run.clone();
        group.bench_function(format!("seal {} KiB", slots * 16), |b| {
            b.iter(|| sealer.seal_slots(black_box(&mut run)));
        });
        let Ok(opener) = StreamOpener::new(&dek, &CONTEXT, &header) else {
            unreachable!("the header is the sealer's")
        };
        // With the copy that puts the sealed bytes back.
        group.bench_function(format!("copy and open {} KiB", slots * 16), |b| {
            b.iter(|| {
                run.copy_from_slice(&sealed);
                opener.open_slots(0, black_box(&mut run))
            });
        });
    }
    group.finish();
}

fn documents(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelope of an object");
    group.throughput(Throughput::Elements(1));
    let (dek, kek) = (
        Dek::new(Secret::new([2; 32])),
        Kek::new(&Secret::new([6; 32])),
    );
    let (_, header) = StreamSealer::new(&dek, &CONTEXT, [4; 24]);
    let seal = || {
        let fields = EnvelopeFields {
            layout: Layout::Single {
                plain_len: PlainLen(1000),
                header,
            },
            binding: Binding::Key,
            object_id: OBJECT,
            kek: WrappedKek {
                name: "main".into(),
                version: "1".into(),
                wrapped: vec![8; 184],
            },
        };
        match fields.seal(&kek, &dek, [9; 12], &PLACE).map(|e| e.encode()) {
            Ok(Ok(text)) => text,
            _ => unreachable!("the fields are within their bounds"),
        }
    };
    group.bench_function("seal and encode", |b| b.iter(seal));
    let text = seal();
    group.bench_function("decode and unwrap", |b| {
        b.iter(|| Envelope::decode(text.as_bytes()).map(|e| e.unwrap_dek(&kek, &PLACE)));
    });
    let Ok(trailer) = Trailer::single(PlainLen(1000), Checksums::none()) else {
        unreachable!("the length is within its bounds")
    };
    group.bench_function("seal a trailer", |b| {
        b.iter(|| trailer.seal(&dek, &OBJECT, [7; 12]));
    });
    let bytes = trailer.seal(&dek, &OBJECT, [7; 12]).into_vec();
    group.bench_function("open a trailer", |b| {
        b.iter(|| Trailer::open(&dek, &OBJECT, trailer.object_len(), &bytes));
    });
    group.finish();
}
