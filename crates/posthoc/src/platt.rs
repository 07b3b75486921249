//! A sigmoid for every class, one class against the rest.
//!
//! q_k = σ(a_k·f_k + b_k) / Σ_j σ(a_j·f_j + b_j), with f_k = ln p_k − ln(1 − p_k) and p =
//! softmax(z)
//!
//! z: logits `[rows, classes]`; (a_k, b_k): fitted class by class on the labels "k" and "not k"
//! with Platt's smoothed targets t₊ = (N₊ + 1)/(N₊ + 2), t₋ = 1/(N₋ + 2).
//! With two classes this is Platt scaling of z_1 − z_0, and the sum is 1 before it is divided by.
//!
//! The score is the log-odds f_k = z_k − ln Σ_{j≠k} e^{z_j}, not the raw logit z_k: a softmax
//! ignores a common shift of its logits, so networks learn z_k only up to one, and what z_k = 3
//! says depends on the others of its row. f_k does not, and with two classes it is the score that
//! Platt had.
//! a_k = 1, b_k = 0 for all k gives p back.
//!
//! Each class has its own map, so the top class of a row may change, and a fit class by class need
//! not lower the negative log-likelihood of the whole.
//!
//! What is defined where there is little to fit:
//!
//! - A class that never occurs among the labels, or alone occurs, gets the constant that Platt's
//!   targets ask for: σ(b) = 1/(n + 2) or (n + 1)/(n + 2), a = 0
//!   ([`FitOutcome::OneSided`]).
//! - A class with the same score in all rows gets the mean of its targets, a = 0
//!   ([`FitOutcome::Flat`]).
//! - Rows in which a class cannot be (z = −∞), or no other can, say nothing about its map and are
//!   left out of its fit; if no rows are left, a = 1, b = 0 (`Flat`).
//!
//! Numerical notes: computed in `f64` and in log space throughout, so a probability is 0 only where
//! the logit is −∞, and a row never loses all of its mass.
//!
//! Source: J. C. Platt, "Probabilistic Outputs for Support Vector Machines" (1999); H.-T. Lin,
//! C.-J. Lin, R. C. Weng, "A Note on Platt's Probabilistic Outputs for Support Vector Machines"
//! (2007);
//! one against the rest, with renormalization: B. Zadrozny and C. Elkan, "Transforming Classifier
//! Scores into Accurate Multiclass Probability Estimates" (2002).

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, LogProbabilities, Logits, Scalar};
use softlabel_kernels::{log_odds_in_place, log_softmax_in_place};

use crate::calibrator::map_rows;
use crate::document::{Document, Written};
use crate::one_vs_rest::Score;
use crate::sigmoid::{self, Sigmoid};
use crate::{Calibrator, ClassFit, Error, FitDiagnostics, FitOutcome, Result, Targets};

/// A sigmoid of its log-odds for every class, renormalized:
/// q_k ∝ σ(a_k·f_k + b_k), with f_k = z_k − ln Σ_{j≠k} e^{z_j}.
///
/// f_k is the log-odds of class k under softmax(z), not its raw logit, which says nothing without
/// the others of its row.
/// (a_k, b_k) is fitted on "k" against "not k" by penalized likelihood: with N₊ rows of class k and
/// N₋ others, the targets are (N₊ + 1)/(N₊ + 2) and 1/(N₋ + 2) in place of 1 and 0, so the optimum
/// is finite even if the classes can be separated.
/// With two classes this is Platt scaling of z_1 − z_0.
/// The top class of a row may change.
///
/// # Little data
/// A class that never occurs among the labels, or alone occurs, gets the constant of its targets,
/// and a class with equal scores in all rows their mean; a_k is 0 then, and the class's
/// [outcome](ClassFit::outcome) says so.
/// Rows in which a class cannot be (logit −∞), or no other can, are left out of its fit; if none
/// are left, a_k = 1 and b_k = 0.
/// An impossible class stays impossible; no other probability is ever 0.
///
/// # Source
/// J. C. Platt (1999); the optimization of H.-T. Lin, C.-J. Lin and R. C. Weng (2007); one class
/// against the rest as in B. Zadrozny and C. Elkan (2002).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, PlattScaling};
///
/// // Sure of class 0 in all rows, right in three of four: the score cannot tell them apart.
/// let logits = Logits::new([5.0f32, 0.0].repeat(4), 2)?;
/// let scaling = PlattScaling::fit(&logits, &Labels::new(&[0, 0, 0, 1], 2)?)?;
/// let calibrated = scaling.apply(&logits)?;
/// // The mean of Platt's targets, 4/5 three times and 1/3 once.
/// assert!((calibrated.as_slice()[0].exp() - (3.0 * 0.8 + 1.0 / 3.0) / 4.0).abs() < 1e-12);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias("sigmoid calibration", "logistic calibration"))]
pub struct PlattScaling {
    /// One a class, at least one.
    sigmoids: Vec<Sigmoid>,
    diagnostics: Option<FitDiagnostics>,
}

impl PlattScaling {
    /// Fits a sigmoid for every class against the rest.
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
    /// use softlabel_posthoc::{Calibrator, PlattScaling};
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 2.0], 2)?;
    /// let scaling = PlattScaling::fit(&logits, &Labels::new(&[0, 1, 0, 1], 2)?)?;
    /// // The classes mirror each other.
    /// assert!((scaling.slopes()[0] - scaling.slopes()[1]).abs() < 1e-9);
    /// assert!(scaling.intercepts()[0].abs() < 1e-9);
    ///
    /// assert!(PlattScaling::fit(&logits, &Labels::new(&[0, 1], 2)?).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let classes = logits.classes();
        let log_odds = map_rows(&logits, classes, log_odds_in_place)?;
        let mut sigmoids = Vec::with_capacity(classes);
        let mut fits = Vec::with_capacity(classes);
        for class in 0..classes {
            let rows = log_odds.chunks_exact(classes).enumerate();
            let scores: Vec<Score> = rows
                .filter(|(_, values)| values[class].is_finite())
                .map(|(row, values)| Score::of(values[class], &targets, row, class))
                .collect();
            let (sigmoid, fit) = sigmoid::fit(&scores).map_err(|error| Error::NotConverged {
                method: PlattScaling::METHOD,
                class: Some(class),
                iterations: error.iterations,
            })?;
            sigmoids.push(sigmoid);
            fits.push(fit);
        }

        let before = map_rows(&logits, classes, log_softmax_in_place)?;
        let mut after = log_odds;
        after.chunks_exact_mut(classes).for_each(|row| map_log_odds(&sigmoids, row));
        let diagnostics = FitDiagnostics {
            samples: logits.rows(),
            nll_before: targets.mean_loss(&before),
            nll_after: targets.mean_loss(&after),
            objective: None,
            iterations: fits.iter().map(|fit| fit.iterations).sum(),
            outcome: overall_outcome(&fits),
            classes: fits,
        };
        Ok(Self { sigmoids, diagnostics: Some(diagnostics) })
    }

    /// The map with given slopes a_k and intercepts b_k, one of each a class.
    ///
    /// # Errors
    /// [`Error::Input`] if there are none, not as many of one as of the other, or if one is not
    /// finite.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{Calibrator, PlattScaling};
    /// let identity = PlattScaling::from_parameters(&[1.0, 1.0], &[0.0, 0.0])?;
    /// let calibrated = identity.apply(&Logits::new(vec![3.0f64.ln(), 0.0], 2)?)?;
    /// assert!((calibrated.as_slice()[0].exp() - 0.75).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_parameters(slopes: &[f64], intercepts: &[f64]) -> Result<Self> {
        Self::from_parts(slopes, intercepts, None)
    }

    pub(crate) fn from_parts(
        slopes: &[f64],
        intercepts: &[f64],
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        if slopes.is_empty() {
            return Err(Input::Empty { what: "the set of slopes" }.into());
        }
        if slopes.len() != intercepts.len() {
            let (expected, found) =
                (format!("{}, as slopes", slopes.len()), intercepts.len().to_string());
            return Err(Input::mismatch("number of intercepts", expected, found).into());
        }
        if let Some(&found) = slopes.iter().chain(intercepts).find(|value| !value.is_finite()) {
            let name = "a slope or intercept";
            return Err(Input::OutOfRange { name, expected: "finite", found }.into());
        }
        let sigmoid = |(&slope, &intercept)| Sigmoid { slope, intercept };
        Ok(Self { sigmoids: slopes.iter().zip(intercepts).map(sigmoid).collect(), diagnostics })
    }

    /// a_k for every class k.
    pub fn slopes(&self) -> Vec<f64> {
        self.sigmoids.iter().map(|sigmoid| sigmoid.slope).collect()
    }

    /// b_k for every class k.
    pub fn intercepts(&self) -> Vec<f64> {
        self.sigmoids.iter().map(|sigmoid| sigmoid.intercept).collect()
    }
}

impl Calibrator for PlattScaling {
    fn classes(&self) -> usize {
        self.sigmoids.len()
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.diagnostics.as_ref()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        let map = |row: &mut [f64]| {
            log_odds_in_place(row);
            map_log_odds(&self.sigmoids, row);
        };
        Ok(LogProbabilities::new(map_rows(logits, self.classes(), map)?, self.classes())?)
    }
}

/// Replaces the log-odds of a row by calibrated log-probabilities.
fn map_log_odds(sigmoids: &[Sigmoid], row: &mut [f64]) {
    for (value, sigmoid) in row.iter_mut().zip(sigmoids) {
        // A class that cannot be stays so.
        if *value != f64::NEG_INFINITY {
            *value = sigmoid.log_probability(*value);
        }
    }
    log_softmax_in_place(row);
}

/// How the first class ended that did not converge; every such class is logged.
pub(crate) fn overall_outcome(fits: &[ClassFit]) -> FitOutcome {
    let mut overall = FitOutcome::Converged;
    for (class, fit) in fits.iter().enumerate().filter(|(_, fit)| !fit.outcome.converged()) {
        tracing::warn!(class, outcome = ?fit.outcome, "the data do not determine this class's map");
        if overall.converged() {
            overall = fit.outcome;
        }
    }
    overall
}
