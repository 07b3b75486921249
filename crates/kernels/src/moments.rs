//! What a fit of the temperature needs of one row.
//!
//! A row of logits z at the inverse temperature β has the probabilities q_k ∝ e^{βz_k}.
//! Its cross-entropy with the label y and the two derivatives by β are, with d_k = z_k − max z:
//!
//! L(β) = ln Σ_k e^{βd_k} − βd_y, L′(β) = E_q\[d\] − d_y, L″(β) = Var_q\[d\]
//!
//! Numerical notes: computed in `f64`; since d ≤ 0 nothing overflows for β ≥ 0.
//! Classes with z = −∞ cannot be and add nothing.
//!
//! Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks"
//! (2017), for the problem; the derivatives are those of any exponential family.

use crate::softmax::first_maximum;

/// The cross-entropy of a row at an inverse temperature β, and its derivatives by β.
///
/// ```
/// use softlabel_kernels::TiltedMoments;
///
/// let row = TiltedMoments::new(&[0.0f32, -2.0], 1, 1.0).unwrap();
/// let q = 1.0 / (1.0 + 2.0f64.exp()); // of the second class
/// assert!((row.cross_entropy + q.ln()).abs() < 1e-15);
/// assert!((row.slope - (2.0 - 2.0 * q)).abs() < 1e-15);
/// assert!((row.curvature - 4.0 * q * (1.0 - q)).abs() < 1e-15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TiltedMoments {
    /// L(β) = −ln q_y; +∞ if the label cannot be.
    pub cross_entropy: f64,
    /// L′(β) = E_q\[z\] − z_y.
    pub slope: f64,
    /// L″(β) = Var_q\[z\], never negative.
    pub curvature: f64,
}

impl TiltedMoments {
    /// The moments of the row `logits` with the label `label` at β = `inverse_temperature` ≥ 0.
    ///
    /// `None` if `label` is not an index of the row, or if no value is above −∞.
    ///
    /// ```
    /// use softlabel_kernels::TiltedMoments;
    /// // At β = 0 all classes are equally likely.
    /// let row = TiltedMoments::new(&[3.0f64, 0.0, 0.0], 0, 0.0).unwrap();
    /// assert!((row.cross_entropy - 3.0f64.ln()).abs() < 1e-15);
    /// assert_eq!((row.slope, row.curvature), (-2.0, 2.0));
    /// ```
    pub fn new<T: Copy + Into<f64>>(
        logits: &[T],
        label: usize,
        inverse_temperature: f64,
    ) -> Option<Self> {
        let (top_class, highest) = first_maximum(logits)?;
        let label_difference = (*logits.get(label)?).into() - highest;
        let (mut rest, mut first, mut second) = (0.0, 0.0, 0.0);
        for (class, &logit) in logits.iter().enumerate() {
            let difference = logit.into() - highest;
            if class != top_class && difference != f64::NEG_INFINITY {
                let weight = (inverse_temperature * difference).exp();
                rest += weight;
                first += weight * difference;
                second += weight * difference * difference;
            }
        }
        let total = 1.0 + rest;
        let mean = first / total;
        Some(Self {
            cross_entropy: rest.ln_1p() - inverse_temperature * label_difference,
            slope: mean - label_difference,
            curvature: (second / total - mean * mean).max(0.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn impossible_classes_are_as_if_absent() {
        let masked = f64::NEG_INFINITY;
        let with = TiltedMoments::new(&[1.0, masked, 3.0], 0, 0.7).unwrap();
        assert_eq!(Some(with), TiltedMoments::new(&[1.0, 3.0], 0, 0.7));
        let label_masked = TiltedMoments::new(&[1.0, masked], 1, 0.7).unwrap();
        assert_eq!(label_masked.cross_entropy, f64::INFINITY);
        assert!(TiltedMoments::new(&[masked], 0, 1.0).is_none());
        assert!(TiltedMoments::new(&[1.0], 1, 1.0).is_none());
    }

    proptest! {
        /// Central differences of the defining formula, and of the slope, agree with the
        /// derivatives.
        #[test]
        fn derivatives_are_derivatives(
            row in prop::collection::vec(-5.0..5.0f64, 2..10),
            pick in any::<prop::sample::Index>(),
            beta in 0.1..3.0f64,
        ) {
            let label = pick.index(row.len());
            let loss = |beta: f64| {
                row.iter().map(|z| (beta * z).exp()).sum::<f64>().ln() - beta * row[label]
            };
            let at = |beta: f64| TiltedMoments::new(&row, label, beta).unwrap();
            let h = 1e-5;
            let moments = at(beta);
            prop_assert!((moments.cross_entropy - loss(beta)).abs() < 1e-12);
            let slope = (loss(beta + h) - loss(beta - h)) / (2.0 * h);
            prop_assert!((moments.slope - slope).abs() < 1e-8);
            let curvature = (at(beta + h).slope - at(beta - h).slope) / (2.0 * h);
            prop_assert!((moments.curvature - curvature).abs() < 1e-7);
        }
    }
}
