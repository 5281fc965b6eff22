//! Objects of 1 KiB over many connections, against an nginx hop that neither verifies nor encrypts: G8, G9, G20, and
//! the drivers against each other (G10).

use super::Group;
use super::lab::{Lab, load_per_request};
use super::samples::{Cell, Samples, Unit, Verdict, Work};
use crate::load::{self, Form, Verb, generate};
use crate::net::Outcome;
use crate::process::Process;
use crate::relay::Driver;

/// Bytes of a small object.
const SIZE: u64 = 1 << 10;

/// Connections.
const CONNECTIONS: usize = 64;

/// nginx's buffers, as Debian sets them up.
const NGINX: usize = 16;

/// What the other driver may cost: goals against nginx are those of io_uring, and epoll may take so much more
/// (docs/performance.md).
const EPOLL: f64 = 1.25;

/// What is done.
struct Kind {
    title: &'static str,
    verb: Verb,
    form: Form,
    /// Against nginx: goal, limit and stretch.
    goal: Option<(&'static str, f64, Option<f64>)>,
}

const KINDS: [Kind; 6] = [
    Kind {
        title: "GET 1 KiB, no signature",
        verb: Verb::Get,
        form: Form::None,
        goal: Some(("G8", 1.3, Some(0.9))),
    },
    Kind {
        title: "GET 1 KiB, signed header",
        verb: Verb::Get,
        form: Form::Unsigned,
        goal: Some(("G9", 2.0, Some(1.5))),
    },
    Kind {
        title: "GET 1 KiB, presigned",
        verb: Verb::Get,
        form: Form::Presigned,
        goal: None,
    },
    Kind {
        title: "PUT 1 KiB, presigned",
        verb: Verb::Put,
        form: Form::Presigned,
        goal: Some(("G20", 2.5, None)),
    },
    Kind {
        title: "PUT 1 KiB, signed with its payload",
        verb: Verb::Put,
        form: Form::Signed,
        goal: None,
    },
    Kind {
        title: "HEAD, signed header",
        verb: Verb::Head,
        form: Form::Unsigned,
        goal: None,
    },
];

pub(super) struct Small;

impl Small {
    pub(super) fn new(lab: &Lab) -> Outcome<Small> {
        lab.plain(SIZE)?;
        lab.sealed(SIZE)?;
        for contender in &lab.options.contenders {
            let key = format!("kept-small-{}", contender.name);
            let mut load = load::Options::new(Verb::Put, contender.addr, &key, SIZE);
            load.access_key = contender.user.access_key.clone();
            load.secret_key = contender.user.secret_key.clone();
            generate(&load)?;
        }
        Ok(Small)
    }
}

fn work(kind: &Kind) -> Work {
    Work::new(kind.title, Unit::CpuPerRequest)
}

fn nginx_name() -> String {
    format!("nginx, {NGINX} KiB buffers, no encryption")
}

impl Group for Small {
    fn round(&mut self, lab: &Lab, samples: &mut Samples) -> Outcome<()> {
        for kind in &KINDS {
            let mut once = |name: &str, driver, process: Process, load: load::Options| {
                let count = lab.options.small_requests;
                let load = load.times(CONNECTIONS, count).form(kind.form);
                let cell = Cell {
                    work: work(kind),
                    contender: name.into(),
                    connections: CONNECTIONS,
                    driver,
                };
                samples.add(cell, load_per_request(process, &load)?);
                Outcome::Ok(())
            };
            let load = |to, key: &str| {
                let key = if kind.verb.writes() { "small" } else { key };
                load::Options::new(kind.verb, to, key, SIZE)
            };
            if let Some(nginx) = lab.nginx(NGINX) {
                let load = load(nginx.addr(), &format!("plain-{SIZE}-0"));
                once(&nginx_name(), Some(Driver::Epoll), nginx.process(), load)?;
            }
            for (driver, gateway) in &lab.gateways {
                let load = load(gateway.addr(), &format!("kept-sealed-{SIZE}-0"));
                once("gateway", Some(*driver), gateway.process(), load)?;
            }
            for contender in &lab.options.contenders {
                if kind.form == Form::None {
                    continue;
                }
                let mut load = load(contender.addr, &format!("kept-small-{}-0", contender.name));
                load.access_key = contender.user.access_key.clone();
                load.secret_key = contender.user.secret_key.clone();
                once(&contender.name, None, contender.process, load)?;
            }
        }
        Ok(())
    }

    fn verdicts(&self, lab: &Lab, samples: &Samples) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for kind in &KINDS {
            let work = work(kind);
            let cost =
                |contender: &str, driver| samples.cost(&work, contender, CONNECTIONS, Some(driver));
            let what = format!("{}, {CONNECTIONS} connections", kind.title);
            for &driver in &lab.options.drivers {
                if let (Some((goal, limit, stretch)), Some(gateway), Some(nginx)) = (
                    kind.goal,
                    cost("gateway", driver),
                    cost(&nginx_name(), Driver::Epoll),
                ) {
                    let what = format!("{what}, {}, against an nginx hop", driver.name());
                    let more = match driver {
                        Driver::IoUring => 1.0,
                        Driver::Epoll => EPOLL,
                    };
                    let pair = (gateway, nginx);
                    let stretch = stretch.map(|s| s * more);
                    verdicts.push(Verdict::ratio(goal, what, pair, limit * more, stretch));
                }
            }
            if let (Some(epoll), Some(ring)) = (
                cost("gateway", Driver::Epoll),
                cost("gateway", Driver::IoUring),
            ) {
                let what = format!("{what}, epoll against io_uring");
                verdicts.push(Verdict::ratio("G10", what, (epoll, ring), EPOLL, None));
            }
        }
        verdicts
    }
}
