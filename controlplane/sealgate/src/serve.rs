//! A running gateway: start, reload, drain, end.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sealgate_aead::{DumpsForbidden, wipe_on_this_thread};
use sealgate_config::{Config, LogTarget};
use sealgate_kms::KeyClient;
use sealgate_telemetry::{AccessLog, AuditLog, CoreMetrics, LogFormat, Process, access_log};
use sealgate_uring::{ActiveDriver, Drain};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::{self, Answers, Mode, Readiness};
use crate::dataplane::{self, DataPlane};
use crate::plan::{self, Made, Reloadable};

/// How often certificates are looked at, besides on SIGHUP.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(60);

/// How often it is looked whether a core has failed to start.
const CORE_CHECK: Duration = Duration::from_millis(250);
/// How long the control plane's tasks may take to end, once the data plane has.
const CONTROL_GRACE: Duration = Duration::from_secs(1);

/// The control plane's runtime: keys, health, metrics.
pub(crate) fn control_runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        // Clients of key services copy secrets into buffers of their own.
        .on_thread_start(wipe_on_this_thread)
        .enable_all()
        .build()
        .map_err(|e| format!("the control plane's runtime cannot be started: {e}"))
}

/// Runs until SIGTERM or SIGINT. `started` is called once clients can connect. `path` is read again on SIGHUP.
pub(crate) fn run(
    config: Config,
    path: Option<&Path>,
    dumps: DumpsForbidden,
    started: impl FnOnce(&DataPlane),
) -> Result<(), String> {
    let format = match config.log.format {
        sealgate_config::LogFormat::Json => LogFormat::Json,
        sealgate_config::LogFormat::Text => LogFormat::Text,
    };
    sealgate_telemetry::init_tracing(format, &config.log.level);
    if config.runtime.core_dumps {
        let allowed = dumps.allow_again();
        allowed.map_err(|e| format!("core dumps cannot be allowed: {e}"))?;
        tracing::warn!("core dumps and debuggers are allowed: they see clients' data");
    } else {
        dumps.keep();
        tracing::debug!("core dumps and debuggers are forbidden");
    }
    let runtime = control_runtime()?;
    let (log, writer) = start_access_log(&config.log.access)?;
    let (audit, audit_writer) = crate::audit::start(&config.log)?;
    let Made {
        keys,
        reloadable,
        plan,
    } = plan::make(&config, runtime.handle(), log.clone(), audit.clone())?;
    let (admin, grace) = (config.listen.admin, config.timeouts.drain);
    // Its secrets are where they are needed; here they would outlive a reload.
    drop(config);
    let plane = dataplane::run(plan).map_err(|e| e.to_string())?;
    let driver = match plane.cores.driver() {
        ActiveDriver::IoUring => "io_uring",
        ActiveDriver::Epoll => "epoll",
    };
    let aead = sealgate_aead::selected().to_string();
    tracing::info!(driver, aead, listen = %plane.listen, cores = plane.metrics.len(), "serving");
    let watched = Arc::new(Watched {
        metrics: plane.metrics.clone(),
        ready: Arc::clone(&plane.ready),
        drain: plane.cores.drain_handle(),
        log: log.clone(),
        audit: audit.clone(),
        keys,
        driver,
        aead,
    });
    let result = runtime.block_on(async {
        if let Some(address) = admin {
            let listener = admin::bind(address).await?;
            tokio::spawn(admin::serve(listener, Arc::clone(&watched)));
        }
        started(&plane);
        until_told(path, &reloadable, &audit, &plane.failed).await
    });
    tracing::info!(grace_seconds = grace.as_secs(), "draining");
    plane.cores.drain(grace);
    runtime.spawn(cut_when_told_again(plane.cores.drain_handle()));
    let joined = plane.cores.join().map_err(|e| e.to_string());
    // The admin tasks hold an end of the log: they go first. Then what is queued is written, and the thread ends.
    drop(watched);
    runtime.shutdown_timeout(CONTROL_GRACE);
    drop(log);
    if let Some(writer) = writer {
        let _ = writer.join();
    }
    audit_writer.end(audit);
    tracing::info!("ended");
    result.and(joined)
}

/// The log, and the thread that writes it, if there is to be one.
fn start_access_log(target: &LogTarget) -> Result<(AccessLog, Option<JoinHandle<()>>), String> {
    let out: Box<dyn Write + Send> = match target {
        LogTarget::Off => return Ok((AccessLog::off(), None)),
        LogTarget::Stdout => Box::new(std::io::stdout()),
        LogTarget::File(path) => {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            Box::new(opened.map_err(|e| format!("the access log {}: {e}", path.display()))?)
        }
    };
    let (log, writer) = access_log();
    let thread = std::thread::Builder::new()
        .name("access-log".into())
        .spawn(move || writer.run(BufWriter::new(out)))
        .map_err(|e| format!("the access log's thread cannot be started: {e}"))?;
    Ok((log, Some(thread)))
}

/// Waits for SIGTERM or SIGINT; reloads on SIGHUP.
async fn until_told(
    path: Option<&Path>,
    reloadable: &Reloadable,
    audit: &AuditLog,
    failed: &AtomicBool,
) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|e| format!("signals cannot be received: {e}"));
    let mut terminate: Signal = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;
    let mut certificates = tokio::time::interval(CERTIFICATE_CHECK);
    let mut cores = tokio::time::interval(CORE_CHECK);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {
                audit.reopen();
                reloadable.reload_certificates();
                if let Some(path) = path {
                    reload(path, reloadable);
                }
            }
            _ = cores.tick() => {
                warn_of_unlocked_keys();
                if failed.load(Ordering::Acquire) {
                    return Err("a core cannot serve; the log says why".into());
                }
            }
            _ = certificates.tick() => reloadable.reload_certificates(),
        }
    }
}

/// Says once that keys may reach swap.
fn warn_of_unlocked_keys() {
    static SAID: AtomicBool = AtomicBool::new(false);
    let memory = sealgate_aead::memory();
    if memory.unlocked > 0 && !SAID.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            unlocked_bytes = memory.unlocked,
            "the kernel refuses to lock memory for keys, so they may reach swap: raise RLIMIT_MEMLOCK (`ulimit -l`, \
             LimitMEMLOCK=) to 1 MiB or more, or run without swap"
        );
    }
}

/// Ends the grace at the next SIGTERM or SIGINT: whoever sends a second one does not want to wait.
async fn cut_when_told_again(drain: Drain) {
    let listen = |kind| signal(kind).ok();
    let (Some(mut terminate), Some(mut interrupt)) = (
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    ) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("told again to end: requests in progress are cut");
    drain.start(Duration::ZERO);
}

/// Takes over a new configuration, or keeps the old one when the new one is not valid.
fn reload(path: &Path, reloadable: &Reloadable) {
    match crate::cli::load(path).and_then(|config| reloadable.replace(&config)) {
        Ok(()) => tracing::info!(path = %path.display(), "the configuration was reloaded"),
        Err(e) => {
            tracing::error!(path = %path.display(), error = %e, "the configuration was not reloaded; the old one stays");
        }
    }
}

/// What health and metrics are told from.
struct Watched {
    metrics: Vec<Arc<CoreMetrics>>,
    ready: Arc<AtomicUsize>,
    drain: Drain,
    log: AccessLog,
    audit: AuditLog,
    keys: KeyClient,
    driver: &'static str,
    aead: String,
}

impl Answers for Watched {
    fn metrics(&self) -> String {
        let memory = sealgate_aead::memory();
        let process = Process {
            log_dropped: self.log.dropped(),
            audit: self.audit.counts(),
            key_memory: memory.mapped,
            key_memory_unlocked: memory.unlocked,
            driver: self.driver,
            aead: &self.aead,
        };
        sealgate_telemetry::render(&self.metrics, &self.keys.report(), &process)
    }

    fn ready(&self, mode: Mode) -> Readiness {
        let trouble = if self.drain.is_draining() {
            Some("draining")
        } else if self.ready.load(Ordering::Acquire) < self.metrics.len() {
            Some("not every core accepts connections")
        } else {
            None
        };
        match trouble {
            Some(trouble) => Readiness {
                ready: false,
                body: format!("{trouble}\n"),
            },
            None => admin::readiness(&self.keys.health(), mode),
        }
    }
}
