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
//!
//! Not all data determine a temperature.
//! With s the mean over the rows of max z − mean z, the temperature is sought between s·10⁻⁶ and
//! s·10⁶, and a fit that has no optimum there is logged as a warning and ends as
//!
//! - [`FitOutcome::Separable`] if every label is the largest of its row (or so nearly that the
//!   optimum lies below the bound): the likelihood asks for T → 0. But n right answers out of n are
//!   no evidence for an error rate below 1/(n + 2) (Laplace's rule of succession), so T is lowered
//!   until the loss is that of such a rate, ln((n + 2)/(n + 1)), and no further; it stays 1 if the
//!   loss is below that already, and is the bound if the loss cannot get there.
//! - [`FitOutcome::WorseThanUniform`] if the labels' logits are on average no larger than the mean
//!   of their rows (or by no more than the bound can tell): the likelihood asks for T → ∞, and T is
//!   the bound, where all probabilities are equal to a millionth.
//! - [`FitOutcome::Flat`] if the logits of every row are equal: T is 1, and every other would do
//!   the same.
//!
//! Numerical notes: computed in `f64` with compensated sums; only differences of logits enter, so a
//! shift of a row changes nothing.
//! A logit of −∞ is a class that cannot be: it stays −∞ and adds nothing.
//!
//! Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks"
//! (2017).

use serde::{Deserialize, Serialize};
use softlabel_core::{Labels, LogProbabilities, Logits, Scalar, Temperature};
use softlabel_kernels::{
    CompensatedSum, RootOutcome, RootSettings, TiltedMoments, find_root, log_softmax_in_place,
};

use crate::calibrator::{check_fit, map_rows, rows_and_labels};
use crate::document::{Document, Written};
use crate::{Calibrator, Error, FitDiagnostics, FitOutcome, Result};

/// The bounds of the temperature are s/`RANGE` and s·`RANGE`, s being the spread of the logits.
const RANGE: f64 = 1e6;

/// How exactly ln T is determined.
const TOLERANCE: f64 = 1e-12;

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
/// - [`FitOutcome::Separable`] if every label is the largest of its row: the likelihood asks for
///   T → 0. T is lowered from 1 until the loss is ln((n + 2)/(n + 1)), that of an error rate of
///   1/(n + 2), the most that n right answers support (Laplace's rule of succession).
/// - [`FitOutcome::WorseThanUniform`] if the labels' logits are on average no larger than the mean
///   of their rows: the likelihood asks for T → ∞, and T = s·10⁶, where all classes are equally
///   likely to a millionth.
/// - [`FitOutcome::Flat`] if the logits of every row are equal: T = 1, and every other would do the
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
    /// Fits the temperature that minimizes the mean negative log-likelihood of `labels`.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes.
    /// Logarithms of probabilities are logits too.
    /// Where the data do not determine a temperature the [outcome](FitDiagnostics::outcome) says
    /// why, and the type's documentation which temperature is used.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no rows, fewer rows than classes, not one label a row, or
    /// labels of another number of classes; [`Error::ImpossibleLabel`] if a label has the logit −∞;
    /// [`Error::NotConverged`] if the logits are so large that `f64` cannot hold their squares.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::TemperatureScaling;
    ///
    /// // Three in four are right; the logits claim half the log-odds of that.
    /// let logits = Logits::new([0.5 * 3.0f64.ln(), 0.0].repeat(4), 2)?;
    /// let scaling = TemperatureScaling::fit(&logits, &Labels::new(&[0, 0, 1, 0], 2)?)?;
    /// assert!((scaling.temperature().get() - 0.5).abs() < 1e-9);
    ///
    /// assert!(TemperatureScaling::fit(&logits, &Labels::new(&[0, 0], 2)?).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<T: Scalar>(logits: &Logits<'_, T>, labels: &Labels) -> Result<Self> {
        check_fit(logits, labels)?;
        let loss = |beta| mean_loss(logits, labels, beta);
        let before = loss(1.0).value;
        let (optimum, outcome, iterations) = minimize(&Shape::of(logits, labels), loss)?;
        let after = loss(optimum.recip()).value;
        // The loss is convex, so only rounding can make it larger.
        let (temperature, after) = if after <= before { (optimum, after) } else { (1.0, before) };
        if !outcome.converged() {
            tracing::warn!(?outcome, temperature, "the data do not determine a temperature");
        }
        let diagnostics = FitDiagnostics {
            samples: logits.rows(),
            nll_before: before,
            nll_after: after,
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
    /// [`Error::Input`] if `classes` is 0.
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

    /// T, what logits are divided by.
    pub fn temperature(&self) -> Temperature {
        self.temperature
    }

    /// The logits divided by the temperature: z/T.
    ///
    /// [`apply`](Calibrator::apply) gives their log-softmax.
    ///
    /// # Errors
    /// [`Error::ClassCount`] if the logits are of another number of classes; [`Error::Input`] if a
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

/// L, L′ and L″ at some β.
struct Loss {
    value: f64,
    slope: f64,
    curvature: f64,
}

/// The mean negative log-likelihood at β and its derivatives by β.
fn mean_loss<T: Scalar>(logits: &Logits<'_, T>, labels: &Labels, beta: f64) -> Loss {
    let [mut value, mut slope, mut curvature] = [CompensatedSum::default(); 3];
    for (row, label) in rows_and_labels(logits, labels) {
        if let Some(moments) = TiltedMoments::new(row, label, beta) {
            value.add(moments.cross_entropy);
            slope.add(moments.slope);
            curvature.add(moments.curvature);
        }
    }
    let [value, slope, curvature] =
        [value, slope, curvature].map(|sum| sum.value() / logits.rows() as f64);
    Loss { value, slope, curvature }
}

/// What the logits tell before anything is fitted.
struct Shape {
    rows: usize,
    /// s, the mean over the rows of max z − mean z, over the classes that can be.
    spread: f64,
    /// Whether every label is the largest of its row.
    separable: bool,
}

impl Shape {
    fn of<T: Scalar>(logits: &Logits<'_, T>, labels: &Labels) -> Self {
        let mut sum = CompensatedSum::default();
        let mut separable = true;
        for (row, label) in rows_and_labels(logits, labels) {
            let possible = || row.iter().map(|&z| z.into()).filter(|&z| z > f64::NEG_INFINITY);
            let highest = possible().fold(f64::NEG_INFINITY, f64::max);
            sum.add(possible().map(|z| highest - z).sum::<f64>() / possible().count() as f64);
            separable &= row[label].into() == highest;
        }
        Self { rows: logits.rows(), spread: sum.value() / logits.rows() as f64, separable }
    }
}

/// The temperature to use, what it is, and after how many iterations it was found.
fn minimize(shape: &Shape, loss: impl Fn(f64) -> Loss) -> Result<(f64, FitOutcome, usize)> {
    if shape.spread == 0.0 {
        return Ok((1.0, FitOutcome::Flat, 0));
    }
    let lowest = (shape.spread / RANGE).max(f64::MIN_POSITIVE);
    let highest = (shape.spread * RANGE).min(f64::MAX);
    // In u = ln β = −ln T: dL/du = βL′ has the sign of L′, whose root is sought; dL′/du = βL″.
    let bracket = (-highest.ln(), -lowest.ln());
    let settings = RootSettings { step: TOLERANCE, ..RootSettings::default() };
    let search = |function: &dyn Fn(f64) -> (f64, f64)| {
        let root = find_root(|u| function(u.exp()), bracket, 0.0, &settings);
        match root.outcome {
            RootOutcome::IterationLimit | RootOutcome::NotFinite => Err(Error::NotConverged {
                method: TemperatureScaling::METHOD,
                class: None,
                iterations: root.iterations,
            }),
            RootOutcome::Converged | RootOutcome::SameSign => Ok(root),
        }
    };
    // The slope rises with β: where it has one sign only, that at the largest β tells which.
    if shape.separable || loss(lowest.recip()).slope < 0.0 {
        let floor = (1.0 / (shape.rows as f64 + 1.0)).ln_1p();
        if loss(1.0).value <= floor {
            return Ok((1.0, FitOutcome::Separable, 0));
        }
        let root = search(&|beta| {
            let loss = loss(beta);
            (loss.value - floor, beta * loss.slope)
        })?;
        return Ok(((-root.position).exp(), FitOutcome::Separable, root.iterations));
    }
    let root = search(&|beta| {
        let loss = loss(beta);
        (loss.slope, beta * loss.curvature)
    })?;
    if root.converged() {
        Ok(((-root.position).exp(), FitOutcome::Converged, root.iterations))
    } else {
        Ok((highest.max(1.0), FitOutcome::WorseThanUniform, root.iterations))
    }
}
