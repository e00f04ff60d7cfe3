//! What a start reads besides its arguments: variables, files, the machine's name.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;

/// The machine, or a test's picture of one.
pub trait Surroundings {
    /// The environment variables.
    fn variables(&self) -> &BTreeMap<String, String>;

    /// A text file, at most [`MAX_FILE_BYTES`].
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Whether there is a file.
    fn is_file(&self, path: &Path) -> bool;

    /// The machine's name.
    fn host_name(&self) -> String;

    /// Something that no other start has.
    fn random(&self) -> u32;
}

/// A configuration or key file that is longer is none.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// The machine.
#[derive(Debug)]
pub struct System {
    variables: BTreeMap<String, String>,
}

impl System {
    /// Reads the environment, once.
    pub fn read() -> Self {
        let text = |it: std::ffi::OsString| it.to_string_lossy().into_owned();
        Self { variables: std::env::vars_os().map(|(k, v)| (text(k), text(v))).collect() }
    }
}

impl Surroundings for System {
    fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 1 MiB"));
        }
        Ok(text)
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn host_name(&self) -> String {
        nix::unistd::gethostname().map_or_else(|_| "baton".into(), |it| it.to_string_lossy().into())
    }

    fn random(&self) -> u32 {
        getrandom::u32().expect("the system has random bytes")
    }
}

#[cfg(test)]
pub(crate) mod fake {
    use super::*;

    /// A machine made of two maps.
    #[derive(Debug, Default)]
    pub(crate) struct Fake {
        pub(crate) variables: BTreeMap<String, String>,
        pub(crate) files: BTreeMap<String, String>,
    }

    impl Fake {
        /// With python3, as every worker needs.
        pub(crate) fn new() -> Self {
            Self::default().file("/usr/bin/python3", "")
        }

        pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
            self.variables.insert(name.into(), value.into());
            self
        }

        pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
            self.files.insert(path.into(), text.into());
            self
        }
    }

    impl Surroundings for Fake {
        fn variables(&self) -> &BTreeMap<String, String> {
            &self.variables
        }

        fn read(&self, path: &Path) -> io::Result<String> {
            let text = path.to_str().and_then(|path| self.files.get(path)).cloned();
            text.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        }

        fn is_file(&self, path: &Path) -> bool {
            self.read(path).is_ok()
        }

        fn host_name(&self) -> String {
            "host".into()
        }

        fn random(&self) -> u32 {
            0xBA70
        }
    }
}
