//! A matrix and a constant for every class, held near the identity, after a temperature.
//!
//! q = softmax(Wx + b), x = ln((1 − w)·softmax(z/T) + w/K)
//!
//! The formula, the penalty and the source are those of [`super`], with a matrix W.
//!
//! A logit of −∞ has no product with most numbers, so it is refused.

use serde::{Deserialize, Serialize};
use softlabel_core::{LogProbabilities, Logits, Scalar, Temperature};

use super::{Parameters, Strengths, Structured};
use crate::affine::{Shape, check_possible};
use crate::calibrator::check_class_count;
use crate::document::{Document, Written, check_count};
use crate::{Calibrator, FitDiagnostics, Result, Targets};

/// How much a [`StructuredMatrixScaling`] is held near the identity: λ_b, λ_d and λ_o, all positive
/// and finite.
///
/// λ_b and λ_d are multiplied by K/n, λ_o by K(K − 1)/n, K being the classes and n the rows of the
/// fit.
///
/// ```
/// use softlabel_posthoc::MatrixRidge;
/// let ridge = MatrixRidge { off_diagonal: 0.1, ..MatrixRidge::default() };
/// assert_eq!(ridge.diagonal, 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatrixRidge {
    /// λ_b, which weighs Σ b².
    pub intercepts: f64,
    /// λ_d, which weighs Σ (W_kk − 1)².
    pub diagonal: f64,
    /// λ_o, which weighs the squares off the diagonal.
    pub off_diagonal: f64,
}

impl Default for MatrixRidge {
    /// λ_b = λ_d = λ_o = 1, as its authors have them.
    fn default() -> Self {
        Self { intercepts: 1.0, diagonal: 1.0, off_diagonal: 1.0 }
    }
}

/// A matrix and a constant for every class, held near the identity, after a temperature:
/// q = softmax(Wx + b), x = ln((1 − w)·softmax(z/T) + w/K).
///
/// T and w are those of [`TemperatureMixture`](crate::TemperatureMixture); (W, b) minimizes the mean
/// negative log-likelihood plus λ_b·K/n Σ b² + λ_d·K/n Σ (W_kk − 1)² + λ_o·K(K − 1)/n Σ_{i≠j} W_ij²
/// ([`MatrixRidge`]), which is strictly convex; on the rows that were fitted the likelihood is never
/// worse than that of the mixture.
/// With few rows for its classes² + classes numbers it is nearly temperature scaling, with many
/// nearly matrix scaling, and needs no search for the strength in between.
/// A shift of a row of logits changes nothing; −∞ is refused; the top class of a row may change.
///
/// # Little data
/// The ridge decides what the labels do not: a class that never occurs among them is pulled down
/// only so far, and labels that can be separated have a finite optimum.
/// The [outcome](crate::FitOutcome) is that of the temperature.
///
/// # Source
/// E. Berta, D. Holzmüller, M. I. Jordan, F. Bach, "Structured Matrix Scaling for Multi-Class
/// Calibration" (2025); the penalty is the `ridge` of probmetrics.
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, MatrixRidge, StructuredMatrixScaling};
///
/// // The classifier takes class 0 for 1 and 1 for 0, three times in four.
/// let logits = Logits::new([1.0, 0.0, 0.0, 1.0].repeat(400), 2)?;
/// let labels = Labels::new(&[1, 0, 1, 0, 1, 0, 0, 1].repeat(100), 2)?;
/// let map = StructuredMatrixScaling::fit(&logits, &labels, MatrixRidge::default())?;
/// // No temperature helps with that: x says nothing, and no matrix of it can.
/// assert!((map.apply(&logits)?.as_slice()[1].exp() - 0.5).abs() < 1e-3);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias = "SMS")]
pub struct StructuredMatrixScaling {
    map: Structured,
}

impl StructuredMatrixScaling {
    /// Fits a temperature, then a matrix and a constant for every class.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes; `targets` are labels or
    /// distributions, with weights or without.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no rows, fewer rows than classes, not one
    /// label a row, labels of another number of classes, or for a strength that is not positive and
    /// finite;
    /// [`Error::ImpossibleLabel`](crate::Error::ImpossibleLabel) if a label has the logit −∞,
    /// [`Error::ImpossibleClass`](crate::Error::ImpossibleClass) if any class has;
    /// [`Error::NotConverged`](crate::Error::NotConverged) if the optimum is not reached, or the
    /// logits are so large that `f64` cannot hold their squares.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{StructuredMatrixScaling, MatrixRidge};
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 1.0], 2)?;
    /// let labels = Labels::new(&[0, 1, 1, 0], 2)?;
    /// let strong = MatrixRidge { intercepts: 1e9, diagonal: 1e9, off_diagonal: 1e9 };
    /// let map = StructuredMatrixScaling::fit(&logits, &labels, strong)?;
    /// assert!((map.weights()[0] - 1.0).abs() < 1e-8 && map.intercepts()[0].abs() < 1e-8);
    /// assert!(StructuredMatrixScaling::fit(&logits, &labels, MatrixRidge { diagonal: 0.0, ..strong }).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        ridge: MatrixRidge,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        check_possible(Self::METHOD, &logits)?;
        let MatrixRidge { intercepts, diagonal, off_diagonal } = ridge;
        let strengths = Strengths { intercepts, diagonal, off_diagonal };
        let map = Structured::fit(Self::METHOD, &logits, &targets, Shape::Full, strengths)?;
        Ok(Self { map })
    }

    /// The map with a given temperature, share w of the uniform distribution, matrix W, row by row,
    /// and constants b, one a class.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no constants, not as many rows and columns
    /// of W as constants, w is outside \[0, 1\], or a number is not finite.
    ///
    /// ```
    /// use softlabel_core::{Logits, Temperature};
    /// use softlabel_posthoc::{Calibrator, StructuredMatrixScaling};
    /// let (t, b) = (Temperature::new(1.0)?, vec![0.0, 0.0]);
    /// let map = StructuredMatrixScaling::from_parameters(t, 0.0, vec![0.0, 1.0, 1.0, 0.0], b)?;
    /// let calibrated = map.apply(&Logits::new(vec![0.0, 3.0f64.ln()], 2)?)?;
    /// assert!((calibrated.as_slice()[0].exp() - 0.75).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_parameters(
        temperature: Temperature,
        uniform: f64,
        weights: Vec<f64>,
        intercepts: Vec<f64>,
    ) -> Result<Self> {
        let parameters = Parameters { temperature, uniform, weights, intercepts };
        Ok(Self { map: Structured::from_parts(parameters, Shape::Full, None)? })
    }

    /// T, what logits are divided by first.
    pub fn temperature(&self) -> Temperature {
        self.map.mixture.temperature()
    }

    /// w, the share of the uniform distribution.
    pub fn uniform(&self) -> f64 {
        self.map.mixture.uniform()
    }

    /// W, row by row: the numbers of what class k becomes, for every k.
    pub fn weights(&self) -> &[f64] {
        &self.map.weights
    }

    /// b_k for every class k.
    pub fn intercepts(&self) -> &[f64] {
        &self.map.intercepts
    }
}

impl Calibrator for StructuredMatrixScaling {
    fn classes(&self) -> usize {
        self.map.intercepts.len()
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.map.diagnostics.as_ref()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        check_class_count(logits, self.classes())?;
        check_possible(Self::METHOD, logits)?;
        Ok(LogProbabilities::new(self.map.calibrated(logits, Shape::Full)?, self.classes())?)
    }
}

impl Written for StructuredMatrixScaling {
    const METHOD: &'static str = "sms";
    type Parameters = Parameters;

    fn parameters(&self) -> Parameters {
        self.map.parameters()
    }

    fn restore(
        classes: usize,
        parameters: Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_count("number of intercepts", classes, parameters.intercepts.len())?;
        Ok(Self { map: Structured::from_parts(parameters, Shape::Full, fit)? })
    }
}
