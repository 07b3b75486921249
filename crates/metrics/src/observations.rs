//! What happened: labels, and which rows count how much.

use softlabel_core::{Error, Labels, Result};

use crate::Weight;

mod sealed {
    pub trait Sealed {}
}

/// What was observed of every row: its label and its weight, or that it does not count.
///
/// Implemented for [`Labels`], whose rows all count alike, for [`Observations`], and for references to
/// both.
pub trait Observed: sealed::Sealed + Sync {
    /// Number of rows, those that do not count included.
    fn rows(&self) -> usize;

    /// K, the number of classes.
    fn classes(&self) -> usize;

    /// The label and the weight of a row; `None` if it does not count, or if there is no such row.
    fn observation(&self, row: usize) -> Option<(usize, Weight)>;
}

impl<T: Observed + ?Sized> sealed::Sealed for &T {}

impl<T: Observed + ?Sized> Observed for &T {
    fn rows(&self) -> usize {
        (**self).rows()
    }

    fn classes(&self) -> usize {
        (**self).classes()
    }

    fn observation(&self, row: usize) -> Option<(usize, Weight)> {
        (**self).observation(row)
    }
}

impl sealed::Sealed for Labels {}

impl Observed for Labels {
    fn rows(&self) -> usize {
        self.len()
    }

    fn classes(&self) -> usize {
        Labels::classes(self)
    }

    fn observation(&self, row: usize) -> Option<(usize, Weight)> {
        self.as_slice().get(row).map(|&label| (label as usize, Weight::ONE))
    }
}

/// Labels with sample weights, some of which may be marked as not to be counted.
///
/// A row whose label is the `ignore_index`, or whose weight is 0, is left out of everything: of
/// every sum, of the number of samples, of every bin. What its prediction says does not matter.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Observations, accuracy};
///
/// let probabilities = Probabilities::new(&[0.75f32, 0.25, 0.75, 0.25, 0.75, 0.25], 2)?;
/// // The first is right, the second wrong, the third unknown.
/// let observations = Observations::with_ignored(&[0i64, 1, -100], 2, -100)?;
/// assert_eq!(accuracy(&probabilities, &observations)?, 0.5);
/// let weighted = observations.weighted(&[3.0, 1.0, 1.0])?;
/// assert_eq!(accuracy(&probabilities, &weighted)?, 0.75);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[doc(alias("sample_weight", "ignore_index"))]
pub struct Observations {
    classes: usize,
    rows: Vec<Option<(u32, Weight)>>,
}

impl Observations {
    /// Labels of which those that equal `ignore_index` do not count, whatever else it is.
    ///
    /// # Errors
    /// [`Error::LabelOutOfRange`] for any other label that is negative or not below `classes`,
    /// [`Error::OutOfRange`] if `classes` is 0 or more than `u32` can count.
    ///
    /// ```
    /// use softlabel_metrics::Observations;
    /// let observations = Observations::with_ignored(&[0u8, 255, 1], 2, 255)?;
    /// assert_eq!((observations.counted(), observations.len()), (2, 3));
    /// let error = Observations::with_ignored(&[0i64, 5], 2, -100).unwrap_err();
    /// assert_eq!(error.to_string(), "label 5 at position 1 is not in 0..2");
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn with_ignored<T: Copy + TryInto<i64>>(
        labels: &[T],
        classes: usize,
        ignore_index: i64,
    ) -> Result<Self> {
        // Checks the class count.
        Labels::new::<i64>(&[], classes)?;
        let row = |(position, &label): (usize, &T)| {
            // What does not fit an i64 is far above any class count.
            let found: i64 = label.try_into().unwrap_or(i64::MAX);
            if found == ignore_index {
                return Ok(None);
            }
            let label = u32::try_from(found).ok().filter(|&label| (label as usize) < classes);
            let label = label.ok_or(Error::LabelOutOfRange { position, found, classes })?;
            Ok(Some((label, Weight::ONE)))
        };
        let rows = labels.iter().enumerate().map(row).collect::<Result<_>>()?;
        Ok(Self { classes, rows })
    }

    /// The same with a weight a row; a row of weight 0 does not count.
    ///
    /// Weights of rows that do not count anyway are checked too.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is not one weight a row, [`Error::OutOfRange`] for NaN, a
    /// negative or an infinite weight.
    ///
    /// ```
    /// use softlabel_core::Labels;
    /// use softlabel_metrics::Observations;
    /// let observations = Observations::from(Labels::new(&[0, 1], 2)?);
    /// assert_eq!(observations.clone().weighted(&[1.0, 0.0])?.counted(), 1);
    /// assert!(observations.weighted(&[1.0, -1.0]).is_err());
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn weighted(mut self, weights: &[f64]) -> Result<Self> {
        if weights.len() != self.rows.len() {
            let expected = format!("{} rows", self.rows.len());
            return Err(Error::mismatch("weights", expected, format!("{} weights", weights.len())));
        }
        for (row, &weight) in self.rows.iter_mut().zip(weights) {
            let weight = weight_or_nothing(weight)?;
            *row = row.zip(weight).map(|((label, _), weight)| (label, weight));
        }
        Ok(self)
    }

    /// Number of rows, those that do not count included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of rows that count.
    pub fn counted(&self) -> usize {
        self.rows.iter().flatten().count()
    }
}

/// The weight, or `None` for 0.
pub(crate) fn weight_or_nothing(weight: f64) -> Result<Option<Weight>> {
    if weight == 0.0 {
        return Ok(None);
    }
    let negative = |_| Error::OutOfRange {
        name: "weight",
        expected: "finite and not negative",
        found: weight,
    };
    Weight::new(weight).map(Some).map_err(negative)
}

impl From<Labels> for Observations {
    fn from(labels: Labels) -> Self {
        let rows = labels.as_slice().iter().map(|&label| Some((label, Weight::ONE))).collect();
        Self { classes: labels.classes(), rows }
    }
}

impl sealed::Sealed for Observations {}

impl Observed for Observations {
    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn observation(&self, row: usize) -> Option<(usize, Weight)> {
        let (label, weight) = (*self.rows.get(row)?)?;
        Some((label as usize, weight))
    }
}
