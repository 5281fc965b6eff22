//! Instruments that measure Sealgate: a null S3 store, a load generator, the relay floors, and the
//! commands that run them side by side. `sealgate-bench help` lists them.
//!
//! All of it talks to the loopback interface alone, and every socket it opens uses one congestion
//! control ([`net::CONGESTION`]), because the system's choice changes what loopback costs.
#![forbid(unsafe_code)]
// A command-line tool speaks through its standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod big;
mod client;
mod compare;
mod contenders;
mod content;
mod gauges;
mod load;
mod net;
mod null_store;
mod plot;
mod process;
mod relay;
mod report;
mod rewrap;
mod rss;
mod tls;
mod units;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Measures Sealgate against the floor of the machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// An S3 store that discards what it is sent, or keeps some of it
    NullStore(null_store::Options),
    /// Requests over many connections: a closed loop, or at a fixed rate
    Load(load::Options),
    /// A floor program: R (bare relay) or RA (relay and AES-256-GCM)
    Relay(relay::Options),
    /// Run the gateway, the floors and nginx in turn, and print who costs what
    Compare(compare::Options),
    /// Put the summary of a report into docs/performance.md
    Page(report::summary::Options),
    /// Send an object of 20 GiB through the gateway in parts, and check every byte on its way back
    Object20g(big::Options),
    /// Peak memory of the gateway under many concurrent uploads and downloads
    Rss(rss::Options),
    /// Counts that do not depend on the machine's speed, against a baseline: calls, allocations, copies, instructions
    Gauges(gauges::Options),
    /// Objects per second that are put under a new key version, and the calls at the key service
    Rewrap(rewrap::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::NullStore(options) => null_store::run(&options),
        Command::Load(options) => load::run(&options),
        Command::Relay(options) => relay::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Page(options) => report::summary::run(&options),
        Command::Object20g(options) => big::run(&options),
        Command::Rss(options) => rss::run(&options),
        Command::Gauges(options) => gauges::run(&options),
        Command::Rewrap(options) => rewrap::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("sealgate-bench: {e}");
            ExitCode::FAILURE
        }
    }
}
