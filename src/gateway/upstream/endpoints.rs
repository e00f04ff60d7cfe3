//! Several equal endpoints of one upstream.
use http::Uri;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
#[derive(Debug)]
pub(super) struct Endpoints {
    uris: Vec<Uri>,
    next: AtomicUsize,
}
pub(super) struct AllBroken {
    pub retry_after: Duration,
}
pub(super) struct Endpoint<'a>(&'a Uri);
impl Endpoints {
    pub(super) fn new(uris: &[Uri]) -> Self {
        Self { uris: uris.to_vec(), next: AtomicUsize::new(0) }
    }
    pub(super) fn pick(&self) -> Result<Endpoint<'_>, AllBroken> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.uris
            .get(at % self.uris.len().max(1))
            .map(Endpoint)
            .ok_or(AllBroken { retry_after: Duration::from_secs(1) })
    }
}
impl Endpoint<'_> {
    pub(super) fn uri(&self) -> &Uri {
        self.0
    }
    pub(super) fn answered(&self) {}
    pub(super) fn failed(&self) {}
}
