//! What concerns a whole process is tried in a child: this test binary again, running one test alone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use sealgate_uring::{
    ActiveDriver, Driver, DriverError, Transport, blocking, detect, join, sleep, spawn, start,
};

use crate::support::{drivers, listen, one_core};

const CHILD: &str = "SEALGATE_URING_TEST_CHILD";

/// Runs the test `name` of this binary in a child. Returns false in the parent, when the child has passed, and true
/// in the child.
fn in_child(name: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// Answers EPERM to io_uring_setup, io_uring_enter and io_uring_register (425 to 427) on this thread and those it
/// starts, as the seccomp profiles of container runtimes do.
fn refuse_io_uring() {
    let load_number = libc::sock_filter {
        code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: std::mem::offset_of!(libc::seccomp_data, nr) as u32,
    };
    let below = libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16,
        jt: 0,
        jf: 2,
        k: 425,
    };
    let above = libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16,
        jt: 1,
        jf: 0,
        k: 427,
    };
    let answer = |k| libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let mut program = [
        load_number,
        below,
        above,
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: no new privileges for this thread: needed to install a filter without being root.
    let privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(privileges, 0);
    // SAFETY: the kernel copies the program, which is well-formed and alive.
    let set = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn runs_on_epoll_where_io_uring_is_refused() {
    if !in_child("process::runs_on_epoll_where_io_uring_is_refused") {
        return;
    }
    refuse_io_uring();
    assert_eq!(detect(Driver::Auto).unwrap(), ActiveDriver::Epoll);
    let refused = detect(Driver::IoUring).unwrap_err();
    assert!(matches!(&refused, DriverError::Refused(e) if e.raw_os_error() == Some(libc::EPERM)));
    assert!(refused.to_string().contains("seccomp"), "{refused}");
    let refused = start(&one_core(Driver::IoUring), |_| async {})
        .err()
        .unwrap();
    assert!(
        refused.to_string().contains("io_uring is refused"),
        "{refused}"
    );

    let cores = start(&one_core(Driver::Auto), |_| async {
        let (listener, addr) = listen();
        let client = blocking(move || {
            let mut conn = TcpStream::connect(addr).unwrap();
            conn.write_all(b"hello").unwrap();
            let mut got = [0; 5];
            conn.read_exact(&mut got).map(|()| got)
        });
        let server = async {
            let mut conn = listener.accept().await.unwrap();
            let (_, buf) = conn.read_buf(Vec::with_capacity(100)).await;
            conn.write_buf(buf).await.0.unwrap();
        };
        let ((), got) = join(server, client).await;
        assert_eq!(&got.unwrap(), b"hello");
    })
    .unwrap();
    assert_eq!(cores.driver(), ActiveDriver::Epoll);
    cores.join().unwrap();
}

fn limit_descriptors(to: libc::rlim_t) {
    let limit = libc::rlimit {
        rlim_cur: to,
        rlim_max: 4096,
    };
    // SAFETY: sets a limit of this process from a valid structure.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0);
}

#[test]
fn accepting_goes_on_after_running_out_of_descriptors() {
    if !in_child("process::accepting_goes_on_after_running_out_of_descriptors") {
        return;
    }
    limit_descriptors(4096);
    for driver in drivers() {
        let cores = start(&one_core(driver), |_| async {
            let (listener, addr) = listen();
            let free = std::fs::File::open("/dev/null").unwrap();
            let next = std::os::fd::AsRawFd::as_raw_fd(&free) as libc::rlim_t;
            // Connected before the limit, accepted after: not one descriptor is left.
            let mut client = TcpStream::connect(addr).unwrap();
            limit_descriptors(next + 1);
            spawn(async move {
                sleep(Duration::from_millis(200)).await;
                limit_descriptors(4096);
            });
            let begun = std::time::Instant::now();
            let mut conn = listener.accept().await.unwrap();
            assert!(
                begun.elapsed() >= Duration::from_millis(200),
                "there was none to be had"
            );
            client.write_all(b"still here").unwrap();
            assert_eq!(
                conn.read_buf(Vec::with_capacity(100)).await.1,
                b"still here"
            );
        })
        .unwrap();
        cores.join().unwrap();
    }
}

fn descriptors() -> Vec<std::path::PathBuf> {
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    all.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .collect()
}

#[test]
fn cores_that_ended_leave_no_descriptors_behind() {
    if !in_child("process::cores_that_ended_leave_no_descriptors_behind") {
        return;
    }
    for driver in drivers() {
        let before = descriptors();
        for _ in 0..20 {
            let cores = start(&one_core(driver), |_| async {
                let (listener, addr) = listen();
                let client = TcpStream::connect(addr).unwrap();
                let mut conn = listener.accept().await.unwrap();
                // In the middle of a read, with a peer that stays.
                spawn(async move {
                    let (result, _) = conn.read_buf(Vec::with_capacity(100)).await;
                    assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
                });
                spawn(async move { while listener.accept().await.is_ok() {} });
                sleep(Duration::from_millis(5)).await;
                std::mem::forget(client);
            })
            .unwrap();
            cores.join().unwrap();
        }
        // The forgotten clients.
        let left = descriptors();
        assert!(left.len() <= before.len() + 20, "{driver:?}: {left:?}");
    }
}
