//! The minimum of a convex function of three weights that are at least 0 and sum to 1.
//!
//! Newton's method on the weights that are free, their sum kept: a weight that comes to 0 is held
//! there, and where no free weight wants to change the held one is freed that most wants to rise.
//! At the end the slopes of all free weights are equal and those of the held ones not smaller, which
//! for a convex function is the minimum.
//!
//! Source: the active-set method of J. Nocedal, S. J. Wright, "Numerical Optimization" (2006),
//! chapter 16, with a line search.

/// Three numbers, one for each weight.
pub(crate) type Triple = [f64; 3];

/// f, its gradient and its Hessian.
pub(crate) struct Taylor {
    pub(crate) value: f64,
    pub(crate) gradient: Triple,
    pub(crate) hessian: [Triple; 3],
}

/// Slopes that differ by less than this, relative to the largest, are equal.
const EQUAL: f64 = 1e-12;

/// What a search that sees no decrease any more may be away from that.
const STALLED: f64 = 1e-7;

const ITERATIONS: usize = 500;

/// The minimum from `start` on and the iterations it took; `Err` with those if it is not found.
pub(crate) fn minimize_on_simplex(
    function: impl Fn(Triple) -> Taylor,
    start: Triple,
) -> Result<(Triple, usize), usize> {
    let mut weights = start;
    let mut free = weights.map(|weight| weight > 0.0);
    let mut here = function(weights);
    for iteration in 0..ITERATIONS {
        let scale = here.gradient.iter().fold(1.0, |largest: f64, slope| largest.max(slope.abs()));
        if !(here.value.is_finite() && scale.is_finite()) {
            return Err(iteration);
        }
        let level: f64 =
            weights.iter().zip(here.gradient).map(|(weight, slope)| weight * slope).sum();
        let off = |index: usize| here.gradient[index] - level;
        let spread = (0..3).filter(|&i| free[i]).map(|i| off(i).abs()).fold(0.0, f64::max);
        if spread <= EQUAL * scale {
            let held = (0..3).filter(|&index| !free[index]);
            match held.min_by(|&i, &j| off(i).total_cmp(&off(j))) {
                Some(index) if off(index) < -EQUAL * scale => free[index] = true,
                _ => return Ok((weights, iteration)),
            }
        }
        let direction = newton_direction(&here, weights, free);
        let slope: f64 = direction.iter().zip(here.gradient).map(|(d, g)| d * g).sum();
        let limit = |index: usize| {
            let falls = direction[index] < 0.0;
            if falls { weights[index] / -direction[index] } else { f64::INFINITY }
        };
        let first = (0..3).min_by(|&i, &j| limit(i).total_cmp(&limit(j))).unwrap_or_default();
        let longest = limit(first);
        let mut step = longest.min(1.0);
        let next = loop {
            let mut trial = weights;
            for (weight, d) in trial.iter_mut().zip(direction) {
                *weight = (*weight + step * d).max(0.0);
            }
            if step == longest {
                trial[first] = 0.0;
            }
            let taylor = function(trial);
            let slack = 4.0 * f64::EPSILON * here.value.abs();
            if taylor.value <= here.value + 1e-4 * step * slope + slack {
                break Some((trial, taylor));
            }
            step *= 0.5;
            if step < 1e-12 {
                break None;
            }
        };
        let Some((trial, taylor)) = next.filter(|_| slope < 0.0 && longest > 0.0) else {
            return if spread <= STALLED * scale {
                Ok((weights, iteration))
            } else {
                Err(iteration)
            };
        };
        for (free, weight) in free.iter_mut().zip(trial) {
            *free &= weight > 0.0;
        }
        (weights, here) = (trial, taylor);
    }
    Err(ITERATIONS)
}

/// The d with Σ d = 0 over free weights that minimizes g·d + ½ d·Hd.
fn newton_direction(here: &Taylor, weights: Triple, free: [bool; 3]) -> Triple {
    let mut direction = [0.0; 3];
    let indices = || (0..3).filter(|&index| free[index]);
    // The largest weight makes up for what the others change.
    let Some(pivot) = indices().max_by(|&i, &j| weights[i].total_cmp(&weights[j])) else {
        return direction;
    };
    let others: Vec<usize> = indices().filter(|&index| index != pivot).collect();
    let slope = |i: usize| here.gradient[i] - here.gradient[pivot];
    let curvature = |i: usize, j: usize| {
        let h = &here.hessian;
        h[i][j] - h[i][pivot] - h[pivot][j] + h[pivot][pivot]
    };
    let trace: f64 = (0..3).map(|index| here.hessian[index][index]).sum();
    let ridge = 1e-13 * trace + f64::MIN_POSITIVE;
    match others[..] {
        [i] => direction[i] = -slope(i) / (curvature(i, i) + ridge),
        [i, j] => {
            let (a, b, c) = (curvature(i, i) + ridge, curvature(i, j), curvature(j, j) + ridge);
            let determinant = (a * c - b * b).max(ridge * ridge);
            direction[i] = (b * slope(j) - c * slope(i)) / determinant;
            direction[j] = (b * slope(i) - a * slope(j)) / determinant;
        }
        _ => {}
    }
    direction[pivot] = -others.iter().map(|&index| direction[index]).sum::<f64>();
    direction
}
