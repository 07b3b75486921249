//! The loss of a temperature over many rows, and the search for its minimum.
//!
//! L(β) = Σ_i w_i (ln Σ_k e^{βd_ik} − βg_i) / Σ_i w_i, d = z − max z, g_i = Σ_k t_ik d_ik
//!
//! Of many rows the optimum of a sample is the start of Halley's method
//!
//! β ← β − 2L′L″/(2L″² − L′L‴)
//!
//! whose steps leave an error of the order of their cube.
//! The first pass over all rows looks at the rows, and takes the sums at β = 1, the loss before the
//! fit, and at the start; what is left is one pass a step.

use std::borrow::Cow;

use softlabel_core::Scalar;
use softlabel_kernels::{RootOutcome, RootSettings, RowSurvey, TiltedSums, find_root};

use super::TemperatureScaling;
use crate::document::Written;
use crate::{Error, FitOutcome, Result, Targets};

/// The bounds of the temperature are s/`RANGE` and s·`RANGE`, s being the spread of the logits.
const RANGE: f64 = 1e6;

/// How exactly ln T is determined.
const TOLERANCE: f64 = 1e-12;

/// A fit of many rows, four times as many or more, starts from one of about so many.
const SAMPLE: usize = 1 << 12;

/// So many steps at most are made from there.
const STEPS: usize = 8;

/// A step, in parts of β, that leaves an error below [`TOLERANCE`].
const SETTLED: f64 = 5e-5;

/// L, L′, L″ and L‴ at some β.
#[derive(Debug, Clone, Copy)]
struct Loss {
    value: f64,
    slope: f64,
    curvature: f64,
    third: f64,
}

impl Loss {
    fn of(sums: &TiltedSums, total: f64) -> Self {
        let TiltedSums { cross_entropy, slope, curvature, third } = *sums;
        let [value, slope, curvature, third] =
            [cross_entropy, slope, curvature, third].map(|sum| sum / total);
        Self { value, slope, curvature, third }
    }

    /// L a little further on.
    fn beyond(&self, step: f64) -> f64 {
        self.value + step * (self.slope + step * (self.curvature / 2.0 + step * self.third / 6.0))
    }
}

/// What is minimized: rows, what each of them should say, and how much it counts.
pub(super) struct Problem<'a, T: Scalar> {
    rows: Cow<'a, [T]>,
    classes: usize,
    survey: RowSurvey,
    weights: Option<&'a [f64]>,
    total: f64,
    /// Loss before the fit.
    before: Loss,
    /// Where Halley's method starts, what L is there, and after how many iterations.
    start: Option<(f64, Loss, usize)>,
}

/// The temperature to use, what it is, how well it does and after how many iterations it was found.
pub(super) struct Minimum {
    pub(super) temperature: f64,
    pub(super) outcome: FitOutcome,
    pub(super) loss: f64,
    pub(super) iterations: usize,
}

impl<'a, T: Scalar> Problem<'a, T> {
    /// `rows` and `targets` fit, and no target is impossible.
    pub(super) fn new(rows: &'a [T], targets: &'a Targets<'_>) -> Self {
        let stride = targets.len().div_ceil(SAMPLE);
        if stride <= 4 {
            return Self::from_start(rows.into(), targets, None);
        }
        let classes = targets.classes();
        let numbers: Vec<usize> = (0..targets.len()).step_by(stride).collect();
        let sample = targets.select(&numbers).ok().and_then(|of_sample| {
            let rows = rows.chunks_exact(classes).step_by(stride).flatten().copied().collect();
            let found = Problem::from_start(Cow::Owned(rows), &of_sample, None).search().ok()?;
            found.outcome.converged().then_some((found.temperature.recip(), found.iterations))
        });
        Self::from_start(rows.into(), targets, sample)
    }

    fn from_start(
        rows: Cow<'a, [T]>,
        targets: &'a Targets<'_>,
        start: Option<(f64, usize)>,
    ) -> Self {
        let (classes, weights, total) = (targets.classes(), targets.weights(), targets.total());
        let gap = |row: usize, logits: &[f64], highest: f64| -> f64 {
            let masses = targets.row(row).masses();
            masses.map(|(class, share)| share * (logits[class] - highest)).sum()
        };
        let betas = [Some(1.0), start.map(|(beta, _)| beta)];
        let betas: Vec<f64> = betas.into_iter().flatten().collect();
        let survey = RowSurvey::new(&rows, classes, gap, weights, &betas);
        let at = |index: usize| survey.sums.get(index).map(|sums| Loss::of(sums, total));
        let unknown =
            Loss { value: f64::NAN, slope: f64::NAN, curvature: f64::NAN, third: f64::NAN };
        Self {
            before: at(0).unwrap_or(unknown),
            start: start.zip(at(1)).map(|((beta, iterations), loss)| (beta, loss, iterations)),
            rows,
            classes,
            survey,
            weights,
            total,
        }
    }

    /// L(1).
    pub(super) fn loss_before(&self) -> f64 {
        self.before.value
    }

    /// The mean loss at β and its derivatives by β.
    fn loss(&self, beta: f64) -> Loss {
        if beta == 1.0 {
            return self.before;
        }
        let RowSurvey { highest, gaps, .. } = &self.survey;
        let sums = TiltedSums::new(&self.rows, self.classes, highest, gaps, self.weights, beta);
        let unknown =
            Loss { value: f64::NAN, slope: f64::NAN, curvature: f64::NAN, third: f64::NAN };
        sums.map_or(unknown, |sums| Loss::of(&sums, self.total))
    }

    /// The lowest and the highest temperature.
    fn bounds(&self) -> (f64, f64) {
        let spread = self.survey.spread / self.total;
        ((spread / RANGE).max(f64::MIN_POSITIVE), (spread * RANGE).min(f64::MAX))
    }

    /// The minimum: of many rows by Halley's method from that of a sample, else by [`search`].
    ///
    /// [`search`]: Self::search
    pub(super) fn minimize(&self) -> Result<Minimum> {
        match self.halley() {
            Some(minimum) => Ok(minimum),
            None => self.search(),
        }
    }

    /// Halley's method, of few steps; `None` if it does not settle, or has no start.
    fn halley(&self) -> Option<Minimum> {
        let (lowest, highest) = self.bounds();
        let (mut beta, mut loss, before) = self.start?;
        let mut last = 1.0;
        for iteration in 1..=STEPS {
            let Loss { slope, curvature, third, .. } = loss;
            let step = -2.0 * slope * curvature / (2.0 * curvature * curvature - slope * third);
            let size = (step / beta).abs();
            // Near the optimum the steps shrink.
            if size.is_nan() || size > 0.5 * last {
                return None;
            }
            let temperature = (beta + step).recip();
            if size <= SETTLED {
                return (lowest <= temperature && temperature <= highest).then_some(Minimum {
                    temperature,
                    outcome: FitOutcome::Converged,
                    loss: loss.beyond(step),
                    iterations: before + iteration,
                });
            }
            beta += step;
            loss = self.loss(beta);
            last = size.max(2.0 * SETTLED);
        }
        None
    }

    /// The minimum, by a search that cannot leave its bracket; degenerate data have their outcomes.
    fn search(&self) -> Result<Minimum> {
        let minimum = |temperature: f64, outcome, iterations| {
            let loss = self.loss(temperature.recip()).value;
            Ok(Minimum { temperature, outcome, loss, iterations })
        };
        if self.survey.spread == 0.0 {
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
        let separable = self.survey.gaps.iter().all(|&gap| gap == 0.0);
        // The slope rises with β: where it has one sign only, that at the largest β tells which.
        if separable || self.loss(lowest.recip()).slope < 0.0 {
            let floor = (1.0 / (self.total + 1.0)).ln_1p();
            if self.before.value <= floor {
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
