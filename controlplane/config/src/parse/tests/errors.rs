//! How errors are said, and that no secret is in them.

use proptest::prelude::*;

use super::*;

/// Each change to [`FULL`] is one error, at the line and with the words given.
#[test]
fn errors_say_where_what_and_what_instead() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "preset = \"minio\"",
            "preset = \"garage\"",
            &[
                "backend.checksum",
                "a store with preset = \"garage\" takes no checksum after a body",
                "write \"none\"",
            ],
        ),
        (
            "checksum = \"crc32c\"",
            "checksum = \"sha256\"",
            &[
                "backend.checksum",
                "\"sha256\" is not accepted",
                "accepted: \"none\", \"crc64nvme\" or \"crc32c\"",
            ],
        ),
        (
            "driver = \"epoll\"",
            "driver = \"epol\"",
            &[
                "runtime.driver",
                "\"epol\" is not accepted",
                "accepted: \"auto\", \"io_uring\" or \"epoll\"",
                "to do: write \"epoll\"",
            ],
        ),
        (
            "driver = \"epoll\"",
            "drivr = \"epoll\"",
            &[
                "runtime.drivr",
                "no key \"drivr\"",
                "write \"driver\"",
                "buffer_budget",
            ],
        ),
        (
            "max_age = \"10m\"",
            "max_age = \"10m\"\nattempt_timeout = \"20s\"",
            &[
                "attempt_timeout",
                "deadline (8s) is shorter than attempt_timeout (20s)",
                "set both",
            ],
        ),
        (
            "max_age = \"10m\"",
            "max_age = \"10m\"\ncache.tll = \"1h\"",
            &[".cache.tll", "there is no key \"tll\"", "write \"ttl\""],
        ),
        (
            "max_age = \"10m\"",
            "max_age = \"10m\"\noffline_grace.writes = \"48h\"",
            &["offline_grace.writes", "from 0ms to 24h"],
        ),
        (
            "cores = 3",
            "cores = \"3\"",
            &["runtime.cores", "another type: string", "from 1 to 1024"],
        ),
        (
            "cores = 3",
            "cores = 0",
            &["runtime.cores", "\"0\" is not accepted"],
        ),
        ("cores = 3", "cores = -3", &["runtime.cores"]),
        ("cores = 3", "cores = 3.5", &["another type: float"]),
        ("pin = true", "pin = 1", &["runtime.pin", "true or false"]),
        (
            "buffer_budget = \"1GiB\"",
            "buffer_budget = \"1 GB?\"",
            &["runtime.buffer_budget", "from 16MiB to 1TiB"],
        ),
        (
            "buffer_budget = \"1GiB\"",
            "buffer_budget = 1000",
            &["\"1000\" is not accepted"],
        ),
        (
            "idle = \"2s\"",
            "idle = 2",
            &["timeouts.idle", "another type: integer", "\"30s\""],
        ),
        (
            "idle = \"2s\"",
            "idle = \"2 weeks\"",
            &["\"2 weeks\"", "from 1ms to 24h"],
        ),
        (
            "s3 = \"0.0.0.0:9443\"",
            "s3 = \"9443\"",
            &["listen.s3", "\"0.0.0.0:9000\""],
        ),
        (
            "s3 = \"0.0.0.0:9443\"",
            "s3 = \"localhost:9443\"",
            &["listen.s3"],
        ),
        (
            "admin = \"[::1]:9001\"",
            "admin = \"0.0.0.0:9443\"",
            &["listen.admin", "listen.s3 as well"],
        ),
        (
            "tls.key = \"/abs/tls.key\"",
            "",
            &["listen.tls.key", "is missing"],
        ),
        (
            "base_domains = [\"S3.example.net\", \"localhost\"]",
            "base_domains = [\"ok.net\", \"no_-.net\"]",
            &["listen.base_domains[2]", "no_-.net"],
        ),
        (
            "type = \"s3\"",
            "type = \"ftp\"",
            &["backend.type", "ftp", "\"s3\" or \"fs\""],
        ),
        (
            "endpoint = \"https://store.example.net:8443\"",
            "endpoint = \"store:8443\"",
            &["backend.endpoint", "https://"],
        ),
        (
            "endpoint = \"https://store.example.net:8443\"",
            "",
            &["backend.endpoint: is missing", "`endpoint`"],
        ),
        (
            "endpoint = \"https://store.example.net:8443\"",
            "endpoint = \"http://s\"",
            &["backend.ca_file", "http:// endpoint"],
        ),
        (
            "region = \"eu-central-1\"",
            "path = \"/data\"",
            &["backend.path", "no meaning with type = \"s3\""],
        ),
        (
            "region = \"eu-central-1\"",
            "profile = \"x\"",
            &["backend.profile", "in this table already"],
        ),
        (
            "region = \"eu-central-1\"",
            "secret_key_file = \"f\"",
            &["backend.secret_key_file", "secret_key is there as well"],
        ),
        (
            "access_key = \"STORE\"",
            "",
            &["backend.access_key: is missing"],
        ),
        (
            "session_token_env = \"TOKEN\"",
            "session_token_env = \"NO_TOKEN\"",
            &["variable NO_TOKEN is not set"],
        ),
        (
            "session_token_env = \"TOKEN\"",
            "session_token_file = \"/nowhere/t\"",
            &["/nowhere/t cannot be read"],
        ),
        (
            "[keys.main]\nprovider = \"file\"",
            "[keys.main]\nprovider = \"paper\"",
            &["keys.main.provider", "paper", "\"file\""],
        ),
        ("path = \"main.keys\"", "", &["keys.main.path: is missing"]),
        (
            "path = \"main.keys\"",
            "path = \"main.keys\"\nvariable = \"TOKEN\"",
            &[
                "keys.main.variable",
                "no meaning with provider = \"file\"",
                "or set provider = \"env\"",
            ],
        ),
        (
            "path = \"main.keys\"",
            "path = \"main.keys\"\npaht = \"main.keys\"",
            &["keys.main.paht", "write \"path\""],
        ),
        (
            "provider = \"file\"\npath = \"main.keys\"",
            "provider = \"env\"",
            &["keys.main.variable: is missing", "add `variable`"],
        ),
        (
            "provider = \"file\"\npath = \"main.keys\"",
            "provider = \"env\"\nvariable = \"NOT_THERE\"",
            &[
                "keys.main.variable",
                "NOT_THERE is not set",
                "openssl rand -base64 32",
            ],
        ),
        (
            "provider = \"file\"\npath = \"main.keys\"",
            "provider = \"pkcs11\"\nmodule = \"p.so\"\npin = \"1\"\nkey_label = \"k\"",
            &["keys.main.token_label: is missing"],
        ),
        (
            "provider = \"file\"\npath = \"main.keys\"",
            "provider = \"pkcs11\"\nmodule = \"p.so\"\npin = \"1\"\nkey_label = \"k\"\nslot = 1\ntoken_label = \"t\"",
            &["keys.main.slot", "token_label is there as well"],
        ),
        (
            "provider = \"file\"\npath = \"main.keys\"",
            "provider = \"pkcs11\"\nmodule = \"p.so\"\nkey_label = \"k\"\nslot = 1",
            &["keys.main.pin: is missing", "one of pin, pin_env, pin_file"],
        ),
        (
            "[keys.other]",
            "[keys.\"other one\"]\npath = \"x\"\nprovider = \"file\"\n[keys.other]",
            &["keys.other one", "letters, digits"],
        ),
        (
            "max_objects = 1",
            "max_objects = 4294967297",
            &["keys.main.max_objects", "from 1 to 4294967296"],
        ),
        (
            "match = \"clear-*\"",
            "match = \"a b\"",
            &["buckets[1].match", "a b"],
        ),
        (
            "match = \"clear-*\"",
            "match = \"a/b*c\"",
            &["buckets[1].match"],
        ),
        ("match = \"clear-*\"", "", &["buckets[1].match: is missing"]),
        (
            "key = \"other\"",
            "key = \"othre\"",
            &[
                "buckets[2].key",
                "no [keys.othre]",
                "accepted: main, other",
                "write \"other\"",
            ],
        ),
        (
            "binding = \"bucket+key\"",
            "binding = \"bucket\"",
            &["buckets[2].binding", "\"key\", \"bucket+key\" or \"none\""],
        ),
        (
            "listing = \"verify\"",
            "listing = \"guess\"",
            &["buckets[2].listing"],
        ),
        (
            "encrypt = false",
            "encrypt = \"no\"",
            &["buckets[1].encrypt", "true or false"],
        ),
        (
            "access_key = \"BOB\"",
            "access_key = \"ALICE\"",
            &["credentials[2].access_key", "earlier"],
        ),
        (
            "access_key = \"BOB\"",
            "access_key = \"B/B\"",
            &["credentials[2].access_key"],
        ),
        (
            "secret_key = \"bob's\"",
            "",
            &["credentials[2].access_key", "secret_key_env"],
        ),
        (
            "\"read\", \"PutObject\"",
            "\"read\", \"PutObjcet\"",
            &["credentials[2].allow[1].actions[2]", "write \"PutObject\""],
        ),
        (
            "\"read\", \"PutObject\"",
            "\"fly\"",
            &["fly", "\"read\"", "S3 operations"],
        ),
        (
            "bucket = \"b*\"",
            "bukcet = \"b*\"",
            &["credentials[2].allow[1].bukcet", "write \"bucket\""],
        ),
        (
            "backend_secret_key_env = \"BOB_STORE_SECRET\"",
            "",
            &[
                "credentials[2].backend_access_key",
                "backend_secret_key_file",
            ],
        ),
        (
            "backend_access_key = \"BOB-AT-STORE\"",
            "",
            &[
                "credentials[2].backend_secret_key_env",
                "no backend_access_key",
            ],
        ),
        (
            "level = \"debug\"",
            "level = \"loud\"",
            &["log.level", "\"trace\""],
        ),
        (
            "[log]",
            "[logs]",
            &["logs: there is no key", "write \"log\""],
        ),
        ("[runtime]", "runtime = 1\n[timeouts2]", &["timeouts2"]),
    ];
    for (old, new, words) in cases {
        assert_eq!(FULL.matches(old).count(), 1, "{old} is not unique");
        let text = FULL.replace(old, new);
        let errors = errors(&text);
        let said = errors.to_string();
        if *old != "[runtime]" {
            assert_eq!(errors.iter().count(), 1, "{new}:\n{said}");
        }
        for word in *words {
            assert!(said.contains(word), "no {word:?} in:\n{said}");
        }
        let error = errors.iter().next().expect("one");
        let leaf = error.key.rsplit('.').next().expect("a key");
        let leaf = leaf.split('[').next().expect("a name");
        if new.contains(leaf) && !new.contains('\n') {
            let line = FULL[..FULL.find(old).expect("there")].matches('\n').count() + 1;
            assert_eq!(line_of(error), line, "{said}");
        }
    }
}

#[test]
fn the_message_shows_the_line_and_marks_the_value() {
    let (error, text) = error(&SMALL.replace("type = \"fs\"", "  type = \"ftp\" # ü"));
    let expected = "/etc/sealgate/sealgate.toml:2:10: backend.type: \"ftp\" is not accepted\n\
                    \x20 line 2 |   type = \"ftp\" # ü\n\
                    \x20        |          ^^^^^\n\
                    \x20 accepted: \"s3\" or \"fs\"";
    assert_eq!(text, expected);
    let place = error.place.expect("a place");
    assert_eq!((place.line, place.column, place.marked), (2, 10, 9..14));
}

#[test]
fn all_errors_are_found_at_once_in_the_order_of_the_file() {
    let text = FULL
        .replace("\"epoll\"", "\"x1\"")
        .replace("\"debug\"", "\"x2\"")
        .replace("\"bucket+key\"", "\"x3\"")
        .replace("max_objects = 1", "max_objects = 0")
        .replace("[\"read\", \"PutObject\"]", "[\"x4\", \"read\", \"x5\"]")
        .replace("\"TOKEN\"", "\"X6\"");
    let errors = errors(&text);
    let keys: Vec<_> = errors.iter().map(|e| e.key.as_str()).collect();
    let expected = [
        "runtime.driver",
        "backend.session_token_env",
        "keys.main.max_objects",
        "buckets[2].binding",
        "credentials[2].allow[1].actions[1]",
        "credentials[2].allow[1].actions[3]",
        "log.level",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_shown() {
    let quoted = format!("\"{SECRET}\"");
    for wrong in [
        format!("secret_key_env = {quoted}"),
        format!("secret_key = [{quoted}]"),
        format!("secert_key = {quoted}"),
        format!("secret_key = {{ value = {quoted} }}"),
        format!("secret_key = \"ok\"\nsecret_key_file = \"f\"\nsecret_kei = {quoted}"),
        format!("secret_key = {SECRET}"),
        format!("secret_key = \"{SECRET}"),
        format!("secret_key  {quoted}"),
        format!("secret_key {SECRET}"),
        format!("secret_key = \"\"\"\n{SECRET}\n\"\"\" x"),
    ] {
        let text = errors(&SMALL.replace("secret_key = \"s\"", &wrong)).to_string();
        assert!(!text.contains(SECRET), "{wrong} shows it:\n{text}");
    }
    for wrong in [
        format!("provider = \"env\"\nvariable = {quoted}"),
        format!("provider = \"env\"\nvariabel = {quoted}"),
        format!("provider = \"envi\"\nvariable = {quoted}"),
        format!("provider = \"file\"\nvariable = {quoted}"),
        format!("variable = {quoted}"),
    ] {
        let changed = SMALL.replace("provider = \"file\"\npath = \"k.keys\"", &wrong);
        assert!(changed.contains(SECRET));
        let text = errors(&changed).to_string();
        assert!(!text.contains(SECRET), "{wrong} shows it:\n{text}");
    }
    // A stray dot makes a table of a key.
    for wrong in [
        "s.ecret_key",
        "secret_key.",
        "secret.key",
        "access_key.x",
        "type.x.y",
    ] {
        let wrong = SMALL.replace("secret_key = \"s\"", &format!("{wrong} = {quoted}"));
        assert!(wrong.contains(SECRET));
        let text = errors(&wrong).to_string();
        assert!(!text.contains(SECRET), "{wrong} shows it:\n{text}");
    }
    // Two errors on one line: the other one's line is blanked as well.
    let inline = format!("credentials = [{{ access_key = \"a/b\", secret_key = {quoted} }}]\n");
    let head = SMALL.split("[[credentials]]").next().expect("a head");
    let text = errors(&format!("{inline}{head}")).to_string();
    assert!(
        text.contains("secret_key = … }]") && text.contains("^^^^^"),
        "{text}"
    );
}

#[test]
fn what_is_not_toml_is_said_with_its_line() {
    let text = SMALL.replace("[backend]", "[backend");
    let (error, said) = error(&text);
    assert_eq!(line_of(&error), 1, "{said}");
    assert!(
        said.contains("not TOML") && said.contains("line 1 | [backend"),
        "{said}"
    );
}

proptest! {
    /// Whatever is damaged, nothing panics and no message shows the secret.
    #[test]
    fn no_damage_shows_a_secret(at in 0..FULL.len(), cut in 0usize..3, put in "[\\PC\n]{0,2}") {
        let mut text = FULL.to_owned();
        let from = (0..=at).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
        let to = (from + cut..).find(|n| *n >= text.len() || text.is_char_boundary(*n)).unwrap_or(from).min(text.len());
        text.replace_range(from..to, &put);
        if let Err(errors) = read(&text) {
            let said = errors.to_string();
            prop_assert!(!said.contains(SECRET), "{}", said);
            prop_assert!(!said.contains(&SECRET[20..]) && !said.contains(&SECRET[..20]), "{}", said);
        }
    }
}
