//! Credentials for the store, from wherever they are kept.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::environment::{Environment, read_bounded};
use crate::secret::SecretString;

/// Longest shared credentials file, bytes.
const FILE_MAX: u64 = 1 << 20;

/// What requests to the store are signed with.
pub struct StoreCredentials {
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: SecretString,
    /// Session token of temporary credentials.
    pub session_token: Option<SecretString>,
}

/// Why there are none.
pub(crate) enum Lack {
    /// Nothing names any.
    Nowhere {
        /// Where they were looked for.
        looked: String,
    },
    /// A file that was asked for has none.
    File(PathBuf, String),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere { looked } => {
                write!(
                    f,
                    "there are no credentials for the store; looked in {looked}"
                )
            }
            Self::File(path, what) => write!(f, "{}: {what}", path.display()),
        }
    }
}

/// Finds credentials outside the configuration, as AWS tools do: environment variables, then a profile of the shared
/// credentials file. Asking for a file or a profile goes straight to the file.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>
pub(crate) fn find(
    file: Option<&Path>,
    profile: Option<&str>,
    environment: &Environment,
) -> Result<StoreCredentials, Lack> {
    let asked = file.is_some() || profile.is_some();
    if !asked
        && let (Some(access), Some(secret_key)) = (
            environment.get("AWS_ACCESS_KEY_ID"),
            environment.get("AWS_SECRET_ACCESS_KEY"),
        )
    {
        return Ok(StoreCredentials {
            access_key: access.expose().to_owned(),
            secret_key,
            session_token: environment.get("AWS_SESSION_TOKEN"),
        });
    }
    let at_home = || Some(environment.path("HOME")?.join(".aws").join("credentials"));
    let path = file
        .map(Path::to_owned)
        .or_else(|| environment.path("AWS_SHARED_CREDENTIALS_FILE"))
        .or_else(at_home);
    let from_environment = environment.get("AWS_PROFILE");
    let profile = profile
        .or(from_environment.as_ref().map(SecretString::expose))
        .unwrap_or("default");
    let Some(path) = path else {
        return Err(nowhere("the environment"));
    };
    match read_bounded(&path, FILE_MAX) {
        Ok(text) => from_profile(&text, profile).map_err(|what| Lack::File(path, what)),
        Err(e) if !asked && e.kind() == std::io::ErrorKind::NotFound => {
            Err(nowhere(&format!("the environment and {}", path.display())))
        }
        Err(e) => Err(Lack::File(path, format!("cannot be read: {e}"))),
    }
}

fn nowhere(looked: &str) -> Lack {
    Lack::Nowhere {
        looked: looked.to_owned(),
    }
}

/// One profile of a shared credentials file.
fn from_profile(text: &str, profile: &str) -> Result<StoreCredentials, String> {
    let (mut inside, mut seen) = (false, false);
    let (mut access, mut secret, mut token) = (None, None, None);
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = name.trim() == profile;
            seen |= inside;
        } else if inside && let Some((name, value)) = line.split_once('=') {
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "aws_access_key_id" => access = Some(value.to_owned()),
                "aws_secret_access_key" => secret = Some(SecretString::new(value)),
                "aws_session_token" => token = Some(SecretString::new(value)),
                _ => {}
            }
        }
    }
    match (access, secret) {
        (Some(access_key), Some(secret_key)) => Ok(StoreCredentials {
            access_key,
            secret_key,
            session_token: token,
        }),
        _ if !seen => Err(format!("there is no profile [{profile}]")),
        _ => Err(format!(
            "the profile [{profile}] has no aws_access_key_id and aws_secret_access_key"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[default]\naws_access_key_id = A\naws_secret_access_key=S==\n\n[temporary]\n\
                        AWS_ACCESS_KEY_ID=T\naws_secret_access_key = U\naws_session_token = V\nregion = x\n[half]\n\
                        aws_access_key_id = H\n";

    fn told(found: &Result<StoreCredentials, Lack>) -> String {
        match found {
            Ok(c) => {
                let token = c.session_token.as_ref().map_or("-", SecretString::expose);
                format!("{} {} {token}", c.access_key, c.secret_key.expose())
            }
            Err(lack) => lack.to_string(),
        }
    }

    #[test]
    fn the_environment_comes_first_unless_a_file_is_asked_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("credentials");
        std::fs::write(&path, FILE).expect("writes");
        let path_text = path.to_str().expect("UTF-8");
        let both = Environment::of(&[
            ("AWS_ACCESS_KEY_ID", "E"),
            ("AWS_SECRET_ACCESS_KEY", "F"),
            ("AWS_SESSION_TOKEN", "G"),
            ("AWS_SHARED_CREDENTIALS_FILE", path_text),
        ]);
        assert_eq!(told(&find(None, None, &both)), "E F G");
        assert_eq!(told(&find(None, Some("temporary"), &both)), "T U V");
        assert_eq!(told(&find(Some(&path), None, &both)), "A S== -");
        let by_profile = Environment::of(&[
            ("AWS_SHARED_CREDENTIALS_FILE", path_text),
            ("AWS_PROFILE", "temporary"),
        ]);
        assert_eq!(told(&find(None, None, &by_profile)), "T U V");
        assert_eq!(told(&find(None, Some("default"), &by_profile)), "A S== -");
    }

    #[test]
    fn home_is_the_last_resort_and_absence_says_where_was_looked() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Environment::of(&[("HOME", dir.path().to_str().expect("UTF-8"))]);
        let text = told(&find(None, None, &home));
        assert!(
            text.contains(".aws/credentials") && text.contains("environment"),
            "{text}"
        );
        std::fs::create_dir(dir.path().join(".aws")).expect("makes");
        std::fs::write(dir.path().join(".aws/credentials"), FILE).expect("writes");
        assert_eq!(told(&find(None, None, &home)), "A S== -");
        let text = told(&find(None, Some("gone"), &home));
        assert!(text.contains("no profile [gone]"), "{text}");
        let text = told(&find(None, Some("half"), &home));
        assert!(text.contains("[half] has no"), "{text}");
        let text = told(&find(Some(Path::new("/nowhere/c")), None, &home));
        assert!(text.contains("/nowhere/c: cannot be read"), "{text}");
    }
}
