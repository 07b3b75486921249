//! Memory that a thread keeps for its kernels, so that no call pays for fresh pages.

use std::cell::RefCell;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u8; 64]);

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls a function with N pieces of scratch memory for so many numbers each, aligned to cache
/// lines and not cleared.
///
/// The memory stays with the thread. What is called inside must not ask for scratch memory again.
#[inline(always)]
pub(crate) fn with_scratch<A: Copy, const N: usize, R>(
    sizes: [usize; N],
    function: impl FnOnce([*mut A; N]) -> R,
) -> R {
    let lines = sizes.map(|size| (size * size_of::<A>()).div_ceil(64));
    // A line between the pieces, so that they do not fall on the same sets of a cache.
    let total: usize = lines.iter().sum::<usize>() + 3 * N;
    let mut memory = LINES.take();
    if memory.len() < total {
        memory.resize(total, Line([0; 64]));
    }
    let mut next = memory.as_mut_ptr();
    let pieces = lines.map(|size| {
        let piece = next.cast::<A>();
        next = next.wrapping_add(size + 3);
        piece
    });
    let result = function(pieces);
    LINES.set(memory);
    result
}
