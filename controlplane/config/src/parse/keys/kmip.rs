//! `provider = "kmip"`: a key at a KMIP server.

use super::super::Wrong;
use super::super::reader::{Reader, refused};
use super::super::values;
use super::vault::{client_cert, on_this_machine};
use crate::model::{KeyProvider, KmipKey, KmipServer};

/// Servers of one key.
const ENDPOINTS_MAX: usize = 8;
/// Longest identifier, bytes: it is the key's version in every envelope.
const UID_MAX: usize = 128;
/// Where KMIP servers listen (IANA).
const PORT: u16 = 5696;

pub(super) fn key(table: &Reader<'_>) -> Option<KeyProvider> {
    let endpoints = endpoints(table);
    let uid = table.parsed("uid", identifier);
    let old_uids = table.list("old_uids", |text| {
        identifier(text).ok_or_else(|| refused(text))
    });
    let key_wrap = table.choice("wrap", &[false, true]);
    let version = table.choice("version", &[(1, 4), (2, 0), (2, 1)]);
    let token = table.secret("token");
    let ca_file = table.file("ca_file");
    let client = client_cert(table);
    if let Some(endpoints) = &endpoints {
        belongs(table, endpoints);
    }
    Some(KeyProvider::Kmip(Box::new(KmipKey {
        endpoints: endpoints?,
        uid: uid?.value,
        old_uids: old_uids?,
        key_wrap: key_wrap?,
        version,
        token,
        ca_file,
        client_cert: client,
    })))
}

/// What the endpoints need, and what has no meaning with them.
fn belongs(table: &Reader<'_>, endpoints: &[KmipServer]) {
    let binary = endpoints.iter().any(|server| server.binary);
    if binary && !table.has("client_cert") && !table.has("client_key") {
        table.missing("client_cert");
    }
    if endpoints.iter().all(|server| server.binary) {
        for key in table.secret_keys("token") {
            let what = Wrong::from("has no meaning with kmip:// endpoints".to_owned());
            table.misplaced(&key, what.remedy("remove it, or use https://"));
        }
    }
    if endpoints.iter().all(|server| !server.address.https) {
        for key in ["ca_file", "client_cert"] {
            let what = Wrong::from("has no meaning with http:// endpoints".to_owned());
            table.misplaced(key, what.remedy("remove it, or use https:// or kmip://"));
        }
    }
}

fn endpoints(table: &Reader<'_>) -> Option<Vec<KmipServer>> {
    let endpoints = table.list("endpoints", |text| {
        let server = server(text).ok_or_else(|| refused(text))?;
        if !server.address.https && !on_this_machine(&server.address.host) {
            let what = format!("{text:?} would carry keys unencrypted");
            return Err(Wrong::from(what).remedy("use https:// or kmip://"));
        }
        Ok(server)
    })?;
    let distinct = |(n, server)| !endpoints[..n].contains(server);
    if (1..=ENDPOINTS_MAX).contains(&endpoints.len()) && endpoints.iter().enumerate().all(distinct)
    {
        return Some(endpoints);
    }
    let what = Wrong::from("does not name 1 to 8 different servers".to_owned());
    table.wrong(
        "endpoints",
        what.remedy("name each server that has the key once"),
    );
    None
}

fn server(text: &str) -> Option<KmipServer> {
    let Some(rest) = text.strip_prefix("kmip://") else {
        let address = values::endpoint(text)?;
        return Some(KmipServer {
            binary: false,
            address,
        });
    };
    // A port that is written stays; one that is not is KMIP's own.
    let with_port = match rest.rsplit_once(':') {
        Some((_, port)) if !port.contains(']') => rest.to_owned(),
        _ => format!("{}:{PORT}", rest.trim_end_matches('/')),
    };
    let address = values::endpoint(&format!("https://{with_port}"))?;
    Some(KmipServer {
        binary: true,
        address,
    })
}

fn identifier(text: &str) -> Option<String> {
    let fits = (1..=UID_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}
