//! The log-odds of every class against all others.
//!
//! f_k = ln p_k − ln(1 − p_k) = z_k − ln Σ_{j≠k} e^{z_j}, for p = softmax(z)
//!
//! Computed from the logits, never from rounded probabilities, so a class with p = 1 − 1e-30 keeps
//! its log-odds of 69;
//! a shift of the row changes nothing.
//! With two classes f_1 = z_1 − z_0.
//!
//! Numerical notes: computed in `f64` and in one pass over the exponentials; of the largest logit's
//! rivals the sum is taken on its own, with their own maximum, so it neither cancels nor
//! underflows.
//! A class with z = −∞ has f = −∞; a class whose rivals all have has f = +∞.

use crate::log_sum_exp;
use crate::softmax::first_maximum;

/// Replaces logits by the log-odds of their classes: z_k − ln Σ_{j≠k} e^{z_j}.
///
/// −∞ for a class that cannot be, +∞ for one without a rival that can be (so for the only class,
/// where there is one);
/// a row without a finite value becomes NaN throughout; an empty row stays empty.
///
/// ```
/// let mut row = [1.0, 3.0];
/// softlabel_kernels::log_odds_in_place(&mut row);
/// assert_eq!(row, [-2.0, 2.0]);
///
/// let mut row = [0.0; 4]; // 1 to 3
/// softlabel_kernels::log_odds_in_place(&mut row);
/// assert!(row.iter().all(|odds| (odds + 3.0f64.ln()).abs() < 1e-15));
/// ```
#[doc(alias = "logit")]
pub fn log_odds_in_place(row: &mut [f64]) {
    let Some((top, highest)) = first_maximum(row) else {
        row.fill(f64::NAN);
        return;
    };
    for value in row.iter_mut().filter(|value| **value != f64::NEG_INFINITY) {
        // Only what was −∞ may be −∞.
        *value = (*value - highest).max(f64::MIN);
    }
    row[top] = f64::NEG_INFINITY;
    let top_odds = -log_sum_exp(row);
    let rest: f64 = row.iter().map(|difference| difference.exp()).sum();
    for difference in row.iter_mut() {
        *difference -= (rest - difference.exp()).max(0.0).ln_1p();
    }
    row[top] = top_odds;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASKED: f64 = f64::NEG_INFINITY;

    fn log_odds(mut row: Vec<f64>) -> Vec<f64> {
        log_odds_in_place(&mut row);
        row
    }

    #[test]
    fn nothing_underflows() {
        assert_eq!(log_odds(vec![2000.0, 0.0]), [2000.0, -2000.0]);
        let odds = log_odds(vec![2000.0, 0.0, 0.0]);
        assert!((odds[0] - (2000.0 - 2.0f64.ln())).abs() < 1e-12);
        assert_eq!(odds[1..], [-2000.0, -2000.0]);
        assert_eq!(log_odds(vec![f64::MAX, f64::MIN]), [f64::MAX, f64::MIN]);
    }

    #[test]
    fn impossible_classes() {
        assert_eq!(log_odds(vec![MASKED, 1.0, 3.0]), [MASKED, -2.0, 2.0]);
        assert_eq!(log_odds(vec![MASKED, 5.0]), [MASKED, f64::INFINITY]);
        assert_eq!(log_odds(vec![5.0]), [f64::INFINITY]);
        assert!(log_odds(vec![MASKED, MASKED]).iter().all(|odds| odds.is_nan()));
        assert!(log_odds(Vec::new()).is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_the_defining_formula(row in prop::collection::vec(-15.0..15.0f64, 2..20)) {
            let odds = log_odds(row.clone());
            for (k, found) in odds.iter().enumerate() {
                let rivals = row.iter().enumerate().filter(|&(j, _)| j != k);
                let expected = row[k] - rivals.map(|(_, z)| z.exp()).sum::<f64>().ln();
                prop_assert!((found - expected).abs() < 1e-12, "class {k}: {found}, {expected}");
            }
        }
    }
}
