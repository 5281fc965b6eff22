//! Pinning threads to CPUs.

use std::mem::{size_of, zeroed};

use super::RuntimeConfig;

/// The CPUs for the cores of `cfg`, one each; none when pinning is not asked for or the process may use fewer CPUs
/// than it has cores.
pub(super) fn cpus(cfg: &RuntimeConfig) -> Vec<usize> {
    if !cfg.pin {
        return Vec::new();
    }
    let allowed = allowed();
    if allowed.len() < cfg.cores {
        tracing::info!(
            cpus = allowed.len(),
            cores = cfg.cores,
            "not pinning: fewer CPUs than cores"
        );
        return Vec::new();
    }
    allowed
}

fn allowed() -> Vec<usize> {
    // SAFETY: a `cpu_set_t` is a bit mask; all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: asks for this thread's mask, into a set of the size given.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return Vec::new();
    }
    // SAFETY: `CPU_ISSET` reads a bit within the set.
    (0..libc::CPU_SETSIZE as usize)
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
        .collect()
}

/// Pins the calling thread.
pub(super) fn to(cpu: usize) {
    // SAFETY: as in `allowed`.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: `cpu` came from `allowed`, so it lies within the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: sets this thread's mask from a set of the size given.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } != 0 {
        tracing::warn!(cpu, error = %std::io::Error::last_os_error(), "cannot pin a core");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_only_when_asked_and_when_there_are_enough() {
        let mut cfg = RuntimeConfig {
            cores: 1,
            ..RuntimeConfig::default()
        };
        assert!(cpus(&cfg).is_empty());
        cfg.pin = true;
        assert_eq!(cpus(&cfg), allowed());
        cfg.cores = allowed().len() + 1;
        assert!(cpus(&cfg).is_empty());
    }

    #[test]
    fn a_pinned_thread_has_one_cpu() {
        let last = *allowed().last().unwrap();
        let seen = std::thread::spawn(move || {
            to(last);
            allowed()
        });
        assert_eq!(seen.join().unwrap(), vec![last]);
    }
}
