//! What must hold whatever the predictions.

use proptest::prelude::*;
use softlabel_core::{Labels, LogProbabilities, Probabilities};
use softlabel_metrics::{
    Accumulator, Accuracy, BrierScore, CalibrationBins, CalibrationError, CalibrationNorm,
    Evaluation, LogitGap, MeanConfidence, MeanEntropy, MurphyDecomposition, NegativeLogLikelihood,
    Scores, evaluate,
};

use crate::cases::{Case, cases};

/// Every number that an evaluation gives, by name.
fn numbers(scores: &Scores) -> Vec<(&'static str, f64)> {
    vec![
        ("accuracy", scores.accuracy),
        ("nll", scores.nll),
        ("brier", scores.brier),
        ("binned ece", scores.ece),
        ("binned rmsce", scores.rmsce),
        ("binned mce", scores.mce),
        ("binned average", scores.bin_average_error),
        ("mean confidence", scores.mean_confidence),
        ("mean entropy", scores.mean_entropy),
        ("mean logit gap", scores.mean_logit_gap.unwrap()),
        ("binned debiased square", scores.debiased.squared),
        ("brier of the top class", scores.murphy.brier),
        ("binned reliability", scores.murphy.reliability),
        ("binned resolution", scores.murphy.resolution),
        ("binned uncertainty", scores.murphy.uncertainty),
        ("binned variance", scores.murphy.within_bin_variance),
        ("binned covariance", scores.murphy.within_bin_covariance),
    ]
}

fn assert_close(left: &Scores, right: &Scores, tolerance: f64) {
    assert_eq!(left.samples, right.samples);
    for ((what, x), (_, y)) in numbers(left).into_iter().zip(numbers(right)) {
        assert!((x - y).abs() < tolerance, "{what}: {x} and {y}");
    }
    let counts = |scores: &Scores| scores.diagram.bins.iter().map(|bin| bin.count).collect();
    let (left, right): (Vec<_>, Vec<_>) = (counts(left), counts(right));
    assert_eq!(left, right);
}

proptest! {
    /// Each metric against its definition, written out.
    #[test]
    fn agrees_with_the_definitions(case in cases(), bins in 1..30usize) {
        let scores = case.scores(bins);
        let n = case.labels.len() as f64;
        let (mut correct, mut nll, mut brier, mut confidence, mut entropy, mut gap) =
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        // By bin: rows, confidence, right ones.
        let mut table = vec![(0.0, 0.0, 0.0); bins];
        // Every row's bin, confidence and whether it is right.
        let mut outcomes = Vec::new();
        let rows = case.softmax().into_iter().zip(case.logits.chunks(case.classes));
        for ((p, z), &y) in rows.zip(&case.labels) {
            let top = (0..p.len()).rev().max_by(|&i, &j| z[i].total_cmp(&z[j])).unwrap();
            let right = f64::from(u8::from(top == y));
            correct += right;
            nll -= p[y].ln();
            confidence += p[top];
            let rival = (0..p.len()).filter(|&k| k != y).map(|k| z[k]);
            gap += z[y] - rival.fold(f64::NEG_INFINITY, f64::max);
            for (k, p) in p.iter().enumerate() {
                brier += (p - f64::from(u8::from(k == y))).powi(2);
                entropy -= p * p.ln();
            }
            let bin = (0..bins).find(|&m| p[top] <= (m + 1) as f64 / bins as f64);
            let bin = bin.unwrap_or(bins - 1);
            outcomes.push((bin, p[top], right));
            let cell = &mut table[bin];
            *cell = (cell.0 + 1.0, cell.1 + p[top], cell.2 + right);
        }
        let filled = || table.iter().filter(|cell| cell.0 > 0.0);
        let gaps = || filled().map(|cell| (cell.0, (cell.1 - cell.2).abs() / cell.0));
        let accuracy = |cell: &(f64, f64, f64)| cell.2 / cell.0;
        let within = |term: fn(f64, f64) -> f64| {
            let term = |&(bin, c, a): &(usize, f64, f64)| {
                let cell = &table[bin];
                term(c - cell.1 / cell.0, a - accuracy(cell))
            };
            outcomes.iter().map(term).sum::<f64>() / n
        };
        let debiased = |cell: &(f64, f64, f64)| {
            let (gap, accuracy) = ((cell.1 - cell.2) / cell.0, accuracy(cell));
            cell.0 / n * (gap.powi(2) - accuracy * (1.0 - accuracy) / (cell.0 - 1.0))
        };
        let spread = |cell: &(f64, f64, f64)| cell.0 / n * (accuracy(cell) - correct / n).powi(2);
        let expected = [
            correct / n,
            nll / n,
            brier / n,
            gaps().map(|(count, gap)| count / n * gap).sum(),
            gaps().map(|(count, gap)| count / n * gap * gap).sum::<f64>().sqrt(),
            gaps().map(|(_, gap)| gap).fold(0.0, f64::max),
            gaps().map(|(_, gap)| gap).sum::<f64>() / gaps().count() as f64,
            confidence / n,
            entropy / n,
            gap / n,
            table.iter().filter(|cell| cell.0 > 1.0).map(debiased).sum(),
            outcomes.iter().map(|(_, c, a)| (c - a).powi(2)).sum::<f64>() / n,
            gaps().map(|(count, gap)| count / n * gap * gap).sum(),
            filled().map(spread).sum(),
            correct / n * (1.0 - correct / n),
            within(|c, _| c * c),
            within(|c, a| c * a),
        ];
        for ((what, found), expected) in numbers(&scores).into_iter().zip(expected) {
            prop_assert!((found - expected).abs() < 1e-12, "{what}: {found}, not {expected}");
        }
        for (bin, cell) in scores.diagram.bins.iter().zip(&table) {
            prop_assert_eq!(bin.count as f64, cell.0);
            match bin.gap() {
                None => prop_assert_eq!(bin.count, 0),
                Some(gap) => prop_assert!((gap - (cell.2 - cell.1) / cell.0).abs() < 1e-12),
            }
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter(
        (case, order) in cases().prop_flat_map(|case| {
            let order: Vec<usize> = (0..case.labels.len()).collect();
            (Just(case), Just(order).prop_shuffle())
        }),
    ) {
        assert_close(&case.scores(15), &case.select(&order).scores(15), 1e-13);
    }

    #[test]
    fn parts_merge_into_the_whole(case in cases(), split in any::<prop::sample::Index>()) {
        let rows: Vec<usize> = (0..case.labels.len()).collect();
        let (left, right) = rows.split_at(split.index(rows.len() + 1));
        let [mut left, right] = [left, right].map(|part| {
            let part = case.select(part);
            let mut evaluation = Evaluation::default();
            evaluation.update(&part.logits(), &part.labels()).unwrap();
            evaluation
        });
        let mut other_way = right.clone();
        other_way.merge(&left).unwrap();
        left.merge(&right).unwrap();
        prop_assert_eq!(&left, &other_way);
        assert_close(&left.compute().unwrap(), &case.scores(15), 1e-13);
    }

    #[test]
    fn counts_sum_and_errors_are_ordered(case in cases(), bins in 1..100usize) {
        let scores = case.scores(bins);
        let count: u64 = scores.diagram.bins.iter().map(|bin| bin.count).sum();
        prop_assert_eq!(count, case.labels.len() as u64);
        let histogram: f64 = scores.diagram.confidence_histogram().iter().sum();
        prop_assert!((histogram - 1.0).abs() < 1e-12);
        prop_assert!(scores.overconfidence().abs() <= scores.ece + 1e-15);
        prop_assert!(scores.ece <= scores.rmsce + 1e-15);
        prop_assert!(scores.rmsce <= scores.mce + 1e-15);
        prop_assert!(scores.mce <= 1.0);
        prop_assert!(scores.bin_average_error <= scores.mce + 1e-15);
        let square = scores.rmsce.powi(2);
        prop_assert!(scores.debiased.squared <= square + 1e-15);
        prop_assert_eq!(scores.debiased.root, scores.debiased.squared.max(0.0).sqrt());
        prop_assert!((scores.murphy.reliability - square).abs() < 1e-15);
        prop_assert!((scores.murphy.sum() - scores.murphy.brier).abs() < 2e-15);
    }

    #[test]
    fn logits_log_probabilities_and_probabilities_agree(case in cases()) {
        let probabilities: Vec<f64> = case.softmax().concat();
        let logarithms: Vec<f64> = probabilities.iter().map(|p| p.ln()).collect();
        let labels = case.labels();
        let of_probabilities = Probabilities::new(&probabilities, case.classes).unwrap();
        let of_logarithms = LogProbabilities::new(&logarithms, case.classes).unwrap();
        let expected = numbers(&case.scores(15));
        // A confidence on an edge may round to either side of it, so bins are left out here.
        for scores in [
            evaluate(&of_probabilities, &labels, 1).unwrap(),
            evaluate(&of_logarithms, &labels, 1).unwrap(),
        ] {
            for ((what, found), (_, expected)) in numbers(&scores).into_iter().zip(&expected) {
                if !what.starts_with("binned") {
                    prop_assert!((found - expected).abs() < 1e-11, "{what}: {found}, {expected}");
                }
            }
        }
    }

    /// The composite gives what each accumulator gives on its own.
    #[test]
    fn the_composite_agrees_with_its_parts(case in cases(), bins in 1..30usize) {
        fn alone<A: Accumulator>(case: &Case, mut accumulator: A) -> Option<A::Value> {
            accumulator.update(&case.logits(), &case.labels()).unwrap();
            accumulator.compute()
        }
        let error = |norm| CalibrationError::new(bins, norm).unwrap();
        let scores = case.scores(bins);
        let parts = [
            alone(&case, Accuracy::default()),
            alone(&case, NegativeLogLikelihood::default()),
            alone(&case, BrierScore::default()),
            alone(&case, error(CalibrationNorm::Expected)),
            alone(&case, error(CalibrationNorm::RootMeanSquare)),
            alone(&case, error(CalibrationNorm::Maximum { minimum_count: 0 })),
            alone(&case, error(CalibrationNorm::BinAverage)),
            alone(&case, MeanConfidence::default()),
            alone(&case, MeanEntropy::default()),
            alone(&case, LogitGap::default()),
        ];
        for ((what, found), part) in numbers(&scores).into_iter().zip(parts) {
            prop_assert_eq!(Some(found), part, "{}", what);
        }
        let murphy = alone(&case, MurphyDecomposition::new(bins).unwrap());
        prop_assert_eq!(Some(scores.murphy), murphy);
        let diagram = alone(&case, CalibrationBins::new(bins).unwrap());
        prop_assert_eq!(Some(scores.diagram), diagram);
    }
}

/// m of 20 right among rows of confidence m/20: calibrated to the last row. Shifted by a tenth of
/// confidence, off by a tenth everywhere.
#[test]
fn calibrated_predictions_have_no_calibration_error() {
    let (mut calibrated, mut overconfident) = (Evaluation::default(), Evaluation::default());
    for right in 11..=18 {
        let labels: Vec<u8> = (0..20).map(|row| u8::from(row >= right)).collect();
        let labels = Labels::new(&labels, 2).unwrap();
        for (evaluation, shift) in [(&mut calibrated, 0.0), (&mut overconfident, 0.1)] {
            let confidence = f64::from(right) / 20.0 + shift;
            let rows = [confidence, 1.0 - confidence].repeat(20);
            evaluation.update(&Probabilities::new(rows, 2).unwrap(), &labels).unwrap();
        }
    }
    let calibrated = calibrated.compute().unwrap();
    assert!(calibrated.mce < 1e-15, "{}", calibrated.mce);
    let overconfident = overconfident.compute().unwrap();
    for error in [overconfident.ece, overconfident.rmsce, overconfident.mce] {
        assert!((error - 0.1).abs() < 1e-12, "{error}");
    }
    assert!((overconfident.overconfidence() - 0.1).abs() < 1e-12);
}
