//! One row in `f64`, without haste: for rows whose sums are not finite.
//!
//! The kernels assume that Σ e^z and Σ t_k·z_k are finite; where a row turns out otherwise, it
//! comes here.
//!
//! - A class without mass costs nothing, whatever its logit: 0·(−∞) is 0.
//! - Mass on a logit of −∞ is an infinite loss; the gradient is p_k − t_k with p_k = 0.
//! - In a row that is −∞ throughout p is 0, lse is −∞, and the loss is +∞ if there is any mass.
//! - NaN and +∞ make the loss and the whole gradient NaN.

use crate::CompensatedSum;

use super::element::Element;
use super::element::sealed::{Convert, Real};
use super::problem::{Outcome, Problem};
use super::target::RowTarget;

/// A row that counts.
pub(crate) struct CarefulRow<'a, 'b, T: Element> {
    problem: &'a Problem<'b, T>,
    target: RowTarget<T::Sum>,
    first: usize,
}

impl<'a, 'b, T: Element> CarefulRow<'a, 'b, T> {
    /// # Safety
    /// The row is one of the problem's, and its logits have not been overwritten.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn new(problem: &'a Problem<'b, T>, row: usize) -> Self {
        CarefulRow { problem, target: problem.target.row(row), first: problem.layout.first(row) }
    }

    fn element(&self, class: usize) -> usize {
        self.first + class * self.problem.layout.spatial
    }

    #[allow(unsafe_code)]
    fn logit(&self, class: usize) -> f64 {
        // SAFETY: the class is below K, the row one of the problem's (promised at `new`).
        let logit = unsafe { self.problem.input.add(self.element(class)).read() };
        self.problem.transform_exactly(logit)
    }

    /// t_k, added up in the arithmetic of the masses, in which opposite masses cancel.
    fn mass(&self, class: usize) -> f64 {
        let classes = self.problem.layout.classes;
        let element = self.element(class);
        let spread = self.problem.target.spread(&self.target, class, element, classes);
        (spread + self.target.point_mass_on(class)).to_f64()
    }

    /// Loss, lse and slope.
    pub(crate) fn outcome(&self) -> Outcome {
        let classes = 0..self.problem.layout.classes;
        let mut highest = f64::NEG_INFINITY;
        for class in classes.clone() {
            let logit = self.logit(class);
            if logit.is_nan() || logit == f64::INFINITY {
                return Outcome { loss: f64::NAN, log_sum_exp: f64::NAN, slope: f64::NAN };
            }
            highest = highest.max(logit);
        }
        if highest == f64::NEG_INFINITY {
            let loss = if classes.map(|class| self.mass(class)).any(|mass| mass != 0.0) {
                f64::INFINITY
            } else {
                0.0
            };
            return Outcome { loss, log_sum_exp: highest, slope: 0.0 };
        }
        let total = sum(classes.clone().map(|class| (self.logit(class) - highest).exp()));
        let log_total = total.ln();
        let log_sum_exp = highest + log_total;
        let held =
            || classes.clone().map(|class| (class, self.mass(class))).filter(|of| of.1 != 0.0);
        let cost = |(class, mass)| mass * ((highest - self.logit(class)) + log_total);
        let loss = sum(held().map(cost)) + self.problem.z_loss * log_sum_exp * log_sum_exp;
        let slope = sum(held().map(|of| of.1)) + 2.0 * self.problem.z_loss * log_sum_exp;
        Outcome { loss, log_sum_exp, slope }
    }

    /// One entry of the gradient.
    #[allow(unsafe_code)]
    pub(crate) fn gradient(&self, class: usize, outcome: &Outcome, gradient_scale: f64) -> f64 {
        let Outcome { log_sum_exp, slope, .. } = *outcome;
        if log_sum_exp.is_nan() {
            return f64::NAN;
        }
        // No class can be, and none is likelier than another.
        if log_sum_exp == f64::NEG_INFINITY {
            return 0.0;
        }
        let logit = self.logit(class);
        let probability =
            if logit == f64::NEG_INFINITY { 0.0 } else { (logit - log_sum_exp).exp() };
        let steepness = self.problem.softcap.map_or(1.0, |cap| {
            let ratio = logit / cap.to_f64();
            1.0 - ratio * ratio
        });
        let by_logit = probability * slope - self.mass(class);
        by_logit * gradient_scale * self.problem.scale.to_f64() * steepness
    }

    /// Whether the label is the first largest of the scaled logits; never in a row with a NaN.
    #[allow(unsafe_code)]
    pub(crate) fn is_correct(&self) -> bool {
        let scaled = |class| {
            // SAFETY: the class is below K, the row one of the problem's (promised at `new`).
            let logit = unsafe { self.problem.input.add(self.element(class)).read() };
            T::Sum::widen(logit) * self.problem.scale
        };
        let label = self.target.points[0].class;
        let own = scaled(label);
        self.problem.target.labels.is_some()
            && (0..label).all(|class| scaled(class) < own)
            && (label..self.problem.layout.classes).all(|class| scaled(class) <= own)
    }
}

/// A sum that may be infinite.
fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut plain, mut compensated) = (0.0, CompensatedSum::default());
    for term in terms {
        plain += term;
        compensated.add(term);
    }
    if plain.is_finite() { compensated.value() } else { plain }
}
