//! `sealgate`: the gateway as a program.
//!
//! Two planes in one process: the data plane's threads serve S3, one per core ([`dataplane`]); a small tokio runtime
//! does everything else: keys, health, metrics, reload ([`admin`], [`serve`]).
#![forbid(unsafe_code)]

mod admin;
mod audit;
mod cli;
mod dataplane;
mod dev;
mod keys;
mod keys_command;
mod plan;
mod rewrap;
mod scan;
mod serve;
mod store_check;

use std::process::ExitCode;

use clap::Parser;
use sealgate_aead::WipingHeap;

/// Threads of the control plane wipe whatever they free. (mimalloc below it saves 2 µs of a small request, but keeps
/// freed I/O buffers, so that memory exceeds its bound.)
#[global_allocator]
static HEAP: WipingHeap = WipingHeap(std::alloc::System);

fn main() -> ExitCode {
    // Before the first secret is read.
    sealgate_aead::wipe_on_this_thread();
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            cli::print_error(&message);
            ExitCode::FAILURE
        }
    }
}
