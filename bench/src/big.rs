//! An object of many GiB through the gateway: in parts, over several connections, and back, with
//! every byte checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use http::{HeaderMap, HeaderValue, Method, header};

use crate::client::{Client, User, create_bucket, element};
use crate::contenders::{self, Congestion, Folder, Settings};
use crate::net::Outcome;
use crate::relay::Driver;
use crate::units::{GIB, MIB, fill_pattern, parse_size, show_size};

/// What the content depends on, besides the place.
const SEED: u64 = 0x5ea1_9a7e;

/// Where the object goes.
const TARGET: &str = "/bench/kept-big";

/// `sealgate-bench object20g`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The gateway's binary; by default the one beside this one
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Bytes of the object
    #[arg(long, value_parser = parse_size, default_value = "20GiB")]
    size: u64,
    /// Bytes of a part
    #[arg(long, value_parser = parse_size, default_value = "64MiB")]
    part: u64,
    /// Connections
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Folder with room for the sealed object
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Cores of the gateway
    #[arg(long, default_value_t = 2)]
    cores: usize,
    /// Its driver
    #[arg(long, value_enum, default_value = "io_uring")]
    driver: Driver,
}

/// Sends the object, checks its size, and compares it on its way back: in ranges, then as a whole.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    if !options.part.is_multiple_of(8) || options.part == 0 {
        return Err("the size of a part must be a multiple of 8".into());
    }
    let _congestion = Congestion::set();
    let folder = Folder::new(options.dir.as_deref())?;
    let binary = contenders::gateway_binary(options.gateway.as_deref())?;
    let store = contenders::null_store(
        "kept",
        &[
            "--keep-dir".into(),
            folder.file("bodies").display().to_string(),
        ],
    )?;
    let addr = store.addr();
    let gateway = contenders::gateway(
        "gateway",
        &binary,
        &folder,
        &Settings::new(addr, options.driver, options.cores),
    )?;
    let to = gateway.addr();
    let gib = options.size as f64 / GIB as f64;
    let show = |what: &str, seconds: f64| {
        println!(
            "{what}: {} in {seconds:.1} s, {:.2} GiB/s",
            show_size(options.size),
            gib / seconds
        );
    };

    let started = Instant::now();
    upload(to, options)?;
    show("uploaded in parts", started.elapsed().as_secs_f64());

    let started = Instant::now();
    in_parts(
        options,
        move |client, _, range| Box::pin(check_range(client, range)),
        to,
    )?;
    show(
        "read in ranges, all bytes as sent",
        started.elapsed().as_secs_f64(),
    );

    let started = Instant::now();
    single_thread(async {
        let mut client = Client::connect(to, &User::of_bench())?;
        check_whole(&mut client, options.size).await
    })?;
    show(
        "read as a whole, all bytes as sent",
        started.elapsed().as_secs_f64(),
    );
    println!(
        "gateway: peak RSS {} MiB",
        gateway.memory("VmHWM")? / MIB as u64
    );
    Ok(())
}

fn single_thread<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

fn upload(to: SocketAddr, options: &Options) -> Outcome<()> {
    let id = single_thread(async {
        let mut client = Client::connect(to, &User::of_bench())?;
        create_bucket(&mut client, "bench").await?;
        let target = format!("{TARGET}?uploads=");
        let answer = client
            .call(Method::POST, &target, HeaderMap::new(), Some(b""))
            .await?;
        let answer = answer.ok("CreateMultipartUpload")?;
        let id = element(&answer.text, "UploadId").ok_or("no UploadId")?;
        Ok(id.to_owned())
    })?;
    let upload = id.clone();
    let etags = in_parts(
        options,
        move |client, number, range| {
            let target = format!("{TARGET}?partNumber={number}&uploadId={upload}");
            Box::pin(async move {
                let len = range.end - range.start;
                let head = client.head(&Method::PUT, &target, HeaderMap::new(), Some(len));
                client.send(&head).await?;
                let mut room = vec![0; MIB];
                let mut at = range.start;
                while at < range.end {
                    let n = (range.end - at).min(MIB as u64) as usize;
                    fill_pattern(SEED, at, &mut room[..n]);
                    client.send(&room[..n]).await?;
                    at += n as u64;
                }
                let answer = client.answer(&Method::PUT, true, |_, _| {}).await?;
                Ok(answer.ok("UploadPart")?.header("etag").to_owned())
            })
        },
        to,
    )?;
    let mut document = String::from("<CompleteMultipartUpload>");
    for (i, etag) in etags.iter().enumerate() {
        let number = i + 1;
        document += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    document += "</CompleteMultipartUpload>";
    single_thread(async {
        let mut client = Client::connect(to, &User::of_bench())?;
        let target = format!("{TARGET}?uploadId={id}");
        let body = Some(document.as_bytes());
        let answer = client
            .call(Method::POST, &target, HeaderMap::new(), body)
            .await?;
        let answer = answer.ok("CompleteMultipartUpload")?;
        if answer.text.contains("<Error>") {
            return Err(format!("CompleteMultipartUpload: {}", answer.text).into());
        }
        let head = client
            .call(Method::HEAD, TARGET, HeaderMap::new(), None)
            .await?;
        let head = head.ok("HeadObject")?;
        match head.header("content-length") {
            len if len == options.size.to_string() => Ok(()),
            len => Err(format!("HEAD says {len} bytes").into()),
        }
    })
}

type Step<'a> = std::pin::Pin<Box<dyn Future<Output = Outcome<String>> + 'a>>;

/// Runs `step` for each part, with its number from 1 and its range, over the connections; what it
/// returned, in order.
fn in_parts<F>(options: &Options, step: F, to: SocketAddr) -> Outcome<Vec<String>>
where
    F: for<'a> Fn(&'a mut Client, u64, std::ops::Range<u64>) -> Step<'a> + Send + Sync + 'static,
{
    let count = options.size.div_ceil(options.part);
    let next = Arc::new(AtomicU64::new(0));
    let step = Arc::new(step);
    let mut workers = Vec::new();
    for _ in 0..options.connections.max(1) {
        let (next, step, options) = (next.clone(), step.clone(), options.clone());
        workers.push(std::thread::spawn(move || {
            single_thread(async {
                let mut client = Client::connect(to, &User::of_bench())?;
                let mut done = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return Ok(done);
                    }
                    let start = index * options.part;
                    let range = start..options.size.min(start + options.part);
                    done.push((index, step(&mut client, index + 1, range).await?));
                }
            })
        }));
    }
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.join().map_err(|_| "a client panicked")??);
    }
    all.sort();
    Ok(all.into_iter().map(|(_, text)| text).collect())
}

/// Compares a body with the content, in whatever pieces it comes.
struct Checker {
    at: u64,
    expected: Vec<u8>,
    wrong: Option<u64>,
}

impl Checker {
    fn new(at: u64) -> Checker {
        Checker {
            at,
            expected: Vec::new(),
            wrong: None,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let skip = (self.at % 8) as usize;
        self.expected.resize(skip + bytes.len(), 0);
        fill_pattern(SEED, self.at - skip as u64, &mut self.expected);
        if self.expected[skip..] != *bytes {
            self.wrong.get_or_insert(self.at);
        }
        self.at += bytes.len() as u64;
    }

    fn finish(&self, end: u64) -> Outcome<String> {
        match self.wrong {
            Some(at) => Err(format!("wrong bytes at or after offset {at}").into()),
            None if self.at != end => Err(format!("ended at {} instead of {end}", self.at).into()),
            None => Ok(String::new()),
        }
    }
}

async fn check_range(client: &mut Client, range: std::ops::Range<u64>) -> Outcome<String> {
    let mut headers = HeaderMap::new();
    let value = format!("bytes={}-{}", range.start, range.end - 1);
    headers.insert(header::RANGE, HeaderValue::from_str(&value)?);
    let head = client.head(&Method::GET, TARGET, headers, None);
    client.send(&head).await?;
    let mut checker = Checker::new(range.start);
    let answer = client
        .answer(&Method::GET, false, |_, bytes| checker.push(bytes))
        .await?;
    answer.ok(&value)?;
    checker.finish(range.end)
}

async fn check_whole(client: &mut Client, size: u64) -> Outcome<String> {
    let head = client.head(&Method::GET, TARGET, HeaderMap::new(), None);
    client.send(&head).await?;
    let mut checker = Checker::new(0);
    let answer = client
        .answer(&Method::GET, false, |_, bytes| checker.push(bytes))
        .await?;
    answer.ok("GetObject")?;
    checker.finish(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checker_sees_what_is_wrong() {
        let mut content = vec![0; 1000];
        fill_pattern(SEED, 0, &mut content);
        let check = |content: &[u8]| {
            let mut checker = Checker::new(0);
            for piece in content.chunks(37) {
                checker.push(piece);
            }
            checker.finish(1000)
        };
        assert!(check(&content).is_ok());
        assert!(check(&content[..999]).is_err());
        content[700] ^= 1;
        assert!(check(&content).is_err());
    }
}
