//! `provider = "vault"`: a Transit key of OpenBao or Vault.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::Wrong;
use super::super::reader::{Reader, refused};
use super::super::values;
use crate::model::{Endpoint, KeyProvider, SecretSource, VaultAuth, VaultKey};

/// Servers of one key.
const ENDPOINTS_MAX: usize = 8;

/// Keys that belong to some methods only.
const OF_METHODS: &[(&str, &[Method])] = &[
    ("token", &[Method::Token]),
    ("token_env", &[Method::Token]),
    ("token_file", &[Method::Token]),
    ("role_id", &[Method::AppRole]),
    ("secret_id", &[Method::AppRole]),
    ("secret_id_env", &[Method::AppRole]),
    ("secret_id_file", &[Method::AppRole]),
    ("role", &[Method::Kubernetes, Method::Aws, Method::Cert]),
    ("jwt_file", &[Method::Kubernetes]),
    ("server_id", &[Method::Aws]),
    ("sts_region", &[Method::Aws]),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Token,
    AppRole,
    Kubernetes,
    Aws,
    Cert,
}

impl Method {
    const ALL: [Self; 5] = [
        Self::Token,
        Self::AppRole,
        Self::Kubernetes,
        Self::Aws,
        Self::Cert,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::AppRole => "approle",
            Self::Kubernetes => "kubernetes",
            Self::Aws => "aws",
            Self::Cert => "cert",
        }
    }
}

pub(super) fn key(table: &Reader<'_>) -> Option<KeyProvider> {
    let endpoints = endpoints(table);
    let mount = path(table, "mount");
    let key = table.parsed("key", |text| name(text).then(|| text.to_owned()));
    let namespace = path(table, "namespace");
    let ca_file = table.file("ca_file");
    let client_cert = client_cert(table);
    let auth = auth(table, client_cert.is_some());
    if let Some(endpoints) = &endpoints
        && !endpoints.iter().any(|e| e.https)
    {
        for key in ["ca_file", "client_cert"] {
            if table.has(key) {
                let what = Wrong::from("has no meaning with http:// endpoints".to_owned());
                table.misplaced(key, what.remedy("remove it, or use https://"));
            }
        }
    }
    Some(KeyProvider::Vault(Box::new(VaultKey {
        endpoints: endpoints?,
        mount: mount?,
        key: key?.value,
        namespace,
        ca_file,
        client_cert,
        auth: Arc::new(auth?),
    })))
}

fn endpoints(table: &Reader<'_>) -> Option<Vec<Endpoint>> {
    let endpoints = table.list("endpoints", |text| {
        let endpoint = values::endpoint(text).ok_or_else(|| refused(text))?;
        if !endpoint.https && !on_this_machine(&endpoint.host) {
            let what = format!("{text:?} would carry tokens and keys unencrypted");
            return Err(Wrong::from(what).remedy("use https://, or an agent on this machine"));
        }
        Ok(endpoint)
    })?;
    let twice = endpoints
        .iter()
        .enumerate()
        .any(|(n, e)| endpoints[..n].contains(e));
    if twice || endpoints.is_empty() || endpoints.len() > ENDPOINTS_MAX {
        let what = if twice {
            "names a server twice"
        } else if endpoints.is_empty() {
            "names no server"
        } else {
            "names too many servers"
        };
        let accepted = format!("1 to {ENDPOINTS_MAX} different servers");
        table.wrong(
            "endpoints",
            Wrong::from(what.to_owned()).accept(accepted).remedy(
                "name each node of the cluster once, or one address that stands before them",
            ),
        );
        return None;
    }
    Some(endpoints)
}

pub(super) fn on_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A mount's or a namespace's path, without slashes around it.
fn path(table: &Reader<'_>, key: &str) -> Option<String> {
    let parsed = table.parsed(key, |text| {
        let path = text.trim_matches('/');
        path.split('/').all(name).then(|| path.to_owned())
    });
    parsed.map(|found| found.value)
}

/// What can stand in a URL as it is: what Transit takes as the name of a key, and a part of a mount's path.
fn name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= 128 && text.chars().all(inner) && !text.starts_with('.')
}

pub(super) fn client_cert(table: &Reader<'_>) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    for (key, other) in [("client_cert", "client_key"), ("client_key", "client_cert")] {
        if table.has(key) && !table.has(other) {
            let what = Wrong::from(format!("has no {other} beside it"));
            table.wrong(key, what.remedy(format!("add {other} = \"PATH\"")));
        }
    }
    Some((table.file("client_cert")?, table.file("client_key")?))
}

fn auth(table: &Reader<'_>, has_cert: bool) -> Option<VaultAuth> {
    let method = table.choice("auth", &Method::ALL)?;
    for (key, methods) in OF_METHODS {
        if table.has(key) && !methods.contains(&method) {
            let what = format!("has no meaning with auth = {:?}", method.name());
            let others: Vec<_> = methods.iter().map(|m| format!("{:?}", m.name())).collect();
            let remedy = format!("remove it, or set auth = {}", others.join(" or "));
            table.misplaced(key, Wrong::from(what).remedy(remedy));
        }
    }
    if method == Method::Token && table.has("auth_mount") {
        let what = Wrong::from("has no meaning with auth = \"token\"".to_owned());
        table.misplaced("auth_mount", what.remedy("remove it, or set auth"));
    }
    let mount = if table.has("auth_mount") {
        path(table, "auth_mount")
    } else {
        Some(method.name().to_owned())
    };
    let role = table.text("role").map(|found| found.value);
    Some(match method {
        Method::Token => VaultAuth::Token(source(table, "token", true)?),
        Method::AppRole => {
            need(table, "role_id");
            let role_id = table.text("role_id");
            let secret_id = match table.secret_keys("secret_id").is_empty() {
                true => None,
                false => Some(source(table, "secret_id", false)?),
            };
            VaultAuth::AppRole {
                mount: mount?,
                role_id: role_id?.value,
                secret_id,
            }
        }
        Method::Kubernetes => {
            need(table, "role");
            let jwt_file = table.file("jwt_file");
            VaultAuth::Kubernetes {
                mount: mount?,
                role: role?,
                jwt_file: jwt_file?,
            }
        }
        Method::Aws => {
            need(table, "role");
            let header = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
            let server_id = table.parsed("server_id", |text| header(text).then(|| text.to_owned()));
            let region = table.parsed("sts_region", |text| name(text).then(|| text.to_owned()));
            VaultAuth::Aws {
                mount: mount?,
                role: role?,
                server_id: server_id.map(|found| found.value),
                region: region.map(|found| found.value),
            }
        }
        Method::Cert => {
            if !has_cert && !table.has("client_cert") {
                need(table, "client_cert");
            }
            VaultAuth::Cert {
                mount: mount?,
                role,
            }
        }
    })
}

fn need(table: &Reader<'_>, key: &str) {
    if !table.has(key) {
        table.missing(key);
    }
}

/// A secret given here, or the file that holds it and is read when it is needed.
fn source(table: &Reader<'_>, name: &str, required: bool) -> Option<SecretSource> {
    let given = table.secret_keys(name);
    let file = format!("{name}_file");
    if given.is_empty() && required {
        let wrong = Wrong::from("is missing".to_owned())
            .accept(format!("one of {name}, {name}_env, {name}_file"))
            .remedy(format!("add {name}_file = \"PATH\""));
        table.wrong(name, wrong);
    }
    if given == [file.as_str()] {
        return table.file(&file).map(SecretSource::File);
    }
    table.secret(name).map(SecretSource::Given)
}
