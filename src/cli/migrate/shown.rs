//! Text of a file, as it may reach a terminal and a shell.

/// The text on one line and not too long. What has been cut stays as it is when it is cut again.
pub(super) fn cut(text: &str, most: usize) -> String {
    let mut letters = text.chars().flat_map(escaped);
    let mut cut: String = letters.by_ref().take(most).collect();
    if letters.next().is_some() {
        cut.push('…');
    }
    cut
}

/// Escaped if a terminal would obey it; quotes and backslashes only a shell obeys.
fn escaped(letter: char) -> impl Iterator<Item = char> {
    let plain = matches!(letter, '\'' | '"' | '\\').then_some(letter);
    let other = plain.is_none().then(|| letter.escape_debug());
    plain.into_iter().chain(other.into_iter().flatten())
}

/// A text that has been cut, as one word of a shell's command line, in which nothing is run.
pub(super) fn shell_word(cut: &str) -> String {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-_./".contains(&it);
    if !cut.is_empty() && cut.bytes().all(plain) {
        cut.to_owned()
    } else {
        format!("'{}'", cut.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_one_line_that_no_terminal_obeys() {
        let check = |text: &str, expected: &str| {
            assert_eq!(cut(text, 10), expected);
            assert_eq!(cut(expected, 10), expected, "it stays");
        };
        check("agents", "agents");
        check("it's \"a\\b\"", "it's \"a\\b\"");
        check("a\u{1b}[2J", "a\\u{1b}[2J");
        check("a\nb\u{202e}", "a\\nb\\u{202…");
        check("0123456789a", "0123456789…");
    }

    #[test]
    fn a_word_of_a_shell_runs_nothing() {
        let check = |text: &str, expected: &str| assert_eq!(shell_word(text), expected);
        check("pools/p-1.json", "pools/p-1.json");
        check("$(id)", "'$(id)'");
        check("[parameters('p')]", r"'[parameters('\''p'\'')]'");
        check("a b;c", "'a b;c'");
        check("", "''");
    }
}
