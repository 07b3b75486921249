//! The loss of a temperature over many rows, and the search for its minimum.
//!
//! L(β) = Σ_i w_i (ln Σ_k e^{βd_ik} − βg_i) / Σ_i w_i, d = z − max z, g_i = Σ_k t_ik d_ik
//!
//! Of many rows the optimum of a sample is the start, and that of a larger sample a better one.
//! There the derivative is written as its Taylor series,
//!
//! L′(β + s) ≈ L′ + L″s + L‴s²/2 + … + L⁽⁶⁾s⁵/120
//!
//! whose root leaves an error of the order of the sixth power of that of the start.
//! How far the root moves when the last term is left out is more than the error that the missing
//! terms make, as each is a part of the one before; where it is not small enough the series is taken
//! again from the root.
//! The first pass over all rows looks at the rows, and takes L(1), the loss before the fit, and the
//! series at the start; mostly it is the only one.

use softlabel_core::Scalar;
use softlabel_kernels::{RootOutcome, RootSettings, RowSurvey, Rows, TiltedSums, find_root};

use super::TemperatureScaling;
use crate::document::Written;
use crate::{Error, FitOutcome, Result, Targets};

/// The bounds of the temperature are s/`RANGE` and s·`RANGE`, s being the spread of the logits.
const RANGE: f64 = 1e6;

/// How exactly ln T is determined.
const TOLERANCE: f64 = 1e-12;

/// A fit of many rows starts from that of a sample of about so many, which starts from a smaller one; all are of no more
/// than a third of the rows.
const SAMPLES: [usize; 2] = [1 << 9, 1 << 14];

/// So many series at most are taken from there.
const STEPS: usize = 8;

/// How exactly the optimum of a sample is determined, which is off by far more.
const ROUGH: f64 = 1e-5;

/// What the last term of a series may change, in parts of β; what is left out changes less.
const SETTLED: f64 = 2e-12;

/// L at some β, and L′, L″, … divided by the factorials that make them a Taylor series of L′.
#[derive(Debug, Clone, Copy)]
struct Series {
    loss: f64,
    slope: [f64; 6],
}

impl Series {
    /// Where L is unknown.
    const UNKNOWN: Self = Self { loss: f64::NAN, slope: [f64::NAN; 6] };

    fn of(sums: &TiltedSums, total: f64) -> Self {
        let (mut slope, mut factor) = (sums.derivatives, total.recip());
        for (order, coefficient) in (1..).zip(&mut slope) {
            *coefficient *= factor;
            factor /= f64::from(order);
        }
        Self { loss: sums.cross_entropy / total, slope }
    }

    /// L a little further on.
    fn beyond(&self, step: f64) -> f64 {
        let terms = self.slope.iter().enumerate().rev();
        let change = terms.fold(0.0, |sum, (order, c)| step * (c / (order + 1) as f64 + sum));
        self.loss + change
    }

    /// The step to the minimum, and more than the error that the terms left out make of it.
    fn step(&self) -> (f64, f64) {
        let [all @ .., _] = &self.slope;
        let step = root(&self.slope);
        (step, (step - root(all)).abs())
    }
}

/// The root of a polynomial near 0, the constant first, by Newton's method; NaN if that finds none.
fn root(polynomial: &[f64]) -> f64 {
    let mut position = 0.0;
    for _ in 0..20 {
        let (mut value, mut slope) = (0.0, 0.0);
        for coefficient in polynomial.iter().rev() {
            slope = slope * position + value;
            value = value * position + coefficient;
        }
        let step = value / slope;
        position -= step;
        if step.abs() <= 2.0 * f64::EPSILON * position.abs() {
            return position;
        }
    }
    f64::NAN
}

/// What is minimized: rows, what each of them should say, and how much it counts.
pub(super) struct Problem<'a, T: Scalar> {
    rows: Rows<'a, T>,
    survey: RowSurvey,
    weights: Option<&'a [f64]>,
    total: f64,
    /// Where the survey took the series.
    surveyed: f64,
    /// After how many iterations that was found on a sample, if it was.
    start: Option<usize>,
}

/// The temperature to use, what it is, how well it does and after how many iterations it was found.
pub(super) struct Minimum {
    pub(super) temperature: f64,
    pub(super) outcome: FitOutcome,
    pub(super) loss: f64,
    pub(super) iterations: usize,
}

impl<'a, T: Scalar> Problem<'a, T> {
    /// `rows` and `targets` fit; whether no target is impossible is for the caller to ask.
    pub(super) fn new(rows: &'a [T], targets: &'a Targets<'_>) -> Self {
        let mut start = None;
        for size in SAMPLES {
            let step = targets.len() / size;
            if step < 3 {
                break;
            }
            start = of_sample(rows, targets, step, start);
            if start.is_none() {
                break;
            }
        }
        Self::from_start(Rows::new(rows, targets.classes(), 1), targets, start, true)
    }

    /// `unscaled` says whether L(1) will be asked for.
    fn from_start(
        rows: Rows<'a, T>,
        targets: &'a Targets<'_>,
        start: Option<(f64, usize)>,
        unscaled: bool,
    ) -> Self {
        let (weights, total) = (targets.weights(), targets.total());
        let gap = |row: usize, logits: &[T], highest: f64| -> f64 {
            let masses = targets.row(row).masses();
            masses.map(|(class, share)| share * (logits[class].into() - highest)).sum()
        };
        let surveyed = start.map_or(1.0, |(beta, _)| beta);
        let survey = RowSurvey::new(rows, gap, weights, surveyed, unscaled);
        let start = start.map(|(_, iterations)| iterations);
        Self { rows, survey, weights, total, surveyed, start }
    }

    /// Whether a class with a target above 0 has the logit −∞.
    pub(super) fn has_impossible_targets(&self) -> bool {
        self.survey.gaps.contains(&f64::NEG_INFINITY)
    }

    /// L(1).
    pub(super) fn loss_before(&self) -> f64 {
        let of_survey = self.survey.unscaled.map(|sum| sum / self.total);
        of_survey.unwrap_or_else(|| self.series(1.0).loss)
    }

    /// L and its derivatives at β.
    fn series(&self, beta: f64) -> Series {
        if beta == self.surveyed {
            return Series::of(&self.survey.sums, self.total);
        }
        let RowSurvey { highest, gaps, .. } = &self.survey;
        let sums = TiltedSums::new(self.rows, highest, gaps, self.weights, beta);
        sums.map_or(Series::UNKNOWN, |sums| Series::of(&sums, self.total))
    }

    /// The lowest and the highest temperature.
    fn bounds(&self) -> (f64, f64) {
        let spread = self.survey.spread / self.total;
        ((spread / RANGE).max(f64::MIN_POSITIVE), (spread * RANGE).min(f64::MAX))
    }

    /// The temperature of logits that say nothing.
    pub(super) fn highest(&self) -> f64 {
        self.bounds().1.max(1.0)
    }

    /// The minimum: of many rows by series from that of a sample, else by [`search`].
    ///
    /// [`search`]: Self::search
    pub(super) fn minimize(&self) -> Result<Minimum> {
        match self.polished(SETTLED) {
            Some(minimum) => Ok(minimum),
            None => self.search(TOLERANCE),
        }
    }

    /// The root of the series from the start on, a few times; `None` if it does not settle, or has no
    /// start.
    fn polished(&self, settled: f64) -> Option<Minimum> {
        let (lowest, highest) = self.bounds();
        let (mut beta, before, mut last) = (self.surveyed, self.start?, 1.0);
        for iteration in 1..=STEPS {
            let series = self.series(beta);
            let (step, error) = series.step();
            let size = (step / beta).abs();
            // Near the optimum the steps shrink.
            if size.is_nan() || error.is_nan() || size > 0.5 * last {
                return None;
            }
            let temperature = (beta + step).recip();
            if error <= settled * beta {
                return (lowest <= temperature && temperature <= highest).then_some(Minimum {
                    temperature,
                    outcome: FitOutcome::Converged,
                    loss: series.beyond(step),
                    iterations: before + iteration,
                });
            }
            beta += step;
            last = size.max(1e-6);
        }
        None
    }

    /// The minimum, by a search that cannot leave its bracket and determines ln T to `tolerance`;
    /// degenerate data have their outcomes.
    fn search(&self, tolerance: f64) -> Result<Minimum> {
        let minimum = |temperature: f64, outcome, iterations| {
            let loss = self.series(temperature.recip()).loss;
            Ok(Minimum { temperature, outcome, loss, iterations })
        };
        if self.survey.spread == 0.0 {
            return minimum(1.0, FitOutcome::Flat, 0);
        }
        let (lowest, highest) = self.bounds();
        // In u = ln β = −ln T: dL/du = βL′ has the sign of L′, whose root is sought; dL′/du = βL″.
        let bracket = (-highest.ln(), -lowest.ln());
        let settings = RootSettings { step: tolerance, ..RootSettings::default() };
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
        let separable = self.survey.gaps.iter().all(|&gap| gap == 0.0);
        // The slope rises with β: where it has one sign only, that at the largest β tells which.
        if separable || self.series(lowest.recip()).slope[0] < 0.0 {
            let floor = (1.0 / (self.total + 1.0)).ln_1p();
            if self.loss_before() <= floor {
                return minimum(1.0, FitOutcome::Separable, 0);
            }
            let root = search(&|beta| {
                let Series { loss, slope } = self.series(beta);
                (loss - floor, beta * slope[0])
            })?;
            return minimum((-root.position).exp(), FitOutcome::Separable, root.iterations);
        }
        let root = search(&|beta| {
            let Series { slope, .. } = self.series(beta);
            (slope[0], beta * slope[1])
        })?;
        if root.converged() {
            minimum((-root.position).exp(), FitOutcome::Converged, root.iterations)
        } else {
            minimum(self.highest(), FitOutcome::WorseThanUniform, root.iterations)
        }
    }
}

/// The optimum of every `step`-th row, if it has one, and after how many iterations it was found:
/// by a search, or from that of a smaller sample.
fn of_sample<T: Scalar>(
    rows: &[T],
    targets: &Targets<'_>,
    step: usize,
    start: Option<(f64, usize)>,
) -> Option<(f64, usize)> {
    let rows = Rows::new(rows, targets.classes(), step);
    let numbers: Vec<usize> = (0..targets.len()).step_by(step).collect();
    let of_sample = targets.select(&numbers).ok()?;
    let problem = Problem::from_start(rows, &of_sample, start, false);
    let found = problem.polished(ROUGH).or_else(|| problem.search(ROUGH).ok())?;
    found.outcome.converged().then_some((found.temperature.recip(), found.iterations))
}
