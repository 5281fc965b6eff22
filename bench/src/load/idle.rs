//! Connections that made one request and then wait.

use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::forms::{self, Payload, prepare};
use super::{Options, Outcome};
use crate::client::Client;

/// Connections that are being opened at the same time.
const AT_ONCE: usize = 32;

/// Open connections, closed when this is dropped.
pub(crate) struct Idle {
    took: Duration,
    close: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Idle {
    /// Opens so many, a few at a time; each gets the object of `options` once.
    pub(crate) fn open(options: &Options, connections: usize) -> Outcome<Idle> {
        let (ready, opened) = mpsc::channel();
        let (close, closed) = oneshot::channel();
        let options = options.clone();
        let thread = thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            {
                Ok(runtime) => runtime,
                Err(e) => return drop(ready.send(Err(e.into()))),
            };
            LocalSet::new().block_on(&runtime, async {
                let started = Instant::now();
                let options = Rc::new(options);
                let openers: Vec<_> = (0..AT_ONCE)
                    .map(|n| {
                        let share = (connections + n) / AT_ONCE;
                        tokio::task::spawn_local(several(options.clone(), share))
                    })
                    .collect();
                let mut all = Vec::with_capacity(AT_ONCE);
                for opener in openers {
                    match opener.await {
                        Ok(Ok(clients)) => all.push(clients),
                        Ok(Err(e)) => return drop(ready.send(Err(e))),
                        Err(e) => return drop(ready.send(Err(e.into()))),
                    }
                }
                let _ = ready.send(Ok(started.elapsed()));
                // Ends when the sender is dropped, too.
                let _ = closed.await;
            });
        });
        let took = opened
            .recv()
            .map_err(|_| "the connections' thread ended")??;
        Ok(Idle {
            took,
            close: Some(close),
            thread: Some(thread),
        })
    }

    /// How long opening took.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        drop(self.close.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

async fn several(options: Rc<Options>, count: usize) -> Outcome<Vec<Client>> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(once(&options).await?);
    }
    Ok(all)
}

async fn once(options: &Options) -> Outcome<Client> {
    let mut client = options.connect().await?;
    let target = format!("/{}/{}", options.bucket, options.key);
    let (method, none) = (Method::GET, HeaderMap::new());
    let request = prepare(
        &mut client,
        options.form,
        &method,
        &target,
        none,
        Payload::None,
    )?;
    forms::send(&mut client, &request, None).await?;
    client.answer(&method, false, |_, _| {}).await?.ok("GET")?;
    client.rest();
    Ok(client)
}
