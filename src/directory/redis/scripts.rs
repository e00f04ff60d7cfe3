//! The atomic steps. Each touches one slot, takes the time from Redis, and is safe to repeat.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {$(
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $file))));
    )*};
}

scripts! {
    BEAT = "beat.lua";
    FLEET = "fleet.lua";
    BEGIN_LIST = "begin_list.lua";
    FINISH_LIST = "finish_list.lua";
    ANNOUNCE = "announce.lua";
    WITHDRAW = "withdraw.lua";
    RESERVE = "reserve.lua";
    PLACE = "place.lua";
    RELEASE = "release.lua";
    UNLIST = "unlist.lua";
    INDEX = "index.lua";
    UNINDEX = "unindex.lua";
    SPEND = "spend.lua";
    OPEN_TALLY = "open_tally.lua";
    ADD_TO_TALLY = "add_to_tally.lua";
}
