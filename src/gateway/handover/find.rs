//! Behind an address that several replicas share, whoever connects meets any of them: who it is is asked first, and the
//! letter follows on the same connection.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::give::{NoAnswer, url};
use super::letter::Letter;
use super::{Handover, Http, client};
use crate::directory::Replica;

/// How often it is asked, for each replica that shares the address: with equal chances the right one is missed once in
/// three thousand times.
const TRIES_FOR_EACH: usize = 8;
/// How often at most.
const MAX_TRIES: usize = 512;
/// So many connections that came to nothing in a row, and nobody is there.
const MAX_FAILURES: usize = 3;
/// How long one may take to say who it is, its connection included.
const SAID_WITHIN: Duration = Duration::from_secs(2);
/// A replica's id is shorter.
const MAX_ID: usize = 1024;

impl Handover {
    /// Has a letter taken by one of so many replicas behind an address.
    pub(super) async fn send_behind(
        &self,
        there: &Replica,
        sharing: usize,
        letter: &Letter,
    ) -> Result<Response<Incoming>, NoAnswer> {
        let mut failures = 0;
        for _ in 0..(sharing * TRIES_FOR_EACH).min(MAX_TRIES) {
            // Each has one connection, and so one replica.
            let http = client(&self.connector);
            let said = timeout(SAID_WITHIN, who_is_there(&http, there)).await;
            match said.ok().flatten() {
                Some(id) if id == there.id.as_bytes() => {
                    match self.send_by(&http, there, letter).await {
                        // The connection was lost in between, and another one led elsewhere: nothing was done there.
                        Err(NoAnswer::NotTaken) => {}
                        answer => return answer,
                    }
                    failures = 0;
                }
                Some(_) => failures = 0,
                None => failures += 1,
            }
            if failures == MAX_FAILURES {
                break;
            }
        }
        Err(NoAnswer::NotTaken)
    }
}

async fn who_is_there(http: &Http, there: &Replica) -> Option<Bytes> {
    let request = Request::get(url(there)).body(Full::default()).ok()?;
    let answer = http.request(request).await.ok()?;
    let answer = Some(answer).filter(|it| it.status().is_success())?;
    Some(Limited::new(answer.into_body(), MAX_ID).collect().await.ok()?.to_bytes())
}
