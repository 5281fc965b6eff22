//! Credentials whose loading outlives the call that began it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// Credentials that nobody has come for in so long are not handed out any more.
const KEPT: Duration = Duration::from_secs(60);

/// A source of credentials. The service gives up a call after a second or two; a `credential_process`, or a role
/// assumed through another role, may need longer, and would never be done if it began anew with every attempt.
#[derive(Debug)]
pub(super) struct Detached {
    source: SharedCredentialsProvider,
    running: Arc<Mutex<Option<Load>>>,
}

#[derive(Debug)]
struct Load {
    task: JoinHandle<Result<Credentials, CredentialsError>>,
    since: Instant,
}

impl Detached {
    pub(super) fn new(source: SharedCredentialsProvider) -> Self {
        Self {
            source,
            running: Arc::default(),
        }
    }

    async fn load(&self) -> Result<Credentials, CredentialsError> {
        let mut running = self.running.lock().await;
        let current = running
            .take()
            .filter(|load| !load.task.is_finished() || load.since.elapsed() < KEPT);
        let load = running.insert(current.unwrap_or_else(|| {
            let source = self.source.clone();
            Load {
                task: tokio::spawn(async move { source.provide_credentials().await }),
                since: Instant::now(),
            }
        }));
        // Dropped here, the task stays for the next call.
        let outcome = (&mut load.task).await;
        *running = None;
        outcome.unwrap_or_else(|e| Err(CredentialsError::unhandled(e)))
    }
}

impl ProvideCredentials for Detached {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}
