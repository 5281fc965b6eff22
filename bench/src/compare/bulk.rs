//! Large objects: the gateway against the floors (G1, G2, G3), against nginx (G4), and its drivers against each other
//! (G10).

use super::Group;
use super::lab::{Lab, load_per_gib, per_gib};
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::load::{self, Verb, generate};
use crate::net::Outcome;
use crate::process::Child;
use crate::relay::{self, Direction, Driver, Ends, Floor};
use crate::units::show_size;

pub(super) struct Bulk {
    ends: Ends,
    relays: Vec<(Driver, Floor, Direction, Child)>,
    /// Connections, and the bytes that each of them moves.
    scales: Vec<(usize, u64)>,
}

const DIRECTIONS: [Direction; 2] = [Direction::Put, Direction::Get];

impl Bulk {
    pub(super) fn new(lab: &Lab) -> Outcome<Bulk> {
        let options = &lab.options;
        let ends = Ends::start()?;
        let mut relays = Vec::new();
        for &driver in &options.drivers {
            for direction in DIRECTIONS {
                for floor in Floor::ALL {
                    let to = ends.behind(floor, direction);
                    let args = relay::Options::args(floor, direction, driver, to);
                    relays.push((driver, floor, direction, Child::instrument("relay", &args)?));
                }
            }
        }
        let scales = vec![(1, options.size), (options.connections, options.each())];
        for (_, size) in &scales {
            if !lab.gateways.is_empty() {
                lab.sealed(*size)?;
            }
            lab.plain(*size)?;
            for contender in &options.contenders {
                let mut load = load::Options::new(Verb::Put, contender.addr, "kept-large", *size);
                load.access_key = contender.user.access_key.clone();
                load.secret_key = contender.user.secret_key.clone();
                load.key = contender_key(&contender.name, *size);
                generate(&load)?;
            }
        }
        Ok(Bulk {
            ends,
            relays,
            scales,
        })
    }
}

fn sealed_key(size: u64) -> String {
    format!("kept-sealed-{size}-0")
}

fn plain_key(size: u64) -> String {
    format!("plain-{size}-0")
}

fn contender_key(name: &str, size: u64) -> String {
    format!("kept-{name}-{size}")
}

/// What is measured in one direction.
pub(super) fn work(lab: &Lab, direction: Direction) -> Work {
    let verb = match direction {
        Direction::Put => "PUT",
        Direction::Get => "GET",
    };
    let title = format!("{verb} {}", show_size(lab.options.size));
    Work::new(title, Unit::CpuPerGib)
}

/// Its name in the tables.
pub(super) fn nginx_name(buffer: usize) -> String {
    format!("nginx, {buffer} KiB buffers, no encryption")
}

impl Group for Bulk {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        for (connections, size) in self.scales.clone() {
            for direction in DIRECTIONS {
                self.once(lab, direction, connections, size, samples)?;
            }
        }
        Ok(())
    }

    fn verdicts(&self, lab: &Lab, samples: &Samples) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let many = lab.options.connections;
        for (direction, goal) in [(Direction::Put, "G1"), (Direction::Get, "G2")] {
            let work = work(lab, direction);
            for connections in [1, many] {
                let (goal, stretch) = if connections == 1 {
                    (goal, 1.1)
                } else {
                    ("G3", 0.85)
                };
                let cost = |contender: &str, driver| {
                    samples.cost(&work, contender, connections, Some(driver))
                };
                let what = format!("{}, {connections} connection(s)", work.title);
                for &driver in &lab.options.drivers {
                    if let (Some(gateway), Some(floor)) =
                        (cost("gateway", driver), cost(Floor::Ra.label(), driver))
                    {
                        let what = format!("{what}, {}, against RA", driver.name());
                        verdicts.push(Verdict::ratio(goal, what, (gateway, floor), 1.3, stretch));
                    }
                }
                for (buffer, limit, stretch) in [(16, 1.0, None), (256, 1.7, Some(1.4))] {
                    if let (Some(gateway), Some(nginx), Direction::Put) = (
                        cost("gateway", lab.driver()),
                        cost(&nginx_name(buffer), Driver::Epoll),
                        direction,
                    ) {
                        let what = format!("{what}, against nginx with {buffer} KiB buffers");
                        verdicts.push(Verdict::ratio("G4", what, (gateway, nginx), limit, stretch));
                    }
                }
                if let (Some(epoll), Some(ring)) = (
                    cost("gateway", Driver::Epoll),
                    cost("gateway", Driver::IoUring),
                ) {
                    let what = format!("{what}, epoll against io_uring");
                    verdicts.push(Verdict::ratio("G10", what, (epoll, ring), 1.15, None));
                }
            }
        }
        verdicts
    }
}

impl Bulk {
    fn once(
        &self,
        lab: &Lab,
        direction: Direction,
        connections: usize,
        size: u64,
        samples: &mut Samples,
    ) -> Outcome<()> {
        let work = work(lab, direction);
        let cell = |contender: &str, driver| Cell {
            work: work.clone(),
            contender: contender.into(),
            connections,
            driver,
        };
        let (verb, sealed, plain) = match direction {
            Direction::Put => (Verb::Put, "dropped".into(), "dropped".into()),
            Direction::Get => (Verb::Get, sealed_key(size), plain_key(size)),
        };
        let load = |to, key: &str| {
            load::Options::new(verb, to, key, size).times(connections, connections as u64)
        };
        for &driver in &lab.options.drivers {
            let relays = self.relays.iter();
            for (_, floor, _, relay) in
                relays.filter(|(d, _, way, _)| *d == driver && *way == direction)
            {
                let sample = per_gib(relay.process(), size * connections as u64, || {
                    self.ends.drive(relay.addr(), direction, size, connections)
                })?;
                samples.add(cell(floor.label(), Some(driver)), sample);
            }
            let gateways = lab.gateways.iter();
            for (_, gateway) in gateways.filter(|(d, _)| *d == driver) {
                let sample = load_per_gib(gateway.process(), &load(gateway.addr(), &sealed))?;
                samples.add(cell("gateway", Some(driver)), sample);
            }
        }
        for (buffer, nginx) in &lab.nginx {
            let sample = load_per_gib(nginx.process(), &load(nginx.addr(), &plain))?;
            samples.add(cell(&nginx_name(*buffer), Some(Driver::Epoll)), sample);
        }
        for contender in &lab.options.contenders {
            let key = match direction {
                Direction::Put => "dropped".into(),
                Direction::Get => contender_key(&contender.name, size) + "-0",
            };
            let mut load = load(contender.addr, &key);
            load.access_key = contender.user.access_key.clone();
            load.secret_key = contender.user.secret_key.clone();
            let sample = load_per_gib(contender.process, &load)?;
            samples.add(cell(&contender.name, None), sample);
        }
        Ok(())
    }
}
