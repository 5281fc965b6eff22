//! Keys as file names.
//!
//! A key is cut at `/`; every component becomes one name, or several when it is long. The last two bytes of a name say
//! what it is, so an object `a`, a prefix `a/` and a long component that starts with `a` never collide:
//!
//! | name | what |
//! |---|---|
//! | `….o` | an object: the key ends here |
//! | `….d` | a directory: the component ended with `/` |
//! | `….c` | a continuation: the component goes on inside |
//!
//! The rest is the component's text with control characters and `%` written as `%XX`. A component is cut as soon as its
//! encoded text has [`SPLIT_AT`] bytes. Where the cut falls depends on nothing that follows it, so a continuation holds
//! *all* keys that start with its piece, and sorting the entries of a directory by [`Entry::sort_key`] and walking depth
//! first gives the keys in bytewise order.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Encoded bytes at which a component is cut. The longest name is one 4-byte character and a two-byte suffix longer
/// than `SPLIT_AT - 1`: 253 bytes, within the 255 that file systems allow.
pub(super) const SPLIT_AT: usize = 248;

/// Longest path of a key relative to its bucket, bytes: no byte of a 1024-byte key takes more than three (`%XX`, or `.d/`
/// for a `/`), a continuation adds three per [`SPLIT_AT`] and the object's suffix two.
pub(super) const MAX_RELATIVE_PATH: usize = 3 * 1024 + 3 * (3 * 1024 / SPLIT_AT + 1) + 2;

/// What a directory entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A key ends here.
    Object,
    /// Holds the keys that go on after a `/`.
    Directory,
    /// Holds the keys whose component goes on.
    Continuation,
}

impl Kind {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Object => ".o",
            Self::Directory => ".d",
            Self::Continuation => ".c",
        }
    }
}

/// A decoded directory entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// What it is.
    pub(super) kind: Kind,
    /// The bytes that it adds to the key of its directory: the piece of the component, and `/` after a directory's.
    /// Entries of one directory sorted by this are in key order.
    pub(super) sort_key: Vec<u8>,
}

impl Entry {
    /// Decodes a file name; `None` when no key has that name (a stranger's file).
    pub(super) fn decode(name: &OsStr) -> Option<Self> {
        let name = std::str::from_utf8(name.as_bytes()).ok()?;
        let kind = [Kind::Object, Kind::Directory, Kind::Continuation]
            .into_iter()
            .find(|k| name.ends_with(k.suffix()))?;
        let text = &name[..name.len() - kind.suffix().len()];
        let mut piece = unescape(text)?;
        // Exactly one name per piece: anything that encoding would not give is a stranger.
        let cut = split(&piece);
        let whole = match kind {
            Kind::Continuation => cut == Some(piece.len()),
            Kind::Object | Kind::Directory => cut.is_none(),
        };
        if !whole {
            return None;
        }
        if kind == Kind::Directory {
            piece.push('/');
        }
        Some(Self {
            kind,
            sort_key: piece.into_bytes(),
        })
    }

    /// The file name of this entry.
    pub(super) fn file_name(&self) -> String {
        let piece = self.sort_key.strip_suffix(b"/").unwrap_or(&self.sort_key);
        let mut name = String::with_capacity(piece.len() + 2);
        escape(
            std::str::from_utf8(piece).expect("decoded from UTF-8, cut at characters"),
            &mut name,
        );
        name.push_str(self.kind.suffix());
        name
    }
}

/// The path of an object relative to its bucket. `None` when the key is not UTF-8 (S3 keys are) or is empty.
pub(super) fn object_path(key: &[u8]) -> Option<PathBuf> {
    let key = std::str::from_utf8(key).ok().filter(|k| !k.is_empty())?;
    let (directories, last) = match key.rfind('/') {
        Some(slash) => key.split_at(slash + 1),
        None => ("", key),
    };
    let mut path = String::with_capacity(key.len() + 16);
    push_directories(directories, &mut path);
    push_component(last, Kind::Object, &mut path);
    Some(PathBuf::from(path))
}

/// The deepest directory, relative to the bucket, that holds every key that starts with `prefix`, and how many bytes of
/// the prefix it stands for. `None` when no key can start so.
pub(super) fn prefix_path(prefix: &[u8]) -> Option<(PathBuf, usize)> {
    let end = prefix
        .iter()
        .rposition(|&b| b == b'/')
        .map_or(0, |slash| slash + 1);
    let directories = std::str::from_utf8(&prefix[..end]).ok()?;
    let mut path = String::with_capacity(end + 16);
    push_directories(directories, &mut path);
    Some((PathBuf::from(path), end))
}

/// `directories` is empty or ends with `/`.
fn push_directories(directories: &str, path: &mut String) {
    for component in directories.split_terminator('/') {
        push_component(component, Kind::Directory, path);
        path.push('/');
    }
}

fn push_component(mut component: &str, kind: Kind, path: &mut String) {
    while let Some(cut) = split(component) {
        escape(&component[..cut], path);
        path.push_str(Kind::Continuation.suffix());
        path.push('/');
        component = &component[cut..];
    }
    escape(component, path);
    path.push_str(kind.suffix());
}

/// Where a component is cut: after the first character with which its encoded text reaches [`SPLIT_AT`].
fn split(component: &str) -> Option<usize> {
    let mut encoded = 0;
    for (at, c) in component.char_indices() {
        encoded += if is_plain(c) { c.len_utf8() } else { 3 };
        if encoded >= SPLIT_AT {
            return Some(at + c.len_utf8());
        }
    }
    None
}

/// Written as it is. `/` never occurs within a component; if a name holds one escaped, it is not ours.
fn is_plain(c: char) -> bool {
    !(c.is_ascii_control() || c == '%')
}

fn escape(piece: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for c in piece.chars() {
        if is_plain(c) {
            out.push(c);
        } else {
            let b = c as usize;
            out.push('%');
            out.push(HEX[b >> 4] as char);
            out.push(HEX[b & 15] as char);
        }
    }
}

/// Undoes [`escape`]; `None` for text that it would not have written.
fn unescape(text: &str) -> Option<String> {
    let mut piece = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        piece.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3)?;
        if !digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
        {
            return None;
        }
        let c = char::from(u8::from_str_radix(digits, 16).ok()?);
        if is_plain(c) || !c.is_ascii() {
            return None;
        }
        piece.push(c);
        rest = &rest[at + 3..];
    }
    piece.push_str(rest);
    piece.chars().all(|c| c != '/').then_some(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Reads a path back into a key, name by name.
    fn key_of(path: &Path) -> Vec<u8> {
        path.iter()
            .flat_map(|name| Entry::decode(name).expect("own name").sort_key)
            .collect()
    }

    fn keys() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec!["a", "b", ".", "..", "", "!", "0", "%", "\u{1}", "é", "\u{10ffff}", ".o", ".d", ".c", "%2F"])
                .prop_map(str::to_owned),
            1 => (240usize..260).prop_map(|n| "x".repeat(n)),
            1 => (78usize..90, prop::sample::select(vec!["%", "\u{2}", "é", "\u{10ffff}"])).prop_map(|(n, c)| c.repeat(n)),
            2 => Just("/".to_owned()),
        ];
        prop::collection::vec(piece, 1..6)
            .prop_map(|p| p.concat())
            .prop_filter("legal length", |k| !k.is_empty() && k.len() <= 1024)
    }

    #[test]
    fn readable_names() {
        let path = |key: &str| object_path(key.as_bytes()).unwrap();
        assert_eq!(
            path("photos/2026/a b.jpg"),
            Path::new("photos.d/2026.d/a b.jpg.o")
        );
        assert_eq!(path("a"), Path::new("a.o"));
        assert_eq!(path("a/"), Path::new("a.d/.o"));
        assert_eq!(path("//"), Path::new(".d/.d/.o"));
        assert_eq!(path("../."), Path::new("...d/..o"));
        assert_eq!(path("50%\n"), Path::new("50%25%0A.o"));
        assert_eq!(
            path(&"x".repeat(248)),
            Path::new(&format!("{}.c/.o", "x".repeat(248)))
        );
        assert_eq!(
            path(&"x".repeat(247)),
            Path::new(&format!("{}.o", "x".repeat(247)))
        );
        assert_eq!(object_path(b""), None);
        assert_eq!(object_path(b"\xff"), None);
    }

    #[test]
    fn strangers_are_not_keys() {
        for name in [
            "a", "a.x", "%61.o", "%2f.o", "%2F.o", "%0a.o", "%.o", "%0.d", "%éa.o", ".bucket",
            "short.c",
        ] {
            assert_eq!(Entry::decode(OsStr::new(name)), None, "{name}");
        }
        let long = format!("{}.o", "x".repeat(SPLIT_AT));
        assert_eq!(Entry::decode(OsStr::new(&long)), None);
    }

    #[test]
    fn names_and_paths_stay_within_the_limits_of_linux() {
        for unit in ["/", "\u{1}/", "x", "\u{1}", "%", "\u{10ffff}", "é/", "a/"] {
            let mut key = unit.repeat(1024 / unit.len());
            while key.len() < 1024 {
                key.push('z');
            }
            let path = object_path(key.as_bytes()).unwrap();
            assert_eq!(key_of(&path), key.as_bytes());
            assert!(
                path.as_os_str().len() <= MAX_RELATIVE_PATH,
                "{unit:?}: {}",
                path.as_os_str().len()
            );
            assert!(path.iter().all(|n| n.len() <= 255));
        }
    }

    proptest! {
        #[test]
        fn a_key_survives_its_path(key in keys()) {
            let path = object_path(key.as_bytes()).unwrap();
            prop_assert!(path.iter().all(|n| n.len() <= 255 && n != "." && n != ".."));
            prop_assert_eq!(key_of(&path), key.as_bytes());
            for name in &path {
                let entry = Entry::decode(name).unwrap();
                let again = entry.file_name();
                prop_assert_eq!(OsStr::new(&again), name);
            }
        }

        /// A tree of sorted directories, walked depth first, is the sorted list of keys; and no name is both file and directory.
        #[test]
        fn a_sorted_walk_is_key_order(keys in prop::collection::btree_set(keys(), 1..40)) {
            #[derive(Default)]
            struct Dir { files: BTreeMap<Vec<u8>, ()>, dirs: BTreeMap<Vec<u8>, Dir>, names: BTreeMap<String, bool> }
            let mut root = Dir::default();
            for key in &keys {
                let path = object_path(key.as_bytes()).unwrap();
                let names: Vec<_> = path.iter().collect();
                let mut at = &mut root;
                for (i, name) in names.iter().enumerate() {
                    let last = i + 1 == names.len();
                    let entry = Entry::decode(name).unwrap();
                    prop_assert_eq!(*at.names.entry(name.to_str().unwrap().into()).or_insert(last), last);
                    prop_assert_eq!(entry.kind == Kind::Object, last);
                    if last { at.files.insert(entry.sort_key, ()); break; }
                    at = at.dirs.entry(entry.sort_key).or_default();
                }
            }
            fn walk(dir: &Dir, key: &[u8], out: &mut Vec<Vec<u8>>) {
                let mut entries: Vec<(&Vec<u8>, Option<&Dir>)> = dir.files.keys().map(|k| (k, None)).collect();
                entries.extend(dir.dirs.iter().map(|(k, d)| (k, Some(d))));
                entries.sort_by_key(|(k, _)| *k);
                for (piece, sub) in entries {
                    let full = [key, piece].concat();
                    match sub { Some(d) => walk(d, &full, out), None => out.push(full) }
                }
            }
            let mut walked = Vec::new();
            walk(&root, b"", &mut walked);
            let expected: Vec<Vec<u8>> = keys.iter().map(|k| k.clone().into_bytes()).collect();
            prop_assert_eq!(walked, expected);
        }

        #[test]
        fn a_prefix_directory_holds_every_key_of_the_prefix(key in keys(), cut in 0usize..1024) {
            let prefix = &key.as_bytes()[..cut.min(key.len())];
            let (directory, covered) = prefix_path(prefix).unwrap();
            prop_assert!(object_path(key.as_bytes()).unwrap().starts_with(&directory));
            prop_assert_eq!(key_of(&directory), &prefix[..covered]);
        }
    }
}
