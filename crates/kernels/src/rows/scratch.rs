//! Memory that a thread keeps for its kernels, so that no call pays for fresh pages.

use std::cell::RefCell;

/// A cache line; what is in it is only looked at through pointers.
#[derive(Clone, Copy)]
#[allow(dead_code)]
#[repr(align(64))]
struct Line([u8; 64]);

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// N pieces of scratch memory, aligned to cache lines and not cleared.
///
/// The memory goes back to the thread when this is dropped; only one at a time is cheap.
pub(crate) struct Scratch<A, const N: usize> {
    memory: Vec<Line>,
    pub(crate) pieces: [*mut A; N],
}

impl<A: Copy, const N: usize> Scratch<A, N> {
    /// Pieces for so many numbers each.
    #[inline(never)]
    pub(crate) fn take(sizes: [usize; N]) -> Self {
        let lines = sizes.map(|size| (size * size_of::<A>()).div_ceil(64));
        // Some lines between the pieces, so that they do not fall on the same sets of a cache.
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
        Scratch { memory, pieces }
    }
}

impl<A, const N: usize> Drop for Scratch<A, N> {
    fn drop(&mut self) {
        LINES.set(std::mem::take(&mut self.memory));
    }
}
