//! Class labels of which some are ignored: padding of sequences, unlabelled pixels.

use crate::{Error, Labels, Result};

/// Class indices below their class count at the positions that count; the others hold the ignore index and count for
/// nothing.
///
/// The ignore index may lie outside 0..K, as PyTorch's −100, or be a class.
/// What takes labels of either kind takes [`ClassLabels`].
///
/// ```
/// use softlabel_core::MaskedLabels;
/// let labels = MaskedLabels::new(&[2, -100, 0], 3, -100)?;
/// assert_eq!((labels.len(), labels.counted()), (3, 2));
/// assert_eq!(labels.iter().collect::<Vec<_>>(), [Some(2), None, Some(0)]);
/// assert_eq!(labels.to_vec(), [2, -100, 0]);
///
/// let wrong = MaskedLabels::new(&[2, -1, 0], 3, -100).unwrap_err();
/// assert_eq!(wrong.to_string(), "label -1 at position 1 is not in 0..3");
/// # Ok::<(), softlabel_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedLabels {
    values: Vec<Option<u32>>,
    classes: usize,
    ignore_index: i64,
}

impl MaskedLabels {
    /// Checks all `values` but those that are the ignore index; any integer type will do.
    ///
    /// # Errors
    /// - [`Error::LabelOutOfRange`] with the first label that is neither ignored nor in `0..classes`.
    /// - [`Error::OutOfRange`] if `classes` is 0 or more than `u32` can count.
    pub fn new<T: Copy + TryInto<i64>>(
        values: &[T],
        classes: usize,
        ignore_index: i64,
    ) -> Result<Self> {
        let is_ignored = |&value: &T| value.try_into().is_ok_and(|value| value == ignore_index);
        // An ignored position is checked as class 0, which there is.
        let filled: Vec<i64> = values
            .iter()
            .map(
                |value| if is_ignored(value) { 0 } else { (*value).try_into().unwrap_or(i64::MAX) },
            )
            .collect();
        let labels = Labels::new(&filled, classes)?;
        let each = values.iter().zip(labels.as_slice());
        let values = each.map(|(value, &label)| (!is_ignored(value)).then_some(label)).collect();
        Ok(Self { values, classes, ignore_index })
    }

    /// How many positions there are, ignored ones included.
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

    /// What stands at the positions that count for nothing.
    pub fn ignore_index(&self) -> i64 {
        self.ignore_index
    }

    /// How many positions count.
    pub fn counted(&self) -> usize {
        self.values.iter().flatten().count()
    }

    /// The labels as indices, in order; nothing where a position is ignored.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<usize>> + Clone + '_ {
        self.values.iter().map(|label| label.map(|label| label as usize))
    }

    /// The labels with the ignore index where they are ignored, as losses take them.
    pub fn to_vec(&self) -> Vec<i64> {
        self.values.iter().map(|label| label.map_or(self.ignore_index, i64::from)).collect()
    }

    /// The positions that count, and their labels: for what takes the counted rows alone.
    ///
    /// ```
    /// use softlabel_core::MaskedLabels;
    /// let (positions, labels) = MaskedLabels::new(&[2, -100, 0], 3, -100)?.split();
    /// assert_eq!((positions, labels.as_slice()), (vec![0, 2], &[2, 0][..]));
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    pub fn split(&self) -> (Vec<usize>, Labels) {
        let each = self.values.iter().enumerate();
        let (positions, values) =
            each.filter_map(|(position, label)| Some((position, (*label)?))).unzip();
        (positions, Labels { values, classes: self.classes })
    }
}

/// Labels of which some may be ignored: [`Labels`], of which none is, and [`MaskedLabels`].
pub trait ClassLabels: Clone + sealed::Sealed {
    /// K, the number of classes.
    fn classes(&self) -> usize;

    /// The class of each position; nothing where it is ignored.
    fn each(&self) -> impl ExactSizeIterator<Item = Option<usize>> + Clone + '_;

    /// The class that no label can be, because it is the ignore index.
    ///
    /// ```
    /// use softlabel_core::{ClassLabels, MaskedLabels};
    /// assert_eq!(MaskedLabels::new(&[0, 2, 1], 3, 2)?.ignored_class(), Some(2));
    /// assert_eq!(MaskedLabels::new(&[0, -100, 1], 3, -100)?.ignored_class(), None);
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    fn ignored_class(&self) -> Option<usize>;

    /// Other classes in the same positions; what is ignored stays so, whatever `classes` has there.
    ///
    /// # Errors
    /// A mismatch if there are not as many, [`Error::LabelOutOfRange`] with the first that is not in 0..K,
    /// [`Error::OutOfRange`] if one that counts would be the ignore index, where that is a class.
    ///
    /// ```
    /// use softlabel_core::{ClassLabels, MaskedLabels};
    /// let labels = MaskedLabels::new(&[0, -100, 1], 3, -100)?;
    /// assert_eq!(labels.relabelled(&[2, 2, 2])?.to_vec(), [2, -100, 2]);
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    fn relabelled(&self, classes: &[usize]) -> Result<Self>;

    /// The labels at `positions`, in that order.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if there is no such position.
    fn at(&self, positions: &[usize]) -> Result<Self>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::Labels {}
    impl Sealed for super::MaskedLabels {}
}

fn check_count(expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::mismatch("other classes of labels", expected.to_string(), found.to_string()))
}

impl ClassLabels for Labels {
    fn classes(&self) -> usize {
        self.classes()
    }

    fn each(&self) -> impl ExactSizeIterator<Item = Option<usize>> + Clone + '_ {
        self.iter().map(Some)
    }

    fn ignored_class(&self) -> Option<usize> {
        None
    }

    fn relabelled(&self, classes: &[usize]) -> Result<Self> {
        check_count(self.len(), classes.len())?;
        Self::new(classes, self.classes())
    }

    fn at(&self, positions: &[usize]) -> Result<Self> {
        self.select(positions)
    }
}

impl ClassLabels for MaskedLabels {
    fn classes(&self) -> usize {
        self.classes
    }

    fn each(&self) -> impl ExactSizeIterator<Item = Option<usize>> + Clone + '_ {
        self.iter()
    }

    fn ignored_class(&self) -> Option<usize> {
        usize::try_from(self.ignore_index).ok().filter(|&class| class < self.classes)
    }

    fn relabelled(&self, classes: &[usize]) -> Result<Self> {
        check_count(self.len(), classes.len())?;
        let each = self.values.iter().zip(classes);
        let checked = each.map(|(old, &class)| if old.is_some() { class } else { 0 });
        let labels = Labels::new(&checked.collect::<Vec<_>>(), self.classes)?;
        let becomes_ignored = |(old, &new): (&Option<u32>, &u32)| {
            old.is_some() && i64::from(new) == self.ignore_index
        };
        if self.values.iter().zip(labels.as_slice()).any(becomes_ignored) {
            let (name, expected) = ("the class of a label that counts", "not the ignore index");
            let found = self.ignore_index as f64;
            return Err(Error::OutOfRange { name, expected, found });
        }
        let each = self.values.iter().zip(labels.as_slice());
        Ok(Self { values: each.map(|(old, &new)| old.map(|_| new)).collect(), ..*self })
    }

    fn at(&self, positions: &[usize]) -> Result<Self> {
        let pick = |&position: &usize| {
            self.values.get(position).copied().ok_or(Error::OutOfRange {
                name: "position",
                expected: "below the number of labels",
                found: position as f64,
            })
        };
        Ok(Self { values: positions.iter().map(pick).collect::<Result<_>>()?, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignore_index_may_be_a_class() {
        let labels = MaskedLabels::new(&[0u8, 1, 2], 3, 0).unwrap();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [None, Some(1), Some(2)]);
        let (positions, counted) = labels.split();
        assert_eq!(
            (positions.as_slice(), counted.as_slice()),
            ([1, 2].as_slice(), [1, 2].as_slice())
        );
        // 255 of an u8 is no −1.
        assert!(MaskedLabels::new(&[255u8], 3, -1).is_err());
    }

    #[test]
    fn bad_labels_are_named_where_they_stand() {
        let error = MaskedLabels::new(&[-100i64, 5], 3, -100).unwrap_err();
        assert_eq!(error, Error::LabelOutOfRange { position: 1, found: 5, classes: 3 });
        assert!(MaskedLabels::new(&[u64::MAX], 3, -1).is_err());
        assert!(MaskedLabels::new(&[-100], 0, -100).is_err());
        assert_eq!(MaskedLabels::new(&[-100], 1, -100).unwrap().counted(), 0);
    }

    #[test]
    fn other_classes_and_other_positions() {
        let labels = MaskedLabels::new(&[0, -1, 1], 3, -1).unwrap();
        // What is ignored is not looked at.
        assert_eq!(labels.relabelled(&[1, 9, 0]).unwrap().to_vec(), [1, -1, 0]);
        assert!(labels.relabelled(&[1, 0, 9]).is_err());
        assert!(labels.relabelled(&[1, 0]).is_err());
        let class = MaskedLabels::new(&[0, 1, 2], 3, 1).unwrap();
        let error = class.relabelled(&[1, 1, 2]).unwrap_err().to_string();
        assert!(error.contains("not the ignore index, found 1"), "{error}");
        assert_eq!(labels.at(&[2, 1, 1]).unwrap().to_vec(), [1, -1, -1]);
        assert!(labels.at(&[3]).is_err());
    }
}
