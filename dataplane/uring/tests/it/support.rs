use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use sealgate_uring::{
    ActiveDriver, BlockSize, CoreContext, Driver, Listener, Pool, RuntimeConfig, Spans, Transport,
    Weave, detect, start,
};

/// The drivers that this machine has; epoll always.
pub(crate) fn drivers() -> Vec<Driver> {
    match detect(Driver::Auto).unwrap() {
        ActiveDriver::IoUring => vec![Driver::IoUring, Driver::Epoll],
        ActiveDriver::Epoll => vec![Driver::Epoll],
    }
}

pub(crate) fn one_core(driver: Driver) -> RuntimeConfig {
    RuntimeConfig {
        cores: 1,
        driver,
        ..RuntimeConfig::default()
    }
}

/// Runs `body` as the main function of one core, on each driver. A panic in it fails the test.
pub(crate) fn on_each_driver<Fut: Future<Output = ()> + 'static>(
    body: impl Fn(CoreContext) -> Fut + Send + Sync + 'static,
) {
    let body = Arc::new(body);
    for driver in drivers() {
        let body = body.clone();
        let cores = start(&one_core(driver), move |context| body(context)).unwrap();
        cores
            .join()
            .unwrap_or_else(|e| panic!("on {driver:?}: {e}"));
    }
}

pub(crate) fn listen() -> (Rc<Listener>, SocketAddr) {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    (Rc::new(listener), addr)
}

/// Bytes that tell where they belong.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8)
        .collect()
}

/// Reads to the end by plans of many kinds, and puts the bytes together.
pub(crate) async fn read_woven<T: Transport>(conn: &mut T, size: BlockSize) -> Vec<u8> {
    let pool = Pool::new(4 << 20);
    let [mut block] = pool.try_lease(size).unwrap();
    let slots = (block.capacity() - 100) / 16_400;
    let mut got = Vec::new();
    let plans: [&[(usize, usize)]; 6] = [
        &[(0, 40_000), (88, 65_536), (88, 65_536), (300, 0)],
        &[(100, 0)],
        &[(0, 1 << 20), (10, 131_072), (10, 131_072)],
        &[(1, 1), (0, 16_384), (2, 3), (4, 500_000)],
        // More ranges than one operation takes.
        &[(7, 600_000), (7, 600_000), (7, 1)],
        &[(5, 8_192); 20],
    ];
    for plan in plans.iter().cycle() {
        let mut weave = Weave::new(Spans::slots(56, 1000, slots * 16_384 - 77, 16_384, 16_400));
        for &(aside, payload) in *plan {
            weave.push(aside, payload);
        }
        // Behind what is there already.
        let mut aside = b"before".to_vec();
        aside.reserve(weave.aside());
        let result;
        (result, block, aside) = conn.read_woven(block, &weave, aside).await;
        let n = result.unwrap();
        if n == 0 {
            break;
        }
        let behind = aside.strip_prefix(b"before").unwrap();
        got.extend(weave.unweave(&block, behind, 0..n));
    }
    got
}
