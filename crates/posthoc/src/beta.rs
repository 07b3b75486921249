//! A logistic map of ln p and ln(1 − p) for every class, one class against the rest.
//!
//! g_k = σ(a_k ln p_k − b_k ln(1 − p_k) + c_k), a_k, b_k ≥ 0, q_k = g_k / Σ_j g_j, with p =
//! softmax(z)
//!
//! z: logits `[rows, classes]`; (a_k, b_k, c_k) minimizes the mean negative log-likelihood of "k"
//! against "not k", which is convex; a, b ≥ 0 makes g rise with p.
//! It is what Bayes' rule gives if the p of either side are Beta distributed, and holds the identity
//! (a = b = 1, c = 0), which Platt's sigmoid of p does not, and maps of the shape of an S and of its
//! inverse.
//! [`BetaForm`] says which of the three numbers are free.
//!
//! Where the optimum without a, b ≥ 0 breaks that, the optimum with it has a = 0 or b = 0: both are
//! fitted, and the better is taken.
//!
//! With two classes q_1 = g_1 and q_0 = 1 − q_1.
//! The top class of a row may change, and a fit class by class need not lower the negative
//! log-likelihood of the whole.
//!
//! What is defined where there is little to fit:
//!
//! - A class that never occurs among the labels, or alone occurs, gets the constant of Laplace's rule
//!   of succession, 1/(n + 2) or (n + 1)/(n + 2) for n rows: a = b = 0, whatever the form
//!   ([`FitOutcome::OneSided`]).
//! - A class with the same probability in all rows gets its frequency, a = b = 0
//!   ([`FitOutcome::Flat`]).
//! - A class whose rows a threshold on p separates: the likelihood asks to go on without end; the
//!   search ends where the mean loss is ln 2/n, below which every row is on its side of 1/2
//!   ([`FitOutcome::Separable`]).
//! - Rows in which a class cannot be (z = −∞), or no other can, are left out of its fit; if none are
//!   left, a = b = 1, c = 0 (`Flat`).
//!
//! Numerical notes: ln p and ln(1 − p) come from the log-odds of the logits, so neither is clipped or
//! lost where p rounds to 0 or 1; `f64` in log space throughout, so a probability is 0 only where the
//! logit is −∞.
//!
//! Source: M. Kull, T. Silva Filho, P. Flach, "Beta calibration: a well-founded and easily
//! implemented improvement on logistic calibration for binary classifiers" (2017); one against the
//! rest: B. Zadrozny and C. Elkan (2002).

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
use crate::{ClassFit, Error, FitDiagnostics, FitOutcome, Result, Targets};

/// A search that ends because `f64` sees no decrease has converged if its gradient is below this.
const STALLED_GRADIENT: f64 = 1e-6;

/// Which numbers of a [`BetaCalibration`] are free.
///
/// ```
/// use softlabel_posthoc::BetaForm;
/// assert_eq!(BetaForm::default(), BetaForm::Abm);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaForm {
    /// a, b and c.
    #[default]
    Abm,
    /// a = b, and c: Platt's sigmoid of the log-odds, without his targets.
    Am,
    /// a and b, with c = (a − b) ln 2, so that 1/2 stays 1/2.
    Ab,
}

/// The numbers a, b and c of one class: g = σ(a ln p − b ln(1 − p) + c).
///
/// ```
/// let curve = softlabel_posthoc::BetaCurve { a: 1.0, b: 1.0, c: 0.0 };
/// assert_eq!(curve.c, 0.0); // the identity
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BetaCurve {
    /// The factor of ln p, at least 0.
    pub a: f64,
    /// The factor of −ln(1 − p), at least 0.
    pub b: f64,
    /// The constant.
    pub c: f64,
}

impl BetaCurve {
    const IDENTITY: Self = Self { a: 1.0, b: 1.0, c: 0.0 };

    fn constant(log_odds: f64) -> Self {
        Self { a: 0.0, b: 0.0, c: log_odds }
    }

    /// The log-odds of g where those of p are `log_odds`; finite.
    fn log_odds(self, log_odds: f64) -> f64 {
        let [x, y] = features(log_odds);
        (self.a * x + self.b * y + self.c).clamp(f64::MIN, f64::MAX)
    }
}

/// ln p and −ln(1 − p) of p = σ(f).
fn features(log_odds: f64) -> [f64; 2] {
    let tail = (-log_odds.abs()).exp().ln_1p();
    [log_odds.min(0.0) - tail, log_odds.max(0.0) + tail]
}

/// A logistic map of ln p and ln(1 − p) for every class, renormalized.
///
/// g_k = σ(a_k ln p_k − b_k ln(1 − p_k) + c_k), fitted on "k" against "not k" by maximum likelihood
/// with a, b ≥ 0; q_k = g_k / Σ_j g_j.
/// With two classes there is one map, q_1 = g and q_0 = 1 − q_1.
/// The top class of a row may change.
///
/// # Little data
/// A class that never occurs among the labels, or alone occurs, gets 1/(n + 2) or (n + 1)/(n + 2)
/// ([`FitOutcome::OneSided`]); one with equal probabilities in all rows its frequency
/// ([`FitOutcome::Flat`]); one that a threshold separates ends at a mean loss of ln 2/n
/// ([`FitOutcome::Separable`]).
/// An impossible class stays impossible; no other probability is ever 0 but by underflow.
///
/// # Source
/// M. Kull, T. Silva Filho, P. Flach, "Beta calibration: a well-founded and easily implemented
/// improvement on logistic calibration for binary classifiers" (2017).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{BetaCalibration, BetaForm, Calibrator};
///
/// // p_1 = 0.9 and 0.1, right in three of four rows.
/// let nine = 9.0f64.ln();
/// let logits = Logits::new([[0.0, nine].repeat(4), [nine, 0.0].repeat(4)].concat(), 2)?;
/// let labels = Labels::new(&[1, 1, 1, 0, 0, 0, 0, 1], 2)?;
/// let map = BetaCalibration::fit(&logits, &labels, BetaForm::Ab)?;
/// assert!((map.curves()[0].a - 0.5).abs() < 1e-7);
/// assert!((map.curves()[0].b - 0.5).abs() < 1e-7);
/// assert!((map.apply(&logits)?.as_slice()[1].exp() - 0.75).abs() < 1e-8);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct BetaCalibration {
    /// One a class, but a single one (of class 1) for two classes.
    curves: Vec<BetaCurve>,
    classes: usize,
    diagnostics: Option<FitDiagnostics>,
}

impl BetaCalibration {
    /// Fits a curve for every class against the rest.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no rows, fewer rows than classes, not one label a row, or
    /// labels of another number of classes; [`Error::ImpossibleLabel`] if a label has the logit −∞;
    /// [`Error::NotConverged`] if the optimum of a class is not reached.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{BetaCalibration, BetaForm, Calibrator, FitOutcome};
    ///
    /// // Higher where the label is lower: no map that rises says more than the frequency.
    /// let logits = Logits::new(&[0.0f32, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0], 2)?;
    /// let labels = Labels::new(&[0, 0, 1, 0], 2)?;
    /// let map = BetaCalibration::fit(&logits, &labels, BetaForm::Abm)?;
    /// assert_eq!((map.curves()[0].a, map.curves()[0].b), (0.0, 0.0));
    /// assert!((map.apply(&logits)?.as_slice()[1].exp() - 0.25).abs() < 1e-8);
    /// assert_eq!(map.diagnostics().unwrap().outcome, FitOutcome::Converged);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        form: BetaForm,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let classes = logits.classes();
        let (mut curves, mut fits) = (Vec::new(), Vec::new());
        for (map, scores) in masses(&logits, &targets, log_odds_in_place)?.into_iter().enumerate() {
            let (curve, fit) = fit_class(&scores, form).map_err(|error| Error::NotConverged {
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
    /// [`Error::Input`] if `classes` is 0, if there are more or fewer curves, if a or b is negative
    /// or a number not finite.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{BetaCalibration, BetaCurve, Calibrator};
    /// let map = BetaCalibration::from_curves(2, vec![BetaCurve { a: 2.0, b: 2.0, c: 0.0 }])?;
    /// let calibrated = map.apply(&Logits::new(vec![0.0, 3.0f64.ln()], 2)?)?;
    /// assert!((calibrated.as_slice()[1].exp() - 0.9).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_curves(classes: usize, curves: Vec<BetaCurve>) -> Result<Self> {
        Self::from_parts(classes, curves, None)
    }

    pub(crate) fn from_parts(
        classes: usize,
        curves: Vec<BetaCurve>,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_map_count(classes, curves.len())?;
        let rising = |value: &f64| (0.0..f64::INFINITY).contains(value);
        let slopes = curves.iter().flat_map(|curve| [curve.a, curve.b]);
        if let Some(found) = slopes.into_iter().find(|value| !rising(value)) {
            let (name, expected) = ("a or b of a curve", "at least 0 and finite");
            return Err(Input::OutOfRange { name, expected, found }.into());
        }
        if let Some(curve) = curves.iter().find(|curve| !curve.c.is_finite()) {
            let (name, found) = ("c of a curve", curve.c);
            return Err(Input::OutOfRange { name, expected: "finite", found }.into());
        }
        Ok(Self { curves, classes, diagnostics })
    }

    /// (a, b, c) of every map: one a class, but for two classes a single one, that of class 1.
    pub fn curves(&self) -> &[BetaCurve] {
        &self.curves
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        let log_odds = |map: usize, log_odds| self.curves[map].log_odds(log_odds);
        map_rows(logits, self.classes, |row| map_log_odds(row, log_odds))
    }
}

calibrates_rows!(BetaCalibration);

/// The fit did not converge within so many iterations.
struct NotConverged {
    iterations: usize,
}

/// Fits a curve to finite log-odds with their masses.
fn fit_class(scores: &[Score], form: BetaForm) -> Result<(BetaCurve, ClassFit), NotConverged> {
    let sides = Sides::of(scores);
    let Sides { positives, negatives, positive, negative } = sides;
    let done = |curve, iterations, outcome| {
        Ok((curve, ClassFit { positives, negatives, iterations, outcome }))
    };
    let Some(first) = scores.first().map(Scored::score) else {
        return done(BetaCurve::IDENTITY, 0, FitOutcome::Flat);
    };
    if positives == 0 || negatives == 0 {
        let log_odds = ((positive + 1.0) / (negative + 1.0)).ln();
        return done(BetaCurve::constant(log_odds), 0, FitOutcome::OneSided);
    }
    if scores.iter().all(|score| score.score() == first) {
        return done(BetaCurve::constant((positive / negative).ln()), 0, FitOutcome::Flat);
    }

    let row = |score: &Score| Row {
        features: features(score.score()),
        positive: score.positive(),
        negative: score.negative(),
    };
    let rows: Vec<Row> = scores.iter().map(row).collect();
    // Below this every row of one side has more than half of itself there.
    let lightest = rows.iter().map(Row::mass).fold(1.0, f64::min);
    let floor = std::f64::consts::LN_2 * lightest / (positive + negative);
    let mut iterations = 0;
    let mut solve = |features: Features| {
        let regression = regress(&rows, features, form != BetaForm::Ab, floor)?;
        iterations += regression.iterations;
        Ok(regression)
    };
    let best = match form {
        BetaForm::Am => solve(Features::Sum)?.risen(&sides),
        BetaForm::Abm | BetaForm::Ab => {
            let both = solve(Features::Both)?;
            if both.curve.a >= 0.0 && both.curve.b >= 0.0 {
                both
            } else {
                // The optimum lies on the border, that is, one of the two is 0.
                let first = solve(Features::First)?.risen(&sides);
                let second = solve(Features::Second)?.risen(&sides);
                if first.loss <= second.loss { first } else { second }
            }
        }
    };
    let outcome = if best.loss <= floor { FitOutcome::Separable } else { FitOutcome::Converged };
    done(best.curve, iterations, outcome)
}

/// The features of a score and its masses on both sides.
struct Row {
    features: [f64; 2],
    positive: f64,
    negative: f64,
}

impl Row {
    fn mass(&self) -> f64 {
        self.positive + self.negative
    }
}

/// Of which features a regression is: ln p and −ln(1 − p).
#[derive(Clone, Copy)]
enum Features {
    First,
    Second,
    Both,
    /// With the same factor.
    Sum,
}

impl Features {
    /// The columns that the factors multiply.
    fn pick(self, [x, y]: [f64; 2]) -> [f64; 2] {
        match self {
            Self::First => [x, 0.0],
            Self::Second => [0.0, y],
            Self::Both => [x, y],
            Self::Sum => [x + y, 0.0],
        }
    }
}

/// What a regression found.
struct Regression {
    curve: BetaCurve,
    /// The mean negative log-likelihood.
    loss: f64,
    free_constant: bool,
    iterations: usize,
}

impl Regression {
    /// This one, of a single factor, if that is not negative; else the best with 0 in its place.
    fn risen(self, sides: &Sides) -> Self {
        if self.curve.a >= 0.0 && self.curve.b >= 0.0 {
            return self;
        }
        let share = sides.positive / (sides.positive + sides.negative);
        let share = if self.free_constant { share } else { 0.5 };
        let loss = if self.free_constant {
            -share * share.ln() - (1.0 - share) * (-share).ln_1p()
        } else {
            std::f64::consts::LN_2
        };
        let curve = BetaCurve::constant((share / (1.0 - share)).ln());
        Self { curve, loss, ..self }
    }
}

/// Maximum likelihood with factors of any sign; c is free, or such that p = 1/2 stays.
fn regress(
    rows: &[Row],
    which: Features,
    free_constant: bool,
    floor: f64,
) -> Result<Regression, NotConverged> {
    let count = rows.iter().map(Row::mass).collect::<CompensatedSum>().value();
    let half = std::f64::consts::LN_2;
    let mean = |value: &dyn Fn([f64; 2]) -> f64| {
        rows.iter()
            .map(|row| row.mass() * value(row.features) / count)
            .collect::<CompensatedSum>()
            .value()
    };
    // What p = 1/2 has is taken away if that is to stay, else the mean is, for its condition.
    let centre: [f64; 2] = if free_constant {
        std::array::from_fn(|column| mean(&|features| which.pick(features)[column]))
    } else {
        which.pick([-half, half])
    };
    let spread: [f64; 2] = std::array::from_fn(|column| {
        let size = mean(&|features| (which.pick(features)[column] - centre[column]).abs());
        if size > 0.0 { size } else { 1.0 }
    });
    let points: Vec<Row> = rows
        .iter()
        .map(|row| {
            let picked = which.pick(row.features);
            let features = std::array::from_fn(|k| (picked[k] - centre[k]) / spread[k]);
            Row { features, ..*row }
        })
        .collect();
    let objective = |parameters: &[f64], gradient: &mut [f64]| {
        let [mut loss, mut by_x, mut by_y, mut by_constant] = [CompensatedSum::default(); 4];
        for &Row { features: [x, y], positive, negative } in &points {
            let u = parameters[0] * x + parameters[1] * y + parameters[2];
            let exponential = (-u.abs()).exp();
            let wrong = positive * (-u).max(0.0) + negative * u.max(0.0);
            loss.add(wrong + (positive + negative) * exponential.ln_1p());
            let probability = if u >= 0.0 { 1.0 } else { exponential } / (1.0 + exponential);
            let difference = (positive + negative) * probability - positive;
            by_x.add(difference * x);
            by_y.add(difference * y);
            by_constant.add(difference);
        }
        let constant = if free_constant { by_constant.value() } else { 0.0 };
        gradient.copy_from_slice(&[by_x.value(), by_y.value(), constant].map(|sum| sum / count));
        loss.value() / count
    };
    let settings = MinimumSettings { target: floor, ..MinimumSettings::default() };
    let hessian = |parameters: &[f64], hessian: &mut [f64]| {
        hessian.fill(0.0);
        for row in &points {
            let [x, y] = row.features;
            let u = parameters[0] * x + parameters[1] * y + parameters[2];
            let exponential = (-u.abs()).exp();
            let variance = row.mass() * exponential / (1.0 + exponential).powi(2);
            let factors = [x, y, if free_constant { 1.0 } else { 0.0 }];
            for (index, sum) in hessian.iter_mut().enumerate() {
                *sum += variance * factors[index / 3] * factors[index % 3] / count;
            }
        }
    };
    let minimum = minimize_newton(objective, hessian, &[0.0; 3], &settings);
    let converged = match minimum.outcome {
        MinimumOutcome::Converged | MinimumOutcome::TargetReached => true,
        MinimumOutcome::Stalled => minimum.gradient <= STALLED_GRADIENT,
        MinimumOutcome::IterationLimit | MinimumOutcome::NotFinite => false,
    };
    let &[x, y, constant] = minimum.position.as_slice() else {
        return Err(NotConverged { iterations: minimum.iterations });
    };
    if !converged {
        return Err(NotConverged { iterations: minimum.iterations });
    }
    let (a, b) = (x / spread[0], y / spread[1]);
    let c = constant - a * centre[0] - b * centre[1];
    let b = if matches!(which, Features::Sum) { a } else { b };
    let curve = BetaCurve { a, b, c };
    Ok(Regression { curve, loss: minimum.value, free_constant, iterations: minimum.iterations })
}
