//! The stage a connection is in, and how long it may stay there.
//!
//! hyper's own head deadline also runs while a kept-alive connection is idle, so it cannot tell 5 s for a head
//! from 620 s between requests. The socket and the service report here, and the accept loop looks once in a while:
//! no timer for each of these limits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::{
    ConnectionLimits, H2_CONTROL_BYTES, H2_CONTROL_BYTES_PER_SECOND, LAST_FIRST_BYTE, LAST_IDLE,
    LINGER,
};

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
    /// Ours is over; what the client still sends is read and thrown away.
    Closing,
}

/// Why a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It used up the time of its stage, or floods us.
    TooSlow,
    /// Its last answer is out, and its client had time to read it.
    Lingered,
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
    /// HTTP/2: bytes heard since the last request that belong to none, less what time forgave.
    control_bytes: usize,
    /// Until when time has forgiven.
    forgiven: Instant,
    /// The process ends, and this connection with it.
    finishing: bool,
    write_stalled_since: Option<Instant>,
}

impl Activity {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        let state = State {
            stage: Stage::Silent,
            since: now,
            multiplexed: false,
            control_bytes: 0,
            forgiven: now,
            finishing: false,
            write_stalled_since: None,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// So many bytes arrived.
    pub(super) fn heard(&self, bytes: usize) {
        let mut state = self.state();
        match state.stage {
            Stage::Silent => state.enter(Stage::Head),
            Stage::Idle if !state.multiplexed => state.enter(Stage::Head),
            Stage::Idle => state.hear_control(bytes),
            Stage::Head | Stage::Busy { .. } | Stage::Closing => {}
        }
    }

    /// So many of the bytes that arrived are HTTP/2 frames and no part of a body.
    pub(super) fn heard_control(&self, bytes: usize) {
        let mut state = self.state();
        if matches!(state.stage, Stage::Busy { .. }) {
            state.hear_control(bytes);
        }
    }

    /// Nothing more will be said.
    pub(super) fn closing(&self) {
        let mut state = self.state();
        if state.stage != Stage::Closing {
            state.enter(Stage::Closing);
        }
    }

    /// The process ends: from now on silence ends the connection soon.
    pub(super) fn finish(&self) {
        self.state().finishing = true;
    }

    /// Whether the process ends and the client has been silent between two requests for long enough. HTTP/2 is told in
    /// its own way.
    pub(super) fn may_end(&self, now: Instant) -> bool {
        let state = self.state();
        let patience = match state.stage {
            Stage::Silent => LAST_FIRST_BYTE,
            Stage::Idle if !state.multiplexed => LAST_IDLE,
            Stage::Idle | Stage::Head | Stage::Busy { .. } | Stage::Closing => return false,
        };
        state.finishing && now.saturating_duration_since(state.since) >= patience
    }

    /// Since when nobody calls by it, everything is said and nothing was heard; none: that is not so.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        let state = self.state();
        let is_silent = state.stage == Stage::Idle && state.write_stalled_since.is_none();
        is_silent.then_some(state.since)
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
        state.control_bytes = 0;
        match state.stage {
            Stage::Busy { exchanges } => state.stage = Stage::Busy { exchanges: exchanges + 1 },
            Stage::Silent | Stage::Head | Stage::Idle => state.enter(Stage::Busy { exchanges: 1 }),
            Stage::Closing => {}
        }
        Exchange(Arc::clone(self))
    }

    /// Whether the connection used up the time of its stage, and why it is cut then.
    pub(super) fn overdue(&self, now: Instant, limits: &ConnectionLimits) -> Option<Overdue> {
        let state = self.state();
        let exceeded =
            |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
        let in_stage = match state.stage {
            Stage::Silent => exceeded(state.since, limits.first_byte),
            Stage::Head => exceeded(state.since, limits.head),
            Stage::Idle => exceeded(state.since, limits.idle) || state.floods(),
            Stage::Busy { .. } => state.floods(),
            Stage::Closing => return exceeded(state.since, LINGER).then_some(Overdue::Lingered),
        };
        let stalled = |since| exceeded(since, limits.write_stall);
        (in_stage || state.write_stalled_since.is_some_and(stalled)).then_some(Overdue::TooSlow)
    }

    fn end(&self) {
        let mut state = self.state();
        match state.stage {
            Stage::Busy { exchanges: exchanges @ 2.. } => {
                state.stage = Stage::Busy { exchanges: exchanges - 1 };
            }
            Stage::Closing => {}
            _ => state.enter(Stage::Idle),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hear_control(&mut self, bytes: usize) {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.forgiven).as_millis();
        let earned = usize::try_from(elapsed)
            .unwrap_or(usize::MAX)
            .saturating_mul(H2_CONTROL_BYTES_PER_SECOND)
            / 1000;
        // A moment too short to earn anything is not lost.
        if earned > 0 {
            self.control_bytes = self.control_bytes.saturating_sub(earned);
            self.forgiven = now;
        }
        self.control_bytes = self.control_bytes.saturating_add(bytes);
    }

    fn floods(&self) -> bool {
        self.control_bytes > H2_CONTROL_BYTES
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }
}

/// One request and its response, the ends of their bodies included.
#[derive(Debug)]
pub(super) struct Exchange(Arc<Activity>);

impl Exchange {
    /// Another part of the same, which it is not over without.
    pub(super) fn also(&self) -> Self {
        let mut state = self.0.state();
        if let Stage::Busy { exchanges } = &mut state.stage {
            *exchanges += 1;
        }
        drop(state);
        Self(Arc::clone(&self.0))
    }
}

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
        assert_eq!(activity.overdue(Instant::now() + after, &limits).is_some(), overdue);
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
        check(|a| (0..9).for_each(|_| a.heard(1)), SHORT, true);
        check(|a| a.heard(1), Duration::from_secs(4), false);
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
            a.heard(1);
        };
        check(next_head, SHORT, true);
    }

    #[test]
    fn control_frames_do_not_shorten_an_idle_http2_connection() {
        let ping = |a: &Arc<Activity>| {
            drop(a.begin(true));
            a.heard(17);
        };
        check(ping, SHORT, false);
    }

    #[test]
    fn a_flood_of_control_frames_is_cut_and_a_request_makes_room_for_more() {
        let flood = |a: &Arc<Activity>| {
            drop(a.begin(true));
            a.heard(H2_CONTROL_BYTES + 1);
        };
        check(flood, Duration::ZERO, true);
        let with_a_request = |a: &Arc<Activity>| {
            drop(a.begin(true));
            a.heard(H2_CONTROL_BYTES);
            drop(a.begin(true));
            a.heard(H2_CONTROL_BYTES);
        };
        check(with_a_request, Duration::ZERO, false);
    }

    #[test]
    fn a_flood_of_control_frames_is_cut_during_a_call_and_a_body_is_none() {
        let called = |a: &Arc<Activity>| std::mem::forget(a.begin(true));
        let flood = |a: &Arc<Activity>| {
            std::mem::forget(a.begin(true));
            a.heard_control(H2_CONTROL_BYTES + 1);
        };
        let body = |a: &Arc<Activity>| {
            std::mem::forget(a.begin(true));
            a.heard(H2_CONTROL_BYTES + 1);
            a.heard_control(9);
        };
        check(called, LONG, false);
        check(flood, Duration::ZERO, true);
        check(body, Duration::ZERO, false);
    }

    #[tokio::test(start_paused = true)]
    async fn credit_taken_for_days_is_no_flood() {
        let activity = Activity::new(Instant::now());
        let _listening = activity.begin(true);
        for _ in 0..3 * 24 * 60 {
            activity.heard_control(60 * H2_CONTROL_BYTES_PER_SECOND);
            assert_eq!(activity.overdue(Instant::now(), &ConnectionLimits::default()), None);
            tokio::time::advance(Duration::from_mins(1)).await;
        }
    }

    #[test]
    fn in_the_end_silence_ends_a_connection_but_no_head_and_no_call() {
        let check = |steps: fn(&Arc<Activity>), millis, ends| {
            let activity = Activity::new(Instant::now());
            steps(&activity);
            let now = Instant::now() + Duration::from_millis(millis);
            assert!(!activity.may_end(now), "nobody said that it ends");
            activity.finish();
            assert_eq!(activity.may_end(now), ends);
        };
        check(|_| {}, 900, false);
        check(|_| {}, 1000, true);
        check(|a| drop(a.begin(false)), 200, false);
        check(|a| drop(a.begin(false)), 250, true);
        check(|a| drop(a.begin(true)), 250, false);
        check(|a| a.heard(1), 2000, false);
        check(|a| std::mem::forget(a.begin(false)), 2000, false);
    }

    #[test]
    fn a_closing_connection_has_a_second_and_is_not_slow() {
        let activity = Activity::new(Instant::now());
        drop(activity.begin(false));
        activity.closing();
        let after = |millis| {
            let now = Instant::now() + Duration::from_millis(millis);
            activity.overdue(now, &ConnectionLimits::default())
        };
        assert_eq!(after(900), None);
        assert_eq!(after(1100), Some(Overdue::Lingered));
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
