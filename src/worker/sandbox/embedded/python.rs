//! The interpreter: where it is, what it needs beside the system tree, and our agent compiled by it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use super::wire::Tree;
use crate::worker::sandbox::ProbeError;

const AGENT_SOURCE: &str = include_str!("agent.py");
/// An interpreter that does not answer by then is none.
const INSPECTION_DEADLINE: Duration = Duration::from_secs(30);
/// The first with top-level await.
const OLDEST: (u32, u32) = (3, 8);
/// Where the packages of the operator's choice appear inside.
pub(super) const PACKAGES: &str = "/packages";

/// Prints what we must know, as JSON; argument 1 is the agent's source.
const INSPECTION: &str = r"
import importlib.util, json, marshal, os, site, sys
code = compile(sys.argv[1], '<baton>', 'exec', dont_inherit=True)
program = importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
prefixes.add(os.path.dirname(os.path.dirname(os.path.realpath(sys.executable))))
print(json.dumps({
    'executable': sys.executable,
    'version': list(sys.version_info[:3]),
    'prefixes': sorted(prefixes),
    'sites': [path for path in site.getsitepackages() if os.path.isdir(path)],
    'program': program.hex(),
}))
";

/// An interpreter that sandboxes can use.
#[derive(Debug)]
pub(super) struct Interpreter {
    pub(super) executable: PathBuf,
    pub(super) version: String,
    /// What must appear inside for it to run.
    pub(super) trees: Vec<Tree>,
    /// Its site-packages directories.
    pub(super) sites: Vec<String>,
    /// The agent, compiled by it.
    pub(super) program: Vec<u8>,
}

#[derive(Deserialize)]
struct Inspected {
    executable: PathBuf,
    version: (u32, u32, u32),
    prefixes: Vec<PathBuf>,
    sites: Vec<String>,
    program: String,
}

impl Interpreter {
    /// Asks the interpreter about itself; it is the operator's, so it runs outside.
    pub(super) async fn inspect(python: Option<&Path>) -> Result<Self, ProbeError> {
        let python = python.map_or_else(default_python, Path::to_owned);
        let unusable = |reason: String| ProbeError::Python { python: python.clone(), reason };
        let inspected = ask(&python).await.map_err(|error| unusable(error.to_string()))?;
        let (major, minor, patch) = inspected.version;
        let version = format!("{major}.{minor}.{patch}");
        if (major, minor) < OLDEST {
            return Err(unusable(format!(
                "it is version {version}, and 3.8 is the oldest that works"
            )));
        }
        let program = unhex(&inspected.program)
            .ok_or_else(|| unusable("its answer makes no sense".to_owned()))?;
        Ok(Self {
            executable: inspected.executable,
            version,
            trees: beside_system(inspected.prefixes),
            sites: inspected.sites,
            program,
        })
    }
}

fn default_python() -> PathBuf {
    let system = Path::new("/usr/bin/python3");
    // Found by exec on the worker's own PATH otherwise.
    if system.exists() { system.to_owned() } else { PathBuf::from("python3") }
}

async fn ask(python: &Path) -> io::Result<Inspected> {
    let output = Command::new(python)
        .args(["-I", "-c", INSPECTION, AGENT_SOURCE])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(INSPECTION_DEADLINE, output)
        .await
        .map_err(|_| io::Error::other("it does not answer"))??;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.lines().last().unwrap_or("it fails without a word");
        return Err(io::Error::other(last.to_owned()));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The outermost of these directories that the system tree does not show already.
fn beside_system(mut prefixes: Vec<PathBuf>) -> Vec<Tree> {
    for prefix in &mut prefixes {
        // A Nix interpreter needs its whole closure, and that has no other common directory.
        if prefix.starts_with("/nix/store") {
            *prefix = PathBuf::from("/nix/store");
        }
    }
    prefixes.sort();
    let mut trees: Vec<Tree> = Vec::new();
    for prefix in prefixes {
        let shown = prefix == Path::new("/")
            || prefix.starts_with("/usr")
            || trees.iter().any(|tree| prefix.starts_with(&tree.target));
        if !shown {
            trees.push(Tree { source: prefix.clone(), target: prefix });
        }
    }
    trees
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(prefixes: &[&str]) -> Vec<String> {
        let trees = beside_system(prefixes.iter().map(PathBuf::from).collect());
        trees.into_iter().map(|tree| tree.target.display().to_string()).collect()
    }

    #[test]
    fn only_what_the_system_tree_lacks_is_added_once() {
        assert_eq!(beside(&["/usr", "/usr/local", "/"]), Vec::<String>::new());
        assert_eq!(beside(&["/opt/venv", "/usr"]), ["/opt/venv"]);
        assert_eq!(beside(&["/opt/py/venv", "/opt/py", "/opt/py"]), ["/opt/py"]);
        assert_eq!(beside(&["/nix/store/abc-python"]), ["/nix/store"]);
    }
}
