//! What the Rust clients of the matrix share: the runner's arguments, test bytes, and one line of JSON per case.

use std::env;
use std::fmt::Debug;

/// A case's outcome; the text says what was wrong.
pub type Outcome = Result<(), String>;

/// Where to connect, from the runner's environment.
pub struct Target {
    pub endpoint: String,
    pub access: String,
    pub secret: String,
    pub bucket: String,
    /// The cases to run, in order.
    pub cases: Vec<String>,
}

impl Target {
    pub fn from_env() -> Target {
        let var = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
        Target {
            endpoint: var("CERTIFY_ENDPOINT"),
            access: var("CERTIFY_ACCESS"),
            secret: var("CERTIFY_SECRET"),
            bucket: var("CERTIFY_BUCKET"),
            cases: env::args().skip(1).collect(),
        }
    }
}

/// Prints one case's line, which the runner reads.
pub fn report(case: &str, outcome: Outcome) {
    match outcome {
        Ok(()) => println!("{{\"case\":\"{case}\",\"ok\":true}}"),
        Err(error) => println!("{{\"case\":\"{case}\",\"ok\":false,\"error\":{}}}", quoted(&error)),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Repeatable bytes that differ for each seed (xorshift64).
pub fn blob(len: usize, seed: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (seed << 32) ^ len as u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

pub fn check(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

pub fn same_bytes(got: &[u8], expected: &[u8]) -> Outcome {
    check(
        got == expected,
        &format!("{} bytes that differ from the {} expected", got.len(), expected.len()),
    )
}

/// Equality, with both sides in the error.
pub fn equal<T: PartialEq + Debug>(got: T, expected: T) -> Outcome {
    check(got == expected, &format!("got {got:?}, expected {expected:?}"))
}

/// The call must fail, and its error must speak of `code`.
pub fn refused<T, E: Debug>(answer: Result<T, E>, code: &str) -> Outcome {
    match answer {
        Ok(_) => Err(format!("succeeded, expected {code}")),
        Err(e) => {
            let text = format!("{e:?}");
            check(text.contains(code), &format!("expected {code}, got {text}"))
        }
    }
}

/// Any error, in full.
pub fn told<E: Debug>(error: E) -> String {
    format!("{error:?}")
}

/// A plain HTTP GET of a presigned URL.
pub fn http_get(url: &str) -> Result<Vec<u8>, String> {
    let mut answer = ureq::get(url).call().map_err(told)?;
    answer.body_mut().read_to_vec().map_err(told)
}

/// A plain HTTP PUT to a presigned URL.
pub fn http_put(url: &str, body: &[u8]) -> Outcome {
    ureq::put(url).send(body).map_err(told).map(drop)
}

/// Keys that proxies have been seen to break.
pub const ODD_KEYS: [&str; 7] = [
    "odd/a b",
    "odd/a+b",
    "odd/a%20b",
    "odd/ü/ключ",
    "odd/&<>'\"",
    "odd/sub/one",
    "odd/=?#",
];
