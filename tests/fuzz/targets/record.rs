//! An environment's record on a worker's disk. A spoilt one is refused; of one that is read nothing is
//! changed by writing it again.

#![no_main]

mod said;

use baton::worker::fuzzing::record;
use libfuzzer_sys::fuzz_target;
use said::is_said;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some(written) = record(data) else { return };
    assert_eq!(record(&written).as_ref(), Some(&written));
    // This reader takes no half of a surrogate and no number beyond a double, even in a field that is passed over.
    let Ok(said) = serde_json::from_slice::<Value>(data) else { return };
    let written: Value = serde_json::from_slice(&written).expect("JSON");
    for key in ["version", "created_ms", "idle_timeout_ms", "last_used_ms", "generation", "state"] {
        assert!(said[key].is_null() || is_said(&written[key], &said[key]), "{key}");
    }
});
