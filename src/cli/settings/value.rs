//! Text into values. An error says what the text is not and what to write, never the text itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Uri};
use tracing_subscriber::EnvFilter;

use crate::domain::ids::Name;
use crate::gateway::Network;

use super::problem::Wrong;

/// Bytes of a header's name.
const MAX_HEADER_NAME: usize = 128;

/// Where a listener listens.
pub(super) fn address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let port = text.trim_start_matches(':').parse::<u16>().ok();
        let local = text.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok());
        let mend = match port.or(local) {
            Some(port) => format!("write 127.0.0.1:{port}, or 0.0.0.0:{port} for every interface"),
            None => "write an IP address and a port, such as 127.0.0.1:8080".into(),
        };
        Wrong::new("is not an IP address with a port", mend)
    })
}

/// The address of an HTTP service, without a slash at its end.
pub(super) fn http_url(text: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::new("is not an http URL", "write it like http://10.0.0.1:8081");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.host().is_some_and(|host| !host.is_empty());
    let plain =
        uri.query().is_none() && !uri.authority().is_some_and(|it| it.as_str().contains('@'));
    if scheme && host && plain { Ok(text.trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

/// A `Host` that is served: a name or an address, with or without a port, in lower case.
pub(super) fn host(text: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::new("is not a host", "write NAME or NAME:PORT, without a scheme");
    let authority: http::uri::Authority = text.parse().map_err(|_| wrong())?;
    let fits = !authority.host().is_empty() && !text.contains('@');
    if fits { Ok(text.to_ascii_lowercase()) } else { Err(wrong()) }
}

/// An `Origin`: scheme, host and perhaps a port, nothing else, in lower case.
pub(super) fn origin(text: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::new("is not an origin", "write SCHEME://HOST or SCHEME://HOST:PORT");
    let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
    let fits =
        !scheme.is_empty() && scheme.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
    host(authority).ok().filter(|_| fits).ok_or_else(wrong)?;
    Ok(text.to_ascii_lowercase())
}

/// The name of a header, in lower case. `*` is no name: browsers take it for all, or for nothing, as it suits them.
pub(super) fn header_name(text: &str) -> Result<HeaderName, Wrong> {
    let name = text.parse().ok().filter(|_| text.len() <= MAX_HEADER_NAME && text != "*");
    name.ok_or_else(|| Wrong::new("is not the name of a header", "write it like X-Request-Id"))
}

/// A whole number with the unit that the setting's name says.
pub(super) fn number(text: &str, (least, most): (u64, u64)) -> Result<u64, Wrong> {
    let range = format!("write a whole number from {least} to {most}");
    match text.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        Ok(_) => Err(Wrong::new("is out of range", range)),
        Err(_) => Err(Wrong::new("is not a whole number", range)),
    }
}

/// A whole number of seconds.
pub(super) fn seconds(text: &str, range: (u64, u64)) -> Result<Duration, Wrong> {
    let seconds = number(text, range).map_err(|wrong| match in_seconds(text) {
        Some(seconds) => Wrong::new(wrong.what, format!("write {seconds}")),
        None => wrong,
    })?;
    Ok(Duration::from_secs(seconds))
}

/// What somebody means by `5m`.
fn in_seconds(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at_checked(text.find(|it: char| !it.is_ascii_digit())?)?;
    let factor = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

pub(super) fn truth(text: &str) -> Result<bool, Wrong> {
    match text {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(Wrong::new("is neither true nor false", "write true or false")),
    }
}

/// One of some words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, Wrong> {
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| Wrong::new("is no choice", format!("write one of {}", words.join(", "))))
}

pub(super) fn ratio(text: &str) -> Result<f64, Wrong> {
    let ratio = text.parse().ok().filter(|it| (0.0..=1.0).contains(it));
    ratio.ok_or_else(|| Wrong::new("is no share", "write a number from 0 to 1"))
}

pub(super) fn name(text: &str) -> Result<Name, Wrong> {
    Name::parse(text).map_err(|error| Wrong::new("is no name", error.to_string()))
}

pub(super) fn path(text: &str) -> Result<PathBuf, Wrong> {
    let wrong = || Wrong::new("is no path", "give a path");
    if text.is_empty() || text.contains('\0') { Err(wrong()) } else { Ok(text.into()) }
}

pub(super) fn log_filter(text: &str) -> Result<String, Wrong> {
    let mend = "write a level (error, warn, info, debug, trace) or baton=debug,warn";
    EnvFilter::try_new(text).map_err(|_| Wrong::new("is no log filter", mend))?;
    Ok(text.to_owned())
}

/// An address or network.
pub(super) fn network(text: &str) -> Result<Network, Wrong> {
    let wrong = |_| Wrong::new("is not a network", "write 10.0.0.0/8, or a single address");
    Network::parse(text).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mend<T: std::fmt::Debug>(result: Result<T, Wrong>) -> String {
        result.unwrap_err().mend
    }

    #[test]
    fn an_address_has_an_ip_and_a_port() {
        for good in ["127.0.0.1:0", "0.0.0.0:80", "[::1]:8080"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bare in ["8080", ":8080", "localhost:8080"] {
            assert!(mend(address(bare)).contains("127.0.0.1:8080"), "{bare}");
        }
        for bad in ["", "127.0.0.1", "::1:8080", "127.0.0.1:65536", "host:80"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_have_a_scheme_and_a_host() {
        assert_eq!(http_url("http://a:1/"), Ok("http://a:1".into()));
        assert_eq!(http_url("https://a/b"), Ok("https://a/b".into()));
        for bad in ["", "a:1", "/mcp", "ftp://a", "http://", "http://u:p@a", "http://a?b"] {
            assert!(http_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_and_origins_are_not_urls() {
        assert_eq!(host("Baton.Example:443"), Ok("baton.example:443".into()));
        assert_eq!(origin("https://App.example"), Ok("https://app.example".into()));
        for bad in ["", "http://a", "a/b", "u@a"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        for bad in ["", "a", "https://a/", "https://", "://a"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_header_name_is_a_token_and_no_wildcard() {
        assert_eq!(header_name("X-Request-Id").unwrap(), "x-request-id");
        for bad in ["", "*", "a b", "a,b", "a:", "ä", "x".repeat(129).as_str()] {
            assert!(header_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_unit_in_a_number_is_mended() {
        assert_eq!(mend(seconds("5m", (1, 3600))), "write 300");
        assert_eq!(mend(seconds("2h", (1, 9000))), "write 7200");
        assert_eq!(mend(number("0", (1, 60))), "write a whole number from 1 to 60");
        assert_eq!(mend(number("x", (1, 60))), "write a whole number from 1 to 60");
    }
}
