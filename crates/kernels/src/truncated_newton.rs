//! A minimum of a smooth convex function of very many variables: Newton's method whose linear
//! systems are solved by preconditioned conjugate gradients, as well as they need to be.
//!
//! At x the direction d solves Hd = −∇f(x), H being the Hessian, up to
//!
//! ‖∇f + Hd‖ ≤ η ‖∇f‖ in the norm of M⁻¹, η = min(0.1, ‖∇f‖^½)
//!
//! where M is near H and easily solved with; the closer to the minimum, the more exactly, so the last
//! steps double the digits.
//! The step along d meets the strong Wolfe conditions of [`minimize`](crate::minimize); next to the minimum,
//! where f is too flat to tell, a whole step is taken if it makes the gradient half as large.
//!
//! It asks for products Hv in place of H, so it suits functions that are sums over rows, where such
//! a product costs what the gradient costs.
//!
//! Numerical notes: H need not be definite: directions in which f does not change are orthogonal to
//! every gradient, and never entered but by rounding.
//!
//! Source: J. Nocedal, S. J. Wright, "Numerical Optimization" (2006), algorithms 5.3 and 7.1;
//! W. W. Hager, H. Zhang, "A New Conjugate Gradient Method with Guaranteed Descent" (2005), on steps near the minimum;
//! S. C. Eisenstat, H. F. Walker, "Choosing the Forcing Terms in an Inexact Newton Method" (1996).

use crate::lbfgs::{Point, dot, line_search};
use crate::{Minimum, MinimumOutcome, MinimumSettings};

/// η is at most this.
const FORCING: f64 = 0.1;

/// At most so many products with H a step.
const PRODUCTS: usize = 250;

/// What sums of many terms are off by, over their size.
const ROUNDING: f64 = 1e-12;

/// A smooth convex function that knows its curvature.
pub trait Curved {
    /// f(x); ∇f(x) is written into `gradient`, which holds anything when it comes.
    fn value(&mut self, x: &[f64], gradient: &mut [f64]) -> f64;

    /// From now on H and M are those of this x.
    fn look_at(&mut self, x: &[f64]);

    /// Writes Hv.
    fn curve(&mut self, v: &[f64], product: &mut [f64]);

    /// Writes M⁻¹r, where M is symmetric, positive definite and as near to H as can be had.
    fn solve(&mut self, r: &[f64], solution: &mut [f64]);
}

/// Searches the minimum of `function` from `start` on.
///
/// Of `settings` the memory is not used; `iterations` counts steps, not products with H.
///
/// ```
/// use softlabel_kernels::{Curved, MinimumSettings, minimize_truncated_newton};
///
/// /// Σ_k k·(cosh(x_k − 1) − 1)
/// struct Bowls(Vec<f64>);
///
/// impl Curved for Bowls {
///     fn value(&mut self, x: &[f64], gradient: &mut [f64]) -> f64 {
///         let each = || x.iter().enumerate().map(|(k, x)| (k as f64 + 1.0, x - 1.0));
///         gradient.iter_mut().zip(each()).for_each(|(g, (k, x))| *g = k * x.sinh());
///         each().map(|(k, x)| k * (x.cosh() - 1.0)).sum()
///     }
///     fn look_at(&mut self, x: &[f64]) {
///         self.0 = x.iter().enumerate().map(|(k, x)| (k as f64 + 1.0) * (x - 1.0).cosh()).collect();
///     }
///     fn curve(&mut self, v: &[f64], product: &mut [f64]) {
///         product.iter_mut().zip(v).zip(&self.0).for_each(|((p, v), h)| *p = h * v);
///     }
///     fn solve(&mut self, r: &[f64], solution: &mut [f64]) {
///         solution.copy_from_slice(r);
///     }
/// }
///
/// let found =
///     minimize_truncated_newton(&mut Bowls(Vec::new()), &[3.0; 50], &MinimumSettings::default());
/// assert!(found.converged() && found.iterations < 12);
/// assert!(found.position.iter().all(|x| (x - 1.0).abs() < 1e-9));
/// ```
#[doc(alias("Newton-CG", "conjugate gradients"))]
pub fn minimize_truncated_newton(
    function: &mut impl Curved,
    start: &[f64],
    settings: &MinimumSettings,
) -> Minimum {
    let at = |function: &mut _, position| {
        Point::at(&mut |x: &[f64], g: &mut [f64]| Curved::value(function, x, g), position)
    };
    let mut here = at(function, start.to_vec());
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
        function.look_at(&here.position);
        let direction = newton_direction(function, &here.gradient);
        let mut value = |x: &[f64], g: &mut [f64]| function.value(x, g);
        let next = line_search(&mut value, &here, &direction, 1.0);
        let next = next.or_else(|| near_minimum(&mut value, &here, &direction));
        let next = next.or_else(|| {
            let descent: Vec<f64> = here.gradient.iter().map(|component| -component).collect();
            line_search(&mut value, &here, &descent, here.largest().recip().min(1.0))
        });
        let Some(next) = next else {
            return here.end(iteration, MinimumOutcome::Stalled);
        };
        here = next;
    }
    here.end(settings.iterations, MinimumOutcome::IterationLimit)
}

/// The whole step, if the function is the same but for rounding after it and the gradient is at most half as large: where
/// rounding hides that the function falls, its gradient still tells.
fn near_minimum(
    function: &mut impl FnMut(&[f64], &mut [f64]) -> f64,
    here: &Point,
    direction: &[f64],
) -> Option<Point> {
    let position = here.position.iter().zip(direction).map(|(x, d)| x + d).collect();
    let next = Point::at(function, position);
    let rounding = ROUNDING * here.value.abs().max(1.0);
    let is_better = next.value <= here.value + rounding && 2.0 * next.largest() <= here.largest();
    (next.is_finite() && is_better).then_some(next)
}

/// The d with Hd = −g, about; 0 if M says nothing of use.
fn newton_direction(function: &mut impl Curved, gradient: &[f64]) -> Vec<f64> {
    let count = gradient.len();
    let mut direction = vec![0.0; count];
    let mut residual: Vec<f64> = gradient.iter().map(|component| -component).collect();
    let mut solution = vec![0.0; count];
    function.solve(&residual, &mut solution);
    let mut size = dot(&residual, &solution);
    let forcing = FORCING.min(size.max(0.0).powf(0.25));
    let enough = forcing * forcing * size;
    let mut along = solution.clone();
    let mut product = vec![0.0; count];
    for _ in 0..PRODUCTS {
        function.curve(&along, &mut product);
        let curvature = dot(&along, &product);
        // Flat as far as f64 can tell, or not a number.
        if !(curvature > f64::EPSILON * f64::EPSILON * size.abs() && curvature.is_finite()) {
            break;
        }
        let step = size / curvature;
        for (((d, r), along), product) in
            direction.iter_mut().zip(&mut residual).zip(&along).zip(&product)
        {
            *d += step * along;
            *r -= step * product;
        }
        function.solve(&residual, &mut solution);
        let next = dot(&residual, &solution);
        if !(next > enough && next.is_finite()) {
            break;
        }
        let share = next / size;
        for (along, solution) in along.iter_mut().zip(&solution) {
            *along = solution + share * *along;
        }
        size = next;
    }
    direction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ½xᵀAx − bᵀx + Σ c(e^x − x), with the diagonal of A for M.
    struct Problem {
        matrix: Vec<f64>,
        shift: Vec<f64>,
        curve: f64,
        powers: Vec<f64>,
    }

    impl Problem {
        fn times(&self, v: &[f64]) -> Vec<f64> {
            self.matrix.chunks(v.len()).map(|row| dot(row, v)).collect()
        }
    }

    impl Curved for Problem {
        fn value(&mut self, x: &[f64], gradient: &mut [f64]) -> f64 {
            let product = self.times(x);
            for (((g, p), b), x) in gradient.iter_mut().zip(&product).zip(&self.shift).zip(x) {
                *g = p - b + self.curve * (x.exp() - 1.0);
            }
            let rest: f64 = x.iter().map(|x| self.curve * (x.exp() - x)).sum();
            0.5 * dot(x, &product) - dot(x, &self.shift) + rest
        }

        fn look_at(&mut self, x: &[f64]) {
            self.powers = x.iter().map(|x| self.curve * x.exp()).collect();
        }

        fn curve(&mut self, v: &[f64], product: &mut [f64]) {
            product.copy_from_slice(&self.times(v));
            for ((p, v), power) in product.iter_mut().zip(v).zip(&self.powers) {
                *p += power * v;
            }
        }

        fn solve(&mut self, r: &[f64], solution: &mut [f64]) {
            let diagonal = self.matrix.iter().step_by(r.len() + 1).zip(&self.powers);
            for ((s, r), (d, p)) in solution.iter_mut().zip(r).zip(diagonal) {
                *s = r / (d + p);
            }
        }
    }

    fn problem(factor: &[f64], size: usize, shift: &[f64], curve: f64) -> Problem {
        let mut matrix = vec![0.0; size * size];
        for (index, element) in matrix.iter_mut().enumerate() {
            let (i, j) = (index / size, index % size);
            *element = (0..size).map(|k| factor[k * size + i] * factor[k * size + j]).sum();
            *element += if i == j { 0.1 } else { 0.0 };
        }
        Problem { matrix, shift: shift[..size].to_vec(), curve, powers: Vec::new() }
    }

    #[test]
    fn every_outcome() {
        let settings = MinimumSettings::default();
        let mut bowl = problem(&[1.0, 0.0, 0.0, 1e3], 2, &[1.0, 2.0], 0.5);
        let found = minimize_truncated_newton(&mut bowl, &[4.0, -2.0], &settings);
        assert!(found.converged() && found.iterations < 15, "{found:?}");
        let low = MinimumSettings { target: found.value + 1e-3, ..settings };
        let reached = minimize_truncated_newton(&mut bowl, &[4.0, -2.0], &low);
        assert_eq!(reached.outcome, MinimumOutcome::TargetReached);
        let one = MinimumSettings { iterations: 1, ..settings };
        let tired = minimize_truncated_newton(&mut bowl, &[4.0, -2.0], &one);
        assert_eq!((tired.outcome, tired.iterations), (MinimumOutcome::IterationLimit, 1));
        let broken = minimize_truncated_newton(&mut bowl, &[f64::NAN, 0.0], &settings);
        assert_eq!(broken.outcome, MinimumOutcome::NotFinite);
    }

    proptest! {
        /// The gradient vanishes where it ends, and no neighbour is lower.
        #[test]
        fn ends_at_a_minimum(
            size in 1..8usize,
            factor in prop::collection::vec(-3.0..3.0f64, 64),
            shift in prop::collection::vec(-3.0..3.0f64, 8),
            curve in 0.0..2.0f64,
            start in prop::collection::vec(-3.0..3.0f64, 8),
        ) {
            let mut function = problem(&factor, size, &shift, curve);
            let settings = MinimumSettings::default();
            let found = minimize_truncated_newton(&mut function, &start[..size], &settings);
            prop_assert!(found.converged(), "{found:?}");
            let mut gradient = vec![0.0; size];
            for index in 0..size {
                for step in [-1e-3, 1e-3] {
                    let mut x = found.position.clone();
                    x[index] += step;
                    prop_assert!(function.value(&x, &mut gradient) > found.value);
                }
            }
        }
    }
}
