//! What the kernel lets others see of this process.

#![allow(unsafe_code)]

use std::io;

/// Forbids core dumps and debuggers: nobody but root can then read this process's memory, and it ends without a core
/// whatever happens. Holds for the process until it executes another program.
///
/// # Errors
/// When the kernel refuses, which it does to nobody: both only take rights away.
pub fn forbid_dumps() -> io::Result<()> {
    // SAFETY: sets a flag of this process; no memory is involved.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0_u64, 0_u64, 0_u64, 0_u64) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads the limits from a value that outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
