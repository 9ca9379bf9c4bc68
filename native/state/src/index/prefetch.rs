//! Cache hints: the second of the two places of the crate with `unsafe` code.

/// Bytes of a cache line.
pub(super) const LINE_BYTES: usize = 64;

/// Asks the processor to load `lines` cache lines from `start` on. Never touches the memory, so any
/// address will do. Elsewhere than on `x86_64` it does nothing.
#[inline]
pub(super) fn prefetch<T>(start: *const T, lines: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = start.cast::<i8>().wrapping_add(line * LINE_BYTES);
        // SAFETY: a prefetch is a hint; it neither reads nor faults, whatever the address. SSE is
        // part of every x86_64 processor.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (start, lines, LINE_BYTES);
}
