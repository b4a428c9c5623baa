//! Memory that nobody has touched: the system gives its pages when they are first written.

/// Shorter runs are not worth asking for.
const LEAST: usize = 1 << 16;

/// Whether a run of memory that is about to be written was never touched; then the system is asked for all
/// of its pages at once, which takes less than a fault for each.
///
/// What the system zeroes is in the cache, and is written there. A refusal is no matter: then each page comes
/// when it is written.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub fn fetched(place: *mut u8, bytes: usize) -> bool {
    use std::ffi::{c_int, c_long, c_void};
    extern "C" {
        fn sysconf(name: c_int) -> c_long;
        fn mincore(start: *mut c_void, length: usize, pages: *mut u8) -> c_int;
        fn madvise(start: *mut c_void, length: usize, advice: c_int) -> c_int;
    }
    const PAGE_SIZE: c_int = 30;
    const POPULATE_WRITE: c_int = 23;
    if bytes < LEAST {
        return false;
    }
    // SAFETY: neither looks at memory, and pages that exist stay as they are.
    unsafe {
        let page = sysconf(PAGE_SIZE).max(1) as usize;
        // Whole pages of this run alone.
        let start = (place as usize).div_ceil(page) * page;
        let end = (place as usize + bytes) / page * page;
        if start >= end {
            return false;
        }
        let mut state = 1u8;
        if mincore(start as *mut c_void, page, &mut state) != 0 || state & 1 == 1 {
            return false;
        }
        madvise(start as *mut c_void, end - start, POPULATE_WRITE);
        true
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub fn fetched(_place: *mut u8, _bytes: usize) -> bool {
    false
}
