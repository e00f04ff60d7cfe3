//! What of a given text may stand in a message: of a secret nothing, of anything else one short line.

use crate::domain::keyring::{SecretKey, WorkerKey};

use super::problem::Wrong;

/// Characters of a given text that a message repeats.
const MAX_SHOWN: usize = 200;
/// So many characters of a key in one run are a good part of it.
const KEY_LIKE: usize = 32;

/// A given text in quotes, on one line and not too long; `None` if it looks like a secret.
///
/// Platforms that give secrets as variables lead people to give a key where its file is to be named.
pub(super) fn quoted(text: &str) -> Option<String> {
    if looks_secret(text) {
        return None;
    }
    let mut letters = text.escape_debug();
    let mut line: String = letters.by_ref().take(MAX_SHOWN).collect();
    if letters.next().is_some() {
        line.push('…');
    }
    Some(format!("\"{line}\""))
}

/// What to say of a text that is not shown and stands where a file is to be named.
pub(super) fn not_a_path(what: &str) -> Wrong {
    Wrong::new(
        format!(
            "it looks like what belongs into the file, so it is not shown; as a path it {what}"
        ),
        "write it into a file for this user alone, and name that",
    )
}

/// Whether it may be a key, whole or damaged: PEM, more than one line, one of ours, or as random as one. So may a URL
/// with a password in it.
pub(super) fn looks_secret(text: &str) -> bool {
    text.contains(['\n', '\r'])
        || text.contains("-----BEGIN")
        || SecretKey::parse(text).is_ok()
        || WorkerKey::parse(text).is_ok()
        || looks_random(text)
        || text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// A long word in base64 of either alphabet, in base62 as API keys are, or in hexadecimal. A path has a dot, or no
/// letter of one of the cases, or no digit.
fn looks_random(text: &str) -> bool {
    let text = text.trim();
    // A worker's key has its name before it.
    let word = text.rsplit_once(':').map_or(text, |(_, key)| key).trim_end_matches('=');
    let all = |fits: fn(u8) -> bool| word.bytes().all(fits);
    let some = |fits: fn(&u8) -> bool| word.as_bytes().iter().any(fits);
    let mixed =
        some(u8::is_ascii_uppercase) && some(u8::is_ascii_lowercase) && some(u8::is_ascii_digit);
    let base64 = all(|it| it.is_ascii_alphanumeric() || b"+/-_".contains(&it)) && mixed;
    word.len() >= KEY_LIKE && (base64 || all(|it| it.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings;
    use crate::cli::settings::fake::Fake;
    use crate::domain::api_key::ApiKey;
    use crate::domain::ids::WorkerId;

    /// What each command that reads them says of these arguments and variables.
    fn said(arguments: &[String], variable: Option<(&str, &str)>) -> String {
        let around =
            variable.map_or_else(Fake::new, |(name, text)| Fake::new().variable(name, text));
        let doctor = settings::doctor(arguments, &around).settings;
        let own = doctor.own.err().map(|it| it.to_string());
        let gateway = doctor.gateway.and_then(Result::err).map(|it| it.to_string());
        let worker = doctor.worker.and_then(Result::err).map(|it| it.to_string());
        let parts = [
            settings::gateway(arguments, &around).unwrap_err().to_string(),
            settings::worker(arguments, &around).unwrap_err().to_string(),
            format!("{own:?}{gateway:?}{worker:?}{:?}", doctor.key_files),
        ];
        parts.concat()
    }

    #[test]
    fn a_key_where_its_file_is_to_be_named_is_in_no_message() {
        let secret = SecretKey::from_bytes(std::array::from_fn(|it| u8::try_from(it * 7).unwrap()));
        let worker = WorkerKey::derive(&secret, &WorkerId::parse("w1").unwrap()).reveal();
        let body = secret.reveal();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let one_line = format!("redis = \"redis://:{body}@h\"");
        for (flag, text) in [
            ("signing-key-file", &body),
            ("worker-root-key-file", &body),
            ("worker-key-file", &worker),
            ("redis-client-key-file", &pem),
            ("signing-key-file", &pem),
            ("config", &body),
            ("config", &pem),
            ("config", &one_line),
            ("python-packages", &body),
        ] {
            let hidden = worker.rsplit_once(':').unwrap().1;
            let check = |said: &str| {
                assert!(!said.contains(&body) && !said.contains(hidden), "{flag}: {said}");
            };
            let variable = format!("BATON_{}", flag.replace('-', "_").to_ascii_uppercase());
            check(&said(&[], Some((&variable, text))));
            check(&said(&[format!("--{flag}={text}")], None));
            check(&said(&[format!("--{flag}"), text.clone()], None));
            // Without quotes around it a shell makes words of it.
            let words = format!("--{flag} {text}");
            check(&said(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), None));
        }
        let text = said(&[], Some(("BATON_SIGNING_KEY_FILE", &body)));
        let expected = "BATON_SIGNING_KEY_FILE: it looks like what belongs into the file";
        assert!(text.contains(expected) && text.contains("→ write it into a file"), "{text}");
    }

    #[test]
    fn a_path_is_shown_and_a_key_is_not() {
        let (plain, random) = (SecretKey::from_bytes([1; 32]), SecretKey::from_bytes([0xA7; 32]));
        let worker = WorkerKey::derive(&plain, &WorkerId::parse("w1").unwrap()).reveal();
        let api = ApiKey::from_random([7; 32]);
        let revealed = random.reveal();
        let urlsafe = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJ-_";
        for key in [
            plain.reveal().as_str(),
            &revealed,
            &format!(" {revealed} "),
            &worker,
            &worker[..worker.len() - 5],
            api.reveal(),
            urlsafe,
            &"0123456789abcdef".repeat(4),
            "-----BEGIN PRIVATE KEY----- MIGH",
            "redis://:hunter2@h",
            "some line\nof a file",
        ] {
            assert_eq!(quoted(key), None, "{key}");
        }
        for path in [
            "s.key",
            "/run/secrets/baton/production/signing-key",
            "/etc/Baton/Keys/2026/the-one-that-signs/signing.key",
            "relative/Path/1",
            "",
        ] {
            assert_eq!(quoted(path), Some(format!("\"{path}\"")));
        }
        assert_eq!(quoted("a\u{1b}[2J"), Some("\"a\\u{1b}[2J\"".to_owned()));
        assert_eq!(quoted(&"x.".repeat(500)).unwrap().chars().count(), MAX_SHOWN + 3);
    }
}
