//! The file provider against the suite that all providers pass.

mod conformance;

use std::path::Path;
use std::sync::Arc;

use conformance::{Subject, conforms};
use sealgate_kms::Provider;
use sealgate_kms::file::{FileProvider, KeyRing};

fn provider(name: &str, path: &Path) -> Arc<dyn Provider> {
    Arc::new(FileProvider::open(name, path).expect("a key ring"))
}

#[tokio::test]
async fn the_file_provider_conforms() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (main, other) = (dir.path().join("main.keys"), dir.path().join("other.keys"));
    KeyRing::create(&main).expect("a new ring");
    KeyRing::create(&other).expect("a new ring");
    conforms(Subject {
        main: provider("main", &main),
        other_name: provider("backup", &main),
        other_key: provider("main", &other),
        // A ring is read once: a new version comes with a reload (see the unit tests).
        rotate: None,
    })
    .await;
}
