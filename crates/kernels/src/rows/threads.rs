//! Rows shared out among threads.

use std::ops::Range;

use rayon::prelude::*;

/// Fewer logits than this are not worth another thread.
const SMALLEST_TASK: usize = 16 * 1024;

/// Rows that a kernel may take at a time.
const GROUP: usize = 64;

/// Calls a function with ranges that together are `0..rows`, on up to so many threads.
///
/// With one thread, or little to do, on the calling thread; otherwise in rayon's pool: if it has no
/// more threads than asked for, in small pieces so that all finish at about the same time, else in
/// as many pieces as threads are asked for.
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
    let pool = rayon::current_num_threads();
    let wanted = if threads >= pool { pool * 8 } else { threads };
    // Whole groups of rows, as many as are computed at a time at most.
    let groups = rows.div_ceil(GROUP);
    let (unit, units) = if columns > 4096 { (1, rows) } else { (GROUP, groups) };
    let pieces = wanted.min(most).min(units);
    let range = |piece: usize| {
        let edge = |piece: usize| {
            let edge = (units as u128 * piece as u128 / pieces as u128) as usize;
            rows.min(edge * unit)
        };
        edge(piece)..edge(piece + 1)
    };
    (0..pieces).into_par_iter().with_max_len(1).for_each(|piece| function(range(piece)));
}
