//! R and RA on the runtimes that most Rust programs have: tokio for readiness, tokio-uring for rings. Only for
//! comparison: nothing of the gateway runs on them.
//!
//! tokio reads into slots with gaps as the gateway does, by `readv`. tokio-uring has no `readv` for sockets, so its RA
//! reads one chunk at a time into its slot (the mebibyte is still one write).

use std::io::{self, IoSlice, IoSliceMut};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use super::cipher::{CHUNK, Cipher, SLOT, SLOTS};
use super::{Direction, Driver, Floor, Options};
use crate::net::{self, Outcome};
use crate::units::MIB;

pub(super) fn run(options: &Options) -> Outcome<()> {
    sealgate_aead::selected();
    match options.driver {
        Driver::Epoll => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(tokio::task::LocalSet::new().run_until(accept(options)))?,
        Driver::IoUring => tokio_uring::start(rings::accept(options))?,
    }
    Ok(())
}

async fn accept(options: &Options) -> io::Result<()> {
    let listener = net::listen_async(options.listen)?;
    net::announce(listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        let options = options.clone();
        tokio::task::spawn_local(async move {
            // A connection that breaks is its ends' affair.
            drop(relay(client, &options).await);
        });
    }
}

async fn relay(mut client: TcpStream, options: &Options) -> io::Result<()> {
    let mut other = net::connect_async(options.to)?;
    match (options.direction, options.floor) {
        (Direction::Put, floor) => {
            if floor == Floor::Rat {
                seal(&client, &mut other).await?;
            } else {
                pump(&mut client, &mut other).await?;
            }
            other.shutdown().await?;
            pump(&mut other, &mut client).await
        }
        (Direction::Get, Floor::Rat) => open(&mut other, &client).await,
        (Direction::Get, _) => pump(&mut other, &mut client).await,
    }
}

async fn pump(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut room = vec![0; MIB];
    loop {
        let n = from.read(&mut room).await?;
        if n == 0 {
            return Ok(());
        }
        to.write_all(&room[..n]).await?;
    }
}

/// Where plaintext goes from byte `filled` of a block on: the slots without their tags.
fn room(block: &mut [u8], filled: usize) -> Vec<IoSliceMut<'_>> {
    let slots = block.chunks_exact_mut(SLOT).skip(filled / CHUNK);
    let mut slices: Vec<IoSliceMut<'_>> = slots
        .map(|slot| IoSliceMut::new(&mut slot[..CHUNK]))
        .collect();
    IoSliceMut::advance_slices(&mut slices.as_mut_slice(), filled % CHUNK);
    slices
}

async fn seal(from: &TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut cipher = Cipher::new();
    let mut block = vec![0; SLOTS * SLOT];
    loop {
        let (mut filled, mut sealed, mut ended) = (0, 0, false);
        while filled < MIB && !ended {
            let into = || from.try_read_vectored(&mut room(&mut block, filled));
            let n = from.async_io(Interest::READABLE, into).await?;
            filled += n;
            ended = n == 0;
            while sealed < filled / CHUNK {
                cipher.seal(&mut block[sealed * SLOT..][..SLOT]);
                sealed += 1;
            }
        }
        let end = seal_rest(&mut cipher, &mut block, filled, sealed);
        to.write_all(&block[..end]).await?;
        if ended {
            return Ok(());
        }
    }
}

/// Seals what does not fill a chunk; the end of all that is sealed.
fn seal_rest(cipher: &mut Cipher, block: &mut [u8], filled: usize, sealed: usize) -> usize {
    let (rest, end) = (filled - sealed * CHUNK, sealed * SLOT);
    if rest == 0 {
        return end;
    }
    let last = rest + SLOT - CHUNK;
    cipher.seal(&mut block[end..][..last]);
    end + last
}

async fn open(from: &mut TcpStream, to: &TcpStream) -> io::Result<()> {
    let mut cipher = Cipher::new();
    let mut block = vec![0; SLOTS * SLOT];
    loop {
        let (mut filled, mut ended) = (0, false);
        while filled < block.len() && !ended {
            let n = from.read(&mut block[filled..]).await?;
            filled += n;
            ended = n == 0;
        }
        let mut slices = Vec::with_capacity(SLOTS);
        for slot in block[..filled].chunks_mut(SLOT) {
            if !cipher.open(slot) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            slices.push(IoSlice::new(&slot[..slot.len() - (SLOT - CHUNK)]));
        }
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            let n = to
                .async_io(Interest::WRITABLE, || to.try_write_vectored(left))
                .await?;
            IoSlice::advance_slices(&mut left, n);
        }
        if ended {
            return Ok(());
        }
    }
}

/// The same on tokio-uring.
mod rings {
    use std::io;
    use std::net::Shutdown;

    use tokio_uring::buf::BoundedBuf;
    use tokio_uring::net::{TcpListener, TcpStream};

    use super::super::cipher::{CHUNK, Cipher, SLOT, SLOTS};
    use super::super::{Direction, Floor, Options};
    use super::seal_rest;
    use crate::net;
    use crate::units::MIB;

    pub(super) async fn accept(options: &Options) -> io::Result<()> {
        let listener = TcpListener::from_std(net::listen(options.listen)?);
        net::announce(listener.local_addr()?);
        loop {
            let (client, _) = listener.accept().await?;
            let options = options.clone();
            tokio_uring::spawn(async move {
                // A connection that breaks is its ends' affair.
                drop(relay(client, &options).await);
            });
        }
    }

    async fn relay(client: TcpStream, options: &Options) -> io::Result<()> {
        let other = TcpStream::from_std(net::connect(options.to)?);
        match (options.direction, options.floor) {
            (Direction::Put, floor) => {
                if floor == Floor::Rat {
                    seal(&client, &other).await?;
                } else {
                    pump(&client, &other).await?;
                }
                other.shutdown(Shutdown::Write)?;
                pump(&other, &client).await
            }
            (Direction::Get, Floor::Rat) => open(&other, &client).await,
            (Direction::Get, _) => pump(&other, &client).await,
        }
    }

    async fn pump(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        let mut room = vec![0; MIB];
        loop {
            let (result, filled) = from.read(room).await;
            let n = result?;
            if n == 0 {
                return Ok(());
            }
            let (result, written) = to.write_all(filled.slice(..n)).await;
            result?;
            room = written.into_inner();
        }
    }

    async fn seal(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        let mut cipher = Cipher::new();
        let mut block = vec![0; SLOTS * SLOT];
        loop {
            let (mut filled, mut sealed, mut ended) = (0, 0, false);
            while filled < MIB && !ended {
                let at = filled / CHUNK * SLOT;
                let (result, read) = from
                    .read(block.slice(at + filled % CHUNK..at + CHUNK))
                    .await;
                block = read.into_inner();
                let n = result?;
                filled += n;
                ended = n == 0;
                while sealed < filled / CHUNK {
                    cipher.seal(&mut block[sealed * SLOT..][..SLOT]);
                    sealed += 1;
                }
            }
            let end = seal_rest(&mut cipher, &mut block, filled, sealed);
            let (result, written) = to.write_all(block.slice(..end)).await;
            result?;
            block = written.into_inner();
            if ended {
                return Ok(());
            }
        }
    }

    async fn open(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        let mut cipher = Cipher::new();
        let mut block = vec![0; SLOTS * SLOT];
        loop {
            let (mut filled, mut ended) = (0, false);
            while filled < block.len() && !ended {
                let (result, read) = from.read(block.slice(filled..)).await;
                block = read.into_inner();
                let n = result?;
                filled += n;
                ended = n == 0;
            }
            // `writev` takes a buffer for each piece: the plaintext is moved together instead.
            let mut plain = 0;
            for at in (0..filled).step_by(SLOT) {
                let end = filled.min(at + SLOT);
                if !cipher.open(&mut block[at..end]) {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let text = end - at - (SLOT - CHUNK);
                block.copy_within(at..at + text, plain);
                plain += text;
            }
            let (result, written) = to.write_all(block.slice(..plain)).await;
            result?;
            block = written.into_inner();
            if ended {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_leaves_out_the_tags_and_what_is_filled() {
        let mut block = vec![0; SLOTS * SLOT];
        let lens = |slices: Vec<IoSliceMut<'_>>| -> Vec<usize> {
            slices.iter().map(|s| s.len()).collect()
        };
        assert_eq!(lens(room(&mut block, 0)), vec![CHUNK; SLOTS]);
        let mut wanted = vec![CHUNK; SLOTS - 3];
        wanted[0] = CHUNK - 5;
        assert_eq!(lens(room(&mut block, 3 * CHUNK + 5)), wanted);
    }
}
