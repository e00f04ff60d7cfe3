//! What our user may do at a server, and must: found out by trying, which takes no right to ask.
//!
//! Redis looks at a user's rights before it looks at operands, and before it says which node of a cluster serves a key.
//! So each trial is one that can change nothing, and only a refusal for want of a right counts.

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

/// What our user may do at a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Its name, where the server tells it.
    pub user: Option<String>,
    /// What it lacks, as an ACL rule would give it.
    pub lacks: Vec<String>,
    /// Whether it may also look at what is not ours.
    pub is_broad: bool,
}

/// The keys that are ours.
const KEYS: &str = "~baton:*";
/// The channels that are ours.
const CHANNELS: &str = "&baton:*";
/// A key, and a channel, that is ours and that nobody uses.
const PROBE: &str = "baton:{doctor}:probe";
/// A key that is not ours.
const FOREIGN: &str = "another:probe";
const NO_DIGEST: &str = "0000000000000000000000000000000000000000";

/// Every command that is used, and operands with which it changes nothing: of a key that is not there, or ill-formed.
const NEEDED: [(&str, &[&str]); 29] = [
    ("ping", &[]),
    ("time", &[]),
    ("role", &[]),
    ("eval", &["return 0", "1", PROBE]),
    ("evalsha", &[NO_DIGEST, "1", PROBE]),
    ("publish", &[PROBE, ""]),
    ("exists", &[PROBE]),
    ("get", &[PROBE]),
    ("set", &[PROBE, "", "PX", "none"]),
    ("del", &[PROBE]),
    ("pttl", &[PROBE]),
    ("pexpire", &[PROBE, "1"]),
    ("pexpireat", &[PROBE, "1"]),
    ("hget", &[PROBE, "f"]),
    ("hmget", &[PROBE, "f"]),
    ("hgetall", &[PROBE]),
    ("hlen", &[PROBE]),
    ("hset", &[PROBE, "f", "v", "odd"]),
    ("hdel", &[PROBE, "f"]),
    ("hincrby", &[PROBE, "f", "none"]),
    ("zadd", &[PROBE, "none", "m"]),
    ("zrem", &[PROBE, "m"]),
    ("zcard", &[PROBE]),
    ("zscore", &[PROBE, "m"]),
    ("zrangebyscore", &[PROBE, "0", "0"]),
    ("zrevrange", &[PROBE, "0", "0"]),
    ("zremrangebyscore", &[PROBE, "0", "0"]),
    // For the doctor, who says more with them.
    ("info", &[]),
    ("acl|whoami", &["WHOAMI"]),
];

/// What is also used where Redis is a cluster.
const IN_CLUSTER: [(&str, &[&str]); 3] =
    [("cluster|info", &["INFO"]), ("cluster|slots", &["SLOTS"]), ("asking", &[])];

/// What cannot be tried on a connection for commands, or changes only the connection.
const UNTRIED: [&str; 2] = ["subscribe", "select"];

/// The rights that Baton's user needs and no more, as an ACL file gives them.
pub fn rules() -> String {
    let tried = NEEDED.iter().chain(&IN_CLUSTER).map(|(name, _)| *name);
    let commands = tried.chain(UNTRIED).map(|name| format!(" +{name}"));
    format!("resetkeys {KEYS} resetchannels {CHANNELS} -@all{}", commands.collect::<String>())
}

/// Tries all that is needed.
pub(super) async fn probe(
    commands: &mut MultiplexedConnection,
    messages: &mut PubSub,
    is_cluster: bool,
) -> RedisResult<Access> {
    let mut access = Access::default();
    let more = if is_cluster { &IN_CLUSTER[..] } else { &[] };
    for (name, operands) in NEEDED.iter().chain(more) {
        match try_one(commands, name, operands).await? {
            Ok(Value::BulkString(user)) if *name == "acl|whoami" => {
                access.user = String::from_utf8(user).ok();
            }
            Ok(_) => {}
            Err(lack) => access.add(lack),
        }
    }
    if let Err(error) = messages.subscribe(PROBE).await {
        access.add(lack("subscribe", &error).ok_or(error)?);
    }
    access.is_broad = try_one(commands, "exists", &[FOREIGN]).await?.is_ok();
    Ok(access)
}

impl Access {
    fn add(&mut self, lack: String) {
        if !self.lacks.contains(&lack) {
            self.lacks.push(lack);
        }
    }
}

/// The answer, or what is lacking to get one.
async fn try_one(
    commands: &mut MultiplexedConnection,
    name: &str,
    operands: &[&str],
) -> RedisResult<Result<Value, String>> {
    let verb = name.split('|').next().unwrap_or(name);
    match redis::cmd(verb).arg(operands).query_async(commands).await {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) if error.is_io_error() => Err(error),
        // Any other refusal comes after the rights were looked at.
        Err(error) => Ok(lack(name, &error).map_or(Ok(Value::Nil), Err)),
    }
}

fn lack(name: &str, error: &RedisError) -> Option<String> {
    let said = error.to_string();
    if error.kind() != ErrorKind::Server(ServerErrorKind::NoPerm) {
        // Some servers have commands renamed or taken away.
        return said.contains("unknown command").then(|| format!("+{name}"));
    }
    Some(match said.split_once("to access") {
        Some((_, what)) if what.contains("channel") => CHANNELS.to_owned(),
        Some((_, what)) if what.contains("key") => KEYS.to_owned(),
        _ => format!("+{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_in_infra_gives_these_rights() {
        let conf = include_str!("../../../infra/redis/redis.conf");
        let line = format!("user baton on nopass {}", rules());
        assert!(conf.lines().any(|it| it == line), "{line}");
    }

    #[test]
    fn every_command_of_the_scripts_is_tried() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/directory/redis/scripts");
        let mut calls = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for call in text.split("call('").skip(1) {
                let name = call.split('\'').next().unwrap().to_lowercase();
                assert!(NEEDED.iter().any(|(needed, _)| *needed == name), "{name}");
                calls += 1;
            }
        }
        assert!(calls > 20, "{calls}");
    }
}
