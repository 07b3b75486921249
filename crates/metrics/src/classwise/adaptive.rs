//! The probabilities of every class in bins of equal mass.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Fraction, Result};

use super::{ClasswiseErrors, add_rows, checked_classes};
use crate::accumulator::EMPTY;
use crate::equal_mass::{bins_of_equal_mass, checked};
use crate::ranking::Ranking;
use crate::{Observed, Predictions};

/// All probabilities class by class, put into bins of equal mass when they are asked for: the state
/// behind the adaptive calibration error (ACE) of Nixon et al. and, with a threshold, TACE.
///
/// It looks at every probability of a row, not at its [`RowStatistics`](crate::RowStatistics)
/// alone, so it is no [`Accumulator`](crate::Accumulator) but has the same methods.
/// It keeps 8 bytes for every probability that reaches the threshold and merges exactly: parts give
/// what the whole gives, to the last bit.
///
/// Source: Nixon et al. (2019).
///
/// ```
/// use softlabel_core::{Fraction, Labels, Probabilities};
/// use softlabel_metrics::AdaptiveCalibration;
///
/// let probabilities = Probabilities::new(&[1.0f32, 0.0, 0.75, 0.25], 2)?;
/// let labels = Labels::new(&[0, 1], 2)?;
/// let mut all = AdaptiveCalibration::new(2, 2)?;
/// all.update(&probabilities, &labels)?;
/// assert_eq!(all.compute().unwrap().mean(), Some(0.375));
///
/// let mut large = AdaptiveCalibration::with_threshold(2, 2, Fraction::new(0.5)?)?;
/// large.update(&probabilities, &labels)?;
/// let errors = large.compute().unwrap();
/// assert_eq!((errors.classes[0].values, errors.classes[1].values), (2, 0));
/// assert_eq!(errors.mean(), Some(0.375)); // of the first class alone
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "MassState", into = "MassState")]
#[doc(alias("ACE", "TACE", "adaptive calibration error"))]
pub struct AdaptiveCalibration {
    samples: u64,
    bins: usize,
    threshold: Fraction,
    /// At least one.
    classes: Vec<Ranking>,
}

/// What is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MassState {
    samples: u64,
    bins: usize,
    threshold: Fraction,
    classes: Vec<Ranking>,
}

impl AdaptiveCalibration {
    /// At most `bins` bins of equal mass for each of `classes` classes: ACE.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Empty`] if `classes` is 0.
    ///
    /// ```
    /// use softlabel_metrics::AdaptiveCalibration;
    /// assert_eq!(AdaptiveCalibration::new(10, 15)?.threshold().get(), 0.0);
    /// assert!(AdaptiveCalibration::new(10, 0).is_err());
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn new(classes: usize, bins: usize) -> Result<Self> {
        Self::with_threshold(classes, bins, Fraction::ZERO)
    }

    /// The same over the probabilities that are at least `threshold`: TACE.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Empty`] if `classes` is 0.
    ///
    /// ```
    /// use softlabel_core::Fraction;
    /// use softlabel_metrics::AdaptiveCalibration;
    /// let calibration = AdaptiveCalibration::with_threshold(10, 15, Fraction::new(0.01)?)?;
    /// assert_eq!(calibration.threshold().get(), 0.01);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn with_threshold(classes: usize, bins: usize, threshold: Fraction) -> Result<Self> {
        let bins = checked(bins)?;
        let classes = vec![Ranking::default(); checked_classes(classes)?];
        Ok(Self { samples: 0, bins, threshold, classes })
    }

    /// The smallest probability that is counted.
    pub fn threshold(&self) -> Fraction {
        self.threshold
    }

    /// Adds every row of `predictions` with its label.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is not one label a row, or if predictions or labels are of
    /// another number of classes; nothing is added then.
    pub fn update(
        &mut self,
        predictions: &(impl Predictions + ?Sized),
        labels: &(impl Observed + ?Sized),
    ) -> Result<()> {
        let threshold = self.threshold.get();
        let add = |ranking: &mut Ranking, probability, happened, weight| {
            if probability >= threshold {
                ranking.add(probability, happened, weight);
            }
        };
        self.samples += add_rows(&mut self.classes, predictions, labels, add)?;
        Ok(())
    }

    /// Adds everything that was added to `other`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the two differ in classes, bins or threshold; `self` is then as it
    /// was.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let shape = |of: &Self| (of.classes.len(), of.bins, of.threshold);
        if shape(self) != shape(other) {
            let words = |of: &Self| {
                let (classes, bins, threshold) = shape(of);
                format!("{classes} classes of {bins} bins from {threshold} on")
            };
            return Err(Error::mismatch("accumulator to merge", words(self), words(other)));
        }
        self.samples += other.samples;
        for (ranking, other) in self.classes.iter_mut().zip(&other.classes) {
            ranking.merge(other);
        }
        Ok(())
    }

    /// The errors over all rows added so far; `None` of no rows.
    pub fn compute(&self) -> Option<ClasswiseErrors> {
        let bins = |ranking: &Ranking| {
            let bins = bins_of_equal_mass(&ranking.tie_groups(), self.bins);
            bins.into_iter().map(|(bin, _)| bin).collect()
        };
        ClasswiseErrors::of(self.samples, self.classes.iter().map(bins))
    }

    /// How many rows were added.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Forgets all rows and keeps the configuration.
    pub fn reset(&mut self) {
        self.samples = 0;
        self.classes.iter_mut().for_each(Ranking::reset);
    }
}

impl TryFrom<MassState> for AdaptiveCalibration {
    type Error = Error;

    fn try_from(MassState { samples, bins, threshold, classes }: MassState) -> Result<Self> {
        checked(bins)?;
        checked_classes(classes.len())?;
        Ok(Self { samples, bins, threshold, classes })
    }
}

impl From<AdaptiveCalibration> for MassState {
    fn from(of: AdaptiveCalibration) -> Self {
        let AdaptiveCalibration { samples, bins, threshold, classes } = of;
        Self { samples, bins, threshold, classes }
    }
}

/// The mean over classes of the calibration error over at most `bins` bins of equal mass, of the
/// probabilities that are at least `threshold`: ACE at the threshold 0, TACE above; see
/// [`AdaptiveCalibration`].
///
/// # Errors
/// [`Error::OutOfRange`] if `bins` is 0 or above a million, [`Error::Mismatch`] if predictions and
/// labels do not fit, [`Error::Empty`] if there are none or no probability reaches the threshold.
///
/// ```
/// use softlabel_core::{Fraction, Labels, Probabilities};
/// let probabilities = Probabilities::new(&[1.0f32, 0.0, 0.75, 0.25], 2)?;
/// let labels = Labels::new(&[0, 1], 2)?;
/// let error = softlabel_metrics::adaptive_calibration_error(
///     &probabilities, &labels, 2, Fraction::new(0.01)?)?;
/// assert_eq!(error, (0.375 + 0.75) / 2.0);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias("ACE", "TACE"))]
pub fn adaptive_calibration_error(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
    bins: usize,
    threshold: Fraction,
) -> Result<f64> {
    let classes = predictions.classes();
    let mut calibration = AdaptiveCalibration::with_threshold(classes, bins, threshold)?;
    calibration.update(predictions, labels)?;
    let errors = calibration.compute().ok_or(EMPTY)?;
    errors.mean().ok_or(Error::Empty { what: "the set of probabilities that reach the threshold" })
}
