//! R on bare monoio: one read of up to 1 MiB, one write of what came.

use std::io;
use std::net::SocketAddr;

use io_uring::IoUring;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use super::{Direction, Driver, Options};
use crate::net::{self, Outcome};
use crate::units::MIB;

/// Submission entries of the ring.
const ENTRIES: u32 = 1024;

pub(super) fn run(options: &Options) -> Outcome<()> {
    match options.driver {
        Driver::IoUring => {
            let mut ring = IoUring::builder();
            ring.setup_single_issuer().setup_defer_taskrun();
            RuntimeBuilder::<IoUringDriver>::new()
                .uring_builder(ring)
                .with_entries(ENTRIES)
                .build()?
                .block_on(accept(options))?;
        }
        Driver::Epoll => RuntimeBuilder::<LegacyDriver>::new()
            .build()?
            .block_on(accept(options))?,
    }
    Ok(())
}

async fn accept(options: &Options) -> io::Result<()> {
    let listener = net::listen(options.listen)?;
    // A ring waits in the kernel; epoll must not.
    listener.set_nonblocking(options.driver == Driver::Epoll)?;
    net::announce(listener.local_addr()?);
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        let (to, driver, direction) = (options.to, options.driver, options.direction);
        monoio::spawn(async move {
            // A connection that breaks is its ends' affair.
            drop(relay(client, to, driver, direction).await);
        });
    }
}

async fn relay(
    mut client: TcpStream,
    to: SocketAddr,
    driver: Driver,
    direction: Direction,
) -> io::Result<()> {
    let other = net::connect(to)?;
    other.set_nonblocking(driver == Driver::Epoll)?;
    let mut other = TcpStream::from_std(other)?;
    match direction {
        Direction::Put => {
            pump(&mut client, &mut other).await?;
            other.shutdown().await?;
            pump(&mut other, &mut client).await
        }
        Direction::Get => pump(&mut other, &mut client).await,
    }
}

async fn pump(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut room = Vec::with_capacity(MIB);
    loop {
        let (result, filled) = from.read(room).await;
        if result? == 0 {
            return Ok(());
        }
        let (result, mut written) = to.write_all(filled).await;
        result?;
        written.clear();
        room = written;
    }
}
