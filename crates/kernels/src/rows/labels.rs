//! A look at labels before any of them is used.

use super::dispatch::{Instructions, Kernel};
use super::element::sealed::Launch;
use super::vector::{Lanes, Write};

/// What was found among labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LabelTally {
    /// How many are the index of rows to ignore.
    pub ignored: usize,
    /// How many are no class and not that index either.
    pub outside: usize,
}

/// Counts the labels that are ignored, and those that are outside of `0..classes`.
///
/// ```
/// use softlabel_kernels::rows::{LabelTally, tally_labels};
///
/// let tally = tally_labels(&[0, 9, -100, 10], 10, Some(-100));
/// assert_eq!(tally, LabelTally { ignored: 1, outside: 1 });
/// // An index that is a class is ignored, not used.
/// assert_eq!(tally_labels(&[0, 9], 10, Some(0)), LabelTally { ignored: 1, outside: 0 });
/// ```
pub fn tally_labels(labels: &[i64], classes: usize, ignore_index: Option<i64>) -> LabelTally {
    let mut tally = LabelTally::default();
    let count = Count { labels, limit: classes as u64, ignore_index, tally: &mut tally };
    f64::launch(Instructions::current(), count);
    tally
}

/// Labels to look at, and where it goes.
struct Count<'a> {
    labels: &'a [i64],
    limit: u64,
    ignore_index: Option<i64>,
    tally: &'a mut LabelTally,
}

impl Kernel<f64> for Count<'_> {
    /// Without branches, which vectorizes.
    #[inline(always)]
    #[allow(clippy::needless_bitwise_bool)]
    fn run<V: Lanes<Scalar = f64> + Write<f64>>(self) {
        let Self { labels, limit, ignore_index, tally } = self;
        let (mut ignored, mut outside) = (0, 0);
        match ignore_index {
            None => {
                for label in labels {
                    outside += usize::from(label.cast_unsigned() >= limit);
                }
            }
            Some(index) => {
                for label in labels {
                    let is_ignored = *label == index;
                    ignored += usize::from(is_ignored);
                    outside += usize::from((label.cast_unsigned() >= limit) & !is_ignored);
                }
            }
        }
        *tally = LabelTally { ignored, outside };
    }
}
