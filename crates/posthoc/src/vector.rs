//! A factor and a constant for every class.
//!
//! q = softmax(diag(w)z + b), with the (w, b) that minimize the mean negative log-likelihood of the
//! labels
//!
//! z: logits `[rows, classes]`, as they are; w, b: `[classes]`.
//! The problem is convex; the optimum is searched from w = 1/T, b = 0 on, T being the temperature
//! that fits best, so the result is never worse than temperature scaling on the rows that were
//! fitted. The b returned sum to 0: a common shift of them changes nothing.
//! The top class of a row may change.
//!
//! A shift of a row of logits does change the result, as w_k·c is another for every class: where
//! logits are only known up to a shift, log-probabilities are a definite choice of it.
//!
//! What is defined where there is little to fit:
//!
//! - A class that never occurs among the labels keeps w_k = 1/T, b_k = 0, up to the common shift of
//!   the b: the likelihood asks for b_k → −∞ ([`FitOutcome::OneSided`](crate::FitOutcome)).
//! - Labels that a map of this kind separates: the likelihood asks to go on without end; the search
//!   ends where the mean loss is ln 2/rows, below which every label has more than half of its row
//!   ([`FitOutcome::Separable`](crate::FitOutcome)).
//! - Equal logits in every row: w = 1, and b says how often the classes occur
//!   ([`FitOutcome::Flat`](crate::FitOutcome)).
//!
//! A logit of −∞ is a class that cannot be: it stays −∞ and adds nothing.
//!
//! Numerical notes: Newton's method with conjugate gradients in `f64`, threaded over rows, down to
//! derivatives of 1e-9 by parameters of scaled logits.
//!
//! Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks"
//! (2017).

use serde::{Deserialize, Serialize};
use softlabel_core::{LogProbabilities, Logits, Scalar};
use softlabel_kernels::log_softmax_in_place;

use crate::affine::{self, Penalty, Shape, affine_in_place, check_parameters};
use crate::calibrator::map_rows;
use crate::document::{Document, Written};
use crate::{Calibrator, FitDiagnostics, Result, Targets};

/// A factor and a constant for every class: q = softmax(diag(w)z + b).
///
/// (w, b) minimizes the mean negative log-likelihood, which is convex; on the rows that were fitted
/// the result is never worse than temperature scaling. The b sum to 0.
/// Logits are used as they are: a shift of a row changes the result.
/// The top class of a row may change.
///
/// # Little data
/// A class that never occurs among the labels keeps the factor of temperature scaling
/// ([`FitOutcome::OneSided`](crate::FitOutcome)); labels that can be separated end the search at a
/// mean loss of ln 2/rows ([`FitOutcome::Separable`](crate::FitOutcome)); where the logits of every
/// row are equal only b is fitted ([`FitOutcome::Flat`](crate::FitOutcome)).
///
/// # Source
/// C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks" (2017).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, VectorScaling};
///
/// // The logits prefer a class in every row; the labels do not care, and are 0 in three of four.
/// let logits = Logits::new([1.0, 0.0, 0.0, 1.0].repeat(4), 2)?;
/// let labels = Labels::new(&[0, 0, 0, 0, 0, 0, 1, 1], 2)?;
/// let scaling = VectorScaling::fit(&logits, &labels)?;
/// let calibrated = scaling.apply(&logits)?;
/// // There are two kinds of rows, and the map meets the frequency in either: 3/4 and 3/4.
/// assert!((calibrated.as_slice()[0].exp() - 0.75).abs() < 1e-7);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct VectorScaling {
    weights: Vec<f64>,
    intercepts: Vec<f64>,
    diagnostics: Option<FitDiagnostics>,
}

impl VectorScaling {
    /// Fits a factor and a constant for every class.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no rows, fewer rows than classes, not one
    /// label a row, or labels of another number of classes;
    /// [`Error::ImpossibleLabel`](crate::Error::ImpossibleLabel) if a label has the logit −∞;
    /// [`Error::NotConverged`](crate::Error::NotConverged) if the optimum is not reached, or the
    /// logits are so large that `f64` cannot hold their squares.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{Calibrator, VectorScaling};
    ///
    /// // The same logits in all rows: only the frequencies 5, 2 and 1 of 8 are left to say.
    /// let logits = Logits::new([2.0, 1.0, 0.0].repeat(8), 3)?;
    /// let labels = Labels::new(&[0, 0, 0, 0, 0, 1, 1, 2], 3)?;
    /// let scaling = VectorScaling::fit(&logits, &labels)?;
    /// let calibrated = scaling.apply(&logits)?;
    /// assert!((calibrated.as_slice()[1].exp() - 0.25).abs() < 1e-7);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let rows = Logits::new(map_rows(&logits, logits.classes(), |_| {})?, logits.classes())?;
        let fitted = affine::fit(Self::METHOD, &rows, &targets, Shape::Diagonal, Penalty::NONE)?;
        let mut map = Self::from_parts(fitted.weights.clone(), fitted.intercepts.clone(), None)?;
        map.diagnostics = Some(affine::diagnostics(&map, &fitted, &rows, &targets)?);
        Ok(map)
    }

    /// The map with given factors w and constants b, one of each a class.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are none, not as many of one as of the other,
    /// or if one is not finite.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{Calibrator, VectorScaling};
    /// let scaling = VectorScaling::from_parameters(vec![1.0, 2.0], vec![3.0f64.ln(), 0.0])?;
    /// let calibrated = scaling.apply(&Logits::new(&[0.0f32, 0.0], 2)?)?;
    /// assert!((calibrated.as_slice()[0].exp() - 0.75).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_parameters(weights: Vec<f64>, intercepts: Vec<f64>) -> Result<Self> {
        Self::from_parts(weights, intercepts, None)
    }

    pub(crate) fn from_parts(
        weights: Vec<f64>,
        intercepts: Vec<f64>,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_parameters(Shape::Diagonal, &weights, &intercepts)?;
        Ok(Self { weights, intercepts, diagnostics })
    }

    /// w_k for every class k.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// b_k for every class k.
    pub fn intercepts(&self) -> &[f64] {
        &self.intercepts
    }
}

impl Calibrator for VectorScaling {
    fn classes(&self) -> usize {
        self.intercepts.len()
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.diagnostics.as_ref()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        let map = |row: &mut [f64]| {
            affine_in_place(row, Shape::Diagonal, &self.weights, &self.intercepts);
            log_softmax_in_place(row);
        };
        Ok(LogProbabilities::new(map_rows(logits, self.classes(), map)?, self.classes())?)
    }
}
