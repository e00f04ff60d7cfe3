//! Headers that an operator adds to every request to an upstream. Their values are secrets.

use std::path::Path;

use http::{HeaderName, HeaderValue};

use super::fields::Fields;
use super::problem::Wrong;
use super::shown;
use super::surroundings::Surroundings;

/// Headers of one upstream.
const MAX_HEADERS: usize = 32;
/// Longest value.
const MAX_VALUE_BYTES: usize = 8 << 10;

/// Headers that the gateway sets itself, or that belong to one connection (RFC 9110, section 7.6.1): an operator's
/// would contradict the body, the protocol or the framing.
const OURS: [&str; 20] = [
    "accept",
    "accept-encoding",
    "baggage",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "last-event-id",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
];
/// The protocol's own headers begin so.
const PROTOCOL: &str = "mcp-";

/// Where values come from, and which files were among it.
pub(super) struct Sources<'a> {
    pub(super) around: &'a dyn Surroundings,
    pub(super) files: Vec<String>,
}

impl Sources<'_> {
    /// Reads a file that a setting names, and remembers that it was named.
    pub(super) fn file(&mut self, path: &str) -> Result<String, Wrong> {
        self.files.push(path.to_owned());
        self.around.read(Path::new(path)).map_err(|error| {
            let what = format!("cannot be read ({error})");
            let mend = "give the path of a file that this user may read";
            match shown::quoted(path) {
                Some(path) => Wrong::new(format!("{path} {what}"), mend),
                None => shown::not_a_path(&what),
            }
        })
    }

    fn value(&mut self, text: &str) -> Result<String, Wrong> {
        if let Some(name) = text.strip_prefix("env:") {
            let value = self.around.variables().get(name).cloned();
            return value.ok_or_else(|| {
                let name = shown::quoted(name).unwrap_or_else(|| "of that name".to_owned());
                Wrong::new(format!("there is no variable {name}"), "set it, or name another")
            });
        }
        match text.strip_prefix("file:") {
            // Editors and `echo` end a line.
            Some(path) => Ok(self.file(path)?.trim_end_matches(['\r', '\n']).to_owned()),
            None => Ok(text.to_owned()),
        }
    }
}

/// The headers of a table: `NAME = "env:VARIABLE"`, `"file:PATH"`, or the value itself.
pub(super) fn read(
    fields: &Fields<'_>,
    sources: &mut Sources<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    if fields.len() > MAX_HEADERS {
        let mend = format!("write at most {MAX_HEADERS}");
        fields.wrong("*", Wrong::new(format!("there are {}", fields.len()), mend));
    }
    fields.named_texts(|key, text| {
        let name = name(key)?;
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(Wrong::new("is there twice, in other letters", "write it once"));
        }
        headers.push((name, value(&sources.value(text)?)?));
        Ok(())
    });
    headers
}

fn name(key: &str) -> Result<HeaderName, Wrong> {
    let name = HeaderName::try_from(key)
        .map_err(|_| Wrong::new("is no name of a header", "write one like X-Api-Key"))?;
    if OURS.contains(&name.as_str()) || name.as_str().starts_with(PROTOCOL) {
        return Err(Wrong::new("is set by the gateway itself", "leave it out"));
    }
    Ok(name)
}

/// A value, which no `Debug` shows. What is wrong with it is said without it.
fn value(text: &str) -> Result<HeaderValue, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("its value is empty", "give it one, or leave the header out"));
    }
    if text.len() > MAX_VALUE_BYTES {
        return Err(Wrong::new("its value is longer than 8 KiB", "give a shorter one"));
    }
    let printable = text.bytes().all(|it| (b' '..=b'~').contains(&it)) && text.trim() == text;
    let value = HeaderValue::from_str(text).ok().filter(|_| printable);
    let mut value = value.ok_or_else(|| {
        Wrong::new(
            "its value is not printable ASCII without spaces around it",
            "give one line without other characters",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use crate::cli::settings;
    use crate::cli::settings::fake::Fake;

    #[test]
    fn headers_that_the_gateway_sets_are_refused_and_no_value_is_shown() {
        let headers = |them: &str| {
            let around = Fake::new().file("two-lines", "hunter2\nhunter2").file("empty", "\n");
            let file = "[[upstream]]\nname = \"u\"\nurl = \"https://h\"\nheaders = ";
            let around = around.file("b.toml", &format!("{file}{{ {them} }}"));
            settings::dev(&["--config=b.toml".to_owned()], &around)
        };
        for (them, what) in [
            ("Host = \"hunter2\"", "headers.Host: is set by the gateway itself → leave it out"),
            ("content-type = \"hunter2\"", "is set by the gateway itself"),
            ("MCP-Protocol-Version = \"hunter2\"", "is set by the gateway itself"),
            ("Mcp-Session-Id = \"hunter2\"", "is set by the gateway itself"),
            ("Traceparent = \"hunter2\"", "is set by the gateway itself"),
            ("\"X Y\" = \"hunter2\"", "headers.X Y: is no name of a header"),
            ("X = \"hunter2é\"", "not printable ASCII"),
            ("X = \" hunter2\"", "without spaces around it"),
            ("X = \"hunter2\\r\\nY: z\"", "not printable ASCII"),
            ("X = \"file:two-lines\"", "not printable ASCII"),
            ("X = \"file:empty\"", "its value is empty"),
            ("X = \"file:none\"", "headers.X: \"none\" cannot be read"),
            ("X = 5", "headers.X: is not a text"),
            ("X = \"hunter2\", x = \"hunter2\"", "is there twice"),
        ] {
            let text = headers(them).unwrap_err().to_string();
            assert!(text.contains(what) && !text.contains("hunter2"), "{them}: {text}");
            assert_eq!(text.lines().count(), 3, "{them}: {text}");
        }
        let many: Vec<_> = (0..33).map(|it| format!("X-{it} = \"v\"")).collect();
        assert!(headers(&many.join(", ")).unwrap_err().to_string().contains("there are 33"));
    }
}
