//! One temperature for all logits, and a constant for every class.
//!
//! q = softmax(z/T + b), with the T > 0 and b that minimize the mean negative log-likelihood of the
//! labels
//!
//! z: logits `[rows, classes]`; b: `[classes]`, summing to 0, as a common shift changes nothing.
//! In (1/T, b) the problem is convex; the optimum is searched from the temperature that fits best
//! and b = 0 on, so the result is never worse than temperature scaling on the rows that were fitted.
//! b takes up that classes are more or less frequent than the classifier believes; the top class of
//! a row may change.
//!
//! What is defined where there is little to fit:
//!
//! - If the likelihood asks for 1/T ≤ 0, so that the classes' frequencies say more than the logits,
//!   T is the bound of temperature scaling, where the logits move no probability by more than a
//!   millionth, and b says how often the classes occur: by convexity nothing with 1/T > 0 is better
//!   ([`FitOutcome::WorseThanUniform`]).
//! - A class that never occurs among the labels keeps b_k = 0, up to the common shift: the
//!   likelihood asks for b_k → −∞ ([`FitOutcome::OneSided`]).
//! - Labels that a map of this kind separates: the search ends where the mean loss is ln 2/rows,
//!   below which every label has more than half of its row ([`FitOutcome::Separable`]).
//! - Equal logits in every row: T = 1, and b says how often the classes occur
//!   ([`FitOutcome::Flat`]).
//!
//! A logit of −∞ is a class that cannot be: it stays −∞ and adds nothing.
//!
//! Numerical notes: Newton's method with conjugate gradients in `f64`, threaded over rows, down to
//! derivatives of 1e-9 by parameters of scaled logits;
//! only differences of logits enter, so a shift of a row changes nothing but rounding.
//!
//! Source: A. Alexandari, A. Kundaje, A. Shrikumar, "Maximum Likelihood with Bias-Corrected
//! Calibration is Hard-To-Beat at Label Shift Adaptation" (2020).

use serde::{Deserialize, Serialize};
use softlabel_core::{LogProbabilities, Logits, Scalar, Temperature};
use softlabel_kernels::log_softmax_in_place;

use crate::affine::{self, Penalty, Shape, affine_in_place, check_parameters};
use crate::calibrator::map_rows;
use crate::document::{Document, Written};
use crate::{Calibrator, FitDiagnostics, FitOutcome, Result, Targets, TemperatureScaling};

/// One temperature for all logits, and a constant for every class: q = softmax(z/T + b).
///
/// (1/T, b) minimizes the mean negative log-likelihood, which is convex; on the rows that were
/// fitted the result is never worse than temperature scaling. The b sum to 0.
/// The top class of a row may change.
///
/// # Little data
/// If the likelihood asks for 1/T ≤ 0, T is the bound of temperature scaling, where the logits say
/// nothing, and b is fitted to the classes' frequencies ([`FitOutcome::WorseThanUniform`]); a class that never occurs among the labels gets no constant
/// of its own ([`FitOutcome::OneSided`]); labels that can be separated end the search at a mean loss
/// of ln 2/rows ([`FitOutcome::Separable`]); where the logits of every row are equal T = 1 and only b
/// is fitted ([`FitOutcome::Flat`]).
///
/// # Source
/// A. Alexandari, A. Kundaje, A. Shrikumar, "Maximum Likelihood with Bias-Corrected Calibration is
/// Hard-To-Beat at Label Shift Adaptation" (2020).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{BiasCorrectedTemperature, Calibrator};
///
/// // Right 9 times in 10 where it says 0, but only 1 in 2 where it says 1.
/// let rows = [[2.0, 0.0].repeat(10), [0.0, 2.0].repeat(10)].concat();
/// let mut labels = [0; 20];
/// labels[9..15].fill(1);
/// let (logits, labels) = (Logits::new(rows, 2)?, Labels::new(&labels, 2)?);
/// let scaling = BiasCorrectedTemperature::fit(&logits, &labels)?;
/// // 2/T + d = ln 9 and 2/T − d = 0, so T = 4/ln 9.
/// assert!((scaling.temperature().get() - 4.0 / 9.0f64.ln()).abs() < 1e-6);
/// let calibrated = scaling.apply(&logits)?;
/// assert!((calibrated.as_slice()[0].exp() - 0.9).abs() < 1e-7);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[doc(alias = "BCTS")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct BiasCorrectedTemperature {
    temperature: Temperature,
    intercepts: Vec<f64>,
    diagnostics: Option<FitDiagnostics>,
}

impl BiasCorrectedTemperature {
    /// Fits a temperature and a constant for every class.
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
    /// use softlabel_posthoc::{Calibrator, BiasCorrectedTemperature};
    ///
    /// // The same logits in all rows: only the frequencies 5, 2 and 1 of 8 are left to say.
    /// let logits = Logits::new([2.0, 1.0, 0.0].repeat(8), 3)?;
    /// let labels = Labels::new(&[0, 0, 0, 0, 0, 1, 1, 2], 3)?;
    /// let scaling = BiasCorrectedTemperature::fit(&logits, &labels)?;
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
        let mut fitted = affine::fit(Self::METHOD, &rows, &targets, Shape::Scalar, Penalty::NONE)?;
        let beta = fitted.weights.iter().sum::<f64>();
        let temperature = if let Ok(temperature) = Temperature::new(beta.recip()) {
            temperature
        } else {
            let temperature = TemperatureScaling::highest(&rows, &targets)?;
            let constants =
                affine::fit_intercepts(Self::METHOD, &rows, &targets, temperature.inverse())?;
            let iterations = fitted.iterations + constants.iterations;
            fitted = affine::Fitted { iterations, ..constants };
            // Else one class alone occurs, which b says.
            if fitted.outcome != FitOutcome::Separable {
                fitted.outcome = FitOutcome::WorseThanUniform;
                tracing::warn!(beta, "the classes' frequencies say more than the logits");
            }
            temperature
        };
        let mut map = Self::from_parts(temperature, fitted.intercepts.clone(), None)?;
        map.diagnostics = Some(affine::diagnostics(&map, &fitted, &rows, &targets)?);
        Ok(map)
    }

    /// The map with a given temperature and constants b, one a class.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no constants, or if one is not finite.
    ///
    /// ```
    /// use softlabel_core::{Logits, Temperature};
    /// use softlabel_posthoc::{BiasCorrectedTemperature, Calibrator};
    /// let b = vec![3.0f64.ln(), 0.0];
    /// let scaling = BiasCorrectedTemperature::from_parameters(Temperature::new(2.0)?, b)?;
    /// let calibrated = scaling.apply(&Logits::new(&[4.0f32, 4.0], 2)?)?;
    /// assert!((calibrated.as_slice()[0].exp() - 0.75).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_parameters(temperature: Temperature, intercepts: Vec<f64>) -> Result<Self> {
        Self::from_parts(temperature, intercepts, None)
    }

    pub(crate) fn from_parts(
        temperature: Temperature,
        intercepts: Vec<f64>,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_parameters(Shape::Scalar, &[temperature.inverse()], &intercepts)?;
        Ok(Self { temperature, intercepts, diagnostics })
    }

    /// T, what logits are divided by.
    pub fn temperature(&self) -> Temperature {
        self.temperature
    }

    /// b_k for every class k.
    pub fn intercepts(&self) -> &[f64] {
        &self.intercepts
    }
}

impl Calibrator for BiasCorrectedTemperature {
    fn classes(&self) -> usize {
        self.intercepts.len()
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.diagnostics.as_ref()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        let weight = [self.temperature.inverse()];
        let map = |row: &mut [f64]| {
            affine_in_place(row, Shape::Scalar, &weight, &self.intercepts);
            log_softmax_in_place(row);
        };
        Ok(LogProbabilities::new(map_rows(logits, self.classes(), map)?, self.classes())?)
    }
}
