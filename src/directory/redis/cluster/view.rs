//! How one node sees its cluster: who serves which slots.
//!
//! By `CLUSTER SLOTS`, which every release of Redis answers: the host is what the node announces (so it is right behind
//! NAT and where certificates want names), the port is that of TLS where we speak it.

use std::ops::RangeInclusive;

use redis::{RedisError, Value, from_redis_value_ref};

use super::super::slot::SLOTS;
use super::super::trouble::Trouble;
use super::super::url::Address;

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Grows with each failover and each slot that changes hands: the larger, the later.
    pub(super) epoch: u64,
    /// Whether the node finds itself among most masters and all slots served.
    pub(super) is_ok: bool,
    /// What is served, in no order.
    pub(super) ranges: Vec<Range>,
}

/// Neighbouring slots of one master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) slots: RangeInclusive<u16>,
    pub(super) master: Address,
    /// How many replicas it is said to have.
    pub(super) replicas: usize,
}

impl View {
    /// Reads what a node answered to `CLUSTER INFO` and `CLUSTER SLOTS`.
    pub(super) fn read(asked: &Address, info: &str, slots: &[Value]) -> Result<Self, Trouble> {
        let fact = |name: &str| {
            info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
        };
        let range = |it| range(asked, it).ok_or_else(|| unreadable("a range of slots"));
        let ranges: Vec<Range> = slots.iter().map(range).collect::<Result<_, _>>()?;
        // Each slot has one master at most. That also bounds how many ranges and masters there are.
        if ranges.iter().map(|it| it.slots.len()).sum::<usize>() > usize::from(SLOTS) {
            return Err(unreadable("a slot that is served twice"));
        }
        Ok(Self {
            epoch: fact("cluster_current_epoch").and_then(|it| it.parse().ok()).unwrap_or(0),
            is_ok: fact("cluster_state") == Some("ok"),
            ranges,
        })
    }

    /// How good it is, to compare with others: what most masters agree on before what one alone believes, the later
    /// before the earlier, and of equals the one that knows more.
    pub(super) fn rank(&self) -> (bool, u64, usize) {
        let served = self.ranges.iter().map(|it| it.slots.len()).sum();
        (self.is_ok, self.epoch, served)
    }
}

/// An address in a `MOVED` or `ASK`, which may be without a host: then it is the one that was asked.
pub(super) fn redirected(asked: &Address, to: &str) -> Option<Address> {
    let (host, port) = to.rsplit_once(':')?;
    let host = if host.is_empty() { &asked.host } else { host };
    Some(Address { host: host.into(), port: port.parse().ok()? })
}

fn range(asked: &Address, range: &Value) -> Option<Range> {
    let [first, last, master, replicas @ ..] = range.as_sequence()? else { return None };
    let (first, last): (u16, u16) = (read(first)?, read(last)?);
    let master = address(asked, master)?;
    (first <= last && last < SLOTS).then_some(Range {
        slots: first..=last,
        master,
        replicas: replicas.len(),
    })
}

/// `host, port, id, [name, value, …]`.
fn address(asked: &Address, node: &Value) -> Option<Address> {
    let [host, port, more @ ..] = node.as_sequence()? else { return None };
    let host: Option<String> = read(host)?;
    let host = match host.as_deref() {
        // It does not know its own address, or is set not to tell: it is where it was asked.
        None | Some("") => asked.host.to_string(),
        // It is set to tell a name and has none.
        Some("?") => ip(more)?,
        Some(host) => host.to_owned(),
    };
    Some(Address { host: host.into(), port: read(port)? })
}

/// The address among a node's further facts.
fn ip(facts: &[Value]) -> Option<String> {
    let facts: Vec<String> = read(facts.get(1)?)?;
    facts.chunks_exact(2).find(|fact| fact[0] == "ip").map(|fact| fact[1].clone())
}

fn read<T: redis::FromRedisValue>(value: &Value) -> Option<T> {
    from_redis_value_ref(value).ok()
}

fn unreadable(what: &'static str) -> Trouble {
    let kind = redis::ErrorKind::UnexpectedReturnType;
    Trouble::Failed(RedisError::from((
        kind,
        "a node of the cluster answers strangely",
        what.into(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn node(host: Value, facts: &[&str]) -> Value {
        let facts = facts.iter().map(|it| text(it)).collect();
        Value::Array(vec![host, Value::Int(7), text("id"), Value::Array(facts)])
    }

    #[test]
    fn a_node_is_where_it_says_or_where_it_was_asked() {
        let asked = Address { host: "asked".into(), port: 1 };
        let check = |host: Value, facts: &[&str], expected: &str| {
            let range = [Value::Int(0), Value::Int(9), node(host, facts), node(text("r"), &[])];
            let slots = [Value::Array(range.to_vec())];
            let view =
                View::read(&asked, "cluster_state:ok\r\ncluster_current_epoch:3\r\n", &slots);
            let view = view.unwrap();
            assert_eq!((view.is_ok, view.epoch, view.ranges.len()), (true, 3, 1));
            let Range { slots, master, replicas } = &view.ranges[0];
            assert_eq!((slots, &*master.host, master.port), (&(0..=9), expected, 7));
            assert_eq!(*replicas, 1);
        };
        check(text("10.0.0.1"), &[], "10.0.0.1");
        check(text("redis-0.example"), &["ip", "10.0.0.1"], "redis-0.example");
        check(text(""), &[], "asked");
        check(Value::Nil, &[], "asked");
        check(text("?"), &["ip", "10.0.0.2"], "10.0.0.2");
    }

    #[test]
    fn what_is_no_range_of_slots_is_refused() {
        let asked = Address { host: "asked".into(), port: 1 };
        for (first, last) in [(5, 4), (0, i64::from(SLOTS)), (-1, 4)] {
            let range = vec![Value::Int(first), Value::Int(last), node(text("h"), &[])];
            View::read(&asked, "", &[Value::Array(range)]).unwrap_err();
        }
        View::read(&asked, "", &[text("x")]).unwrap_err();
    }

    #[test]
    fn a_slot_that_is_served_twice_is_refused() {
        let asked = Address { host: "asked".into(), port: 1 };
        let one = |host: usize| {
            Value::Array(vec![Value::Int(0), Value::Int(0), node(text(&host.to_string()), &[])])
        };
        let mut ranges: Vec<_> = (0..usize::from(SLOTS)).map(one).collect();
        View::read(&asked, "", &ranges).unwrap();
        ranges.push(one(0));
        View::read(&asked, "", &ranges).unwrap_err();
    }

    #[test]
    fn a_redirection_leads_to_an_address_of_any_form() {
        let asked = Address { host: "asked".into(), port: 1 };
        for (to, expected) in
            [("10.0.0.1:7", "10.0.0.1:7"), (":7", "asked:7"), ("::1:7", "[::1]:7"), ("h:7", "h:7")]
        {
            assert_eq!(redirected(&asked, to).unwrap().to_string(), expected);
        }
        assert_eq!((redirected(&asked, "h"), redirected(&asked, "h:x")), (None, None));
    }
}
