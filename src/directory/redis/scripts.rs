//! The atomic steps. Each touches one slot, takes the time from Redis, and is safe to repeat.

use std::sync::LazyLock;

use redis::ToRedisArgs;

use super::slot::Slot;
use super::step::Step;

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {$(
        pub(super) static $name: Script = Script {
            text: include_str!(concat!("scripts/", $file)),
            known: LazyLock::new(|| redis::Script::new(include_str!(concat!("scripts/", $file)))),
        };
    )*};
}

scripts! {
    BEAT = "beat.lua";
    FLEET = "fleet.lua";
    BEGIN_LIST = "begin_list.lua";
    FINISH_LIST = "finish_list.lua";
    ANNOUNCE = "announce.lua";
    WITHDRAW = "withdraw.lua";
    COMPLETE = "complete.lua";
    RESERVE = "reserve.lua";
    PLACE = "place.lua";
    RELEASE = "release.lua";
    UNLIST = "unlist.lua";
    INDEX = "index.lua";
    UNINDEX = "unindex.lua";
    SPEND = "spend.lua";
    ENTER_LAUNCH = "enter_launch.lua";
    CLAIM_LAUNCH = "claim_launch.lua";
    SETTLE_LAUNCH = "settle_launch.lua";
    OPEN_TALLY = "open_tally.lua";
    ADD_TO_TALLY = "add_to_tally.lua";
}

/// A script, and the digest by which Redis knows it.
pub(super) struct Script {
    text: &'static str,
    known: LazyLock<redis::Script>,
}

/// A script with what it is given.
#[derive(Debug)]
pub(super) struct Invocation {
    text: &'static str,
    digest: &'static str,
    slot: Slot,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
}

impl Script {
    /// Begins an invocation with its first key, which says where it runs.
    pub(super) fn key(&'static self, key: impl Into<String>) -> Invocation {
        let (key, digest) = (key.into(), self.known.get_hash());
        let (slot, arguments) = (Slot::of(&key), Vec::new());
        Invocation { text: self.text, digest, slot, keys: vec![key], arguments }
    }
}

impl Invocation {
    /// One more key, of the same hash tag.
    pub(super) fn key(&mut self, key: impl Into<String>) -> &mut Self {
        let key = key.into();
        debug_assert_eq!(Slot::of(&key), self.slot, "{key}: a script touches one slot");
        self.keys.push(key);
        self
    }

    /// One more argument.
    pub(super) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        argument.write_redis_args(&mut self.arguments);
        self
    }

    /// Runs it by its digest; Redis is sent its text only when it does not know it.
    pub(super) fn step(&self) -> Step {
        let command = |verb, script| {
            let mut command = redis::cmd(verb);
            command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
            command
        };
        Step::script(self.slot, command("EVALSHA", self.digest), command("EVAL", self.text))
    }
}
