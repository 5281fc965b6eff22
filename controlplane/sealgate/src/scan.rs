//! Commands that go through a bucket's objects: a core without a listener, the pages, and what is in flight.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use sealgate_aead::Secret;
use sealgate_backend::Store;
use sealgate_backend::s3::Unkept;
use sealgate_backend::types::{ListRequest, Location, VersionsRequest};
use sealgate_config::{Config, LogTarget};
use sealgate_gateway::Core;
use sealgate_kms::{GeneratedKek, Keys, Provider, ProviderFuture, RewrappedKek};
use sealgate_s3::route::RawKey;
use sealgate_s3::xml::{Contents, VersionEntry};
use sealgate_telemetry::{AccessLog, AuditLog};
use sealgate_uring::{StoreConnector, sleep, start};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::audit::Writer;
use crate::dataplane::{Plan, StorePlan, open_core};
use crate::{keys, plan, serve};

/// Objects of one listing.
const PAGE: usize = 1000;
/// How often somebody who waits for messages looks up.
const TICK: Duration = Duration::from_millis(100);
/// Exit status of a program that was told twice to end.
const INTERRUPTED: i32 = 130;

/// A core of a command's own.
pub(crate) type CommandCore = Core<StoreConnector>;

/// A configuration opened for a command: everything but the listener.
pub(crate) struct Opened {
    pub(crate) runtime: Runtime,
    pub(crate) plan: Plan,
    /// Calls at key providers so far.
    pub(crate) key_calls: Arc<AtomicU64>,
    /// Set by SIGINT or SIGTERM: end between two objects.
    pub(crate) stop: Arc<AtomicBool>,
    audit: AuditLog,
    audit_writer: Writer,
}

/// Opens what a configuration names, and listens for signals. `audit` is where uses of keys are recorded, instead of
/// what the configuration says.
pub(crate) fn open(config: &Config, audit: Option<&Path>) -> Result<Opened, String> {
    let mut log = config.log.clone();
    if let Some(path) = audit {
        log.audit = LogTarget::File(path.to_owned());
    }
    if log.audit == LogTarget::Stdout {
        return Err(
            "[log] audit = \"stdout\": the report has the standard output for itself, and no use of a key may go \
             unrecorded. Name a file with --audit FILE, for example --audit /dev/stderr"
                .into(),
        );
    }
    let runtime = serve::control_runtime()?;
    let key_calls = Arc::default();
    let keys = counted(keys::open(config, runtime.handle())?, &key_calls);
    let (audit, audit_writer) = crate::audit::start(&log)?;
    let mut plan = plan::make_with(
        config,
        keys,
        runtime.handle(),
        AccessLog::off(),
        audit.clone(),
    )?
    .plan;
    plan.runtime.cores = 1;
    if let StorePlan::S3(s3) = &mut plan.store {
        // A command finds out by itself what the store keeps: a check from here in its place would mislead it.
        s3.options.unkept = Unkept::Sent;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(|e| format!("signals cannot be received: {e}"));
        let (mut interrupt, mut terminate) = (
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
        );
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if told.swap(true, Ordering::AcqRel) {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
        Ok::<(), String>(())
    })?;
    Ok(Opened {
        runtime,
        plan,
        key_calls,
        stop,
        audit,
        audit_writer,
    })
}

impl Opened {
    /// Runs `job` on a core. What it sends goes to `heard`, which is also called about every [`TICK`] without a message.
    pub(crate) fn run<M, J, F>(self, job: J, mut heard: impl FnMut(Option<M>)) -> Result<(), String>
    where
        M: Send + 'static,
        J: FnOnce(Rc<CommandCore>, Sender<M>) -> F + Send + 'static,
        F: Future<Output = Result<(), String>> + 'static,
    {
        let (tell, messages) = channel();
        let (end, ended) = channel();
        let config = self.plan.runtime.clone();
        // A core's main function may be called for several cores; here there is one.
        let once = Mutex::new(Some((self.plan, job, tell, end)));
        let cores = start(&config, move |context| {
            let taken = once.lock().ok().and_then(|mut once| once.take());
            async move {
                let Some((plan, job, tell, end)) = taken else {
                    return;
                };
                let outcome = match open_core(&plan, None, Arc::default(), context.drain) {
                    Ok(core) => job(core, tell).await,
                    Err(e) => Err(e.to_string()),
                };
                let _ = end.send(outcome);
            }
        })
        .map_err(|e| e.to_string())?;
        listen(&messages, &mut heard);
        let outcome = ended
            .recv()
            .unwrap_or_else(|_| Err("the command's core ended unexpectedly".into()));
        cores.join().map_err(|e| e.to_string())?;
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        self.audit_writer.end(self.audit);
        outcome
    }
}

fn listen<M>(messages: &Receiver<M>, heard: &mut impl FnMut(Option<M>)) {
    loop {
        match messages.recv_timeout(TICK) {
            Ok(message) => heard(Some(message)),
            Err(RecvTimeoutError::Timeout) => heard(None),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Which objects.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    /// Only those that are listed after this key.
    pub(crate) after: String,
}

/// The objects of a scope, page by page.
pub(crate) struct Pages {
    scope: Scope,
    request: ListRequest,
    last: Option<Bytes>,
    ended: bool,
}

impl Pages {
    pub(crate) fn new(scope: Scope) -> Self {
        let request = ListRequest {
            prefix: Bytes::from(scope.prefix.clone()),
            start_after: Bytes::from(scope.after.clone()),
            max_keys: PAGE,
            ..ListRequest::default()
        };
        Self {
            scope,
            request,
            last: None,
            ended: false,
        }
    }

    /// The next page; `None` after the last.
    pub(crate) async fn next(
        &mut self,
        core: &CommandCore,
    ) -> Result<Option<Vec<Contents>>, String> {
        if self.ended {
            return Ok(None);
        }
        let page = core
            .store
            .list(&self.scope.bucket, &self.request)
            .await
            .map_err(|e| format!("the bucket {} cannot be listed: {e}", self.scope.bucket))?;
        let last = page.objects.last().map(|o| o.key.clone());
        if page.next.is_some() && page.next == self.request.continuation
            || last.is_some() && last == self.last
        {
            return Err(format!(
                "the store lists the same page of {} again and again",
                self.scope.bucket
            ));
        }
        self.last = last;
        self.ended = page.next.is_none();
        self.request.start_after = Bytes::new();
        self.request.continuation = page.next;
        Ok(Some(page.objects))
    }
}

/// Every version of the objects of a scope, page by page; no delete markers.
pub(crate) struct VersionPages {
    bucket: String,
    request: VersionsRequest,
    ended: bool,
}

impl VersionPages {
    pub(crate) fn new(scope: &Scope) -> Self {
        Self {
            bucket: scope.bucket.clone(),
            request: VersionsRequest {
                prefix: scope.prefix.clone().into(),
                ..VersionsRequest::default()
            },
            ended: false,
        }
    }

    /// The next page; `None` after the last, and where the store has no versions.
    pub(crate) async fn next(
        &mut self,
        core: &CommandCore,
    ) -> Result<Option<Vec<VersionEntry>>, String> {
        let Store::S3(s3) = &core.store else {
            return Ok(None);
        };
        if self.ended {
            return Ok(None);
        }
        let mut page = s3
            .list_versions(&self.bucket, &self.request)
            .await
            .map_err(|e| format!("the versions of {} cannot be listed: {e}", self.bucket))?;
        if page.next.is_some() && page.next == self.request.after {
            return Err(format!(
                "the store lists the same page of versions of {} again and again",
                self.bucket
            ));
        }
        self.ended = page.next.is_none();
        self.request.after = page.next;
        page.versions.retain(|version| !version.is_delete_marker);
        Ok(Some(page.versions))
    }
}

/// How fast.
pub(crate) struct Pace<'p> {
    /// Objects at a time.
    pub(crate) concurrency: usize,
    /// Objects in a second.
    pub(crate) rate: Option<f64>,
    /// End between two objects.
    pub(crate) stop: &'p AtomicBool,
}

/// Calls `visit` for each entry of all pages with its number in the listing, several at a time.
pub(crate) async fn each<T, F: Future<Output = ()>>(
    mut next: impl AsyncFnMut() -> Result<Option<Vec<T>>, String>,
    pace: &Pace<'_>,
    visit: impl Fn(u64, T) -> F,
) -> Result<(), String> {
    let gap = pace.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let mut due = Instant::now();
    let mut running = FuturesUnordered::new();
    let mut number = 0;
    'pages: while let Some(page) = next().await? {
        for entry in page {
            while running.len() >= pace.concurrency.max(1) {
                running.next().await;
            }
            while let Some(wait) = gap.and_then(|_| due.checked_duration_since(Instant::now())) {
                let pause = pin!(sleep(wait.max(Duration::from_millis(1))));
                match running.is_empty() {
                    true => pause.await,
                    false => match select(pause, running.next()).await {
                        Either::Left(_) | Either::Right(_) => {}
                    },
                }
            }
            if pace.stop.load(Ordering::Acquire) {
                break 'pages;
            }
            if let Some(gap) = gap {
                // What was not used is not made up for: the rate is a limit at every moment.
                due = due.max(Instant::now()) + gap;
            }
            running.push(visit(number, entry));
            number += 1;
        }
    }
    while running.next().await.is_some() {}
    Ok(())
}

/// Where a listed object lies.
pub(crate) fn location(bucket: &str, key: &Bytes) -> Result<Location, String> {
    Ok(Location {
        bucket: bucket.to_owned(),
        key: RawKey::new(key.clone()).map_err(|e| e.to_string())?,
        version: None,
    })
}

/// The same keys, every call counted.
fn counted(mut keys: Keys, calls: &Arc<AtomicU64>) -> Keys {
    for key in keys.values_mut() {
        for endpoint in &mut key.endpoints {
            endpoint.provider = Arc::new(Counted {
                inner: Arc::clone(&endpoint.provider),
                calls: Arc::clone(calls),
            });
        }
    }
    keys
}

struct Counted {
    inner: Arc<dyn Provider>,
    calls: Arc<AtomicU64>,
}

impl Counted {
    fn count(&self) -> &dyn Provider {
        self.calls.fetch_add(1, Ordering::Relaxed);
        &*self.inner
    }
}

impl Provider for Counted {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn generate(&self) -> ProviderFuture<'_, GeneratedKek> {
        self.count().generate()
    }

    fn unwrap<'a>(&'a self, version: &'a str, wrapped: &'a [u8]) -> ProviderFuture<'a, Secret<32>> {
        self.count().unwrap(version, wrapped)
    }

    fn rewrap<'a>(
        &'a self,
        version: &'a str,
        wrapped: &'a [u8],
    ) -> ProviderFuture<'a, RewrappedKek> {
        self.count().rewrap(version, wrapped)
    }

    fn newest_version(&self) -> ProviderFuture<'_, Option<String>> {
        self.count().newest_version()
    }
}
