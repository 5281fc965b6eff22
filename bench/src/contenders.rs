//! The programs that are compared, started the same way every time, in a folder of their own.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::User;
use crate::net::{CONGESTION, Outcome, free_port};
use crate::process::{Child, Process};
use crate::relay::Driver;
use crate::tls::{Files, HOST};

/// The sysctl that the gateway's and nginx's sockets follow; ours are set one by one.
const CONGESTION_SYSCTL: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// Key ring of generated configurations. It guards nothing but patterns.
const KEY_RING: &str = "format = \"sealgate-keyring/1\"\ncurrent = 1\n\n[[version]]\nid = 1\n\
created = 2026-01-01\nkey = \"YmVuY2gga2V5IG9mIHRoaXJ0eS10d28gYnl0ZXMgISE=\"\n";

/// A folder for configurations and logs, removed with everything in it when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Below `parent`, or below the system's folder for such things.
    pub(crate) fn new(parent: Option<&Path>) -> Outcome<Folder> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = parent.join(format!("sealgate-bench-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// Sets the system's congestion control while it lives, when it may; says so when it may not.
pub(crate) struct Congestion {
    before: Option<String>,
}

impl Congestion {
    /// Every socket made from now on, by any process here, uses [`CONGESTION`].
    pub(crate) fn set() -> Congestion {
        let before = fs::read_to_string(CONGESTION_SYSCTL).unwrap_or_default();
        if before.trim() == CONGESTION {
            return Congestion { before: None };
        }
        match fs::write(CONGESTION_SYSCTL, CONGESTION) {
            Ok(()) => Congestion {
                before: Some(before.trim().to_owned()),
            },
            Err(e) => {
                eprintln!(
                    "warning: net.ipv4.tcp_congestion_control stays {}: {e}; the gateway and nginx \
                     are measured with it, the floors with {CONGESTION}",
                    before.trim()
                );
                Congestion { before: None }
            }
        }
    }
}

impl Drop for Congestion {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(e) = fs::write(CONGESTION_SYSCTL, before)
        {
            eprintln!(
                "warning: net.ipv4.tcp_congestion_control was {before} and cannot be restored: {e}"
            );
        }
    }
}

/// A null store with more arguments.
pub(crate) fn null_store(keep: &str, more: &[String]) -> Outcome<Child> {
    let mut args: Vec<String> = ["null-store", "--listen", "127.0.0.1:0", "--keep", keep]
        .map(Into::into)
        .into();
    args.extend_from_slice(more);
    Child::instrument("null store", &args)
}

/// How a gateway is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What it stands before.
    pub(crate) store: SocketAddr,
    /// As whom it goes there.
    pub(crate) store_user: User,
    /// How it asks the kernel.
    pub(crate) driver: Driver,
    /// Its threads.
    pub(crate) cores: usize,
    /// TLS to clients and to the store with this certificate; to neither otherwise.
    pub(crate) tls: Option<Files>,
    /// Open files that it may have, if not as many as we.
    pub(crate) files: Option<usize>,
    /// From when on its store is far: stores here are near, however late a busy machine has them answer.
    pub(crate) far: &'static str,
}

impl Settings {
    /// Without TLS.
    pub(crate) fn new(store: SocketAddr, driver: Driver, cores: usize) -> Settings {
        Settings {
            store,
            store_user: User::of_bench(),
            driver,
            cores,
            tls: None,
            files: None,
            far: "1m",
        }
    }
}

/// The gateway, without an access log, as nginx is too.
pub(crate) fn gateway(
    name: &str,
    binary: &Path,
    folder: &Folder,
    settings: &Settings,
) -> Outcome<Child> {
    let ring = folder.file("keys.ring");
    if !ring.exists() {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&ring)?;
        file.write_all(KEY_RING.as_bytes())?;
    }
    let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let config = folder.file(&format!("{name}.toml"));
    fs::write(&config, configuration(addr, free_port()?, settings, &ring))?;
    // It may hold a secret, and the gateway insists.
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;
    let mut command = Command::new(binary);
    command.args(["serve", "--config"]).arg(&config);
    let child = Child::server(name, command, addr, &folder.file(&format!("{name}.log")))?;
    if let Some(files) = settings.files {
        limit_files(child.process(), files)?;
    }
    Ok(child)
}

/// Lets this process have so many open files.
pub(crate) fn allow_files(files: usize) -> Outcome<()> {
    limit_files(Process::new(std::process::id()), files)
}

/// Raises a limit through `prlimit`, which is part of every Linux: there is no safe way in Rust.
fn limit_files(process: Process, files: usize) -> Outcome<()> {
    let output = Command::new("prlimit")
        .args([
            "--pid",
            &process.id().to_string(),
            &format!("--nofile={files}:"),
        ])
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!(
        "{files} open files are needed (ulimit -Hn): {}",
        said.trim()
    )
    .into())
}

fn configuration(addr: SocketAddr, admin: u16, settings: &Settings, ring: &Path) -> String {
    let Settings {
        store, cores, far, ..
    } = settings;
    let User {
        access_key,
        secret_key,
        region,
    } = User::of_bench();
    let User {
        access_key: store_key,
        secret_key: store_secret,
        ..
    } = &settings.store_user;
    let driver = settings.driver.name();
    let ring = ring.display();
    let (mut listen, mut endpoint) = (String::new(), format!("endpoint = \"http://{store}\""));
    if let Some(files) = &settings.tls {
        let (cert, key) = (files.cert.display(), files.key.display());
        listen = format!("tls.cert = \"{cert}\"\ntls.key = \"{key}\"");
        let port = store.port();
        endpoint = format!("endpoint = \"https://{HOST}:{port}\"\nca_file = \"{cert}\"");
    }
    format!(
        r#"[listen]
s3 = "{addr}"
admin = "127.0.0.1:{admin}"
{listen}

[runtime]
cores = {cores}
driver = "{driver}"

[log]
access = "off"

[backend]
type = "s3"
{endpoint}
region = "{region}"
access_key = "{store_key}"
secret_key = "{store_secret}"
path_style = true
payload = "unsigned"
far = "{far}"

[keys.bench]
provider = "file"
path = "{ring}"

[[buckets]]
match = "*"
key = "bench"

[[credentials]]
access_key = "{access_key}"
secret_key = "{secret_key}"
allow = [{{ bucket = "*", actions = ["*"] }}]

[anonymous]
allow = [{{ bucket = "*", actions = ["read"] }}]
"#
    )
}

/// nginx before `store`: one worker, keep-alive on both sides, no logs, buffers of so many KiB.
pub(crate) fn nginx(folder: &Folder, store: SocketAddr, buffer: usize) -> Outcome<Child> {
    let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let name = format!("nginx-{buffer}");
    let config = folder.file(&format!("{name}.conf"));
    let temp = folder.file(&name);
    let busy = 2 * buffer;
    fs::create_dir_all(&temp)?;
    let temp = temp.display();
    fs::write(
        &config,
        format!(
            "daemon off; worker_processes 1; pid {temp}/pid; error_log {temp}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000;\n  \
             client_max_body_size 0; client_body_temp_path {temp}/b; proxy_temp_path {temp}/p;\n  \
             fastcgi_temp_path {temp}/f; uwsgi_temp_path {temp}/u; scgi_temp_path {temp}/s;\n  \
             upstream store {{ server {store}; keepalive 128; keepalive_requests 100000000; }}\n  \
             server {{\n    listen {addr};\n    location / {{\n      proxy_pass http://store;\n      \
             proxy_http_version 1.1; proxy_set_header Connection \"\";\n      \
             proxy_set_header Host $http_host;\n      \
             proxy_request_buffering off; proxy_max_temp_file_size 0;\n      \
             proxy_buffers 8 {buffer}k; proxy_buffer_size {buffer}k; \
             proxy_busy_buffers_size {busy}k;\n      \
             client_body_buffer_size {buffer}k;\n    }}\n  }}\n}}\n"
        ),
    )?;
    let mut command = Command::new("nginx");
    command
        .arg("-c")
        .arg(&config)
        .arg("-p")
        .arg(folder.file(""));
    Child::server(&name, command, addr, &folder.file(&format!("{name}.log"))).map_err(|e| {
        format!("{e}\nnginx is one of the contenders: apt-get install nginx-light, or --no-nginx")
            .into()
    })
}

/// The gateway's binary: what was given, or what `cargo build --release` makes.
pub(crate) fn gateway_binary(given: Option<&Path>) -> Outcome<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("sealgate");
    let path = given.map_or(beside, Path::to_owned);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{} is missing: build it with `cargo build --release -p sealgate`, or pass --gateway PATH",
        path.display()
    )
    .into())
}
