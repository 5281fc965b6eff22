//! The KMIP provider in the binary encoding over mutual TLS, on PyKMIP's server.

mod conformance;

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use conformance::{Subject, conforms};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use sealgate_kms::kmip::{KmipConfig, KmipEndpoint, KmipProvider, KmipVersion, KmipWrap, TlsFiles};
use sealgate_kms::{KeyError, Provider};
use tempfile::TempDir;

/// The Python with what ./test installs.
fn python() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/venv/bin/python3");
    let found = std::env::var_os("SEALGATE_PYTHON").map_or(own, PathBuf::from);
    assert!(
        found.exists(),
        "set SEALGATE_PYTHON to what `./test setup` prints"
    );
    found
}

/// A server with certificates of its own, stopped with the test.
struct Server {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        certificates(folder.path());
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let process = serve(folder.path(), port);
        Self {
            folder,
            port,
            process,
        }
    }

    /// Ends the whole group: PyKMIP has child processes that outlive it.
    fn stop(&mut self) {
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).status();
        let _ = self.process.wait();
    }

    fn again(&mut self) {
        self.process = serve(self.folder.path(), self.port);
    }

    /// Does as the key's owner, with a client that is not ours.
    fn owner(&self, what: &str, more: &[&str]) -> String {
        let output = script(what, self.port, self.folder.path())
            .args(more)
            .output()
            .expect("Python starts");
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{what}: {failed}\n{}",
            log(self.folder.path())
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn config(&self, uid: &str) -> KmipConfig {
        let file = |name: &str| self.folder.path().join(name);
        KmipConfig {
            endpoint: KmipEndpoint::Binary {
                host: "127.0.0.1".to_owned(),
                port: self.port,
            },
            version: KmipVersion { major: 1, minor: 4 },
            uid: uid.to_owned(),
            old_uids: Vec::new(),
            wrap: KmipWrap::AesGcm,
            token: None,
            tls: TlsFiles {
                ca: Some(file("ca.pem")),
                client: Some((file("owner.pem"), file("owner.key"))),
            },
        }
    }
}

fn script(what: &str, port: u16, folder: &Path) -> Command {
    let mut command = Command::new(python());
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pykmip_server.py"))
        .args([what, &port.to_string()])
        .arg(folder);
    command
}

fn serve(folder: &Path, port: u16) -> Child {
    let output = std::fs::File::create(folder.join("output.log")).expect("a log");
    let mut process = script("serve", port, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .process_group(0)
        .spawn()
        .expect("Python starts");
    for _ in 0..300 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return process;
        }
        let ended = process.try_wait().expect("a child");
        assert!(ended.is_none(), "PyKMIP ended at once:\n{}", log(folder));
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("PyKMIP did not listen within 30 s:\n{}", log(folder));
}

fn log(folder: &Path) -> String {
    let read = |name| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    format!("{}\n{}", read("output.log"), read("server.log"))
}

fn certificates(folder: &Path) {
    let key = || KeyPair::generate().expect("a key pair");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    std::fs::write(folder.join("ca.pem"), ca.pem()).expect("writes");
    for (name, usage) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("owner", ExtendedKeyUsagePurpose::ClientAuth),
        ("stranger", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let own = key();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&own, &ca).expect("a certificate");
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("writes");
        std::fs::write(folder.join(format!("{name}.key")), own.serialize_pem()).expect("writes");
    }
}

fn provider(name: &str, config: KmipConfig) -> Arc<dyn Provider> {
    Arc::new(KmipProvider::new(name, config).unwrap_or_else(|e| panic!("{e}")))
}

fn said<T>(outcome: Result<T, KeyError>) -> (KeyError, String) {
    match outcome {
        Ok(_) => panic!("it went well"),
        Err(e) => (e.clone(), e.to_string()),
    }
}

#[tokio::test]
async fn a_pykmip_server_conforms() {
    let server = Server::start();
    let (main, other) = (server.owner("create", &[]), server.owner("create", &[]));
    conforms(Subject {
        main: provider("main", server.config(&main)),
        other_name: provider("backup", server.config(&main)),
        other_key: provider("main", server.config(&other)),
        // This server does not know ReKey: see the next test.
        rotate: None,
    })
    .await;
}

#[tokio::test]
async fn a_new_key_beside_old_ones() {
    let server = Server::start();
    let (old, new) = (server.owner("create", &[]), server.owner("create", &[]));
    let made = provider("main", server.config(&old))
        .generate()
        .await
        .expect("generates");
    assert_eq!(made.version, old);

    let without = provider("main", server.config(&new));
    let (error, text) = said(without.unwrap(&made.version, &made.wrapped).await);
    assert!(
        matches!(error, KeyError::Denied(_)) && text.contains("old_uids"),
        "{text}"
    );

    let with = KmipConfig {
        old_uids: vec![old.clone()],
        ..server.config(&new)
    };
    let with = provider("main", with);
    assert!(with.unwrap(&old, &made.wrapped).await.expect("opens") == made.kek);
    let again = with.rewrap(&old, &made.wrapped).await.expect("rewraps");
    assert_eq!(again.version, new);
    assert_eq!(
        with.newest_version().await.expect("a version"),
        Some(new.clone())
    );

    server.owner("revoke", &[&new]);
    let (error, text) = said(with.generate().await);
    assert!(matches!(error, KeyError::Denied(_)), "{text}");
}

#[tokio::test]
async fn connections_outlive_the_server_and_strangers_stay_out() {
    let mut server = Server::start();
    let uid = server.owner("create", &[]);
    let main = provider("main", server.config(&uid));
    let made = main.generate().await.expect("generates");
    server.stop();
    let (error, text) = said(main.unwrap(&uid, &made.wrapped).await);
    assert!(matches!(error, KeyError::Unavailable { .. }), "{text}");
    server.again();
    assert!(main.unwrap(&uid, &made.wrapped).await.expect("opens") == made.kek);

    // Known to the authority, but not the key's owner.
    let file = |name: &str| server.folder.path().join(name);
    let stranger = KmipConfig {
        tls: TlsFiles {
            ca: Some(file("ca.pem")),
            client: Some((file("stranger.pem"), file("stranger.key"))),
        },
        ..server.config(&uid)
    };
    let (error, text) = said(provider("main", stranger).unwrap(&uid, &made.wrapped).await);
    assert!(matches!(error, KeyError::Denied(_)), "{text}");

    // No certificate, and a server of an authority that nobody trusts here.
    for tls in [
        TlsFiles {
            ca: Some(file("ca.pem")),
            client: None,
        },
        TlsFiles {
            ca: Some(file("stranger.pem")),
            client: None,
        },
    ] {
        let config = KmipConfig {
            tls,
            ..server.config(&uid)
        };
        let (error, text) = said(provider("main", config).generate().await);
        assert!(matches!(error, KeyError::Unavailable { .. }), "{text}");
    }
    let missing = TlsFiles {
        ca: Some(file("none.pem")),
        client: None,
    };
    let config = KmipConfig {
        tls: missing,
        ..server.config(&uid)
    };
    let refused = KmipProvider::new("main", config).err().expect("refused");
    assert!(refused.contains("none.pem cannot be used"), "{refused}");
}
