//! What all metrics have in common: state that grows row by row and merges.

use softlabel_core::{Error, Result};
use softlabel_kernels::RowStatistics;

use crate::predictions::in_blocks;
use crate::{Observed, Predictions, Weight};

/// A metric as a running state.
///
/// State takes [`RowStatistics`], so that one look at a row can feed any number of metrics
/// ([`Evaluation`](crate::Evaluation) feeds all those of fixed size).
/// States over parts of the data [`merge`](Self::merge) into the state over all of it, in any
/// order, up to rounding.
/// A state has a fixed size, however many rows it has seen, unless its type says that it keeps
/// something of every row.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, Accuracy};
///
/// let mut first = Accuracy::default();
/// assert_eq!(first.compute(), None); // undefined, not 0
/// first.update(&Probabilities::new(&[0.75f32, 0.25], 2)?, &Labels::new(&[0], 2)?)?;
///
/// let mut second = Accuracy::default();
/// second.update(&Probabilities::new(&[0.75f32, 0.25], 2)?, &Labels::new(&[1], 2)?)?;
///
/// first.merge(&second)?;
/// assert_eq!(first.compute(), Some(0.5));
/// first.reset();
/// assert_eq!(first.samples(), 0);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub trait Accumulator: Clone + Send + Sync {
    /// What the metric comes to.
    type Value;

    /// Adds one row that counts as much as `weight` says.
    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight);

    /// Adds one row of weight 1.
    fn add(&mut self, row: &RowStatistics) {
        self.add_weighted(row, Weight::ONE);
    }

    /// Whether predictions of this kind can be added.
    ///
    /// # Errors
    /// If the metric is not defined for it.
    fn check_kind(&self, _predictions: &(impl Predictions + ?Sized)) -> Result<()> {
        Ok(())
    }

    /// Adds everything that was added to `other`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the two are configured differently; `self` is then as it was.
    fn merge(&mut self, other: &Self) -> Result<()>;

    /// The metric over all rows added so far; `None` where it is undefined, as it is on no rows.
    fn compute(&self) -> Option<Self::Value>;

    /// How many rows were added.
    fn samples(&self) -> u64;

    /// Forgets all rows and keeps the configuration.
    fn reset(&mut self);

    /// Adds every row of `predictions` that counts, with its label and its weight.
    ///
    /// Many rows are looked at in blocks, in parallel on the threads of rayon; blocks are merged in
    /// order, so the same rows give the same bits on any number of threads.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is not one label a row, or if the labels are of another number
    /// of classes; nothing is added then.
    fn update(
        &mut self,
        predictions: &(impl Predictions + ?Sized),
        labels: &(impl Observed + ?Sized),
    ) -> Result<()> {
        self.check_kind(predictions)?;
        let mut empty = self.clone();
        empty.reset();
        let add = |part: &mut Self, row: &RowStatistics, weight, _: &[f64]| {
            part.add_weighted(row, weight);
        };
        let parts = in_blocks(predictions, labels, &empty, add)?;
        parts.iter().try_for_each(|part| self.merge(part))
    }
}

/// Two metrics in one look at the rows.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_metrics::{Accumulator, Accuracy, NegativeLogLikelihood};
///
/// let mut both = (Accuracy::default(), NegativeLogLikelihood::default());
/// both.update(&Logits::new(&[0.0f32, 0.0], 2)?, &Labels::new(&[0], 2)?)?;
/// let (accuracy, likelihood) = both.compute().unwrap();
/// assert_eq!(accuracy, Some(1.0));
/// assert!((likelihood.unwrap() - 2.0f64.ln()).abs() < 1e-15);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
impl<A: Accumulator, B: Accumulator> Accumulator for (A, B) {
    type Value = (Option<A::Value>, Option<B::Value>);

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.0.add_weighted(row, weight);
        self.1.add_weighted(row, weight);
    }

    fn check_kind(&self, predictions: &(impl Predictions + ?Sized)) -> Result<()> {
        self.0.check_kind(predictions)?;
        self.1.check_kind(predictions)
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        let mut first = self.0.clone();
        first.merge(&other.0)?;
        self.1.merge(&other.1)?;
        self.0 = first;
        Ok(())
    }

    fn compute(&self) -> Option<Self::Value> {
        (self.samples() > 0).then(|| (self.0.compute(), self.1.compute()))
    }

    fn samples(&self) -> u64 {
        self.0.samples()
    }

    fn reset(&mut self) {
        self.0.reset();
        self.1.reset();
    }
}

/// The state of `accumulator` once it has seen all of the predictions, of which there must be some.
pub(crate) fn updated<A: Accumulator>(
    mut accumulator: A,
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<A> {
    accumulator.update(predictions, labels)?;
    if accumulator.samples() == 0 {
        return Err(EMPTY);
    }
    Ok(accumulator)
}

/// The value of `accumulator` over all of the predictions.
pub(crate) fn value_over<A: Accumulator>(
    accumulator: A,
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<A::Value> {
    updated(accumulator, predictions, labels)?.compute().ok_or(EMPTY)
}

/// There are no rows.
pub(crate) const EMPTY: Error = Error::Empty { what: "the set of predictions" };
