//! The load generator: requests of one kind or a mix of them over keep-alive connections, in a closed loop or at a fixed
//! rate, in any form of signature.

mod forms;
mod gate;
mod idle;
mod mix;
mod summary;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::ArgPredicate;
use hdrhistogram::Histogram;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::task::LocalSet;

use crate::client::{Answer, Client, User, create_bucket, element, unix_seconds};
use crate::content::Content;
use crate::net::Outcome;
use crate::tls;
use crate::units::{GIB, parse_size, splitmix};
pub(crate) use forms::{Form, Sum};
use forms::{Payload, Prepared, prepare};
use gate::Gate;
pub(crate) use idle::Idle;
pub(crate) use mix::{Verb, Weighted};
pub(crate) use summary::Summary;

/// Signatures are made anew after this: a store refuses those older than 15 minutes.
const SIGNED_FOR: i64 = 300;

/// Requests that a connection keeps signed.
const KEEP_PREPARED: usize = 64;

/// How often a request that is answered 503 is sent again, as S3 clients do.
const RETRIES: u32 = 60;

/// Pause before that. Real clients begin with less and double it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// `sealgate-bench load`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// What to do: put, get, range, head, list or multipart; or several with weights, such as get=8,put=2
    pub(crate) mix: Weighted<Verb>,
    /// Address of the store or gateway
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// TLS, and this is the certificate to trust (for the name localhost)
    #[arg(long)]
    pub(crate) trust: Option<PathBuf>,
    /// Bucket; created when missing
    #[arg(long, default_value = "bench")]
    pub(crate) bucket: String,
    /// Object key, or prefix to list. With several sizes -SIZE is appended, with --keys -NUMBER; to uploads without
    /// --keys -CONNECTION
    #[arg(long, default_value = "load")]
    pub(crate) key: String,
    /// Number of different keys, used in turn
    #[arg(long, default_value_t = 0)]
    pub(crate) keys: u64,
    /// Bytes of an object, or several sizes with weights: 1KiB=9,1GiB=1
    #[arg(long, default_value = "1GiB")]
    pub(crate) size: Weighted<u64>,
    /// Bytes of a range
    #[arg(long, value_parser = parse_size, default_value = "64KiB")]
    pub(crate) range: u64,
    /// Bytes of a part
    #[arg(long, value_parser = parse_size, default_value = "8MiB")]
    pub(crate) part: u64,
    /// Requests in all; without bound with --seconds
    #[arg(
        long,
        default_value_t = 1,
        default_value_if("seconds", ArgPredicate::IsPresent, "18446744073709551615")
    )]
    pub(crate) count: u64,
    /// End after so many seconds, if not before
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Requests per second, whatever the server does (an open loop); a closed loop unless given
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Connections
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Threads, each with its share of the connections
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Bytes per second of each upload; unbounded unless given
    #[arg(long, value_parser = parse_size)]
    pub(crate) pace: Option<u64>,
    /// How to sign
    #[arg(long, value_enum, default_value = "unsigned")]
    pub(crate) form: Form,
    /// Sign each request anew, instead of once for many: its date and signature are new to the server
    #[arg(long)]
    pub(crate) sign_each: bool,
    /// A checksum that goes along with uploads
    #[arg(long, value_enum)]
    pub(crate) checksum: Option<Sum>,
    /// Compare what comes with what was sent; read uploads back
    #[arg(long)]
    pub(crate) verify: bool,
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
    /// One request, signed in a header without its payload.
    pub(crate) fn new(verb: Verb, to: SocketAddr, key: &str, size: u64) -> Options {
        let User {
            access_key,
            secret_key,
            region,
        } = User::of_bench();
        Options {
            mix: Weighted::only(verb),
            to,
            trust: None,
            bucket: "bench".into(),
            key: key.into(),
            keys: 0,
            size: Weighted::only(size),
            range: 64 << 10,
            part: 8 << 20,
            count: 1,
            seconds: None,
            rate: None,
            connections: 1,
            threads: 1,
            pace: None,
            form: Form::Unsigned,
            sign_each: false,
            checksum: None,
            verify: false,
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

    /// The same in another form.
    pub(crate) fn form(mut self, form: Form) -> Options {
        self.form = form;
        self
    }

    fn user(&self) -> User {
        User {
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            region: self.region.clone(),
        }
    }

    async fn connect(&self) -> Outcome<Client> {
        Ok(match &self.trust {
            None => Client::connect(self.to, &self.user())?,
            Some(cert) => Client::connect_tls(self.to, &self.user(), tls::connector(cert)?).await?,
        })
    }

    /// Key of a request.
    fn key(&self, verb: Verb, connection: usize, number: u64, size: u64) -> String {
        let mut key = self.key.clone();
        if self.size.all().count() > 1 {
            key += &format!("-{size}");
        }
        match self.keys {
            0 if verb.writes() => key + &format!("-{connection}"),
            0 => key,
            n => key + &format!("-{}", number % n),
        }
    }
}

fn show(latency: &Histogram<u64>) -> serde_json::Value {
    let at = |percent| latency.value_at_percentile(percent) as f64 / 1e3;
    serde_json::json!({
        "count": latency.len(),
        "p50": at(50.0),
        "p90": at(90.0),
        "p99": at(99.0),
        "p99.9": at(99.9),
        "max": latency.max() as f64 / 1e3,
    })
}

/// Runs the command and prints its summary as one line of JSON.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let summary = generate(options)?;
    let seconds = summary.elapsed.as_secs_f64();
    let latencies: BTreeMap<_, _> = summary
        .latencies
        .iter()
        .map(|(verb, latency)| (verb.name(), show(latency)))
        .collect();
    let report = serde_json::json!({
        "requests": summary.requests,
        "retries": summary.retries,
        "bytes": summary.bytes,
        "seconds": seconds,
        "requests_per_second": summary.rate(),
        "gib_per_second": summary.bytes as f64 / GIB as f64 / seconds,
        "latency_us": latencies,
    });
    println!("{report}");
    Ok(())
}

/// Makes the load. The first failure ends all of it.
pub(crate) fn generate(options: &Options) -> Outcome<Summary> {
    let options = Arc::new(options.clone());
    let threads = options.threads.clamp(1, options.connections.max(1));
    if options.mix.all().any(Verb::writes) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut client = options.connect().await?;
            create_bucket(&mut client, &options.bucket).await
        })?;
    }
    let taken = Arc::new(AtomicU64::new(0));
    let until = options
        .seconds
        .map(|s| Instant::now() + Duration::from_secs_f64(s));
    let mut clock = options
        .rate
        .map(|rate| gate::clock(rate, options.count, options.seconds, threads).into_iter());
    let mut workers = Vec::new();
    for thread in 0..threads {
        let (options, taken) = (options.clone(), taken.clone());
        let tickets = clock.as_mut().and_then(Iterator::next);
        workers.push(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let gate = match tickets {
                Some(tickets) => Gate::Open(Rc::new(tickets.into())),
                None => Gate::Closed {
                    taken,
                    count: options.count,
                    until,
                },
            };
            LocalSet::new().block_on(&runtime, share(options, gate, thread, threads))
        }));
    }
    let mut all = Summary::empty();
    for worker in workers {
        all.add(&worker.join().map_err(|_| "a load thread panicked")??)?;
    }
    Ok(all)
}

/// One thread's share of the connections.
async fn share(
    options: Arc<Options>,
    gate: Gate,
    thread: usize,
    threads: usize,
) -> Outcome<Summary> {
    let started = Instant::now();
    let summary = Rc::new(RefCell::new(Summary::empty()));
    let mut running = Vec::new();
    for number in (thread..options.connections).step_by(threads) {
        let mut one = Connection {
            client: options.connect().await?,
            options: options.clone(),
            number,
            signed_at: 0,
            prepared: HashMap::new(),
            summary: summary.clone(),
        };
        let gate = gate.clone();
        running.push(tokio::task::spawn_local(async move {
            while let Some(ticket) = gate.next().await {
                one.step(ticket).await?;
            }
            Outcome::Ok(())
        }));
    }
    for one in running {
        one.await??;
    }
    let mut all = summary.replace(Summary::empty());
    all.elapsed = started.elapsed();
    Ok(all)
}

/// A connection and what it keeps between requests.
struct Connection {
    client: Client,
    options: Arc<Options>,
    number: usize,
    signed_at: i64,
    /// Signed requests by method, size and target.
    prepared: HashMap<(Method, u64, String), Rc<Prepared>>,
    summary: Rc<RefCell<Summary>>,
}

impl Connection {
    async fn step(&mut self, ticket: gate::Ticket) -> Outcome<()> {
        let options = self.options.clone();
        let verb = options.mix.pick(ticket.number, 1);
        let size = options.size.pick(ticket.number, 2);
        let key = options.key(verb, self.number, ticket.number, size);
        let target = format!("/{}/{key}", options.bucket);
        let bytes = match verb {
            Verb::Put => {
                let payload = Payload::Content(size, options.checksum);
                self.send(Method::PUT, &target, HeaderMap::new(), payload)
                    .await?;
                size
            }
            Verb::Get => {
                self.read(&target, size, None).await?;
                size
            }
            Verb::Range => {
                let len = options.range.min(size);
                let from = splitmix(ticket.number) % (size - len + 1);
                self.read(&target, size, Some(from..from + len)).await?;
                len
            }
            Verb::Head => {
                let answer = self.send(Method::HEAD, &target, HeaderMap::new(), Payload::None);
                let answer = answer.await?;
                if answer.header("content-length") != size.to_string() {
                    let len = answer.header("content-length");
                    return Err(format!("HEAD {target}: {len} bytes, not {size}").into());
                }
                0
            }
            Verb::List => {
                self.list().await?;
                0
            }
            Verb::Multipart => {
                self.multipart(&target, size).await?;
                size
            }
        };
        let elapsed = ticket.start.elapsed().as_nanos() as u64;
        {
            let mut summary = self.summary.borrow_mut();
            summary.requests += 1;
            summary.bytes += bytes;
            if ticket.counts {
                summary.latency(verb)?.record(elapsed)?;
            }
        }
        if options.verify && verb.writes() {
            self.read(&target, size, None).await?;
        }
        Ok(())
    }

    async fn list(&mut self) -> Outcome<()> {
        let (bucket, key) = (&self.options.bucket, &self.options.key);
        let target = format!("/{bucket}?list-type=2&max-keys=1000&prefix={key}");
        let answer = self
            .send(Method::GET, &target, HeaderMap::new(), Payload::None)
            .await?;
        let wanted = self.options.keys.min(1000);
        let found = answer.text.matches("<Key>").count() as u64;
        if self.options.verify && found != wanted {
            return Err(format!("GET {target}: {found} keys, not {wanted}").into());
        }
        Ok(())
    }

    async fn read(
        &mut self,
        target: &str,
        size: u64,
        range: Option<std::ops::Range<u64>>,
    ) -> Outcome<()> {
        let mut headers = HeaderMap::new();
        let wanted = range.clone().unwrap_or(0..size);
        if let Some(range) = range {
            let value = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
            headers.insert(header::RANGE, HeaderValue::from_str(&value)?);
        }
        let verify = self.options.verify;
        let mut wrong = None;
        let answer = self
            .exchange(
                Method::GET,
                target,
                headers,
                Payload::None,
                |offset, piece| {
                    let at = wanted.start + offset;
                    if verify && !Content::get().matches(at, piece) {
                        wrong.get_or_insert(at);
                    }
                },
            )
            .await?;
        if let Some(at) = wrong {
            return Err(format!("GET {target}: what comes at byte {at} was not sent").into());
        }
        let len = wanted.end - wanted.start;
        if answer.len != len {
            return Err(format!("GET {target}: {} bytes, not {len}", answer.len).into());
        }
        Ok(())
    }

    async fn multipart(&mut self, target: &str, size: u64) -> Outcome<()> {
        let none = HeaderMap::new;
        let create = format!("{target}?uploads=");
        let answer = self
            .send(Method::POST, &create, none(), Payload::None)
            .await?;
        let id = element(&answer.text, "UploadId")
            .ok_or("no UploadId")?
            .to_owned();
        let mut document = String::from("<CompleteMultipartUpload>");
        // Each part is the content from its first byte: downloads compare only if parts are of whole mebibytes.
        for number in 1..=size.div_ceil(self.options.part).max(1) {
            let len = self
                .options
                .part
                .min(size - (number - 1) * self.options.part);
            let part = format!("{target}?partNumber={number}&uploadId={id}");
            let payload = Payload::Content(len, self.options.checksum);
            let answer = self.send(Method::PUT, &part, none(), payload).await?;
            let etag = answer.header("etag");
            document +=
                &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        document += "</CompleteMultipartUpload>";
        let complete = format!("{target}?uploadId={id}");
        let payload = Payload::Text(document.as_bytes());
        self.send(Method::POST, &complete, none(), payload).await?;
        Ok(())
    }

    /// A request whose answer is a document, or nothing.
    async fn send(
        &mut self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        payload: Payload<'_>,
    ) -> Outcome<Answer> {
        let mut text = Vec::new();
        let keep = |_: u64, piece: &[u8]| text.extend_from_slice(piece);
        let mut answer = self
            .exchange(method, target, headers, payload, keep)
            .await?;
        answer.text = String::from_utf8_lossy(&text).into_owned();
        Ok(answer)
    }

    async fn exchange(
        &mut self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        payload: Payload<'_>,
        mut each: impl FnMut(u64, &[u8]),
    ) -> Outcome<Answer> {
        let mut left = RETRIES;
        loop {
            let prepared = self.prepared(&method, target, &headers, payload)?;
            forms::send(&mut self.client, &prepared, self.options.pace).await?;
            let answer = self.client.answer(&method, false, &mut each).await?;
            if answer.head.status != StatusCode::SERVICE_UNAVAILABLE || left == 0 {
                return answer.ok(&format!("{method} {target}"));
            }
            left -= 1;
            self.summary.borrow_mut().retries += 1;
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    fn prepared(
        &mut self,
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        payload: Payload<'_>,
    ) -> Outcome<Rc<Prepared>> {
        let len = match payload {
            Payload::None => 0,
            Payload::Text(_) => u64::MAX,
            Payload::Content(len, _) => len,
        };
        let now = unix_seconds();
        if now - self.signed_at > SIGNED_FOR || self.prepared.len() >= KEEP_PREPARED {
            self.signed_at = now;
            self.prepared.clear();
        }
        let key = (method.clone(), len, target.to_owned());
        let form = self.options.form;
        // Documents and ranges are never the same twice.
        let again = headers.is_empty() && len != u64::MAX && !self.options.sign_each;
        if let Some(known) = self.prepared.get(&key).filter(|_| again) {
            return Ok(known.clone());
        }
        let made = prepare(
            &mut self.client,
            form,
            method,
            target,
            headers.clone(),
            payload,
        )?;
        let made = Rc::new(made);
        if again {
            self.prepared.insert(key, made.clone());
        }
        Ok(made)
    }
}
