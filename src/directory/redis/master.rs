//! The server that takes writes: the one that was named, or the one that Sentinels name.
//!
//! A name is looked up and Sentinels are asked anew for every connection, so to follow a failover is to connect again.
//! Sentinel closes the connections to a master that it demotes; who moves a name closes none, and neither does a Sentinel
//! that cannot reach the master. So a server is also asked for its role, and Sentinels are asked again, now and then.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use redis::RedisResult;
use redis::aio::{MultiplexedConnection, PubSub};

use super::dial::{Connection, Dialer};
use super::link::PROBE_DEADLINE;
use super::trouble::{Trouble, in_time};
use super::url::{Address, Lead, RedisUrl, Sentinels};

/// The server that takes writes, wherever it is now.
pub(super) struct Master {
    lead: Lead,
    url: RedisUrl,
    dialer: Arc<Dialer>,
}

/// A server that answers.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) address: Address,
    pub(super) connection: Connection,
}

/// What one Sentinel says of the master; `None` if it knows none of that name.
pub(super) type Said = Result<Option<Address>, Trouble>;

impl Master {
    /// The one to which this leads, shown as `url` and reached with its credentials.
    pub(super) fn new(lead: Lead, url: RedisUrl, dialer: Arc<Dialer>) -> Self {
        Self { lead, url, dialer }
    }

    pub(super) fn url(&self) -> &RedisUrl {
        &self.url
    }

    /// Whether Sentinels name another server by now. While none of them answers, or as many name this one as any
    /// other, it stays what it was.
    pub(super) async fn has_left(&self, address: &Address) -> bool {
        match &self.lead {
            Lead::Server(_) => false,
            Lead::Sentinels(sentinels) => {
                self.named_by(sentinels).await.is_ok_and(|named| !is_most_named(&named, address))
            }
        }
    }

    /// Sees that a server still answers and is still the master.
    pub(super) async fn check(&self, server: &Server) -> Result<(), Trouble> {
        let mut commands = server.connection.commands.clone();
        let is_master = in_time(PROBE_DEADLINE, self.is_master(&mut commands)).await?;
        if !is_master || self.has_left(&server.address).await {
            return Err(Trouble::NotMaster);
        }
        Ok(())
    }

    /// Connects to it, and sees that it answers. Takes half a second at most; by Sentinels half of one to ask them, and
    /// half of one for each server that they name.
    pub(super) async fn connect(&self) -> Result<Server, Trouble> {
        match &self.lead {
            Lead::Server(address) => self.connect_to(address).await,
            Lead::Sentinels(sentinels) => self.follow(sentinels).await,
        }
    }

    /// Connects to it, or to a replica if that is what was named, to ask what it is.
    pub(super) async fn reach(&self) -> Result<Server, Trouble> {
        match &self.lead {
            Lead::Server(address) => self.open(address).await.map(|(server, _)| server),
            Lead::Sentinels(sentinels) => self.follow(sentinels).await,
        }
    }

    /// Connects to it to hear messages.
    pub(super) async fn listen(&self) -> Result<(Address, PubSub), Trouble> {
        let address = match &self.lead {
            Lead::Server(address) => address.clone(),
            // A connection for messages cannot be asked for its role.
            Lead::Sentinels(sentinels) => self.follow(sentinels).await?.address,
        };
        let connection = self.listen_at(&address).await?;
        Ok((address, connection))
    }

    /// Connects to this server to hear messages.
    pub(super) async fn listen_at(&self, address: &Address) -> Result<PubSub, Trouble> {
        in_time(PROBE_DEADLINE, self.dialer.listen(address, &self.url.login)).await
    }

    /// What each Sentinel says, in the order in which they were named.
    pub(super) async fn ask_all(&self) -> Vec<(Address, Said)> {
        let Lead::Sentinels(sentinels) = &self.lead else { return Vec::new() };
        let asking = sentinels.addresses.iter().map(|it| async {
            let said = self.ask(sentinels, it).await;
            (it.clone(), said)
        });
        join_all(asking).await
    }

    /// Connects to what the Sentinels name, if it is a master.
    async fn follow(&self, sentinels: &Sentinels) -> Result<Server, Trouble> {
        let mut trouble = None;
        let named = self.named_by(sentinels).await?;
        for address in worth_trying(&named, sentinels.addresses.len()) {
            match self.connect_to(address).await {
                Ok(server) => return Ok(server),
                Err(it) => {
                    trouble = trouble.or(Some(Trouble::Master(address.clone(), Box::new(it))));
                }
            }
        }
        Err(trouble.expect("at least one is named"))
    }

    /// Asks all at once, until most of them agree or none is left: what each of them names, which is at least one.
    async fn named_by(&self, sentinels: &Sentinels) -> Result<Vec<Address>, Trouble> {
        let asking = sentinels.addresses.iter().map(|it| self.ask(sentinels, it));
        let mut asking: FuturesUnordered<_> = asking.collect();
        let (mut named, mut trouble) = (Vec::new(), None);
        while let Some(said) = asking.next().await {
            match said {
                Ok(Some(address)) => named.push(address),
                Ok(None) => trouble = Some(Trouble::NoSuchMaster(sentinels.master.clone())),
                Err(it) => trouble = trouble.or(Some(Trouble::NoSentinel(Box::new(it)))),
            }
            if majority(&named, sentinels.addresses.len()).is_some() {
                break;
            }
        }
        match trouble {
            Some(trouble) if named.is_empty() => Err(trouble),
            _ => Ok(named),
        }
    }

    /// Asks one Sentinel, on a connection that is closed again.
    async fn ask(&self, sentinels: &Sentinels, sentinel: &Address) -> Said {
        let asking = async {
            let mut connection = self.dialer.connect(sentinel, &sentinels.login).await?;
            let mut question = redis::cmd("SENTINEL");
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(&*sentinels.master);
            question.query_async(&mut connection.commands).await
        };
        let said: Option<(String, u16)> = in_time(PROBE_DEADLINE, asking).await?;
        Ok(said.map(|(host, port)| Address { host: host.into(), port }))
    }

    async fn connect_to(&self, address: &Address) -> Result<Server, Trouble> {
        match self.open(address).await? {
            (server, true) => Ok(server),
            (_, false) => Err(Trouble::NotMaster),
        }
    }

    /// A server that answers, and whether it is a master.
    async fn open(&self, address: &Address) -> Result<(Server, bool), Trouble> {
        let connecting = async {
            let mut connection = self.dialer.connect(address, &self.url.login).await?;
            let is_master = self.is_master(&mut connection.commands).await?;
            Ok((Server { address: address.clone(), connection }, is_master))
        };
        in_time(PROBE_DEADLINE, connecting).await
    }

    /// Whether somebody answers, who has loaded what there is, as a master.
    async fn is_master(&self, commands: &mut MultiplexedConnection) -> RedisResult<bool> {
        redis::cmd("PING").query_async::<()>(commands).await?;
        match (role(commands).await, &self.lead) {
            (Ok(role), _) => Ok(role == "master"),
            // Some managed servers and proxies do not tell: a name is believed until a write is refused.
            (Err(error), Lead::Server(_)) if !error.is_io_error() => Ok(true),
            (Err(error), _) => Err(error),
        }
    }
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Master({})", self.url)
    }
}

/// Who is named, and how often; the most often first, then the earliest.
fn by_votes(named: &[Address]) -> Vec<(&Address, usize)> {
    let mut votes: Vec<(&Address, usize)> = Vec::new();
    for address in named {
        match votes.iter_mut().find(|(known, _)| *known == address) {
            Some((_, count)) => *count += 1,
            None => votes.push((address, 1)),
        }
    }
    votes.sort_by_key(|(_, count)| Reverse(*count));
    votes
}

/// Whom more than half of all that were asked name.
fn majority(named: &[Address], asked: usize) -> Option<&Address> {
    by_votes(named).first().filter(|(_, votes)| votes * 2 > asked).map(|(address, _)| *address)
}

/// Who may be the master, in order. What a minority names beside a majority is what was: it may take writes still, and
/// what is written there is lost.
fn worth_trying(named: &[Address], asked: usize) -> Vec<&Address> {
    match majority(named, asked) {
        Some(address) => vec![address],
        None => by_votes(named).into_iter().map(|(address, _)| address).collect(),
    }
}

/// Whether no other is named more often.
fn is_most_named(named: &[Address], address: &Address) -> bool {
    let votes = by_votes(named);
    let most = votes.first().map(|(_, count)| *count);
    votes.iter().any(|(known, count)| *known == address && Some(*count) == most)
}

async fn role(commands: &mut MultiplexedConnection) -> RedisResult<String> {
    let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(commands).await?;
    Ok(redis::from_redis_value(role.into_iter().next().unwrap_or(redis::Value::Nil))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(named: &str) -> Vec<Address> {
        named.chars().map(|host| Address { host: host.to_string().into(), port: 1 }).collect()
    }

    #[test]
    fn a_majority_is_believed_alone_and_else_the_most_named_first_and_then_the_first_named() {
        let check = |named: &str, asked: usize, expected: &str| {
            let named = all(named);
            let tried: String =
                worth_trying(&named, asked).iter().map(|address| &*address.host).collect();
            assert_eq!(tried, expected, "{named:?}");
        };
        check("", 3, "");
        check("a", 1, "a");
        check("ab", 2, "ab");
        check("abb", 3, "b");
        check("abb", 4, "ba");
        check("ba", 3, "ba");
        check("cabac", 5, "cab");
        check("cabcc", 5, "c");
    }

    #[test]
    fn a_server_is_left_when_another_is_named_more_often() {
        let check = |named: &str, stays: &str| {
            for host in ["a", "b"] {
                let kept = is_most_named(&all(named), &all(host)[0]);
                assert_eq!(kept, stays.contains(host), "{host} of {named}");
            }
        };
        check("a", "a");
        check("ab", "ab");
        check("ba", "ab");
        check("abb", "b");
        check("cab", "ab");
        check("cca", "");
    }
}
