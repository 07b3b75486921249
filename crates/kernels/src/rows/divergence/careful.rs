//! One row in `f64`, without haste: for rows whose sums or divergence are not finite.

use super::super::element::Element;
use super::super::element::sealed::Convert;
use super::{Divergence, Problem};

/// A row that counts, with everything that is known of it.
struct Row {
    /// p and ln p, q and ln q of every class.
    student: Vec<(f64, f64)>,
    teacher: Vec<(f64, f64)>,
}

/// Probabilities and their logarithms; `None` if there is a NaN or +∞. All 0 and −∞ where there is
/// nothing but −∞.
fn distribution(logits: impl Iterator<Item = f64> + Clone) -> Option<Vec<(f64, f64)>> {
    let highest = logits.clone().fold(f64::NEG_INFINITY, |highest, logit| {
        if logit.is_nan() { f64::NAN } else { highest.max(logit) }
    });
    // max drops a NaN, so it is asked for by itself.
    if highest == f64::INFINITY || logits.clone().any(f64::is_nan) {
        return None;
    }
    if highest == f64::NEG_INFINITY {
        return Some(logits.map(|_| (0.0, f64::NEG_INFINITY)).collect());
    }
    let log_total = logits.clone().map(|logit| (logit - highest).exp()).sum::<f64>().ln();
    let log = |logit: f64| (logit - highest) - log_total;
    Some(logits.map(|logit| (log(logit).exp(), log(logit))).collect())
}

/// Σ a·(ln a − other), 0 where a is 0.
fn relative<'a>(a: &'a [(f64, f64)], other: impl Iterator<Item = f64> + 'a) -> f64 {
    a.iter()
        .zip(other)
        .filter(|((a, _), _)| *a > 0.0)
        .map(|((a, log_a), other)| a * (log_a - other))
        .sum()
}

impl Row {
    /// ln(β·q + (1 − β)·p) of every class; −∞ where both are 0.
    fn log_mixture(&self, beta: f64) -> impl Iterator<Item = f64> {
        let both = self.student.iter().zip(&self.teacher);
        both.map(move |((p, _), (q, _))| (beta * q + (1.0 - beta) * p).ln())
    }

    fn logs(side: &[(f64, f64)]) -> impl Iterator<Item = f64> {
        side.iter().map(|&(_, log)| log)
    }
}

/// Writes the divergence of a row and, if there is one, its gradient.
///
/// # Safety
/// The row is one of the problem's, and nobody else writes to it.
#[allow(unsafe_code)]
#[cold]
#[inline(never)]
pub(super) unsafe fn careful_row<T: Element>(problem: &Problem<T>, row: usize) {
    let classes = problem.classes;
    let first = row * classes;
    let [scale, teacher_scale, gradient_scale] = problem.scales(row).map(Convert::to_f64);
    // SAFETY: the row is one of the problem's, K logits long.
    let logits = unsafe { std::slice::from_raw_parts(problem.input.add(first), classes) };
    let student = distribution(logits.iter().map(|logit| logit.to_f64() * scale));
    let teacher = (first..first + classes)
        .map(|element| problem.comparison.teacher.get::<f64>(element) * teacher_scale);
    let (divergence, gradient) = match (student, distribution(teacher)) {
        (Some(student), Some(teacher)) => {
            of(&Row { student, teacher }, problem.comparison.divergence)
        }
        _ => (f64::NAN, vec![f64::NAN; classes]),
    };
    // SAFETY: the row is this call's alone, and its logits have been read.
    unsafe {
        problem.divergences.add(row).write(T::Sum::from_f64(divergence));
        if !problem.output.is_null() {
            for (class, slope) in gradient.into_iter().enumerate() {
                let value = T::from_f64(slope * scale * gradient_scale);
                problem.output.add(first + class).write(value);
            }
        }
    }
}

/// The divergence and its gradient in z.
fn of(row: &Row, divergence: Divergence) -> (f64, Vec<f64>) {
    let both = || row.student.iter().zip(&row.teacher);
    match divergence {
        Divergence::KullbackLeibler { forward, reverse } => {
            let mut total = 0.0;
            let mut gradient = vec![0.0; row.student.len()];
            // A teacher without any mass says nothing.
            if forward != 0.0 && row.teacher.iter().any(|&(q, _)| q > 0.0) {
                total += forward * relative(&row.teacher, Row::logs(&row.student));
                for (slope, ((p, _), (q, _))) in gradient.iter_mut().zip(both()) {
                    *slope += forward * (p - q);
                }
            }
            if reverse != 0.0 {
                let own = relative(&row.student, Row::logs(&row.teacher));
                total += reverse * own;
                if own.is_finite() {
                    for (slope, ((p, log_p), (_, log_q))) in gradient.iter_mut().zip(both()) {
                        if *p > 0.0 {
                            *slope += reverse * p * ((log_p - log_q) - own);
                        }
                    }
                }
            }
            (total, gradient)
        }
        Divergence::JensenShannon { beta, factor } => {
            let own = relative(&row.student, row.log_mixture(beta));
            let of_teacher = relative(&row.teacher, row.log_mixture(beta));
            let gradient =
                row.student.iter().zip(row.log_mixture(beta)).map(|((p, log_p), log_m)| {
                    if *p > 0.0 { factor * (1.0 - beta) * p * ((log_p - log_m) - own) } else { 0.0 }
                });
            (factor * (beta * of_teacher + (1.0 - beta) * own), gradient.collect())
        }
    }
}
