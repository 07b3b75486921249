//! What metrics need of one row of predictions and its label.
//!
//! Symbols: z the logits of the row, p = softmax(z) its K probabilities, y the label, k* the first
//! class with the largest value.
//! With d_k = z_k − z_{k*} and r = Σ_{k≠k*} e^{d_k}, everything follows from the maxima and three
//! sums over the row:
//!
//! | statistic | from logits |
//! |---|---|
//! | confidence | 1 / (1 + r) |
//! | ln p_y | d_y − ln(1 + r) |
//! | Σ p² | (1 + Σ_{k≠k*} e^{2d_k}) / (1 + r)² |
//! | entropy −Σ p ln p | ln(1 + r) − Σ d_k e^{d_k} / (1 + r) |
//! | margin p_{k*} − max_{k≠k*} p_k | (1 − e^{d}) / (1 + r), d the largest d_k of k ≠ k* |
//! | gap | z_y − max_{k≠y} z_k |
//!
//! Log-probabilities and probabilities are used as they are, not renormalized: their statistics are
//! those of the values that came.
//! The gap of all three is a difference of logarithms, so it is the same number for logits, their
//! log-softmax and (up to rounding) their softmax.
//!
//! Numerical notes: computed in `f64`; nothing overflows; ln p_y and the margin keep their digits
//! near 0.
//! −∞ (or p = 0) is a class that cannot be and adds nothing to any sum; NaN makes the statistics
//! NaN.

/// What metrics need of one row of predictions and its label.
///
/// ```
/// use softlabel_kernels::RowStatistics;
///
/// let row = RowStatistics::from_probabilities(&[0.25f64, 0.5, 0.25], 0).unwrap();
/// assert_eq!((row.top_class, row.confidence), (1, 0.5));
/// assert!(!row.is_correct());
/// assert_eq!((row.label_probability, row.margin), (0.25, 0.25));
/// assert_eq!(row.sum_of_squares, 0.375);
/// assert!((row.entropy - 1.5 * 2.0f64.ln()).abs() < 1e-15);
/// assert!((row.label_gap + 2.0f64.ln()).abs() < 1e-15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RowStatistics {
    /// y.
    pub label: usize,
    /// k*, the first class with the largest value.
    pub top_class: usize,
    /// p_{k*}, the largest probability.
    pub confidence: f64,
    /// p_y, the probability of the label.
    pub label_probability: f64,
    /// ln p_y; −∞ if the label has no probability.
    pub label_log_probability: f64,
    /// Σ_k p_k².
    pub sum_of_squares: f64,
    /// −Σ_k p_k ln p_k, in nats.
    pub entropy: f64,
    /// By how much the largest probability leads: p_{k*} − max_{k≠k*} p_k, in \[0, 1\]; 0 of a tie.
    ///
    /// An absent second class has the probability 0.
    pub margin: f64,
    /// By how much the label leads: z_y − max_{k≠y} z_k, negative if another class leads.
    ///
    /// −∞ if the label cannot be; +∞ if no other class can be, which is also the case where there
    /// is only one class.
    pub label_gap: f64,
    /// ln Σ_k e^{z_k} of logits; `None` of log-probabilities and probabilities, which no longer know
    /// it.
    pub log_sum_exp: Option<f64>,
}

impl RowStatistics {
    /// The statistics of a row of unnormalized scores z.
    ///
    /// `None` if `label` is not an index of the row, or if no value is above −∞.
    ///
    /// ```
    /// use softlabel_kernels::RowStatistics;
    /// let row = RowStatistics::from_logits(&[1000.0f32, 998.0, f32::NEG_INFINITY], 1).unwrap();
    /// assert_eq!(row.label_gap, -2.0);
    /// assert!((row.label_log_probability - (-2.0 - (-2.0f64).exp().ln_1p())).abs() < 1e-15);
    /// assert!(RowStatistics::from_logits(&[0.0f32, 1.0], 2).is_none());
    /// ```
    pub fn from_logits<T: Copy + Into<f64>>(row: &[T], label: usize) -> Option<Self> {
        let label_logit: f64 = (*row.get(label)?).into();
        let Leaders { top_class, highest, second } = Leaders::of(row)?;
        let (mut rest, mut squares, mut weighted) = (0.0, 0.0, 0.0);
        for (class, &logit) in row.iter().enumerate() {
            let difference = logit.into() - highest;
            if class != top_class && difference != f64::NEG_INFINITY {
                let exponential = difference.exp();
                rest += exponential;
                squares += exponential * exponential;
                weighted += difference * exponential;
            }
        }
        let total = 1.0 + rest;
        let log_total = rest.ln_1p();
        let label_difference = label_logit - highest;
        Some(Self {
            label,
            top_class,
            confidence: total.recip(),
            label_probability: label_difference.exp() / total,
            label_log_probability: label_difference - log_total,
            sum_of_squares: (1.0 + squares) / (total * total),
            entropy: log_total - weighted / total,
            margin: (second - highest).exp_m1().abs() / total,
            label_gap: label_logit - if label == top_class { second } else { highest },
            log_sum_exp: Some(highest + log_total),
        })
    }

    /// The statistics of a row of log-probabilities ln p, used as they are.
    ///
    /// `None` if `label` is not an index of the row, or if no value is above −∞.
    ///
    /// ```
    /// use softlabel_kernels::RowStatistics;
    /// let row = RowStatistics::from_log_probabilities(&[0.8f64.ln(), 0.2f64.ln()], 0).unwrap();
    /// assert!((row.confidence - 0.8).abs() < 1e-15);
    /// assert!((row.label_gap - 4.0f64.ln()).abs() < 1e-15);
    /// ```
    pub fn from_log_probabilities<T: Copy + Into<f64>>(row: &[T], label: usize) -> Option<Self> {
        let label_log_probability: f64 = (*row.get(label)?).into();
        let Leaders { top_class, highest, second } = Leaders::of(row)?;
        let (mut squares, mut entropy) = (0.0, 0.0);
        for &logarithm in row {
            let logarithm: f64 = logarithm.into();
            if logarithm != f64::NEG_INFINITY {
                let probability = logarithm.exp();
                squares += probability * probability;
                entropy -= probability * logarithm;
            }
        }
        Some(Self {
            label,
            top_class,
            confidence: highest.exp(),
            label_probability: label_log_probability.exp(),
            label_log_probability,
            sum_of_squares: squares,
            entropy,
            margin: (second - highest).exp_m1().abs() * highest.exp(),
            label_gap: label_log_probability - if label == top_class { second } else { highest },
            log_sum_exp: None,
        })
    }

    /// The statistics of a row of probabilities p, used as they are.
    ///
    /// `None` if `label` is not an index of the row, or if no value is a positive number.
    ///
    /// ```
    /// use softlabel_kernels::RowStatistics;
    /// let row = RowStatistics::from_probabilities(&[1.0f32, 0.0], 1).unwrap();
    /// assert_eq!(row.label_log_probability, f64::NEG_INFINITY);
    /// assert_eq!(row.entropy, 0.0);
    /// ```
    pub fn from_probabilities<T: Copy + Into<f64>>(row: &[T], label: usize) -> Option<Self> {
        let label_probability: f64 = (*row.get(label)?).into();
        let leaders = Leaders::of(row).filter(|leaders| leaders.highest > 0.0)?;
        let Leaders { top_class, highest: confidence, second } = leaders;
        // Of one class the second is −∞.
        let second = second.max(0.0);
        let (mut squares, mut entropy) = (0.0, 0.0);
        for &probability in row {
            let probability: f64 = probability.into();
            if probability != 0.0 {
                squares += probability * probability;
                entropy -= probability * probability.ln();
            }
        }
        Some(Self {
            label,
            top_class,
            confidence,
            label_probability,
            label_log_probability: label_probability.ln(),
            sum_of_squares: squares,
            entropy,
            margin: confidence - second,
            label_gap: label_probability.ln()
                - if label == top_class { second } else { confidence }.ln(),
            log_sum_exp: None,
        })
    }

    /// Whether the top class is the label.
    pub fn is_correct(&self) -> bool {
        self.top_class == self.label
    }
}

/// The two largest values of a row.
struct Leaders {
    /// The first class with the largest value.
    top_class: usize,
    highest: f64,
    /// The largest value of the other classes; −∞, the largest of nothing, if there are none.
    second: f64,
}

impl Leaders {
    /// `None` if no value is above −∞.
    fn of<T: Copy + Into<f64>>(row: &[T]) -> Option<Self> {
        let mut top_class = None;
        let (mut highest, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for (class, &value) in row.iter().enumerate() {
            let value: f64 = value.into();
            if value > highest {
                (top_class, second, highest) = (Some(class), highest, value);
            } else if value > second {
                second = value;
            }
        }
        Some(Self { top_class: top_class?, highest, second })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASKED: f64 = f64::NEG_INFINITY;

    fn softmax(row: &[f64]) -> Vec<f64> {
        let total: f64 = row.iter().map(|z| z.exp()).sum();
        row.iter().map(|z| z.exp() / total).collect()
    }

    fn assert_close(a: &RowStatistics, b: &RowStatistics, tolerance: f64) {
        assert_eq!((a.label, a.top_class), (b.label, b.top_class));
        for (what, x, y) in [
            ("confidence", a.confidence, b.confidence),
            ("label probability", a.label_probability, b.label_probability),
            ("label log-probability", a.label_log_probability, b.label_log_probability),
            ("sum of squares", a.sum_of_squares, b.sum_of_squares),
            ("entropy", a.entropy, b.entropy),
            ("margin", a.margin, b.margin),
            ("gap", a.label_gap, b.label_gap),
        ] {
            assert!(x == y || (x - y).abs() < tolerance, "{what}: {x} and {y}");
        }
    }

    #[test]
    fn ties_go_to_the_first_class() {
        let row = RowStatistics::from_logits(&[1.0f32, 3.0, 3.0], 2).unwrap();
        assert_eq!((row.top_class, row.label_gap, row.is_correct()), (1, 0.0, false));
        assert_eq!(row.margin, 0.0);
    }

    #[test]
    fn one_class_has_no_competitor() {
        for row in [
            RowStatistics::from_logits(&[-7.0f64], 0),
            RowStatistics::from_log_probabilities(&[0.0f64], 0),
            RowStatistics::from_probabilities(&[1.0f64], 0),
        ] {
            let row = row.unwrap();
            assert_eq!((row.label_gap, row.margin), (f64::INFINITY, 1.0));
            assert_eq!((row.confidence, row.label_log_probability, row.entropy), (1.0, 0.0, 0.0));
        }
    }

    #[test]
    fn impossible_classes_are_as_if_absent() {
        let with = RowStatistics::from_logits(&[1.0, MASKED, 2.0, MASKED], 2).unwrap();
        let without = RowStatistics::from_logits(&[1.0, 2.0], 1).unwrap();
        let renamed = RowStatistics { label: 2, top_class: 2, ..without };
        assert_close(&with, &renamed, 1e-300);
        let label_masked = RowStatistics::from_logits(&[1.0, MASKED], 1).unwrap();
        assert_eq!(label_masked.label_gap, MASKED);
        assert_eq!(label_masked.label_log_probability, MASKED);
        assert_eq!(label_masked.label_probability, 0.0);
        let only = RowStatistics::from_logits(&[MASKED, 1.0], 1).unwrap();
        assert_eq!((only.label_gap, only.confidence), (f64::INFINITY, 1.0));
    }

    #[test]
    fn what_has_no_statistics() {
        assert!(RowStatistics::from_logits::<f64>(&[], 0).is_none());
        assert!(RowStatistics::from_logits(&[MASKED, MASKED], 0).is_none());
        assert!(RowStatistics::from_log_probabilities(&[MASKED, MASKED], 0).is_none());
        assert!(RowStatistics::from_probabilities(&[0.0, 0.0], 0).is_none());
        assert!(RowStatistics::from_probabilities(&[1.0, 0.0], 2).is_none());
        let with_nan = RowStatistics::from_logits(&[0.0, f64::NAN], 0).unwrap();
        assert!(with_nan.confidence.is_nan() && with_nan.label_log_probability.is_nan());
    }

    #[test]
    fn a_confident_row_keeps_its_digits() {
        let row = RowStatistics::from_logits(&[80.0f32, 0.0], 0).unwrap();
        assert!((row.label_log_probability / -(-80.0f64).exp() - 1.0).abs() < 1e-15);
        assert_eq!(row.confidence, 1.0);
    }

    #[test]
    fn a_narrow_margin_keeps_its_digits() {
        let narrow = 2.0f64.powi(-60);
        for row in [
            RowStatistics::from_logits(&[0.0, narrow], 0),
            RowStatistics::from_logits(&[narrow, 0.0], 0),
        ] {
            assert!((row.unwrap().margin / (0.5 * narrow) - 1.0).abs() < 1e-15);
        }
    }

    proptest! {
        #[test]
        fn the_three_kinds_of_input_agree(
            row in prop::collection::vec(-30.0..30.0f64, 1..20),
            pick in any::<prop::sample::Index>(),
        ) {
            let label = pick.index(row.len());
            let probabilities = softmax(&row);
            let logarithms: Vec<f64> = probabilities.iter().map(|p| p.ln()).collect();
            let logits = RowStatistics::from_logits(&row, label).unwrap();
            for other in [
                RowStatistics::from_probabilities(&probabilities, label),
                RowStatistics::from_log_probabilities(&logarithms, label),
            ] {
                assert_close(&logits, &other.unwrap(), 1e-11);
            }
        }

        #[test]
        fn agrees_with_the_defining_formulas(
            row in prop::collection::vec(-8.0..8.0f32, 2..20),
            pick in any::<prop::sample::Index>(),
        ) {
            let label = pick.index(row.len());
            let wide: Vec<f64> = row.iter().map(|&z| z.into()).collect();
            let p = softmax(&wide);
            let statistics = RowStatistics::from_logits(&row, label).unwrap();
            let confidence = p.iter().copied().fold(0.0, f64::max);
            prop_assert!((statistics.confidence - confidence).abs() < 1e-14);
            prop_assert!((statistics.label_probability - p[label]).abs() < 1e-14);
            prop_assert!((statistics.label_log_probability - p[label].ln()).abs() < 1e-12);
            let squares: f64 = p.iter().map(|p| p * p).sum();
            prop_assert!((statistics.sum_of_squares - squares).abs() < 1e-14);
            let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
            prop_assert!((statistics.entropy - entropy).abs() < 1e-12);
            let mut sorted = p.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            prop_assert!((statistics.margin - (sorted[0] - sorted[1])).abs() < 1e-14);
            let rivals = wide.iter().enumerate().filter(|&(k, _)| k != label).map(|(_, &z)| z);
            let rival = rivals.fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(statistics.label_gap, wide[label] - rival);
        }

        #[test]
        fn shifting_the_logits_changes_nothing(
            row in prop::collection::vec(-8.0..8.0f64, 1..10),
            shift in -100.0..100.0f64,
            pick in any::<prop::sample::Index>(),
        ) {
            // Values on a grid of 2⁻²⁰ take the shift without rounding, so ties stay ties.
            let grid = |z: f64| (z * f64::from(1 << 20)).round() / f64::from(1 << 20);
            let row: Vec<f64> = row.into_iter().map(grid).collect();
            let shifted: Vec<f64> = row.iter().map(|z| z + grid(shift)).collect();
            let label = pick.index(row.len());
            let (before, after) = (
                RowStatistics::from_logits(&row, label).unwrap(),
                RowStatistics::from_logits(&shifted, label).unwrap(),
            );
            prop_assert!((after.log_sum_exp.unwrap() - before.log_sum_exp.unwrap() - grid(shift)).abs() < 1e-12);
            prop_assert_eq!(before, RowStatistics { log_sum_exp: before.log_sum_exp, ..after });
        }
    }
}
