//! Which library does AES-256-GCM in this process: pinned, or the faster one, measured once.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::cipher::{Aes256Gcm, KEY_LEN};
use crate::secret::Secret;

/// A library that implements AES-256-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Library {
    /// AWS-LC, by `aws-lc-rs`: the one with a FIPS-validated module.
    AwsLc,
    /// ring.
    Ring,
}

impl Library {
    /// The name in configuration, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Library::AwsLc => "aws-lc",
            Library::Ring => "ring",
        }
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How fast each library sealed 16 KiB chunks on this machine, in GB/s (10⁹ bytes per second).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// AWS-LC.
    pub aws_lc: f64,
    /// ring.
    pub ring: f64,
}

impl Measurement {
    /// The winner; AWS-LC on a tie.
    pub fn faster(&self) -> Library {
        if self.ring > self.aws_lc {
            Library::Ring
        } else {
            Library::AwsLc
        }
    }
}

/// Bytes of one measured seal: the chunk of the object format.
const SAMPLE_LEN: usize = 16 * 1024;
/// Seals before the clock starts: they warm the caches, and wake vector units that sleep when unused.
const WARM_UP: usize = 16;
/// Time spent on both libraries together: long enough to outlast a wake-up, short enough for any start.
const BUDGET: Duration = Duration::from_millis(1);

static MEASURED: OnceLock<Measurement> = OnceLock::new();

const NOT_PINNED: u8 = 0;
const PINNED_AWS_LC: u8 = 1;
const PINNED_RING: u8 = 2;
static PINNED: AtomicU8 = AtomicU8::new(NOT_PINNED);

/// The speed of both libraries here, measured by the first caller (about a millisecond); everybody else,
/// on any thread, gets the same answer.
pub fn measure() -> Measurement {
    *MEASURED.get_or_init(run)
}

/// Makes `library` the one that [`Aes256Gcm::new`] uses from now on, whatever is faster. Keys that exist
/// already stay with theirs; both compute the same bytes.
pub fn pin(library: Library) {
    let pinned = match library {
        Library::AwsLc => PINNED_AWS_LC,
        Library::Ring => PINNED_RING,
    };
    PINNED.store(pinned, Ordering::Relaxed);
}

/// The library in use: the pinned one, else the faster one ([`measure`]).
#[inline]
pub fn selected() -> Library {
    match PINNED.load(Ordering::Relaxed) {
        PINNED_AWS_LC => Library::AwsLc,
        PINNED_RING => Library::Ring,
        _ => measure().faster(),
    }
}

/// Seals in turn with each library until the budget is spent. The best single seal counts: whatever
/// interrupts a thread can only make a seal slower.
fn run() -> Measurement {
    // A fixed key: it never protects anything.
    let key = Secret::new([0; KEY_LEN]);
    let aws_lc = Aes256Gcm::with_library(Library::AwsLc, &key);
    let ring = Aes256Gcm::with_library(Library::Ring, &key);
    let mut sample = vec![0; SAMPLE_LEN];

    for _ in 0..WARM_UP {
        seal(&aws_lc, &mut sample);
        seal(&ring, &mut sample);
    }
    let (mut best_aws_lc, mut best_ring) = (Duration::MAX, Duration::MAX);
    let start = Instant::now();
    while start.elapsed() < BUDGET {
        best_aws_lc = best_aws_lc.min(seal(&aws_lc, &mut sample));
        best_ring = best_ring.min(seal(&ring, &mut sample));
    }
    Measurement {
        aws_lc: gigabytes_per_second(best_aws_lc),
        ring: gigabytes_per_second(best_ring),
    }
}

fn seal(cipher: &Aes256Gcm, sample: &mut [u8]) -> Duration {
    let start = Instant::now();
    std::hint::black_box(cipher.seal([0; 12], &[], sample));
    start.elapsed()
}

fn gigabytes_per_second(per_sample: Duration) -> f64 {
    SAMPLE_LEN as f64 / per_sample.as_nanos().max(1) as f64
}
