//! An allocator that counts on threads which ask for it. Nothing is counted on those of other tests.

#![expect(unsafe_code, reason = "an allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    // Neither is made nor dropped by code, so that the allocator may look at any time.
    static COUNTER: Cell<Option<&'static Counter>> = const { Cell::new(None) };
}

/// What was allocated on the threads that count on it.
#[derive(Debug)]
pub struct Counter {
    allocations: AtomicU64,
    bytes: AtomicI64,
}

impl Counter {
    /// Nothing was allocated yet.
    pub const fn new() -> Self {
        Self { allocations: AtomicU64::new(0), bytes: AtomicI64::new(0) }
    }

    /// From now on what this thread allocates is counted, and what it frees; to grow in place is one more.
    pub fn count_this_thread(&'static self) {
        COUNTER.set(Some(self));
    }

    /// How often there was an allocation.
    pub fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::Relaxed)
    }

    /// Bytes that were allocated, less those that were freed.
    pub fn bytes(&self) -> i64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn count(allocations: u64, more: usize, less: usize) {
    if let Some(counter) = COUNTER.get() {
        counter.allocations.fetch_add(allocations, Ordering::Relaxed);
        let more =
            i64::try_from(more).unwrap_or(i64::MAX) - i64::try_from(less).unwrap_or(i64::MAX);
        counter.bytes.fetch_add(more, Ordering::Relaxed);
    }
}

struct Counting;

// SAFETY: each method is the system's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, 0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
