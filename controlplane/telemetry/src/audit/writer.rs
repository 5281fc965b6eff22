//! The writing end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{AuditEvent, Queued, State};

/// Bytes that are written at a time.
const BATCH: usize = 64 << 10;
/// How often an idle writer looks whether the file is to be opened anew.
const IDLE: Duration = Duration::from_millis(250);
/// At most this much time passes between a line's writing and its reaching the disk.
const SYNC: Duration = Duration::from_secs(1);
/// Between attempts to write: at first, and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long an output that cannot be written is tried once the process ends.
const LAST_CHANCE: Duration = Duration::from_secs(3);

/// Where lines go.
pub trait AuditOutput: Send {
    /// Writes some of the bytes, and says how many.
    ///
    /// # Errors
    /// The system's.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Waits until everything written is on disk.
    ///
    /// # Errors
    /// The system's.
    fn sync(&mut self) -> io::Result<()>;
    /// Starts anew at the same place; true when that may be another file than before.
    ///
    /// # Errors
    /// The system's; the old place stays.
    fn reopen(&mut self) -> io::Result<bool>;
}

/// A file that is appended to, readable by its owner only.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    file: File,
}

impl AuditFile {
    /// Opens or creates it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        if ends_within_a_line(path) {
            file.write_all(b"\n")?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }
}

/// A process that was killed while the disk was full may have left the beginning of a line: the next one must not be
/// glued to it.
fn ends_within_a_line(path: &Path) -> bool {
    let last = || {
        // Of what is no file, like a pipe, nothing may be read here.
        if !std::fs::metadata(path)?.is_file() {
            return Ok(b'\n');
        }
        let mut file = File::open(path)?;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok::<u8, io::Error>(last[0])
    };
    last().is_ok_and(|last| last != b'\n')
}

impl AuditOutput for AuditFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.file.sync_data() {
            // A pipe or a device: there is no disk to wait for.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    fn reopen(&mut self) -> io::Result<bool> {
        *self = Self::open(&self.path)?;
        Ok(true)
    }
}

/// Standard output.
#[derive(Debug)]
pub struct AuditStdout(File);

impl AuditStdout {
    /// A handle of its own, since the library's would keep what a failed write has not sent.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
        let handle = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self(handle.into()))
    }
}

impl AuditOutput for AuditStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The access log may write there too, and its lines are not to end up inside of these.
        let mut others = io::stdout().lock();
        others.flush()?;
        self.0.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

/// The writer: [`AuditWriter::run`] belongs on a thread of its own.
pub struct AuditWriter<O> {
    events: Receiver<Queued>,
    state: Arc<State>,
    output: O,
    /// Names this process's lines.
    run: String,
    /// Number of the next event.
    next: u64,
    /// Losses that a line has told of.
    told: u64,
    /// Lines on their way, and how many of their bytes are written.
    pending: Vec<u8>,
    sent: usize,
    /// Events among the pending lines.
    events_pending: u64,
    unsynced: bool,
    /// What was written may not be on disk.
    sync_failed: bool,
    last_sync: Instant,
}

impl<O: AuditOutput> AuditWriter<O> {
    pub(super) fn new(events: Receiver<Queued>, state: Arc<State>, output: O) -> Self {
        Self {
            events,
            state,
            output,
            run: run_name(),
            next: 1,
            told: 0,
            pending: Vec::with_capacity(BATCH),
            sent: 0,
            events_pending: 0,
            unsynced: false,
            sync_failed: false,
            last_sync: Instant::now(),
        }
    }

    /// Writes events as they come, until every [`super::AuditLog`] is gone. Returns how many were lost in all.
    pub fn run(mut self) -> u64 {
        self.mark("start");
        let mut open = self.flush();
        while open {
            self.reopen_if_told();
            match self.events.recv_timeout(IDLE) {
                Ok(event) => {
                    self.line(&event);
                    while self.pending.len() < BATCH {
                        let Ok(event) = self.events.try_recv() else {
                            break;
                        };
                        self.line(&event);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.tell_losses();
                    self.mark("end");
                    self.flush();
                    break;
                }
            }
            self.tell_losses();
            open = self.flush();
            self.sync_if_due();
        }
        // What an output that never came back has not taken.
        let left = self.events_pending + self.events.try_iter().count() as u64;
        self.state.lost.fetch_add(left, Ordering::Relaxed);
        let _ = self.output.sync();
        self.state.lost.load(Ordering::Relaxed)
    }

    fn line(&mut self, (at, event): &Queued) {
        let line = Line::of(&self.run, self.next, *at, event);
        line.put(&mut self.pending);
        self.next += 1;
        self.events_pending += 1;
    }

    /// A line about the log itself.
    fn mark(&mut self, event: &'static str) {
        let line = Line::about(&self.run, self.next, OffsetDateTime::now_utc(), event);
        line.put(&mut self.pending);
        self.next += 1;
    }

    /// A line about events that were lost; it takes as many numbers as they would have had.
    fn tell_losses(&mut self) {
        let lost = self.state.lost.load(Ordering::Relaxed);
        if lost == self.told {
            return;
        }
        let count = lost - self.told;
        let mut line = Line::about(&self.run, self.next, OffsetDateTime::now_utc(), "lost");
        line.count = Some(count);
        line.put(&mut self.pending);
        self.next += count;
        self.told = lost;
    }

    /// Writes what is pending, however long that takes: the queue holds what comes meanwhile. False when the process
    /// ends and the output does not come back.
    fn flush(&mut self) -> bool {
        let mut pause = PAUSE;
        let mut give_up = None;
        while self.sent < self.pending.len() {
            match self.output.write(&self.pending[self.sent..]) {
                Ok(0) => self.failed(&io::Error::from(io::ErrorKind::WriteZero)),
                Ok(n) => {
                    self.sent += n;
                    self.unsynced = true;
                    if !self.sync_failed && self.state.failing.swap(false, Ordering::Relaxed) {
                        tracing::info!("the audit log is written again");
                    }
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => self.failed(&e),
            }
            if self.state.closing.load(Ordering::Acquire) {
                let until = *give_up.get_or_insert_with(|| Instant::now() + LAST_CHANCE);
                if Instant::now() >= until {
                    return false;
                }
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.reopen_if_told();
        }
        self.pending.clear();
        self.sent = 0;
        let written = std::mem::take(&mut self.events_pending);
        self.state.written.fetch_add(written, Ordering::Relaxed);
        true
    }

    fn failed(&self, error: &io::Error) {
        if !self.state.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(error = %error, "the audit log cannot be written; events wait, and are lost when too many do");
        }
    }

    fn reopen_if_told(&mut self) {
        if !self.state.reopen.swap(false, Ordering::AcqRel) {
            return;
        }
        self.sync();
        match self.output.reopen() {
            Ok(true) => {
                // A line that is cut short in the old file comes whole in the new one.
                let whole = self.pending[..self.sent].iter().rposition(|b| *b == b'\n');
                self.sent = whole.map_or(0, |at| at + 1);
            }
            Ok(false) => {}
            Err(e) => {
                tracing::error!(error = %e, "the audit log cannot be opened anew; the old file stays");
            }
        }
    }

    fn sync_if_due(&mut self) {
        if self.last_sync.elapsed() >= SYNC {
            self.sync();
        }
    }

    fn sync(&mut self) {
        self.last_sync = Instant::now();
        if !self.unsynced {
            return;
        }
        match self.output.sync() {
            Ok(()) => {
                self.unsynced = false;
                if std::mem::take(&mut self.sync_failed) {
                    self.state.failing.store(false, Ordering::Relaxed);
                    tracing::info!("the audit log is brought to disk again");
                }
            }
            // Tried again in a second. What failed once may be gone from the kernel's memory all the same.
            Err(e) => {
                self.state.failing.store(true, Ordering::Relaxed);
                if !std::mem::replace(&mut self.sync_failed, true) {
                    tracing::error!(error = %e, "the audit log could not be brought to disk: its last lines may be missing after a loss of power");
                }
            }
        }
    }
}

/// Eight hexadecimal digits that tell this run of the process from others.
fn run_name() -> String {
    let mut bytes = [0; 4];
    // Not for security: without random bytes, the process is told by its number.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        bytes = std::process::id().to_be_bytes();
    }
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A line as it is written.
#[derive(Serialize)]
struct Line<'e> {
    time: String,
    level: &'static str,
    run: &'e str,
    seq: u64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    outcome: &'e str,
    #[serde(skip_serializing_if = "str::is_empty")]
    key: &'e str,
    #[serde(skip_serializing_if = "str::is_empty")]
    key_version: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kek: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
}

impl<'e> Line<'e> {
    fn about(run: &'e str, seq: u64, at: OffsetDateTime, event: &'static str) -> Self {
        Self {
            time: stamp(at),
            level: "audit",
            run,
            seq,
            event,
            count: None,
            version: (event == "start").then_some(env!("CARGO_PKG_VERSION")),
            outcome: "",
            key: "",
            key_version: "",
            kek: None,
            request_id: None,
            access_key: None,
            operation: None,
            bucket: None,
            object: None,
            source: None,
            endpoint: None,
            duration_us: None,
        }
    }

    fn of(run: &'e str, seq: u64, at: OffsetDateTime, event: &'e AuditEvent) -> Self {
        let request = event.request.as_ref();
        let answer = event.answer.as_ref();
        let kek = &event.wrapped_kek;
        Self {
            outcome: event.outcome,
            key: &event.key,
            key_version: &event.key_version,
            kek: (!kek.is_empty())
                .then(|| hex(&digest::digest(&digest::SHA256, kek).as_ref()[..8])),
            request_id: request.map(|r| r.id.as_str()),
            access_key: request.map(|r| r.access_key.as_str()),
            operation: request.map(|r| r.operation),
            bucket: request.map(|r| r.bucket.as_str()),
            object: request.map(|r| r.object.as_str()),
            source: answer.map(|a| a.source),
            endpoint: answer
                .map(|a| a.endpoint.as_str())
                .filter(|e| !e.is_empty()),
            duration_us: answer.map(|a| u64::try_from(a.duration.as_micros()).unwrap_or(u64::MAX)),
            ..Self::about(run, seq, at, event.kind.as_str())
        }
    }

    fn put(&self, to: &mut Vec<u8>) {
        let _ = serde_json::to_writer(&mut *to, self);
        to.push(b'\n');
    }
}

fn stamp(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}
