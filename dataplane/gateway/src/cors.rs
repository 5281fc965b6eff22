//! CORS: preflights are answered, and answers to scripts of other origins are marked, by the configuration's rules or
//! else by those that the bucket has in the store.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, header};
use sealgate_backend::Store;
use sealgate_backend::types::{BackendError, Forward};
use sealgate_s3::cors::{Preflight, Rule, parse};
use sealgate_s3::route::{Operation, Routed};
use sealgate_uring::Connector;

use crate::core::Core;
use crate::failure::Failure;
use crate::reply::Reply;
use crate::snapshot::{Snapshot, matches_glob};

/// How long a bucket's rules are kept: what another gateway changes is seen after that.
const KEPT: Duration = Duration::from_secs(60);
/// Most buckets whose rules are kept, those without any included: nobody has to sign to ask for one.
const MAX_BUCKETS: usize = 1024;
/// Most questions to the store at a time, per core, for the same reason.
const MAX_ASKED: usize = 8;

/// Rises when a bucket's rules change through this process: every core drops what it keeps.
static EPOCH: AtomicU64 = AtomicU64::new(0);

/// A bucket's rules, and until when they are believed.
type Kept = (Rc<[Rule]>, Instant);

/// Buckets' rules in the store, for a while.
#[derive(Default)]
pub(crate) struct CorsCache {
    kept: RefCell<HashMap<String, Kept>>,
    epoch: Cell<u64>,
    asked: Cell<usize>,
}

/// To be called after an operation that may have changed a bucket's rules.
pub(crate) fn changed(operation: &Operation) {
    use Operation as O;
    if matches!(
        operation,
        O::PutBucketCors | O::DeleteBucketCors | O::CreateBucket | O::DeleteBucket
    ) {
        EPOCH.fetch_add(1, Ordering::Release);
    }
}

impl CorsCache {
    fn get(&self, bucket: &str) -> Option<Rc<[Rule]>> {
        let epoch = EPOCH.load(Ordering::Acquire);
        let mut kept = self.kept.borrow_mut();
        if self.epoch.replace(epoch) != epoch {
            kept.clear();
        }
        let (rules, until) = kept.get(bucket)?;
        (*until > Instant::now()).then(|| Rc::clone(rules))
    }

    fn put(&self, bucket: &str, rules: Rc<[Rule]>, asked_in: u64) {
        // An answer from before a change is not worth keeping.
        if asked_in != EPOCH.load(Ordering::Acquire) {
            return;
        }
        let mut kept = self.kept.borrow_mut();
        let now = Instant::now();
        if kept.len() >= MAX_BUCKETS {
            kept.retain(|_, (_, until)| *until > now);
        }
        if kept.len() >= MAX_BUCKETS {
            kept.clear();
        }
        kept.insert(bucket.to_owned(), (rules, now + KEPT));
    }
}

/// One question at the store under way.
struct Asking<'c>(&'c Cell<usize>);

impl<'c> Asking<'c> {
    fn begin(asked: &'c Cell<usize>) -> Result<Self, Failure> {
        if asked.get() >= MAX_ASKED {
            return Err(Failure::busy());
        }
        asked.set(asked.get() + 1);
        Ok(Self(asked))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The rules of a bucket: the configuration's where it has any for it, else the bucket's own.
async fn rules<C: Connector>(
    core: &Core<C>,
    snapshot: &Snapshot,
    bucket: &str,
) -> Result<Rc<[Rule]>, Failure> {
    let own = snapshot
        .cors
        .iter()
        .filter(|rule| matches_glob(&rule.bucket, bucket));
    let own: Vec<Rule> = own.map(|rule| rule.rule.clone()).collect();
    if !own.is_empty() {
        return Ok(own.into());
    }
    if let Store::Fs(_) = core.store {
        return Ok(Rc::new([]));
    }
    if let Some(rules) = core.cors.get(bucket) {
        return Ok(rules);
    }
    let epoch = EPOCH.load(Ordering::Acquire);
    let _asking = Asking::begin(&core.cors.asked)?;
    let question = Forward {
        operation: &Operation::GetBucketCors,
        method: Method::GET,
        bucket,
        key: None,
        query: vec![("cors", "")],
        headers: HeaderMap::new(),
        body: Vec::new(),
    };
    let rules: Rc<[Rule]> = match core.store.forward(question).await {
        Ok(answer) => match parse(&answer.body) {
            Ok(rules) => rules.into(),
            Err(e) => {
                tracing::warn!(bucket, error = %e, "the bucket's CORS rules cannot be read");
                Rc::new([])
            }
        },
        // No rules, no such bucket, or a store without CORS.
        Err(BackendError::Answer(_)) => Rc::new([]),
        Err(e) => return Err(e.into()),
    };
    core.cors.put(bucket, Rc::clone(&rules), epoch);
    Ok(rules)
}

/// The answer to an `OPTIONS` request.
pub(crate) async fn preflight<C: Connector>(
    core: &Core<C>,
    snapshot: &Snapshot,
    headers: &HeaderMap,
    routed: &Routed,
) -> Result<Reply, Failure> {
    let asked = Preflight::of(headers)?;
    let rules = match &routed.bucket {
        Some(bucket) => rules(core, snapshot, bucket.as_str()).await?,
        None => Rc::new([]),
    };
    let rule = rules
        .iter()
        .find(|rule| rule.allows(asked.origin, asked.method, asked.headers));
    let Some(rule) = rule else {
        let refusal = asked.refusal(!rules.is_empty(), routed.key.is_some());
        return Err(refusal.into());
    };
    let mut reply = Reply::ok();
    reply.headers = rule.answer(asked.origin, asked.headers);
    Ok(reply)
}

/// What the answer to a request with an `Origin` says to its browser, if anything.
pub(crate) async fn headers_for<C: Connector>(
    core: &Core<C>,
    snapshot: &Snapshot,
    method: &Method,
    headers: &HeaderMap,
    routed: &Routed,
) -> Option<Box<HeaderMap>> {
    let origin = headers.get(header::ORIGIN)?.to_str().ok()?;
    let bucket = routed.bucket.as_ref()?.as_str();
    let rules = rules(core, snapshot, bucket).await.ok()?;
    let rule = rules
        .iter()
        .find(|rule| rule.allows(origin, method.as_str(), None))?;
    Some(Box::new(rule.answer(origin, None)))
}
