//! Starts the data plane: one thread per core, each with its listener, its buffers, its store and its keys.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use sealgate_backend::Store;
use sealgate_backend::fs::FsStore;
use sealgate_backend::s3::{S3Options, S3Store};
use sealgate_gateway::snapshot::Snapshot;
use sealgate_gateway::{Core, CoreParts, serve};
use sealgate_kms::KeyClient;
use sealgate_s3::sigv4::SecretKey;
use sealgate_s3::sigv4::sign::Signer;
use sealgate_telemetry::{AccessLog, AuditLog, CoreMetrics, Gauges, RequestIds};
use sealgate_uring::{
    Cores, Listener, Pool, RuntimeConfig, StoreConnector, TlsAcceptor, sleep, spawn, start,
};
use zeroize::Zeroizing;

/// How often a core reports its gauges.
const REPORT: Duration = Duration::from_millis(500);
/// How long an address in use is waited for.
const CLAIM_PATIENCE: Duration = Duration::from_secs(3);
/// Between attempts.
const CLAIM_PAUSE: Duration = Duration::from_millis(50);
/// Least buffers of a core: four large streams.
const LEAST_BUDGET: usize = 10 << 20;

/// What the data plane is started with.
pub(crate) struct Plan {
    /// Where clients connect.
    pub(crate) listen: SocketAddr,
    /// TLS for clients.
    pub(crate) tls: Option<Arc<TlsAcceptor>>,
    pub(crate) runtime: RuntimeConfig,
    /// Bytes of buffers, all cores together.
    pub(crate) buffer_budget: usize,
    pub(crate) store: StorePlan,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) keys: KeyClient,
    pub(crate) access_log: AccessLog,
    pub(crate) audit: AuditLog,
}

/// The store behind.
pub(crate) enum StorePlan {
    /// A directory.
    Fs(PathBuf),
    /// An S3 store.
    S3(Box<S3Plan>),
}

/// How to reach an S3 store.
pub(crate) struct S3Plan {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) options: S3Options,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret: SecretKey,
    pub(crate) session_token: Option<Zeroizing<String>>,
}

/// The running data plane.
pub(crate) struct DataPlane {
    pub(crate) cores: Cores,
    /// One for each core.
    pub(crate) metrics: Vec<Arc<CoreMetrics>>,
    /// Cores that accept connections.
    pub(crate) ready: Arc<AtomicUsize>,
    /// A core could not be started: the process is to end.
    pub(crate) failed: Arc<AtomicBool>,
    /// Where clients connect, the port filled in.
    pub(crate) listen: SocketAddr,
}

/// Starts the cores.
///
/// # Errors
///
/// When the address cannot be bound, the directory cannot be used, or threads or rings cannot be made.
pub(crate) fn run(plan: Plan) -> io::Result<DataPlane> {
    // Bound here first: a wrong address is an error of start-up, and port 0 becomes one port for all cores.
    let listen = claim(plan.listen)?;
    let directory = match &plan.store {
        StorePlan::Fs(root) => Some(open_directory(root)?),
        StorePlan::S3(_) => None,
    };
    let metrics: Vec<Arc<CoreMetrics>> = (0..plan.runtime.cores).map(|_| Arc::default()).collect();
    let ready = Arc::new(AtomicUsize::new(0));
    let failed = Arc::new(AtomicBool::new(false));
    let runtime = plan.runtime.clone();
    let shared = Arc::new(Shared {
        plan,
        directory,
        listen,
        metrics: metrics.clone(),
        ready: Arc::clone(&ready),
        failed: Arc::clone(&failed),
    });
    let cores = start(&runtime, move |context| {
        let shared = Arc::clone(&shared);
        async move {
            let number = context.core;
            let outcome = match make_core(&shared, number, context.drain) {
                Ok(core) => accept_all(&shared, &core).await,
                Err(e) => Err(e),
            };
            if let Err(e) = outcome {
                tracing::error!(core = number, error = %e, "a core cannot serve");
                shared.failed.store(true, Ordering::Release);
            }
        }
    })?;
    Ok(DataPlane {
        cores,
        metrics,
        ready,
        failed,
        listen,
    })
}

/// What the cores are made from.
struct Shared {
    plan: Plan,
    /// Opened once: the cores share what it knows of the disk.
    directory: Option<FsStore>,
    listen: SocketAddr,
    metrics: Vec<Arc<CoreMetrics>>,
    ready: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
}

fn open_directory(root: &Path) -> io::Result<FsStore> {
    std::fs::create_dir_all(root)
        .and_then(|()| FsStore::open(root))
        .map_err(|e| {
            let what = format!("the directory {} cannot be used: {e}", root.display());
            io::Error::new(e.kind(), what)
        })
}

/// Finds the port, and that the address is free.
///
/// After a kill, the kernel closes the listeners of a process on io_uring a moment after its end, so a restart waits for
/// them a little.
fn claim(listen: SocketAddr) -> io::Result<SocketAddr> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {listen}: {e}"));
    let give_up = Instant::now() + CLAIM_PATIENCE;
    loop {
        // Without SO_REUSEPORT, so that a second process on the same address fails instead of sharing it unnoticed.
        match std::net::TcpListener::bind(listen) {
            Ok(probe) => return probe.local_addr(),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                std::thread::sleep(CLAIM_PAUSE);
            }
            Err(e) => return Err(named(e)),
        }
    }
}

fn make_core(
    shared: &Shared,
    number: usize,
    drain: sealgate_uring::Drain,
) -> io::Result<Rc<Core<StoreConnector>>> {
    let metrics = Arc::clone(&shared.metrics[number]);
    open_core(&shared.plan, shared.directory.as_ref(), metrics, drain)
}

/// One core's parts: its buffers, its store, its keys. It listens nowhere yet.
pub(crate) fn open_core(
    plan: &Plan,
    directory: Option<&FsStore>,
    metrics: Arc<CoreMetrics>,
    drain: sealgate_uring::Drain,
) -> io::Result<Rc<Core<StoreConnector>>> {
    let budget = (plan.buffer_budget / plan.runtime.cores.max(1)).max(LEAST_BUDGET);
    let (store, store_region) = match (&plan.store, directory) {
        (StorePlan::Fs(_), Some(directory)) => (
            Store::Fs(Rc::new(directory.clone())),
            "us-east-1".to_owned(),
        ),
        (StorePlan::Fs(root), None) => (
            Store::Fs(Rc::new(open_directory(root)?)),
            "us-east-1".to_owned(),
        ),
        (StorePlan::S3(s3), _) => {
            let connector =
                StoreConnector::new(&s3.host, s3.port, s3.tls.clone(), s3.connect_timeout);
            let signer = Signer::new(
                s3.access_key.clone(),
                s3.secret.duplicate(),
                s3.session_token.clone(),
                s3.region.clone(),
            );
            (
                Store::S3(S3Store::new(connector, s3.options.clone(), signer)),
                s3.region.clone(),
            )
        }
    };
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(Core::new(CoreParts {
        snapshot: Arc::clone(&plan.snapshot),
        pool: Pool::new(budget),
        store,
        store_region,
        keys: plan.keys.clone(),
        metrics,
        access_log: plan.access_log.clone(),
        audit: plan.audit.clone(),
        ids: RequestIds::new(u64::from_le_bytes(seed)),
        drain,
    }))
}

/// Accepts connections until the listener is closed for draining.
async fn accept_all(shared: &Shared, core: &Rc<Core<StoreConnector>>) -> io::Result<()> {
    let listener = Listener::bind(shared.listen)?;
    shared.ready.fetch_add(1, Ordering::Release);
    spawn(report(Rc::clone(core)));
    while let Ok(conn) = listener.accept().await {
        let core = Rc::clone(core);
        match &shared.plan.tls {
            None => spawn(serve(core, conn)),
            Some(tls) => {
                let tls = Arc::clone(tls);
                spawn(async move {
                    // A handshake that fails is the client's affair; the count of connections shows it.
                    match tls.accept(conn).await {
                        Ok(conn) => serve(core, conn).await,
                        Err(e) => tracing::debug!(error = %e, "a TLS handshake failed"),
                    }
                });
            }
        }
    }
    shared.ready.fetch_sub(1, Ordering::Release);
    Ok(())
}

/// Reports the core's parts to the control plane, and has the core notice a new configuration's keys.
async fn report(core: Rc<Core<StoreConnector>>) {
    while !core.drain.is_draining() {
        let (key_hits, key_misses) = core.keyring.counts();
        let of_store = match &core.store {
            Store::S3(s3) => {
                let c = s3.counters();
                Gauges {
                    store_connects: c.connects.get(),
                    store_retries: c.retries.get(),
                    store_resumes: c.resumes.get(),
                    parallel_reads: c.parallel_reads.get(),
                    parallel_ranges: c.parallel_ranges.get(),
                    parallel_writes: c.parallel_writes.get(),
                    parallel_parts: c.parallel_parts.get(),
                    ..Gauges::default()
                }
            }
            Store::Fs(_) => Gauges::default(),
        };
        core.metrics.set_gauges(Gauges {
            key_hits,
            key_misses,
            buffers_in_use: core.pool.in_use() as u64,
            buffers_budget: core.pool.budget() as u64,
            ..of_store
        });
        core.tidy();
        sleep(REPORT).await;
    }
}
