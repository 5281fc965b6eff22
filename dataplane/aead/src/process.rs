//! What the kernel lets others see of this process.

#![allow(unsafe_code)]

use std::io;

/// Core dumps and debuggers, forbidden: what it takes to allow them again.
#[derive(Debug)]
#[must_use = "they stay forbidden; say so with `keep`"]
pub struct DumpsForbidden {
    core_limit: libc::rlim_t,
}

/// Forbids core dumps and debuggers: nobody but root can then read this process's memory or attach to it, and it ends
/// without a core whatever happens. Holds until the process executes another program.
///
/// # Errors
/// When the kernel refuses, which it does to nobody: both only take rights away.
pub fn forbid_dumps() -> io::Result<DumpsForbidden> {
    set_dumpable(false)?;
    let core_limit = core_limit()?;
    set_core_limit(0)?;
    Ok(DumpsForbidden { core_limit })
}

impl DumpsForbidden {
    /// Forbidden for good.
    pub fn keep(self) {}

    /// Puts things back as they were.
    ///
    /// # Errors
    /// The kernel's.
    pub fn allow_again(self) -> io::Result<()> {
        set_core_limit(self.core_limit)?;
        set_dumpable(true)
    }
}

fn set_dumpable(allowed: bool) -> io::Result<()> {
    // SAFETY: sets a flag of this process; no memory is involved.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_DUMPABLE,
            u64::from(allowed),
            0_u64,
            0_u64,
            0_u64,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn limits() -> io::Result<libc::rlimit> {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes one `rlimit`, which is ours and outlives the call.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limits) };
    if done == 0 {
        Ok(limits)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn core_limit() -> io::Result<libc::rlim_t> {
    limits().map(|l| l.rlim_cur)
}

/// The soft limit: the hard one could not be raised again.
fn set_core_limit(limit: libc::rlim_t) -> io::Result<()> {
    let limits = libc::rlimit {
        rlim_cur: limit,
        ..limits()?
    };
    // SAFETY: reads one `rlimit`, which outlives the call.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limits) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
