//! Calibration by class: the rows of its table.

use softlabel_metrics::{CalibrationNorm, ClasswiseCalibration};

use crate::numbers;

/// Of more classes than so many those with the largest errors are shown.
pub(crate) const MOST_CLASSES: usize = 25;

/// A class against the rest.
pub(crate) struct ClassLine {
    pub(crate) class: usize,
    pub(crate) frequency: String,
    pub(crate) probability: String,
    /// Whether its probabilities are on the whole too high.
    pub(crate) is_overconfident: bool,
    pub(crate) ece: String,
    error: f64,
}

/// The classes with the largest errors, the largest first; those without a value are left out.
pub(crate) fn class_lines(classwise: &ClasswiseCalibration) -> Vec<ClassLine> {
    let errors = classwise.calibration_errors(CalibrationNorm::Expected);
    let diagrams = classwise.diagrams();
    if diagrams.len() != errors.len() {
        return Vec::new();
    }
    let classes = errors.into_iter().zip(diagrams).enumerate();
    let mut lines: Vec<ClassLine> = classes
        .filter_map(|(class, (error, diagram))| {
            let error = error?;
            let (mut total, mut happened, mut said) = (0.0, 0.0, 0.0);
            for bin in &diagram.bins {
                if let (Some(accuracy), Some(confidence)) = (bin.accuracy, bin.mean_confidence) {
                    let count = bin.count as f64;
                    total += count;
                    happened += count * accuracy;
                    said += count * confidence;
                }
            }
            let (frequency, probability) = (happened / total, said / total);
            Some(ClassLine {
                class,
                frequency: numbers::percent(frequency),
                probability: numbers::percent(probability),
                is_overconfident: probability > frequency,
                ece: numbers::percent(error),
                error,
            })
        })
        .collect();
    lines.sort_by(|x, y| y.error.total_cmp(&x.error));
    lines.truncate(MOST_CLASSES);
    lines
}
