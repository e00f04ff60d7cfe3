//! Every key, and how long it lives.
//!
//! | key | type | holds | lives |
//! |---|---|---|---|
//! | `baton:{fleet}:worker:W` | hash | incarnation, digest of the last list agreed on, whether one was taken | 24 h after the last heartbeat |
//! | `baton:{fleet}:seen` | zset | worker → moment of its last heartbeat | 24 h after the last heartbeat of any |
//! | `baton:{fleet}:reports` | hash | worker → its last report (JSON) | likewise |
//! | `baton:{fleet}:replicas` | zset | replica → until when it counts | the replica term after any announcement |
//! | `baton:{fleet}:urls` | hash | replica → its internal address | likewise |
//! | `baton:{fleet}:complete` | string | since when all that lives is here (ms) | 24 h after any replica looked |
//! | `baton:{w:W}:index` | hash | environment → tenant, and since when it may be there | until the last of them ends |
//! | `baton:{t:T}:quota` | zset | environment → until when it counts | until the last of them ends |
//! | `baton:{t:T}:env:E` | hash | placement, owner | `not_after`; once released, the settling term |
//! | `baton:{t:T}:rate:R` | string | the moment (µs) at which nothing of the rate is in use | until that moment |
//! | `baton:{t:T}:key:K` | hash | the environment that a key names, and whether it was made | 24 h after the first claim |
//! | `baton:{t:T}:keys` | zset | key of a launch → until when it counts | 24 h after the last claim of any |
//! | `baton:{y:Y}:tally` | hash | total, and the total after each operation | the tally's term after its last change |
//!
//! One channel, `baton:{fleet}:events`, carries what replicas tell one another; what is told on it is not kept.
//!
//! What changes together shares a hash tag, so each script touches one slot. Tenants appear as digests only.

use crate::domain::ids::{EnvironmentId, LaunchKey, RateId, TallyId, TenantDigest, WorkerId};

pub(super) const SEEN: &str = "baton:{fleet}:seen";
pub(super) const REPORTS: &str = "baton:{fleet}:reports";
pub(super) const REPLICAS: &str = "baton:{fleet}:replicas";
pub(super) const URLS: &str = "baton:{fleet}:urls";
pub(super) const COMPLETE: &str = "baton:{fleet}:complete";
pub(super) const EVENTS: &str = "baton:{fleet}:events";

pub(super) fn worker(worker: &WorkerId) -> String {
    format!("baton:{{fleet}}:worker:{worker}")
}

pub(super) fn index(worker: &WorkerId) -> String {
    format!("baton:{{w:{worker}}}:index")
}

pub(super) fn quota(tenant: TenantDigest) -> String {
    format!("baton:{{t:{tenant}}}:quota")
}

pub(super) fn environment(tenant: TenantDigest, environment: EnvironmentId) -> String {
    format!("baton:{{t:{tenant}}}:env:{environment}")
}

pub(super) fn rate(tenant: TenantDigest, rate: RateId) -> String {
    format!("baton:{{t:{tenant}}}:rate:{rate}")
}

pub(super) fn launch(tenant: TenantDigest, key: LaunchKey) -> String {
    format!("baton:{{t:{tenant}}}:key:{key}")
}

pub(super) fn launches(tenant: TenantDigest) -> String {
    format!("baton:{{t:{tenant}}}:keys")
}

pub(super) fn tally(tally: TallyId) -> String {
    format!("baton:{{y:{tally}}}:tally")
}
