//! What clients of HTTP key services have in common.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// Connecting, TLS included. The key service has a deadline for the whole call; a fall-back server has to come in time.
pub(crate) const CONNECT: Duration = Duration::from_secs(3);
/// The longest pause that a server may ask for.
const RETRY_AFTER_MAX: u64 = 300;

/// A client that sends secrets to one server and nowhere else, and makes one attempt.
pub(crate) fn client(tls: &rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        // A proxy from the environment would see keys; a redirect could send them anywhere.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
}

/// When the server asks to be asked again.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX)))
}

/// An error with its causes, of which reqwest's own text says little; those that only repeat another are left out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

/// What a failed connection says, and what to do where TLS is the reason.
pub(crate) fn explained(why: String) -> String {
    let remedy = [
        (
            "BadSignature",
            "its certificate is not from whom `ca_file` trusts",
        ),
        (
            "UnknownIssuer",
            "its certificate is not from whom `ca_file` trusts",
        ),
        (
            "not valid for name",
            "its certificate is for another name than the endpoint's",
        ),
        (
            "CertificateRequired",
            "it wants a certificate: set `client_cert` and `client_key`",
        ),
        ("UnknownCA", "it does not trust whom `client_cert` is from"),
    ]
    .into_iter()
    .find_map(|(said, remedy)| why.contains(said).then_some(remedy));
    match remedy {
        Some(remedy) => format!("{why} ({remedy})"),
        None => why,
    }
}
