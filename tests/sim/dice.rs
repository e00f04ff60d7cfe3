//! All chance in a simulation, out of its seed: what the simulation decides, and what the code under test asks the
//! kernel for (ids, nonces, jitter, the keys of hash maps).

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A generator whose clones share one sequence (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Dice(Arc<Mutex<u64>>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    pub fn next(&self) -> u64 {
        step(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// 0 to `limit` - 1.
    pub fn below(&self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a count");
        usize::try_from(self.next() % limit).expect("below a usize")
    }

    /// Whether a thing happens that does in so many of a hundred cases.
    pub fn percent(&self, cases: usize) -> bool {
        self.below(100) < cases
    }

    pub fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// So many milliseconds.
    pub fn millis(&self, from: usize, to: usize) -> Duration {
        let millis = from + self.below(to - from);
        Duration::from_millis(u64::try_from(millis).expect("a short time"))
    }
}

fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

thread_local! {
    /// What `getrandom` goes by on this thread; nothing: the kernel.
    static ENTROPY: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on the kernel's random bytes are the seed's, on this thread.
pub fn seed_this_thread(seed: u64) {
    ENTROPY.set(Some(!seed));
}

/// Stands before the C library's function of this name in this program.
#[expect(unsafe_code, reason = "the one door by which std and every crate come to random bytes")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    let Some(mut state) = ENTROPY.get() else {
        // SAFETY: the caller's promise is the kernel's demand.
        let filled = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return isize::try_from(filled).unwrap_or(-1);
    };
    for at in 0..length {
        let byte = step(&mut state).to_le_bytes()[0];
        // SAFETY: the caller promises that so many bytes may be written there.
        unsafe { buffer.add(at).write(byte) };
    }
    ENTROPY.set(Some(state));
    isize::try_from(length).unwrap_or(-1)
}
