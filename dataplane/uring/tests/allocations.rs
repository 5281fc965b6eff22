//! In steady state neither reading nor writing allocates, on either driver.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;

use sealgate_uring::{
    ActiveDriver, BlockSize, Driver, Listener, Pool, RuntimeConfig, Spans, Transport, detect, start,
};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything to the system's allocator; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

const ROUNDS: usize = 100;
const WARM_UP: usize = 10;
const LEN: usize = 64 * 16_384;

async fn echo(listener: Listener) {
    let mut conn = listener.accept().await.unwrap();
    let pool = Pool::new(8 << 20);
    let spans = Spans::slots(56, 0, LEN, 16_384, 16_400);
    let mut head = b"head".to_vec();
    let mut before = 0;
    for round in 0..ROUNDS {
        if round == WARM_UP {
            before = ALLOCATIONS.get();
        }
        let [mut block] = pool.try_lease(BlockSize::Large).unwrap();
        let mut rest = spans;
        while !rest.is_empty() {
            let result;
            (result, block) = conn.read(block, rest).await;
            rest.advance(result.unwrap());
        }
        let result;
        (result, head, _) = conn.write_all(head, block, spans).await;
        result.unwrap();
    }
    assert_eq!(
        ALLOCATIONS.get() - before,
        0,
        "allocations in {} MiB",
        ROUNDS - WARM_UP
    );
}

#[test]
fn bulk_transfers_do_not_allocate() {
    let mut drivers = vec![Driver::Epoll];
    if detect(Driver::Auto).unwrap() == ActiveDriver::IoUring {
        drivers.push(Driver::IoUring);
    }
    for driver in drivers {
        let cfg = RuntimeConfig {
            cores: 1,
            driver,
            ..RuntimeConfig::default()
        };
        let (tell, told) = std::sync::mpsc::channel();
        let cores = start(&cfg, move |_| {
            let tell = tell.clone();
            async move {
                let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                echo(listener).await;
            }
        })
        .unwrap();
        let mut conn = TcpStream::connect(told.recv().unwrap()).unwrap();
        let mut buf = vec![7; LEN + 4];
        for _ in 0..ROUNDS {
            conn.write_all(&buf[..LEN]).unwrap();
            conn.read_exact(&mut buf).unwrap();
            buf.fill(7);
        }
        cores.join().unwrap_or_else(|e| panic!("{driver:?}: {e}"));
    }
}
