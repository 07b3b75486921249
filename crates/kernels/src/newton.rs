//! Newton's method in one dimension, held inside a bracket.
//!
//! For f with f(a) and f(b) of opposite sign, the Newton step x − f(x)/f′(x) is taken where it
//! stays inside the bracket and at least halves the step before; otherwise the bracket is halved.
//! Every evaluation narrows the bracket, so the search ends for any continuous f, and quadratically
//! fast where Newton's method does.
//!
//! Numerical notes: Newton's method comes from one side and leaves the other end of the bracket
//! where it was; so no trial is closer than `step` to either end, and the last one closes the
//! bracket from behind. A root is reported only when f has opposite signs at most `step` apart, or
//! is exactly 0:
//! a wrong slope cannot fake one.
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
    /// The root is known once the bracket is at most this wide, or as narrow as `f64` allows.
    pub step: f64,
    /// How often f is evaluated inside the bracket before the search gives up.
    pub iterations: usize,
}

impl Default for RootSettings {
    /// A bracket of 1e-12, within 200 iterations.
    fn default() -> Self {
        Self { step: 1e-12, iterations: 200 }
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
    /// The end of the last bracket where |f| is smaller: if the search converged, a root to within
    /// [`RootSettings::step`], and far closer where Newton's method led there.
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
    (lower, upper): (f64, f64),
    start: f64,
    settings: &RootSettings,
) -> Root {
    let mut below = (lower, function(lower).0);
    let mut above = (upper, function(upper).0);
    let end = |below: (f64, f64), above: (f64, f64), iterations, outcome| {
        let position = if below.1.abs() <= above.1.abs() { below.0 } else { above.0 };
        Root { position, iterations, outcome }
    };
    if !(below.1.is_finite() && above.1.is_finite()) {
        return end(below, above, 0, RootOutcome::NotFinite);
    }
    if below.1 == 0.0 || above.1 == 0.0 {
        return end(below, above, 0, RootOutcome::Converged);
    }
    if (below.1 > 0.0) == (above.1 > 0.0) {
        return end(below, above, 0, RootOutcome::SameSign);
    }

    let step = settings.step.max(4.0 * f64::EPSILON * lower.abs().max(upper.abs()));
    let mut position = start.max(lower).min(upper);
    let mut last_step = upper - lower;
    for iterations in 1..=settings.iterations {
        let (value, slope) = function(position);
        if !value.is_finite() {
            return end(below, above, iterations, RootOutcome::NotFinite);
        }
        if (value > 0.0) == (below.1 > 0.0) {
            below = (position, value);
        } else {
            above = (position, value);
        }
        if value == 0.0 || above.0 - below.0 <= step {
            return end(below, above, iterations, RootOutcome::Converged);
        }
        let newton = position - value / slope;
        let inside = below.0 <= newton && newton <= above.0;
        let fast = (newton - position).abs() < 0.5 * last_step.abs();
        let middle = 0.5 * (below.0 + above.0);
        let next = if inside && fast { newton } else { middle };
        // A step this small closes the bracket from behind, unless the slope was wrong: then 0 as
        // the last step keeps Newton's next from being fast.
        let least = (0.5 * step).min(middle - below.0);
        let closing = (next - position).abs() < least;
        let next = next.max(below.0 + least).min(above.0 - least);
        last_step = if closing { 0.0 } else { next - position };
        position = next;
    }
    end(below, above, settings.iterations, RootOutcome::IterationLimit)
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
        assert!((root.position - 5.0f64.ln()).abs() < 1e-14);
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
            root in -5.0..5.0f64,
            cubic in 0.0..3.0f64,
            linear in 0.01..3.0f64,
            start in -20.0..20.0f64,
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
