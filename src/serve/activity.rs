//! The stage a connection is in, and how long it may stay there.
//!
//! hyper's own head deadline also runs while a kept-alive connection is idle, so it cannot tell 5 s for a head
//! from 620 s between requests. The socket and the service report here, and the accept loop looks once in a while:
//! no timer per connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::ConnectionLimits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Accepted, and nothing was heard.
    Silent,
    /// Some of a request head is here.
    Head,
    /// Requests in flight, the response's last byte included. Their handlers know their own deadlines.
    Busy { exchanges: u32 },
    /// Between two requests.
    Idle,
}

/// What one connection is doing; its socket, its service and the accept loop share it.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    since: Instant,
    /// HTTP/2: bytes between requests are control frames, not the head of the next request.
    multiplexed: bool,
    write_stalled_since: Option<Instant>,
}

impl Activity {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        let state = State {
            stage: Stage::Silent,
            since: now,
            multiplexed: false,
            write_stalled_since: None,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Bytes arrived.
    pub(super) fn heard(&self) {
        let mut state = self.state();
        match state.stage {
            Stage::Silent => state.enter(Stage::Head),
            Stage::Idle if !state.multiplexed => state.enter(Stage::Head),
            Stage::Idle | Stage::Head | Stage::Busy { .. } => {}
        }
    }

    /// The peer's buffers are full, or take bytes again.
    pub(super) fn write_stalled(&self, stalled: bool) {
        let mut state = self.state();
        if stalled != state.write_stalled_since.is_some() {
            state.write_stalled_since = stalled.then(Instant::now);
        }
    }

    /// A request head is complete; the exchange lasts until the value is dropped.
    pub(super) fn begin(self: &Arc<Self>, multiplexed: bool) -> Exchange {
        let mut state = self.state();
        state.multiplexed = multiplexed;
        match state.stage {
            Stage::Busy { exchanges } => state.stage = Stage::Busy { exchanges: exchanges + 1 },
            Stage::Silent | Stage::Head | Stage::Idle => state.enter(Stage::Busy { exchanges: 1 }),
        }
        Exchange(Arc::clone(self))
    }

    /// Whether the connection used up the time of its stage.
    pub(super) fn is_overdue(&self, now: Instant, limits: &ConnectionLimits) -> bool {
        let state = self.state();
        let exceeded =
            |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
        let in_stage = match state.stage {
            Stage::Silent => exceeded(state.since, limits.first_byte),
            Stage::Head => exceeded(state.since, limits.head),
            Stage::Idle => exceeded(state.since, limits.idle),
            Stage::Busy { .. } => false,
        };
        in_stage
            || state.write_stalled_since.is_some_and(|since| exceeded(since, limits.write_stall))
    }

    fn end(&self) {
        let mut state = self.state();
        match state.stage {
            Stage::Busy { exchanges: exchanges @ 2.. } => {
                state.stage = Stage::Busy { exchanges: exchanges - 1 };
            }
            _ => state.enter(Stage::Idle),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }
}

/// One request and its response, the body's end included.
#[derive(Debug)]
pub(super) struct Exchange(Arc<Activity>);

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: fn(&Arc<Activity>), after: Duration, overdue: bool) {
        let limits = ConnectionLimits::default();
        let activity = Activity::new(Instant::now());
        steps(&activity);
        assert_eq!(activity.is_overdue(Instant::now() + after, &limits), overdue);
    }

    const SHORT: Duration = Duration::from_secs(6);
    const LONG: Duration = Duration::from_secs(621);

    #[test]
    fn a_silent_connection_has_five_seconds() {
        check(|_| {}, Duration::from_secs(4), false);
        check(|_| {}, SHORT, true);
    }

    #[test]
    fn a_head_has_five_seconds_however_it_drips() {
        check(|a| (0..9).for_each(|_| a.heard()), SHORT, true);
        check(|a| a.heard(), Duration::from_secs(4), false);
    }

    #[test]
    fn a_request_in_flight_is_never_cut() {
        check(|a| std::mem::forget(a.begin(false)), LONG, false);
    }

    #[test]
    fn between_requests_the_long_limit_holds_until_a_byte_comes() {
        check(|a| drop(a.begin(false)), SHORT, false);
        check(|a| drop(a.begin(false)), LONG, true);
        let next_head = |a: &Arc<Activity>| {
            drop(a.begin(false));
            a.heard();
        };
        check(next_head, SHORT, true);
    }

    #[test]
    fn control_frames_do_not_shorten_an_idle_http2_connection() {
        let ping = |a: &Arc<Activity>| {
            drop(a.begin(true));
            a.heard();
        };
        check(ping, SHORT, false);
    }

    #[test]
    fn the_last_exchange_of_many_ends_the_busy_stage() {
        let two = |a: &Arc<Activity>| {
            let _first = a.begin(true);
            drop(a.begin(true));
        };
        check(two, LONG, true);
        let one_left = |a: &Arc<Activity>| {
            std::mem::forget(a.begin(true));
            drop(a.begin(true));
        };
        check(one_left, LONG, false);
    }

    #[test]
    fn a_client_that_takes_no_bytes_is_cut_even_in_flight() {
        let stall = |a: &Arc<Activity>| {
            std::mem::forget(a.begin(false));
            a.write_stalled(true);
        };
        check(stall, Duration::from_secs(59), false);
        check(stall, Duration::from_secs(61), true);
        let recovered = |a: &Arc<Activity>| {
            std::mem::forget(a.begin(false));
            a.write_stalled(true);
            a.write_stalled(false);
        };
        check(recovered, Duration::from_secs(61), false);
    }
}
