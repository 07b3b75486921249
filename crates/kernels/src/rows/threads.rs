//! Rows shared out among threads.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Fewer logits than this are not worth another thread.
const SMALLEST_TASK: usize = 16 * 1024;

/// Rows that a kernel may take at a time.
pub(super) const GROUP: usize = 64;

/// Threads that somebody keeps, who may have kernels run on them.
///
/// What owns the threads of a program already, and has them ready, is the better one to ask: threads of two owners wait
/// for each other's turns.
pub trait Pool: Debug + Sync {
    /// Calls a function on up to `count` threads at the same time, at least once, and returns when all calls have.
    ///
    /// The function does what there is to do together with the other calls of it, and returns when nothing is left; it
    /// does not panic.
    fn run(&self, count: usize, work: &(dyn Fn() + Sync));
}

/// How many threads compute at most, and whose.
///
/// A number is that many of rayon's.
#[derive(Debug, Clone, Copy)]
pub struct Threads {
    count: usize,
    pool: Option<&'static dyn Pool>,
}

impl Threads {
    /// Up to so many of a pool's.
    ///
    /// ```
    /// use softlabel_kernels::rows::{Pool, Threads};
    ///
    /// #[derive(Debug)]
    /// struct OneByOne;
    /// impl Pool for OneByOne {
    ///     fn run(&self, count: usize, work: &(dyn Fn() + Sync)) {
    ///         (0..count).for_each(|_| work());
    ///     }
    /// }
    /// let mut values = [1.0f32; 100_000];
    /// let by = softlabel_kernels::rows::Scale::All(2.0);
    /// softlabel_kernels::rows::scale_rows(&mut values, 10, by, Threads::of(&OneByOne, 3))?;
    /// assert_eq!(values, [2.0; 100_000]);
    /// # Ok::<(), softlabel_kernels::rows::TargetError>(())
    /// ```
    pub fn of(pool: &'static dyn Pool, count: usize) -> Self {
        Threads { count, pool: Some(pool) }
    }
}

impl From<usize> for Threads {
    fn from(count: usize) -> Self {
        Threads { count, pool: None }
    }
}

/// Of how many rows, or fewer at the end, the ranges consist that [`for_ranges`] makes: of whole groups, as many as are
/// computed at a time at most.
pub(crate) const fn unit(columns: usize) -> usize {
    if columns > 4096 { 1 } else { GROUP }
}

/// Calls a function with ranges that together are `0..rows`, on up to so many threads.
///
/// The calling thread is one of them and starts at once.
/// Ranges are small pieces, which each thread takes as it has time, so that all finish at about the same time.
pub(crate) fn for_ranges(
    rows: usize,
    columns: usize,
    threads: Threads,
    function: impl Fn(Range<usize>) + Sync,
) {
    let most = rows.saturating_mul(columns.max(1)).div_ceil(SMALLEST_TASK);
    if threads.count <= 1 || most <= 1 {
        function(0..rows);
        return;
    }
    let unit = unit(columns);
    let units = rows.div_ceil(unit);
    let available =
        if threads.pool.is_some() { usize::MAX } else { rayon::current_num_threads().max(2) };
    let count = threads.count.min(available).min(most).min(units);
    let pieces = (count * 8).min(most).min(units);
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
    match threads.pool {
        Some(pool) => pool.run(count, &work),
        None => rayon::in_place_scope(|scope| {
            for _ in 1..count {
                scope.spawn(|_| work());
            }
            work();
        }),
    }
}
