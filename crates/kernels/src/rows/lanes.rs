//! What is known of the rows of a tile and what they come to: one array a quantity, one element a lane, so that
//! the compiler makes vectors of the loops over them.

use super::element::Element;
use super::element::sealed::Convert;
use super::problem::Problem;
use super::target::{Dense, MassesBy, Target, blend};
use super::vector::MOST_LANES;
use super::{Accumulator, Scale};

/// No tile has more lanes.
pub(super) const WIDTH: usize = 4 * MOST_LANES;

/// The targets of up to `LANES` neighbouring rows; all is 0 in lanes of theirs whose rows do not count.
pub(super) struct LaneTargets<A> {
    /// Which lanes have rows that count.
    pub(super) counts: [bool; WIDTH],
    /// Whether all rows do.
    pub(super) all_count: bool,
    /// How many labels a row has.
    pub(super) points: usize,
    /// The labels.
    pub(super) classes: [[usize; WIDTH]; 2],
    /// What is on the labels alone.
    masses: [[A; WIDTH]; 2],
    /// On every class.
    pub(super) uniform: [A; WIDTH],
    /// By which the dense row is multiplied.
    pub(super) dense: [A; WIDTH],
    /// By which the row of a matrix is multiplied that the second label has.
    pub(super) second_dense: [A; WIDTH],
}

impl<A: Accumulator> LaneTargets<A> {
    pub(super) const NONE: Self = LaneTargets {
        counts: [false; WIDTH],
        all_count: true,
        points: 0,
        classes: [[0; WIDTH]; 2],
        masses: [[A::ZERO; WIDTH]; 2],
        uniform: [A::ZERO; WIDTH],
        dense: [A::ZERO; WIDTH],
        second_dense: [A::ZERO; WIDTH],
    };

    /// Those of `rows` rows, one a lane, of vectors of `lanes`; lanes beyond have what they had.
    #[inline(always)]
    pub(super) fn set(&mut self, target: &Target<A>, first: usize, rows: usize, lanes: usize) {
        // Twice the same: in the first the compiler knows how many.
        if rows == lanes {
            self.fill(target, first, lanes);
        } else {
            *self = Self::NONE;
            self.fill(target, first, rows);
        }
    }

    #[inline(always)]
    fn fill(&mut self, target: &Target<A>, first: usize, rows: usize) {
        let range = first..first + rows;
        let labels = target.labels.map(|labels| &labels[range.clone()]);
        self.counts[..rows].fill(true);
        if let (Some(index), Some(labels)) = (target.ignore_index, labels) {
            for (counts, label) in self.counts.iter_mut().zip(labels) {
                *counts = *label != index;
            }
        }
        if let Some(ignored) = target.ignored {
            for (counts, ignored) in self.counts.iter_mut().zip(&ignored[range.clone()]) {
                *counts &= !*ignored;
            }
        }
        self.all_count = self.counts[..rows].iter().fold(true, |all, counts| all & counts);
        if let Some(labels) = labels {
            self.points = 1;
            self.set_classes(0, labels);
        }
        let mut label = [A::ZERO; WIDTH];
        let mut set = |lane: usize, masses: super::Masses<A>| {
            label[lane] = masses.label;
            self.uniform[lane] = masses.uniform;
            self.dense[lane] = masses.dense;
        };
        match target.masses {
            MassesBy::All(masses) => (0..rows).for_each(|lane| set(lane, masses)),
            MassesBy::Class(masses) => {
                for lane in 0..rows {
                    set(lane, masses[self.classes[0][lane]]);
                }
            }
            MassesBy::Row(masses) => {
                for (lane, masses) in masses[range.clone()].iter().enumerate() {
                    set(lane, *masses);
                }
            }
        }
        if labels.is_some() {
            self.masses[0] = label;
        }
        if let (Some(second), Some(_)) = (target.second, labels) {
            self.points = 2;
            self.set_classes(1, &second.labels[range.clone()]);
            let is_matrix = matches!(target.dense, Dense::Matrix(_));
            for lane in 0..rows {
                let share = second.share.get(first + lane);
                let mut others = label[lane];
                let mut other_dense = self.dense[lane];
                if let MassesBy::Class(masses) = target.masses {
                    let masses = masses[self.classes[1][lane]];
                    (others, other_dense) = (masses.label, masses.dense);
                    self.uniform[lane] = blend(self.uniform[lane], masses.uniform, share);
                }
                self.masses[0][lane] = (A::ONE - share) * label[lane];
                self.masses[1][lane] = share * others;
                if is_matrix {
                    self.dense[lane] = (A::ONE - share) * self.dense[lane];
                    self.second_dense[lane] = share * other_dense;
                } else {
                    self.dense[lane] = blend(self.dense[lane], other_dense, share);
                }
            }
        }
        if !self.all_count {
            for lane in (0..rows).filter(|&lane| !self.counts[lane]) {
                self.masses[0][lane] = A::ZERO;
                self.masses[1][lane] = A::ZERO;
                self.uniform[lane] = A::ZERO;
                self.dense[lane] = A::ZERO;
                self.second_dense[lane] = A::ZERO;
            }
        }
    }

    /// Those of rows that count.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Checked labels.
    fn set_classes(&mut self, point: usize, labels: &[i64]) {
        let each = self.classes[point].iter_mut().zip(&self.counts).zip(labels);
        for ((class, counts), label) in each {
            *class = if *counts { *label as usize } else { 0 };
        }
    }

    /// By what the gradient of each row is multiplied, 0 for rows that do not count.
    #[inline(always)]
    pub(super) fn steps<T: Element<Sum = A>>(
        &self,
        problem: &Problem<T>,
        first: usize,
        rows: usize,
    ) -> [f64; WIDTH] {
        let scale = problem.scale.to_f64();
        let mut steps = [0.0; WIDTH];
        match problem.gradient_scale {
            Scale::All(all) => steps = [all.to_f64() * scale; WIDTH],
            Scale::Rows(by_row) => {
                for (step, row) in steps.iter_mut().zip(&by_row[first..first + rows]) {
                    *step = row.to_f64() * scale;
                }
            }
        }
        if !self.all_count {
            for lane in (0..WIDTH).filter(|&lane| !self.counts[lane]) {
                steps[lane] = 0.0;
            }
        }
        steps
    }

    /// What is on a class in a lane for its being a label.
    #[inline(always)]
    pub(super) fn point_mass_on(&self, class: usize, lane: usize) -> A {
        let of = |point: usize| {
            if self.classes[point][lane] == class { self.masses[point][lane] } else { A::ZERO }
        };
        if self.points == 2 { of(0) + of(1) } else { of(0) }
    }
}

/// What rows come to; 0 in lanes whose rows do not count.
pub(super) struct LaneOutcomes {
    /// ln Σ e^{z − base}.
    pub(super) log_total: [f64; WIDTH],
    pub(super) loss: [f64; WIDTH],
    pub(super) log_sum_exp: [f64; WIDTH],
    pub(super) slope: [f64; WIDTH],
    /// Whether losses and log-sum-exps are.
    pub(super) all_finite: bool,
}

impl LaneOutcomes {
    pub(super) const NOTHING: Self = LaneOutcomes {
        log_total: [0.0; WIDTH],
        loss: [0.0; WIDTH],
        log_sum_exp: [0.0; WIDTH],
        slope: [0.0; WIDTH],
        all_finite: true,
    };

    /// As [`Problem::outcome`], from `log_total`, the largest z, which is the base, Σ t_k and Σ t_k·(z_k − base), both
    /// without the labels', and from the logits of the labels.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn settle<T: Element>(
        &mut self,
        problem: &Problem<T>,
        targets: &LaneTargets<T::Sum>,
        base: &[T::Sum; WIDTH],
        masses: &[f64; WIDTH],
        products: &[f64; WIDTH],
        label_logits: &[[T::Sum; WIDTH]; 2],
        lanes: usize,
    ) {
        let z_loss = problem.z_loss;
        for lane in 0..lanes {
            let (base, log_total) = (base[lane].to_f64(), self.log_total[lane]);
            let log_sum_exp = base + log_total;
            self.log_sum_exp[lane] = log_sum_exp;
            self.loss[lane] = masses[lane] * log_total - products[lane];
            self.slope[lane] = masses[lane] + 2.0 * z_loss * log_sum_exp;
        }
        for point in 0..targets.points {
            for lane in 0..lanes {
                let mass = targets.masses[point][lane].to_f64();
                let logit = problem.transform_exactly(label_logits[point][lane]);
                // The base first: it may be so large that the logarithm would be lost in it.
                let term = mass * ((base[lane].to_f64() - logit) + self.log_total[lane]);
                self.loss[lane] += if mass == 0.0 { 0.0 } else { term };
                self.slope[lane] += mass;
            }
        }
        if z_loss != 0.0 {
            for lane in 0..lanes {
                self.loss[lane] += z_loss * self.log_sum_exp[lane] * self.log_sum_exp[lane];
            }
        }
        if !targets.all_count {
            for lane in (0..lanes).filter(|&lane| !targets.counts[lane]) {
                (self.loss[lane], self.log_sum_exp[lane], self.slope[lane]) = (0.0, 0.0, 0.0);
            }
        }
        self.all_finite = (0..lanes).fold(true, |all, lane| {
            all & self.loss[lane].is_finite() & self.log_sum_exp[lane].is_finite()
        });
    }

    /// Writes losses and log-sum-exps of rows from a first one on, of vectors of `lanes`.
    ///
    /// # Safety
    /// The rows are the problem's, and nobody else writes to them.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(super) unsafe fn report<T: Element>(
        &self,
        problem: &Problem<T>,
        first: usize,
        rows: usize,
        lanes: usize,
    ) {
        // SAFETY: promised by the caller: there is one number a row.
        unsafe {
            copy_out(&self.loss, rows, lanes, problem.losses.add(first));
            if !problem.log_sum_exp.is_null() {
                copy_out(&self.log_sum_exp, rows, lanes, problem.log_sum_exp.add(first));
            }
        }
    }
}

/// Rounds all of so many lanes, so that the compiler knows how many, and copies those of rows.
///
/// # Safety
/// So many numbers as there are rows can be written.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn copy_out<A: Convert>(values: &[f64; WIDTH], rows: usize, lanes: usize, to: *mut A) {
    let mut rounded = [A::from_f64(0.0); WIDTH];
    for (rounded, value) in rounded.iter_mut().zip(values) {
        *rounded = A::from_f64(*value);
    }
    // SAFETY: promised by the caller; no tile has more lanes.
    unsafe {
        if rows == lanes {
            to.copy_from_nonoverlapping(rounded.as_ptr(), lanes);
        } else {
            to.copy_from_nonoverlapping(rounded.as_ptr(), rows);
        }
    }
}
