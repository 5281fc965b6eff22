//! The TLS protocol over buffers, without I/O: ciphertext in, plaintext and ciphertext out.

use std::cell::Cell;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

/// Most plaintext of one record, bytes (RFC 8446 §5.1).
pub(super) const RECORD: usize = 16_384;

/// Most ciphertext that waits for the session to make sense of it, bytes. Only a handshake message may be longer
/// than a record: rustls takes 64 KiB.
pub(super) const MAX_INPUT: usize = 160 * 1024;

/// What a record adds to its plaintext at most, bytes: header, content type, explicit nonce, tag, and to spare.
pub(super) const RECORD_OVERHEAD: usize = 64;

/// Most ciphertext that is lent room for, bytes: what a block's worth of plaintext takes, and as much as may wait before it.
const LENT: usize = (1 << 20) + 64 * RECORD_OVERHEAD + MAX_INPUT;

thread_local! {
    /// What the core's sessions receive bulk in, one after the other. It has been in the cache a moment ago, and connections
    /// that wait hold nothing of it.
    static SHARED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Which side of the protocol we are.
enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// A TLS session and its buffers.
pub(super) struct Session {
    side: Side,
    /// Ciphertext that has come in; what lies before `at` is done with.
    pub(super) input: Vec<u8>,
    pub(super) at: usize,
    /// The session's own buffer, while `input` is the core's.
    own: Option<Vec<u8>>,
    pub(super) output: Output,
    /// The peer has said that it will send no more.
    pub(super) peer_closed: bool,
    /// Why the session is over. rustls must not be asked to go on after an error.
    failed: Option<rustls::Error>,
}

/// Ciphertext to be sent: the first `filled` bytes of a buffer that is initialised in whole, so that it need not be
/// cleared each time.
#[derive(Default)]
pub(super) struct Output {
    pub(super) buf: Vec<u8>,
    pub(super) filled: usize,
}

impl Output {
    fn room(&mut self, n: usize) -> &mut [u8] {
        if self.buf.len() - self.filled < n {
            self.buf.resize(self.filled + n, 0);
        }
        &mut self.buf[self.filled..]
    }

    fn sealed(&mut self, written: Result<usize, EncryptError>) -> Result<Step, rustls::Error> {
        match written {
            Ok(n) => {
                self.filled += n;
                Ok(Step::Done)
            }
            Err(EncryptError::EncryptExhausted) => Err(rustls::Error::EncryptError),
            Err(EncryptError::InsufficientSize(_)) => Err(rustls::Error::General(
                "a record is longer than it may be".into(),
            )),
        }
    }
}

/// What to do once the session is at rest.
#[derive(Copy, Clone)]
pub(super) enum Action<'a> {
    Read,
    Encrypt(&'a [u8]),
    Close,
}

/// Where the session came to rest.
#[derive(Debug, PartialEq)]
pub(super) enum Rest {
    /// The sink asked to stop.
    Stopped,
    /// Nothing more can be done before more input comes; the action, other than reading, was not done.
    Blocked,
    /// The action is done; all whole records of the input have been read.
    Done,
}

/// One step of the protocol.
enum Step {
    Again,
    Stop,
    PeerClosed,
    Blocked,
    Done,
}

impl From<UnbufferedServerConnection> for Session {
    fn from(session: UnbufferedServerConnection) -> Session {
        Session::new(Side::Server(session))
    }
}

impl From<UnbufferedClientConnection> for Session {
    fn from(session: UnbufferedClientConnection) -> Session {
        Session::new(Side::Client(session))
    }
}

impl Session {
    fn new(side: Side) -> Session {
        Session {
            side,
            input: Vec::new(),
            at: 0,
            own: None,
            output: Output::default(),
            peer_closed: false,
            failed: None,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        match &self.side {
            Side::Server(s) => s.is_handshaking(),
            Side::Client(s) => s.is_handshaking(),
        }
    }

    /// Ciphertext not yet read: part of a record, or records behind a full sink.
    pub(super) fn has_input(&self) -> bool {
        self.at < self.input.len()
    }

    /// Makes the core's large buffer the input, until [`Session::give_back`]: not across an await.
    pub(super) fn lend(&mut self) {
        if self.own.is_none() {
            let mut shared = SHARED.take();
            shared.clear();
            shared.reserve_exact(LENT);
            shared.extend_from_slice(&self.input[self.at..]);
            self.at = 0;
            self.own = Some(std::mem::replace(&mut self.input, shared));
        }
    }

    /// Gives it back, and keeps what has not been read.
    pub(super) fn give_back(&mut self) {
        if let Some(mut own) = self.own.take() {
            own.clear();
            own.extend_from_slice(&self.input[self.at..]);
            self.at = 0;
            SHARED.set(std::mem::replace(&mut self.input, own));
        }
    }

    /// Goes on until the session rests. Plaintext goes to `sink`, which says whether it can take another record.
    /// What is to be sent is appended to `output`, also by the call that fails: the alert that tells the peer.
    pub(super) fn pump(
        &mut self,
        action: Action<'_>,
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Rest, rustls::Error> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        loop {
            match self.step(action, sink) {
                Ok(Step::Again) => {}
                Ok(Step::PeerClosed) => self.peer_closed = true,
                Ok(Step::Stop) => return Ok(Rest::Stopped),
                Ok(Step::Blocked) => return Ok(Rest::Blocked),
                Ok(Step::Done) => return Ok(Rest::Done),
                Err(e) => {
                    self.fail(&e, sink);
                    return Err(e);
                }
            }
        }
    }

    fn step(
        &mut self,
        action: Action<'_>,
        sink: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Step, rustls::Error> {
        let (input, output) = (&mut self.input[self.at..], &mut self.output);
        let (discard, result) = match &mut self.side {
            Side::Server(s) => step(s.process_tls_records(input), output, action, sink),
            Side::Client(s) => step(s.process_tls_records(input), output, action, sink),
        };
        self.at += discard;
        result
    }

    /// Takes the alert out of the session, without showing it any more input.
    fn fail(&mut self, e: &rustls::Error, sink: &mut dyn FnMut(&[u8]) -> bool) {
        self.failed = Some(e.clone());
        self.input.clear();
        self.at = 0;
        while match &self.side {
            Side::Server(s) => s.wants_write(),
            Side::Client(s) => s.wants_write(),
        } {
            if self.step(Action::Read, sink).is_err() {
                return;
            }
        }
    }
}

fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    output: &mut Output,
    action: Action<'_>,
    sink: &mut dyn FnMut(&[u8]) -> bool,
) -> (usize, Result<Step, rustls::Error>) {
    let UnbufferedStatus {
        mut discard, state, ..
    } = status;
    let state = match state {
        Ok(state) => state,
        Err(e) => return (discard, Err(e)),
    };
    let result = match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            let mut more = true;
            loop {
                match traffic.next_record() {
                    None => break Ok(if more { Step::Again } else { Step::Stop }),
                    Some(Err(e)) => break Err(e),
                    Some(Ok(record)) => {
                        discard += record.discard;
                        more = sink(record.payload);
                    }
                }
            }
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let mut room = 0;
            loop {
                match data.encode(output.room(room)) {
                    Ok(n) => {
                        output.filled += n;
                        break Ok(Step::Again);
                    }
                    Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        room = required_size
                    }
                    Err(EncodeError::AlreadyEncoded) => break Ok(Step::Again),
                }
            }
        }
        // It is in `output`, which is sent before anything is waited for.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(Step::Again)
        }
        ConnectionState::PeerClosed => Ok(Step::PeerClosed),
        ConnectionState::Closed => Ok(Step::Done),
        ConnectionState::BlockedHandshake => Ok(Step::Blocked),
        ConnectionState::WriteTraffic(mut traffic) => match action {
            Action::Read => Ok(Step::Done),
            Action::Encrypt(plain) => {
                let records = plain.len().div_ceil(RECORD).max(1);
                let written =
                    traffic.encrypt(plain, output.room(plain.len() + records * RECORD_OVERHEAD));
                output.sealed(written)
            }
            Action::Close => {
                let written = traffic.queue_close_notify(output.room(RECORD_OVERHEAD));
                output.sealed(written)
            }
        },
        // Early data is never enabled, and there are no other states.
        _ => Err(rustls::Error::General("unexpected state of TLS".into())),
    };
    (discard, result)
}
