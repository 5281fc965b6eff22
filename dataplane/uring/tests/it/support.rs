use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use sealgate_uring::{ActiveDriver, CoreContext, Driver, Listener, RuntimeConfig, detect, start};

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
