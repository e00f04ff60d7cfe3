//! Where Redis is.

use std::fmt;
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// The checked address of a Redis server: `redis://[user:password@]host[:port][/db]`.
#[derive(Clone)]
pub struct RedisUrl {
    text: Box<str>,
    connection: ConnectionInfo,
}

/// The text is no address that this version can use. It never shows the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRedisUrl {
    /// A way of reaching Redis that is planned.
    #[error("{scheme}:// (Redis over {means}) is not supported yet: use redis://host:port/db")]
    NotYet {
        /// The scheme asked for.
        scheme: &'static str,
        /// What it stands for.
        means: &'static str,
    },
    /// Anything else.
    #[error("a Redis address has the form redis://[user:password@]host[:port][/db]")]
    Malformed,
}

const NOT_YET: [(&str, &str); 3] =
    [("rediss", "TLS"), ("redis+sentinel", "Sentinel"), ("redis-cluster", "Cluster")];

/// How long an idle connection may be silent before the kernel asks whether anybody is there.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long bytes may be unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT: Duration = Duration::from_secs(3);

impl RedisUrl {
    /// Checks an address.
    pub fn parse(text: &str) -> Result<Self, BadRedisUrl> {
        let scheme = text.split_once("://").ok_or(BadRedisUrl::Malformed)?.0;
        if let Some((scheme, means)) = NOT_YET.into_iter().find(|it| it.0 == scheme) {
            return Err(BadRedisUrl::NotYet { scheme, means });
        }
        let connection = text.into_connection_info().map_err(|_| BadRedisUrl::Malformed)?;
        if scheme != "redis" || !matches!(connection.addr(), ConnectionAddr::Tcp(..)) {
            return Err(BadRedisUrl::Malformed);
        }
        let settings = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))
            .set_user_timeout(USER_TIMEOUT);
        Ok(Self { text: text.into(), connection: connection.set_tcp_settings(settings) })
    }

    pub(super) fn client(&self) -> redis::Client {
        redis::Client::open(self.connection.clone())
            .expect("a checked TCP address needs no feature")
    }
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RedisUrl {}

/// Without the credentials.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis://{}/{}", self.connection.addr(), self.connection.redis_settings().db())
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

    #[test]
    fn an_address_shows_without_its_password() {
        let url = RedisUrl::parse("redis://user:secret@example.org:7000/3").unwrap();
        assert_eq!(url.to_string(), "redis://example.org:7000/3");
        assert!(!format!("{url:?}").contains("secret"));
        assert_eq!(RedisUrl::parse("redis://h").unwrap().to_string(), "redis://h:6379/0");
    }

    #[test]
    fn what_is_planned_is_told_from_what_is_wrong() {
        for planned in ["rediss://h", "redis+sentinel://h/m", "redis-cluster://h"] {
            assert!(
                matches!(RedisUrl::parse(planned), Err(BadRedisUrl::NotYet { .. })),
                "{planned}"
            );
        }
        for wrong in
            ["", "h:6379", "redis://", "redis://h/x", "unix:///s", "http://h", "redis+unix:///s"]
        {
            assert_eq!(RedisUrl::parse(wrong), Err(BadRedisUrl::Malformed), "{wrong}");
        }
    }
}
