//! Secrets: in the file, in the environment, or in a file of their own.

use super::Wrong;
use super::reader::Reader;
use super::values;
use crate::environment::read_secret;
use crate::secret::SecretString;

impl Reader<'_> {
    /// Which of `name`, `name_env` and `name_file` are there.
    pub(super) fn secret_keys(&self, name: &str) -> Vec<String> {
        let all = [
            name.to_owned(),
            format!("{name}_env"),
            format!("{name}_file"),
        ];
        all.into_iter().filter(|key| self.has(key)).collect()
    }

    /// The secret that one of `name`, `name_env` and `name_file` gives; `None` when none is there or it is wrong, which
    /// is noted.
    pub(super) fn secret(&self, name: &str) -> Option<SecretString> {
        let given = self.secret_keys(name);
        let [key] = given.as_slice() else {
            if let [first, second, ..] = given.as_slice() {
                let what = Wrong::from(format!("{first} is there as well"));
                self.misplaced(second, what.remedy("keep one of them"));
            }
            return None;
        };
        if key.ends_with("_env") {
            self.variable(key)
        } else if key.ends_with("_file") {
            self.secret_file(key)
        } else {
            self.text(key).map(|text| {
                let text = zeroize::Zeroizing::new(text.value);
                SecretString::new(&text)
            })
        }
    }

    /// The name of an environment variable. A secret put in its place must not be shown.
    pub(super) fn variable_name(&self, key: &str) -> Option<String> {
        let name = self.value(key, |value| {
            value
                .as_str()
                .filter(|name| values::variable(name))
                .map(str::to_owned)
                .ok_or_else(|| Wrong::from("is not the name of an environment variable".to_owned()))
        })?;
        Some(name.value)
    }

    fn variable(&self, key: &str) -> Option<SecretString> {
        let name = self.variable_name(key)?;
        let found = self.context.environment.get(&name);
        if found.is_none() {
            let what = format!("the environment variable {name} is not set or empty");
            let remedy = format!("set {name} for this process");
            self.wrong(key, Wrong::from(what).remedy(remedy));
        }
        found
    }

    fn secret_file(&self, key: &str) -> Option<SecretString> {
        let path = self.file(key)?;
        match read_secret(&path) {
            Ok(secret) => Some(secret),
            Err(e) => {
                let what = format!("{} cannot be read: {e}", path.display());
                let remedy = "put the secret, and nothing else, into that file";
                self.wrong(key, Wrong::from(what).remedy(remedy));
                None
            }
        }
    }
}
