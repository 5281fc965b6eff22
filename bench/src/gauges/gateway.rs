//! The gateway as the gauges run it: one core, a pinned library, nothing logged.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::client::User;
use crate::contenders::Folder;
use crate::net::{Outcome, free_port};
use crate::process::Child;
use crate::relay::Driver;

/// It guards nothing but patterns.
const KEY_RING: &str = "format = \"sealgate-keyring/1\"\ncurrent = 1\n\n[[version]]\nid = 1\n\
created = 2026-01-01\nkey = \"YmVuY2gga2V5IG9mIHRoaXJ0eS10d28gYnl0ZXMgISE=\"\n";

/// What all gateways of a run share.
pub(super) struct Setting {
    pub(super) binary: PathBuf,
    pub(super) folder: Folder,
    store: SocketAddr,
}

impl Setting {
    pub(super) fn new(binary: PathBuf, folder: Folder, store: SocketAddr) -> Setting {
        Setting {
            binary,
            folder,
            store,
        }
    }

    /// Starts a gateway by the command that `wrap` makes of the plain one.
    pub(super) fn start(
        &self,
        driver: Driver,
        name: &str,
        wrap: impl FnOnce(Command) -> Command,
    ) -> Outcome<Child> {
        let ring = self.folder.file("keys.ring");
        let config = self.folder.file(&format!("{name}.toml"));
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let admin = free_port()?;
        let User {
            access_key,
            secret_key,
            region,
        } = User::of_bench();
        let (driver, store) = (driver.name(), self.store);
        // Ring, whichever is faster here, and a store that is near, however late a slow gateway has its answers: neither
        // may change the counts.
        let text = format!(
            r#"[listen]
s3 = "{addr}"
admin = "127.0.0.1:{admin}"

[runtime]
cores = 1
driver = "{driver}"
aead = "ring"

[log]
access = "off"

[backend]
type = "s3"
endpoint = "http://{store}"
region = "{region}"
access_key = "{access_key}"
secret_key = "{secret_key}"
path_style = true
payload = "unsigned"
far = "1m"

[keys.bench]
provider = "file"
path = "{ring}"

[[buckets]]
match = "*"
key = "bench"

[[credentials]]
access_key = "{access_key}"
secret_key = "{secret_key}"
allow = [{{ bucket = "*", actions = ["*"] }}]
"#,
            ring = ring.display(),
        );
        for (path, text) in [(&ring, KEY_RING), (&config, &text)] {
            fs::write(path, text)?;
            // The gateway insists.
            fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        }
        let mut plain = Command::new(&self.binary);
        plain.args(["serve", "--config"]).arg(&config);
        let log = self.folder.file(&format!("{name}.log"));
        Child::server(&format!("gateway ({name})"), wrap(plain), addr, &log)
    }
}
