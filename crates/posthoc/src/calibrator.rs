//! What all maps have in common.

use rayon::prelude::*;
use softlabel_core::{Labels, LogProbabilities, Logits, Scalar};
use softlabel_kernels::log_softmax_in_place;

use crate::{Error, FitDiagnostics, Result};

/// A thread takes at least so many values.
const LEAST: usize = 1 << 13;

/// A fitted map from logits to calibrated log-probabilities.
///
/// Log-probabilities, because their rounding loses nothing near 0 and 1; a class with the logit −∞
/// has the probability 0 under every map.
///
/// ```
/// use softlabel_core::{Logits, Temperature};
/// use softlabel_posthoc::{Calibrator, Error, TemperatureScaling};
///
/// let halving = TemperatureScaling::from_temperature(Temperature::new(2.0)?, 2)?;
/// let calibrated = halving.apply(&Logits::new(vec![2.0 * 3.0f64.ln(), 0.0], 2)?)?;
/// assert!((calibrated.as_slice()[0].exp() - 0.75).abs() < 1e-15);
///
/// let error = halving.apply(&Logits::new(&[0.0f32; 3], 3)?).unwrap_err();
/// assert!(matches!(error, Error::ClassCount { expected: 2, found: 3 }));
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
pub trait Calibrator {
    /// K, the number of classes that the map is for.
    fn classes(&self) -> usize;

    /// How the fit went; `None` of a map that was made from given parameters.
    fn diagnostics(&self) -> Option<&FitDiagnostics>;

    /// The calibrated log-probabilities of every row of `logits`.
    ///
    /// # Errors
    /// [`Error::ClassCount`] if the logits are of another number of classes;
    /// [`Error::ImpossibleClass`] if one is −∞ and the map is a matrix, which says so.
    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>>;
}

/// Makes a map with its `classes`, its `diagnostics` and a method `calibrated`, which gives the
/// log-probabilities row by row, a [`Calibrator`].
macro_rules! calibrates_rows {
    ($map:ident) => {
        impl $crate::Calibrator for $map {
            fn classes(&self) -> usize {
                self.classes
            }

            fn diagnostics(&self) -> Option<&$crate::FitDiagnostics> {
                self.diagnostics.as_ref()
            }

            fn apply<T: softlabel_core::Scalar>(
                &self,
                logits: &softlabel_core::Logits<'_, T>,
            ) -> $crate::Result<softlabel_core::LogProbabilities<'static, f64>> {
                let values = self.calibrated(logits)?;
                Ok(softlabel_core::LogProbabilities::new(values, self.classes)?)
            }
        }
    };
}
pub(crate) use calibrates_rows;

/// All values of `logits`, widened, each row changed by `map`; checks the number of classes.
pub(crate) fn map_rows<T: Scalar>(
    logits: &Logits<'_, T>,
    classes: usize,
    map: impl Fn(&mut [f64]) + Sync,
) -> Result<Vec<f64>> {
    check_class_count(logits, classes)?;
    let mut values: Vec<f64> =
        logits.as_slice().par_iter().with_min_len(LEAST).map(|&logit| logit.into()).collect();
    values.par_chunks_exact_mut(classes).with_min_len(LEAST.div_ceil(classes)).for_each(&map);
    Ok(values)
}

/// Log-probabilities whose rows differ by less than this within are equal: rounding of ln p, which is
/// about 1, hides what they say beyond first order.
const EQUAL: f64 = 2e-4;

/// Rows of ln softmax(z), and whether they are all uniform.
pub(crate) struct LogRows {
    pub(crate) rows: Vec<f64>,
    pub(crate) flat: bool,
}

/// ln softmax(z) of every row, for maps that multiply it: exactly uniform over the classes that can be
/// where that is so in every row to within [`EQUAL`].
pub(crate) fn log_rows<T: Scalar>(logits: &Logits<'_, T>) -> Result<LogRows> {
    let classes = logits.classes();
    let mut rows = map_rows(logits, classes, log_softmax_in_place)?;
    let is_flat = |row: &[f64]| {
        let lowest = row.iter().copied().filter(|x| x.is_finite()).fold(f64::INFINITY, f64::min);
        let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        highest - lowest < EQUAL
    };
    let flat = rows.par_chunks_exact(classes).all(is_flat);
    if flat {
        rows.par_chunks_exact_mut(classes).for_each(|row| {
            let possible = row.iter().filter(|x| x.is_finite()).count() as f64;
            row.iter_mut().filter(|x| x.is_finite()).for_each(|x| *x = -possible.ln());
        });
    }
    Ok(LogRows { rows, flat })
}

/// Checks that a map for `classes` classes can be applied to `logits`.
pub(crate) fn check_class_count<T: Scalar>(logits: &Logits<'_, T>, classes: usize) -> Result<()> {
    if logits.classes() == classes {
        Ok(())
    } else {
        Err(Error::ClassCount { expected: classes, found: logits.classes() })
    }
}

/// Checks what every fit needs: one label a row, the same classes, enough rows, no impossible
/// label.
pub(crate) fn check_fit<T: Scalar>(logits: &Logits<'_, T>, labels: &Labels) -> Result<()> {
    use softlabel_core::Error as Input;
    let (rows, classes) = (logits.rows(), logits.classes());
    if rows == 0 {
        return Err(Input::Empty { what: "the set of logits to fit on" }.into());
    }
    if labels.len() != rows {
        let expected = format!("{rows} rows of logits");
        return Err(Input::mismatch("labels", expected, format!("{} labels", labels.len())).into());
    }
    if labels.classes() != classes {
        let (expected, found) =
            (format!("{classes} classes, as the logits"), format!("{} classes", labels.classes()));
        return Err(Input::mismatch("labels", expected, found).into());
    }
    if rows < classes {
        return Err(Input::MoreClassesThanRows { what: "logits to fit on", classes, rows }.into());
    }
    let impossible = |(row, label): (&[T], usize)| row[label].into() == f64::NEG_INFINITY;
    match rows_and_labels(logits, labels).position(impossible) {
        None => Ok(()),
        Some(row) => Err(Error::ImpossibleLabel { row, label: labels.as_slice()[row] as usize }),
    }
}

/// The rows of `logits`, each with its label.
pub(crate) fn rows_and_labels<'a, T: Scalar>(
    logits: &'a Logits<'_, T>,
    labels: &'a Labels,
) -> impl Iterator<Item = (&'a [T], usize)> {
    logits.matrix().iter().zip(labels.iter())
}
