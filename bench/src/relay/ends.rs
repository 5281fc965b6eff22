//! What a relay stands between when it is measured: clients, and a sink or a source behind it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{Direction, Floor, sealed_len, sealed_pattern};
use crate::net::{self, Outcome};
use crate::units::{MIB, fill_pattern};

/// Threads in this process that take and give bytes as fast as they can.
pub(crate) struct Ends {
    sink: SocketAddr,
    plain: SocketAddr,
    sealed: SocketAddr,
    /// Plaintext bytes that a source gives to each connection.
    each: Arc<AtomicU64>,
    pattern: Arc<Vec<u8>>,
}

/// Written back when all was received.
const ACKNOWLEDGED: &[u8] = b"!";

impl Ends {
    /// Starts them.
    pub(crate) fn start() -> io::Result<Ends> {
        let mut pattern = vec![0; MIB];
        fill_pattern(1, 0, &mut pattern);
        let pattern = Arc::new(pattern);
        let each = Arc::new(AtomicU64::new(0));
        let source = |pattern: Arc<Vec<u8>>, wire_len: fn(u64) -> u64| {
            let each = each.clone();
            serve(move |stream| give(stream, wire_len(each.load(Ordering::Relaxed)), &pattern))
        };
        Ok(Ends {
            sink: serve(take)?,
            plain: source(pattern.clone(), |n| n)?,
            sealed: source(Arc::new(sealed_pattern()), sealed_len)?,
            each: each.clone(),
            pattern,
        })
    }

    /// Where a relay relays to.
    pub(crate) fn behind(&self, floor: Floor, direction: Direction) -> SocketAddr {
        match (direction, floor) {
            (Direction::Put, _) => self.sink,
            (Direction::Get, floor) if floor.seals() => self.sealed,
            (Direction::Get, _) => self.plain,
        }
    }

    /// Moves `size` bytes of plaintext through the relay on each of so many connections at once.
    pub(crate) fn drive(
        &self,
        relay: SocketAddr,
        direction: Direction,
        size: u64,
        connections: usize,
    ) -> Outcome<()> {
        self.each.store(size, Ordering::Relaxed);
        let mut running = Vec::new();
        for _ in 0..connections {
            let pattern = self.pattern.clone();
            running.push(thread::spawn(move || match direction {
                Direction::Put => put(relay, size, &pattern),
                Direction::Get => get(relay, size),
            }));
        }
        for one in running {
            one.join().map_err(|_| "a client of the relay panicked")??;
        }
        Ok(())
    }
}

fn serve<F>(each: F) -> io::Result<SocketAddr>
where
    F: Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
{
    let listener: TcpListener = net::listen(([127, 0, 0, 1], 0).into())?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let each = each.clone();
            // A connection that breaks is seen by the client in front of the relay.
            thread::spawn(move || drop(each(stream)));
        }
    });
    Ok(addr)
}

fn take(mut stream: TcpStream) -> io::Result<()> {
    let mut room = vec![0; MIB];
    while stream.read(&mut room)? > 0 {}
    stream.write_all(ACKNOWLEDGED)
}

fn give(mut stream: TcpStream, len: u64, pattern: &[u8]) -> io::Result<()> {
    let mut left = len;
    while left > 0 {
        let n = left.min(pattern.len() as u64);
        stream.write_all(&pattern[..n as usize])?;
        left -= n;
    }
    stream.shutdown(Shutdown::Write)
}

fn put(relay: SocketAddr, size: u64, pattern: &[u8]) -> io::Result<()> {
    let mut stream = net::connect(relay)?;
    give(stream.try_clone()?, size, pattern)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer == ACKNOWLEDGED {
        Ok(())
    } else {
        Err(io::Error::other(
            "the relay lost the connection to the sink",
        ))
    }
}

fn get(relay: SocketAddr, size: u64) -> io::Result<()> {
    let mut stream = net::connect(relay)?;
    let mut room = vec![0; MIB];
    let mut len = 0;
    loop {
        match stream.read(&mut room)? {
            0 if len == size => return Ok(()),
            0 => return Err(io::Error::other(format!("{len} of {size} bytes came"))),
            n => len += n as u64,
        }
    }
}
