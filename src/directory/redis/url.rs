//! Where Redis is, as a setting says it.

use std::fmt;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

/// A checked address: of a server, or of Sentinels that know where it is.
///
/// `redis://[user:password@]host[:port][/db]`, or
/// `redis+sentinel://[user:password@]host[:port][,host[:port]…]/master-name[/db]`, to which
/// `?sentinel_user=…&sentinel_password=…` may be added; `rediss` instead of `redis` for TLS.
#[derive(Clone)]
pub struct RedisUrl {
    is_encrypted: bool,
    pub(super) place: Place,
    /// Who we are there, and the number of the database.
    pub(super) login: RedisConnectionInfo,
}

/// Where the server that takes writes is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Server(Address),
    /// Where these say, which may change.
    Sentinels(Sentinels),
}

/// The Sentinels that watch one master.
#[derive(Clone)]
pub(super) struct Sentinels {
    /// At least one, at most [`MAX_SENTINELS`].
    pub(super) addresses: Vec<Address>,
    /// What they call the master.
    pub(super) master: Box<str>,
    /// Who we are to them.
    pub(super) login: RedisConnectionInfo,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

/// The text is no address that this version can use. It never shows the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRedisUrl {
    /// A way of reaching Redis that is planned.
    #[error("redis-cluster:// (Redis over Cluster) is not supported yet: use redis://host:port/db")]
    NotYet,
    /// No server.
    #[error("a Redis address has the form redis[s]://[user:password@]host[:port][/db]")]
    Malformed,
    /// No Sentinels.
    #[error(
        "Sentinels are named as redis[s]+sentinel://[user:password@]host[:port][,host[:port]…]/master-name[/db]\
         [?sentinel_user=…&sentinel_password=…]"
    )]
    MalformedSentinels,
    /// Asking them in turn would take too long.
    #[error("there are more than {MAX_SENTINELS} Sentinels: name some of them")]
    TooManySentinels,
}

/// All are asked before the master is said to be away.
const MAX_SENTINELS: usize = 9;
const SENTINEL_PORT: u16 = 26379;

impl RedisUrl {
    /// Checks an address.
    pub fn parse(text: &str) -> Result<Self, BadRedisUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(BadRedisUrl::Malformed)?;
        match scheme {
            "redis" => Self::server(rest, false),
            "rediss" => Self::server(rest, true),
            "redis+sentinel" => Self::sentinels(rest, false),
            "rediss+sentinel" => Self::sentinels(rest, true),
            "redis-cluster" => Err(BadRedisUrl::NotYet),
            _ => Err(BadRedisUrl::Malformed),
        }
    }

    /// Whether connections are to use TLS.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    fn server(rest: &str, is_encrypted: bool) -> Result<Self, BadRedisUrl> {
        let (address, login) = read(rest).ok_or(BadRedisUrl::Malformed)?;
        Ok(Self { is_encrypted, place: Place::Server(address), login })
    }

    fn sentinels(rest: &str, is_encrypted: bool) -> Result<Self, BadRedisUrl> {
        const BAD: BadRedisUrl = BadRedisUrl::MalformedSentinels;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').ok_or(BAD)?;
        let (master, db) = path.split_once('/').unwrap_or((path, ""));
        let (who, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        // Names of masters are what Sentinel's own configuration takes.
        let is_name = |it: char| it.is_ascii_alphanumeric() || ".-_".contains(it);
        if master.is_empty() || !master.chars().all(is_name) {
            return Err(BAD);
        }
        if hosts.split(',').count() > MAX_SENTINELS {
            return Err(BadRedisUrl::TooManySentinels);
        }
        let sentinel_user = sentinel_credentials(query).ok_or(BAD)?;
        let (mut addresses, mut sentinel_login) = (Vec::new(), None);
        for host in hosts.split(',') {
            let port = if has_port(host) { String::new() } else { format!(":{SENTINEL_PORT}") };
            let (address, login) = read(&format!("{sentinel_user}@{host}{port}")).ok_or(BAD)?;
            addresses.push(address);
            sentinel_login = Some(login);
        }
        // The credentials and the database are read like those of a server anywhere.
        let (_, login) = read(&format!("{who}@master/{db}")).ok_or(BAD)?;
        let sentinels =
            Sentinels { addresses, master: master.into(), login: sentinel_login.ok_or(BAD)? };
        Ok(Self { is_encrypted, place: Place::Sentinels(sentinels), login })
    }
}

/// What follows `redis://`, if it is the address of a server and nothing else: no option, no way to switch TLS's
/// checks off.
fn read(rest: &str) -> Option<(Address, RedisConnectionInfo)> {
    if rest.contains(['?', '#']) {
        return None;
    }
    let read = format!("redis://{rest}").into_connection_info().ok()?;
    match read.addr() {
        ConnectionAddr::Tcp(host, port) if !host.contains(',') => {
            let address = Address { host: host.as_str().into(), port: *port };
            Some((address, read.redis_settings().clone()))
        }
        _ => None,
    }
}

/// `user:password` from the query, as a URL has them; nothing else may be in it.
fn sentinel_credentials(query: &str) -> Option<String> {
    let (mut user, mut password) = ("", "");
    for pair in query.split('&').filter(|it| !it.is_empty()) {
        match pair.split_once('=')? {
            (_, value) if value.contains(['@', ':', '/']) => return None,
            ("sentinel_user", value) => user = value,
            ("sentinel_password", value) => password = value,
            _ => return None,
        }
    }
    Some(format!("{user}:{password}"))
}

/// Whether a host is followed by a port. One in brackets has colons of its own.
fn has_port(host: &str) -> bool {
    host.rsplit(']').next().is_some_and(|it| it.contains(':'))
}

/// As it is written in an address.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Without the credentials.
impl fmt::Debug for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        write!(f, "{}/{}", addresses.join(","), self.master)
    }
}

/// Without the credentials.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, db) = (if self.is_encrypted { "s" } else { "" }, self.login.db());
        match &self.place {
            Place::Server(address) => write!(f, "redis{s}://{address}/{db}"),
            Place::Sentinels(sentinels) => write!(f, "redis{s}+sentinel://{sentinels:?}/{db}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let url = RedisUrl::parse(text).unwrap();
        assert!(!format!("{url} {url:?} {:?}", url.place).contains("secret"));
        url.to_string()
    }

    #[test]
    fn an_address_shows_without_its_passwords() {
        for (text, expected) in [
            ("redis://user:secret@example.org:7000/3", "redis://example.org:7000/3"),
            ("redis://h", "redis://h:6379/0"),
            ("redis://[::1]", "redis://[::1]:6379/0"),
            ("rediss://:secret@h", "rediss://h:6379/0"),
            ("redis+sentinel://u:secret@a:1,b/m", "redis+sentinel://a:1,b:26379/m/0"),
            ("rediss+sentinel://a/m-1.x_y/4", "rediss+sentinel://a:26379/m-1.x_y/4"),
            ("redis+sentinel://[::1],[::2]:7/m", "redis+sentinel://[::1]:26379,[::2]:7/m/0"),
            ("redis+sentinel://a/m?sentinel_password=secret", "redis+sentinel://a:26379/m/0"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn a_server_and_its_sentinels_know_us_by_names_of_their_own() {
        let text = "redis+sentinel://u:p%40@a,b/m/2?sentinel_user=s%3A&sentinel_password=q%26";
        let url = RedisUrl::parse(text).unwrap();
        let Place::Sentinels(sentinels) = &url.place else { panic!("{url}") };
        let (server, sentinel) = (&url.login, &sentinels.login);
        assert_eq!((server.username(), server.password()), (Some("u"), Some("p@")));
        assert_eq!((sentinel.username(), sentinel.password()), (Some("s:"), Some("q&")));
        assert_eq!((server.db(), sentinel.db()), (2, 0));
        let url = RedisUrl::parse("redis+sentinel://u:p@a/m").unwrap();
        let Place::Sentinels(sentinels) = &url.place else { panic!("{url}") };
        assert_eq!((sentinels.login.username(), sentinels.login.password()), (None, None));
    }

    #[test]
    fn what_is_planned_is_told_from_what_is_wrong() {
        let check = |text: &str, expected: BadRedisUrl| {
            assert_eq!(RedisUrl::parse(text).err(), Some(expected), "{text}");
        };
        check("redis-cluster://h", BadRedisUrl::NotYet);
        for wrong in [
            "",
            "h:6379",
            "redis://",
            "redis://h/x",
            "redis://a,b",
            "rediss://h#insecure",
            "redis://h?protocol=3",
            "unix:///s",
            "http://h",
            "redis+unix:///s",
        ] {
            check(wrong, BadRedisUrl::Malformed);
        }
        for wrong in [
            "h",
            "h/",
            "/m",
            ",h/m",
            "a,,b/m",
            "a:x/m",
            "h/m m",
            "h/m/x",
            "h/m/0/1",
            "h/m#insecure",
            "h/m?user=u",
            "h/m?sentinel_user",
            "h/m?sentinel_user=a:b",
        ] {
            check(&format!("redis+sentinel://{wrong}"), BadRedisUrl::MalformedSentinels);
        }
        let many = ["h"; MAX_SENTINELS + 1].join(",");
        check(&format!("redis+sentinel://{many}/m"), BadRedisUrl::TooManySentinels);
    }
}
