//! Which kinds of answer a client takes.

use http::header::{ACCEPT, HeaderMap};

use super::header::trimmed;

/// How a client feels about a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Welcome {
    /// It sent an `Accept` that leaves the type out.
    No,
    /// It takes it by a wildcard, or did not say what it takes.
    Tolerated,
    Named,
}

/// What `Accept` says about the two types an answer may have (RFC 9110, 12.5.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Accept {
    pub(super) json: Welcome,
    pub(super) sse: Welcome,
}

/// What each media range says about JSON and about event streams.
const RANGES: [(&str, (Welcome, Welcome)); 5] = [
    ("application/json", (Welcome::Named, Welcome::No)),
    ("text/event-stream", (Welcome::No, Welcome::Named)),
    ("application/*", (Welcome::Tolerated, Welcome::No)),
    ("text/*", (Welcome::No, Welcome::Tolerated)),
    ("*/*", (Welcome::Tolerated, Welcome::Tolerated)),
];

impl Accept {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(ACCEPT).iter().peekable();
        if values.peek().is_none() {
            return Self { json: Welcome::Tolerated, sse: Welcome::Tolerated };
        }
        let mut accept = Self { json: Welcome::No, sse: Welcome::No };
        let lines = values.filter_map(|value| value.to_str().ok());
        for range in lines.flat_map(|line| line.split(',')) {
            accept.add(range);
        }
        accept
    }

    fn add(&mut self, range: &str) {
        let (media_range, parameters) = range.split_once(';').unwrap_or((range, ""));
        let is_excluded = parameters.split(';').map(trimmed).any(|parameter| {
            let quality = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
            quality.and_then(|q| q.parse::<f32>().ok()) == Some(0.0)
        });
        let known = |(name, _): &&(&str, _)| name.eq_ignore_ascii_case(trimmed(media_range));
        let Some((_, (json, sse))) = RANGES.iter().find(known).filter(|_| !is_excluded) else {
            return;
        };
        self.json = self.json.max(*json);
        self.sse = self.sse.max(*sse);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::testing::headers;

    fn accepts(accept: &[&str], json: Welcome, sse: Welcome) {
        let pairs: Vec<_> = accept.iter().map(|value| ("accept", *value)).collect();
        let read = Accept::read(&headers(&pairs));
        assert_eq!((read.json, read.sse), (json, sse), "{accept:?}");
    }

    #[test]
    fn accept_is_read_liberally() {
        use Welcome::{Named, No, Tolerated};
        accepts(&["application/json, text/event-stream"], Named, Named);
        accepts(&["text/event-stream", "application/json"], Named, Named);
        accepts(&["Application/JSON;q=0.5"], Named, No);
        accepts(&["*/*"], Tolerated, Tolerated);
        accepts(&[], Tolerated, Tolerated);
        accepts(&["text/*"], No, Tolerated);
        accepts(&["application/*, text/event-stream;q=0.0"], Tolerated, No);
        accepts(&["text/html"], No, No);
    }
}
