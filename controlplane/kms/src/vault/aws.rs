//! Login with an AWS identity: a signed `sts:GetCallerIdentity` that the server sends on to STS. Only the signature
//! leaves this machine, and it is good for this one question.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::error::KeyError;

const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The fields of the login, as Vault's API names them.
#[derive(Serialize)]
pub(super) struct SignedLogin {
    role: String,
    iam_http_request_method: &'static str,
    iam_request_url: String,
    iam_request_body: String,
    iam_request_headers: String,
}

/// Credentials are looked for as all AWS tools do: environment, profile, web identity, container, instance.
pub(super) async fn signed(
    role: &str,
    server_id: Option<&str>,
    region: Option<&str>,
) -> Result<SignedLogin, KeyError> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let Some(provider) = config.credentials_provider() else {
        return Err(KeyError::Denied(
            "there are no AWS credentials to log in with".into(),
        ));
    };
    let credentials = provider.provide_credentials().await.map_err(|e| {
        // The reasons name files and variables, no secrets.
        let what = format!("AWS credentials to log in with: {}", describe(&e));
        match e {
            CredentialsError::CredentialsNotLoaded(_)
            | CredentialsError::InvalidConfiguration(_) => {
                KeyError::Denied(format!("there are no {what}"))
            }
            _ => KeyError::Unavailable {
                reason: format!("there are no {what}"),
                retry_after: Duration::from_secs(2),
            },
        }
    })?;
    sign_with(credentials, role, server_id, region, SystemTime::now())
}

fn sign_with(
    credentials: aws_credential_types::Credentials,
    role: &str,
    server_id: Option<&str>,
    region: Option<&str>,
    time: SystemTime,
) -> Result<SignedLogin, KeyError> {
    let (host, region) = match region {
        Some(region) => (format!("sts.{region}.amazonaws.com"), region),
        None => ("sts.amazonaws.com".to_owned(), "us-east-1"),
    };
    let url = format!("https://{host}/");
    let mut headers: Vec<(&str, &str)> = vec![("host", &host), ("content-type", FORM)];
    if let Some(id) = server_id {
        headers.push(("x-vault-aws-iam-server-id", id));
    }
    let failed = |what: String| KeyError::Denied(format!("the AWS login cannot be signed: {what}"));
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|e| failed(e.to_string()))?;
    let request = SignableRequest::new(
        "POST",
        &url,
        headers.iter().copied(),
        SignableBody::Bytes(BODY.as_bytes()),
    )
    .map_err(|e| failed(e.to_string()))?;
    let (instructions, _) = sign(request, &params.into())
        .map_err(|e| failed(e.to_string()))?
        .into_parts();
    let mut all: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in headers.iter().copied().chain(instructions.headers()) {
        all.insert(canonical(name), vec![value]);
    }
    let headers = serde_json::to_vec(&all).map_err(|e| failed(e.to_string()))?;
    Ok(SignedLogin {
        role: role.to_owned(),
        iam_http_request_method: "POST",
        iam_request_url: STANDARD.encode(&url),
        iam_request_body: STANDARD.encode(BODY),
        iam_request_headers: STANDARD.encode(headers),
    })
}

/// `x-amz-date` as `X-Amz-Date`: the server looks its headers up in that form.
fn canonical(name: &str) -> String {
    let upper = |part: &str| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    name.split('-').map(upper).collect::<Vec<_>>().join("-")
}

fn describe(error: &dyn std::error::Error) -> String {
    let source = error.source().map(ToString::to_string);
    source.unwrap_or_else(|| error.to_string())
}
