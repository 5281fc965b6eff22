//! The gauges as a test: `./test gauges` builds the gateway as it is released, and runs this.

use std::env;
use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "measures a release build: run ./test gauges, which makes it"]
fn no_gauge_is_worse_than_its_baseline() {
    let gateway = env::var_os("SEALGATE_BIN").expect("SEALGATE_BIN names the gateway's binary");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let status = Command::new(env!("CARGO_BIN_EXE_sealgate-bench"))
        .args(["gauges", "--gateway"])
        .arg(gateway)
        .current_dir(root)
        .status()
        .expect("the instruments start");
    assert!(status.success(), "see the table above");
}
