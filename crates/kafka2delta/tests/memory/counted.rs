//! An allocator that counts the bytes that are taken.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[global_allocator]
static COUNTED: Counted = Counted;

static TAKEN: AtomicU64 = AtomicU64::new(0);
static MOST: AtomicU64 = AtomicU64::new(0);

struct Counted;

fn take(bytes: usize) {
    let taken = TAKEN.fetch_add(bytes as u64, Relaxed) + bytes as u64;
    MOST.fetch_max(taken, Relaxed);
}

fn give(bytes: usize) {
    TAKEN.fetch_sub(bytes as u64, Relaxed);
}

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as it was asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as it was asked for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        give(layout.size());
        // SAFETY: as it was asked for.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Large blocks are moved by their pages: nothing is held twice.
        give(layout.size());
        take(size);
        // SAFETY: as it was asked for.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Begins to look for the most; gives what is taken now.
pub fn start() -> u64 {
    let taken = TAKEN.load(Relaxed);
    MOST.store(taken, Relaxed);
    taken
}

/// The most bytes at a time since then.
pub fn most() -> u64 {
    MOST.load(Relaxed)
}
