//! The table of proofs in the README names what there is.

use std::fs::{read_dir, read_to_string};
use std::path::Path;

const SECTION: &str = "## What of the protocol, and what proves it";

/// The source of a test module: its file, or all files of its folder.
fn source(module: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    if let Ok(text) = read_to_string(tests.join(format!("{module}.rs"))) {
        return text;
    }
    let files = read_dir(tests.join(module)).into_iter().flatten().flatten();
    files.filter_map(|file| read_to_string(file.path()).ok()).collect()
}

#[test]
fn each_test_that_the_readme_names_is_there() {
    let readme = include_str!("../../README.md");
    let section = readme.split(SECTION).nth(1).and_then(|it| it.split("\n## ").next());
    let names = section.unwrap_or_default().split('`').filter_map(|it| it.split_once("::"));
    let names: Vec<_> = names.filter(|(module, _)| !module.contains(' ')).collect();
    assert!(names.len() > 40, "the table was not found: {names:?}");
    for (module, test) in names {
        assert!(source(module).contains(&format!("fn {test}(")), "{module}::{test}");
    }
}
