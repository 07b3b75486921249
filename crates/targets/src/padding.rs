//! Labels of positions of which some do not count: padding of sequences, ignored pixels.

use softlabel_core::{Error as Core, Labels};

use crate::{Error, Result};

/// Labels of positions of which some do not count.
///
/// Padded positions of a batch of sequences and ignored pixels carry an `ignore_index` (libtorch's is −100) in the
/// place of a label. Losses take it as it is; this type is for everything else that is told labels: it hands over the
/// labels that count, and puts what was made of them back between the positions that do not.
///
/// - [`counted`](Self::counted) and [`rows_of`](Self::rows_of) are what accumulators take
///   ([`OnlineLabelSmoothing::update`](crate::OnlineLabelSmoothing::update)): what is ignored is never counted.
/// - [`map`](Self::map) is for what makes labels of labels ([`LabelNoise::corrupt`](crate::LabelNoise::corrupt),
///   [`DisturbLabel::disturb`](crate::DisturbLabel::disturb)): what is ignored stays so, and draws nothing.
/// - [`spread`](Self::spread) is for dense rows ([`FusedTarget::rows`](crate::FusedTarget::rows),
///   [`ZipfSmoothing::rows`](crate::ZipfSmoothing::rows)): an ignored position has a row of zeros, whose cross-entropy
///   and gradient are 0.
///
/// The `ignore_index` may lie inside of `0..classes`: then no position of that class counts.
///
/// ```
/// use softlabel_core::Epsilon;
/// use softlabel_targets::{Convention, LabelNoise, PaddedLabels, Smoothing};
///
/// // Two sequences of up to three tokens, one of them padded.
/// let labels = PaddedLabels::new(&[2, 0, 1, 1, -100, -100], 3, -100)?;
/// assert_eq!((labels.len(), labels.counted().as_slice()), (6, &[2, 0, 1, 1][..]));
///
/// let noise = LabelNoise::symmetric(0.5)?;
/// let observed = labels.map(|counted| noise.corrupt(counted, 7))?;
/// assert_eq!(observed.values()[4..], [-100, -100]);
///
/// let smoothing = Smoothing::new(Epsilon::new(0.3)?, Convention::Mixture);
/// let rows = labels.spread(&smoothing.fused(3)?.rows(labels.counted())?)?;
/// assert_eq!(rows[..3], [0.1, 0.1, 0.8]);
/// assert_eq!(rows[12..], [0.0; 6]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(alias = "ignore_index")]
pub struct PaddedLabels {
    counted: Labels,
    /// Where they stand, ascending.
    positions: Vec<usize>,
    len: usize,
    ignore_index: i64,
}

impl PaddedLabels {
    /// Checks the values that are not `ignore_index` against the class count; any integer type will do.
    ///
    /// # Errors
    /// [`Error::Core`] with the first label that is not below `classes`, and its position among all; for a class count
    /// of 0.
    ///
    /// ```
    /// use softlabel_targets::PaddedLabels;
    /// let error = PaddedLabels::new(&[-100, 3], 3, -100).unwrap_err();
    /// assert_eq!(error.to_string(), "label 3 at position 1 is not in 0..3");
    /// ```
    pub fn new<T: Copy + TryInto<i64>>(
        values: &[T],
        classes: usize,
        ignore_index: i64,
    ) -> Result<Self> {
        let wide = |&value: &T| value.try_into().unwrap_or(i64::MAX);
        let all = values.iter().map(wide).enumerate();
        let (positions, labels): (Vec<usize>, Vec<i64>) =
            all.filter(|(_, label)| *label != ignore_index).unzip();
        let counted = Labels::new(&labels, classes).map_err(|error| match error {
            Core::LabelOutOfRange { position, found, classes } => {
                Core::LabelOutOfRange { position: positions[position], found, classes }
            }
            other => other,
        })?;
        Ok(Self { counted, positions, len: values.len(), ignore_index })
    }

    /// How many positions there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// K, the number of classes.
    pub fn classes(&self) -> usize {
        self.counted.classes()
    }

    /// What stands at the positions that do not count.
    pub fn ignore_index(&self) -> i64 {
        self.ignore_index
    }

    /// The labels that count, in order.
    pub fn counted(&self) -> &Labels {
        &self.counted
    }

    /// Where they stand, ascending.
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// The labels of all positions, as losses take them.
    pub fn values(&self) -> Vec<i64> {
        let mut values = vec![self.ignore_index; self.len];
        for (&position, &label) in self.positions.iter().zip(self.counted.as_slice()) {
            values[position] = label.into();
        }
        values
    }

    /// Other labels at the positions that count.
    ///
    /// # Errors
    /// Those of `of`; [`Error::Core`] if it returns more or fewer labels, or labels of other classes, or one that is
    /// the `ignore_index`.
    ///
    /// ```
    /// use softlabel_core::Labels;
    /// use softlabel_targets::{Error, PaddedLabels};
    /// let labels = PaddedLabels::new(&[0, -1, 1], 2, -1)?;
    /// let swapped = labels.map(|_| Ok::<_, Error>(Labels::new(&[1, 0], 2)?))?;
    /// assert_eq!(swapped.values(), [1, -1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn map<E: From<Error>>(
        &self,
        of: impl FnOnce(&Labels) -> Result<Labels, E>,
    ) -> Result<Self, E> {
        let counted = of(&self.counted)?;
        let shape = |labels: &Labels| format!("{} of {} classes", labels.len(), labels.classes());
        let (expected, found) = (shape(&self.counted), shape(&counted));
        if expected != found {
            return Err(Error::from(Core::mismatch("labels that count", expected, found)).into());
        }
        if counted.iter().any(|label| i64::try_from(label) == Ok(self.ignore_index)) {
            let (name, expected) = ("a label that counts", "none that is ignored");
            let found = self.ignore_index as f64;
            return Err(Error::from(Core::OutOfRange { name, expected, found }).into());
        }
        Ok(Self { counted, ..self.clone() })
    }

    /// The rows of the positions that count, of row-major rows of all positions.
    ///
    /// # Errors
    /// [`Error::Core`] if these are no whole rows, one a position.
    ///
    /// ```
    /// use softlabel_targets::PaddedLabels;
    /// let labels = PaddedLabels::new(&[-100, 1], 2, -100)?;
    /// assert_eq!(labels.rows_of(&[0.5, 0.5, 0.25, 0.75])?, [0.25, 0.75]);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn rows_of<T: Copy>(&self, rows: &[T]) -> Result<Vec<T>> {
        let width = width("rows of all positions", rows.len(), self.len)?;
        let row = |&position: &usize| rows[position * width..(position + 1) * width].iter();
        Ok(self.positions.iter().flat_map(row).copied().collect())
    }

    /// Rows of all positions, of row-major rows of those that count: zeros at the others.
    ///
    /// # Errors
    /// [`Error::Core`] if these are no whole rows, one a position that counts.
    ///
    /// ```
    /// use softlabel_targets::PaddedLabels;
    /// let labels = PaddedLabels::new(&[-100, 1], 2, -100)?;
    /// assert_eq!(labels.spread(&[0.25, 0.75])?, [0.0, 0.0, 0.25, 0.75]);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn spread<T: Copy + Default>(&self, rows: &[T]) -> Result<Vec<T>> {
        let width = width("rows of the positions that count", rows.len(), self.positions.len())?;
        // Of no rows nothing says how wide they would be, but the classes.
        let width = if self.positions.is_empty() { self.classes() } else { width };
        let mut all = vec![T::default(); self.len * width];
        for (row, &position) in self.positions.iter().enumerate() {
            let from = &rows[row * width..(row + 1) * width];
            all[position * width..(position + 1) * width].copy_from_slice(from);
        }
        Ok(all)
    }
}

/// How wide each of some rows is.
fn width(what: &'static str, numbers: usize, rows: usize) -> Result<usize> {
    if rows == 0 && numbers == 0 {
        return Ok(0);
    }
    if rows == 0 || !numbers.is_multiple_of(rows) {
        let (expected, found) = (format!("{rows} rows of the same width"), numbers.to_string());
        return Err(Core::mismatch(what, expected, format!("{found} numbers")).into());
    }
    Ok(numbers / rows)
}
