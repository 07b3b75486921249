//! One bin of rows, and what the gaps of several come to: shared by all metrics that bin, whatever
//! the edges.
//!
//! With N the weights of the rows in a bin, S the weighted sum of their confidences and A the
//! weights of those that are right, its gap is (S − A)/N and ā = A/N.

use serde::{Deserialize, Serialize};
use softlabel_kernels::CompensatedSum;

use crate::ranking::TieGroup;
use crate::weight::Mass;
use crate::{CalibrationNorm, DebiasedCalibrationError, ReliabilityBin, Weight};

/// The rows of one bin.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bin {
    /// The number of rows.
    pub(crate) count: u64,
    /// Σ w.
    mass: Mass,
    /// Σ w².
    squares: Mass,
    /// Σ w over the rows that are right.
    correct: Mass,
    /// Σ w c.
    confidence: CompensatedSum,
}

impl Bin {
    pub(crate) fn add(&mut self, confidence: f64, correct: bool, weight: Weight) {
        let weight = weight.get();
        self.count += 1;
        self.mass.add(weight);
        self.squares.add(weight * weight);
        if correct {
            self.correct.add(weight);
        }
        self.confidence.add(weight * confidence);
    }

    /// Adds rows of weight 1 of which only the sum of their confidences is known.
    pub(crate) fn add_rows(&mut self, rows: u64, correct: u64, confidences: f64) {
        self.count += rows;
        self.mass.add_ones(rows);
        self.squares.add_ones(rows);
        self.correct.add_ones(correct);
        self.confidence.add(confidences);
    }

    /// Adds rows of one confidence.
    pub(crate) fn add_group(&mut self, group: &TieGroup) {
        self.count += group.rows;
        self.mass.add(group.mass());
        self.squares.add(group.squares);
        self.correct.add(group.right);
        self.confidence.add(group.score * group.mass());
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.mass.merge(&other.mass);
        self.squares.merge(&other.squares);
        self.correct.merge(&other.correct);
        self.confidence.merge(other.confidence);
    }

    /// N.
    pub(crate) fn mass(&self) -> f64 {
        self.mass.value()
    }

    /// |S − A|.
    fn distance(&self) -> f64 {
        (self.confidence.value() - self.correct.value()).abs()
    }

    /// |S − A| / N.
    pub(crate) fn gap(&self) -> f64 {
        self.distance() / self.mass()
    }

    /// ā; `None` of no rows.
    pub(crate) fn accuracy(&self) -> Option<f64> {
        self.per_row(self.correct.value())
    }

    /// An unbiased estimate of the variance of ā; `None` of less than two rows.
    ///
    /// ā(1 − ā)/(N − 1), which with weights is ā(1 − ā) Σw²/((Σw)² − Σw²).
    pub(crate) fn variance_of_accuracy(&self) -> Option<f64> {
        let accuracy = self.accuracy().filter(|_| self.count >= 2)?;
        let (mass, squares) = (self.mass(), self.squares.value());
        // Of weights that are all 1 the quotient of exact integers, N/(N² − N).
        Some(accuracy * (1.0 - accuracy) * squares / (mass * mass - squares))
    }

    fn per_row(&self, sum: f64) -> Option<f64> {
        (self.count > 0).then(|| sum / self.mass())
    }

    /// The bin as plain data.
    pub(crate) fn between(&self, lower: f64, upper: f64) -> ReliabilityBin {
        ReliabilityBin {
            lower,
            upper,
            count: self.count,
            mean_confidence: self.per_row(self.confidence.value()),
            accuracy: self.accuracy(),
        }
    }
}

/// The number of rows in all bins.
pub(crate) fn rows_of(bins: &[Bin]) -> u64 {
    bins.iter().map(|bin| bin.count).sum()
}

/// The weights of the rows in all bins.
pub(crate) fn mass_of(bins: &[Bin]) -> f64 {
    bins.iter().map(Bin::mass).sum()
}

/// The calibration error over all bins; `None` if no bin counts.
pub(crate) fn error_over(bins: &[Bin], norm: CalibrationNorm) -> Option<f64> {
    if rows_of(bins) == 0 {
        return None;
    }
    let mass = mass_of(bins);
    let filled = bins.iter().filter(|bin| bin.count > 0);
    match norm {
        CalibrationNorm::Expected => Some(filled.map(Bin::distance).sum::<f64>() / mass),
        CalibrationNorm::RootMeanSquare => {
            let square = |bin: &Bin| bin.distance().powi(2) / bin.mass();
            Some((filled.map(square).sum::<f64>() / mass).sqrt())
        }
        CalibrationNorm::Maximum { minimum_count } => {
            filled.filter(|bin| bin.count >= minimum_count).map(Bin::gap).reduce(f64::max)
        }
        CalibrationNorm::BinAverage => {
            let count = filled.clone().count();
            Some(filled.map(Bin::gap).sum::<f64>() / count as f64)
        }
    }
}

/// Σ N/n · (gap² − Var ā) over the bins with two rows or more; `None` of no rows.
pub(crate) fn debiased_square(bins: &[Bin]) -> Option<DebiasedCalibrationError> {
    let term = |bin: &Bin| Some(bin.mass() * (bin.gap().powi(2) - bin.variance_of_accuracy()?));
    let sum: f64 = bins.iter().filter_map(term).sum();
    let squared = sum / mass_of(bins);
    (rows_of(bins) > 0).then(|| DebiasedCalibrationError { squared, root: squared.max(0.0).sqrt() })
}

/// 2 CE − E\[CE(R)\] with R_m ~ N(ā_m, ā_m(1 − ā_m)/N_m); `None` if a bin has one row, or none has any.
pub(crate) fn debiased_absolute(bins: &[Bin]) -> Option<f64> {
    let plain = error_over(bins, CalibrationNorm::Expected)?;
    let mut expected = 0.0;
    for bin in bins.iter().filter(|bin| bin.count > 0) {
        let accuracy = bin.accuracy().filter(|_| bin.count >= 2)?;
        // Var ā of R: with weights, Σw²/(Σw)² in place of 1/N.
        let mass = bin.mass();
        let deviation = (accuracy * (1.0 - accuracy) * bin.squares.value()).sqrt() / mass;
        expected += mass * folded_normal_mean(bin.gap(), deviation);
    }
    Some(2.0 * plain - expected / mass_of(bins))
}

/// E|X| of X ~ N(μ, σ²): σ √(2/π) e^{−μ²/2σ²} + μ erf(μ/(σ√2)).
fn folded_normal_mean(mean: f64, deviation: f64) -> f64 {
    if deviation == 0.0 {
        return mean.abs();
    }
    let ratio = mean / (deviation * std::f64::consts::SQRT_2);
    let density = deviation * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    density * (-ratio * ratio).exp() + mean * libm::erf(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits, and the integral by the trapezoid rule.
    #[test]
    fn mean_of_a_folded_normal() {
        assert_eq!(folded_normal_mean(0.25, 0.0), 0.25);
        for (mean, deviation, expected) in
            [(0.0, 1.0, (2.0 / std::f64::consts::PI).sqrt()), (40.0, 1.0, 40.0)]
        {
            assert!((folded_normal_mean(mean, deviation) - expected).abs() < 1e-14);
        }
        let (mean, deviation) = (0.3, 0.2);
        let step = 1e-4;
        let density = |x: f64| (-(x - mean).powi(2) / (2.0 * deviation * deviation)).exp();
        let points = (-20_000..=20_000).map(|i| f64::from(i) * step);
        let (weighted, total) = points.fold((0.0, 0.0), |(weighted, total), x: f64| {
            (weighted + x.abs() * density(x), total + density(x))
        });
        assert!((folded_normal_mean(mean, deviation) - weighted / total).abs() < 1e-8);
    }
}
