//! Platt's sigmoid for one class: p = σ(a·f + b) fitted to scores f by penalized likelihood.
//!
//! With N₊ rows of the class and N₋ others, the targets are t₊ = (N₊ + 1)/(N₊ + 2) and t₋ = 1/(N₋ +
//! 2) in place of 1 and 0, and (a, b) minimizes
//!
//! F(a, b) = Σ_i −t_i ln p_i − (1 − t_i) ln(1 − p_i) = Σ_i ln(1 + e^{u_i}) − t_i u_i, u_i = a·f_i +
//! b
//!
//! Rows may count by weights, of which N₊ and N₋ are then sums, and partly for either side.
//! F is convex, and strictly so if two scores differ; since every target lies strictly between 0
//! and 1 its minimum is finite, separable scores or not.
//!
//! Numerical notes: Newton's method with backtracking, in `f64`, on scores brought to mean 0 and
//! variance 1, so neither their size nor their offset matters; F, p and p(1 − p) are computed
//! without overflow or cancellation as in Lin, Lin and Weng.
//!
//! Source: J. C. Platt, "Probabilistic Outputs for Support Vector Machines" (1999), whose (A, B)
//! are (−a, −b); H.-T. Lin, C.-J. Lin, R. C. Weng, "A Note on Platt's Probabilistic Outputs for
//! Support Vector Machines" (2007).

use softlabel_kernels::CompensatedSum;

use crate::one_vs_rest::{Scored, Sides};
use crate::{ClassFit, FitOutcome};

/// Newton's method takes 5 to 10 steps.
const MAXIMUM_ITERATIONS: usize = 100;

/// The least share of a Newton step that backtracking tries.
const LEAST_STEP: f64 = 1e-10;

/// Below this size, relative to the parameters, a Newton step is taken as it is: it lies where
/// convergence is quadratic, and F changes by little more than its rounding error.
const SMALL_STEP: f64 = 1e-5;

/// A Newton step below this relative size is the last: the next would be its square.
const LAST_STEP: f64 = 1e-9;

/// How much of the decrease that the slope promises a step must bring (Armijo's rule).
const SUFFICIENT_DECREASE: f64 = 1e-4;

/// Added to the diagonal of the Hessian, after Lin, Lin and Weng; it changes the path, not the
/// optimum.
const RIDGE: f64 = 1e-12;

/// Two sums, one for each parameter.
type Pair = [f64; 2];

/// u ↦ σ(slope·f + intercept).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sigmoid {
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
}

impl Sigmoid {
    /// ln σ(slope·score + intercept), finite for every score but NaN.
    pub(crate) fn log_probability(self, score: f64) -> f64 {
        const LARGE: f64 = 1e300;
        let u = self.slope * score.clamp(-LARGE, LARGE) + self.intercept;
        let u = u.clamp(-LARGE, LARGE);
        u.min(0.0) - (-u.abs()).exp().ln_1p()
    }
}

/// The fit did not converge within so many iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotConverged {
    pub(crate) iterations: usize,
}

/// Fits a sigmoid to finite `scores`, each with how much of its row is of the class and how much not.
///
/// - No scores: the identity on the log-odds, [`FitOutcome::Flat`].
/// - All rows on one side: the constant that Platt's targets ask for, [`FitOutcome::OneSided`].
/// - All scores equal: the constant that is the mean target, [`FitOutcome::Flat`].
pub(crate) fn fit<S: Scored>(scores: &[S]) -> Result<(Sigmoid, ClassFit), NotConverged> {
    let Sides { positives, negatives, positive, negative } = Sides::of(scores);
    let (high, low) = targets(positive, negative);
    let prior = ((positive + 1.0) / (negative + 1.0)).ln();
    let done = |slope, intercept, iterations, outcome| {
        let fit = ClassFit { positives, negatives, iterations, outcome };
        Ok((Sigmoid { slope, intercept }, fit))
    };

    let Some(scale) = scores.iter().map(|score| score.score().abs()).reduce(f64::max) else {
        return done(1.0, 0.0, 0, FitOutcome::Flat);
    };
    if positives == 0 || negatives == 0 {
        return done(0.0, prior, 0, FitOutcome::OneSided);
    }
    if scores.iter().all(|score| score.score() == scores[0].score()) {
        let mean = (positive * high + negative * low) / (positive + negative);
        return done(0.0, (mean / (1.0 - mean)).ln(), 0, FitOutcome::Flat);
    }

    // Divided by the largest first, so that no square overflows.
    let total = positive + negative;
    let mean = |value: &dyn Fn(f64) -> f64| {
        let values = scores.iter().map(|score| mass(score) * value(score.score() / scale));
        values.collect::<CompensatedSum>().value() / total
    };
    let centre = mean(&|x| x);
    let deviation = mean(&|x| (x - centre).powi(2)).sqrt();
    let points: Vec<Point> = scores
        .iter()
        .map(|score| Point {
            x: (score.score() / scale - centre) / deviation,
            target: target(score, high, low),
            mass: mass(score),
        })
        .collect();
    let ([slope, intercept], iterations) = minimize(&points, [0.0, prior])?;
    let (slope, intercept) = (slope / deviation, intercept - slope * centre / deviation);
    done(slope / scale, intercept, iterations, FitOutcome::Converged)
}

/// How much a score counts.
pub(crate) fn mass(score: &impl Scored) -> f64 {
    score.positive() + score.negative()
}

/// The mean of Platt's targets over what a score stands for.
pub(crate) fn target(score: &impl Scored, high: f64, low: f64) -> f64 {
    (score.positive() * high + score.negative() * low) / mass(score)
}

/// A standardized score, its target and how much it counts.
struct Point {
    x: f64,
    target: f64,
    mass: f64,
}

/// Platt's targets t₊ and t₋ for rows of a class and for others, of their numbers or weights.
pub(crate) fn targets(positives: f64, negatives: f64) -> (f64, f64) {
    ((positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))
}

/// The (a, b) that minimizes F over `points`, from `start`, and the iterations it took.
fn minimize(points: &[Point], start: Pair) -> Result<(Pair, usize), NotConverged> {
    let mut parameters = start;
    let mut value = objective(points, parameters);
    for iteration in 1..=MAXIMUM_ITERATIONS {
        let (gradient, step) = newton_step(points, parameters);
        let size =
            step[0].abs().max(step[1].abs()) / (1.0 + parameters[0].abs().max(parameters[1].abs()));
        if size <= SMALL_STEP {
            parameters = along(parameters, step, 1.0);
            value = objective(points, parameters);
        } else {
            let slope = gradient[0] * step[0] + gradient[1] * step[1];
            let shares = std::iter::successors(Some(1.0), |share| Some(0.5 * share));
            let accepted = shares.take_while(|&share| share >= LEAST_STEP).find_map(|share| {
                let candidate = along(parameters, step, share);
                let reached = objective(points, candidate);
                let enough = reached <= value + SUFFICIENT_DECREASE * share * slope;
                enough.then_some((candidate, reached))
            });
            (parameters, value) = accepted.ok_or(NotConverged { iterations: iteration })?;
        }
        if size <= LAST_STEP {
            return Ok((parameters, iteration));
        }
    }
    Err(NotConverged { iterations: MAXIMUM_ITERATIONS })
}

fn along(from: Pair, step: Pair, share: f64) -> Pair {
    [from[0] + share * step[0], from[1] + share * step[1]]
}

/// F at (a, b).
fn objective(points: &[Point], [a, b]: Pair) -> f64 {
    let loss = |&Point { x, target, mass }: &Point| {
        let u = a * x + b;
        // ln(1 + e^u) − t·u, with the larger of the two terms that cancel taken out.
        let linear = if u >= 0.0 { (1.0 - target) * u } else { -target * u };
        mass * (linear + (-u.abs()).exp().ln_1p())
    };
    points.iter().map(loss).collect::<CompensatedSum>().value()
}

/// The gradient of F at (a, b), and Newton's step from there.
fn newton_step(points: &[Point], [a, b]: Pair) -> (Pair, Pair) {
    let mut gradient = [CompensatedSum::default(); 2];
    let (mut aa, mut ab, mut bb) = (RIDGE, 0.0, RIDGE);
    for &Point { x, target, mass } in points {
        let u = a * x + b;
        let exponential = (-u.abs()).exp();
        let total = 1.0 + exponential;
        let probability = if u >= 0.0 { total.recip() } else { exponential / total };
        let variance = mass * exponential / (total * total);
        let difference = mass * (probability - target);
        gradient[0].add(difference * x);
        gradient[1].add(difference);
        aa += variance * x * x;
        ab += variance * x;
        bb += variance;
    }
    let [da, db] = gradient.map(CompensatedSum::value);
    let determinant = aa * bb - ab * ab;
    let step = [-(bb * da - ab * db) / determinant, -(aa * db - ab * da) / determinant];
    ([da, db], step)
}
