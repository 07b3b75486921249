//! The softmax family on one row.
//!
//! - log-sum-exp: lse(z) = ln Σ_k e^{z_k} = m + ln Σ_k e^{z_k − m}, with m = max_k z_k
//! - log-softmax: z_k − lse(z); softmax: e^{z_k − lse(z)}
//!
//! Numerical notes: computed in `f64`; shifting by the maximum means nothing overflows, and ln(1 +
//! r), with r the sum over all but the largest term, keeps log-probabilities near 0 apart from 0
//! (−1e-30 stays −1e-30).
//! −∞ is a class that cannot be: it gets the probability 0, the log-probability −∞ and adds
//! nothing.
//! The log-sum-exp of an empty row, or of one that is −∞ throughout, is −∞; the softmax of the
//! latter does not exist and is NaN throughout, as is that of a row with a NaN.

/// The largest value of a row: first index and value; `None` if no value is above −∞.
pub(crate) fn first_maximum<T: Copy + Into<f64>>(row: &[T]) -> Option<(usize, f64)> {
    let mut best = None;
    let mut highest = f64::NEG_INFINITY;
    for (index, &value) in row.iter().enumerate() {
        let value: f64 = value.into();
        if value > highest {
            highest = value;
            best = Some((index, value));
        }
    }
    best
}

/// m and ln Σ_k e^{z_k − m} of a row; the sum's logarithm is NaN if no value is above −∞.
fn maximum_and_log_total<T: Copy + Into<f64>>(row: &[T]) -> (f64, f64) {
    let Some((top, highest)) = first_maximum(row) else {
        return (f64::NEG_INFINITY, f64::NAN);
    };
    let others = row.iter().enumerate().filter(|&(index, _)| index != top);
    let rest: f64 = others.map(|(_, &value)| (value.into() - highest).exp()).sum();
    (highest, rest.ln_1p())
}

/// ln Σ_k e^{z_k}, without overflow.
///
/// −∞ for an empty row and for a row that is −∞ throughout.
///
/// ```
/// use softlabel_kernels::log_sum_exp;
/// assert!((log_sum_exp(&[1000.0f32, 1000.0]) - (1000.0 + 2.0f64.ln())).abs() < 1e-12);
/// assert_eq!(log_sum_exp::<f64>(&[]), f64::NEG_INFINITY);
/// ```
#[doc(alias = "logsumexp")]
pub fn log_sum_exp<T: Copy + Into<f64>>(row: &[T]) -> f64 {
    match maximum_and_log_total(row) {
        (f64::NEG_INFINITY, _) if !row.iter().any(|&value| value.into().is_nan()) => {
            f64::NEG_INFINITY
        }
        (highest, log_total) => highest + log_total,
    }
}

/// Replaces logits by the logarithms of their probabilities: z_k − lse(z).
///
/// In place, so that no second shape can disagree with the first.
/// A row without a finite value becomes NaN throughout; an empty row stays empty.
///
/// ```
/// let mut row = [0.0, 3.0f64.ln()];
/// softlabel_kernels::log_softmax_in_place(&mut row);
/// assert!((row[0] - 0.25f64.ln()).abs() < 1e-15);
/// assert!((row[1] - 0.75f64.ln()).abs() < 1e-15);
/// ```
pub fn log_softmax_in_place(row: &mut [f64]) {
    let (highest, log_total) = maximum_and_log_total(row);
    // Subtracted one after the other: a large maximum must not round the small logarithm away.
    for value in row.iter_mut() {
        *value = (*value - highest) - log_total;
    }
}

/// Replaces logits by their probabilities: e^{z_k} / Σ_j e^{z_j}.
///
/// A row without a finite value becomes NaN throughout; an empty row stays empty.
///
/// ```
/// let mut row = [f64::NEG_INFINITY, 0.0, 3.0f64.ln()];
/// softlabel_kernels::softmax_in_place(&mut row);
/// assert_eq!(row[0], 0.0);
/// assert!((row[2] - 0.75).abs() < 1e-15);
/// ```
pub fn softmax_in_place(row: &mut [f64]) {
    let highest = first_maximum(row).map_or(f64::NAN, |(_, highest)| highest);
    let mut total = 0.0;
    for value in row.iter_mut() {
        *value = (*value - highest).exp();
        total += *value;
    }
    for value in row.iter_mut() {
        *value /= total;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASKED: f64 = f64::NEG_INFINITY;

    #[test]
    fn nothing_overflows_and_small_log_probabilities_survive() {
        let mut row = [1e300, 0.0];
        log_softmax_in_place(&mut row);
        assert_eq!(row, [0.0, -1e300]);
        let mut row = [0.0, -69.0];
        log_softmax_in_place(&mut row);
        assert!((row[0] / -(-69.0f64).exp() - 1.0).abs() < 1e-15, "{}", row[0]);
    }

    #[test]
    fn impossible_classes_and_rows() {
        let mut row = [MASKED, 5.0, MASKED];
        log_softmax_in_place(&mut row);
        assert_eq!(row, [MASKED, 0.0, MASKED]);
        for function in [log_softmax_in_place, softmax_in_place] {
            let mut row = [MASKED, MASKED];
            function(&mut row);
            assert!(row.iter().all(|value| value.is_nan()));
            let mut row = [0.0, f64::NAN];
            function(&mut row);
            assert!(row.iter().all(|value| value.is_nan()));
            function(&mut []);
        }
        assert_eq!(log_sum_exp(&[MASKED, MASKED]), MASKED);
        assert!(log_sum_exp(&[f64::NAN]).is_nan());
        assert!(log_sum_exp(&[0.0, f64::NAN]).is_nan());
    }

    proptest! {
        #[test]
        fn agrees_with_the_defining_formula(row in prop::collection::vec(-30.0..30.0f64, 1..20)) {
            let total: f64 = row.iter().map(|z| z.exp()).sum();
            prop_assert!((log_sum_exp(&row) - total.ln()).abs() < 1e-12);
            let (mut logs, mut probabilities) = (row.clone(), row.clone());
            log_softmax_in_place(&mut logs);
            softmax_in_place(&mut probabilities);
            for ((z, l), p) in row.iter().zip(&logs).zip(&probabilities) {
                prop_assert!((p - z.exp() / total).abs() < 1e-14);
                prop_assert!((l - (z - total.ln())).abs() < 1e-12);
            }
        }
    }
}
