//! Where Redis is, as a setting says it.

use std::fmt;
use std::net::IpAddr;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

/// A checked address: of a server, of Sentinels that know where it is, or of nodes of a cluster.
///
/// `redis://[user:password@]host[:port][/db]`, or
/// `redis+sentinel://[user:password@]host[:port][,host[:port]…]/master-name[/db]`, to which
/// `?sentinel_user=…&sentinel_password=…` may be added, or
/// `redis-cluster://[user:password@]host[:port][,host[:port]…]`; `rediss` instead of `redis` for TLS.
#[derive(Clone)]
pub struct RedisUrl {
    is_encrypted: bool,
    pub(super) place: Place,
    /// Who we are there, and the number of the database.
    pub(super) login: RedisConnectionInfo,
}

/// Where writes are taken.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// By one server.
    Master(Lead),
    /// By the masters of a cluster; some of its nodes, at least one and at most [`MAX_NAMED`].
    Cluster(Vec<Address>),
}

/// What leads to the one server that takes writes.
#[derive(Clone, Debug)]
pub(super) enum Lead {
    Server(Address),
    /// Where these say, which may change.
    Sentinels(Sentinels),
}

/// The Sentinels that watch one master.
#[derive(Clone)]
pub(super) struct Sentinels {
    /// At least one, at most [`MAX_NAMED`].
    pub(super) addresses: Vec<Address>,
    /// What they call the master.
    pub(super) master: Box<str>,
    /// Who we are to them.
    pub(super) login: RedisConnectionInfo,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

/// The text is no address that this version can use. It never shows the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRedisUrl {
    /// No server.
    #[error("a Redis address has the form redis[s]://[user:password@]host[:port][/db]")]
    Malformed,
    /// No Sentinels.
    #[error(
        "Sentinels are named as redis[s]+sentinel://[user:password@]host[:port][,host[:port]…]/master-name[/db]\
         [?sentinel_user=…&sentinel_password=…]"
    )]
    MalformedSentinels,
    /// No nodes; a cluster has no databases.
    #[error(
        "nodes of a cluster are named as redis[s]-cluster://[user:password@]host[:port][,host[:port]…]"
    )]
    MalformedCluster,
    /// All that are named are asked before Redis is said to be away.
    #[error("there are more than {MAX_NAMED} addresses: name some of them")]
    TooMany,
}

/// The most Sentinels or nodes of a cluster that are named.
pub(super) const MAX_NAMED: usize = 9;
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
            "redis-cluster" => Self::cluster(rest, false),
            "rediss-cluster" => Self::cluster(rest, true),
            _ => Err(BadRedisUrl::Malformed),
        }
    }

    /// Whether connections are to use TLS.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether all that are named are on this machine.
    pub fn is_loopback(&self) -> bool {
        let named = match &self.place {
            Place::Master(Lead::Server(address)) => std::slice::from_ref(address),
            Place::Master(Lead::Sentinels(sentinels)) => &sentinels.addresses,
            Place::Cluster(nodes) => nodes,
        };
        named.iter().all(Address::is_loopback)
    }

    /// Whether another server is to take the place of one that fails.
    pub fn has_replicas(&self) -> bool {
        !matches!(self.place, Place::Master(Lead::Server(_)))
    }

    fn server(rest: &str, is_encrypted: bool) -> Result<Self, BadRedisUrl> {
        let (address, login) = read(rest).ok_or(BadRedisUrl::Malformed)?;
        Ok(Self { is_encrypted, place: Place::Master(Lead::Server(address)), login })
    }

    fn cluster(rest: &str, is_encrypted: bool) -> Result<Self, BadRedisUrl> {
        const BAD: BadRedisUrl = BadRedisUrl::MalformedCluster;
        let (who, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
        if hosts.contains('/') {
            return Err(BAD);
        }
        if hosts.split(',').count() > MAX_NAMED {
            return Err(BadRedisUrl::TooMany);
        }
        let read = |host| read(host).map(|(address, _)| address).ok_or(BAD);
        let nodes = hosts.split(',').map(read).collect::<Result<_, _>>()?;
        let (_, login) = self::read(&format!("{who}@node")).ok_or(BAD)?;
        Ok(Self { is_encrypted, place: Place::Cluster(nodes), login })
    }

    /// One server, reached as all that this names.
    pub(super) fn of(&self, server: Address) -> Self {
        Self { place: Place::Master(Lead::Server(server)), ..self.clone() }
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
        if hosts.split(',').count() > MAX_NAMED {
            return Err(BadRedisUrl::TooMany);
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
        Ok(Self { is_encrypted, place: Place::Master(Lead::Sentinels(sentinels)), login })
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

fn joined(addresses: &[Address]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl Address {
    fn is_loopback(&self) -> bool {
        let ip = self.host.parse::<IpAddr>();
        ip.map_or(&*self.host == "localhost", |ip| ip.is_loopback())
    }
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
        write!(f, "{}/{}", joined(&self.addresses), self.master)
    }
}

/// Without the credentials.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, db) = (if self.is_encrypted { "s" } else { "" }, self.login.db());
        match &self.place {
            Place::Master(Lead::Server(address)) => write!(f, "redis{s}://{address}/{db}"),
            Place::Master(Lead::Sentinels(sentinels)) => {
                write!(f, "redis{s}+sentinel://{sentinels:?}/{db}")
            }
            Place::Cluster(nodes) => write!(f, "redis{s}-cluster://{}", joined(nodes)),
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
            ("redis-cluster://u:secret@a,[::1]:7", "redis-cluster://a:6379,[::1]:7"),
            ("rediss-cluster://:secret@a:1", "rediss-cluster://a:1"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn a_server_and_its_sentinels_know_us_by_names_of_their_own() {
        let text = "redis+sentinel://u:p%40@a,b/m/2?sentinel_user=s%3A&sentinel_password=q%26";
        let url = RedisUrl::parse(text).unwrap();
        let Place::Master(Lead::Sentinels(sentinels)) = &url.place else { panic!("{url}") };
        let (server, sentinel) = (&url.login, &sentinels.login);
        assert_eq!((server.username(), server.password()), (Some("u"), Some("p@")));
        assert_eq!((sentinel.username(), sentinel.password()), (Some("s:"), Some("q&")));
        assert_eq!((server.db(), sentinel.db()), (2, 0));
        let url = RedisUrl::parse("redis+sentinel://u:p@a/m").unwrap();
        let Place::Master(Lead::Sentinels(sentinels)) = &url.place else { panic!("{url}") };
        assert_eq!((sentinels.login.username(), sentinels.login.password()), (None, None));
    }

    #[test]
    fn what_is_wrong_is_told_with_the_form_that_was_meant() {
        let check = |text: &str, expected: BadRedisUrl| {
            assert_eq!(RedisUrl::parse(text).err(), Some(expected), "{text}");
        };
        for wrong in ["", "a,", "a,,b", "a/0", "a:x", "a?protocol=3", "a#insecure", "a@b@"] {
            check(&format!("redis-cluster://{wrong}"), BadRedisUrl::MalformedCluster);
        }
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
        let many = ["h"; MAX_NAMED + 1].join(",");
        check(&format!("redis+sentinel://{many}/m"), BadRedisUrl::TooMany);
        check(&format!("redis-cluster://{many}"), BadRedisUrl::TooMany);
    }
}
