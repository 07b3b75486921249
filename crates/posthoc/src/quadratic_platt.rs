//! Platt's sigmoid with a quadratic of the log-odds inside, for every class against the rest.
//!
//! q_k = σ(u_k) / Σ_j σ(u_j), u_k = a_k·f_k² + b_k·f_k + c_k, with f_k = ln p_k − ln(1 − p_k) and p =
//! softmax(z)
//!
//! z: logits `[rows, classes]`; (a_k, b_k, c_k): fitted class by class on "k" against "not k" with
//! Platt's smoothed targets t₊ = (N₊ + 1)/(N₊ + 2), t₋ = 1/(N₋ + 2), minimizing
//!
//! F(a, b, c) = Σ_i ln(1 + e^{u_i}) − t_i u_i
//!
//! F is convex, and strictly so if there are three different scores; since every target lies
//! strictly between 0 and 1 its minimum is finite, separable scores or not.
//! With two classes there is one map, of z_1 − z_0, and q_0 = 1 − q_1: that of class 0 would be its
//! mirror image.
//! a = c = 0, b = 1 gives p back; a = 0 is Platt scaling.
//!
//! u need not rise with f: it turns at −b/(2a), which lies among the scores of the fit only if the
//! labels say so, but may lie beside them.
//!
//! What is defined where there is little to fit:
//!
//! - With two different scores there is no quadratic to find, a = 0, and the rest is Platt's.
//! - With one or none, or all rows on the same side of the class: as [`PlattScaling`] has it.
//!
//! Numerical notes: computed in `f64` with Newton's method, on the powers 1, x, x² − γx − 1 of the
//! standardized score x, which are uncorrelated on the rows of the fit.
//!
//! Source: J. C. Platt, "Probabilistic Outputs for Support Vector Machines" (1999); the quadratic:
//! E. Berta, D. Holzmüller, M. I. Jordan, F. Bach, "Structured Matrix Scaling for Multi-Class
//! Calibration" (2025).
//!
//! [`PlattScaling`]: crate::PlattScaling

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Logits, Scalar};
use softlabel_kernels::{
    CompensatedSum, MinimumOutcome, MinimumSettings, log_odds_in_place, minimize_newton,
};

use crate::calibrator::{calibrates_rows, map_rows};
use crate::document::{Document, Written};
use crate::one_vs_rest::{
    Score, Scored, Sides, check_map_count, class_of, diagnostics, map_log_odds, masses,
};
use crate::sigmoid::{self, NotConverged, mass, target};
use crate::{ClassFit, Error, FitDiagnostics, FitOutcome, Result, Targets};

/// A search that ends because `f64` sees no decrease has converged if its gradient is below this.
const STALLED_GRADIENT: f64 = 1e-6;

/// Squares that vary by less, of a standardized score, are those of two different scores.
const LEAST_VARIATION: f64 = 1e-9;

/// f ↦ σ(a·f² + b·f + c).
///
/// ```
/// let curve = softlabel_posthoc::QuadraticCurve { a: 0.5, b: 1.0, c: 0.0 };
/// assert_eq!(curve.log_odds(2.0), 4.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuadraticCurve {
    /// The factor of the square.
    pub a: f64,
    /// The factor of the log-odds.
    pub b: f64,
    /// The constant.
    pub c: f64,
}

impl QuadraticCurve {
    /// a·f² + b·f + c, brought into the finite numbers.
    pub fn log_odds(self, log_odds: f64) -> f64 {
        // Such that a product is infinite before it is undefined.
        let f = log_odds.clamp(-1e150, 1e150);
        ((self.a * f + self.b) * f + self.c).clamp(f64::MIN, f64::MAX)
    }
}

/// A sigmoid of a quadratic of its log-odds for every class, renormalized:
/// q_k ∝ σ(a_k·f_k² + b_k·f_k + c_k), with f_k = z_k − ln Σ_{j≠k} e^{z_j}.
///
/// As [`PlattScaling`](crate::PlattScaling), with its smoothed targets, and one number more a class,
/// so that low and high scores can be corrected differently.
/// With two classes there is one map, of z_1 − z_0, and q_0 = 1 − q_1.
/// The top class of a row may change, and a quadratic may fall where the fit has few rows.
///
/// # Little data
/// With fewer than three different scores of a class, or all its rows on one side, a = 0 and (b, c)
/// are those of Platt scaling; the class's [outcome](ClassFit::outcome) says what was missing.
///
/// # Source
/// J. C. Platt (1999); E. Berta, D. Holzmüller, M. I. Jordan, F. Bach (2025).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, QuadraticPlattScaling};
///
/// // Three scores −1, 0, 1, four rows of each, of which 1, 1 and 3 are of class 1.
/// let logits: Vec<f64> = [-1.0, 0.0, 1.0].iter().flat_map(|&f| [0.0, f].repeat(4)).collect();
/// let labels = Labels::new(&[1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0], 2)?;
/// let logits = Logits::new(logits, 2)?;
/// let map = QuadraticPlattScaling::fit(&logits, &labels)?;
/// let calibrated = map.apply(&logits)?;
/// // Three numbers for three scores: each has the mean of Platt's targets 6/7 and 1/9.
/// assert!((calibrated.as_slice()[1].exp() - (6.0 / 7.0 + 3.0 / 9.0) / 4.0).abs() < 1e-8);
/// assert!((calibrated.as_slice()[23].exp() - (18.0 / 7.0 + 1.0 / 9.0) / 4.0).abs() < 1e-8);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct QuadraticPlattScaling {
    /// One a class, but a single one (of class 1) for two classes.
    curves: Vec<QuadraticCurve>,
    classes: usize,
    diagnostics: Option<FitDiagnostics>,
}

impl QuadraticPlattScaling {
    /// Fits a curve for every class against the rest.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no rows, fewer rows than classes, not one label a row, or
    /// labels of another number of classes; [`Error::ImpossibleLabel`] if a label has the logit −∞;
    /// [`Error::NotConverged`] if Newton's method does not get to the optimum of a class.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::QuadraticPlattScaling;
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 2.0], 2)?;
    /// let map = QuadraticPlattScaling::fit(&logits, &Labels::new(&[0, 1], 2)?)?;
    /// // Two scores know no square.
    /// assert_eq!(map.curves()[0].a, 0.0);
    /// assert!(QuadraticPlattScaling::fit(&logits, &Labels::new(&[0], 2)?).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let classes = logits.classes();
        let (mut curves, mut fits) = (Vec::new(), Vec::new());
        for (map, scores) in masses(&logits, &targets, log_odds_in_place)?.into_iter().enumerate() {
            let (curve, fit) = fit_class(&scores).map_err(|error| Error::NotConverged {
                method: Self::METHOD,
                class: Some(class_of(map, classes)),
                iterations: error.iterations,
            })?;
            curves.push(curve);
            fits.push(fit);
        }
        let mut map = Self { curves, classes, diagnostics: None };
        let after = map.calibrated(&logits)?;
        map.diagnostics = Some(diagnostics(&logits, &targets, &after, fits)?);
        Ok(map)
    }

    /// The map with given curves, for `classes` classes.
    ///
    /// `curves` has one a class, but for two classes a single one, that of class 1.
    ///
    /// # Errors
    /// [`Error::Input`] if `classes` is 0, if there are more or fewer curves, or if a number is not
    /// finite.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{Calibrator, QuadraticCurve, QuadraticPlattScaling};
    /// let curve = QuadraticCurve { a: 0.0, b: 2.0, c: 0.0 };
    /// let map = QuadraticPlattScaling::from_curves(2, vec![curve])?;
    /// let calibrated = map.apply(&Logits::new(vec![0.0, 3.0f64.ln()], 2)?)?;
    /// assert!((calibrated.as_slice()[1].exp() - 0.9).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_curves(classes: usize, curves: Vec<QuadraticCurve>) -> Result<Self> {
        Self::from_parts(classes, curves, None)
    }

    fn from_parts(
        classes: usize,
        curves: Vec<QuadraticCurve>,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_map_count(classes, curves.len())?;
        let mut numbers = curves.iter().flat_map(|curve| [curve.a, curve.b, curve.c]);
        if let Some(found) = numbers.find(|number| !number.is_finite()) {
            let name = "a number of a curve";
            return Err(Input::OutOfRange { name, expected: "finite", found }.into());
        }
        Ok(Self { curves, classes, diagnostics })
    }

    /// (a, b, c) of every map: one a class, but for two classes a single one, that of class 1.
    pub fn curves(&self) -> &[QuadraticCurve] {
        &self.curves
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        let log_odds = |map: usize, log_odds| self.curves[map].log_odds(log_odds);
        map_rows(logits, self.classes, |row| map_log_odds(row, log_odds))
    }
}

calibrates_rows!(QuadraticPlattScaling);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    curves: Vec<QuadraticCurve>,
}

impl Written for QuadraticPlattScaling {
    const METHOD: &'static str = "quadratic_platt";
    type Parameters = Parameters;

    fn parameters(&self) -> Parameters {
        Parameters { curves: self.curves.clone() }
    }

    fn restore(
        classes: usize,
        parameters: Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(classes, parameters.curves, fit)
    }
}

/// Fits a curve to finite log-odds with their masses.
fn fit_class(scores: &[Score]) -> Result<(QuadraticCurve, ClassFit), NotConverged> {
    let (line, fit) = sigmoid::fit(scores)?;
    let linear = QuadraticCurve { a: 0.0, b: line.slope, c: line.intercept };
    if fit.outcome != FitOutcome::Converged {
        return Ok((linear, fit));
    }
    let Sides { positive, negative, .. } = Sides::of(scores);
    let count = positive + negative;
    let mean = |value: &dyn Fn(f64) -> f64| {
        let values = scores.iter().map(|score| mass(score) * value(score.score()) / count);
        values.collect::<CompensatedSum>().value()
    };
    // Divided by the largest first, so that no square overflows.
    let scale = scores.iter().map(|score| score.score().abs()).fold(0.0, f64::max);
    let centre = mean(&|score| score / scale);
    let deviation = mean(&|score| (score / scale - centre).powi(2)).sqrt();
    let standard = |score: f64| (score / scale - centre) / deviation;
    let skewness = mean(&|score| standard(score).powi(3));
    let bend = |x: f64| x * x - skewness * x - 1.0;
    let variation = mean(&|score| bend(standard(score)).powi(2)).sqrt();
    if variation <= LEAST_VARIATION {
        return Ok((linear, fit));
    }

    let (high, low) = sigmoid::targets(positive, negative);
    let features = |score: &Score| {
        let x = standard(score.score());
        ([bend(x) / variation, x, 1.0], target(score, high, low), mass(score))
    };
    let points: Vec<([f64; 3], f64, f64)> = scores.iter().map(features).collect();
    let log_odds = |parameters: &[f64], features: &[f64; 3]| -> f64 {
        parameters.iter().zip(features).map(|(parameter, feature)| parameter * feature).sum()
    };
    let objective = |parameters: &[f64], gradient: &mut [f64]| {
        let mut loss = CompensatedSum::default();
        let mut sums = [CompensatedSum::default(); 3];
        for (features, target, mass) in &points {
            let u = log_odds(parameters, features);
            let exponential = (-u.abs()).exp();
            let linear = if u >= 0.0 { (1.0 - target) * u } else { -target * u };
            loss.add(mass * (linear + exponential.ln_1p()));
            let probability = if u >= 0.0 { 1.0 } else { exponential } / (1.0 + exponential);
            for (sum, feature) in sums.iter_mut().zip(features) {
                sum.add(mass * (probability - target) * feature);
            }
        }
        gradient.copy_from_slice(&sums.map(|sum| sum.value() / count));
        loss.value() / count
    };
    let hessian = |parameters: &[f64], hessian: &mut [f64]| {
        hessian.fill(0.0);
        for (features, _, mass) in &points {
            let exponential = (-log_odds(parameters, features).abs()).exp();
            let variance = mass * exponential / (1.0 + exponential).powi(2);
            for (index, sum) in hessian.iter_mut().enumerate() {
                *sum += variance * features[index / 3] * features[index % 3] / count;
            }
        }
    };
    let start = [0.0, line.slope * scale * deviation, line.intercept + line.slope * scale * centre];
    let minimum = minimize_newton(objective, hessian, &start, &MinimumSettings::default());
    let iterations = fit.iterations + minimum.iterations;
    let converged = match minimum.outcome {
        MinimumOutcome::Converged | MinimumOutcome::TargetReached => true,
        MinimumOutcome::Stalled => minimum.gradient <= STALLED_GRADIENT,
        MinimumOutcome::IterationLimit | MinimumOutcome::NotFinite => false,
    };
    let (true, &[square, slope, constant]) = (converged, minimum.position.as_slice()) else {
        return Err(NotConverged { iterations });
    };
    // From the powers of x back to those of the score.
    let (width, square) = (scale * deviation, square / variation);
    let slope = slope - skewness * square;
    let middle = centre / deviation;
    let curve = QuadraticCurve {
        a: square / width / width,
        b: (slope - 2.0 * square * middle) / width,
        c: constant - square - slope * middle + square * middle * middle,
    };
    Ok((curve, ClassFit { iterations, ..fit }))
}
