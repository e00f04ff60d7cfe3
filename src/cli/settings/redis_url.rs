//! Where the directory is.

use super::problem::Wrong;

/// Where the directory is. May hold a password, so it prints without.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        const SCHEMES: [&str; 4] = ["redis", "rediss", "redis+sentinel", "redis-cluster"];
        let fits = text.split_once("://").is_some_and(|(scheme, rest)| {
            SCHEMES.contains(&scheme)
                && !rest.rsplit('@').next().unwrap_or_default().trim_matches('/').is_empty()
                && rest.bytes().all(|byte| byte.is_ascii_graphic())
        });
        let mend = "write redis://HOST:PORT, rediss://…, redis+sentinel://… or redis-cluster://…";
        if fits { Ok(Self(text.into())) } else { Err(Wrong::new("is not a Redis URL", mend)) }
    }

    /// The whole URL, for the one who connects.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let place = rest.rsplit('@').next().unwrap_or_default();
        // A query may hold a password too.
        write!(f, "{scheme}://{}", place.split('?').next().unwrap_or_default())
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_url_prints_without_its_password() {
        let url = RedisUrl::parse("rediss://user:s3cret@cache:6380/1?password=s3cret").unwrap();
        assert_eq!(format!("{url} {url:?}").matches("s3cret").count(), 0);
        assert_eq!(url.to_string(), "rediss://cache:6380/1");
        for good in ["redis://h", "redis+sentinel://a:1,b:2/main", "redis-cluster://a:1,b:2"] {
            assert!(RedisUrl::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", "cache:6379", "http://h", "redis://", "redis:///", "redis://u@", "redis://a b"]
        {
            assert!(RedisUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
