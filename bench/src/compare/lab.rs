//! Everything that runs while it is measured, and how a measurement is taken.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::Options;
use super::samples::{Latency, Sample};
use crate::client::User;
use crate::contenders::{self, Folder, Settings};
use crate::load::{self, Verb, generate};
use crate::net::Outcome;
use crate::process::{Child, Process};
use crate::relay::Driver;
use crate::units::GIB;

/// Pause before the books are read, for work that follows an answer.
const SETTLE: Duration = Duration::from_millis(30);

/// Some other S3 proxy: `name=http://host:port,pid[,access-key:secret-key]`.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    pub(crate) process: Process,
    pub(crate) user: User,
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> Result<Contender, String> {
        let wrong = || {
            format!(
                "{text:?} is not name=http://host:port,pid or name=http://host:port,pid,access-key:secret-key"
            )
        };
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let mut parts = rest.splitn(3, ',');
        let url = parts.next().unwrap_or_default();
        let pid = parts
            .next()
            .and_then(|pid| pid.parse().ok())
            .ok_or_else(wrong)?;
        Ok(Contender {
            name: name.to_owned(),
            addr: address(url, wrong)?,
            process: Process::new(pid),
            user: user(parts.next(), wrong)?,
        })
    }
}

/// A store that is none of ours: `http://host:port[,access-key:secret-key]`.
#[derive(Clone, Debug)]
pub(crate) struct RealStore {
    pub(crate) addr: SocketAddr,
    pub(crate) user: User,
}

impl FromStr for RealStore {
    type Err = String;

    fn from_str(text: &str) -> Result<RealStore, String> {
        let wrong = || {
            format!("{text:?} is not http://host:port or http://host:port,access-key:secret-key")
        };
        let (url, keys) = match text.split_once(',') {
            Some((url, keys)) => (url, Some(keys)),
            None => (text, None),
        };
        Ok(RealStore {
            addr: address(url, wrong)?,
            user: user(keys, wrong)?,
        })
    }
}

fn address(url: &str, wrong: impl Fn() -> String) -> Result<SocketAddr, String> {
    let host = url.strip_prefix("http://").ok_or_else(&wrong)?;
    let host = host.trim_end_matches('/');
    let mut addrs = host.to_socket_addrs().map_err(|e| format!("{host}: {e}"))?;
    addrs.next().ok_or_else(wrong)
}

fn user(keys: Option<&str>, wrong: impl Fn() -> String) -> Result<User, String> {
    let mut user = User::of_bench();
    if let Some(keys) = keys {
        let (access, secret) = keys.split_once(':').ok_or_else(wrong)?;
        user.access_key = access.into();
        user.secret_key = secret.into();
    }
    Ok(user)
}

/// The programs.
pub(crate) struct Lab {
    pub(crate) options: Options,
    pub(crate) folder: Folder,
    pub(crate) store: Child,
    /// By driver.
    pub(crate) gateways: Vec<(Driver, Child)>,
    /// By the size of their buffers in KiB.
    pub(crate) nginx: Vec<(usize, Child)>,
}

impl Lab {
    pub(crate) fn new(options: &Options) -> Outcome<Lab> {
        let folder = Folder::new(None)?;
        let store = contenders::null_store("kept", &[])?;
        let mut nginx = Vec::new();
        for buffer in [16, 256] {
            if !options.no_nginx {
                nginx.push((buffer, contenders::nginx(&folder, store.addr(), buffer)?));
            }
        }
        let mut lab = Lab {
            options: options.clone(),
            folder,
            store,
            gateways: Vec::new(),
            nginx,
        };
        for driver in options.drivers.clone() {
            if !options.floors_only {
                let name = format!("gateway-{}", driver.name());
                let gateway = lab.gateway(&name, lab.settings(driver))?;
                lab.gateways.push((driver, gateway));
            }
        }
        Ok(lab)
    }

    /// Of a gateway before the common store.
    pub(crate) fn settings(&self, driver: Driver) -> Settings {
        Settings::new(self.store.addr(), driver, self.options.cores)
    }

    /// Key of a sealed object of so many bytes, which any gateway before the common store can open.
    pub(crate) fn sealed(&self, size: u64) -> Outcome<String> {
        let key = format!("kept-sealed-{size}");
        let to = self.main()?.addr();
        generate(&load::Options::new(Verb::Put, to, &key, size))?;
        Ok(key + "-0")
    }

    /// Key of an object of so many bytes that is not sealed.
    pub(crate) fn plain(&self, size: u64) -> Outcome<String> {
        let key = format!("plain-{size}");
        generate(&load::Options::new(
            Verb::Put,
            self.store.addr(),
            &key,
            size,
        ))?;
        Ok(key + "-0")
    }

    /// One more gateway.
    pub(crate) fn gateway(&self, name: &str, settings: Settings) -> Outcome<Child> {
        let binary: PathBuf = contenders::gateway_binary(self.options.gateway.as_deref())?;
        contenders::gateway(name, &binary, &self.folder, &settings)
    }

    /// What is measured, for the report.
    pub(crate) fn versions(&self) -> Vec<String> {
        let mut programs = Vec::new();
        if let (false, Ok(gateway)) = (
            self.options.floors_only,
            contenders::gateway_binary(self.options.gateway.as_deref()),
        ) {
            programs.push((gateway, "--version"));
        }
        if !self.options.no_nginx {
            programs.push(("nginx".into(), "-v"));
        }
        if let Some(python) = &self.options.python {
            programs.push((python.clone(), "--version"));
        }
        let said = |(program, argument): (PathBuf, &str)| {
            let output = Command::new(program).arg(argument).output().ok()?;
            // nginx speaks through the other one.
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            text.lines().next().map(str::to_owned)
        };
        programs.into_iter().filter_map(said).collect()
    }

    /// The driver that is measured where one is enough.
    pub(crate) fn driver(&self) -> Driver {
        self.options
            .drivers
            .first()
            .copied()
            .unwrap_or(Driver::IoUring)
    }

    /// The gateway with that driver.
    pub(crate) fn main(&self) -> Outcome<&Child> {
        let first = self.gateways.first().map(|(_, gateway)| gateway);
        first.ok_or_else(|| "this needs the gateway".into())
    }

    /// nginx with buffers of so many KiB.
    pub(crate) fn nginx(&self, buffer: usize) -> Option<&Child> {
        self.nginx
            .iter()
            .find(|(b, _)| *b == buffer)
            .map(|(_, nginx)| nginx)
    }
}

/// CPU seconds that a process used while `work` went on, and how long that took.
pub(crate) fn measure<T>(
    process: Process,
    work: impl FnOnce() -> Outcome<T>,
) -> Outcome<(f64, Duration, T)> {
    let before = process.cpu()?;
    let started = Instant::now();
    let done = work()?;
    let elapsed = started.elapsed();
    std::thread::sleep(SETTLE);
    Ok((process.cpu()? - before, elapsed, done))
}

/// CPU seconds per GiB of so many bytes that `work` moves.
pub(crate) fn per_gib<T>(
    process: Process,
    bytes: u64,
    work: impl FnOnce() -> Outcome<T>,
) -> Outcome<Sample> {
    let (cpu, elapsed, _) = measure(process, work)?;
    let gib = bytes as f64 / GIB as f64;
    Ok(Sample {
        cost: cpu / gib,
        rate: Some(gib / elapsed.as_secs_f64()),
        latency: None,
    })
}

/// The same of a load.
pub(crate) fn load_per_gib(process: Process, load: &load::Options) -> Outcome<Sample> {
    let mut moved = 0;
    let (cpu, elapsed, ()) = measure(process, || {
        moved = generate(load)?.bytes;
        Ok(())
    })?;
    let gib = moved as f64 / GIB as f64;
    Ok(Sample {
        cost: cpu / gib,
        rate: Some(gib / elapsed.as_secs_f64()),
        latency: None,
    })
}

/// CPU microseconds per request of a load.
pub(crate) fn load_per_request(process: Process, load: &load::Options) -> Outcome<Sample> {
    let (cpu, _, summary) = measure(process, || generate(load))?;
    Ok(Sample {
        cost: cpu * 1e6 / summary.requests as f64,
        rate: Some(summary.rate()),
        latency: Some(Latency {
            p50: summary.percentile(50.0),
            p99: summary.percentile(99.0),
            max: summary.percentile(100.0),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_and_contenders_are_named_by_url() {
        let store: RealStore = "http://127.0.0.1:8333/".parse().unwrap();
        assert_eq!(store.addr.port(), 8333);
        assert_eq!(store.user.access_key, User::of_bench().access_key);
        let store: RealStore = "http://127.0.0.1:1,a:b:c".parse().unwrap();
        assert_eq!(
            (&*store.user.access_key, &*store.user.secret_key),
            ("a", "b:c")
        );
        let contender: Contender = "x=http://127.0.0.1:2,7,a:b".parse().unwrap();
        assert_eq!((&*contender.name, contender.addr.port()), ("x", 2));
        for bad in [
            "",
            "127.0.0.1:1",
            "https://127.0.0.1:1",
            "http://127.0.0.1:1,a",
            "http://127.0.0.1",
        ] {
            assert!(bad.parse::<RealStore>().is_err(), "{bad}");
            assert!(format!("x={bad},7").parse::<Contender>().is_err(), "{bad}");
        }
    }
}
