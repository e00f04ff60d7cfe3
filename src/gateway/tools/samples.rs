//! The tools of the published samples, so that their clients and load tests run here unchanged.

use serde_json::{Value, json};

/// The largest number up to which primes are counted.
const MAX_PRIME_LIMIT: u64 = 5_000_000;
/// How far primes are counted where nothing is said.
const DEFAULT_PRIME_LIMIT: u64 = 5_000;

const FACTS: [(&str, &str); 4] = [
    (
        "baton",
        "Baton keeps no session: each request says all that is needed, so any replica serves it.",
    ),
    (
        "environment",
        "An environment is named by a signed handle that is passed as an ordinary argument.",
    ),
    (
        "mcp",
        "Since revision 2026-07-28 the Model Context Protocol has no handshake and no session.",
    ),
    ("replica", "A load balancer may send every call of one environment to another replica."),
];

/// `lookup_fact`: a fact, or the topics there are.
pub(super) fn lookup_fact(topic: &str) -> Value {
    let topic = topic.trim().to_lowercase();
    if let Some((_, fact)) = FACTS.iter().find(|(known, _)| *known == topic) {
        json!({"topic": topic, "found": true, "fact": fact})
    } else {
        let topics: Vec<_> = FACTS.iter().map(|(topic, _)| topic).collect();
        json!({"topic": topic, "found": false, "available_topics": topics})
    }
}

/// `compute_primes`: counts primes. Busy for as long as it takes, so never on an async thread.
pub(super) fn compute_primes(limit: Option<u64>) -> Value {
    let limit = limit.unwrap_or(DEFAULT_PRIME_LIMIT).clamp(2, MAX_PRIME_LIMIT);
    let (count, largest) = count_primes(usize::try_from(limit).unwrap_or(usize::MAX));
    json!({"limit": limit, "prime_count": count, "largest_prime": largest})
}

fn count_primes(limit: usize) -> (usize, usize) {
    let mut composite = vec![false; limit + 1];
    let (mut count, mut largest) = (0, 0);
    for n in 2..=limit {
        if composite[n] {
            continue;
        }
        (count, largest) = (count + 1, n);
        for multiple in (n * n..=limit).step_by(n) {
            composite[multiple] = true;
        }
    }
    (count, largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_counted() {
        for (limit, primes) in
            [(2, (1, 2)), (10, (4, 7)), (5000, (669, 4999)), (100_000, (9592, 99_991))]
        {
            assert_eq!(count_primes(limit), primes);
        }
        assert_eq!(compute_primes(Some(u64::MAX))["limit"], MAX_PRIME_LIMIT);
    }

    #[test]
    fn an_unknown_topic_names_the_known_ones() {
        assert_eq!(lookup_fact(" MCP ")["found"], true);
        assert_eq!(lookup_fact("x")["available_topics"].as_array().unwrap().len(), FACTS.len());
    }
}
