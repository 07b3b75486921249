//! What a metric can be computed from: one trait over the three kinds of prediction.

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use softlabel_core::{Error, LogProbabilities, Logits, Probabilities, Result, Scalar};
use softlabel_kernels::{RowStatistics, log_softmax_in_place, softmax_in_place};

use crate::{Observed, Weight};

mod sealed {
    pub trait Sealed {}
}

/// Predictions of any kind, seen row by row through their [`RowStatistics`].
///
/// Implemented for [`Logits`], [`LogProbabilities`] and [`Probabilities`] of every
/// [`Scalar`], and for nothing else: what the numbers mean is said by their type.
/// A row at a time is widened to `f64`; there is no copy of them all.
/// The trait is object safe, so a program that learns the kind at run time can hold a
/// `&dyn Predictions`.
///
/// ```
/// use softlabel_core::{Logits, Probabilities};
/// use softlabel_metrics::Predictions;
///
/// let logits = Logits::new(vec![3.0f64.ln(), 0.0], 2)?;
/// let probabilities = Probabilities::new(vec![0.75f64, 0.25], 2)?;
/// for predictions in [&logits as &dyn Predictions, &probabilities] {
///     assert_eq!((predictions.rows(), predictions.classes()), (1, 2));
///     let row = predictions.row_statistics(0, 1).unwrap();
///     assert!((row.label_probability - 0.25).abs() < 1e-15);
/// }
/// # Ok::<(), softlabel_core::Error>(())
/// ```
pub trait Predictions: sealed::Sealed + Send + Sync {
    /// Number of rows, one a sample.
    fn rows(&self) -> usize;

    /// K, the number of classes.
    fn classes(&self) -> usize;

    /// The statistics of a row under a label; `None` if there is no such row or no such class.
    fn row_statistics(&self, row: usize, label: usize) -> Option<RowStatistics>;

    /// Replaces what is in `probabilities` by the K probabilities of a row, in `f64`; empties it if
    /// there is no such row.
    ///
    /// Those of logits are their softmax; probabilities are used as they are.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_metrics::Predictions;
    ///
    /// let mut probabilities = Vec::new();
    /// Logits::new(&[1.0f32, 1.0], 2)?.row_probabilities(0, &mut probabilities);
    /// assert!(probabilities.iter().all(|p| (p - 0.5).abs() < 1e-15));
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    fn row_probabilities(&self, row: usize, probabilities: &mut Vec<f64>);

    /// Replaces what is in `logarithms` by the K logarithms of the probabilities of a row; empties it
    /// if there is no such row.
    ///
    /// Those of logits are their log-softmax, never the logarithm of a rounded probability.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_metrics::Predictions;
    ///
    /// let mut logarithms = Vec::new();
    /// Logits::new(&[0.0f32, -2000.0], 2)?.row_log_probabilities(0, &mut logarithms);
    /// assert_eq!(logarithms, [0.0, -2000.0]);
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    fn row_log_probabilities(&self, row: usize, logarithms: &mut Vec<f64>);

    /// Both [`row_statistics`](Self::row_statistics) and
    /// [`row_probabilities`](Self::row_probabilities), in one look at the row and in vectors.
    ///
    /// `None`, with `probabilities` empty, if there is no such row or no such class.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_metrics::Predictions;
    ///
    /// let mut probabilities = Vec::new();
    /// let logits = Logits::new(&[0.0f32, 0.0], 2)?;
    /// let row = logits.statistics_and_probabilities(0, 1, &mut probabilities).unwrap();
    /// assert_eq!((row.confidence, row.label), (0.5, 1));
    /// assert_eq!(probabilities, [0.5, 0.5]);
    /// # Ok::<(), softlabel_core::Error>(())
    /// ```
    fn statistics_and_probabilities(
        &self,
        row: usize,
        label: usize,
        probabilities: &mut Vec<f64>,
    ) -> Option<RowStatistics>;

    /// Whether these are unnormalized scores, which alone have an energy.
    fn are_logits(&self) -> bool;
}

/// Replaces what is in `wide` by the values of a row, if there is one.
fn widen<'a, T: Scalar>(mut rows: impl Iterator<Item = &'a [T]>, row: usize, wide: &mut Vec<f64>) {
    let row = rows.nth(row).unwrap_or_default();
    wide.resize(row.len(), 0.0);
    T::widen(row, wide);
}

fn exponentials(row: &mut [f64]) {
    for value in row {
        *value = value.exp();
    }
}

macro_rules! predictions {
    ($($name:ident: $from_row:ident, probabilities: $probabilities:expr, logarithms: $logarithms:expr,
       both: $both:expr, logits: $logits:literal;)*) => {$(
        impl<T: Scalar> sealed::Sealed for $name<'_, T> {}

        impl<T: Scalar> Predictions for $name<'_, T> {
            fn rows(&self) -> usize {
                self.matrix().rows()
            }

            fn classes(&self) -> usize {
                self.matrix().classes()
            }

            fn row_statistics(&self, row: usize, label: usize) -> Option<RowStatistics> {
                RowStatistics::$from_row(self.matrix().iter().nth(row)?, label)
            }

            fn row_probabilities(&self, row: usize, probabilities: &mut Vec<f64>) {
                widen(self.matrix().iter(), row, probabilities);
                let to_probabilities: fn(&mut [f64]) = $probabilities;
                to_probabilities(probabilities);
            }

            fn row_log_probabilities(&self, row: usize, logarithms: &mut Vec<f64>) {
                widen(self.matrix().iter(), row, logarithms);
                let to_logarithms: fn(&mut [f64]) = $logarithms;
                to_logarithms(logarithms);
            }

            fn statistics_and_probabilities(
                &self,
                row: usize,
                label: usize,
                probabilities: &mut Vec<f64>,
            ) -> Option<RowStatistics> {
                widen(self.matrix().iter(), row, probabilities);
                let both: fn(&mut [f64], usize) -> Option<RowStatistics> = $both;
                let statistics = both(probabilities, label);
                if statistics.is_none() {
                    probabilities.clear();
                }
                statistics
            }

            fn are_logits(&self) -> bool {
                $logits
            }
        }
    )*};
}

predictions! {
    Logits: from_logits,
        probabilities: |row| softmax_in_place(row),
        logarithms: |row| log_softmax_in_place(row),
        both: |row, label| RowStatistics::from_logits_in_place(row, label),
        logits: true;
    LogProbabilities: from_log_probabilities,
        probabilities: |row| exponentials(row),
        logarithms: |_| {},
        both: |row, label| {
            let statistics = RowStatistics::from_log_probabilities(row, label);
            exponentials(row);
            statistics
        },
        logits: false;
    Probabilities: from_probabilities,
        probabilities: |_| {},
        logarithms: |row| {
            for value in row {
                *value = value.ln();
            }
        },
        both: |row, label| RowStatistics::from_probabilities(row, label),
        logits: false;
}

/// Checks that there is one label a row and that both know the same classes.
pub(crate) fn check(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<()> {
    if labels.rows() != predictions.rows() {
        let expected = format!("{} rows of predictions", predictions.rows());
        return Err(Error::mismatch("labels", expected, format!("{} labels", labels.rows())));
    }
    if labels.classes() != predictions.classes() {
        let expected = format!("{} classes, as the predictions", predictions.classes());
        return Err(Error::mismatch("labels", expected, format!("{} classes", labels.classes())));
    }
    Ok(())
}

/// Checks that predictions and labels fit, then gives every row that counts to `each`: its statistics,
/// its weight and its probabilities.
pub(crate) fn for_each_row(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    each: impl FnMut(&RowStatistics, Weight, &[f64]),
) -> Result<()> {
    check(predictions, labels)?;
    for_rows(predictions, labels, 0..predictions.rows(), each)
}

/// Rows that are looked at together by one thread.
pub(crate) const BLOCK: usize = 16_384;

/// Checks that predictions and labels fit, then gives the rows that count to copies of `empty`, one a block of rows, in
/// parallel; in the order of the blocks.
pub(crate) fn in_blocks<P: Clone + Send + Sync>(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    empty: &P,
    add: impl Fn(&mut P, &RowStatistics, Weight, &[f64]) + Sync,
) -> Result<Vec<P>> {
    check(predictions, labels)?;
    let block = |block: usize| {
        let start = block * BLOCK;
        let mut part = empty.clone();
        let rows = start..predictions.rows().min(start + BLOCK);
        for_rows(predictions, labels, rows, |row, weight, probabilities| {
            add(&mut part, row, weight, probabilities);
        })?;
        Ok(part)
    };
    (0..predictions.rows().div_ceil(BLOCK)).into_par_iter().map(block).collect()
}

/// The same for a part of the rows, of predictions and labels that fit.
pub(crate) fn for_rows(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    rows: std::ops::Range<usize>,
    mut each: impl FnMut(&RowStatistics, Weight, &[f64]),
) -> Result<()> {
    let classes = predictions.classes();
    let mut probabilities = Vec::with_capacity(classes);
    for position in rows {
        let Some((label, weight)) = labels.observation(position) else { continue };
        let row = predictions.statistics_and_probabilities(position, label, &mut probabilities);
        // What `check` and the types leave out: it never happens, and is no panic if it does.
        let found = i64::try_from(label).unwrap_or(i64::MAX);
        let row = row.ok_or(Error::LabelOutOfRange { position, found, classes })?;
        each(&row, weight, &probabilities);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use softlabel_core::Labels;

    use super::*;

    #[test]
    fn shapes_must_fit() {
        let logits = Logits::new(&[0.0f32; 6], 3).unwrap();
        assert!(check(&logits, &Labels::new(&[0, 1], 3).unwrap()).is_ok());
        let error = check(&logits, &Labels::new(&[0], 3).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "labels: expected 2 rows of predictions, found 1 labels");
        let error = check(&logits, &Labels::new(&[0, 1], 2).unwrap()).unwrap_err();
        let expected = "labels: expected 3 classes, as the predictions, found 2 classes";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn rows_outside_have_no_statistics() {
        let logits = Logits::new(&[0.0f32; 6], 3).unwrap();
        assert!(logits.row_statistics(1, 2).is_some());
        assert!(logits.row_statistics(2, 0).is_none());
        assert!(logits.row_statistics(0, 3).is_none());
        let mut probabilities = vec![0.5; 7];
        logits.row_probabilities(1, &mut probabilities);
        assert_eq!(probabilities.len(), 3);
        logits.row_probabilities(2, &mut probabilities);
        assert!(probabilities.is_empty());
    }
}
