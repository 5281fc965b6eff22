//! What a client is shown of a store's listing, made of a tree in the plainest way.

use std::fmt::Write as _;

use bytes::Bytes;

use super::Tree;
use crate::xml::NAMESPACE;
use crate::{encoding, time};

impl Tree {
    /// What a client is shown of a store's listing of objects, written in the plainest way.
    pub(super) fn objects(&self, client_url: bool) -> Option<String> {
        let url = self.says("EncodingType", "url");
        let key = |text: &str| shown(text, url, client_url);
        if self.name != "ListBucketResult" {
            return None;
        }
        let prefixes: Vec<_> = self
            .all("CommonPrefixes")
            .flat_map(|c| c.all("Prefix"))
            .collect();
        let entries = self.all("Contents").count() + prefixes.len();
        let mut out = String::new();
        let mut put = |name: &str, text: &str| element(&mut out, name, text);
        put("Name", &escaped(self.get("Name").unwrap_or("")));
        put("Prefix", &key(self.get("Prefix").unwrap_or("")));
        if self.get("Marker").is_some() && self.get("KeyCount").is_none() {
            put("Marker", &key(self.get("Marker").unwrap_or("")));
            if let Some(next) = self.get("NextMarker") {
                put("NextMarker", &key(next));
            }
        } else {
            for name in ["NextContinuationToken", "ContinuationToken"] {
                if let Some(token) = self.get(name).filter(|t| !t.is_empty()) {
                    put(name, &escaped(token));
                }
            }
            if let Some(after) = self.get("StartAfter").filter(|a| !a.is_empty()) {
                put("StartAfter", &key(after));
            }
            let count = self.number("KeyCount").unwrap_or(entries as u64);
            put("KeyCount", &count.to_string());
        }
        put("MaxKeys", &self.number("MaxKeys").unwrap_or(0).to_string());
        if let Some(delimiter) = self.get("Delimiter").filter(|d| !d.is_empty()) {
            put("Delimiter", &key(delimiter));
        }
        if client_url {
            put("EncodingType", "url");
        }
        let truncated = self.says("IsTruncated", "true");
        put("IsTruncated", &truncated.to_string());
        for object in self.all("Contents") {
            out += "<Contents>";
            let mut put = |name: &str, text: &str| element(&mut out, name, text);
            put("Key", &key(object.get("Key")?));
            put("LastModified", &object.date());
            put("ETag", &object.quoted_etag());
            put("Size", &object.number("Size")?.to_string());
            out += &object.owner();
            let class = object.get("StorageClass").filter(|c| !c.is_empty());
            let class = escaped(class.unwrap_or("STANDARD"));
            element(&mut out, "StorageClass", &class);
            out += "</Contents>";
        }
        for prefix in prefixes {
            out += "<CommonPrefixes>";
            element(&mut out, "Prefix", &key(&prefix.text));
            out += "</CommonPrefixes>";
        }
        Some(document("ListBucketResult", &out))
    }

    /// The same of a listing of versions, to a client that asks for no encoding where the store has none.
    pub(super) fn versions(&self) -> Option<String> {
        let url = self.says("EncodingType", "url");
        let key = |text: &str| shown(text, url, url);
        if self.name != "ListVersionsResult" {
            return None;
        }
        let text = |name| self.get(name).unwrap_or("");
        let mut out = String::new();
        let mut put = |name: &str, text: &str| element(&mut out, name, text);
        put("Name", &escaped(text("Name")));
        put("Prefix", &key(text("Prefix")));
        put("KeyMarker", &key(text("KeyMarker")));
        put("VersionIdMarker", &escaped(text("VersionIdMarker")));
        if let Some(next) = self.get("NextKeyMarker") {
            put("NextKeyMarker", &key(next));
            let version = text("NextVersionIdMarker");
            if !version.is_empty() {
                put("NextVersionIdMarker", &escaped(version));
            }
        }
        put("MaxKeys", &self.number("MaxKeys").unwrap_or(0).to_string());
        if !key(text("Delimiter")).is_empty() {
            put("Delimiter", &key(text("Delimiter")));
        }
        if url {
            put("EncodingType", "url");
        }
        let truncated = self.says("IsTruncated", "true");
        put("IsTruncated", &truncated.to_string());
        for version in &self.children {
            if !matches!(&*version.name, "Version" | "DeleteMarker") {
                continue;
            }
            let marker = version.name == "DeleteMarker";
            let _ = write!(out, "<{}>", version.name);
            let mut put = |name: &str, text: &str| element(&mut out, name, text);
            put("Key", &key(version.get("Key")?));
            put("VersionId", &escaped(version.get("VersionId")?));
            put("IsLatest", &version.says("IsLatest", "true").to_string());
            put("LastModified", &version.date());
            if !marker {
                put("ETag", &version.quoted_etag());
                put("Size", &version.number("Size").unwrap_or(0).to_string());
            }
            out += &version.owner();
            if !marker {
                let class = version.get("StorageClass").filter(|c| !c.is_empty());
                let class = escaped(class.unwrap_or("STANDARD"));
                element(&mut out, "StorageClass", &class);
            }
            let _ = write!(out, "</{}>", version.name);
        }
        for prefix in self.all("CommonPrefixes").flat_map(|c| c.all("Prefix")) {
            out += "<CommonPrefixes>";
            element(&mut out, "Prefix", &key(&prefix.text));
            out += "</CommonPrefixes>";
        }
        Some(document("ListVersionsResult", &out))
    }

    fn date(&self) -> String {
        let date = self.get("LastModified").and_then(time::parse_iso8601);
        time::iso8601(date.unwrap_or(0))
    }

    fn quoted_etag(&self) -> String {
        let etag = self.get("ETag").unwrap_or("").trim();
        let bare = etag.strip_prefix('"').and_then(|e| e.strip_suffix('"'));
        format!("&quot;{}&quot;", escaped(bare.unwrap_or(etag)))
    }

    fn owner(&self) -> String {
        let mut out = String::new();
        if let Some(owner) = self.all("Owner").next() {
            out += "<Owner>";
            element(&mut out, "ID", &escaped(owner.get("ID").unwrap_or("")));
            let name = owner.get("DisplayName").unwrap_or("");
            if !name.is_empty() {
                element(&mut out, "DisplayName", &escaped(name));
            }
            out += "</Owner>";
        }
        out
    }
}

fn document(root: &str, content: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{}\">{content}</{root}>",
        NAMESPACE
    )
}

fn element(out: &mut String, name: &str, escaped: &str) {
    let _ = write!(out, "<{name}>{escaped}</{name}>");
}

/// A key that a store lists, as a client is shown it.
fn shown(text: &str, url: bool, client_url: bool) -> String {
    let key = match url {
        true => encoding::decode_listing(text),
        false => Bytes::copy_from_slice(text.as_bytes()),
    };
    match client_url {
        true => {
            let encode = |b: &u8| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(*b).to_string(),
                b'-' | b'.' | b'_' | b'~' | b'/' => char::from(*b).to_string(),
                b => format!("%{b:02X}"),
            };
            key.iter().map(encode).collect()
        }
        false => escaped(&String::from_utf8_lossy(&key)),
    }
}

fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\t' | '\n' => c.to_string(),
        c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
            format!("&#x{:x};", u32::from(c))
        }
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}
