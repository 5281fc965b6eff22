//! ETags: reversible, and never in the form of an MD5.

use proptest::prelude::*;
use sealgate_envelope::{BackendEtag, ClientEtag};

fn to_client(etag: &str) -> String {
    let client = BackendEtag(etag.into()).to_client().0;
    let pieces = BackendEtag::client_pieces(etag.as_bytes()).concat();
    assert_eq!(pieces, client.as_bytes(), "{etag}");
    client
}

fn to_backend(etag: &str) -> Option<String> {
    ClientEtag(etag.into()).to_backend().map(|etag| etag.0)
}

const MD5: &str = "9b2cf535f27731c974343645a3985328";

#[test]
fn as_documented() {
    assert_eq!(to_client(&format!("\"{MD5}\"")), format!("\"{MD5}-0\""));
    assert_eq!(to_client(MD5), format!("{MD5}-0"));
    assert_eq!(to_client(&format!("\"{MD5}-17\"")), format!("\"{MD5}-17\""));
    assert_eq!(to_client(&format!("W/\"{MD5}\"")), format!("W/\"{MD5}-0\""));
    assert_eq!(
        to_client("abc-0"),
        "abc-0-0",
        "a store that uses our mark itself"
    );
    assert_eq!(
        to_backend(&format!("\"{MD5}-0\"")),
        Some(format!("\"{MD5}\""))
    );
    assert_eq!(
        to_backend(&format!("\"{MD5}-3\"")),
        Some(format!("\"{MD5}-3\""))
    );
}

/// A client that asks for the MD5 of what it sent, or for what the store says, finds nothing.
#[test]
fn an_md5_matches_nothing() {
    for etag in [MD5, &format!("\"{MD5}\""), "\"\"", "", "\"", "W/", "*"] {
        assert_eq!(to_backend(etag), None, "{etag}");
    }
}

proptest! {
    #[test]
    fn there_and_back(tag in "[a-zA-Z0-9]{0,6}(-[0-9]{0,3}){0,3}", weak: bool, quoted: bool) {
        let quote = if quoted { "\"" } else { "" };
        let etag = format!("{}{quote}{tag}{quote}", if weak { "W/" } else { "" });
        let client = to_client(&etag);
        prop_assert_eq!(to_backend(&client), Some(etag));
        let shown = client.trim_start_matches("W/").trim_matches('"');
        prop_assert!(shown.rsplit_once('-').is_some_and(|(_, n)| n.parse::<u64>().is_ok()), "{}", shown);
    }
}
