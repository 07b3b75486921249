//! A rising map for every class, one class against the rest, and nothing else assumed.
//!
//! q_k = g_k(p_k) / Σ_j g_j(p_j), with p = softmax(z)
//!
//! z: logits `[rows, classes]`; g_k: the non-decreasing function that minimizes Σ_i (g(p_ik) −
//! \[y_i = k\])² over the rows i of the fit.
//! Rows with the same p_k are one point with their mean, so their order cannot matter.
//! The minimum determines g at these points only, where it is constant on blocks; between two blocks
//! [`Interpolation`] says what it is, below the first point it is the first value and above the last
//! the last.
//!
//! With two classes q_1 = g_1(p_1) and q_0 = 1 − q_1.
//! The top class of a row may change; rows that p tells apart may become ties.
//!
//! What is defined where there is little to fit:
//!
//! - A class that never occurs among the labels gets 0, one that alone occurs 1
//!   ([`FitOutcome::OneSided`]).
//! - A class with the same probability in all rows gets its frequency ([`FitOutcome::Flat`]).
//! - A class without rows, because it cannot be or no other can, keeps p (`Flat`).
//! - A row in which every g is 0 becomes uniform over the classes that can be.
//!
//! A block in which a class never occurs has g = 0. [`Zeros`] says whether that stays.
//!
//! Numerical notes: p in `f64`, where a probability above 1 − 2⁻⁵³ is 1 and ties with others such.
//! Pooling is O(n) after sorting, see `isotonic_regression` of `softlabel-kernels`.
//!
//! Source: B. Zadrozny and C. Elkan, "Transforming Classifier Scores into Accurate Multiclass
//! Probability Estimates" (2002); the fit: M. Ayer, H. D. Brunk, G. M. Ewing, W. T. Reid,
//! E. Silverman (1955); centred: A. P. Oron, N. Flournoy, "Centered Isotonic Regression: Point and
//! Interval Estimation for Dose-Response Studies" (2017).

use std::ops::RangeInclusive;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Logits, Scalar};
use softlabel_kernels::{IsotonicPoint, IsotonicStep, isotonic_regression, softmax_in_place};

use crate::calibrator::{calibrates_rows, map_rows};
use crate::document::Document;
use crate::one_vs_rest::{Score, Scored, Sides, check_map_count, diagnostics, map_row, masses};
use crate::sigmoid::mass;
use crate::{ClassFit, FitDiagnostics, FitOutcome, Result, Targets, Zeros};

/// What an isotonic map is between the points of its fit.
///
/// ```
/// use softlabel_posthoc::Interpolation;
/// assert_eq!(Interpolation::default(), Interpolation::Linear);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// On the straight line from one block to the next, as scikit-learn has it: continuous, and it
    /// keeps more of the order of p.
    #[default]
    Linear,
    /// As on the block below, up to the first point of the next.
    Step,
    /// On the straight line from the centre of one block, the mean of p over its rows, to that of
    /// the next: rises strictly between the first and the last (centred isotonic regression, Oron
    /// and Flournoy 2017). A block of value 0 or 1 keeps both of its ends.
    #[serde(alias = "centered")]
    #[doc(alias = "CIR")]
    Centred,
}

/// How an [`IsotonicCalibration`] is fitted.
///
/// ```
/// use softlabel_posthoc::{Interpolation, IsotonicOptions, Zeros};
/// let options = IsotonicOptions { zeros: Zeros::Keep, ..IsotonicOptions::default() };
/// assert_eq!(options.interpolation, Interpolation::Linear);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IsotonicOptions {
    /// What the map is between the points of the fit.
    pub interpolation: Interpolation,
    /// What becomes of probabilities 0 and 1.
    pub zeros: Zeros,
}

/// A point (p, g) that an isotonic map goes through.
pub(crate) type Knot = (f64, f64);

/// A non-decreasing map of p_k for every class k, renormalized.
///
/// g_k is the non-decreasing least-squares fit to "k" (1) against "not k" (0), rows with the same
/// p_k pooled first; q_k = g_k(p_k) / Σ_j g_j(p_j).
/// With two classes there is one map, q_1 = g(p_1) and q_0 = 1 − q_1.
/// The top class of a row may change.
///
/// # Little data
/// A class that never occurs among the labels gets 0 and one that alone occurs 1
/// ([`FitOutcome::OneSided`]); a class with equal probabilities in all rows gets its frequency, and
/// one without rows keeps p ([`FitOutcome::Flat`]).
/// A row in which every g is 0 becomes uniform over the classes that can be.
///
/// # Zeros
/// A map that saw a class nowhere below some p says 0 there, and a label that comes up there has an
/// infinite negative log-likelihood. [`Zeros`] in the options keeps or clips such values; the
/// default clips to 1e-6.
///
/// # Source
/// B. Zadrozny and C. Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability
/// Estimates" (2002).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, IsotonicCalibration, IsotonicOptions};
///
/// // Sure of class 1 in four rows, right in three; against it in two rows, right in one.
/// let rows = [[0.0, 3.0], [0.0, 3.0], [0.0, 3.0], [0.0, 3.0], [1.0, 0.0], [1.0, 0.0]];
/// let logits = Logits::new(rows.concat(), 2)?;
/// let labels = Labels::new(&[1, 1, 1, 0, 0, 1], 2)?;
/// let map = IsotonicCalibration::fit(&logits, &labels, IsotonicOptions::default())?;
/// let calibrated = map.apply(&logits)?;
/// assert!((calibrated.as_slice()[1].exp() - 0.75).abs() < 1e-15);
/// assert!((calibrated.as_slice()[9].exp() - 0.5).abs() < 1e-15);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias = "isotonic regression")]
pub struct IsotonicCalibration {
    /// One a class, but a single one (of class 1) for two classes; none is empty.
    knots: Vec<Vec<Knot>>,
    classes: usize,
    options: IsotonicOptions,
    diagnostics: Option<FitDiagnostics>,
}

impl IsotonicCalibration {
    /// Fits a non-decreasing map for every class against the rest.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no rows, fewer rows than classes, not one
    /// label a row, labels of another number of classes, or an ε of [`Zeros::Clip`] outside (0,
    /// 1/2); [`Error::ImpossibleLabel`](crate::Error::ImpossibleLabel) if a label has the logit −∞.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{IsotonicCalibration, IsotonicOptions, Zeros};
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 2.0], 2)?;
    /// let labels = Labels::new(&[0, 1], 2)?;
    /// let map = IsotonicCalibration::fit(&logits, &labels, IsotonicOptions::default())?;
    /// assert_eq!(map.knots()[0].len(), 2);
    /// assert_eq!(map.knots()[0][1].1, 1.0);
    ///
    /// let options = IsotonicOptions { zeros: Zeros::Clip(0.5), ..Default::default() };
    /// assert!(IsotonicCalibration::fit(&logits, &labels, options).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        options: IsotonicOptions,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        options.zeros.checked()?;
        let (knots, fits): (Vec<_>, Vec<_>) = masses(&logits, &targets, softmax_in_place)?
            .into_par_iter()
            .map(|scores| fit_class(&scores, options.interpolation))
            .unzip();
        let mut map = Self { knots, classes: logits.classes(), options, diagnostics: None };
        let after = map.calibrated(&logits)?;
        map.diagnostics = Some(diagnostics(&logits, &targets, &after, fits)?);
        Ok(map)
    }

    /// The map through given points (p, g), for `classes` classes.
    ///
    /// `knots` has one list of points a class, but for two classes a single one, that of class 1.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if `classes` is 0, if there are more or fewer lists, if
    /// one is empty, if p does not rise strictly or g falls, if one of them is outside \[0, 1\], or
    /// for an ε of [`Zeros::Clip`] outside (0, 1/2).
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{Calibrator, Interpolation, IsotonicCalibration, IsotonicOptions};
    ///
    /// let knots = vec![vec![(0.25, 0.0), (0.75, 1.0)]];
    /// let logits = Logits::new(vec![0.6f64.ln(), 0.4f64.ln()], 2)?;
    /// let mut options = IsotonicOptions::default();
    /// let map = IsotonicCalibration::from_knots(2, knots.clone(), options)?;
    /// assert!((map.apply(&logits)?.as_slice()[1].exp() - 0.3).abs() < 1e-15);
    ///
    /// options.interpolation = Interpolation::Step;
    /// let map = IsotonicCalibration::from_knots(2, knots, options)?;
    /// assert!((map.apply(&logits)?.as_slice()[1].exp() - 1e-6).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_knots(
        classes: usize,
        knots: Vec<Vec<(f64, f64)>>,
        options: IsotonicOptions,
    ) -> Result<Self> {
        Self::from_parts(classes, knots, options, None)
    }

    pub(crate) fn from_parts(
        classes: usize,
        knots: Vec<Vec<Knot>>,
        options: IsotonicOptions,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_map_count(classes, knots.len())?;
        options.zeros.checked()?;
        for list in &knots {
            check_knots(list, 0.0..=1.0)?;
        }
        Ok(Self { knots, classes, options, diagnostics })
    }

    /// The points (p, g) of every map, p rising: one list a class, but for two classes a single
    /// one, that of class 1.
    pub fn knots(&self) -> &[Vec<(f64, f64)>] {
        &self.knots
    }

    /// How the map was fitted: what is between its points, and what becomes of zeros.
    pub fn options(&self) -> IsotonicOptions {
        self.options
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        let IsotonicOptions { interpolation, zeros } = self.options;
        let value = |map: usize, p: f64| interpolate(&self.knots[map], interpolation, p);
        map_rows(logits, self.classes, |row| map_row(row, zeros, value))
    }
}

calibrates_rows!(IsotonicCalibration);

/// The different scores of a class, ascending, and the labels of the rows that have each.
pub(crate) struct Ties {
    pub(crate) scores: Vec<f64>,
    /// For every score how many rows are of the class, of how many.
    pub(crate) counts: Vec<(usize, usize)>,
    /// What they let be fitted.
    pub(crate) fit: ClassFit,
}

impl Ties {
    pub(crate) fn of(mut scores: Vec<(f64, bool)>) -> Self {
        let count = |rows: &[(f64, bool)]| rows.iter().filter(|(_, positive)| *positive).count();
        let positives = count(&scores);
        let negatives = scores.len() - positives;
        scores.sort_by(|(x, _), (y, _)| x.total_cmp(y));
        let ties = || scores.chunk_by(|(x, _), (y, _)| x == y);
        let counts: Vec<_> = ties().map(|tie| (count(tie), tie.len())).collect();
        let outcome = outcome_of(counts.len(), positives.min(negatives));
        let fit = ClassFit { positives, negatives, iterations: 0, outcome };
        Self { scores: ties().map(|tie| tie[0].0).collect(), counts, fit }
    }
}

/// How a fit to so many different scores ends, with so many rows on the smaller side.
fn outcome_of(scores: usize, smaller_side: usize) -> FitOutcome {
    match (scores, smaller_side) {
        (0, _) => FitOutcome::Flat,
        (_, 0) => FitOutcome::OneSided,
        (1, _) => FitOutcome::Flat,
        _ => FitOutcome::Converged,
    }
}

/// The points of the map of one class.
fn fit_class(rows: &[Score], interpolation: Interpolation) -> (Vec<Knot>, ClassFit) {
    let Sides { positives, negatives, .. } = Sides::of(rows);
    let point = |index: usize| {
        let (row, weight) = (&rows[index], mass(&rows[index]));
        IsotonicPoint { score: row.score(), value: row.positive() / weight, weight }
    };
    let steps = isotonic_regression(rows.len(), point).unwrap_or_default();
    let different = match steps.as_slice() {
        [one] if one.lowest == one.highest => 1,
        several => 2 * several.len(),
    };
    let outcome = outcome_of(different, positives.min(negatives));
    let fit = ClassFit { positives, negatives, iterations: 0, outcome };
    let knots = knots_of(&steps, interpolation);
    (if knots.is_empty() { vec![(0.0, 0.0), (1.0, 1.0)] } else { knots }, fit)
}

/// The points of a map: both ends of every step, or its centre.
pub(crate) fn knots_of(steps: &[IsotonicStep], interpolation: Interpolation) -> Vec<Knot> {
    let mut knots = Vec::with_capacity(2 * steps.len());
    for step in steps {
        let value = step.value.clamp(0.0, 1.0);
        if interpolation == Interpolation::Centred && value > 0.0 && value < 1.0 {
            knots.push((step.centre, value));
            continue;
        }
        knots.push((step.lowest, value));
        if step.highest > step.lowest {
            knots.push((step.highest, value));
        }
    }
    knots
}

/// Checks the points of a map, whose scores lie in `domain` and whose values in \[0, 1\].
pub(crate) fn check_knots(knots: &[Knot], domain: RangeInclusive<f64>) -> Result<()> {
    if knots.is_empty() {
        return Err(Input::Empty { what: "a list of knots" }.into());
    }
    let valid = |p: f64, g: f64| p.is_finite() && domain.contains(&p) && (0.0..=1.0).contains(&g);
    if let Some(&(p, g)) = knots.iter().find(|&&(p, g)| !valid(p, g)) {
        let (name, is_score) = ("a coordinate of a knot", (0.0..=1.0).contains(&g));
        let is_bounded = !is_score || *domain.end() == 1.0;
        let expected = if is_bounded { "in [0, 1]" } else { "finite" };
        let found = if is_score { p } else { g };
        return Err(Input::OutOfRange { name, expected, found }.into());
    }
    for pair in knots.windows(2) {
        if pair[1].0 <= pair[0].0 || pair[1].1 < pair[0].1 {
            let (name, found) = ("a knot", pair[1].0);
            let expected = "right of the knot before it, and not below";
            return Err(Input::OutOfRange { name, expected, found }.into());
        }
    }
    Ok(())
}

/// The value at p of the map through `knots`, of which there is at least one.
pub(crate) fn interpolate(knots: &[Knot], interpolation: Interpolation, p: f64) -> f64 {
    let after = knots.partition_point(|&(x, _)| x <= p);
    let Some(&(x, g)) = after.checked_sub(1).and_then(|before| knots.get(before)) else {
        return knots.first().map_or(p, |&(_, first)| first);
    };
    match (interpolation, knots.get(after)) {
        (Interpolation::Linear | Interpolation::Centred, Some(&(next_x, next_g))) => {
            g + (next_g - g) * ((p - x) / (next_x - x))
        }
        _ => g,
    }
}
