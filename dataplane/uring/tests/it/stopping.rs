use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use sealgate_uring::{
    CoreContext, Cores, Listener, RuntimeConfig, TcpConn, Transport, blocking, join, sleep, spawn,
    start,
};

use crate::support::{drivers, on_each_driver, one_core};

/// Answers whatever comes after `think` with `repeat` times the same, idle in between.
async fn serve(mut conn: TcpConn, think: Duration, repeat: usize) {
    loop {
        conn.watch().set_idle(true);
        let (result, buf) = conn.read_buf(Vec::with_capacity(64)).await;
        conn.watch().set_idle(false);
        if !matches!(result, Ok(n) if n > 0) {
            return;
        }
        sleep(think).await;
        if conn.write_buf(buf.repeat(repeat)).await.0.is_err() {
            return;
        }
    }
}

fn server(cfg: &RuntimeConfig, think: Duration, repeat: usize) -> (Cores, SocketAddr) {
    let (tell, told) = mpsc::channel();
    let addr: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let main = move |context: CoreContext| {
        let tell = tell.clone();
        async move {
            let listener = Listener::bind(addr).unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            while let Ok(conn) = listener.accept().await {
                spawn(serve(conn, think, repeat));
            }
            assert!(context.drain.is_draining());
        }
    };
    let cores = start(cfg, main).unwrap();
    (cores, told.recv().unwrap())
}

#[test]
fn draining_closes_the_idle_and_lets_the_busy_finish() {
    for driver in drivers() {
        let (cores, addr) = server(&one_core(driver), Duration::from_millis(900), 1);
        let mut idle = TcpStream::connect(addr).unwrap();
        let mut busy = TcpStream::connect(addr).unwrap();
        busy.write_all(b"work").unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        cores.drain(Duration::from_secs(20));
        assert_eq!(idle.read(&mut [0; 9]).unwrap(), 0);
        assert!(
            begun.elapsed() < Duration::from_millis(800),
            "the idle are closed at once"
        );
        let mut answer = Vec::new();
        busy.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"work", "{driver:?}: answered, then closed");
        assert!(TcpStream::connect(addr).is_err(), "nobody listens");
        cores.join().unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "no longer than it takes"
        );
    }
}

#[test]
fn what_outlasts_the_grace_is_cut() {
    for driver in drivers() {
        let (cores, addr) = server(&one_core(driver), Duration::ZERO, 64 << 20);
        // Asks and never reads: the server is stuck in a write.
        let mut stuck = TcpStream::connect(addr).unwrap();
        stuck.write_all(b"?").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        cores.drain(Duration::from_millis(500));
        cores.join().unwrap();
        let took = begun.elapsed();
        assert!(
            (Duration::from_millis(500)..Duration::from_secs(3)).contains(&took),
            "{driver:?}: {took:?}"
        );
        assert!(
            stuck
                .read_to_end(&mut Vec::new())
                .is_ok_and(|n| n < 64 << 20)
        );
    }
}

#[test]
fn cores_share_a_port() {
    for driver in drivers() {
        let served = Arc::new(Mutex::new(vec![0; 2]));
        let seen = served.clone();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        drop(taken);
        let ready = Arc::new(AtomicUsize::new(0));
        let bound = ready.clone();
        let cfg = RuntimeConfig {
            cores: 2,
            driver,
            pin: true,
            ..RuntimeConfig::default()
        };
        let cores = start(&cfg, move |context| {
            let (seen, bound) = (seen.clone(), bound.clone());
            async move {
                let listener = Listener::bind(addr).unwrap();
                bound.fetch_add(1, Ordering::SeqCst);
                while let Ok(conn) = listener.accept().await {
                    seen.lock().unwrap()[context.core] += 1;
                    spawn(serve(conn, Duration::ZERO, 1));
                }
            }
        })
        .unwrap();
        while ready.load(Ordering::SeqCst) < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..64 {
            let mut conn = TcpStream::connect(addr).unwrap();
            conn.write_all(b"?").unwrap();
            conn.read_exact(&mut [0]).unwrap();
        }
        cores.drain(Duration::ZERO);
        cores.join().unwrap();
        let served = served.lock().unwrap();
        assert_eq!(served.iter().sum::<i32>(), 64);
        assert!(served.iter().all(|n| *n > 0), "{driver:?}: {served:?}");
    }
}

#[test]
fn the_signal_crosses_threads() {
    for driver in drivers() {
        let cores = start(&one_core(driver), |context| async move {
            context.drain.started().await;
        })
        .unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        cores.drain(Duration::from_secs(60));
        cores.join().unwrap();
        assert!(
            begun.elapsed() < Duration::from_millis(500),
            "{driver:?}: {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_task_that_panics_takes_nobody_with_it() {
    on_each_driver(|_| async {
        spawn(async { panic!("one request's trouble") });
        sleep(Duration::from_millis(5)).await;
        let (a, b) = join(async { 1 }, blocking(|| 2)).await;
        assert_eq!(a + b, 3);
    });
}

#[test]
fn a_main_function_that_panics_is_reported() {
    for driver in drivers() {
        let cores = start(&one_core(driver), |_| async {
            panic!("the core's trouble")
        })
        .unwrap();
        assert!(
            cores
                .join()
                .unwrap_err()
                .to_string()
                .contains("sealgate-0 panicked")
        );
    }
}

#[test]
fn joined_futures_wait_together() {
    on_each_driver(|_| async {
        let begun = Instant::now();
        let pause = Duration::from_millis(300);
        join(
            sleep(pause),
            join(sleep(pause), blocking(move || std::thread::sleep(pause))),
        )
        .await;
        assert!(
            (pause..2 * pause).contains(&begun.elapsed()),
            "{:?}",
            begun.elapsed()
        );
    });
}
