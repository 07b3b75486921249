//! Losses that are added up:
//!
//! ```text
//! objective = Σ_i w_i · reduce(loss_i(batch))
//! ```
//!
//! The batch is checked once, all losses see the same rows, and go through the same reduction.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use softlabel_core::{Error as CoreError, Reduction};
use softlabel_tensor::{ClassAxis, Error as TensorError};
use tch::Tensor;

use crate::{Batch, CrossEntropy, Error, LossOptions, LossTerm, Result, Target, Term};

/// Sizes of weights that a loss may be multiplied by and divided by again without losing more than rounding.
const FOLDED: RangeInclusive<f64> = 1e-6..=1e6;

/// A weighted sum of losses.
///
/// A weight may be any finite number, and may be changed between steps: see [`set_weight`](Self::set_weight).
/// A term of weight 0 is not computed at all.
///
/// ```
/// use softlabel_losses::{ConfidencePenalty, CrossEntropy, Objective, Target};
/// use tch::Tensor;
///
/// let logits = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2)).set_requires_grad(true);
/// let label = Tensor::from_slice(&[0i64]);
/// let objective = Objective::new(CrossEntropy::new()).plus(0.1, ConfidencePenalty::new());
/// let (total, terms) = objective.forward_with_terms(&logits, Target::Hard(&label))?;
/// // CE is ln 2, and so is the entropy that is rewarded.
/// assert!((f64::try_from(&total)? - 0.9 * 2f64.ln()).abs() < 1e-15);
/// assert_eq!(terms[1].name, "confidence_penalty");
/// total.backward();
/// assert_eq!(logits.grad().double_value(&[0, 1]), 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Objective {
    terms: Vec<Weighted>,
    options: LossOptions,
}

#[derive(Debug)]
struct Weighted {
    weight: f64,
    loss: Box<dyn LossTerm + Send>,
}

/// What one term of an [`Objective`] came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct TermValue {
    /// The name of the loss.
    pub name: &'static str,
    /// Its weight.
    pub weight: f64,
    /// Its value before the weight, detached; nothing if the weight is 0.
    pub value: Option<Tensor>,
}

impl Objective {
    /// One loss of weight 1, under the default [`LossOptions`].
    pub fn new(loss: impl LossTerm + Send + 'static) -> Self {
        let terms = vec![Weighted { weight: 1.0, loss: Box::new(loss) }];
        Self { terms, options: LossOptions::default() }
    }

    /// Adds a loss with a weight. That the weight is finite is checked when it is used.
    #[must_use]
    pub fn plus(mut self, weight: f64, loss: impl LossTerm + Send + 'static) -> Self {
        self.terms.push(Weighted { weight, loss: Box::new(loss) });
        self
    }

    /// Reduction, layout and ignore index, for all terms.
    #[must_use]
    pub fn with_options(mut self, options: LossOptions) -> Self {
        self.options = options;
        self
    }

    /// How the losses of the samples become one number.
    #[must_use]
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.options.reduction = reduction;
        self
    }

    /// Where the class axis of the logits (and of soft targets) lies.
    #[must_use]
    pub fn with_class_axis(mut self, class_axis: ClassAxis) -> Self {
        self.options.class_axis = class_axis;
        self
    }

    /// Samples with this label count for nothing: loss and gradient are exactly 0, whatever their logits hold.
    #[must_use]
    pub fn with_ignore_index(mut self, ignore_index: i64) -> Self {
        self.options.ignore_index = Some(ignore_index);
        self
    }

    /// Changes the weight of a term, as a schedule does from step to step. Terms count from 0 in the order in which
    /// they were added.
    ///
    /// # Errors
    /// A weight that is not finite; an index that no term has.
    pub fn set_weight(&mut self, index: usize, weight: f64) -> Result<()> {
        check_weight(weight)?;
        let count = self.terms.len();
        let Some(term) = self.terms.get_mut(index) else {
            let (expected, found) = (format!("an index below {count}"), index.to_string());
            let error = CoreError::mismatch("terms of an objective", expected, found);
            return Err(TensorError::from(error).into());
        };
        term.weight = weight;
        Ok(())
    }

    /// Weights and names of the terms, in order.
    pub fn weights(&self) -> impl Iterator<Item = (f64, &'static str)> {
        self.terms.iter().map(|term| (term.weight, term.loss.name()))
    }

    /// Reduction, layout and ignore index.
    pub fn options(&self) -> &LossOptions {
        &self.options
    }

    /// The sum: a scalar, or one value a sample under [`Reduction::None`].
    ///
    /// # Errors
    /// As [`Batch::new`] and every term; a weight that is not finite; every weight 0.
    pub fn forward(&self, logits: &Tensor, target: Target<'_>) -> Result<Tensor> {
        Ok(self.forward_with_terms(logits, target)?.0)
    }

    /// The sum, and what it is made of.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_with_terms(
        &self,
        logits: &Tensor,
        target: Target<'_>,
    ) -> Result<(Tensor, Vec<TermValue>)> {
        self.forward_batch(&Batch::with_options(logits, target, &self.options)?)
    }

    /// As [`forward_with_terms`](Self::forward_with_terms) for a batch that is checked already and may know more than
    /// logits and target; its layout and ignore index are what count.
    ///
    /// # Errors
    /// As every term; a weight that is not finite; every weight 0.
    pub fn forward_batch(&self, batch: &Batch) -> Result<(Tensor, Vec<TermValue>)> {
        let mut total: Option<Tensor> = None;
        let mut values = Vec::with_capacity(self.terms.len());
        for Weighted { weight, loss } in &self.terms {
            check_weight(*weight)?;
            let name = loss.name();
            if *weight == 0.0 {
                values.push(TermValue { name, weight: 0.0, value: None });
                continue;
            }
            let (weighted, value) = if FOLDED.contains(&weight.abs()) {
                let weighted = loss.weighted(batch, self.options.reduction, *weight)?;
                let value = weighted.f_detach()?;
                (weighted, if *weight == 1.0 { value } else { value.f_div_scalar(*weight)? })
            } else {
                let value = loss.weighted(batch, self.options.reduction, 1.0)?;
                (value.f_mul_scalar(*weight)?, value.f_detach()?)
            };
            values.push(TermValue { name, weight: *weight, value: Some(value) });
            total = Some(match total {
                None => weighted,
                Some(total) => total.f_add(&weighted)?,
            });
        }
        let empty = CoreError::Empty { what: "the objective (no term has a weight other than 0)" };
        Ok((total.ok_or_else(|| Error::from(TensorError::from(empty)))?, values))
    }
}

/// The cross-entropy with weight 1, and its reduction, layout and ignore index for all terms.
impl From<CrossEntropy> for Objective {
    fn from(loss: CrossEntropy) -> Self {
        let options = LossOptions {
            reduction: loss.reduction(),
            class_axis: loss.class_axis(),
            ignore_index: loss.ignore_index(),
        };
        Self::new(loss).with_options(options)
    }
}

/// Smoothing and class weights are the cross-entropy's own; reduction, layout and ignore index are the batch's, and a
/// cross-entropy that was told otherwise is refused.
/// Under class weights a mean over their sum divides this term, and no other, by that sum.
impl LossTerm for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn term(&self, batch: &Batch) -> Result<Term> {
        let (logits, target) = batch.given();
        Ok(Term::Rows(self.of_batch(batch)?.row_losses(logits, target)?))
    }

    fn weighted(&self, batch: &Batch, reduction: Reduction, weight: f64) -> Result<Tensor> {
        let (logits, target) = batch.given();
        let own = self.reduction();
        if own != Reduction::default() && own != reduction {
            return Err(differs("reduction of a cross-entropy", &reduction, &own));
        }
        self.of_batch(batch)?.with_reduction(reduction).forward_weighted(logits, target, weight)
    }
}

impl CrossEntropy {
    /// The same loss for the rows of a batch.
    fn of_batch(&self, batch: &Batch) -> Result<Self> {
        if self.ignore_index().is_some_and(|index| Some(index) != batch.ignore_index()) {
            let (expected, found) = (batch.ignore_index(), self.ignore_index());
            return Err(differs("ignore index of a cross-entropy", &expected, &found));
        }
        let axis = self.class_axis();
        if axis != ClassAxis::default() && axis != batch.class_axis() {
            return Err(differs("class axis of a cross-entropy", &batch.class_axis(), &axis));
        }
        Ok(self.in_batch(batch.ignore_index()))
    }
}

fn check_weight(weight: f64) -> Result<()> {
    crate::check::finite("the weight of a term", weight)
}

fn differs(what: &'static str, expected: &impl Debug, found: &impl Debug) -> Error {
    let expected = format!("{expected:?} as in the batch");
    TensorError::from(CoreError::mismatch(what, expected, format!("{found:?}"))).into()
}
