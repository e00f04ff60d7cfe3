//! Which packages there are, for a model whose code imported one that is not: it saves the turn of asking.

use std::path::Path;

/// How many packages a hint names.
const MAX_NAMED: usize = 150;
const MISSING: &str = "ModuleNotFoundError: ";

/// The packages that every sandbox of a worker shows beside the standard library.
#[derive(Debug)]
pub(super) struct Packages {
    names: Vec<String>,
}

impl Packages {
    /// Those installed in a site-packages directory; a directory that cannot be read has none.
    pub(super) fn in_dir(dir: Option<&Path>) -> Self {
        let entries = dir.and_then(|dir| std::fs::read_dir(dir).ok()).into_iter().flatten();
        let names = entries.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let (package, _version) = name.strip_suffix(".dist-info")?.split_once('-')?;
            Some(package.replace('_', "-").to_lowercase())
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        names.dedup();
        names.truncate(MAX_NAMED);
        Self { names }
    }

    /// What to say to code that ended with this on standard error.
    pub(super) fn hint(&self, stderr: &str) -> Option<String> {
        stderr.lines().next_back().filter(|line| line.starts_with(MISSING))?;
        Some(match self.names.as_slice() {
            [] => {
                "Only the standard library is installed here, and there is no network.".to_owned()
            }
            names => format!(
                "Installed beside the standard library: {}. There is no network to install others.",
                names.join(", ")
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_module_is_answered_with_those_there_are() {
        let dir = std::env::temp_dir().join(format!("baton-packages-{}", std::process::id()));
        for name in ["numpy-2.1.0.dist-info", "Python_DateUtil-2.9.dist-info", "numpy", "x.txt"] {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        let packages = Packages::in_dir(Some(&dir));
        std::fs::remove_dir_all(&dir).unwrap();
        let hint =
            packages.hint("Traceback …\nModuleNotFoundError: No module named 'x'\n").unwrap();
        assert!(hint.contains("numpy, python-dateutil."), "{hint}");
        assert_eq!(packages.hint("ValueError: ModuleNotFoundError: no"), None);
        assert_eq!(packages.hint(""), None);
        let bare = Packages::in_dir(None).hint("ModuleNotFoundError: No module named 'x'").unwrap();
        assert!(bare.contains("Only the standard library"), "{bare}");
    }
}
