//! One number that all logits are divided by.
//!
//! q = softmax(z/T), with the temperature T > 0 that minimizes the mean negative log-likelihood of
//! the labels.
//! In β = 1/T the problem is convex:
//!
//! L(β) = mean\[ln Σ_k e^{βz_k} − βz_y\], L′(β) = mean\[E_q\[z\] − z_y\], L″(β) = mean Var_q\[z\] ≥
//! 0
//!
//! z: logits `[rows, classes]`; y: labels, one a row; q as above.
//! The order of the classes stays in every row, so accuracy does.
//! T > 1 softens an overconfident classifier, T < 1 sharpens an underconfident one.
//!
//! The root of L′ is searched in ln β by a Newton method that cannot leave its bracket, so T is
//! positive by construction, and the result is never worse than T = 1 on the rows that were fitted.
//! Of many rows a sample is searched first, and its optimum improved on all of them by a Taylor series
//! of L′ with the derivatives of L up to the sixth: mostly one pass over all rows is enough; where the
//! series do not settle as they should, all rows are searched.
//!
//! Not all data determine a temperature.
//! With s the mean over the rows of max z − mean z, the temperature is sought between s·10⁻⁶ and
//! s·10⁶, and a fit that has no optimum there is logged as a warning and ends as
//!
//! - [`FitOutcome::Separable`](crate::FitOutcome::Separable) if every label is the largest of its row (or so nearly that the
//!   optimum lies below the bound): the likelihood asks for T → 0. But n right answers out of n are
//!   no evidence for an error rate below 1/(n + 2) (Laplace's rule of succession), so T is lowered
//!   until the loss is that of such a rate, ln((n + 2)/(n + 1)), and no further; it stays 1 if the
//!   loss is below that already, and is the bound if the loss cannot get there.
//! - [`FitOutcome::WorseThanUniform`](crate::FitOutcome::WorseThanUniform) if the labels' logits are on average no larger than the mean
//!   of their rows (or by no more than the bound can tell): the likelihood asks for T → ∞, and T is
//!   the bound, where all probabilities are equal to a millionth.
//! - [`FitOutcome::Flat`](crate::FitOutcome::Flat) if the logits of every row are equal: T is 1, and every other would do
//!   the same.
//!
//! Numerical notes: computed in `f64` with compensated sums; only differences of logits enter, so a
//! shift of a row changes nothing.
//! A logit of −∞ is a class that cannot be: it stays −∞ and adds nothing.
//!
//! Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks"
//! (2017).

mod problem;

use serde::{Deserialize, Serialize};
use softlabel_core::{LogProbabilities, Logits, Scalar, Temperature};
use softlabel_kernels::log_softmax_in_place;

use crate::calibrator::map_rows;
use crate::document::Document;
use crate::{Calibrator, FitDiagnostics, Result, Targets};
use problem::{Minimum, Problem};

/// Divides all logits by one temperature: q = softmax(z/T).
///
/// [`fit`](Self::fit) takes the T > 0 that minimizes the mean negative log-likelihood of the
/// labels, which is convex in 1/T.
/// T > 1 softens an overconfident classifier, T < 1 sharpens an underconfident one; the order of
/// the classes stays, so accuracy does.
/// On the rows that were fitted the result is never worse than T = 1.
///
/// # Data that do not determine a temperature
/// Let s be the mean over the rows of max z − mean z, over the classes that can be. T is sought in
/// \[s·10⁻⁶, s·10⁶\]; where it has no optimum there, [`FitDiagnostics::outcome`] is
///
/// - [`FitOutcome::Separable`](crate::FitOutcome::Separable) if every label is the largest of its row: the likelihood asks for
///   T → 0. T is lowered from 1 until the loss is ln((n + 2)/(n + 1)), that of an error rate of
///   1/(n + 2), the most that n right answers support (Laplace's rule of succession).
/// - [`FitOutcome::WorseThanUniform`](crate::FitOutcome::WorseThanUniform) if the labels' logits are on average no larger than the mean
///   of their rows: the likelihood asks for T → ∞, and T = s·10⁶, where all classes are equally
///   likely to a millionth.
/// - [`FitOutcome::Flat`](crate::FitOutcome::Flat) if the logits of every row are equal: T = 1, and every other would do the
///   same.
///
/// # Source
/// C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks" (2017).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, TemperatureScaling};
///
/// // 90 % sure, 75 % right.
/// let logits = Logits::new([9.0f64.ln(), 0.0].repeat(4), 2)?;
/// let labels = Labels::new(&[0, 0, 0, 1], 2)?;
/// let scaling = TemperatureScaling::fit(&logits, &labels)?;
/// assert!((scaling.temperature().get() - 2.0).abs() < 1e-9);
/// assert!(scaling.diagnostics().unwrap().outcome.converged());
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct TemperatureScaling {
    temperature: Temperature,
    classes: usize,
    diagnostics: Option<FitDiagnostics>,
}

impl TemperatureScaling {
    /// Fits the temperature that minimizes the mean negative log-likelihood of the targets.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes; `targets` are labels, or
    /// distributions t such as the shares of annotators' votes, of which the mean cross-entropy −Σ_k
    /// t_k ln q_k is minimized and reported, with weights or without.
    /// Logarithms of probabilities are logits too.
    /// Where the data do not determine a temperature the [outcome](FitDiagnostics::outcome) says
    /// why, and the type's documentation which temperature is used.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no rows, fewer rows than classes, not one target a row, or
    /// targets of another number of classes; [`Error::ImpossibleLabel`](crate::Error::ImpossibleLabel) if a class with a target above
    /// 0 has the logit −∞; [`Error::NotConverged`](crate::Error::NotConverged) if the logits are so large that `f64` cannot hold their squares.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits, Probabilities};
    /// use softlabel_posthoc::TemperatureScaling;
    ///
    /// // Three in four are right; the logits claim half the log-odds of that.
    /// let logits = Logits::new([0.5 * 3.0f64.ln(), 0.0].repeat(4), 2)?;
    /// let scaling = TemperatureScaling::fit(&logits, &Labels::new(&[0, 0, 1, 0], 2)?)?;
    /// assert!((scaling.temperature().get() - 0.5).abs() < 1e-9);
    ///
    /// assert!(TemperatureScaling::fit(&logits, &Labels::new(&[0, 0], 2)?).is_err());
    ///
    /// // 90 % sure, where 75 % of the annotators agree.
    /// let logits = Logits::new([9.0f64.ln(), 0.0].repeat(2), 2)?;
    /// let votes = Probabilities::new([0.75, 0.25].repeat(2), 2)?;
    /// let scaling = TemperatureScaling::fit(&logits, &votes)?;
    /// assert!((scaling.temperature().get() - 2.0).abs() < 1e-9);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
    ) -> Result<Self> {
        let (all, all_targets) = (logits, targets.into());
        let (logits, targets) = Targets::from(&all_targets).of_fit_unseen(all)?;
        let problem = Problem::new(logits.as_slice(), &targets);
        if problem.has_impossible_targets() {
            all_targets.check_possible(all)?;
        }
        let before = problem.loss_before();
        let minimum = problem.minimize()?;
        let Minimum { outcome, iterations, .. } = minimum;
        // The loss is convex, so only rounding can make it larger.
        let (temperature, after) = if minimum.loss <= before {
            (minimum.temperature, minimum.loss)
        } else {
            (1.0, before)
        };
        if !outcome.converged() {
            tracing::warn!(?outcome, temperature, "the data do not determine a temperature");
        }
        let diagnostics = FitDiagnostics {
            samples: targets.len(),
            nll_before: before,
            nll_after: after,
            objective: None,
            iterations,
            outcome,
            classes: Vec::new(),
        };
        Ok(Self {
            temperature: Temperature::new(temperature)?,
            classes: logits.classes(),
            diagnostics: Some(diagnostics),
        })
    }

    /// The map with a given temperature, for `classes` classes.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if `classes` is 0.
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// use softlabel_posthoc::{Calibrator, TemperatureScaling};
    /// let scaling = TemperatureScaling::from_temperature(Temperature::new(1.5)?, 10)?;
    /// assert_eq!(scaling.temperature().get(), 1.5);
    /// assert!(scaling.diagnostics().is_none());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_temperature(temperature: Temperature, classes: usize) -> Result<Self> {
        Self::from_parts(temperature, classes, None)
    }

    pub(crate) fn from_parts(
        temperature: Temperature,
        classes: usize,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        if classes == 0 {
            return Err(softlabel_core::Error::Empty { what: "the set of classes" }.into());
        }
        Ok(Self { temperature, classes, diagnostics })
    }

    /// The bound of the temperature, where all probabilities are equal to a millionth.
    pub(crate) fn highest<T: Scalar>(
        logits: &Logits<'_, T>,
        targets: &Targets<'_>,
    ) -> Result<Temperature> {
        Ok(Temperature::new(Problem::new(logits.as_slice(), targets).highest())?)
    }

    /// T, what logits are divided by.
    pub fn temperature(&self) -> Temperature {
        self.temperature
    }

    /// The logits divided by the temperature: z/T.
    ///
    /// [`apply`](Calibrator::apply) gives their log-softmax.
    ///
    /// # Errors
    /// [`Error::ClassCount`](crate::Error::ClassCount) if the logits are of another number of classes; [`Error::Input`](crate::Error::Input) if a
    /// quotient is too large for `f64`.
    ///
    /// ```
    /// use softlabel_core::{Logits, Temperature};
    /// use softlabel_posthoc::TemperatureScaling;
    /// let scaling = TemperatureScaling::from_temperature(Temperature::new(2.0)?, 2)?;
    /// let scaled = scaling.scale(&Logits::new(&[3.0f32, f32::NEG_INFINITY], 2)?)?;
    /// assert_eq!(scaled.as_slice(), [1.5, f64::NEG_INFINITY]);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn scale<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Logits<'static, f64>> {
        let divide = |row: &mut [f64]| {
            for z in row.iter_mut() {
                *z /= self.temperature.get();
            }
        };
        Ok(Logits::new(map_rows(logits, self.classes, divide)?, self.classes)?)
    }
}

impl Calibrator for TemperatureScaling {
    fn classes(&self) -> usize {
        self.classes
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.diagnostics.as_ref()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        let map = |row: &mut [f64]| {
            // Shifted before it is scaled, so that no quotient overflows to +∞.
            let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            for z in row.iter_mut() {
                *z = (*z - highest) / self.temperature.get();
            }
            log_softmax_in_place(row);
        };
        Ok(LogProbabilities::new(map_rows(logits, self.classes, map)?, self.classes)?)
    }
}
