//! How far confidence and accuracy lie apart, smoothed by a kernel that chooses its own width.
//!
//! smECE_σ = ∫₀¹ |1/n Σ_i K_σ(t, c_i) (c_i − a_i)| dt, and smECE = smECE_σ* with smECE_σ* = σ*
//!
//! c: probabilities of an event, a: whether it happened, K_σ: the Gaussian of standard deviation σ,
//! reflected at 0 and 1 so that ∫₀¹ K_σ(t, c) dt = 1.
//! smECE_σ falls as σ grows, so there is one σ* at which the two agree: more data, or a larger error,
//! and the kernel becomes narrower or wider by itself. There is nothing to choose.
//! The smooth error is a consistent measure of calibration: within a constant factor and a square
//! root it is the distance to the nearest calibrated forecaster, and it moves little if the
//! forecasts do, which errors over bins do not.
//!
//! Numerical notes: a reflected Gaussian is the heat kernel of the interval, so in cosines the
//! smoothing is a product: g(t) = r₀ + 2 Σ_k r_k e^{−(πkσ)²/2} cos(πkt) with
//! r_k = 1/n Σ_i (c_i − a_i) cos(πkc_i).
//! The r_k are summed over 8192 cells with eight moments each, which is exact to 1e-12 and better;
//! terms below e^{−40} are left out; |g| is integrated through its antiderivative between its sign
//! changes.
//! There is no grid whose ends would have to be weighted: implementations on a grid that gives the
//! node at the boundary half of its weight report up to 40 % more on networks whose confidences
//! gather at 1.
//! Below σ = 0.001 the width is not reduced any further: the error there is what is reported.
//!
//! Source: J. Błasiok, P. Nakkiran, "Smooth ECE: Principled Reliability Diagrams via Kernel
//! Smoothing" (2024).

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};
use softlabel_core::Result;
use softlabel_kernels::RowStatistics;

use crate::accumulator::value_over;
use crate::forecasts::{Forecast, ForecastAccumulator};
use crate::ranking::{Ranking, TieGroup};
use crate::{Accumulator, Observed, Predictions, Weight};

/// The smallest width of the kernel.
const SMALLEST: f64 = 1e-3;
/// Cells of the interval, and moments of a cell.
const CELLS: usize = 8192;
const MOMENTS: usize = 8;
/// Terms e^{−x} with a larger x are left out.
const LARGEST_EXPONENT: f64 = 40.0;

/// The smooth calibration error, and the width of the kernel that it chose.
///
/// ```
/// use softlabel_metrics::SmoothCalibration;
/// let calibration = SmoothCalibration { error: 0.25, bandwidth: 0.25 };
/// assert_eq!(calibration.error, calibration.bandwidth);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmoothCalibration {
    /// smECE, in \[0, 1\].
    pub error: f64,
    /// σ*, equal to the error but where that is below 0.001.
    pub bandwidth: f64,
}

/// The smooth calibration error: ∫₀¹ |1/n Σ_i K_σ(t, c_i)(c_i − a_i)| dt at the σ that it equals.
///
/// It keeps 8 bytes for every row, unlike accumulators of fixed size.
/// Undefined on no rows.
///
/// Source: Błasiok and Nakkiran (2024).
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_metrics::{Accumulator, SmoothCalibrationError};
///
/// // Sure of all, right in half of them: overconfident everywhere, so smoothing changes nothing.
/// let mut error = SmoothCalibrationError::default();
/// let probabilities = Probabilities::new(&[1.0f32, 0.0, 1.0, 0.0], 2)?;
/// error.update(&probabilities, &Labels::new(&[0, 1], 2)?)?;
/// assert!((error.compute().unwrap().error - 0.5).abs() < 1e-12);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
#[doc(alias("smECE", "SmoothECE"))]
pub struct SmoothCalibrationError(Ranking);

impl Accumulator for SmoothCalibrationError {
    type Value = SmoothCalibration;

    fn add_weighted(&mut self, row: &RowStatistics, weight: Weight) {
        self.add_forecast(Forecast::top_label_of_row(row, weight));
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.merge(&other.0);
        Ok(())
    }

    fn compute(&self) -> Option<SmoothCalibration> {
        smooth_calibration(&self.0.tie_groups())
    }

    fn samples(&self) -> u64 {
        self.0.samples()
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

impl ForecastAccumulator for SmoothCalibrationError {
    fn add_forecast(&mut self, forecast: Forecast) {
        self.0.add(forecast.probability, forecast.happened, forecast.weight);
    }
}

/// The smooth calibration error of the top class; see [`SmoothCalibrationError`].
///
/// # Errors
/// [`Error::Mismatch`](crate::Error::Mismatch) if predictions and labels do not fit,
/// [`Error::Empty`](crate::Error::Empty) if there are none.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// let half = Probabilities::new(&[0.5f32; 4], 2)?;
/// let error = softlabel_metrics::smooth_calibration_error(&half, &Labels::new(&[0, 1], 2)?)?;
/// assert!(error.error < 1e-12);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[doc(alias("smECE", "SmoothECE"))]
pub fn smooth_calibration_error(
    predictions: &(impl Predictions + ?Sized),
    labels: &(impl Observed + ?Sized),
) -> Result<SmoothCalibration> {
    value_over(SmoothCalibrationError::default(), predictions, labels)
}

/// Of groups by ascending score; `None` of no rows.
pub(crate) fn smooth_calibration(groups: &[TieGroup]) -> Option<SmoothCalibration> {
    let mut series = Residuals::of(groups)?;
    // Positive where the width is still below the error.
    let mut excess = |width: f64| series.smooth_error(width) - width;
    let (mut high, mut at_high) = (1.0, excess(1.0));
    if at_high >= 0.0 {
        return Some(SmoothCalibration { error: at_high + high, bandwidth: high });
    }
    // Narrow kernels cost most: they are tried only where wider ones are too wide.
    let (mut low, mut at_low) = (high, at_high);
    for width in [0.02, 0.005, SMALLEST] {
        (low, at_low) = (width, excess(width));
        if at_low > 0.0 {
            break;
        }
        (high, at_high) = (low, at_low);
    }
    if at_low <= 0.0 {
        return Some(SmoothCalibration { error: at_low + low, bandwidth: low });
    }
    // The secant of the bracket; an end that stays has its value halved (Illinois).
    let mut width = low;
    for _ in 0..100 {
        let next = (low * at_high - high * at_low) / (at_high - at_low);
        let value = excess(next);
        let moved = (next - width).abs();
        width = next;
        if value == 0.0 || moved <= 1e-15 {
            break;
        }
        if value > 0.0 {
            (low, at_low, at_high) = (next, value, at_high / 2.0);
        } else {
            (high, at_high, at_low) = (next, value, at_low / 2.0);
        }
    }
    Some(SmoothCalibration { error: width, bandwidth: width })
}

/// c − a along the interval, as moments of cells, and its cosine coefficients as far as they were
/// asked for.
struct Residuals {
    /// Of each cell that is not empty, its number and Σ r δ^j / j!, δ the distance from its middle.
    cells: Vec<(usize, [f64; MOMENTS])>,
    /// cos(πm / (2·CELLS)), m < 4·CELLS: a period.
    cosines: Vec<f64>,
    /// r_k for k = 0, 1, …
    coefficients: Vec<f64>,
}

impl Residuals {
    fn of(groups: &[TieGroup]) -> Option<Self> {
        let mass: f64 = groups.iter().map(TieGroup::mass).sum();
        let mut cells: Vec<(usize, [f64; MOMENTS])> = Vec::new();
        for group in groups {
            let place = group.score.clamp(0.0, 1.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // In 0..=CELLS.
            let cell = ((place * CELLS as f64) as usize).min(CELLS - 1);
            if cells.last().is_none_or(|&(last, _)| last != cell) {
                cells.push((cell, [0.0; MOMENTS]));
            }
            let distance = place - (cell as f64 + 0.5) / CELLS as f64;
            let mut term = (group.score * group.mass() - group.right) / mass;
            if let Some((_, moments)) = cells.last_mut() {
                for (j, moment) in moments.iter_mut().enumerate() {
                    *moment += term;
                    term *= distance / (j + 1) as f64;
                }
            }
        }
        let quarter = CELLS as f64;
        let cosines = (0..4 * CELLS).map(|m| (PI / 2.0 * m as f64 / quarter).cos()).collect();
        (!groups.is_empty()).then_some(Self { cells, cosines, coefficients: Vec::new() })
    }

    /// The first coefficients, up to and with k.
    fn extend_to(&mut self, k: usize) {
        for k in self.coefficients.len()..=k {
            let x = PI * k as f64;
            let square = x * x;
            let term = |&(cell, m): &(usize, [f64; MOMENTS])| {
                let angle = k * (2 * cell + 1) % (4 * CELLS);
                let (cosine, sine) =
                    (self.cosines[angle], self.cosines[(angle + 3 * CELLS) % (4 * CELLS)]);
                let even = m[0] - square * (m[2] - square * (m[4] - square * m[6]));
                let odd = m[1] - square * (m[3] - square * (m[5] - square * m[7]));
                cosine * even - sine * x * odd
            };
            self.coefficients.push(self.cells.iter().map(term).sum());
        }
    }

    /// smECE_σ.
    fn smooth_error(&mut self, width: f64) -> f64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 1 to 2848.
        let last = ((2.0 * LARGEST_EXPONENT).sqrt() / (PI * width)).ceil() as usize;
        self.extend_to(last);
        let damped = |(k, r): (usize, &f64)| {
            let damping = (-0.5 * (PI * k as f64 * width).powi(2)).exp();
            if k == 0 { *r } else { 2.0 * r * damping }
        };
        let terms: Vec<f64> =
            self.coefficients.iter().take(last + 1).enumerate().map(damped).collect();
        // Four points for the shortest wave, whose terms are e^{−40} of the others.
        integral_of_absolute(&terms, 4 * last)
    }
}

/// ∫₀¹ |Σ_k b_k cos(πkt)| dt, looking for sign changes at so many points.
fn integral_of_absolute(terms: &[f64], points: usize) -> f64 {
    let antiderivative = |t: f64| {
        let sines = terms.iter().enumerate().skip(1).map(|(k, b)| b / (PI * k as f64));
        terms.first().copied().unwrap_or(0.0) * t + sine_sum(sines, t)
    };
    let (mut total, mut start) = (0.0, 0.0);
    let (mut before, mut value_before) = (0.0, cosine_sums(terms, [0.0; LANES])[0]);
    for block in (1..=points).step_by(LANES) {
        let t: [f64; LANES] =
            std::array::from_fn(|i| (block + i).min(points) as f64 / points as f64);
        for (t, value) in t.into_iter().zip(cosine_sums(terms, t)) {
            if (value < 0.0) != (value_before < 0.0) {
                let root = sign_change(terms, before, t, value_before);
                total += (antiderivative(root) - antiderivative(start)).abs();
                start = root;
            }
            (before, value_before) = (t, value);
        }
    }
    total + (antiderivative(1.0) - antiderivative(start)).abs()
}

/// Where the sign changes between two points; an error of 1e-9 here is one of 1e-18 in the integral.
fn sign_change(terms: &[f64], mut low: f64, mut high: f64, at_low: f64) -> f64 {
    while high - low > 1e-10 {
        let middle = f64::midpoint(low, high);
        if (cosine_sums(terms, [middle; LANES])[0] < 0.0) == (at_low < 0.0) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Points at which a sum is computed together.
const LANES: usize = 8;

/// Σ_k b_k cos(πkt), by Clenshaw's recurrence.
fn cosine_sums(terms: &[f64], t: [f64; LANES]) -> [f64; LANES] {
    let doubled = t.map(|t| 2.0 * (PI * t).cos());
    let (mut next, mut after) = ([0.0; LANES], [0.0; LANES]);
    for &term in terms.iter().skip(1).rev() {
        for i in 0..LANES {
            (next[i], after[i]) = (term + doubled[i] * next[i] - after[i], next[i]);
        }
    }
    let first = terms.first().copied().unwrap_or(0.0);
    std::array::from_fn(|i| first + doubled[i] / 2.0 * next[i] - after[i])
}

/// Σ_{k≥1} b_k sin(πkt).
fn sine_sum(terms: impl DoubleEndedIterator<Item = f64>, t: f64) -> f64 {
    let (sine, cosine) = (PI * t).sin_cos();
    let (mut next, mut after) = (0.0, 0.0);
    for term in terms.rev() {
        (next, after) = (term + 2.0 * cosine * next - after, next);
    }
    sine * next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranking::tie_groups_of;

    /// The definition: images of the Gaussian at 2k ± c, and the midpoint rule over t.
    fn by_definition(rows: &[(f64, f64)], width: f64) -> f64 {
        let kernel = |t: f64, c: f64| -> f64 {
            let density = |x: f64| (-x * x / (2.0 * width * width)).exp();
            let images = (-6..=6).map(|k| 2.0 * f64::from(k));
            let sum: f64 = images.map(|k| density(t - k - c) + density(t - k + c)).sum();
            sum / (width * (2.0 * PI).sqrt())
        };
        let points = 20_000;
        let smoothed = |point: i32| -> f64 {
            let t = (f64::from(point) + 0.5) / f64::from(points);
            let terms =
                rows.iter().map(|&(c, w)| kernel(t, c) * (c - f64::from(u8::from(w > 0.0))));
            terms.sum::<f64>().abs()
        };
        (0..points).map(smoothed).sum::<f64>() / f64::from(points) / rows.len() as f64
    }

    #[test]
    fn agrees_with_the_definition() {
        let rows = [(0.1, 1.0), (0.35, -1.0), (0.6, 1.0), (0.6, -1.0), (0.93, -1.0), (1.0, 1.0)];
        let mut residuals = Residuals::of(&tie_groups_of(rows)).unwrap();
        for width in [0.02, 0.05, 0.2, 0.7] {
            let (found, expected) = (residuals.smooth_error(width), by_definition(&rows, width));
            // The midpoint rule is off by some 1e-8 at the sign changes.
            assert!((found - expected).abs() < 1e-7, "{width}: {found}, not {expected}");
        }
        let SmoothCalibration { error, bandwidth } =
            smooth_calibration(&tie_groups_of(rows)).unwrap();
        assert_eq!(error, bandwidth);
        assert!((residuals.smooth_error(error) - error).abs() < 1e-13);
    }

    #[test]
    fn nothing_but_right_answers_has_no_error() {
        let calibration = smooth_calibration(&tie_groups_of([(1.0, 1.0), (1.0, 1.0)])).unwrap();
        assert_eq!(calibration, SmoothCalibration { error: 0.0, bandwidth: SMALLEST });
        assert!(smooth_calibration(&[]).is_none());
    }
}
