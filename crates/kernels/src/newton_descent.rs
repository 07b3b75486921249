//! A minimum of a smooth convex function of a few variables: Newton's method with a line search.
//!
//! From x the search goes along d, (H + τh·I)d = −∇f(x), where H is the Hessian, h its largest
//! diagonal element and τ the first of 1e-13, 1e-10, …, 0.1 with which the matrix has a Cholesky
//! factor and a step along d is found; the step meets the strong Wolfe conditions of
//! [`minimize`](crate::minimize).
//!
//! It costs n³/6 a step for n variables and the memory of n² numbers, and takes few steps where
//! curvatures are so different that a search that learns them from gradients takes thousands.
//!
//! Numerical notes: in a direction in which f does not change at all the gradient is 0 but for
//! rounding, and τ keeps the step there small.
//!
//! Source: J. Nocedal, S. J. Wright, "Numerical Optimization" (2006), sections 3.3 and 3.4.

use crate::lbfgs::{Point, line_search};
use crate::{Minimum, MinimumOutcome, MinimumSettings};

/// The values of τ.
const RIDGES: [f64; 5] = [1e-13, 1e-10, 1e-7, 1e-4, 0.1];

/// Searches the minimum of a convex f from `start` on, with second derivatives.
///
/// `function` gives f(x) and writes ∇f(x) into its second argument; `hessian` writes the second
/// derivatives at x, row by row, of which those on and below the diagonal are read.
/// What they write into holds anything when it comes.
/// Of `settings` the memory is not used.
///
/// ```
/// use softlabel_kernels::{MinimumSettings, minimize_newton};
///
/// // eˣ − x + 10⁸ y²
/// let function = |x: &[f64], gradient: &mut [f64]| {
///     gradient.copy_from_slice(&[x[0].exp() - 1.0, 2e8 * x[1]]);
///     x[0].exp() - x[0] + 1e8 * x[1] * x[1]
/// };
/// let hessian = |x: &[f64], hessian: &mut [f64]| {
///     hessian.copy_from_slice(&[x[0].exp(), 0.0, 0.0, 2e8]);
/// };
/// let minimum = minimize_newton(function, hessian, &[2.0, 1.0], &MinimumSettings::default());
/// assert!(minimum.converged() && minimum.iterations < 10);
/// assert!(minimum.position.iter().all(|x| x.abs() < 1e-8));
/// ```
pub fn minimize_newton(
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
    mut hessian: impl FnMut(&[f64], &mut [f64]),
    start: &[f64],
    settings: &MinimumSettings,
) -> Minimum {
    let count = start.len();
    let mut here = Point::at(&mut function, start.to_vec());
    if !here.is_finite() {
        return here.end(0, MinimumOutcome::NotFinite);
    }
    let mut curvature = vec![0.0; count * count];
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
        hessian(&here.position, &mut curvature);
        let highest = curvature.iter().step_by(count + 1).copied().fold(0.0, f64::max);
        let next = RIDGES.into_iter().find_map(|ridge| {
            let direction = newton_step(&curvature, ridge * highest, &here.gradient)?;
            line_search(&mut function, &here, &direction, 1.0)
        });
        let Some(next) = next else {
            return here.end(iteration, MinimumOutcome::Stalled);
        };
        here = next;
    }
    here.end(settings.iterations, MinimumOutcome::IterationLimit)
}

/// The d with (H + ridge·I)d = −g; `None` if the matrix is not positive definite.
fn newton_step(matrix: &[f64], ridge: f64, gradient: &[f64]) -> Option<Vec<f64>> {
    let count = gradient.len();
    // The Cholesky factor, row by row, on and below the diagonal.
    let mut factor = matrix.to_vec();
    for row in 0..count {
        for column in 0..=row {
            let (before, rest) = factor.split_at_mut(row * count);
            let above = if column == row { None } else { before.get(column * count..) };
            let known = match above {
                Some(above) => products(&rest[..column], &above[..column]),
                None => products(&rest[..column], &rest[..column]),
            };
            let left = rest[column] - known;
            rest[column] = match above {
                Some(above) => left / above[column],
                None if left + ridge > 0.0 => (left + ridge).sqrt(),
                None => return None,
            };
        }
    }
    let mut step: Vec<f64> = gradient.iter().map(|component| -component).collect();
    for row in 0..count {
        let known = products(&factor[row * count..row * count + row], &step[..row]);
        step[row] = (step[row] - known) / factor[row * count + row];
    }
    for row in (0..count).rev() {
        let known: f64 =
            (row + 1..count).map(|below| factor[below * count + row] * step[below]).sum();
        step[row] = (step[row] - known) / factor[row * count + row];
    }
    step.iter().all(|component| component.is_finite()).then_some(step)
}

fn products(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_outcome() {
        let settings = MinimumSettings::default();
        let exponential = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = -(-x[0]).exp();
            (-x[0]).exp()
        };
        let second = |x: &[f64], hessian: &mut [f64]| hessian[0] = (-x[0]).exp();
        let low = MinimumSettings { target: 1e-3, ..settings };
        let reached = minimize_newton(exponential, second, &[0.0], &low);
        assert_eq!(reached.outcome, MinimumOutcome::TargetReached);
        let two = MinimumSettings { iterations: 2, ..settings };
        let tired = minimize_newton(exponential, second, &[0.0], &two);
        assert_eq!((tired.outcome, tired.iterations), (MinimumOutcome::IterationLimit, 2));
        let broken = minimize_newton(|_, _| f64::NAN, second, &[0.0], &settings);
        assert_eq!(broken.outcome, MinimumOutcome::NotFinite);
        let lying = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = -1.0;
            x[0]
        };
        let stalled = minimize_newton(lying, |_, hessian| hessian[0] = 1.0, &[0.0], &settings);
        assert_eq!(stalled.outcome, MinimumOutcome::Stalled);
        let nothing = minimize_newton(|_, _| 1.0, |_, _| {}, &[], &settings);
        assert!(nothing.converged());
    }

    #[test]
    fn a_direction_without_change_is_left_alone() {
        // (x + y − 1)²
        let function = |x: &[f64], gradient: &mut [f64]| {
            let off = x[0] + x[1] - 1.0;
            gradient.fill(2.0 * off);
            off * off
        };
        let minimum = minimize_newton(
            function,
            |_, hessian| hessian.fill(2.0),
            &[3.0, 2.0],
            &MinimumSettings::default(),
        );
        assert!(minimum.converged(), "{minimum:?}");
        assert!(minimum.value < 1e-20);
        // The rounding of the gradient over the first τ.
        assert!((minimum.position[0] - minimum.position[1] - 1.0).abs() < 0.01, "{minimum:?}");
    }

    proptest! {
        /// ½|Ax − b|² has its minimum, and its one step, where AᵀAx = Aᵀb.
        #[test]
        fn a_square_takes_one_step(
            a in prop::collection::vec(-2.0..2.0f64, 9),
            solution in prop::collection::vec(-2.0..2.0f64, 3),
        ) {
            // Far from singular.
            let a: Vec<f64> =
                a.iter().enumerate().map(|(i, v)| if i % 4 == 0 { v + 8.0 } else { *v }).collect();
            let times = |x: &[f64]| -> Vec<f64> { a.chunks(3).map(|row| products(row, x)).collect() };
            let b = times(&solution);
            let function = |x: &[f64], gradient: &mut [f64]| {
                let off: Vec<f64> = times(x).iter().zip(&b).map(|(y, b)| y - b).collect();
                for (k, g) in gradient.iter_mut().enumerate() {
                    *g = (0..3).map(|row| a[3 * row + k] * off[row]).sum();
                }
                0.5 * products(&off, &off)
            };
            let hessian = |_: &[f64], hessian: &mut [f64]| {
                for (index, h) in hessian.iter_mut().enumerate() {
                    *h = (0..3).map(|row| a[3 * row + index / 3] * a[3 * row + index % 3]).sum();
                }
            };
            let found = minimize_newton(function, hessian, &[0.0; 3], &MinimumSettings::default());
            prop_assert!(found.converged() && found.iterations <= 2, "{found:?}");
            for (x, expected) in found.position.iter().zip(&solution) {
                prop_assert!((x - expected).abs() < 1e-9, "{found:?}");
            }
        }
    }
}
