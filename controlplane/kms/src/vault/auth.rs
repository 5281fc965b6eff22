//! The ways to log in.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sealgate_config::{SecretSource, VaultAuth};
use serde::Serialize;
use zeroize::Zeroizing;

use super::errors;
use super::http::{Failure, Http};
use super::lease::{self, Grant};
use super::transit::wiped;
use super::{aws, read_secret};
use crate::error::KeyError;

/// The way that a key's sessions log in.
#[derive(Clone)]
pub(super) struct Login(pub(super) Arc<VaultAuth>);

impl Login {
    /// Whether tokens are this gateway's own: it can get another, and revokes those that it leaves.
    pub(super) fn logs_in(&self) -> bool {
        !matches!(*self.0, VaultAuth::Token(_))
    }

    /// The file whose changes are followed.
    pub(super) fn token_file(&self) -> Option<&PathBuf> {
        match &*self.0 {
            VaultAuth::Token(SecretSource::File(path)) => Some(path),
            _ => None,
        }
    }

    /// Gets a token.
    pub(super) async fn log_in(&self, http: &Http) -> Result<Grant, KeyError> {
        let (mount, method, body) = match &*self.0 {
            VaultAuth::Token(source) => return given(http, source).await,
            VaultAuth::AppRole {
                mount,
                role_id,
                secret_id,
            } => {
                let secret_id = match secret_id {
                    Some(source) => Some(secret(source).await?),
                    None => None,
                };
                let body = body(&AppRoleLogin {
                    role_id,
                    secret_id: secret_id.as_ref().map(|s| s.as_str()),
                });
                (mount, "approle", body)
            }
            VaultAuth::Kubernetes {
                mount,
                role,
                jwt_file,
            } => {
                let jwt = read_secret(jwt_file.clone())
                    .await
                    .map_err(KeyError::Denied)?;
                (mount, "kubernetes", body(&JwtLogin { role, jwt: &jwt }))
            }
            VaultAuth::Aws {
                mount,
                role,
                server_id,
                region,
            } => {
                let request = aws::signed(role, server_id.as_deref(), region.as_deref()).await?;
                (mount, "aws", body(&request))
            }
            VaultAuth::Cert { mount, role } => {
                let login = CertLogin {
                    name: role.as_deref(),
                };
                (mount, "cert", body(&login))
            }
        };
        let path = format!("auth/{mount}/login");
        match http.send(&path, None, Some(body)).await {
            Ok(answer) => lease::read_login(&answer).map_err(|what| {
                KeyError::Denied(format!("{}: login at {path}: {what}", http.label()))
            }),
            Err(failure) => Err(refused(http.label(), &path, method, &failure)),
        }
    }
}

/// The secret; of a file, as it is now.
async fn secret(source: &SecretSource) -> Result<Zeroizing<String>, KeyError> {
    match source {
        SecretSource::Given(secret) => Ok(Zeroizing::new(secret.expose().to_owned())),
        SecretSource::File(path) => read_secret(path.clone()).await.map_err(KeyError::Denied),
    }
}

/// A token that is there already: only its life has to be asked for.
async fn given(http: &Http, source: &SecretSource) -> Result<Grant, KeyError> {
    let text = secret(source).await?;
    let token = lease::header(&text).ok_or_else(|| {
        KeyError::Denied("the token holds characters that no token has".to_owned())
    })?;
    let (ttl, renewable) = match http
        .send("auth/token/lookup-self", Some(&token), None)
        .await
    {
        Ok(answer) => lease::read_lookup(&answer).map_err(|what| {
            KeyError::Denied(format!("{}: auth/token/lookup-self: {what}", http.label()))
        })?,
        // Its policy may forbid the question alone: whether the token is good shows when it is used.
        Err(failure) if failure.is_forbidden() => (None, false),
        Err(failure) => {
            return Err(refused(
                http.label(),
                "auth/token/lookup-self",
                "token",
                &failure,
            ));
        }
    };
    Ok(Grant {
        token,
        ttl,
        renewable,
    })
}

/// What a failed login means.
fn refused(server: &str, path: &str, method: &str, failure: &Failure) -> KeyError {
    if let Some(passing) = errors::passing(server, failure) {
        return passing;
    }
    let (status, text) = match failure {
        Failure::Status { status, text, .. } => (*status, text.as_str()),
        Failure::Unreachable(why) => (0, why.as_str()),
    };
    let look_at = match method {
        "approle" => "role_id and the secret id (expired, used up, bound to another address?)",
        "kubernetes" => "role, and what service accounts and namespaces it is bound to",
        "aws" => "role, what principals it is bound to, and server_id",
        "cert" => "client_cert, and what certificates the role trusts",
        _ => "the token",
    };
    KeyError::Denied(format!(
        "{server} refuses the login at {path} ({status} {text:?}): check that the method is mounted there, {look_at}"
    ))
}

/// JSON that is wiped when it has been sent.
fn body(login: &impl Serialize) -> Bytes {
    // Room for the longest JWT that a file may hold: a growing buffer would leave copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(80 * 1024));
    // Writing strings into memory does not fail.
    let _ = serde_json::to_writer(&mut *body, login);
    wiped(body)
}

#[derive(Serialize)]
struct AppRoleLogin<'a> {
    role_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_id: Option<&'a str>,
}

#[derive(Serialize)]
struct JwtLogin<'a> {
    role: &'a str,
    jwt: &'a str,
}

#[derive(Serialize)]
struct CertLogin<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}
