//! Gives memory that was freed back to the system. The C library keeps it by thread, and many threads work for the tables:
//! after a while it keeps several times what is in use.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that were held and freed between two times: giving back takes some milliseconds.
const BETWEEN: u64 = 128 << 20;

static FREED: AtomicU64 = AtomicU64::new(0);

/// Notes that so many bytes were held and are free again.
pub fn freed(bytes: u64) {
    if FREED.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) < BETWEEN {
        return;
    }
    give_back();
}

/// Gives back what is free.
pub fn give_back() {
    FREED.store(0, Ordering::Relaxed);
    tokio::task::spawn_blocking(trim);
}

/// Heaps that all threads of the process share. By default there are eight for each core.
const HEAPS: i32 = 4;

/// Bytes from which an allocation is the system's, to which it goes back when it is freed. By default that bound grows to 32 MB.
const LARGE: i32 = 4 << 20;

/// Has the C library keep less of what was freed, when the addon is loaded.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[napi_derive::module_init]
fn keep_less() {
    const M_MMAP_THRESHOLD: i32 = -3;
    const M_ARENA_MAX: i32 = -8;
    unsafe extern "C" {
        fn mallopt(param: i32, value: i32) -> i32;
    }
    // SAFETY: they may be set at any time, by any thread.
    unsafe {
        mallopt(M_ARENA_MAX, HEAPS);
        mallopt(M_MMAP_THRESHOLD, LARGE);
    }
}

/// Other C libraries give back by themselves.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> i32;
    }
    // SAFETY: it may be called at any time, by any thread.
    unsafe {
        malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
