//! `baton key`: makes keys. A key file holds one line.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::domain::api_key::ApiKey;
use crate::domain::ids::{Name, WorkerId};
use crate::domain::keyring::{SecretKey, WorkerKey};

use super::command::{Refusal, suggestion};
use super::console::Console;
use super::settings::{KeySettings, Loaded, Surroundings};

/// Which key is wanted.
#[derive(Clone, Debug)]
pub enum KeyRequest {
    /// One that signs handles, or a root of workers' keys: 32 random bytes.
    Secret,
    /// One worker's.
    Worker(WorkerKey),
    /// An API key for one tenant and subject.
    Api {
        /// The tenant.
        tenant: Name,
        /// The subject.
        subject: Name,
    },
}

const KINDS: [&str; 4] = ["signing", "worker-root", "worker", "api"];

impl KeyRequest {
    /// Reads what was asked for; all that is missing is in the refusal.
    pub(super) fn read(
        loaded: Loaded<KeySettings>,
        around: &dyn Surroundings,
    ) -> Result<Self, Refusal> {
        let KeySettings { root, id, tenant, subject } = loaded.settings;
        let mut wrong = Wrongs(Vec::new());
        let words: Vec<&str> = loaded.words.iter().map(String::as_str).collect();
        let (kind, own) = match words[..] {
            [kind @ ("signing" | "worker-root")] => (kind, [false; 4]),
            ["worker"] => ("worker", [true, true, false, false]),
            ["api"] => ("api", [false, false, true, true]),
            [other, ..] if !KINDS.contains(&other) => {
                let near = suggestion(other, &KINDS);
                let other = other.escape_debug();
                return Err(Refusal::new(format!("there is no key \"{other}\"{near}\n{USAGE}")));
            }
            _ => return Err(Refusal::new(format!("which key?\n{USAGE}"))),
        };
        let given = [("root", &root), ("id", &id), ("tenant", &tenant), ("subject", &subject)];
        for ((flag, value), own) in given.into_iter().zip(own) {
            if value.is_some() && !own {
                wrong.add(flag, format!("not for a {kind} key → leave it out"));
            }
        }
        let request = match kind {
            "worker" => {
                let root = wrong.take("root", root, |path| {
                    let text = around.read(Path::new(path)).map_err(|error| error.to_string())?;
                    SecretKey::parse(&text).map_err(|error| error.to_string())
                });
                let id = wrong.take("id", id, WorkerId::parse);
                root.zip(id).map(|(root, id)| Self::Worker(WorkerKey::derive(&root, &id)))
            }
            "api" => {
                let tenant = wrong.take("tenant", tenant, Name::parse);
                let subject = wrong.take("subject", subject, Name::parse);
                tenant.zip(subject).map(|(tenant, subject)| Self::Api { tenant, subject })
            }
            _ => Some(Self::Secret),
        };
        match request {
            Some(request) if wrong.0.is_empty() => Ok(request),
            _ => Err(Refusal::new(format!("{}\n{USAGE}", wrong.0.join("\n")))),
        }
    }

    /// Makes the key and prints it; `random` is used up by it.
    pub fn print(&self, random: [u8; 32], console: &mut dyn Console) {
        match self {
            Self::Secret => console.out(&format!("{}\n", SecretKey::from_bytes(random).reveal())),
            Self::Worker(key) => console.out(&format!("{}\n", key.reveal())),
            Self::Api { tenant, subject } => {
                let key = ApiKey::from_random(random);
                console.err(
                    "The key is shown this once. The gateway's file gets the lines below it.\n",
                );
                console.out(&format!("{}\n\n{}", key.reveal(), table(&key, tenant, subject)));
            }
        }
    }
}

/// The configuration's lines for a key. A name may hold a quote or a backslash, so TOML writes it.
fn table(key: &ApiKey, tenant: &Name, subject: &Name) -> String {
    let text = |text: &str| toml::Value::String(text.to_owned());
    format!(
        "[[api_key]]\nhash = \"{}\"\ntenant = {}\nsubject = {}\n",
        key.digest(),
        text(tenant.as_str()),
        text(subject.as_str())
    )
}

const USAGE: &str = "  baton key signing
  baton key worker-root
  baton key worker --root FILE --id ID
  baton key api --tenant T --subject S";

struct Wrongs(Vec<String>);

impl Wrongs {
    fn add(&mut self, flag: &str, what: impl std::fmt::Display) {
        self.0.push(format!("--{flag}: {what}"));
    }

    fn take<T, E: std::fmt::Display>(
        &mut self,
        flag: &str,
        text: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Some(text) = text else {
            self.add(flag, "is needed");
            return None;
        };
        parse(&text).map_err(|error| self.add(flag, error)).ok()
    }
}

/// A key that `baton dev` makes once: read from its file, or written there for this user alone.
pub fn made_once(path: &Path, random: [u8; 32]) -> io::Result<SecretKey> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // Looked for first: a disk that is full keeps nobody from a key that is there.
    match std::fs::read_to_string(path) {
        Ok(text) => return parsed(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let key = SecretKey::from_bytes(random);
    // Written whole beside the file and linked there: half a key is never found, and the first of two makers wins.
    let unfinished = path.with_extension(format!("{}.new", std::process::id()));
    let linked = write_private(&unfinished, &format!("{}\n", key.reveal()))
        .and_then(|()| std::fs::hard_link(&unfinished, path));
    let removed = std::fs::remove_file(&unfinished);
    match linked {
        Ok(()) => removed.map(|()| key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            parsed(&std::fs::read_to_string(path)?)
        }
        Err(error) => Err(error),
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn parsed(text: &str) -> io::Result<SecretKey> {
    SecretKey::parse(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::cli::console::recorder::Recorder;
    use crate::cli::settings::fake::Fake;
    use crate::cli::settings::{self, Authentication};

    fn request(arguments: &str, around: &Fake) -> Result<KeyRequest, Refusal> {
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        KeyRequest::read(settings::key(&words, around).unwrap(), around)
    }

    fn printed(arguments: &str, around: &Fake) -> String {
        let mut console = Recorder::default();
        request(arguments, around).unwrap().print([7; 32], &mut console);
        console.out
    }

    #[test]
    fn a_key_file_is_one_line_that_reads_back() {
        for kind in ["signing", "worker-root"] {
            let line = printed(kind, &Fake::new());
            assert_eq!(line.lines().count(), 1);
            assert_eq!(SecretKey::parse(&line).unwrap().reveal(), line.trim());
        }
        let around = Fake::new().file("root.key", &printed("worker-root", &Fake::new()));
        let line = printed("worker --root root.key --id w1", &around);
        assert_eq!(line, printed("worker --id w1 --root root.key", &around), "it is derived");
        assert_eq!(WorkerKey::parse(&line).unwrap().worker().as_str(), "w1");
    }

    #[test]
    fn the_lines_of_an_api_key_are_what_the_gateway_reads() {
        let text = printed("api --tenant a\"b\\c --subject s", &Fake::new());
        let (key, lines) = text.split_once('\n').unwrap();
        let key = ApiKey::parse(key).unwrap();
        assert!(!key.is_damaged() && !lines.contains(key.reveal()));
        let around = Fake::new().file("b.toml", lines);
        let dev = settings::dev(&["--config".into(), "b.toml".into()], &around).unwrap().settings;
        let Authentication::ApiKeys(keys) = dev.edge.authentication else { panic!("no keys") };
        assert_eq!(keys[0].digest, key.digest());
        assert_eq!(keys[0].principal.tenant(), "a\"b\\c");
    }

    #[test]
    fn a_refusal_lists_all_that_is_missing() {
        let refusal = |arguments: &str| request(arguments, &Fake::new()).unwrap_err().to_string();
        let text = refusal("worker --tenant t");
        assert!(text.contains("--root: is needed") && text.contains("--id: is needed"), "{text}");
        assert!(text.contains("--tenant: not for a worker key"), "{text}");
        assert!(refusal("worker --root none --id W").contains("a worker id has"));
        assert!(
            refusal("").contains("which key?") && refusal("signing api").contains("which key?")
        );
    }

    #[test]
    fn dev_makes_a_key_once_and_keeps_it_to_one_user() {
        let folder = std::env::temp_dir().join(format!("baton-key-{}", std::process::id()));
        let path = folder.join("deep/signing.key");
        let first = made_once(&path, [1; 32]).unwrap();
        assert_eq!(made_once(&path, [2; 32]).unwrap().reveal(), first.reveal());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // Where nothing can be written, what is there is read, and nothing half made is left.
        std::fs::create_dir(path.with_extension(format!("{}.new", std::process::id()))).unwrap();
        assert_eq!(made_once(&path, [4; 32]).unwrap().reveal(), first.reveal());
        std::fs::write(&path, "broken").unwrap();
        assert!(made_once(&path, [3; 32]).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
