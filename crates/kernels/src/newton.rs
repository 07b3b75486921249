//! Newton's method in one dimension, held inside a bracket.
//!
//! For f with f(a) and f(b) of opposite sign, the Newton step x − f(x)/f′(x) is taken where it
//! stays inside the bracket and at least halves the step before; otherwise the bracket is halved.
//! Every evaluation narrows the bracket, so the search ends for any continuous f, and quadratically
//! fast where Newton's method is.
//!
//! Numerical notes: near a root only rounding decides the sign of f; `residual` says how small a
//! value counts as 0.
//!
//! Source: the safeguard is that of W. H. Press, S. A. Teukolsky, W. T. Vetterling, B. P. Flannery,
//! "Numerical Recipes" (2007), section 9.4.

/// When [`find_root`] is done.
///
/// ```
/// let settings = softlabel_kernels::RootSettings { step: 1e-6, ..Default::default() };
/// assert_eq!(settings.iterations, 200);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RootSettings {
    /// |f(x)| at or below this is a root; 0 asks for an exact one.
    pub residual: f64,
    /// A step of at most this size is the last.
    pub step: f64,
    /// How often f is evaluated inside the bracket before the search gives up.
    pub iterations: usize,
}

impl Default for RootSettings {
    /// An exact root, or a last step of 1e-12, within 200 iterations.
    fn default() -> Self {
        Self { residual: 0.0, step: 1e-12, iterations: 200 }
    }
}

/// How a search for a root ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootOutcome {
    /// At a root.
    Converged,
    /// Before it began: f has the same sign at both ends of the bracket.
    SameSign,
    /// Without a root after as many iterations as were allowed.
    IterationLimit,
    /// At a value of f that is not a finite number.
    NotFinite,
}

/// Where a search for a root ended, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Root {
    /// The root, if the search converged.
    /// With [`RootOutcome::SameSign`] the end of the bracket where |f| is smaller, else the last
    /// position tried.
    pub position: f64,
    /// How often f was evaluated inside the bracket.
    pub iterations: usize,
    /// How the search ended.
    pub outcome: RootOutcome,
}

impl Root {
    /// Whether the search ended at a root.
    pub fn converged(&self) -> bool {
        self.outcome == RootOutcome::Converged
    }
}

/// Searches a root of f between `lower` and `upper`, beginning at `start`.
///
/// `function` gives f(x) and f′(x); a slope that is 0, wrong or not finite costs speed, never the
/// result.
/// A `start` outside the bracket is moved to its nearer end.
///
/// ```
/// use softlabel_kernels::{RootSettings, find_root};
///
/// let root = find_root(|x| (x * x - 2.0, 2.0 * x), (0.0, 2.0), 1.0, &RootSettings::default());
/// assert!(root.converged());
/// assert!((root.position - 2.0f64.sqrt()).abs() < 1e-15);
///
/// let none = find_root(|x| (x * x + 2.0, 2.0 * x), (0.0, 2.0), 1.0, &RootSettings::default());
/// assert!(!none.converged());
/// ```
pub fn find_root(
    mut function: impl FnMut(f64) -> (f64, f64),
    (mut lower, mut upper): (f64, f64),
    start: f64,
    settings: &RootSettings,
) -> Root {
    let (value_below, value_above) = (function(lower).0, function(upper).0);
    let end = |position, outcome| Root { position, iterations: 0, outcome };
    if !(value_below.is_finite() && value_above.is_finite()) {
        return end(start, RootOutcome::NotFinite);
    }
    let nearer = if value_below.abs() <= value_above.abs() { lower } else { upper };
    if value_below == 0.0 || value_above == 0.0 {
        return end(nearer, RootOutcome::Converged);
    }
    if (value_below > 0.0) == (value_above > 0.0) {
        return end(nearer, RootOutcome::SameSign);
    }

    let mut position = start.max(lower).min(upper);
    let mut last_step = upper - lower;
    for iterations in 1..=settings.iterations {
        let (value, slope) = function(position);
        if !value.is_finite() {
            return Root { position, iterations, outcome: RootOutcome::NotFinite };
        }
        if value.abs() <= settings.residual {
            return Root { position, iterations, outcome: RootOutcome::Converged };
        }
        if (value > 0.0) == (value_below > 0.0) {
            lower = position;
        } else {
            upper = position;
        }
        let newton = position - value / slope;
        let inside = lower < newton && newton < upper;
        let fast = (newton - position).abs() <= 0.5 * last_step.abs();
        let next = if inside && fast { newton } else { 0.5 * (lower + upper) };
        last_step = next - position;
        position = next;
        if last_step.abs() <= settings.step {
            return Root { position, iterations, outcome: RootOutcome::Converged };
        }
    }
    let iterations = settings.iterations;
    Root { position, iterations, outcome: RootOutcome::IterationLimit }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn newton_is_quick_where_it_may_be() {
        let root =
            find_root(|x| (x.exp() - 5.0, x.exp()), (-10.0, 10.0), 1.0, &RootSettings::default());
        assert!(root.converged() && root.iterations <= 8, "{root:?}");
        assert!((root.position - 5.0f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn where_plain_newton_diverges_the_bracket_holds() {
        // Newton's method on atan leaves for infinity from |x| > 1.392.
        let atan = |x: f64| (x.atan(), (1.0 + x * x).recip());
        let root = find_root(atan, (-1e6, 1e7), 1e5, &RootSettings::default());
        assert!(root.converged() && root.position.abs() < 1e-12, "{root:?}");
    }

    #[test]
    fn a_useless_slope_only_costs_time() {
        for slope in [0.0, f64::NAN, -1.0, 1e300] {
            let root = find_root(|x| (x - 0.3, slope), (0.0, 1.0), 0.9, &RootSettings::default());
            assert!(root.converged(), "{slope}: {root:?}");
            assert!((root.position - 0.3).abs() < 1e-11, "{slope}: {root:?}");
        }
    }

    #[test]
    fn every_other_outcome() {
        let settings = RootSettings::default();
        let above = find_root(|x| (x + 3.0, 1.0), (0.0, 1.0), 0.5, &settings);
        assert_eq!((above.outcome, above.position), (RootOutcome::SameSign, 0.0));
        let below = find_root(|x| (x - 3.0, 1.0), (0.0, 1.0), 0.5, &settings);
        assert_eq!((below.outcome, below.position), (RootOutcome::SameSign, 1.0));
        let broken = find_root(|x| (x.ln(), 1.0), (-1.0, 1.0), 0.5, &settings);
        assert_eq!(broken.outcome, RootOutcome::NotFinite);
        let hole = |x: f64| (if x == 0.5 { f64::NAN } else { x - 0.7 }, 1.0);
        assert_eq!(find_root(hole, (0.0, 1.0), 0.5, &settings).outcome, RootOutcome::NotFinite);
        let two = RootSettings { iterations: 2, ..settings };
        let tired = find_root(|x| (x.powi(3) - 0.1, 0.0), (0.0, 1.0), 0.9, &two);
        assert_eq!((tired.outcome, tired.iterations), (RootOutcome::IterationLimit, 2));
        let end = find_root(|x| (x, 1.0), (0.0, 1.0), 0.5, &settings);
        assert_eq!((end.outcome, end.position), (RootOutcome::Converged, 0.0));
    }

    proptest! {
        #[test]
        fn finds_the_root_of_any_increasing_cubic(
            root in -5.0..5.0f64, cubic in 0.0..3.0f64, linear in 0.01..3.0f64, start in -20.0..20.0f64,
        ) {
            let f = |x: f64| {
                let d = x - root;
                (cubic * d.powi(3) + linear * d, 3.0 * cubic * d * d + linear)
            };
            let found = find_root(f, (-10.0, 10.0), start, &RootSettings::default());
            prop_assert!(found.converged());
            prop_assert!((found.position - root).abs() < 1e-11, "{found:?}");
        }

        #[test]
        fn turning_the_sign_of_the_function_changes_nothing(root in 0.1..0.9f64) {
            let rising = |x: f64| (x * x - root, 2.0 * x);
            let falling = |x: f64| (root - x * x, -2.0 * x);
            let settings = RootSettings::default();
            prop_assert_eq!(
                find_root(rising, (0.0, 1.0), 0.5, &settings),
                find_root(falling, (0.0, 1.0), 0.5, &settings)
            );
        }
    }
}
