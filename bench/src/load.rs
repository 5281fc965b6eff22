//! The load generator: a closed loop of PUTs or GETs over keep-alive connections.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use http::{HeaderMap, Method, StatusCode};
use tokio::task::LocalSet;

use crate::client::{Answer, Client, User, create_bucket, unix_seconds};
use crate::net::Outcome;
use crate::units::{GIB, MIB, fill_pattern, parse_size};

/// Signatures are made anew after this: a store refuses those older than 15 minutes.
const SIGNED_FOR: i64 = 300;

/// How often a request that is answered 503 is sent again, as S3 clients do.
const RETRIES: u32 = 60;

/// Pause before that. Real clients begin with less and double it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Verb {
    /// Upload objects with unsigned payloads, all with the same content
    Put,
    /// Download one object again and again
    Get,
}

/// `sealgate-bench load`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// What to do
    #[arg(value_enum)]
    pub(crate) verb: Verb,
    /// Address of the store or gateway
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// Bucket; created when missing
    #[arg(long, default_value = "bench")]
    pub(crate) bucket: String,
    /// Object key; uploads get the number of the connection appended
    #[arg(long, default_value = "load")]
    pub(crate) key: String,
    /// Bytes of an object
    #[arg(long, value_parser = parse_size, default_value = "1GiB")]
    pub(crate) size: u64,
    /// Requests in all
    #[arg(long, default_value_t = 1)]
    pub(crate) count: u64,
    /// Connections
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Threads, each with its share of the connections
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Bytes per second of each upload; unbounded unless given
    #[arg(long, value_parser = parse_size)]
    pub(crate) pace: Option<u64>,
    /// Access key
    #[arg(long, default_value_t = User::of_bench().access_key)]
    pub(crate) access_key: String,
    /// Secret key
    #[arg(long, default_value_t = User::of_bench().secret_key)]
    pub(crate) secret_key: String,
    /// Region
    #[arg(long, default_value_t = User::of_bench().region)]
    pub(crate) region: String,
}

impl Options {
    /// `count` requests of `size` bytes, spread over `connections`.
    pub(crate) fn new(verb: Verb, to: SocketAddr, key: &str, size: u64) -> Options {
        let User {
            access_key,
            secret_key,
            region,
        } = User::of_bench();
        Options {
            verb,
            to,
            bucket: "bench".into(),
            key: key.into(),
            size,
            count: 1,
            connections: 1,
            threads: 1,
            pace: None,
            access_key,
            secret_key,
            region,
        }
    }

    /// The same over more connections, in more requests.
    pub(crate) fn times(mut self, connections: usize, count: u64) -> Options {
        self.connections = connections;
        self.count = count;
        self
    }

    fn user(&self) -> User {
        User {
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            region: self.region.clone(),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Summary {
    /// Requests that succeeded; all of them.
    pub(crate) requests: u64,
    /// How often one was answered 503 and sent again.
    pub(crate) retries: u64,
    /// Payload bytes.
    pub(crate) bytes: u64,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Nanoseconds from the first byte of a request to the last of its answer.
    pub(crate) latency: Histogram<u64>,
}

impl Summary {
    fn empty() -> Outcome<Summary> {
        Ok(Summary {
            requests: 0,
            retries: 0,
            bytes: 0,
            elapsed: Duration::ZERO,
            latency: Histogram::new(3)?,
        })
    }

    fn add(&mut self, other: &Summary) -> Outcome<()> {
        self.requests += other.requests;
        self.retries += other.retries;
        self.bytes += other.bytes;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.latency.add(&other.latency)?;
        Ok(())
    }

    /// Requests in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// A latency in microseconds.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        self.latency.value_at_percentile(percent) as f64 / 1e3
    }
}

/// Runs the command and prints its summary as one line of JSON.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let summary = generate(options)?;
    let seconds = summary.elapsed.as_secs_f64();
    let report = serde_json::json!({
        "requests": summary.requests,
        "retries": summary.retries,
        "bytes": summary.bytes,
        "seconds": seconds,
        "requests_per_second": summary.rate(),
        "gib_per_second": summary.bytes as f64 / GIB as f64 / seconds,
        "latency_us": {
            "p50": summary.percentile(50.0),
            "p90": summary.percentile(90.0),
            "p99": summary.percentile(99.0),
            "p99.9": summary.percentile(99.9),
            "max": summary.latency.max() as f64 / 1e3,
        },
    });
    println!("{report}");
    Ok(())
}

/// Makes the load. The first failure ends all of it.
pub(crate) fn generate(options: &Options) -> Outcome<Summary> {
    let options = Arc::new(options.clone());
    let left = Arc::new(AtomicU64::new(options.count));
    let threads = options.threads.clamp(1, options.connections.max(1));
    let mut workers = Vec::new();
    for thread in 0..threads {
        let (options, left) = (options.clone(), left.clone());
        workers.push(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            LocalSet::new().block_on(&runtime, share(options, left, thread, threads))
        }));
    }
    let mut all = Summary::empty()?;
    for worker in workers {
        all.add(&worker.join().map_err(|_| "a load thread panicked")??)?;
    }
    Ok(all)
}

/// One thread's share of the connections.
async fn share(
    options: Arc<Options>,
    left: Arc<AtomicU64>,
    thread: usize,
    threads: usize,
) -> Outcome<Summary> {
    if thread == 0 && options.verb == Verb::Put {
        let mut client = Client::connect(options.to, &options.user())?;
        create_bucket(&mut client, &options.bucket).await?;
    }
    let mut content = vec![0; MIB];
    fill_pattern(1, 0, &mut content);
    let content: Rc<[u8]> = content.into();
    let started = Instant::now();
    let mut running = Vec::new();
    for number in (thread..options.connections).step_by(threads) {
        let one = connection(options.clone(), left.clone(), number, content.clone());
        running.push(tokio::task::spawn_local(one));
    }
    let mut all = Summary::empty()?;
    for one in running {
        all.add(&one.await??)?;
    }
    all.elapsed = started.elapsed();
    Ok(all)
}

/// Requests over one connection until none is left.
async fn connection(
    options: Arc<Options>,
    left: Arc<AtomicU64>,
    number: usize,
    content: Rc<[u8]>,
) -> Outcome<Summary> {
    let mut client = Client::connect(options.to, &options.user())?;
    let (method, target, length) = match options.verb {
        Verb::Put => {
            let target = format!("/{}/{}-{number}", options.bucket, options.key);
            (Method::PUT, target, Some(options.size))
        }
        Verb::Get => {
            let target = format!("/{}/{}", options.bucket, options.key);
            (Method::GET, target, None)
        }
    };
    let mut summary = Summary::empty()?;
    let mut signed_at = 0;
    let mut head = Vec::new();
    while take_one(&left) {
        if unix_seconds() - signed_at > SIGNED_FOR {
            signed_at = unix_seconds();
            head = client.head(&method, &target, HeaderMap::new(), length);
        }
        let started = Instant::now();
        let mut left = RETRIES;
        let answer = loop {
            let answer = exchange(&mut client, &options, &method, &head, &content).await?;
            if answer.head.status != StatusCode::SERVICE_UNAVAILABLE || left == 0 {
                break answer.ok(&format!("{method} {target}"))?;
            }
            left -= 1;
            summary.retries += 1;
            tokio::time::sleep(RETRY_AFTER).await;
        };
        if options.verb == Verb::Get && answer.len != options.size {
            return Err(format!("{target} has {} bytes, not {}", answer.len, options.size).into());
        }
        summary.requests += 1;
        summary.bytes += options.size;
        summary
            .latency
            .record(started.elapsed().as_nanos() as u64)?;
    }
    Ok(summary)
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
        .is_ok()
}

/// One request and its answer.
async fn exchange(
    client: &mut Client,
    options: &Options,
    method: &Method,
    head: &[u8],
    content: &[u8],
) -> Outcome<Answer> {
    match options.verb {
        Verb::Put => upload(client, head, options.size, options.pace, content).await?,
        Verb::Get => client.send(head).await?,
    }
    client.answer(method, false, |_, _| {}).await
}

/// How long to wait so that `done` bytes in that time are no more than the pace.
fn ahead(pace: Option<u64>, started: Instant, done: u64) -> Option<Duration> {
    let due = Duration::from_secs_f64(done as f64 / pace? as f64);
    due.checked_sub(started.elapsed())
}

async fn upload(
    client: &mut Client,
    head: &[u8],
    size: u64,
    pace: Option<u64>,
    content: &[u8],
) -> Outcome<()> {
    if size <= 64 << 10 {
        let mut all = head.to_vec();
        all.extend_from_slice(&content[..size as usize]);
        client.send(&all).await?;
        return Ok(());
    }
    let started = Instant::now();
    client.send(head).await?;
    let mut sent = 0;
    while sent < size {
        let piece = (size - sent).min(content.len() as u64);
        // An early refusal closes the connection: the answer says more than a broken pipe.
        if client.send(&content[..piece as usize]).await.is_err() {
            break;
        }
        sent += piece;
        if let Some(wait) = ahead(pace, started, sent) {
            tokio::time::sleep(wait).await;
        }
    }
    Ok(())
}
