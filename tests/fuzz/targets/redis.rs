//! What Redis answers: a byte that says to what, then the answer. A wrong or hostile Redis is refused or read, and what
//! is read is what it said.

#![no_main]

use baton::directory::redis::fuzzing::{event, indexed, launch, placement, report, served_slots};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((question, answer)) = data.split_first() else { return };
    let text = str::from_utf8(answer);
    match question % 6 {
        0 => {
            let Some(written) = text.ok().and_then(report) else { return };
            let keys = ["v", "worker", "incarnation", "url", "draining", "capacity"];
            same(&written, answer, report(&written), &keys);
        }
        1 => {
            let Some(written) = event(answer) else { return };
            same(&written, answer, event(written.as_bytes()), &["v", "replica"]);
        }
        2 => {
            let Some((worker, epoch)) = placement(answer) else { return };
            assert!(contains(answer, &worker) && contains(answer, &epoch.to_string()));
        }
        3 => {
            let Some(environment) = launch(answer) else { return };
            assert!(contains(&answer.to_ascii_lowercase(), &environment));
        }
        4 => {
            let Some((tenant, at)) = text.ok().and_then(indexed) else { return };
            assert!(contains(&answer.to_ascii_lowercase(), &tenant));
            assert!(contains(answer, &at.to_string()));
        }
        _ => {
            let info = "cluster_state:ok\r\ncluster_current_epoch:3\r\n";
            assert!(served_slots(answer, info).is_none_or(|slots| slots <= 16384));
        }
    }
});

/// What is written again reads as the same, and says of version and origin what was said.
fn same(written: &str, answer: &[u8], again: Option<String>, keys: &[&str]) {
    assert_eq!(again.as_deref(), Some(written));
    // This reader takes no half of a surrogate and no number beyond a double, even in a field that is passed over.
    let Ok(said) = serde_json::from_slice::<Value>(answer) else { return };
    let written: Value = serde_json::from_str(written).expect("JSON");
    for key in keys {
        assert_eq!(written[key], said[key], "{key}");
    }
}

fn contains(answer: &[u8], part: &str) -> bool {
    answer.windows(part.len()).any(|it| it == part.as_bytes())
}
