//! Reports to every gateway, every two seconds.
//!
//! A worker that no gateway hears keeps its environments: silence proves nothing. It stops only when a gateway
//! says that a newer start of the same worker was heard.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::supervisor::Supervisor;
use crate::rpc::error::WorkerError;
use crate::rpc::report::Reporter;
use crate::rpc::wire::{Heartbeat, HeartbeatReply};
use crate::serve::Drain;

/// Between two reports, before the jitter.
const PERIOD: Duration = Duration::from_secs(2);
/// How soon a report that was not heard is sent again, at first.
const SOONER: Duration = Duration::from_millis(250);
/// A gateway that was named by another one, and is silent for so long, is reported to no more.
const FORGET: Duration = Duration::from_mins(1);
/// To how many gateways a worker reports.
const MAX_GATEWAYS: usize = 64;

/// What a worker says of itself, and to whom.
#[derive(Clone, Debug)]
pub(super) struct Heart {
    pub(super) reporter: Reporter,
    pub(super) supervisor: Arc<Supervisor>,
    /// Where its rpc is reached.
    pub(super) url: String,
    pub(super) drain: Drain,
}

/// A gateway has heard a newer start of this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fenced;

/// Why reports to one gateway end.
enum End {
    Forgotten(String),
    Fenced,
}

impl Heart {
    /// Reports to the gateways named here, and to those that they name, until fenced.
    pub(super) async fn beat(self, gateways: &[String]) -> Fenced {
        let named: BTreeSet<String> = gateways.iter().map(|url| clean(url)).collect();
        let (found, mut finds) = mpsc::channel(MAX_GATEWAYS);
        let mut known = BTreeSet::new();
        let mut reports = JoinSet::new();
        let meet = |url: String, known: &mut BTreeSet<String>, reports: &mut JoinSet<End>| {
            if known.len() < MAX_GATEWAYS && known.insert(url.clone()) {
                let life = if named.contains(&url) { None } else { Some(FORGET) };
                reports.spawn(self.clone().report_to(url, life, found.clone()));
            }
        };
        for url in &named {
            meet(url.clone(), &mut known, &mut reports);
        }
        loop {
            tokio::select! {
                Some(urls) = finds.recv() => {
                    let urls: Vec<String> = urls;
                    for url in &urls {
                        meet(clean(url), &mut known, &mut reports);
                    }
                }
                Some(end) = reports.join_next() => match end {
                    Ok(End::Fenced) => return Fenced,
                    Ok(End::Forgotten(url)) => {
                        tracing::info!(gateway = url, "silent, and no longer reported to");
                        known.remove(&url);
                    }
                    Err(error) => tracing::error!(%error, "reports to a gateway ended"),
                },
                // With no gateway left to report to, there is nothing to do but serve.
                else => std::future::pending().await,
            }
        }
    }

    async fn report_to(
        self,
        gateway: String,
        life: Option<Duration>,
        found: mpsc::Sender<Vec<String>>,
    ) -> End {
        let mut heard = Instant::now();
        let mut silent = false;
        let mut wanted = false;
        let mut pause = PERIOD;
        loop {
            let draining = self.drain.is_draining();
            let heartbeat = self.heartbeat(draining, wanted);
            let sent_list = std::mem::take(&mut wanted);
            match self.reporter.report(&gateway, &heartbeat).await {
                Ok(HeartbeatReply { fenced: true, .. }) => return End::Fenced,
                Ok(reply) => {
                    if std::mem::take(&mut silent) {
                        tracing::info!(gateway, "hears reports again");
                    }
                    heard = Instant::now();
                    pause = PERIOD;
                    wanted = reply.list_wanted;
                    if found.send(reply.gateways).await.is_err() {
                        return End::Forgotten(gateway);
                    }
                }
                Err(error) => {
                    // One that is just starting is to hear soon; one that is away is not to be pressed.
                    pause = if silent { (pause * 2).min(PERIOD) } else { SOONER };
                    // While it drains its gateways may be leaving too.
                    if !std::mem::replace(&mut silent, true) && !draining {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        let foreign = matches!(error, WorkerError::Untrusted { .. });
                        let mend = foreign.then_some(
                            "is this worker's key made from that gateway's root? make it with `baton key worker`",
                        );
                        tracing::warn!(gateway, %error, cause, mend, "does not hear reports");
                    }
                    if life.is_some_and(|life| heard.elapsed() > life) {
                        return End::Forgotten(gateway);
                    }
                }
            }
            // The list goes out at once, but never twice without a pause.
            if wanted && !sent_list {
                continue;
            }
            tokio::select! {
                () = sleep(jittered(pause)) => {}
                () = self.drain.draining(), if !draining => {}
            }
        }
    }

    fn heartbeat(&self, draining: bool, list: bool) -> Heartbeat {
        let (environments, digest) = self.supervisor.digest();
        Heartbeat {
            url: self.url.clone(),
            draining,
            capacity: self.supervisor.capacity(),
            environments,
            running: self.supervisor.running(),
            list_digest: digest.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")),
            list: list.then(|| self.supervisor.claims()),
            expired: self.supervisor.expired(),
        }
    }
}

fn clean(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// 80 % to 120 % of it, so that workers do not report in step.
fn jittered(period: Duration) -> Duration {
    let random = getrandom::u32().expect("the kernel gives random bytes");
    period * 4 / 5 + period * 2 / 5 * (random % 1024) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_a_fifth_early_or_late_at_most() {
        let all: Vec<Duration> = (0..1000).map(|_| jittered(PERIOD)).collect();
        let within = Duration::from_millis(1600)..Duration::from_millis(2400);
        assert!(all.iter().all(|it| within.contains(it)));
        assert!(all.iter().any(|it| *it < PERIOD) && all.iter().any(|it| *it > PERIOD));
    }
}
