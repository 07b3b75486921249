//! A factor and a constant for every class, held near the identity, after a temperature.
//!
//! q = softmax(diag(v)·x + b), x = ln((1 − w)·softmax(z/T) + w/K)
//!
//! The formula, the penalty and the source are those of [`super`], with a diagonal W.

use serde::{Deserialize, Serialize};
use softlabel_core::{LogProbabilities, Logits, Scalar, Temperature};

use super::{Parameters, Strengths, Structured};
use crate::affine::Shape;
use crate::document::{Document, Written, check_count};
use crate::{Calibrator, FitDiagnostics, Result, Targets};

/// How much a [`StructuredVectorScaling`] is held near the identity: λ_b and λ_d, both positive and
/// finite.
///
/// They are multiplied by K/n, K being the classes and n the rows of the fit.
///
/// ```
/// use softlabel_posthoc::VectorRidge;
/// let ridge = VectorRidge { intercepts: 0.1, ..VectorRidge::default() };
/// assert_eq!(ridge.diagonal, 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VectorRidge {
    /// λ_b, which weighs Σ b².
    pub intercepts: f64,
    /// λ_d, which weighs Σ (v − 1)².
    pub diagonal: f64,
}

impl Default for VectorRidge {
    /// λ_b = λ_d = 1, as its authors have them.
    fn default() -> Self {
        Self { intercepts: 1.0, diagonal: 1.0 }
    }
}

/// A factor and a constant for every class, held near the identity, after a temperature:
/// q = softmax(diag(v)·x + b), x = ln((1 − w)·softmax(z/T) + w/K).
///
/// T and w are those of [`TemperatureMixture`](crate::TemperatureMixture); (v, b) minimizes the mean
/// negative log-likelihood plus λ_b·K/n Σ b² + λ_d·K/n Σ (v − 1)² ([`VectorRidge`]), which is
/// strictly convex; on the rows that were fitted the likelihood is never worse than that of the
/// mixture.
/// A shift of a row of logits changes nothing; the top class of a row may change.
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
/// use softlabel_posthoc::{Calibrator, StructuredVectorScaling, VectorRidge};
///
/// // The same logits in all rows, 300 of 400 times right: nothing holds x at ln(3/4) and ln(1/4) but
/// // half a row of the uniform distribution.
/// let logits = Logits::new([9.0f64.ln(), 0.0].repeat(400), 2)?;
/// let labels: Vec<usize> = (0..400).map(|row| usize::from(row % 4 == 0)).collect();
/// let labels = Labels::new(&labels, 2)?;
/// let map = StructuredVectorScaling::fit(&logits, &labels, VectorRidge::default())?;
/// assert!((map.apply(&logits)?.as_slice()[0].exp() - 0.75).abs() < 1e-4);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias = "SVS")]
pub struct StructuredVectorScaling {
    map: Structured,
}

impl StructuredVectorScaling {
    /// Fits a temperature, then a factor and a constant for every class.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes; `targets` are labels or
    /// distributions, with weights or without.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no rows, fewer rows than classes, not one
    /// label a row, labels of another number of classes, or for a strength that is not positive and
    /// finite;
    /// [`Error::ImpossibleLabel`](crate::Error::ImpossibleLabel) if a label has the logit −∞;
    /// [`Error::NotConverged`](crate::Error::NotConverged) if the optimum is not reached, or the
    /// logits are so large that `f64` cannot hold their squares.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{StructuredVectorScaling, VectorRidge};
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 1.0], 2)?;
    /// let labels = Labels::new(&[0, 1, 1, 0], 2)?;
    /// let strong = VectorRidge { intercepts: 1e9, diagonal: 1e9 };
    /// let map = StructuredVectorScaling::fit(&logits, &labels, strong)?;
    /// assert!((map.weights()[0] - 1.0).abs() < 1e-8 && map.intercepts()[0].abs() < 1e-8);
    /// assert!(StructuredVectorScaling::fit(&logits, &labels, VectorRidge { diagonal: 0.0, ..strong }).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        ridge: VectorRidge,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let VectorRidge { intercepts, diagonal } = ridge;
        let strengths = Strengths { intercepts, diagonal, off_diagonal: 1.0 };
        let map = Structured::fit(Self::METHOD, &logits, &targets, Shape::Diagonal, strengths)?;
        Ok(Self { map })
    }

    /// The map with a given temperature, share w of the uniform distribution, factors v and constants
    /// b, one of each a class.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no constants, not as many factors, w is
    /// outside \[0, 1\], or a number is not finite.
    ///
    /// ```
    /// use softlabel_core::{Logits, Temperature};
    /// use softlabel_posthoc::{Calibrator, StructuredVectorScaling};
    /// let (t, v, b) = (Temperature::new(1.0)?, vec![1.0, 1.0], vec![3.0f64.ln(), 0.0]);
    /// let map = StructuredVectorScaling::from_parameters(t, 0.0, v, b)?;
    /// let calibrated = map.apply(&Logits::new(&[4.0f32, 4.0], 2)?)?;
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
        Ok(Self { map: Structured::from_parts(parameters, Shape::Diagonal, None)? })
    }

    /// T, what logits are divided by first.
    pub fn temperature(&self) -> Temperature {
        self.map.mixture.temperature()
    }

    /// w, the share of the uniform distribution.
    pub fn uniform(&self) -> f64 {
        self.map.mixture.uniform()
    }

    /// v_k for every class k.
    pub fn weights(&self) -> &[f64] {
        &self.map.weights
    }

    /// b_k for every class k.
    pub fn intercepts(&self) -> &[f64] {
        &self.map.intercepts
    }
}

impl Calibrator for StructuredVectorScaling {
    fn classes(&self) -> usize {
        self.map.intercepts.len()
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.map.diagnostics.as_ref()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        Ok(LogProbabilities::new(self.map.calibrated(logits, Shape::Diagonal)?, self.classes())?)
    }
}

impl Written for StructuredVectorScaling {
    const METHOD: &'static str = "svs";
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
        Ok(Self { map: Structured::from_parts(parameters, Shape::Diagonal, fit)? })
    }
}
