//! A minimum of a smooth function of many variables: L-BFGS with a strong Wolfe line search.
//!
//! From x the search goes along d = −H∇f(x), where H is the inverse Hessian as the last m pairs
//! s = x′ − x, y = ∇f(x′) − ∇f(x) know it (two-loop recursion, scaled by ⟨s, y⟩/⟨y, y⟩ of the
//! newest).
//! Along d, with φ(α) = f(x + αd), a step α is taken that meets the strong Wolfe conditions
//!
//! φ(α) ≤ φ(0) + c₁αφ′(0) and |φ′(α)| ≤ c₂|φ′(0)|, c₁ = 1e-4, c₂ = 0.9
//!
//! The interval that must hold such a step is known from the first trial that is too long on, and
//! shrinks with every trial; trials inside are where the secant of φ′ vanishes, kept a tenth of the
//! interval off its ends.
//!
//! The search is deterministic, and ends with a value no larger than the one it began with, but for
//! rounding.
//! For a convex f every minimum is the minimum; of others it finds one nearby.
//!
//! Numerical notes: near a minimum the decrease of f vanishes in its rounding, the gradient does
//! not. So a value counts as decreased if it is at most a few roundings of max(|f|, 1) above, and
//! there it is the gradient that decides: for a convex f it can be brought down to its own
//! rounding.
//! A trial at which f or its gradient is not finite is too long.
//!
//! Source: J. Nocedal, S. J. Wright, "Numerical Optimization" (2006), algorithms 3.5, 3.6 and 7.5;
//! the slack in the first condition is in the spirit of W. W. Hager, H. Zhang, "A New Conjugate
//! Gradient Method with Guaranteed Descent and an Efficient Line Search" (2005).

use std::collections::VecDeque;

use crate::CompensatedSum;

/// c₁: how much of the decrease that the slope promises a step must bring.
const DECREASE: f64 = 1e-4;

/// c₂: what is left of the slope after a step.
const CURVATURE: f64 = 0.9;

/// How far above, in units of max(|f|, 1), a value may lie and still count as no larger.
const SLACK: f64 = 8.0 * f64::EPSILON;

/// Trials of one line search.
const TRIALS: usize = 60;

/// When [`minimize`] is done.
///
/// ```
/// let settings = softlabel_kernels::MinimumSettings { gradient: 1e-6, ..Default::default() };
/// assert_eq!((settings.iterations, settings.target), (5000, f64::NEG_INFINITY));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinimumSettings {
    /// At a minimum, no component of the gradient is larger than this.
    pub gradient: f64,
    /// A value that is low enough: the search ends where f is at most this.
    pub target: f64,
    /// How many steps are made before the search gives up.
    pub iterations: usize,
    /// m, how many pairs of steps and changes of the gradient are remembered.
    pub memory: usize,
}

impl Default for MinimumSettings {
    /// A gradient of 1e-9, no target, 5000 iterations, 20 pairs.
    fn default() -> Self {
        Self { gradient: 1e-9, target: f64::NEG_INFINITY, iterations: 5000, memory: 20 }
    }
}

/// How a search for a minimum ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinimumOutcome {
    /// Where the gradient vanishes, to within [`MinimumSettings::gradient`].
    Converged,
    /// Where the function is as low as [`MinimumSettings::target`].
    TargetReached,
    /// Where no step in the search direction makes the function smaller as `f64` sees it, though
    /// the gradient is larger than asked for.
    Stalled,
    /// After as many iterations as were allowed.
    IterationLimit,
    /// Before it began: the function or its gradient is not finite at the start.
    NotFinite,
}

/// Where a search for a minimum ended, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum {
    /// Where it ended.
    pub position: Vec<f64>,
    /// f there.
    pub value: f64,
    /// The largest component of the gradient there, without its sign.
    pub gradient: f64,
    /// The number of steps made.
    pub iterations: usize,
    /// How it ended.
    pub outcome: MinimumOutcome,
}

impl Minimum {
    /// Whether the search ended where the gradient vanishes.
    pub fn converged(&self) -> bool {
        self.outcome == MinimumOutcome::Converged
    }
}

/// Searches a minimum of f from `start` on.
///
/// `function` gives f(x) and writes ∇f(x) into its second argument, which has the length of `start`
/// and holds anything when it comes.
/// A function of no variables is at its minimum.
///
/// ```
/// use softlabel_kernels::{MinimumSettings, minimize};
///
/// // (x − 1)² + 10 (y − x)²
/// let bowl = |x: &[f64], gradient: &mut [f64]| {
///     let (a, b) = (x[0] - 1.0, x[1] - x[0]);
///     gradient.copy_from_slice(&[2.0 * a - 20.0 * b, 20.0 * b]);
///     a * a + 10.0 * b * b
/// };
/// let minimum = minimize(bowl, &[-3.0, 7.0], &MinimumSettings::default());
/// assert!(minimum.converged());
/// assert!(minimum.position.iter().all(|x| (x - 1.0).abs() < 1e-9));
/// ```
#[doc(alias = "lbfgs")]
pub fn minimize(
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
    start: &[f64],
    settings: &MinimumSettings,
) -> Minimum {
    let mut here = Point::at(&mut function, start.to_vec());
    let mut pairs: VecDeque<Pair> = VecDeque::with_capacity(settings.memory);
    if !here.is_finite() {
        return here.end(0, MinimumOutcome::NotFinite);
    }
    for iteration in 0..=settings.iterations {
        if here.value <= settings.target {
            return here.end(iteration, MinimumOutcome::TargetReached);
        }
        if here.largest() <= settings.gradient {
            return here.end(iteration, MinimumOutcome::Converged);
        }
        if iteration == settings.iterations {
            break;
        }
        let along = direction(&here, &pairs);
        let next = line_search(&mut function, &here, &along, 1.0).or_else(|| {
            // What the pairs say may have gone stale: once more without them, along −∇f.
            pairs.clear();
            let descent: Vec<f64> = here.gradient.iter().map(|component| -component).collect();
            line_search(&mut function, &here, &descent, here.largest().recip().min(1.0))
        });
        let Some(next) = next else {
            return here.end(iteration, MinimumOutcome::Stalled);
        };
        if let Some(pair) = Pair::between(&here, &next) {
            if pairs.len() >= settings.memory.max(1) {
                pairs.pop_front();
            }
            pairs.push_back(pair);
        }
        here = next;
    }
    here.end(settings.iterations, MinimumOutcome::IterationLimit)
}

/// A position, f and ∇f there.
pub(crate) struct Point {
    pub(crate) position: Vec<f64>,
    pub(crate) value: f64,
    pub(crate) gradient: Vec<f64>,
}

impl Point {
    pub(crate) fn at(
        function: &mut impl FnMut(&[f64], &mut [f64]) -> f64,
        position: Vec<f64>,
    ) -> Self {
        let mut gradient = vec![0.0; position.len()];
        let value = function(&position, &mut gradient);
        Self { position, value, gradient }
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.value.is_finite() && self.gradient.iter().all(|component| component.is_finite())
    }

    /// The largest component of the gradient, without its sign.
    pub(crate) fn largest(&self) -> f64 {
        self.gradient.iter().fold(0.0, |largest, component| component.abs().max(largest))
    }

    /// The result of a search that ends here.
    pub(crate) fn end(self, iterations: usize, outcome: MinimumOutcome) -> Minimum {
        let gradient = self.largest();
        Minimum { position: self.position, value: self.value, gradient, iterations, outcome }
    }
}

/// A step s, the change y of the gradient along it, and 1/⟨s, y⟩.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    inverse_product: f64,
}

impl Pair {
    /// `None` if f did not curve upwards along the step, as far as `f64` can tell.
    fn between(from: &Point, to: &Point) -> Option<Self> {
        let difference =
            |x: &[f64], y: &[f64]| -> Vec<f64> { x.iter().zip(y).map(|(x, y)| x - y).collect() };
        let step = difference(&to.position, &from.position);
        let change = difference(&to.gradient, &from.gradient);
        let product = dot(&step, &change);
        let upwards =
            product > f64::EPSILON * dot(&change, &change).sqrt() * dot(&step, &step).sqrt();
        let inverse_product = product.recip();
        (upwards && inverse_product.is_finite()).then_some(Self { step, change, inverse_product })
    }
}

pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).collect::<CompensatedSum>().value()
}

fn add_scaled(to: &mut [f64], scale: f64, what: &[f64]) {
    for (to, what) in to.iter_mut().zip(what) {
        *to += scale * what;
    }
}

/// −H∇f by the two-loop recursion; without pairs −∇f, no longer than 1.
fn direction(here: &Point, pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut direction: Vec<f64> = here.gradient.iter().map(|component| -component).collect();
    let mut shares = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let share = pair.inverse_product * dot(&pair.step, &direction);
        add_scaled(&mut direction, -share, &pair.change);
        shares.push(share);
    }
    let scale = match pairs.back() {
        Some(newest) => (newest.inverse_product * dot(&newest.change, &newest.change)).recip(),
        None => dot(&here.gradient, &here.gradient).sqrt().recip().min(1.0),
    };
    for component in &mut direction {
        *component *= scale;
    }
    for (pair, share) in pairs.iter().zip(shares.into_iter().rev()) {
        let other = pair.inverse_product * dot(&pair.change, &direction);
        add_scaled(&mut direction, share - other, &pair.step);
    }
    direction
}

/// An end of the interval that is searched: α, and φ′(α) where it is finite.
#[derive(Clone, Copy)]
struct End {
    step: f64,
    slope: Option<f64>,
}

/// A point that meets the strong Wolfe conditions along `direction`, `first` being the first trial;
/// `None` if the direction does not descend or no such point is found.
pub(crate) fn line_search(
    function: &mut impl FnMut(&[f64], &mut [f64]) -> f64,
    here: &Point,
    direction: &[f64],
    first: f64,
) -> Option<Point> {
    let slope = dot(&here.gradient, direction);
    if !(slope < 0.0 && slope.is_finite()) {
        return None;
    }
    let slack = SLACK * here.value.abs().max(1.0);
    let mut low = End { step: 0.0, slope: Some(slope) };
    let mut high: Option<End> = None;
    let mut step = first;
    for _ in 0..TRIALS {
        let mut position = here.position.clone();
        add_scaled(&mut position, step, direction);
        if position == here.position {
            return None;
        }
        let trial = Point::at(function, position);
        if trial.is_finite() {
            let trial_slope = dot(&trial.gradient, direction);
            let end = End { step, slope: Some(trial_slope) };
            let decreased = trial.value <= here.value + DECREASE * step * slope + slack;
            if decreased && trial_slope.abs() <= -CURVATURE * slope {
                return Some(trial);
            }
            if decreased && trial_slope < 0.0 {
                low = end;
            } else {
                high = Some(end);
            }
        } else {
            high = Some(End { step, slope: None });
        }
        step = match high {
            None => 4.0 * step,
            Some(high) => between(low, high),
        };
        if !step.is_finite() {
            return None;
        }
    }
    None
}

/// Where the secant of φ′ vanishes, a tenth off both ends; the middle where there is no such place.
fn between(low: End, high: End) -> f64 {
    let width = high.step - low.step;
    let share = match (low.slope, high.slope) {
        (Some(falling), Some(rising)) if rising > 0.0 => falling / (falling - rising),
        _ => 0.5,
    };
    low.step + share.clamp(0.1, 0.9) * width
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// (1 − x)² + 100 (y − x²)²: a curved valley, not convex.
    fn rosenbrock(x: &[f64], gradient: &mut [f64]) -> f64 {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        gradient.copy_from_slice(&[-2.0 * a - 400.0 * x[0] * b, 200.0 * b]);
        a * a + 100.0 * b * b
    }

    #[test]
    fn finds_the_end_of_a_curved_valley() {
        let minimum = minimize(rosenbrock, &[-1.2, 1.0], &MinimumSettings::default());
        assert!(minimum.converged() && minimum.iterations < 60, "{minimum:?}");
        assert!(minimum.position.iter().all(|x| (x - 1.0).abs() < 1e-9), "{minimum:?}");
        // And again, to the bit.
        assert_eq!(minimum, minimize(rosenbrock, &[-1.2, 1.0], &MinimumSettings::default()));
    }

    #[test]
    fn the_gradient_goes_down_where_the_value_no_longer_can() {
        // 1000 + a bowl: the last digits of the position are far below the rounding of f.
        let bowl = |x: &[f64], gradient: &mut [f64]| {
            let mut value = 1000.0;
            for (k, (x, g)) in x.iter().zip(gradient).enumerate() {
                let scale = 10f64.powi(i32::try_from(k).unwrap());
                *g = scale * (x - 3.0);
                value += 0.5 * scale * (x - 3.0).powi(2);
            }
            value
        };
        let settings = MinimumSettings { gradient: 1e-11, ..Default::default() };
        let minimum = minimize(bowl, &[0.0; 5], &settings);
        assert!(minimum.converged(), "{minimum:?}");
        assert!(minimum.position.iter().all(|x| (x - 3.0).abs() < 1e-10));
    }

    #[test]
    fn a_region_that_is_not_finite_is_left_alone() {
        let logarithm = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = 1.0 - 1.0 / x[0];
            x[0] - x[0].ln()
        };
        let minimum = minimize(logarithm, &[1e-3], &MinimumSettings::default());
        assert!(minimum.converged() && (minimum.position[0] - 1.0).abs() < 1e-8, "{minimum:?}");
    }

    #[test]
    fn every_other_outcome() {
        let settings = MinimumSettings::default();
        let falling = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = -(-x[0]).exp();
            (-x[0]).exp()
        };
        let low = MinimumSettings { target: 1e-3, ..settings };
        let reached = minimize(falling, &[0.0], &low);
        assert_eq!(reached.outcome, MinimumOutcome::TargetReached);
        assert!(reached.value <= 1e-3);
        let two = MinimumSettings { iterations: 2, ..settings };
        let tired = minimize(rosenbrock, &[-1.2, 1.0], &two);
        assert_eq!((tired.outcome, tired.iterations), (MinimumOutcome::IterationLimit, 2));
        let broken = minimize(|_, _| f64::NAN, &[0.0], &settings);
        assert_eq!((broken.outcome, broken.position), (MinimumOutcome::NotFinite, vec![0.0]));
        // The gradient says that f falls; it does not.
        let lying = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = -1.0;
            x[0]
        };
        assert_eq!(minimize(lying, &[0.0], &settings).outcome, MinimumOutcome::Stalled);
        // f falls without end.
        let endless = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = -1.0;
            -x[0]
        };
        assert_eq!(minimize(endless, &[0.0], &settings).outcome, MinimumOutcome::Stalled);
        let nothing = minimize(|_, _| 1.0, &[], &settings);
        assert_eq!((nothing.outcome, nothing.value), (MinimumOutcome::Converged, 1.0));
    }

    proptest! {
        /// ½ Σ c_k (r_k·(x − m))² with rotated, badly scaled axes.
        #[test]
        fn finds_the_bottom_of_any_bowl(
            minimum in prop::collection::vec(-5.0..5.0f64, 2),
            start in prop::collection::vec(-50.0..50.0f64, 2),
            angle in 0.0..3.0f64,
            steep in 1.0..1e4f64,
        ) {
            let (sine, cosine) = angle.sin_cos();
            let bowl = |x: &[f64], gradient: &mut [f64]| {
                let (dx, dy) = (x[0] - minimum[0], x[1] - minimum[1]);
                let (u, v) = (cosine * dx + sine * dy, cosine * dy - sine * dx);
                gradient[0] = u * cosine - steep * v * sine;
                gradient[1] = u * sine + steep * v * cosine;
                0.5 * (u * u + steep * v * v)
            };
            let found = minimize(bowl, &start, &MinimumSettings::default());
            prop_assert!(found.converged(), "{found:?}");
            for (x, expected) in found.position.iter().zip(&minimum) {
                prop_assert!((x - expected).abs() < 1e-8, "{found:?}");
            }
        }
    }
}
