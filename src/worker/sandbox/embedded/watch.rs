//! Looking at a sandbox from time to time while a call runs, and saying which limit it has passed.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cgroup::OomKills;
use super::usage::{DiskUsage, Gauge, Scope, Usage};
use crate::worker::sandbox::Limit;

/// A call is first looked at after this long, and then again and again.
const INTERVAL: Duration = Duration::from_millis(50);
/// A workspace is looked through at most this often, and for at most a twentieth of the time.
const DISK_INTERVAL: Duration = Duration::from_millis(250);
const DISK_SHARE: u32 = 20;

/// The measurements of one sandbox.
#[derive(Debug)]
pub(super) struct Watch {
    gauge: Arc<Gauge>,
    running: Option<JoinHandle<Usage>>,
    next: Instant,
    next_disk: Instant,
    /// What the call started with, as far as we know.
    cpu_before: Option<Duration>,
    disk_before: Option<DiskUsage>,
    oom_kills: OomKills,
    oom_kills_before: u64,
    most_tasks: u64,
    /// The running measurement began before the call did.
    stale: bool,
    /// The workspace was full before the call, so its first look only finds out how full.
    full_before: bool,
}

impl Watch {
    pub(super) fn new(gauge: Arc<Gauge>) -> Self {
        let now = Instant::now();
        let oom_kills = OomKills::of(&gauge.group);
        Self {
            gauge,
            running: None,
            next: now,
            next_disk: now,
            cpu_before: None,
            disk_before: None,
            oom_kills_before: oom_kills.count(),
            oom_kills,
            most_tasks: 0,
            stale: false,
            full_before: false,
        }
    }

    pub(super) fn begin_call(&mut self) {
        self.next = Instant::now() + INTERVAL;
        self.cpu_before = None;
        self.most_tasks = 0;
        self.stale = self.running.is_some();
        self.full_before = self.disk_before.is_some_and(|disk| disk.exceeds(&self.gauge.limits));
    }

    /// Waits for the next measurement and judges it; may be given up and taken up again.
    pub(super) async fn look(&mut self) -> Option<Limit> {
        if self.running.is_none() {
            tokio::time::sleep_until(self.next).await;
            self.measure();
        }
        let running = self.running.as_mut()?;
        let usage = running.await;
        self.running = None;
        self.next = Instant::now() + INTERVAL;
        // A measurement that panicked is a bug, and no reason to end the call.
        self.judge(&usage.ok()?)
    }

    /// The limit that the call's failure is due to, if one of those that only show afterwards.
    pub(super) fn end_call(&mut self, failed: bool) -> Option<Limit> {
        let oom_kills = self.oom_kills.count();
        let out_of_memory = oom_kills > self.oom_kills_before;
        self.oom_kills_before = oom_kills;
        if self.running.is_none() && self.next_disk <= Instant::now() {
            // What this call wrote is what the next one starts with.
            self.measure();
        }
        match failed {
            true if out_of_memory => Some(Limit::Memory),
            true if self.is_crowded(self.most_tasks) => Some(Limit::Processes),
            _ => None,
        }
    }

    /// Whether so many processes are there now that a new one may have been refused.
    pub(super) fn crowded_now(&self) -> bool {
        self.is_crowded(self.gauge.tasks())
    }

    /// Waits for what is still running.
    pub(super) async fn finish(&mut self) {
        if let Some(running) = self.running.take() {
            drop(running.await);
        }
    }

    fn measure(&mut self) {
        let scope = if self.next_disk <= Instant::now() {
            Scope::ProcessesAndDisk
        } else {
            Scope::Processes
        };
        let gauge = Arc::clone(&self.gauge);
        self.running = Some(tokio::task::spawn_blocking(move || gauge.measure(scope)));
    }

    fn judge(&mut self, usage: &Usage) -> Option<Limit> {
        let limits = &self.gauge.limits;
        let stale = std::mem::take(&mut self.stale);
        if let Some(disk) = usage.disk {
            self.next_disk = Instant::now() + DISK_INTERVAL.max(disk.effort * DISK_SHARE);
            let before = self.disk_before.replace(disk);
            // A workspace that was full before may be tidied up, but not grow.
            let fuller = before.is_none_or(|before| disk.grew_since(&before));
            let first = stale || std::mem::take(&mut self.full_before);
            if !first && disk.exceeds(limits) && fuller {
                return Some(Limit::Disk);
            }
        }
        if stale {
            return None;
        }
        self.most_tasks = self.most_tasks.max(usage.tasks);
        let cpu_before = *self.cpu_before.get_or_insert(usage.cpu);
        if usage.memory_exceeded {
            return Some(Limit::Memory);
        }
        if usage.too_many {
            return Some(Limit::Processes);
        }
        let cpu_limit = Duration::from_secs(limits.cpu_seconds);
        (usage.cpu.saturating_sub(cpu_before) > cpu_limit).then_some(Limit::Cpu)
    }

    fn is_crowded(&self, tasks: u64) -> bool {
        tasks * 10 >= self.gauge.limits.processes * 9
    }
}
