//! The crate on real sockets, files and rings, on io_uring (where the machine has it) and on epoll.

mod files;
mod process;
mod sockets;
mod stopping;
mod support;
mod tls;
