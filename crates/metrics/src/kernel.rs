//! Calibration errors by kernels: no bins, but a width to be chosen.
//!
//! - maximum mean calibration error:
//!   MMCE = √(Σ_ij (a_i − c_i)(a_j − c_j) e^{−|c_i − c_j|/ℓ} / n²), ℓ = 0.4 by its authors
//! - kernel calibration error: 1/n Σ_j |ā(c_j) − c_j| with
//!   ā(c_j) = Σ_{i≠j} k(c_j, c_i) a_i / Σ_{i≠j} k(c_j, c_i), and as kernel the density of a beta
//!   distribution, k(c, c_i) = Beta(c; c_i/h + 1, (1 − c_i)/h + 1), which has no mass outside \[0, 1\]
//!
//! c: probabilities of an event, a: whether it happened.
//!
//! Numerical notes: the Laplace kernel of the MMCE factorizes along sorted rows, so it takes
//! O(n log n) and not O(n²). The beta kernel takes O(m²) for m distinct probabilities; a row does not
//! see itself, but sees rows of the same probability.
//! Both keep 8 bytes a row.
//!
//! Source: A. Kumar, S. Sarawagi, U. Jain, "Trainable Calibration Measures for Neural Networks from
//! Kernel Mean Embeddings" (2018); T. Popordanoska, R. Sayer, M. B. Blaschko, "A Consistent and
//! Differentiable Lp Canonical Calibration Error Estimator" (2022); S. X. Chen, "Beta Kernel
//! Estimators for Density Functions" (1999).

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result};
use softlabel_kernels::{CompensatedSum, RowStatistics};

use crate::ranking::{Ranking, TieGroup};
use crate::{Accumulator, Forecast, ForecastAccumulator, Weight};

/// A width: positive and finite.
fn checked(name: &'static str, width: f64) -> Result<f64> {
    if width > 0.0 && width.is_finite() {
        return Ok(width);
    }
    Err(Error::OutOfRange { name, expected: "positive and finite", found: width })
}

macro_rules! kernel_error {
    ($(#[$doc:meta])* $error:ident, $name:literal, default: $default:literal, $compute:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(try_from = "State", into = "State")]
        pub struct $error {
            width: f64,
            ranking: Ranking,
        }

        impl $error {
            /// With a kernel of this width.
            ///
            /// # Errors
            /// [`Error::OutOfRange`] if it is not positive and finite.
            pub fn new(width: f64) -> Result<Self> {
                Ok(Self { width: checked($name, width)?, ranking: Ranking::default() })
            }

            /// The width of the kernel.
            pub fn width(&self) -> f64 {
                self.width
            }
        }

        impl Default for $error {
            #[doc = concat!("The width ", $default, ".")]
            fn default() -> Self {
                Self { width: $default, ranking: Ranking::default() }
            }
        }

        impl TryFrom<State> for $error {
            type Error = Error;

            fn try_from(State { width, ranking }: State) -> Result<Self> {
                Ok(Self { width: checked($name, width)?, ranking })
            }
        }

        impl From<$error> for State {
            fn from($error { width, ranking }: $error) -> Self {
                Self { width, ranking }
            }
        }

        impl Accumulator for $error {
            type Value = f64;

            fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
                self.add_forecast(Forecast::top_label_of_row(row, weight));
            }

            fn merge(&mut self, other: &Self) -> Result<()> {
                if self.width != other.width {
                    let [expected, found] = [self.width, other.width].map(|w| format!("width {w}"));
                    return Err(Error::mismatch("accumulator to merge", expected, found));
                }
                self.ranking.merge(&other.ranking);
                Ok(())
            }

            fn compute(&self) -> Option<f64> {
                let compute: fn(&[TieGroup], f64) -> Option<f64> = $compute;
                compute(&self.ranking.tie_groups(), self.width)
            }

            fn samples(&self) -> u64 {
                self.ranking.samples()
            }

            fn reset(&mut self) {
                self.ranking.reset();
            }
        }

        impl ForecastAccumulator for $error {
            fn add_forecast(&mut self, forecast: Forecast) {
                self.ranking.add(forecast.probability, forecast.happened, forecast.weight);
            }
        }
    };
}

/// What is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    width: f64,
    ranking: Ranking,
}

kernel_error! {
    /// The maximum mean calibration error: √(Σ_ij (a_i − c_i)(a_j − c_j) e^{−|c_i − c_j|/ℓ}) / n.
    ///
    /// In \[0, 1\]; biased upwards on few rows, as a row is compared with itself.
    /// Undefined on no rows.
    ///
    /// Source: Kumar, Sarawagi and Jain (2018).
    ///
    /// ```
    /// use softlabel_metrics::{ForecastAccumulator, Forecasts, MaximumMeanCalibrationError};
    /// let forecasts = Forecasts::new(&[0.75f64, 0.25], &[false, true])?;
    /// let error = MaximumMeanCalibrationError::default().value_of(&forecasts)?;
    /// let by_hand = 0.75 * ((2.0 - 2.0 * (-0.5f64 / 0.4).exp()) / 4.0).sqrt();
    /// assert!((error - by_hand).abs() < 1e-15);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    #[doc(alias = "MMCE")]
    MaximumMeanCalibrationError, "width of the Laplace kernel", default: 0.4, mean_embedding
}

kernel_error! {
    /// The calibration error with an accuracy estimated by beta kernels, every row by all others:
    /// 1/n Σ_j |ā(c_j) − c_j|.
    ///
    /// In \[0, 1\]; computing it takes time in the square of the number of distinct probabilities.
    /// Undefined on less than two rows.
    ///
    /// Source: Popordanoska, Sayer and Blaschko (2022).
    ///
    /// ```
    /// use softlabel_metrics::{ForecastAccumulator, Forecasts, KernelCalibrationError};
    /// // Of each of two rows there is one other.
    /// let forecasts = Forecasts::new(&[0.75f64, 0.75], &[true, false])?;
    /// let error = KernelCalibrationError::default().value_of(&forecasts)?;
    /// assert!((error - (0.75 + 0.25) / 2.0).abs() < 1e-15);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    #[doc(alias("KDE-ECE", "ECE KDE"))]
    KernelCalibrationError, "width of the beta kernel", default: 0.01, by_beta_kernels
}

fn mean_embedding(groups: &[TieGroup], width: f64) -> Option<f64> {
    let mass: f64 = groups.iter().map(TieGroup::mass).sum();
    let mut sum = CompensatedSum::default();
    // Σ_{j<i} r_j e^{−(c_i − c_j)/ℓ}, from the one before.
    let (mut below, mut last) = (0.0, 0.0);
    for group in groups {
        let residual = (group.right - group.score * group.mass()) / mass;
        below *= (-(group.score - last) / width).exp();
        sum.add(residual * (residual + 2.0 * below));
        below += residual;
        last = group.score;
    }
    (!groups.is_empty()).then(|| sum.value().max(0.0).sqrt())
}

fn by_beta_kernels(groups: &[TieGroup], width: f64) -> Option<f64> {
    let rows: u64 = groups.iter().map(|group| group.rows).sum();
    let mass: f64 = groups.iter().map(TieGroup::mass).sum();
    if rows < 2 {
        return None;
    }
    // ln k(c, c_i) = a_i ln c + b_i ln(1 − c) − ln B(a_i + 1, b_i + 1).
    let shape = |group: &TieGroup| {
        let c = group.score.clamp(0.0, 1.0);
        let (a, b) = (c / width, (1.0 - c) / width);
        (a, b, libm::lgamma(a + b + 2.0) - libm::lgamma(a + 1.0) - libm::lgamma(b + 1.0))
    };
    let shapes: Vec<(f64, f64, f64)> = groups.iter().map(shape).collect();
    // 0 ln 0 is 0.
    let times_ln = |a: f64, x: f64| if a == 0.0 { 0.0 } else { a * x.ln() };
    let of_group = |group: &TieGroup| {
        let c = group.score.clamp(0.0, 1.0);
        let kernels = shapes
            .iter()
            .map(|(a, b, log_beta)| (times_ln(*a, c) + times_ln(*b, 1.0 - c) + log_beta).exp());
        let (mut right, mut all, mut own) = (0.0, 0.0, 0.0);
        for (kernel, other) in kernels.zip(groups) {
            if other.score == group.score {
                own = kernel;
            } else {
                right += kernel * other.right;
                all += kernel * other.mass();
            }
        }
        // What one row of the group sees: all other groups, and its own without itself. Taken away from a sum of all,
        // it would leave the others' rounding, and nothing where they are far.
        let gap = |mass_of_kind: f64, rows_of_kind: u64, happened: f64| {
            if rows_of_kind == 0 {
                return 0.0;
            }
            let weight = mass_of_kind / rows_of_kind as f64;
            let others = all + own * (group.mass() - weight);
            let accuracy = (right + own * (group.right - happened * weight)) / others;
            // Far from all others there is nothing to compare with.
            if others > 0.0 { mass_of_kind * (accuracy - group.score).abs() } else { 0.0 }
        };
        gap(group.right, group.rows - group.wrong_rows, 1.0)
            + gap(group.wrong, group.wrong_rows, 0.0)
    };
    let gaps: Vec<f64> = groups.par_iter().map(of_group).collect();
    Some(gaps.into_iter().collect::<CompensatedSum>().value() / mass)
}
