//! What a metric can be computed from: one trait over the three kinds of prediction.

use softlabel_core::{Error, Labels, LogProbabilities, Logits, Probabilities, Result, Scalar};
use softlabel_kernels::{RowStatistics, softmax_in_place};

mod sealed {
    pub trait Sealed {}
}

/// Predictions of any kind, seen row by row through their [`RowStatistics`].
///
/// Implemented for [`Logits`], [`LogProbabilities`] and [`Probabilities`] of `f32` and `f64`, and
/// for nothing else: what the numbers mean is said by their type.
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
}

macro_rules! predictions {
    ($($name:ident through $from_row:ident and $to_probabilities:expr,)*) => {$(
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
                let row = self.matrix().iter().nth(row).unwrap_or_default();
                probabilities.clear();
                probabilities.extend(row.iter().map(|&value| value.into()));
                let to_probabilities: fn(&mut [f64]) = $to_probabilities;
                to_probabilities(probabilities);
            }
        }
    )*};
}

predictions! {
    Logits through from_logits and |row| softmax_in_place(row),
    LogProbabilities through from_log_probabilities and |row| {
        for value in row {
            *value = value.exp();
        }
    },
    Probabilities through from_probabilities and |_| {},
}

/// Checks that there is one label a row and that both know the same classes.
pub(crate) fn check(predictions: &(impl Predictions + ?Sized), labels: &Labels) -> Result<()> {
    if labels.len() != predictions.rows() {
        let expected = format!("{} rows of predictions", predictions.rows());
        return Err(Error::mismatch("labels", expected, format!("{} labels", labels.len())));
    }
    if labels.classes() != predictions.classes() {
        let expected = format!("{} classes, as the predictions", predictions.classes());
        return Err(Error::mismatch("labels", expected, format!("{} classes", labels.classes())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
