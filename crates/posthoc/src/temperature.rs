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
//! Of many rows a sample is searched first, and its optimum improved by few Newton steps on all of
//! them; where these do not shrink as they should, all rows are searched.
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

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use softlabel_core::{
    Error as Input, Labels, LogProbabilities, Logits, Probabilities, Scalar, Temperature,
};
use softlabel_kernels::{
    CompensatedSum, RootOutcome, RootSettings, RowOutline, TiltedSums, find_root,
    log_softmax_in_place,
};

use crate::calibrator::{check_fit, map_rows};
use crate::document::{Document, Written};
use crate::{Calibrator, Error, FitDiagnostics, FitOutcome, Result};

/// The bounds of the temperature are s/`RANGE` and s·`RANGE`, s being the spread of the logits.
const RANGE: f64 = 1e6;

/// How exactly ln T is determined.
const TOLERANCE: f64 = 1e-12;

/// A fit of many rows starts from one of about so many.
const SAMPLE: usize = 1 << 13;

/// So many steps at most are made from there.
const NEWTON_STEPS: usize = 8;

/// A step of ln T that leaves an error below [`TOLERANCE`].
const SETTLED: f64 = 1e-7;

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
        Self::of_problem(&Problem::new(logits.as_slice(), logits.classes(), None, gap_of(labels)))
    }

    /// Fits the temperature that minimizes the mean cross-entropy −Σ_k t_k ln q_k to soft targets t.
    ///
    /// `logits` and `targets`, such as the shares of annotators' votes, are `[rows, classes]`; a
    /// row of targets is divided by its sum.
    /// One-hot rows give what [`fit`](Self::fit) gives; the diagnostics' losses are cross-entropies.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); [`Error::ImpossibleLabel`] if a class with the logit −∞ has a target
    /// above 0.
    ///
    /// ```
    /// use softlabel_core::{Logits, Probabilities};
    /// use softlabel_posthoc::TemperatureScaling;
    ///
    /// // 90 % sure, where 75 % of the annotators agree.
    /// let logits = Logits::new([9.0f64.ln(), 0.0].repeat(2), 2)?;
    /// let targets = Probabilities::new([0.75, 0.25].repeat(2), 2)?;
    /// let scaling = TemperatureScaling::fit_soft(&logits, &targets)?;
    /// assert!((scaling.temperature().get() - 2.0).abs() < 1e-9);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit_soft<T: Scalar, U: Scalar>(
        logits: &Logits<'_, T>,
        targets: &Probabilities<'_, U>,
    ) -> Result<Self> {
        let (rows, classes) = (logits.rows(), logits.classes());
        if rows == 0 {
            return Err(Input::Empty { what: "the set of logits to fit on" }.into());
        }
        if (targets.rows(), targets.classes()) != (rows, classes) {
            let found = format!("[{}, {}]", targets.rows(), targets.classes());
            return Err(Input::mismatch("targets", format!("[{rows}, {classes}]"), found).into());
        }
        if rows < classes {
            let what = "logits to fit on";
            return Err(Input::MoreClassesThanRows { what, classes, rows }.into());
        }
        for (row, (z, t)) in logits.matrix().iter().zip(targets.matrix().iter()).enumerate() {
            let impossible =
                |(z, t): (&T, &U)| (*t).into() > 0.0 && (*z).into() == f64::NEG_INFINITY;
            if let Some(label) = z.iter().zip(t).position(impossible) {
                return Err(Error::ImpossibleLabel { row, label });
            }
        }
        let gap = |index: usize, row: &[T], highest: f64| {
            let targets = &targets.as_slice()[index * classes..][..classes];
            let with_targets = row.iter().zip(targets).map(|(&z, &t)| (z.into(), t.into()));
            let (sum, total) = with_targets
                .filter(|&(_, t)| t > 0.0)
                .fold((0.0, 0.0), |(sum, total), (z, t)| (sum + t * (z - highest), total + t));
            sum / total
        };
        Self::of_problem(&Problem::new(logits.as_slice(), classes, None, gap))
    }

    /// The minimum of `problem`.
    fn of_problem<T: Scalar>(problem: &Problem<'_, T>) -> Result<Self> {
        let before = problem.loss(1.0).value;
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
            samples: problem.len(),
            nll_before: before,
            nll_after: after,
            iterations,
            outcome,
            classes: Vec::new(),
        };
        Ok(Self {
            temperature: Temperature::new(temperature)?,
            classes: problem.classes,
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

/// z_y − max z of a row whose label is y.
fn gap_of<T: Scalar>(labels: &Labels) -> impl Fn(usize, &[T], f64) -> f64 + '_ {
    |index, row, highest| row[labels.as_slice()[index] as usize].into() - highest
}

/// L, L′ and L″ at some β.
struct Loss {
    value: f64,
    slope: f64,
    curvature: f64,
}

/// What is minimized: rows, what each of them should say, and how much it counts.
struct Problem<'a, T: Scalar> {
    rows: Cow<'a, [T]>,
    classes: usize,
    outline: RowOutline,
    /// Σ_k t_k z_k − max z of every row, t being its target.
    gaps: Vec<f64>,
    weights: Option<Vec<f64>>,
    total: f64,
}

/// The temperature to use, what it is, how well it does and after how many iterations it was found.
struct Minimum {
    temperature: f64,
    outcome: FitOutcome,
    loss: f64,
    iterations: usize,
}

impl<'a, T: Scalar> Problem<'a, T> {
    /// `gap` gives Σ_k t_k z_k − max z of a row, of its number, its logits and their maximum.
    fn new(
        rows: &'a [T],
        classes: usize,
        weights: Option<&[f64]>,
        gap: impl Fn(usize, &[T], f64) -> f64,
    ) -> Self {
        let outline = RowOutline::new(rows, classes);
        let with_highest = rows.chunks_exact(classes).zip(&outline.highest).enumerate();
        let gaps = with_highest.map(|(index, (row, &highest))| gap(index, row, highest)).collect();
        let whole = Self { rows: rows.into(), classes, outline, gaps, weights: None, total: 0.0 };
        whole.weighted(weights.map(<[f64]>::to_vec))
    }

    fn weighted(mut self, weights: Option<Vec<f64>>) -> Self {
        self.total = weights.as_ref().map_or(self.len() as f64, |weights| {
            weights.iter().copied().collect::<CompensatedSum>().value()
        });
        self.weights = weights;
        self
    }

    fn len(&self) -> usize {
        self.gaps.len()
    }

    /// About [`SAMPLE`] rows, from the first to the last.
    fn sample(&self) -> Self {
        let stride = self.len().div_ceil(SAMPLE);
        let every = |values: &[f64]| values.iter().copied().step_by(stride).collect::<Vec<f64>>();
        let rows: Vec<T> =
            self.rows.chunks_exact(self.classes).step_by(stride).flatten().copied().collect();
        let sample = Self {
            outline: RowOutline::new(&rows, self.classes),
            rows: rows.into(),
            classes: self.classes,
            gaps: every(&self.gaps),
            weights: None,
            total: 0.0,
        };
        sample.weighted(self.weights.as_deref().map(every))
    }

    /// The mean loss at β and its derivatives by β.
    fn loss(&self, beta: f64) -> Loss {
        let (highest, weights) = (&self.outline.highest, self.weights.as_deref());
        let sums = TiltedSums::new(&self.rows, self.classes, highest, &self.gaps, weights, beta);
        let [value, slope, curvature] = sums.map_or([f64::NAN; 3], |sums| {
            [sums.cross_entropy, sums.slope, sums.curvature].map(|sum| sum / self.total)
        });
        Loss { value, slope, curvature }
    }

    /// The lowest and the highest temperature.
    fn bounds(&self) -> (f64, f64) {
        let spread = self.outline.spread / self.len() as f64;
        ((spread / RANGE).max(f64::MIN_POSITIVE), (spread * RANGE).min(f64::MAX))
    }

    /// The minimum: of many rows by Newton's method from that of a sample, else by [`search`].
    ///
    /// [`search`]: Self::search
    fn minimize(&self) -> Result<Minimum> {
        if self.len() > 2 * SAMPLE {
            let start = self.sample().search().ok().filter(|start| start.outcome.converged());
            if let Some(minimum) = start.and_then(|start| self.newton(&start)) {
                return Ok(minimum);
            }
        }
        self.search()
    }

    /// Newton's method in ln β, of few steps; `None` if it does not settle.
    fn newton(&self, start: &Minimum) -> Option<Minimum> {
        let (lowest, highest) = self.bounds();
        let mut beta = start.temperature.recip();
        let mut last = 1.0;
        for iteration in 1..=NEWTON_STEPS {
            let loss = self.loss(beta);
            let step = -loss.slope / (beta * loss.curvature);
            // Near the optimum Newton's steps shrink.
            if step.is_nan() || step.abs() > 0.5 * last {
                return None;
            }
            let next = beta * step.exp();
            let temperature = next.recip();
            // The error that a step leaves is of the order of its square.
            if step.abs() <= SETTLED && (iteration > 1 || step.abs() <= TOLERANCE) {
                let change = next - beta;
                let value = loss.value + change * (loss.slope + 0.5 * change * loss.curvature);
                return (lowest <= temperature && temperature <= highest).then_some(Minimum {
                    temperature,
                    outcome: FitOutcome::Converged,
                    loss: value,
                    iterations: start.iterations + iteration,
                });
            }
            (beta, last) = (next, step.abs().max(2.0 * SETTLED));
        }
        None
    }

    /// The minimum, by a search that cannot leave its bracket; degenerate data have their outcomes.
    fn search(&self) -> Result<Minimum> {
        let minimum = |temperature: f64, outcome, iterations| {
            let loss = self.loss(temperature.recip()).value;
            Ok(Minimum { temperature, outcome, loss, iterations })
        };
        if self.outline.spread == 0.0 {
            return minimum(1.0, FitOutcome::Flat, 0);
        }
        let (lowest, highest) = self.bounds();
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
        let separable = self.gaps.iter().all(|&gap| gap == 0.0);
        // The slope rises with β: where it has one sign only, that at the largest β tells which.
        if separable || self.loss(lowest.recip()).slope < 0.0 {
            let floor = (1.0 / (self.len() as f64 + 1.0)).ln_1p();
            if self.loss(1.0).value <= floor {
                return minimum(1.0, FitOutcome::Separable, 0);
            }
            let root = search(&|beta| {
                let loss = self.loss(beta);
                (loss.value - floor, beta * loss.slope)
            })?;
            return minimum((-root.position).exp(), FitOutcome::Separable, root.iterations);
        }
        let root = search(&|beta| {
            let loss = self.loss(beta);
            (loss.slope, beta * loss.curvature)
        })?;
        if root.converged() {
            minimum((-root.position).exp(), FitOutcome::Converged, root.iterations)
        } else {
            minimum(highest.max(1.0), FitOutcome::WorseThanUniform, root.iterations)
        }
    }
}
