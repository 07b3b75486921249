//! Rows shared out among threads.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Fewer logits than this are not worth another thread.
const SMALLEST_TASK: usize = 16 * 1024;

/// Rows that a kernel may take at a time.
const GROUP: usize = 64;

/// Calls a function with ranges that together are `0..rows`, on up to so many threads.
///
/// The calling thread is one of them and starts at once; the others are rayon's.
/// Ranges are small pieces, which each thread takes as it has time, so that all finish at about the same time.
pub(crate) fn for_ranges(
    rows: usize,
    columns: usize,
    threads: usize,
    function: impl Fn(Range<usize>) + Sync,
) {
    let most = rows.saturating_mul(columns.max(1)).div_ceil(SMALLEST_TASK);
    if threads <= 1 || most <= 1 {
        function(0..rows);
        return;
    }
    // Whole groups of rows, as many as are computed at a time at most.
    let (unit, units) = if columns > 4096 { (1, rows) } else { (GROUP, rows.div_ceil(GROUP)) };
    let threads = threads.min(rayon::current_num_threads().max(2)).min(most).min(units);
    let pieces = (threads * 8).min(most).min(units);
    let range = |piece: usize| {
        let edge = |piece: usize| {
            let edge = (units as u128 * piece as u128 / pieces as u128) as usize;
            rows.min(edge * unit)
        };
        edge(piece)..edge(piece + 1)
    };
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= pieces {
                break;
            }
            function(range(piece));
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| work());
        }
        work();
    });
}
