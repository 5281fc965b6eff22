//! A key in AWS KMS.

use super::super::reader::{Located, Reader, refused};
use super::super::{Wrong, values};
use crate::aws::{ACCEPTED, AwsKey, AwsKms, AwsRegion, is_region};
use crate::model::{Endpoint, KeyProvider};

pub(in crate::parse) fn key(table: &Reader<'_>) -> Option<KeyProvider> {
    let key = table.text("key_id").and_then(|text| {
        let parsed = AwsKey::parse(&text.value);
        parsed
            .map_err(|why| table.wrong("key_id", Wrong::from(why).accept(ACCEPTED)))
            .ok()
    });
    let previous = table.list("previous_key_ids", |text| {
        let key = AwsKey::parse(text).map_err(Wrong::from)?;
        match key.alias() {
            Some(_) => Err(
                Wrong::from("an alias does not say which key it once was".to_owned())
                    .remedy("write the id of the key it pointed to"),
            ),
            None => Ok(key),
        }
    });
    let profile = table.text("profile").map(|found| found.value);
    let ca_file = table.file("ca_file");
    let connect_timeout = table.duration("connect_timeout");
    let read_timeout = table.duration("read_timeout");
    let key = key?;
    let regions = places(table, &key)?;
    if ca_file.is_some() && regions.iter().all(plain) {
        let what = Wrong::from("has no meaning with http:// endpoints".to_owned());
        table.misplaced("ca_file", what.remedy("remove it, or use https://"));
    }
    Some(KeyProvider::AwsKms(Box::new(AwsKms {
        key,
        previous: previous?,
        regions,
        profile,
        ca_file,
        connect_timeout: connect_timeout?,
        read_timeout: read_timeout?,
    })))
}

/// Whether a place is reached without TLS.
fn plain(place: &AwsRegion) -> bool {
    let endpoint = place.endpoint.as_deref();
    endpoint.is_some_and(|url| url.starts_with("http://"))
}

/// The regions, each with its endpoint.
fn places(table: &Reader<'_>, key: &AwsKey) -> Option<Vec<AwsRegion>> {
    let (names, given_by) = match table.has("regions") {
        true => (region_list(table)?, "regions"),
        false => (vec![one_region(table, key)?], "region"),
    };
    if !fit(table, key, &names, given_by) {
        return None;
    }
    let endpoints = endpoints(table, names.len())?;
    let all = names.into_iter().zip(endpoints);
    Some(
        all.map(|(name, endpoint)| AwsRegion { name, endpoint })
            .collect(),
    )
}

fn region(text: &str) -> Result<String, Wrong> {
    let fine = is_region(text).then(|| text.to_owned());
    fine.ok_or_else(|| refused(text).accept("the name of a region, for example \"eu-west-1\""))
}

fn one_region(table: &Reader<'_>, key: &AwsKey) -> Option<String> {
    if table.has("region") {
        let given = table.text("region")?.value;
        return region(&given)
            .map_err(|wrong| table.wrong("region", wrong))
            .ok();
    }
    if let Some(own) = key.region() {
        return Some(own.to_owned());
    }
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        let Some(value) = table.context.environment.get(variable) else {
            continue;
        };
        if is_region(value.expose()) {
            return Some(value.expose().to_owned());
        }
        let what = format!("is missing, and the environment variable {variable} names no region");
        table.wrong("region", Wrong::from(what).remedy("add region = \"…\""));
        return None;
    }
    let what = "is missing: key_id is no ARN, and neither AWS_REGION nor AWS_DEFAULT_REGION is set";
    table.wrong(
        "region",
        Wrong::from(what.to_owned()).remedy("add region = \"…\""),
    );
    None
}

fn region_list(table: &Reader<'_>) -> Option<Vec<String>> {
    if table.has("region") {
        let what = Wrong::from("has no meaning beside regions".to_owned());
        table.misplaced("region", what.remedy("keep one or the other"));
    }
    let names = table.list("regions", region)?;
    if names.is_empty() {
        let what = Wrong::from("holds no region".to_owned());
        table.wrong("regions", what.remedy("name at least one, or remove it"));
        return None;
    }
    let twice = names
        .iter()
        .enumerate()
        .find(|(n, name)| names[..*n].contains(name));
    if let Some((_, name)) = twice {
        let what = Wrong::from(format!("names {name:?} twice"));
        table.wrong("regions", what.remedy("keep the first"));
        return None;
    }
    Some(names)
}

/// Whether the key can be in all these regions.
fn fit(table: &Reader<'_>, key: &AwsKey, names: &[String], given_by: &str) -> bool {
    if key.spans_regions() {
        return true;
    }
    if names.len() > 1 {
        let what = "key_id is a single-Region key, which no other region has";
        let remedy = "use a multi-Region key (mrk-…), an alias of one, or one region";
        table.wrong(given_by, Wrong::from(what.to_owned()).remedy(remedy));
        return false;
    }
    match key.region() {
        Some(own) if own != names[0] => {
            let what = format!(
                "key_id is a single-Region key in {own}, not in {}",
                names[0]
            );
            let remedy = format!("write {own:?}, or remove it");
            table.wrong(given_by, Wrong::from(what).remedy(remedy));
            false
        }
        _ => true,
    }
}

/// As many as there are regions.
fn endpoints(table: &Reader<'_>, regions: usize) -> Option<Vec<Option<String>>> {
    if !table.has("endpoints") {
        let Some(Located { value, .. }) = table.endpoint("endpoint") else {
            // One that is there but wrong is an error already.
            return (!table.has("endpoint")).then(|| vec![None; regions]);
        };
        if regions > 1 {
            let what = Wrong::from("is one, and there are several regions".to_owned());
            table.misplaced(
                "endpoint",
                what.remedy("write endpoints, one for each region"),
            );
            return None;
        }
        return Some(vec![Some(url(&value))]);
    }
    if table.has("endpoint") {
        let what = Wrong::from("has no meaning beside endpoints".to_owned());
        table.misplaced("endpoint", what.remedy("keep one or the other"));
        return None;
    }
    let urls = table.list("endpoints", |text| {
        values::endpoint(text)
            .map(|endpoint| Some(url(&endpoint)))
            .ok_or_else(|| {
                refused(text).accept("\"https://host[:port]\" or \"http://host[:port]\"")
            })
    })?;
    if urls.len() != regions {
        let what = format!("{} of them for {regions} regions", urls.len());
        table.wrong(
            "endpoints",
            Wrong::from(what).remedy("write one for each region, in the same order"),
        );
        return None;
    }
    Some(urls)
}

fn url(endpoint: &Endpoint) -> String {
    let scheme = if endpoint.https { "https" } else { "http" };
    format!("{scheme}://{}", endpoint.authority)
}
