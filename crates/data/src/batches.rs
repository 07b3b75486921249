//! The order in which an epoch sees its samples.
//!
//! Orders are permutations of 0..n, positions in a [`Subset`](crate::Subset); each (seed, epoch) has its own, so that
//! training resumed at epoch e sees what uninterrupted training would have seen.

use std::num::NonZeroUsize;

use rand::seq::SliceRandom;

use crate::seed;

/// The positions 0..n in the order of one epoch.
///
/// The same for the same arguments on every machine; independent between epochs and between seeds.
///
/// ```
/// let order = softlabel_data::epoch_order(5, 42, 0);
/// assert_ne!(order, softlabel_data::epoch_order(5, 42, 1));
/// let mut sorted = order;
/// sorted.sort_unstable();
/// assert_eq!(sorted, [0, 1, 2, 3, 4]);
/// ```
pub fn epoch_order(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut generator = seed::stream(seed, seed::ORDER);
    generator.set_stream(epoch);
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut generator);
    order
}

/// [`epoch_order`] cut into batches; the last one may be smaller. No batches if `n` is 0.
///
/// ```
/// use std::num::NonZeroUsize;
/// let four = NonZeroUsize::new(4).unwrap();
/// let batches = softlabel_data::batches(10, four, 42, 0);
/// assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
/// assert_eq!(batches.concat(), softlabel_data::epoch_order(10, 42, 0));
/// ```
pub fn batches(n: usize, batch_size: NonZeroUsize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    epoch_order(n, seed, epoch).chunks(batch_size.get()).map(<[usize]>::to_vec).collect()
}
