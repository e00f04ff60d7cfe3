//! Which hosts and origins are served: the defence against DNS rebinding.

use std::net::SocketAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

use super::failure::TurnedAway;

/// Names every address of this machine has.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// Allows every host, for deployments whose load balancer checks it.
const ANY: &str = "*";

/// The hosts and origins that are served.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Guard {
    /// Loopback names, the address that is listened on, and what is configured. Hosts are names or addresses, with
    /// a port where only that port is meant; `*` is any. Origins are whole: `https://example.com`.
    pub(super) fn new(listen: SocketAddr, hosts: &[String], origins: &[String]) -> Self {
        let own = match listen.ip() {
            ip if ip.is_unspecified() => None,
            std::net::IpAddr::V4(ip) => Some(ip.to_string()),
            std::net::IpAddr::V6(ip) => Some(format!("[{ip}]")),
        };
        let hosts = LOOPBACK.map(str::to_owned).into_iter().chain(own).chain(hosts.iter().cloned());
        // What is no host is never the host of a request.
        let hosts = hosts.filter(|host| host == ANY || host.parse::<Authority>().is_ok());
        let hosts = hosts.map(|host| host.to_ascii_lowercase()).collect();
        let origins = origins.iter().map(|origin| origin.to_ascii_lowercase()).collect();
        Self { hosts, origins }
    }

    /// Checks one request. Exactly one `Host` is there: the accept loop saw to it.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), TurnedAway> {
        let host = headers.get(HOST).and_then(|it| it.to_str().ok()).ok_or(TurnedAway::Host)?;
        if self.names(host) && !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let host: Authority = host.to_ascii_lowercase().parse().map_err(|_| TurnedAway::Host)?;
        if !self.serves(&host) {
            return Err(TurnedAway::Host);
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Ok(()),
            (Some(origin), None) if self.allows(origin.as_bytes(), &host) => Ok(()),
            _ => Err(TurnedAway::Origin),
        }
    }

    /// Whether any origin is allowed by name.
    pub(super) fn names_origins(&self) -> bool {
        !self.origins.is_empty()
    }

    /// The one origin of a request, if it is allowed by name: what is allowed as this very host asks no leave of ours
    /// to read an answer.
    pub(super) fn named_origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = origins.next().filter(|_| origins.next().is_none())?;
        let text = origin.to_str().ok()?.to_ascii_lowercase();
        self.origins.contains(&text).then_some(origin)
    }

    /// Whether a host is one of ours as it stands, or would be with its port: nearly all are, and need not be taken apart.
    fn names(&self, host: &str) -> bool {
        let name = without_port(host);
        let named = |allowed: &String| {
            allowed.eq_ignore_ascii_case(host)
                // One that is named with a port is that one alone.
                || allowed.eq_ignore_ascii_case(name) && without_port(allowed) == allowed
        };
        self.hosts.iter().any(named)
    }

    fn serves(&self, host: &Authority) -> bool {
        let named = |allowed: &String| allowed == host.as_str() || allowed == host.host();
        self.hosts.iter().any(|allowed| allowed == ANY || named(allowed))
    }

    /// An origin is allowed by name, or because it is this very host.
    fn allows(&self, origin: &[u8], host: &Authority) -> bool {
        let Ok(origin) = str::from_utf8(origin) else { return false };
        let origin = origin.to_ascii_lowercase();
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority == Some(host.as_str()) || self.origins.contains(&origin)
    }
}

fn without_port(host: &str) -> &str {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(host: &str, origin: Option<&str>) -> Result<(), TurnedAway> {
        let hosts = ["gate.example".to_owned(), "odd.example:8443".to_owned()];
        let origins = ["https://app.example".to_owned()];
        let guard = Guard::new("192.0.2.1:8080".parse().unwrap(), &hosts, &origins);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        guard.admit(&headers)
    }

    #[test]
    fn hosts_are_served_by_name() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "192.0.2.1:8080"] {
            assert_eq!(admitted(host, None), Ok(()), "{host}");
        }
        for host in ["gate.example", "Gate.Example:443", "odd.example:8443"] {
            assert_eq!(admitted(host, None), Ok(()), "{host}");
        }
        for host in [
            "evil.example.com",
            "odd.example",
            "odd.example:1",
            "odd.example:8443:1",
            "xlocalhost",
            "",
            "a b",
        ] {
            assert_eq!(admitted(host, None), Err(TurnedAway::Host), "{host}");
        }
    }

    // streamable-http, "Security & Endpoint" 1: an invalid Origin MUST get 403.
    #[test]
    fn origins_are_allowed_by_name_or_as_the_host_itself() {
        assert_eq!(admitted("localhost:8080", Some("http://localhost:8080")), Ok(()));
        assert_eq!(admitted("gate.example", Some("https://app.example")), Ok(()));
        for origin in [
            "http://localhost:3000",
            "https://evil.example",
            "null",
            "",
            "https://app.example.evil",
        ] {
            assert_eq!(
                admitted("localhost:8080", Some(origin)),
                Err(TurnedAway::Origin),
                "{origin}"
            );
        }
    }

    #[test]
    fn a_star_serves_every_host() {
        let guard = Guard::new("0.0.0.0:80".parse().unwrap(), &["*".to_owned()], &[]);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("anything.example"));
        assert_eq!(guard.admit(&headers), Ok(()));
    }
}
