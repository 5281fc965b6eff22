//! The floors of the machine: what any proxy, and any encrypting proxy, cannot do without.
//!
//! * R moves bytes from one socket to another in pieces of 1 MiB.
//! * RA does so and seals or opens them with AES-256-GCM in chunks of 16 KiB, in place: scatter
//!   reads leave the gaps for the tags, and one write sends it all.
//!
//! A relay accepts connections and opens one connection each to where it relays. `put` relays what
//! the client sends, then closes that direction, waits for one byte of acknowledgement and passes it
//! back. `get` relays what the other side sends, from the start, until it closes.

mod bare;
mod cipher;
mod ends;
mod sealing;
mod tokio;

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::net::Outcome;

use cipher::{sealed_len, sealed_pattern};
pub(crate) use ends::Ends;

/// Which floor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Floor {
    /// Relay alone, on bare monoio
    R,
    /// Relay alone, on the gateway's runtime crate: shows what that crate adds to R
    Ru,
    /// Relay and AES-256-GCM, on the gateway's runtime crate, which has the scatter reads
    Ra,
    /// Relay alone, on tokio (epoll) or tokio-uring
    Rt,
    /// Relay and AES-256-GCM on those
    Rat,
}

impl Floor {
    /// All of them.
    pub(crate) const ALL: [Floor; 5] = [Floor::R, Floor::Ru, Floor::Ra, Floor::Rt, Floor::Rat];

    /// Whether it opens what it downloads.
    pub(crate) const fn seals(self) -> bool {
        matches!(self, Floor::Ra | Floor::Rat)
    }

    /// In tables.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Floor::R => "R",
            Floor::Ru => "R on the gateway's runtime",
            Floor::Ra => "RA",
            Floor::Rt => "R on tokio",
            Floor::Rat => "RA on tokio",
        }
    }
}

/// Which way the payload goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Direction {
    /// From the client; RA seals
    Put,
    /// To the client; RA opens
    Get,
}

/// How the kernel is asked.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Driver {
    /// Completion rings, with `SINGLE_ISSUER` and `DEFER_TASKRUN`
    #[value(name = "io_uring")]
    IoUring,
    /// Readiness
    Epoll,
}

impl Driver {
    /// As in the configuration of the gateway.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Driver::IoUring => "io_uring",
            Driver::Epoll => "epoll",
        }
    }
}

/// `sealgate-bench relay`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Which floor
    #[arg(value_enum)]
    floor: Floor,
    /// Which way the payload goes
    #[arg(long, value_enum, default_value = "put")]
    direction: Direction,
    /// How the kernel is asked
    #[arg(long, value_enum, default_value = "io_uring")]
    driver: Driver,
    /// Address to listen on; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address to relay to
    #[arg(long)]
    to: SocketAddr,
}

impl Options {
    /// Arguments that start this relay as a process of its own.
    pub(crate) fn args(
        floor: Floor,
        direction: Direction,
        driver: Driver,
        to: SocketAddr,
    ) -> Vec<String> {
        let name = |v: Option<clap::builder::PossibleValue>| {
            v.map_or_else(String::new, |v| v.get_name().to_owned())
        };
        vec![
            "relay".into(),
            name(floor.to_possible_value()),
            "--direction".into(),
            name(direction.to_possible_value()),
            "--driver".into(),
            driver.name().into(),
            "--to".into(),
            to.to_string(),
        ]
    }
}

/// Relays until it is killed.
pub(crate) fn run(options: &Options) -> Outcome<()> {
    match options.floor {
        Floor::R => bare::run(options),
        Floor::Ru | Floor::Ra => sealing::run(options),
        Floor::Rt | Floor::Rat => tokio::run(options),
    }
}
