//! `sealgate dev`: everything generated, so that a first try takes one command.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use sealgate_kms::file::KeyRing;

use crate::cli::{DevArgs, print_line};
use crate::serve;

/// Made on the first run, used ever after: restarting keeps clients and objects working.
const CONFIG: &str = "sealgate.toml";

/// Runs the gateway on a directory.
pub(crate) fn run(args: &DevArgs, dumps: sealgate_aead::DumpsForbidden) -> Result<(), String> {
    let dir = &args.dir;
    let failed =
        |what: &str, e: &dyn std::fmt::Display| format!("{what} in {}: {e}", dir.display());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| failed("the directory cannot be made", &e))?;
    let dir = dir
        .canonicalize()
        .map_err(|e| failed("the directory cannot be found", &e))?;
    let credentials = dir.join("credentials");
    let (access_key, secret_key) = match std::fs::read_to_string(&credentials) {
        Ok(text) => parse_credentials(&text).ok_or_else(|| {
            failed(
                "the file `credentials` cannot be read",
                &"it does not hold two lines",
            )
        })?,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let made = (format!("AK{}", random(18, UPPER)?), random(40, MIXED)?);
            let text = format!(
                "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\n",
                made.0, made.1
            );
            write_private(&credentials, &text)
                .map_err(|e| failed("credentials cannot be written", &e))?;
            made
        }
        Err(e) => return Err(failed("the file `credentials` cannot be read", &e)),
    };
    let key = dir.join("key-ring");
    if !key.exists() {
        KeyRing::create(&key).map_err(|e| failed("the key cannot be made", &e))?;
    }
    let objects = dir.join("objects");
    let text = configuration(
        args,
        &objects,
        &key,
        &credentials_secret(&dir, &secret_key)?,
        &access_key,
    );
    let path = dir.join(CONFIG);
    let config = sealgate_config::parse(&text, &path).map_err(|e| e.to_string())?;
    serve::run(config, None, dumps, |plane| {
        print_line(&usage(
            &plane.listen.to_string(),
            &access_key,
            &secret_key,
            &dir,
        ));
    })
}

/// The secret alone, written anew from `credentials` at each start, for the configuration to read: no secret stands in a
/// configuration.
fn credentials_secret(dir: &Path, secret: &str) -> Result<std::path::PathBuf, String> {
    let path = dir.join("secret-key");
    let _ = std::fs::remove_file(&path);
    write_private(&path, secret).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

fn configuration(
    args: &DevArgs,
    objects: &Path,
    key: &Path,
    secret: &Path,
    access_key: &str,
) -> String {
    let quoted = |path: &Path| toml_string(&path.to_string_lossy());
    let cores = args
        .cores
        .map_or(String::new(), |n| format!("cores = {n}\n"));
    let admin = args
        .admin
        .map_or(String::new(), |address| format!("admin = \"{address}\"\n"));
    format!(
        "[listen]\ns3 = \"{}\"\n{admin}base_domains = [\"s3.localhost\"]\n\n[runtime]\n{cores}driver = \"{}\"\n\n\
         [backend]\ntype = \"fs\"\npath = {}\n\n[keys.dev]\nprovider = \"file\"\npath = {}\n\n\
         [[buckets]]\nmatch = \"*\"\nkey = \"dev\"\n\n\
         [[credentials]]\naccess_key = \"{access_key}\"\nsecret_key_file = {}\n\n\
         [log]\nformat = \"text\"\nlevel = \"warn\"\naccess = \"off\"\n",
        args.listen,
        args.driver.as_str(),
        quoted(objects),
        quoted(key),
        quoted(secret),
    )
}

/// A TOML basic string.
fn toml_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn parse_credentials(text: &str) -> Option<(String, String)> {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix('=')
                .map(str::to_owned)
        })
    };
    Some((value("AWS_ACCESS_KEY_ID")?, value("AWS_SECRET_ACCESS_KEY")?))
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

const UPPER: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const MIXED: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789Ab";

/// `n` random characters of an alphabet whose size divides 256.
fn random(n: usize, alphabet: &[u8]) -> Result<String, String> {
    let mut bytes = vec![0; n];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "the system has no random bytes".to_owned())?;
    Ok(bytes
        .iter()
        .map(|b| char::from(alphabet[usize::from(*b) % alphabet.len()]))
        .collect())
}

fn usage(listen: &str, access_key: &str, secret_key: &str, dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Sealgate is serving S3 on http://{listen}\n\
         Everything is in {dir}: `objects` holds ciphertext only; `key-ring` opens it.\n\n\
         In another terminal:\n\n\
         \x20 export AWS_ACCESS_KEY_ID={access_key}\n\
         \x20 export AWS_SECRET_ACCESS_KEY={secret_key}\n\
         \x20 export AWS_DEFAULT_REGION=us-east-1 AWS_ENDPOINT_URL=http://{listen}\n\
         \x20 aws s3 mb s3://demo\n\
         \x20 aws s3 cp --recursive ./some-directory s3://demo/\n\
         \x20 aws s3 ls --recursive s3://demo/\n\n\
         boto3 and other AWS SDKs read the same variables. rclone: \
         `--s3-provider Other --s3-env-auth --s3-endpoint http://{listen}`.\n\
         Ctrl-C stops it; the next start uses the same key and credentials."
    )
}
