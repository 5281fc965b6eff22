//! How fast a bucket of small objects is put under a new version of its key, and how often the key service is asked.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Instant;

use clap::Args;
use http::{HeaderMap, Method};
use tokio::task::LocalSet;

use crate::client::{Client, User, create_bucket};
use crate::contenders::{self, Folder};
use crate::net::{Outcome, free_port};
use crate::process::{Child, Machine};
use crate::units::{fill_pattern, parse_size, show_size};

const BUCKET: &str = "rewrap-bench";

/// `sealgate-bench rewrap`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The gateway's binary; by default the one beside this one
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Objects
    #[arg(long, default_value_t = 100_000)]
    objects: u64,
    /// Bytes of each
    #[arg(long, value_parser = parse_size, default_value = "1KiB")]
    size: u64,
    /// Objects that are written, and re-wrapped, at a time
    #[arg(long, default_value_t = 32)]
    concurrency: usize,
    /// An S3 store; a directory unless given
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Its access key
    #[arg(long, default_value = "")]
    access_key: String,
    /// Its secret key
    #[arg(long, default_value = "")]
    secret_key: String,
    /// Further arguments of `sealgate rewrap`
    #[arg(last = true)]
    more: Vec<String>,
}

/// Writes the objects, rotates the key, re-wraps, and prints what that took.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    let machine = Machine::here();
    let folder = Folder::new(None)?;
    let binary = contenders::gateway_binary(options.gateway.as_deref())?;
    let ring = folder.file("keys.ring");
    let sealgate = |args: &[&Path]| -> Outcome<String> {
        let done = Command::new(&binary).args(args).output()?;
        if done.status.success() {
            return Ok(String::from_utf8(done.stdout)?);
        }
        Err(format!("{args:?}: {}", String::from_utf8_lossy(&done.stderr)).into())
    };
    sealgate(&["key".as_ref(), "create".as_ref(), &ring])?;
    let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let config = folder.file("sealgate.toml");
    fs::write(&config, configuration(options, &folder, addr, &ring))?;
    // It may hold a secret, and the gateway insists.
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;

    let mut command = Command::new(&binary);
    command.args(["serve", "--config"]).arg(&config);
    let gateway = Child::server("gateway", command, addr, &folder.file("gateway.log"))?;
    let started = Instant::now();
    fill(options, addr)?;
    let wrote = options.objects as f64 / started.elapsed().as_secs_f64();
    drop(gateway);
    println!(
        "{} objects of {} written at {wrote:.0}/s",
        options.objects,
        show_size(options.size)
    );

    sealgate(&["key".as_ref(), "rotate".as_ref(), &ring])?;
    let concurrency = options.concurrency.to_string();
    let mut args = vec![
        "rewrap",
        "--json",
        "--bucket",
        BUCKET,
        "--concurrency",
        &concurrency,
    ];
    args.extend(options.more.iter().map(String::as_str));
    let mut args: Vec<&Path> = args.iter().map(AsRef::as_ref).collect();
    args.extend(["--config".as_ref(), config.as_path()]);
    for what in ["rewrap", "rewrap again"] {
        let report: serde_json::Value = serde_json::from_str(&sealgate(&args)?)?;
        let count = |name: &str| report[name].as_u64().unwrap_or(0);
        let seconds = report["seconds"].as_f64().unwrap_or(f64::NAN);
        println!(
            "{what}: {} examined, {} re-wrapped, {} already new in {seconds:.1} s: {:.0} objects/s, {} calls at the key \
             service, {} bytes moved, method {}",
            count("examined"),
            count("rewrapped"),
            count("already_new"),
            count("examined") as f64 / seconds,
            count("key_calls"),
            count("bytes_moved"),
            report["method"].as_str().unwrap_or("none"),
        );
        if count("examined") != options.objects
            || count("rewrapped") + count("already_new") != options.objects
        {
            return Err(format!("not every object was re-wrapped: {report}").into());
        }
    }
    println!("{}", machine.lines().join("\n"));
    Ok(())
}

fn configuration(options: &Options, folder: &Folder, addr: SocketAddr, ring: &Path) -> String {
    let User {
        access_key,
        secret_key,
        region,
    } = User::of_bench();
    let backend = match &options.store {
        None => format!(
            "type = \"fs\"\npath = \"{}\"",
            folder.file("objects").display()
        ),
        Some(endpoint) => format!(
            "type = \"s3\"\nendpoint = \"{endpoint}\"\nregion = \"{region}\"\naccess_key = \"{}\"\nsecret_key = \"{}\"",
            options.access_key, options.secret_key
        ),
    };
    format!(
        r#"[listen]
s3 = "{addr}"

[log]
access = "off"

[backend]
{backend}

[keys.bench]
provider = "file"
path = "{}"

[[buckets]]
match = "*"
key = "bench"

[[credentials]]
access_key = "{access_key}"
secret_key = "{secret_key}"
allow = [{{ bucket = "*", actions = ["*"] }}]
"#,
        ring.display()
    )
}

/// Writes the objects over many connections.
fn fill(options: &Options, addr: SocketAddr) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut content = vec![0; usize::try_from(options.size)?.next_multiple_of(8)];
    fill_pattern(1, 0, &mut content);
    content.truncate(usize::try_from(options.size)?);
    let content: Rc<[u8]> = content.into();
    let (next, objects) = (Rc::new(Cell::new(0)), options.objects);
    LocalSet::new().block_on(&runtime, async {
        let mut first = Client::connect(addr, &User::of_bench())?;
        create_bucket(&mut first, BUCKET).await?;
        let mut running = Vec::new();
        for _ in 0..options.concurrency.max(1) {
            let (next, content) = (Rc::clone(&next), Rc::clone(&content));
            running.push(tokio::task::spawn_local(async move {
                let mut client = Client::connect(addr, &User::of_bench())?;
                while next.get() < objects {
                    let number = next.replace(next.get() + 1);
                    let target = format!("/{BUCKET}/{:03}/{number:09}", number % 1000);
                    let sent = client.call(Method::PUT, &target, HeaderMap::new(), Some(&content));
                    sent.await?.ok(&target)?;
                }
                Outcome::Ok(())
            }));
        }
        for one in running {
            one.await??;
        }
        Ok(())
    })
}
