//! Several equal endpoints: whose turn it is, among those that are worth asking.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use tokio::time::Instant;

use super::breaker::{Breaker, Outcome, Turn};

/// The endpoints of one upstream; at least one.
#[derive(Debug)]
pub(super) struct Endpoints {
    urls: Vec<Url>,
    breakers: Mutex<Vec<Breaker>>,
    turn: AtomicUsize,
}

/// Which of an upstream's endpoints: good as long as its configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(usize);

/// An endpoint that may be asked now, once; what comes of it is to be told to [`Endpoints::report`].
#[derive(Debug)]
pub(super) struct Endpoint {
    id: EndpointId,
    url: Url,
    turn: Turn,
}

/// An endpoint's URL. All but its authority may hold a secret, and is not shown.
#[derive(Clone)]
struct Url(Uri);

/// None is worth asking now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("none of its endpoints has answered lately")]
pub struct AllBroken {
    /// When one will be asked again.
    pub retry_after: Duration,
}

impl Endpoint {
    /// Which it is.
    pub(super) fn id(&self) -> EndpointId {
        self.id
    }

    /// Its URL.
    pub(super) fn url(&self) -> &Uri {
        &self.url.0
    }
}

impl Endpoints {
    /// Endpoints that are all thought to be well.
    pub(super) fn new(urls: Vec<Uri>) -> Self {
        let breakers = Mutex::new(vec![Breaker::default(); urls.len()]);
        let urls = urls.into_iter().map(Url).collect();
        Self { urls, breakers, turn: AtomicUsize::new(0) }
    }

    /// The next in turn.
    pub(super) fn pick(&self, now: Instant) -> Result<Endpoint, AllBroken> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        self.pick_among((0..self.urls.len()).map(|it| first.wrapping_add(it)), now)
    }

    /// The next after one that has just failed, if there is another.
    pub(super) fn pick_beside(
        &self,
        failed: EndpointId,
        now: Instant,
    ) -> Result<Endpoint, AllBroken> {
        self.pick_among((1..self.urls.len()).map(|it| failed.0 + it), now)
    }

    /// That one and no other: it holds what belongs to the call, such as a session.
    pub(super) fn pick_this(&self, id: EndpointId, now: Instant) -> Result<Endpoint, AllBroken> {
        self.pick_among(std::iter::once(id.0), now)
    }

    /// Tells what came of it.
    pub(super) fn report(&self, endpoint: Endpoint, outcome: Outcome, now: Instant) {
        // An answer opens nothing, and to ask the kernel is a system call.
        let chance = match outcome {
            Outcome::Answered => 0,
            Outcome::Failed => {
                getrandom::u32().expect("the kernel gives random bytes").to_le_bytes()[0]
            }
        };
        let Endpoint { id, url, turn } = endpoint;
        let authority = url.authority();
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, after) = (breakers[id.0], breakers[id.0].after(turn, outcome, now, chance));
        breakers[id.0] = after;
        drop(breakers);
        let open = |it: Breaker| matches!(it, Breaker::Open { .. });
        let closed = |it: Breaker| matches!(it, Breaker::Closed { .. });
        if closed(before) && open(after) {
            tracing::warn!(
                endpoint = authority,
                "an upstream's endpoint does not answer and is left alone for a while"
            );
        } else if !closed(before) && closed(after) {
            tracing::info!(endpoint = authority, "an upstream's endpoint answers again");
        }
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        self.urls.len() > 1
    }

    /// How many are asked as usual.
    pub(super) fn well(&self) -> usize {
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.iter().filter(|it| matches!(it, Breaker::Closed { .. })).count()
    }

    fn pick_among(
        &self,
        places: impl Iterator<Item = usize>,
        now: Instant,
    ) -> Result<Endpoint, AllBroken> {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut soonest = None;
        for place in places.map(|it| it % self.urls.len()) {
            match breakers[place].admit(now) {
                Ok((turn, next)) => {
                    breakers[place] = next;
                    let (id, url) = (EndpointId(place), self.urls[place].clone());
                    return Ok(Endpoint { id, url, turn });
                }
                Err(pause) => soonest = Some(soonest.map_or(pause, |it: Duration| it.min(pause))),
            }
        }
        Err(AllBroken { retry_after: soonest.unwrap_or_default() })
    }
}

impl Url {
    fn authority(&self) -> &str {
        self.0.authority().map_or("", Authority::as_str)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_url_is_not_shown() {
        let endpoints = Endpoints::new(vec!["https://e.test/s3cret?key=s3cret".parse().unwrap()]);
        let one = endpoints.pick(Instant::now()).unwrap();
        let shown = format!("{endpoints:?} {one:?}");
        assert!(shown.contains("e.test") && !shown.contains("s3cret"), "{shown}");
    }

    fn endpoints(count: usize) -> Endpoints {
        let urls = (0..count).map(|it| format!("https://e{it}.test/mcp").parse().unwrap());
        Endpoints::new(urls.collect())
    }

    fn break_down(endpoints: &Endpoints, place: usize, now: Instant) {
        while let Ok(endpoint) = endpoints.pick_this(EndpointId(place), now) {
            endpoints.report(endpoint, Outcome::Failed, now);
        }
    }

    fn turns(endpoints: &Endpoints, count: usize, now: Instant) -> Vec<usize> {
        (0..count).map(|_| endpoints.pick(now).unwrap().id().0).collect()
    }

    #[test]
    fn each_has_its_turn_unless_it_is_broken() {
        let (endpoints, now) = (endpoints(3), Instant::now());
        assert_eq!(turns(&endpoints, 4, now), [0, 1, 2, 0]);
        break_down(&endpoints, 2, now);
        assert_eq!(turns(&endpoints, 4, now), [1, 0, 0, 1]);
        assert_eq!(endpoints.well(), 2);
    }

    #[test]
    fn the_second_try_goes_to_another_or_nowhere() {
        let now = Instant::now();
        let alone = endpoints(1);
        let only = alone.pick(now).unwrap();
        assert!(alone.pick_beside(only.id(), now).is_err());
        let pair = endpoints(2);
        let (first, second) = (EndpointId(0), EndpointId(1));
        assert_eq!(pair.pick_beside(second, now).unwrap().id(), first);
        break_down(&pair, 0, now);
        assert!(pair.pick_beside(second, now).is_err());
    }

    #[test]
    fn when_all_are_broken_it_is_said_when_to_come_again() {
        let (endpoints, now) = (endpoints(2), Instant::now());
        break_down(&endpoints, 0, now);
        break_down(&endpoints, 1, now + Duration::from_secs(5));
        let AllBroken { retry_after } = endpoints.pick(now).unwrap_err();
        assert!(retry_after <= Duration::from_millis(625), "{retry_after:?}");
        let then = now + retry_after;
        let probe = endpoints.pick(then).unwrap();
        assert_eq!((probe.id().0, endpoints.pick(then).is_err()), (0, true), "one probe");
        endpoints.report(probe, Outcome::Answered, then);
        assert_eq!(turns(&endpoints, 2, then), [0, 0]);
    }
}
