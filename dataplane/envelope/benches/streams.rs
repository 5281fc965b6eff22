//! Sealing and opening streams, against bare AES-256-GCM of the faster library over the same 16 KiB chunks
//! in the same run. A stream may cost at most 10 % more. And what an object costs besides its bytes.
//!
//! The last lines print the ratios, from interleaved rounds: `cargo bench -p sealgate-envelope`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use sealgate_aead::{Aes256Gcm, Secret};
use sealgate_envelope::*;

const RUNS: [usize; 4] = [1, 4, 16, 64];
const CONTEXT: StreamContext = StreamContext {
    object_id: ObjectId([1; 16]),
    part_number: 0,
};

fn dek() -> Dek {
    Dek::new(Secret::new([2; 32]))
}

/// The floor: the same chunks, each with a tag of its own, and nothing around them.
struct Bare {
    cipher: Aes256Gcm,
    next: u64,
}

impl Bare {
    fn new() -> Self {
        Self {
            cipher: Aes256Gcm::new(&Secret::new([3; 32])),
            next: 0,
        }
    }

    fn nonce(index: u64) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&index.to_be_bytes());
        nonce
    }

    fn seal(&mut self, run: &mut [u8]) {
        for slot in run.chunks_exact_mut(SLOT) {
            let (chunk, room) = slot.split_at_mut(CHUNK);
            let tag = self.cipher.seal(Self::nonce(self.next), &[], chunk);
            room.copy_from_slice(&tag);
            self.next += 1;
        }
    }

    fn open(&self, run: &mut [u8]) {
        for (slot, index) in run.chunks_exact_mut(SLOT).zip(0..) {
            let (chunk, tag) = slot.split_last_chunk_mut().unwrap();
            self.cipher
                .open(Self::nonce(index), &[], chunk, tag)
                .unwrap();
        }
    }
}

/// A run of sealed slots, to be copied back before every opening (the copy is timed on both sides).
fn sealed(slots: usize) -> (Vec<u8>, Vec<u8>, StreamOpener) {
    let (mut sealer, header) = StreamSealer::new(&dek(), &CONTEXT, [4; 24]);
    let mut stream = vec![5; slots * SLOT];
    sealer.seal_slots(&mut stream);
    let mut bare = vec![5; slots * SLOT];
    Bare::new().seal(&mut bare);
    (
        stream,
        bare,
        StreamOpener::new(&dek(), &CONTEXT, &header).unwrap(),
    )
}

fn runs(criterion: &mut Criterion) {
    for slots in RUNS {
        let mut group = criterion.benchmark_group(format!("{} KiB", slots * 16));
        group.throughput(Throughput::Bytes((slots * CHUNK) as u64));
        let mut run = vec![5; slots * SLOT];
        let mut bare = Bare::new();
        group.bench_function(BenchmarkId::new("seal", "bare"), |b| {
            b.iter(|| bare.seal(black_box(&mut run)))
        });
        let (mut sealer, _) = StreamSealer::new(&dek(), &CONTEXT, [4; 24]);
        group.bench_function(BenchmarkId::new("seal", "stream"), |b| {
            b.iter(|| sealer.seal_slots(black_box(&mut run)))
        });
        let (stream, bare_run, opener) = sealed(slots);
        group.bench_function(BenchmarkId::new("open", "bare"), |b| {
            b.iter(|| {
                run.copy_from_slice(&bare_run);
                bare.open(black_box(&mut run));
            });
        });
        group.bench_function(BenchmarkId::new("open", "stream"), |b| {
            b.iter(|| {
                run.copy_from_slice(&stream);
                opener.open_slots(0, black_box(&mut run)).unwrap();
            });
        });
        group.finish();
    }
}

fn objects(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("per object");
    let (dek, kek) = (dek(), Kek::new(&Secret::new([6; 32])));
    group.bench_function("start sealing a stream", |b| {
        b.iter(|| StreamSealer::new(&dek, &CONTEXT, [4; 24]))
    });
    let (_, header) = StreamSealer::new(&dek, &CONTEXT, [4; 24]);
    group.bench_function("start opening a stream", |b| {
        b.iter(|| StreamOpener::new(&dek, &CONTEXT, &header))
    });
    let trailer = Trailer::single(PlainLen(1000), Checksums::none()).unwrap();
    let object = CONTEXT.object_id;
    group.bench_function("seal a trailer", |b| {
        b.iter(|| trailer.seal(&dek, &object, [7; 12]))
    });
    let bytes = trailer.seal(&dek, &object, [7; 12]).into_vec();
    group.bench_function("open a trailer", |b| {
        b.iter(|| Trailer::open(&dek, &object, trailer.object_len(), &bytes))
    });
    let place = Location {
        bucket: b"bucket",
        key: b"some/key/of/ordinary/length.txt",
    };
    let fields = || EnvelopeFields {
        layout: Layout::Single {
            plain_len: PlainLen(1000),
            header,
        },
        binding: Binding::Key,
        object_id: object,
        kek: WrappedKek {
            name: "main".into(),
            version: "1".into(),
            wrapped: vec![8; 184],
        },
    };
    let seal = || fields().seal(&kek, &dek, [9; 12], &place).unwrap();
    group.bench_function("seal and encode an envelope", |b| {
        b.iter(|| seal().encode())
    });
    let text = seal().encode().unwrap();
    group.bench_function("decode an envelope and unwrap its key", |b| {
        b.iter(|| {
            Envelope::decode(text.as_bytes())
                .unwrap()
                .unwrap_dek(&kek, &place)
        });
    });
    group.bench_function("invert a size", |b| {
        b.iter(|| law::object_plain_len(black_box(CipherLen(1_001_234))))
    });
    group.finish();
}

/// The best of many rounds of each, taken in turn, so that a change of the machine's pace hits both.
fn ratio(mut stream: impl FnMut(), mut bare: impl FnMut()) -> f64 {
    let mut best = [Duration::MAX; 2];
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        let rounds: [&mut dyn FnMut(); 2] = [&mut stream, &mut bare];
        for (best, run) in best.iter_mut().zip(rounds) {
            let start = Instant::now();
            run();
            *best = start.elapsed().min(*best);
        }
    }
    best[0].as_secs_f64() / best[1].as_secs_f64()
}

#[allow(clippy::print_stdout)]
fn ratios() {
    println!(
        "stream against bare {} in 16 KiB chunks (goal: at most 1.10)",
        sealgate_aead::selected()
    );
    for slots in RUNS {
        let (stream, bare_run, opener) = sealed(slots);
        let (mut sealer, _) = StreamSealer::new(&dek(), &CONTEXT, [4; 24]);
        let mut bare = Bare::new();
        let mut buffers = [vec![5; slots * SLOT], vec![5; slots * SLOT]];
        let [a, b] = &mut buffers;
        let seal = ratio(
            || sealer.seal_slots(black_box(a)),
            || bare.seal(black_box(b)),
        );
        let open = ratio(
            || {
                a.copy_from_slice(&stream);
                opener.open_slots(0, black_box(a)).unwrap();
            },
            || {
                b.copy_from_slice(&bare_run);
                bare.open(black_box(b));
            },
        );
        println!("{:>5} KiB   seal {seal:.3}   open {open:.3}", slots * 16);
    }
}

fn main() {
    // Run as a test (`cargo test --benches`), it only shows that everything still runs.
    let mut criterion = Criterion::default().configure_from_args();
    runs(&mut criterion);
    objects(&mut criterion);
    criterion.final_summary();
    ratios();
}
