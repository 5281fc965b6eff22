//! What needs no server; the rest is in tests/vault_transit.rs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// The context is part of every wrap that exists: it can never change.
#[test]
fn the_context_is_fixed() {
    // printf 'sealgate/kek/v1\0main' | openssl dgst -sha256 -binary | base64
    assert_eq!(
        transit::context("main"),
        "x9CmNxmRiQU/1LfDm1huKmFhwEejxrMiYA47ldxSs+c="
    );
    assert_ne!(transit::context("main"), transit::context("mai"));
}

/// So is the stored form.
#[test]
fn the_stored_form_is_fixed() {
    let body: Vec<u8> = (0..60).collect();
    let answer = format!(
        "{{\"data\": {{\"ciphertext\": \"vault:v12:{}\", \"key_version\": 12}}}}",
        STANDARD.encode(&body)
    );
    let (version, wrapped) = transit::read_wrap(answer.as_bytes()).expect("a wrap");
    assert_eq!(version, 12);
    assert_eq!(wrapped, [&[1][..], &body].concat());
    let back = transit::ciphertext("12", &wrapped).expect("a ciphertext");
    assert_eq!(back, format!("vault:v12:{}", STANDARD.encode(&body)));
    assert!(wrapped.len() <= crate::WRAPPED_MAX);
}

#[test]
fn tokens_are_sensitive_headers() {
    let token = lease::header("hvs.sssh").expect("a token");
    assert!(token.is_sensitive());
    assert!(!format!("{token:?}").contains("sssh"));
    assert!(lease::header("two\nlines").is_none());
}

#[test]
fn a_lease_ends_a_little_early() {
    let lease = |ttl: Option<u64>| {
        let grant = lease::Grant {
            token: lease::header("t").expect("a token"),
            ttl: ttl.map(Duration::from_secs),
            renewable: true,
        };
        lease::Lease::new(grant, 1, Instant::now())
    };
    let now = Instant::now();
    let after = |seconds: f64| now + Duration::from_secs_f64(seconds);
    assert!(!lease(None).expired(after(1e9)), "root tokens never end");
    assert!(!lease(Some(2)).expired(after(1.7)) && lease(Some(2)).expired(after(1.9)));
    assert!(!lease(Some(3600)).expired(after(3594.0)) && lease(Some(3600)).expired(after(3596.0)));
}

/// Answers of logins, with what they must and need not have.
#[test]
fn login_answers_are_read() {
    let read = |text: &str| lease::read_login(text.as_bytes());
    let good = read(r#"{"auth": {"client_token": "t", "lease_duration": 5, "renewable": true}}"#);
    let good = good.expect("a grant");
    assert_eq!(
        (good.ttl, good.renewable),
        (Some(Duration::from_secs(5)), true)
    );
    let root = read(r#"{"auth": {"client_token": "t", "lease_duration": 0}}"#).expect("a grant");
    assert_eq!((root.ttl, root.renewable), (None, false));
    for bad in [
        "",
        "{}",
        r#"{"auth": null}"#,
        r#"{"auth": {"client_token": "", "lease_duration": 0, "mfa_requirement": {}}}"#,
        r#"{"auth": {"client_token": "a\u000ab", "lease_duration": 0}}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

proptest::proptest! {
    /// Whatever a server answers, reading it ends in a value or an error.
    #[test]
    fn no_answer_breaks_the_readers(answer in proptest::collection::vec(0u8.., 0..200), text in ".{0,100}") {
        let quoted = format!("{{\"data\":{{\"ciphertext\":{text:?},\"plaintext\":{text:?}}},\"auth\":{{\"client_token\":{text:?},\"lease_duration\":1}}}}");
        for answer in [answer.as_slice(), quoted.as_bytes()] {
            let _ = transit::read_plaintext(answer);
            let _ = KeyInfo::read(answer);
            let _ = (lease::read_login(answer), lease::read_renewal(answer), lease::read_lookup(answer));
            if let Ok((version, wrapped)) = transit::read_wrap(answer) {
                // What is read can be written: it is the one form of its bytes.
                let again = transit::ciphertext(&version.to_string(), &wrapped).expect("canonical");
                assert!(std::str::from_utf8(answer).expect("JSON").contains(&again));
            }
        }
    }

    /// And whatever an envelope holds.
    #[test]
    fn no_envelope_breaks_the_provider(
        version in "[0-9]{1,2}|.{0,12}",
        mut wrapped in proptest::collection::vec(0u8.., 58..75),
        format in 0u8..3,
    ) {
        wrapped[0] = format;
        let good = format == 1 && [61, 73].contains(&wrapped.len());
        match transit::ciphertext(&version, &wrapped) {
            Err(_) => assert!(!good || version.starts_with('0') || version.parse::<u32>().is_err()),
            Ok(ciphertext) => {
                assert!(good);
                let answer = format!("{{\"data\":{{\"ciphertext\":\"{ciphertext}\"}}}}");
                let (number, again) = transit::read_wrap(answer.as_bytes()).expect("the same wrap");
                assert_eq!((number.to_string(), again), (version, wrapped));
            }
        }
    }
}
