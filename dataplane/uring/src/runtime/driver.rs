//! io_uring where the system lets us, epoll where it does not.

use std::io;

use io_uring::{IoUring, Probe, opcode, squeue};
use monoio::time::TimeDriver;
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

/// What to talk to the kernel through.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub enum Driver {
    /// io_uring if the system lets us, else epoll.
    #[default]
    Auto,
    /// io_uring, or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// What the kernel is talked to through.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum ActiveDriver {
    /// io_uring.
    IoUring,
    /// epoll.
    Epoll,
}

impl std::fmt::Display for ActiveDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ActiveDriver::IoUring => "io_uring",
            ActiveDriver::Epoll => "epoll",
        })
    }
}

/// io_uring was asked for and cannot be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum DriverError {
    /// `io_uring_setup` or `io_uring_register` failed.
    Refused(io::Error),
    /// The kernel's io_uring lacks operations that we need (before Linux 5.6).
    TooOld,
}

impl std::fmt::Display for DriverError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DriverError::Refused(e) => {
                let why = match e.raw_os_error() {
                    Some(libc::EPERM | libc::EACCES) => {
                        "; a seccomp filter (as container runtimes install) or the sysctl kernel.io_uring_disabled forbids it"
                    }
                    Some(libc::ENOSYS) => "; the kernel is built without it or older than 5.1",
                    Some(libc::ENOMEM) => "; the limit of locked memory (ulimit -l) is too low for this kernel",
                    _ => "",
                };
                write!(f, "io_uring is refused: {e}{why}; the drivers \"auto\" and \"epoll\" work without it")
            }
            DriverError::TooOld => f.write_str(
                "this kernel's io_uring is too old (Linux 5.6 is needed); the drivers \"auto\" and \"epoll\" work without it",
            ),
        }
    }
}

impl std::error::Error for DriverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DriverError::Refused(e) => Some(e),
            DriverError::TooOld => None,
        }
    }
}

/// The flags of a ring, best first. The pair of `SINGLE_ISSUER` and `DEFER_TASKRUN` (Linux 6.1) is where io_uring
/// wins over epoll on small requests; older kernels answer EINVAL to flags they do not know.
#[derive(Copy, Clone)]
enum Flags {
    Defer,
    Coop,
    None,
}

impl Flags {
    const BEST_FIRST: [Flags; 3] = [Flags::Defer, Flags::Coop, Flags::None];

    fn builder(self, entries: u32) -> io_uring::Builder {
        let mut builder = IoUring::<squeue::Entry>::builder();
        match self {
            Flags::Defer => drop(builder.setup_single_issuer().setup_defer_taskrun()),
            Flags::Coop => drop(builder.setup_coop_taskrun()),
            Flags::None => {}
        }
        // Each connection has an operation or two in flight; completions that do not fit are kept by the kernel,
        // but slowly.
        builder
            .setup_cqsize(entries.saturating_mul(4))
            .setup_clamp();
        builder
    }
}

/// Tries each set of flags until one is known to the kernel.
fn with_best_flags<T>(mut build: impl FnMut(Flags) -> io::Result<T>) -> io::Result<T> {
    let mut refused = None;
    for flags in Flags::BEST_FIRST {
        match build(flags) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => refused = Some(e),
            result => return result,
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into()))
}

/// Really sets up a small ring: versions and capabilities tell nothing about seccomp filters and sysctls.
fn probe() -> Result<(), DriverError> {
    const ENTRIES: u32 = 8;
    let ring = with_best_flags(|flags| flags.builder(ENTRIES).build(ENTRIES))
        .map_err(DriverError::Refused)?;
    let mut known = Probe::new();
    ring.submitter()
        .register_probe(&mut known)
        .map_err(DriverError::Refused)?;
    let needed = [
        opcode::Accept::CODE,
        opcode::AsyncCancel::CODE,
        opcode::Close::CODE,
        opcode::Fsync::CODE,
        opcode::OpenAt::CODE,
        opcode::PollAdd::CODE,
        opcode::Read::CODE,
        opcode::Readv::CODE,
        opcode::Recv::CODE,
        opcode::Send::CODE,
        opcode::Statx::CODE,
        opcode::Timeout::CODE,
        opcode::Write::CODE,
        opcode::Writev::CODE,
    ];
    if needed.iter().all(|op| known.is_supported(*op)) {
        Ok(())
    } else {
        Err(DriverError::TooOld)
    }
}

/// What a runtime with this choice runs on, found by trying.
///
/// # Errors
/// When io_uring is asked for by name and cannot be had; the message says why and what to do.
pub fn detect(driver: Driver) -> Result<ActiveDriver, DriverError> {
    if driver == Driver::Epoll {
        return Ok(ActiveDriver::Epoll);
    }
    match probe() {
        Ok(()) => Ok(ActiveDriver::IoUring),
        Err(e) if driver == Driver::Auto => {
            tracing::info!(reason = %e, "running on epoll");
            Ok(ActiveDriver::Epoll)
        }
        Err(e) => Err(e),
    }
}

pub(crate) type Runtime = FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>;

/// A runtime for this thread: `SINGLE_ISSUER` binds the ring to it.
///
/// This is what monoio's `FusionDriver` builds. It is put together here because `FusionDriver` decides by a trial
/// of its own, without our flags, once per process and not by configuration.
pub(crate) fn build(active: ActiveDriver, entries: u32) -> io::Result<Runtime> {
    match active {
        ActiveDriver::Epoll => Ok(RuntimeBuilder::<LegacyDriver>::new()
            .with_entries(entries)
            .enable_timer()
            .build()?
            .into()),
        ActiveDriver::IoUring => with_best_flags(|flags| {
            let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(entries);
            // The runtime takes 256 entries at least.
            builder
                .uring_builder(flags.builder(entries.max(256)))
                .enable_timer()
                .build()
                .map(Into::into)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_the_kernel_does_not_know_are_left_out() {
        let mut tried = 0;
        let found = with_best_flags(|_| {
            tried += 1;
            if tried < 3 {
                Err(io::Error::from_raw_os_error(libc::EINVAL))
            } else {
                Ok(tried)
            }
        });
        assert_eq!(found.unwrap(), 3);
        let refused = with_best_flags(|_| Err::<(), _>(io::Error::from_raw_os_error(libc::EPERM)));
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM));
        let unknown = with_best_flags(|_| Err::<(), _>(io::Error::from_raw_os_error(libc::EINVAL)));
        assert_eq!(unknown.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let message = DriverError::Refused(io::Error::from_raw_os_error(libc::EPERM)).to_string();
        for part in ["not permitted", "seccomp", "io_uring_disabled", "\"epoll\""] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn epoll_needs_no_trial() {
        assert_eq!(detect(Driver::Epoll).unwrap(), ActiveDriver::Epoll);
    }
}
