//! Class labels, checked once.

use crate::{Error, Result};

/// Class indices that are known to lie below their class count.
///
/// ```
/// use softlabel_core::Labels;
/// let labels = Labels::new(&[0u8, 2, 2], 3)?;
/// assert_eq!(labels.counts(), [1, 0, 2]);
/// # Ok::<(), softlabel_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    pub(crate) values: Vec<u32>,
    pub(crate) classes: usize,
}

impl Labels {
    /// Checks `values` against the class count; any integer type will do.
    ///
    /// # Errors
    /// - [`Error::LabelOutOfRange`] with the first label that is negative or not below `classes`.
    /// - [`Error::OutOfRange`] if `classes` is 0 or more than `u32` can count.
    pub fn new<T: Copy + TryInto<i64>>(values: &[T], classes: usize) -> Result<Self> {
        let limit =
            u32::try_from(classes).ok().filter(|&limit| limit > 0).ok_or(Error::OutOfRange {
                name: "class count",
                expected: "in 1..=4294967295",
                found: classes as f64,
            })?;
        let checked = |(position, &value): (usize, &T)| {
            // What does not fit an i64 is far above any class count.
            let found: i64 = value.try_into().unwrap_or(i64::MAX);
            u32::try_from(found).ok().filter(|&label| label < limit).ok_or(Error::LabelOutOfRange {
                position,
                found,
                classes,
            })
        };
        let values = values.iter().enumerate().map(checked).collect::<Result<_>>()?;
        Ok(Self { values, classes })
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// K, the number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The labels as indices, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = usize> + Clone + '_ {
        self.values.iter().map(|&label| label as usize)
    }

    /// The labels as they are stored.
    pub fn as_slice(&self) -> &[u32] {
        &self.values
    }

    /// How often each class occurs.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        for label in self.iter() {
            counts[label] += 1;
        }
        counts
    }

    /// The labels at `positions`, in that order.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if a position is not below [`len`](Self::len).
    pub fn select(&self, positions: &[usize]) -> Result<Self> {
        let pick = |&position: &usize| {
            self.values.get(position).copied().ok_or(Error::OutOfRange {
                name: "position",
                expected: "below the number of labels",
                found: position as f64,
            })
        };
        let values = positions.iter().map(pick).collect::<Result<_>>()?;
        Ok(Self { values, classes: self.classes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bad_label_is_named() {
        let error = Labels::new(&[0i64, 5, -1], 3).unwrap_err();
        assert_eq!(error, Error::LabelOutOfRange { position: 1, found: 5, classes: 3 });
        let error = Labels::new(&[0i64, -1], 3).unwrap_err();
        assert_eq!(error, Error::LabelOutOfRange { position: 1, found: -1, classes: 3 });
        assert!(Labels::new(&[u64::MAX], 3).is_err());
    }

    #[test]
    fn class_count_must_be_positive() {
        assert!(matches!(Labels::new::<i64>(&[], 0), Err(Error::OutOfRange { .. })));
        assert!(Labels::new::<i64>(&[], 1).unwrap().is_empty());
    }

    #[test]
    fn selecting_keeps_order_and_checks_range() {
        let labels = Labels::new(&[3u8, 1, 2], 4).unwrap();
        assert_eq!(labels.select(&[2, 0]).unwrap().as_slice(), [2, 3]);
        assert!(labels.select(&[3]).is_err());
    }
}
