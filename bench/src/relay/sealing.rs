//! RA: scatter reads into slots with gaps, sealed in place as they fill, one write; and the same
//! backwards. RU is the same loop without gaps and without a cipher.

use std::io;
use std::time::Duration;

use sealgate_uring::{
    Block, BlockSize, Connector, Listener, Pool, RuntimeConfig, SocketOptions, Spans,
    StoreConnector, TcpConn, Transport,
};

use super::cipher::{CHUNK, Cipher, SLOT, SLOTS};
use super::{Direction, Driver, Floor, Options};
use crate::net::{self, CONGESTION, Outcome};
use crate::units::MIB;

/// Memory for blocks: more than a thousand connections.
const BUDGET: usize = 2 << 30;

/// Nothing here takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn run(options: &Options) -> Outcome<()> {
    let driver = match options.driver {
        Driver::IoUring => sealgate_uring::Driver::IoUring,
        Driver::Epoll => sealgate_uring::Driver::Epoll,
    };
    let config = RuntimeConfig {
        cores: 1,
        driver,
        ..RuntimeConfig::default()
    };
    let options = options.clone();
    // The measurement of the AEAD libraries, before anything is timed.
    sealgate_aead::selected();
    let cores = sealgate_uring::start(&config, move |_| {
        let options = options.clone();
        async move {
            if let Err(e) = accept(options).await {
                eprintln!("sealgate-bench relay: {e}");
            }
        }
    })?;
    Ok(cores.join()?)
}

fn socket_options() -> SocketOptions {
    SocketOptions {
        congestion: Some(CONGESTION.into()),
    }
}

async fn accept(options: Options) -> io::Result<()> {
    let listener = Listener::bind_with(options.listen, &socket_options())?;
    net::announce(listener.local_addr()?);
    let pool = Pool::new(BUDGET);
    loop {
        let client = listener.accept().await?;
        let (options, pool) = (options.clone(), pool.clone());
        sealgate_uring::spawn(async move {
            if let Err(e) = relay(client, &options, &pool).await {
                eprintln!("sealgate-bench relay: {e}");
            }
        });
    }
}

async fn relay(mut client: TcpConn, options: &Options, pool: &Pool) -> io::Result<()> {
    let (host, port) = (options.to.ip().to_string(), options.to.port());
    let connector = StoreConnector::new(&host, port, None, PATIENCE).with_options(socket_options());
    let mut other = connector.connect().await?;
    let [block] = pool
        .lease(BlockSize::Large, PATIENCE)
        .await
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    match (options.direction, options.floor) {
        (Direction::Put, Floor::Ra) => {
            let block = seal_all(&mut client, &mut other, block).await?;
            other.shutdown().await;
            copy(&mut other, &mut client, block).await
        }
        (Direction::Put, _) => {
            copy(&mut client, &mut other, block).await?;
            other.shutdown().await;
            let (result, ack) = other.read_buf(Vec::with_capacity(1)).await;
            result?;
            client.write_buf(ack).await.0
        }
        (Direction::Get, Floor::Ra) => open_all(&mut other, &mut client, block).await,
        (Direction::Get, _) => copy(&mut other, &mut client, block).await,
    }
}

async fn copy<A, B>(from: &mut A, to: &mut B, mut block: Block) -> io::Result<()>
where
    A: Transport,
    B: Transport,
{
    let mut head = Vec::new();
    loop {
        let result;
        (result, block) = from.read(block, Spans::contiguous(0..MIB)).await;
        let n = result?;
        if n == 0 {
            return Ok(());
        }
        let result;
        (result, head, block) = to.write_all(head, block, Spans::contiguous(0..n)).await;
        result?;
    }
}

async fn seal_all<A, B>(from: &mut A, to: &mut B, mut block: Block) -> io::Result<Block>
where
    A: Transport,
    B: Transport,
{
    let mut cipher = Cipher::new();
    let mut head = Vec::new();
    loop {
        let (mut filled, mut sealed) = (0, 0);
        let mut ended = false;
        while filled < MIB && !ended {
            let room = Spans::slots(0, filled, MIB, CHUNK, SLOT);
            let result;
            (result, block) = from.read(block, room).await;
            let n = result?;
            filled += n;
            ended = n == 0;
            while sealed < filled / CHUNK {
                cipher.seal(&mut block[sealed * SLOT..][..SLOT]);
                sealed += 1;
            }
        }
        let rest = filled - sealed * CHUNK;
        let mut end = sealed * SLOT;
        if rest > 0 {
            let last = rest + SLOT - CHUNK;
            cipher.seal(&mut block[end..][..last]);
            end += last;
        }
        let result;
        (result, head, block) = to.write_all(head, block, Spans::contiguous(0..end)).await;
        result?;
        if ended {
            return Ok(block);
        }
    }
}

async fn open_all<A, B>(from: &mut A, to: &mut B, mut block: Block) -> io::Result<()>
where
    A: Transport,
    B: Transport,
{
    const FULL: usize = SLOTS * SLOT;
    let forged = || io::Error::new(io::ErrorKind::InvalidData, "a chunk does not open");
    let mut cipher = Cipher::new();
    let mut head = Vec::new();
    loop {
        let (mut filled, mut opened) = (0, 0);
        let mut ended = false;
        while filled < FULL && !ended {
            let result;
            (result, block) = from.read(block, Spans::contiguous(filled..FULL)).await;
            let n = result?;
            filled += n;
            ended = n == 0;
            while opened < filled / SLOT {
                if !cipher.open(&mut block[opened * SLOT..][..SLOT]) {
                    return Err(forged());
                }
                opened += 1;
            }
        }
        let rest = filled - opened * SLOT;
        let mut plain = opened * CHUNK;
        if rest > 0 {
            if !cipher.open(&mut block[opened * SLOT..][..rest]) {
                return Err(forged());
            }
            plain += rest + CHUNK - SLOT;
        }
        let text = Spans::slots(0, 0, plain, CHUNK, SLOT);
        let result;
        (result, head, block) = to.write_all(head, block, text).await;
        result?;
        if ended {
            return Ok(());
        }
    }
}
