//! The table of settings, as people read it.

use std::fmt::Write as _;

use super::setting::{Role, Setting, Shape};
use super::table::{SECTIONS, settings};

/// The help text of one command: its settings, by section.
pub fn render_help(role: Role) -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let own: Vec<&Setting> = section.settings.iter().filter(|it| it.belongs_to(role)).collect();
        if own.is_empty() {
            continue;
        }
        line(&mut text, format_args!("{}:", section.title));
        for setting in own {
            let flag = flag(setting);
            let default = match (setting.shape, setting.default_words(role)) {
                (Shape::Switch, "off") | (_, "none") => String::new(),
                (_, words) => format!(" [{}]", words.replace('`', "")),
            };
            let help = setting.help.replace('`', "");
            line(&mut text, format_args!("  {flag:<32} {help}{default}"));
        }
        text.push('\n');
    }
    text
}

/// The README's table of settings.
pub fn render_markdown() -> String {
    let mut text = String::from("| flag | of | default | what it is |\n|---|---|---|---|\n");
    for setting in settings().filter(|it| it.is_deployment()) {
        let roles: Vec<&str> = setting.roles.iter().map(|role| role.as_str()).collect();
        let roles = roles.join(", ");
        let flag = flag(setting).replace('|', "\\|");
        let repeat = if setting.shape.is_list() { ", repeatable" } else { "" };
        let default = default(setting);
        line(
            &mut text,
            format_args!("| `{flag}`{repeat} | {roles} | {default} | {} |", setting.help),
        );
    }
    text
}

fn flag(setting: &Setting) -> String {
    let word = setting.shape.placeholder().map(|word| format!(" {word}")).unwrap_or_default();
    format!("--{}{word}", setting.flag)
}

fn default(setting: &Setting) -> String {
    let exception = setting.exception();
    let usual = setting.roles.iter().find(|role| Some(**role) != exception);
    let words = |role: Role| match setting.default_value(role) {
        Some(value) if setting.shape != Shape::Switch => format!("`{value}`"),
        _ => setting.default_words(role).to_owned(),
    };
    let mut text = usual.map(|role| words(*role)).unwrap_or_default();
    if let Some(role) = exception {
        text = format!("{text}; {}: {}", role.as_str(), words(role));
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes all that is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_holds_the_table() {
        const MARK: &str = "<!-- settings -->";
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let readme = std::fs::read_to_string(readme).unwrap_or_default();
        // Until the README has the two marks there is nothing to compare.
        let Some(table) = readme.split(MARK).nth(1) else { return };
        assert_eq!(
            table.trim(),
            render_markdown().trim(),
            "paste the output of `baton help markdown`"
        );
    }

    #[test]
    fn help_names_every_setting_and_its_default() {
        let help = render_help(Role::Worker);
        assert!(help.contains("--listen ADDR"), "{help}");
        assert!(help.contains("[127.0.0.1:8090]") && !help.contains("127.0.0.1:8080"), "{help}");
        assert!(!help.contains("--redis"), "{help}");
        let table = render_markdown();
        assert!(table.contains("| `--listen ADDR` | gateway, worker, dev | `127.0.0.1:8080`; worker: `127.0.0.1:8090` |"), "{table}");
        assert!(!table.contains("--json"), "{table}");
    }

    #[test]
    fn names_are_unique_and_helps_are_short() {
        let mut flags: Vec<&str> = settings().map(|it| it.flag).collect();
        flags.sort_unstable();
        assert!(flags.windows(2).all(|pair| pair[0] != pair[1]), "{flags:?}");
        for setting in settings() {
            let help = setting.help;
            assert!(!help.ends_with('.') && help.len() <= 150, "{help}");
            assert!(help.starts_with(|it: char| it.is_lowercase() || "`O".contains(it)), "{help}");
        }
    }
}
