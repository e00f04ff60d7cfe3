//! The first line of an entry in an environment's journal, on a worker's disk. A spoilt one is refused; of one that is read nothing is
//! changed by writing it again.

#![no_main]

mod said;

use baton::worker::fuzzing::entry;
use libfuzzer_sys::fuzz_target;
use said::is_said;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some(written) = entry(data) else { return };
    assert_eq!(entry(&written).as_ref(), Some(&written));
    // This reader takes no half of a surrogate and no number beyond a double, even in a field that is passed over.
    let Ok(said) = serde_json::from_slice::<Value>(data) else { return };
    let written: Value = serde_json::from_slice(&written).expect("JSON");
    for key in ["version", "is_task", "kind", "created_ms", "updated_ms", "keep_until_ms", "state"]
    {
        assert!(said[key].is_null() || is_said(&written[key], &said[key]), "{key}");
    }
});
