//! One bin of rows, and what the gaps of several come to: shared by all metrics that bin, whatever
//! the edges.
//!
//! With N rows in a bin, S the sum of their confidences and A the number that are right, its gap is
//! (S − A)/N and ā = A/N.

use serde::{Deserialize, Serialize};
use softlabel_kernels::CompensatedSum;

use crate::{CalibrationNorm, DebiasedCalibrationError, ReliabilityBin};

/// The rows of one bin.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bin {
    pub(crate) count: u64,
    pub(crate) correct: u64,
    pub(crate) confidence: CompensatedSum,
}

impl Bin {
    pub(crate) fn add(&mut self, confidence: f64, correct: bool) {
        self.count += 1;
        self.correct += u64::from(correct);
        self.confidence.add(confidence);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.correct += other.correct;
        self.confidence.merge(other.confidence);
    }

    /// |S − A|.
    fn distance(&self) -> f64 {
        (self.confidence.value() - self.correct as f64).abs()
    }

    /// |S − A| / N.
    fn gap(&self) -> f64 {
        self.distance() / self.count as f64
    }

    fn per_row(&self, sum: f64) -> Option<f64> {
        (self.count > 0).then(|| sum / self.count as f64)
    }

    /// The bin as plain data.
    pub(crate) fn between(&self, lower: f64, upper: f64) -> ReliabilityBin {
        ReliabilityBin {
            lower,
            upper,
            count: self.count,
            mean_confidence: self.per_row(self.confidence.value()),
            accuracy: self.per_row(self.correct as f64),
        }
    }
}

/// The number of rows in all bins.
pub(crate) fn rows_of(bins: &[Bin]) -> u64 {
    bins.iter().map(|bin| bin.count).sum()
}

/// The calibration error over all bins; `None` if no bin counts.
pub(crate) fn error_over(bins: &[Bin], norm: CalibrationNorm) -> Option<f64> {
    let rows = rows_of(bins);
    if rows == 0 {
        return None;
    }
    let filled = bins.iter().filter(|bin| bin.count > 0);
    match norm {
        CalibrationNorm::Expected => Some(filled.map(Bin::distance).sum::<f64>() / rows as f64),
        CalibrationNorm::RootMeanSquare => {
            let square = |bin: &Bin| bin.distance().powi(2) / bin.count as f64;
            Some((filled.map(square).sum::<f64>() / rows as f64).sqrt())
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

/// Σ N/n · (gap² − ā(1 − ā)/(N − 1)) over the bins with two rows or more; `None` of no rows.
pub(crate) fn debiased_square(bins: &[Bin]) -> Option<DebiasedCalibrationError> {
    let rows = rows_of(bins);
    let term = |bin: &Bin| {
        let count = bin.count as f64;
        let accuracy = bin.correct as f64 / count;
        count * (bin.gap().powi(2) - accuracy * (1.0 - accuracy) / (count - 1.0))
    };
    let sum: f64 = bins.iter().filter(|bin| bin.count >= 2).map(term).sum();
    let squared = sum / rows as f64;
    (rows > 0).then(|| DebiasedCalibrationError { squared, root: squared.max(0.0).sqrt() })
}
