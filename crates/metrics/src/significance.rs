//! Whether what was said can be true of what happened: tests of calibration, with p-values.
//!
//! Under the hypothesis that every event happens with the probability that was said, independently:
//!
//! - the path D_j = Σ_{i≤j} (c_i − a_i)/n over rows by ascending c has the variance
//!   V = Σ_i c_i(1 − c_i)/n² at its end, and D/√V tends to a Brownian motion B on \[0, 1\]
//! - Kolmogorov-Smirnov: x = max_j |D_j| / √V, and P(sup |B| > x) = 4 Σ_{k≥0} (−1)^k Q((2k + 1)x)
//! - Kuiper: x = (max_j D_j − min_j D_j) / √V, and
//!   P(range of B > x) = 8 Σ_{k≥1} (−1)^{k−1} k Q(kx)
//! - Spiegelhalter: Z = Σ_i (a_i − c_i)(1 − 2c_i) / √(Σ_i (1 − 2c_i)² c_i(1 − c_i)), which tends to a
//!   standard normal variable; it looks at the Brier score, which is not what it should be
//!
//! with Q(x) = P(N(0, 1) > x).
//! A small p-value says that calibration is refuted; a large one, that these rows are too few to
//! refute it.
//! All are asymptotic; [`consistency_test`](crate::consistency_test) is exact on few rows.
//!
//! Weights multiply each term by w, and variances by w².
//!
//! Numerical notes: the path is evaluated at the ends of tie groups, sums have compensation; Q by
//! erfc. The states of the first two have 8 bytes a row, Spiegelhalter's has a fixed size.
//!
//! Source: D. J. Spiegelhalter, "Probabilistic Prediction in Patient Management and Clinical Trials"
//! (1986); K. Gupta et al., "Calibration of Neural Networks using Splines" (2021), for the error of
//! Kolmogorov and Smirnov; I. Arrieta-Ibarra, P. Gujral, J. Tannen, M. Tygert, C. Xu, "Metrics of
//! Calibration for Probabilistic Predictions" (2022), for both p-values; W. Feller, "The Asymptotic
//! Distribution of the Range of Sums of Independent Random Variables" (1951).

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::{CompensatedSum, RowStatistics};

use crate::cumulative::CumulativeDifference;
use crate::ranking::Ranking;
use crate::{Accumulator, Forecast, ForecastAccumulator, Weight};

/// What a test along the path of cumulative differences comes to.
///
/// ```
/// use softlabel_metrics::PathTest;
/// let test = PathTest { error: 0.1, statistic: 3.0, p_value: 0.0054 };
/// assert!(test.p_value < 0.05);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathTest {
    /// The calibration error: the largest distance of the path from 0, or its range; in \[0, 1\].
    pub error: f64,
    /// The same divided by √V; 0 if both are, +∞ if V alone is.
    #[serde(with = "softlabel_core::number::or_infinite")]
    pub statistic: f64,
    /// How probable such a statistic or a larger one is if what was said is true.
    pub p_value: f64,
}

impl PathTest {
    fn of(error: f64, variance: f64, p_value: fn(f64) -> f64) -> Self {
        let statistic = if error == 0.0 { 0.0 } else { error / variance.sqrt() };
        Self { error, statistic, p_value: p_value(statistic) }
    }
}

/// The test of Kolmogorov and Smirnov: the largest distance of the cumulative difference from 0.
///
/// It keeps 8 bytes for every row, unlike accumulators of fixed size.
/// Undefined on no rows.
///
/// Source: Gupta et al. (2021); Arrieta-Ibarra et al. (2022).
///
/// ```
/// use softlabel_metrics::{ForecastAccumulator, Forecasts, KolmogorovSmirnovTest};
///
/// // 90 % sure a hundred times and right every second time.
/// let happened: Vec<bool> = (0..100).map(|row| row % 2 == 0).collect();
/// let forecasts = Forecasts::new(&[0.9f64; 100], &happened)?;
/// let test = KolmogorovSmirnovTest::default().value_of(&forecasts)?;
/// assert!((test.error - 0.4).abs() < 1e-12 && test.p_value < 1e-9);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[doc(alias = "KS test")]
pub struct KolmogorovSmirnovTest(Ranking);

/// The test of Kuiper: the range of the cumulative difference, which no calibration error in the
/// middle of the path can hide from.
///
/// It keeps 8 bytes for every row, unlike accumulators of fixed size.
/// Undefined on no rows.
///
/// Source: N. H. Kuiper (1960); Arrieta-Ibarra et al. (2022).
///
/// ```
/// use softlabel_metrics::{ForecastAccumulator, Forecasts, KuiperTest};
/// // The path goes up by 1/4 and down by 1/4.
/// let forecasts = Forecasts::new(&[0.5f64, 0.5, 0.75, 0.25], &[true, false, true, false])?;
/// let test = KuiperTest::default().value_of(&forecasts)?;
/// assert_eq!(test.error, 0.0625);
/// assert!(test.p_value > 0.9);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[doc(alias = "Kuiper statistic")]
pub struct KuiperTest(Ranking);

macro_rules! path_test {
    ($test:ident, $error:expr, $p_value:expr) => {
        impl Accumulator for $test {
            type Value = PathTest;

            fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
                self.add_forecast(Forecast::top_label_of_row(row, weight));
            }

            fn merge(&mut self, other: &Self) -> Result<()> {
                self.0.merge(&other.0);
                Ok(())
            }

            fn compute(&self) -> Option<PathTest> {
                let path = CumulativeDifference::of(&self.0.tie_groups())?;
                let error: fn(&CumulativeDifference) -> f64 = $error;
                Some(PathTest::of(error(&path), path.variance(), $p_value))
            }

            fn samples(&self) -> u64 {
                self.0.samples()
            }

            fn reset(&mut self) {
                self.0.reset();
            }
        }

        impl ForecastAccumulator for $test {
            fn add_forecast(&mut self, forecast: Forecast) {
                self.0.add(forecast.probability, forecast.happened, forecast.weight);
            }
        }
    };
}

path_test!(KolmogorovSmirnovTest, |path| path.largest().max(-path.lowest()), beyond_maximum);
path_test!(KuiperTest, |path| path.largest() - path.lowest(), beyond_range);

/// Q(x).
fn upper_tail(x: f64) -> f64 {
    0.5 * libm::erfc(x * std::f64::consts::FRAC_1_SQRT_2)
}

/// Below this the distributions of maximum and range are 0 to the last bit.
const CERTAIN: f64 = 0.1;

/// P(sup |B| > x).
fn beyond_maximum(x: f64) -> f64 {
    if x < CERTAIN {
        return 1.0;
    }
    (4.0 * alternating(|k| upper_tail((2.0 * k + 1.0) * x))).clamp(0.0, 1.0)
}

/// P(max B − min B > x).
fn beyond_range(x: f64) -> f64 {
    if x < CERTAIN {
        return 1.0;
    }
    (8.0 * alternating(|k| (k + 1.0) * upper_tail((k + 1.0) * x))).clamp(0.0, 1.0)
}

/// Σ_{k≥0} (−1)^k of terms that fall to 0.
fn alternating(term: impl Fn(f64) -> f64) -> f64 {
    let mut sum = CompensatedSum::default();
    for k in 0..1000_u32 {
        let term = term(f64::from(k));
        if term == 0.0 {
            break;
        }
        sum.add(if k % 2 == 0 { term } else { -term });
    }
    sum.value()
}

/// Spiegelhalter's test: whether the Brier score is what true probabilities would get.
///
/// Undefined on no rows, and where all probabilities are 0, 1/2 or 1, whose score is no surprise
/// whatever happens.
///
/// Source: Spiegelhalter (1986).
///
/// ```
/// use softlabel_metrics::{ForecastAccumulator, Forecasts, SpiegelhalterTest};
/// let forecasts = Forecasts::new(&[0.9f64, 0.2], &[true, false])?;
/// let test = SpiegelhalterTest::default().value_of(&forecasts)?;
/// // −(0.1·0.8 + 0.2·0.6) / √(0.64·0.09 + 0.36·0.16)
/// assert!((test.z + 0.2 / 0.1152f64.sqrt()).abs() < 1e-14);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[doc(alias = "Spiegelhalter Z")]
pub struct SpiegelhalterTest {
    samples: u64,
    sum: CompensatedSum,
    variance: CompensatedSum,
}

/// What [`SpiegelhalterTest`] comes to.
///
/// ```
/// use softlabel_metrics::ZTest;
/// let test = ZTest { z: 0.0, p_value: 1.0 };
/// assert_eq!(test.p_value, 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZTest {
    /// Z, positive where the Brier score is worse than what was said promises: overconfidence, if all
    /// probabilities are above 1/2.
    pub z: f64,
    /// P(|N(0, 1)| > |Z|).
    pub p_value: f64,
}

impl Accumulator for SpiegelhalterTest {
    type Value = ZTest;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.add_forecast(Forecast::top_label_of_row(row, weight));
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.samples += other.samples;
        self.sum.merge(other.sum);
        self.variance.merge(other.variance);
        Ok(())
    }

    fn compute(&self) -> Option<ZTest> {
        let variance = self.variance.value();
        let z = self.sum.value() / variance.sqrt();
        (variance > 0.0).then(|| ZTest { z, p_value: 2.0 * upper_tail(z.abs()) })
    }

    fn samples(&self) -> u64 {
        self.samples
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

impl ForecastAccumulator for SpiegelhalterTest {
    fn add_forecast(&mut self, forecast: Forecast) {
        let (p, weight) = (forecast.probability, forecast.weight.get());
        let slope = 1.0 - 2.0 * p;
        self.samples += 1;
        self.sum.add(-weight * forecast.residual() * slope);
        self.variance.add((weight * slope).powi(2) * (p * (1.0 - p)).max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other series, which converge where these do not: P(sup |B| ≤ x) =
    /// 4/π Σ (−1)^k/(2k + 1) e^{−(2k+1)²π²/8x²}, and for the range the integral of the density
    /// 8 Σ (−1)^{k−1} k² φ(kr).
    #[test]
    fn tails_agree_with_other_series() {
        use std::f64::consts::PI;
        for x in [0.2, 0.5, 1.0, 1.7, 2.5, 4.0] {
            let term = |k: i32| {
                let odd = f64::from(2 * k + 1);
                (-1f64).powi(k) / odd * (-(odd * PI / x).powi(2) / 8.0).exp()
            };
            let inside = 4.0 / PI * (0..200).map(term).sum::<f64>();
            assert!((beyond_maximum(x) - (1.0 - inside)).abs() < 1e-14, "{x}");

            let density = |r: f64| -> f64 {
                let phi = |y: f64| (-y * y / 2.0).exp() / (2.0 * PI).sqrt();
                let term = |k: i32| {
                    let k = f64::from(k);
                    k * k * phi(k * r)
                };
                8.0 * (1..400).map(|k| if k % 2 == 1 { term(k) } else { -term(k) }).sum::<f64>()
            };
            let steps = 20_000;
            let step = (12.0 - x) / f64::from(steps);
            let middle = |i: i32| density(x + (f64::from(i) + 0.5) * step);
            let integral = (0..steps).map(middle).sum::<f64>() * step;
            assert!((beyond_range(x) - integral).abs() < 1e-6, "{x}");
        }
        // The mean of the range is √(8/π): the integral of its tail.
        let mean: f64 = (0..20_000).map(|i| beyond_range(f64::from(i) * 5e-4) * 5e-4).sum();
        assert!((mean - (8.0 / PI).sqrt()).abs() < 1e-3, "{mean}");
    }

    #[test]
    fn what_cannot_be_has_no_probability() {
        assert_eq!(PathTest::of(0.5, 0.0, beyond_maximum).p_value, 0.0);
        assert_eq!(PathTest::of(0.0, 0.0, beyond_range).p_value, 1.0);
        assert!(SpiegelhalterTest::default().compute().is_none());
    }
}
