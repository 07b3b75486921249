//! The comparison of every entry point with the formula, and with each other.
//!
//! The bounds follow from how the kernels round, with ε the distance of 1 to the next number of the
//! arithmetic, and no slack but small integers:
//!
//! - p_k is off by a factor of 1 ± ε·(|z_k − lse| + 6): the exponent is rounded once (|z − M|·ε/2;
//!   M − lse is in `f64`), e^r is within an ulp, sums are at most 32 additions deep before they go
//!   to `f64`, and the factor and the result are rounded once each. Where z itself is rounded
//!   (scale, cap) |z| more, three times with a cap.
//! - t_k is off by three roundings of its terms.
//! - The loss is off by 4 ε times the largest of what is added up in it, at least 1, because ln Σ e^z
//!   is off by an absolute few ε.

use std::mem::MaybeUninit;

use softlabel_kernels::rows::{
    Options, Outputs, cpu_features, spatial_cross_entropy, spatial_cross_entropy_gradient,
    spatial_cross_entropy_in_place, with_cpu_features,
};

use crate::reference::{Case, Number, OwnedDense, OwnedMasses, sum};

impl<T: Number> Case<T>
where
    T::Sum: Number,
{
    /// Everything there is, checked against the truth and among itself, with all instructions.
    pub fn check(&self) {
        for features in ["portable", "neon", "avx2", "avx512"] {
            with_cpu_features(features, || {
                assert_eq!(cpu_features(), features);
                let results = self.results(1);
                results.agree_with_truth(self);
                self.other_entry_points_agree(&results);
                let unasked = self.results_if(1, false);
                unasked.agree_with_truth(self);
                self.results_if(2, false).is_bitwise(&unasked);
                self.total_alone_agrees(&results);
                // Few rows are never taken many at a time.
                if let Some(many) = self.repeated(130) {
                    many.total_alone_agrees(&many.results(1));
                }
            });
        }
    }

    /// The sum of the losses, where nothing else is asked of rows, and the gradient, with all instructions.
    pub fn check_total_alone(&self) {
        for features in ["portable", "neon", "avx2", "avx512"] {
            with_cpu_features(features, || self.total_alone_agrees(&self.results(1)));
        }
    }

    fn total_alone_agrees(&self, results: &Results<T>) {
        let (total, gradient) = self.total_alone(1);
        let same = |(a, b): (&T, &T)| a.bits() == b.bits();
        for threads in [2, 5] {
            let (other_total, other) = self.total_alone(threads);
            assert_eq!(other_total.to_bits(), total.to_bits());
            assert!(other.iter().zip(&gradient).all(same));
        }
        let in_place = self.total_alone_in_place(2);
        assert_eq!(in_place.0.to_bits(), total.to_bits());
        assert!(in_place.1.iter().zip(&gradient).all(same));
        let mut losses = vec![T::Sum::of(f64::NAN); self.rows];
        let mut forward = f64::NAN;
        self.forward(Outputs::losses(&mut losses).with_total_alone(&mut forward), 1);
        // A scale a row, or one beyond 10¹⁵, is for another kernel, and there is none without a gradient.
        let step = (self.scale * self.options.scale).abs();
        if self.scales.is_none() && (1e-15..=1e15).contains(&step) {
            assert_eq!(forward.to_bits(), total.to_bits());
        }

        Results { gradient, ..results.clone() }.agree_with_truth(self);
        let counted = || (0..self.rows).filter(|&row| !self.is_ignored(row));
        let truth = sum(counted().map(|row| self.truth(row).loss));
        let size = sum(counted().map(|row| self.truth(row).size));
        // Few of the additions of rows are one after the other.
        let bound = (4.0 * <T::Sum as Number>::EPSILON + 8.0 * f64::EPSILON) * size;
        for total in [total, forward] {
            let is_same = total == truth || (total.is_nan() && truth.is_nan());
            assert!(
                is_same || (truth.is_finite() && (total - truth).abs() <= bound),
                "{} {}×{}: total {total}, truth {truth}, bound {bound}",
                cpu_features(),
                self.rows,
                self.classes
            );
        }
    }

    /// Σ of the losses and the gradient.
    pub fn total_alone(&self, threads: usize) -> (f64, Vec<T>) {
        let mut losses = vec![T::Sum::of(f64::NAN); self.rows];
        let mut total = f64::NAN;
        let outputs = Outputs::losses(&mut losses).with_total_alone(&mut total);
        let gradient = self.gradient(outputs, threads);
        (total, gradient)
    }

    /// The same where the gradient replaces the logits.
    pub fn total_alone_in_place(&self, threads: usize) -> (f64, Vec<T>) {
        let mut losses = vec![T::Sum::of(f64::NAN); self.rows];
        let (mut total, mut logits) = (f64::NAN, self.logits.clone());
        spatial_cross_entropy_in_place(
            &mut logits,
            self.classes,
            self.spatial,
            &self.target(),
            &self.options,
            self.gradient_scale(),
            Outputs::losses(&mut losses).with_total_alone(&mut total),
            threads,
        )
        .unwrap();
        (total, logits)
    }

    /// Without a gradient.
    fn forward(&self, outputs: Outputs<'_, T::Sum>, threads: usize) {
        spatial_cross_entropy(
            &self.logits,
            self.classes,
            self.spatial,
            &self.target(),
            &self.options,
            outputs,
            threads,
        )
        .unwrap();
    }

    /// The gradient, apart from the logits.
    fn gradient(&self, outputs: Outputs<'_, T::Sum>, threads: usize) -> Vec<T> {
        let mut gradient = vec![MaybeUninit::new(T::of(f64::NAN)); self.logits.len()];
        spatial_cross_entropy_gradient(
            &self.logits,
            self.classes,
            self.spatial,
            &self.target(),
            &self.options,
            self.gradient_scale(),
            &mut gradient,
            outputs,
            threads,
        )
        .unwrap();
        // SAFETY: made of initialized numbers.
        #[allow(unsafe_code)]
        let gradient = gradient.into_iter().map(|entry| unsafe { entry.assume_init() });
        gradient.collect()
    }

    /// The same rows again and again, so many in all; not if there are as many, if they have many classes, or if masses
    /// or scales are theirs.
    fn repeated(&self, rows: usize) -> Option<Self> {
        let is_theirs = matches!(self.masses, OwnedMasses::Row(_))
            || self.second.is_some()
            || self.scales.is_some();
        let are_few = (1..rows).contains(&self.rows) && self.spatial == 1 && self.classes <= 64;
        if is_theirs || !are_few {
            return None;
        }
        let elements = rows * self.classes;
        let mut case = Case { rows, ..self.clone() };
        case.logits = cycle(&self.logits, elements);
        case.labels = self.labels.as_ref().map(|labels| cycle(labels, rows));
        case.ignored = self.ignored.as_ref().map(|ignored| cycle(ignored, rows));
        case.dense = match &self.dense {
            OwnedDense::F32(values) => OwnedDense::F32(cycle(values, elements)),
            OwnedDense::F64(values) => OwnedDense::F64(cycle(values, elements)),
            OwnedDense::Bf16(values) => OwnedDense::Bf16(cycle(values, elements)),
            OwnedDense::F16(values) => OwnedDense::F16(cycle(values, elements)),
            OwnedDense::Mask(values) => OwnedDense::Mask(cycle(values, elements)),
            for_all => for_all.clone(),
        };
        Some(case)
    }

    /// The gradient, losses and the rest.
    pub fn results(&self, threads: usize) -> Results<T> {
        self.results_if(threads, true)
    }

    /// The same; which rows are correct only if it is asked for, else what the formula says.
    pub fn results_if(&self, threads: usize, asks_which_are_correct: bool) -> Results<T> {
        let mut results = Results::new(self.rows);
        let outputs = if asks_which_are_correct {
            results.outputs()
        } else {
            Outputs::losses(&mut results.losses).with_log_sum_exp(&mut results.log_sum_exp)
        };
        results.gradient = self.gradient(outputs, threads);
        if !asks_which_are_correct {
            let is_correct = |row| !self.is_ignored(row) && self.truth(row).correct;
            results.correct = (0..self.rows).map(is_correct).collect();
        }
        results
    }

    fn other_entry_points_agree(&self, results: &Results<T>) {
        for threads in [2, 5] {
            self.results(threads).is_bitwise(results);
        }
        let mut forward = Results::new(self.rows);
        self.forward(forward.outputs(), 2);
        forward.gradient.clone_from(&results.gradient);
        forward.is_bitwise(results);
        // Not aligned to more than an element.
        for offset in 0..2 {
            let mut logits = vec![T::of(7.0); offset];
            logits.extend_from_slice(&self.logits);
            let mut in_place = Results::new(self.rows);
            spatial_cross_entropy_in_place(
                &mut logits[offset..],
                self.classes,
                self.spatial,
                &self.target(),
                &self.options,
                self.gradient_scale(),
                in_place.outputs(),
                2 - offset,
            )
            .unwrap();
            in_place.gradient = logits.split_off(offset);
            in_place.is_bitwise(results);
        }
    }
}

fn cycle<A: Copy>(values: &[A], count: usize) -> Vec<A> {
    values.iter().copied().cycle().take(count).collect()
}

/// What a call gives.
#[derive(Clone)]
pub struct Results<T: Number>
where
    T::Sum: Number,
{
    pub losses: Vec<T::Sum>,
    pub log_sum_exp: Vec<T::Sum>,
    pub correct: Vec<bool>,
    pub gradient: Vec<T>,
}

impl<T: Number> Results<T>
where
    T::Sum: Number,
{
    fn new(rows: usize) -> Self {
        Results {
            losses: vec![T::Sum::of(f64::NAN); rows],
            log_sum_exp: vec![T::Sum::of(f64::NAN); rows],
            correct: vec![true; rows],
            gradient: Vec::new(),
        }
    }

    fn outputs(&mut self) -> Outputs<'_, T::Sum> {
        Outputs::losses(&mut self.losses)
            .with_log_sum_exp(&mut self.log_sum_exp)
            .with_correct(&mut self.correct)
    }

    fn is_bitwise(&self, other: &Self) {
        let same = |a: &[T::Sum], b: &[T::Sum]| a.iter().zip(b).all(|(a, b)| a.bits() == b.bits());
        assert!(same(&self.losses, &other.losses), "{:?} {:?}", self.losses, other.losses);
        assert!(same(&self.log_sum_exp, &other.log_sum_exp));
        assert_eq!(self.correct, other.correct);
        assert_eq!(self.gradient.len(), other.gradient.len());
        for (at, (a, b)) in self.gradient.iter().zip(&other.gradient).enumerate() {
            assert_eq!(a.bits(), b.bits(), "entry {at}: {a:?} {b:?}");
        }
    }

    /// The bounds are those of the head of this file.
    pub fn agree_with_truth(&self, case: &Case<T>) {
        let epsilon = <T::Sum as Number>::EPSILON;
        let what = || format!("{} {}×{}", cpu_features(), case.rows, case.classes);
        for row in 0..case.rows {
            let (loss, log_sum_exp) = (self.losses[row].get(), self.log_sum_exp[row].get());
            let gradient = |class: usize| self.gradient[case.element(row, class)];
            if case.is_ignored(row) {
                assert_eq!((loss, log_sum_exp, self.correct[row]), (0.0, 0.0, false));
                assert!((0..case.classes).all(|class| gradient(class).bits() == 0));
                continue;
            }
            let truth = case.truth(row);
            assert_eq!(self.correct[row], truth.correct, "{} row {row}", what());
            let lse_bound = 4.0 * epsilon * truth.log_sum_exp.abs().max(1.0);
            let lse_error = (log_sum_exp - truth.log_sum_exp).abs();
            assert!(
                log_sum_exp == truth.log_sum_exp
                    || (truth.log_sum_exp.is_finite() && lse_error <= lse_bound),
                "{} row {row}: lse {log_sum_exp}, truth {}",
                what(),
                truth.log_sum_exp
            );
            let loss_error = (loss - truth.loss).abs();
            assert!(
                loss == truth.loss
                    || (truth.loss.is_finite() && loss_error <= 4.0 * epsilon * truth.size),
                "{} row {row}: loss {loss}, truth {}, off by {} ε",
                what(),
                truth.loss,
                loss_error / epsilon
            );
            let scale = case.scales.as_ref().map_or(case.scale, |scales| scales[row].get());
            let rounded_logits = match case.options {
                Options { softcap: Some(_), .. } => 3.0,
                Options { scale, .. } if scale != 1.0 => 1.0,
                _ => 0.0,
            };
            for (class, of) in truth.classes.iter().enumerate() {
                let depth = 6.0
                    + (of.logit - truth.log_sum_exp).abs()
                    + rounded_logits * (of.logit.abs() + truth.log_sum_exp.abs());
                let from_probability = if of.probability > 0.0 {
                    truth.steepest * of.probability * depth
                } else {
                    0.0
                };
                let terms = from_probability + 3.0 * of.size;
                // 1 − (z/c)² is off by an absolute few ε.
                let cap_slack = if case.options.softcap.is_some() { 4.0 } else { 0.0 };
                let step = (scale * case.options.scale).abs();
                let value = gradient(class).get();
                let wanted = of.gradient * scale;
                let bound = step * (epsilon * terms * (of.steepness + cap_slack))
                    + 0.51 * T::EPSILON * wanted.abs()
                    + T::SMALLEST * T::EPSILON
                    + <T::Sum as Number>::SMALLEST * step.max(1.0) * truth.steepest.max(1.0);
                assert!(
                    (value - wanted).abs() <= bound,
                    "{} row {row} class {class}: gradient {value}, truth {wanted}, bound {bound}",
                    what()
                );
            }
            // With nothing but a softmax the gradient adds up to nothing.
            if case.options == Options::default() && std::mem::size_of::<T>() >= 4 {
                let total = sum((0..case.classes).map(|class| gradient(class).get()));
                let bound = 16.0 * epsilon * scale.abs() * truth.steepest;
                assert!(total.abs() <= bound, "{} row {row}: {total} {bound}", what());
            }
        }
    }
}
