//! What browsers and requests without a signature are told.

use super::*;

#[test]
fn anonymous_requests_and_cors_are_off_until_they_are_written() {
    let c = good(FULL);
    assert!(c.anonymous.is_none() && c.cors.is_empty());
    assert!(c.credentials.iter().all(|c| !c.sigv2));
    let c = good(&format!(
        "{FULL}\n[anonymous]\nallow = [{{ bucket = \"site\", prefix = \"p/\", actions = [\"read\"] }}]\n\
         [[cors]]\nmatch = \"site*\"\norigins = [\"https://*.example\"]\nmethods = [\"GET\"]\nheaders = [\"X-Amz-*\"]\n\
         max_age = \"1m\"\n"
    ));
    let allow = c.anonymous.expect("grants");
    assert_eq!((&*allow[0].bucket, &*allow[0].prefix), ("site", "p/"));
    assert_eq!(allow[0].actions, [Action::Read]);
    assert_eq!(c.cors[0].headers, ["x-amz-*"]);
    assert_eq!(c.cors[0].max_age, Some(Duration::from_secs(60)));
    assert!(c.cors[0].expose.is_empty());
    let none = good(&format!("{FULL}\n[anonymous]\nallow = []\n"));
    assert_eq!(none.anonymous, Some(Vec::new()));
}

/// Left out, `allow` of a credential means everything; here it must not.
#[test]
fn mistakes_open_nothing() {
    for (text, place) in [
        ("[anonymous]", "anonymous.allow"),
        ("[anonymous]\nallow = \"*\"", "anonymous.allow"),
        ("[anonymous]\nalow = []", "anonymous"),
        (
            "[[cors]]\nmatch = \"b\"\nmethods = [\"GET\"]",
            "cors[1].origins",
        ),
        (
            "[[cors]]\nmatch = \"b\"\norigins = [\"*.*\"]\nmethods = [\"GET\"]",
            "cors[1].origins",
        ),
        (
            "[[cors]]\nmatch = \"b\"\norigins = [\"*\"]\nmethods = [\"PATCH\"]",
            "cors[1].methods",
        ),
    ] {
        let said = errors(&format!("{FULL}\n{text}\n")).to_string();
        assert!(said.contains(place), "{text}: {said}");
    }
}
