//! A look at all labels before any is used.

use super::dispatch::Instructions;

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
    let limit = classes as u64;
    match Instructions::current() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: only instructions that are available are ever chosen.
        #[allow(unsafe_code)]
        Instructions::Avx512 => unsafe { x86::tally_avx512(labels, limit, ignore_index) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        #[allow(unsafe_code)]
        Instructions::Avx2 => unsafe { x86::tally_avx2(labels, limit, ignore_index) },
        Instructions::Portable => tally(labels, limit, ignore_index),
    }
}

/// Without branches, which vectorizes.
#[inline(always)]
#[allow(clippy::needless_bitwise_bool)]
fn tally(labels: &[i64], limit: u64, ignore_index: Option<i64>) -> LabelTally {
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
    LabelTally { ignored, outside }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use super::{LabelTally, tally};

    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) unsafe fn tally_avx512(
        labels: &[i64],
        limit: u64,
        index: Option<i64>,
    ) -> LabelTally {
        tally(labels, limit, index)
    }

    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn tally_avx2(labels: &[i64], limit: u64, index: Option<i64>) -> LabelTally {
        tally(labels, limit, index)
    }
}
