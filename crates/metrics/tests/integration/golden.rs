//! Values on real networks, against NumPy and against publications.

use softlabel_core::{Labels, LogProbabilities, Logits, Probabilities};
use softlabel_metrics::{Accumulator, CalibrationBins, CalibrationNorm, Evaluation, evaluate};

use crate::networks::{folder, golden, networks};

#[test]
fn agrees_with_numpy_on_three_networks() {
    for network in networks("agrees_with_numpy_on_three_networks") {
        let labels = Labels::new(&network.labels, network.classes).unwrap();
        let probabilities = Probabilities::new(&network.probabilities, network.classes).unwrap();
        let scores = evaluate(&probabilities, &labels, 15).unwrap();
        assert_eq!(scores.samples as f64, network.golden("n"));
        for (key, found) in [
            ("acc", scores.accuracy),
            ("nll", scores.nll),
            ("brier_sum", scores.brier),
            ("ece15", scores.ece),
            ("mce15", scores.mce),
            ("rmsce15", scores.rmsce),
            ("overconf_gap", scores.overconfidence()),
            ("entropy_mean", scores.mean_entropy),
        ] {
            let expected = network.golden(key);
            assert!((found - expected).abs() < 1e-12, "{} {key}: {found}", network.name);
        }
        let counts: Vec<u64> = scores.diagram.bins.iter().map(|bin| bin.count).collect();
        assert_eq!(serde_json::json!(counts), network.golden["bin_counts15"], "{}", network.name);
    }
}

/// ln p of an f32 softmax is its log-probabilities, and also logits that give it back; but such
/// rows sum to 1 only up to f32 rounding, which logits do not keep.
#[test]
fn the_three_kinds_of_input_agree_on_real_predictions() {
    for network in networks("the_three_kinds_of_input_agree_on_real_predictions") {
        let labels = Labels::new(&network.labels, network.classes).unwrap();
        let logarithms: Vec<f64> =
            network.probabilities.iter().map(|&p| f64::from(p).ln()).collect();
        let of_logarithms = LogProbabilities::new(&logarithms, network.classes).unwrap();
        let of_logits = Logits::new(&logarithms, network.classes).unwrap();
        for (scores, tolerance) in [
            (evaluate(&of_logarithms, &labels, 15).unwrap(), 1e-12),
            (evaluate(&of_logits, &labels, 15).unwrap(), 3e-7),
        ] {
            assert_eq!(scores.accuracy, network.golden("acc"));
            assert!((scores.nll - network.golden("nll")).abs() < tolerance);
            assert!((scores.brier - network.golden("brier_sum")).abs() < tolerance);
        }
    }
}

#[test]
fn parts_of_real_predictions_merge_into_the_whole() {
    for network in networks("parts_of_real_predictions_merge_into_the_whole") {
        let classes = network.classes;
        let mut merged = Evaluation::default();
        // From the last part to the first, each with its own accumulator.
        let parts = network.probabilities.chunks(999 * classes).zip(network.labels.chunks(999));
        for (probabilities, labels) in parts.collect::<Vec<_>>().into_iter().rev() {
            let mut part = Evaluation::default();
            let probabilities = Probabilities::new(probabilities, classes).unwrap();
            part.update(&probabilities, &Labels::new(labels, classes).unwrap()).unwrap();
            merged.merge(&part).unwrap();
        }
        let scores = merged.compute().unwrap();
        for (key, found) in
            [("nll", scores.nll), ("brier_sum", scores.brier), ("ece15", scores.ece)]
        {
            assert!((found - network.golden(key)).abs() < 1e-12, "{} {key}", network.name);
        }
    }
}

/// Two networks whose calibration errors are published, in the notebook of Kull et al. (2019); that
/// one computed softmax in f32, hence the tolerance. The files have the top class alone, whose rows
/// are filled up with what is left of the probability.
#[test]
fn agrees_with_published_calibration_errors() {
    let Some(folder) = folder("agrees_with_published_calibration_errors") else { return };
    let golden = golden(&folder);
    for name in ["resnet110_c10", "densenet40_c10"] {
        let file = folder.join(format!("confidences/{name}.csv"));
        let mut bins = CalibrationBins::new(15).unwrap();
        for line in std::fs::read_to_string(file).unwrap().lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [label, top] = [0, 1].map(|field| fields[field].parse::<usize>().unwrap());
            let confidence: f64 = fields[2].parse().unwrap();
            let mut row = [(1.0 - confidence) / 9.0; 10];
            row[top] = confidence;
            let row = Probabilities::new(&row, 10).unwrap();
            bins.update(&row, &Labels::new(&[label], 10).unwrap()).unwrap();
        }
        for (norm, key) in [
            (CalibrationNorm::Expected, "ece15"),
            (CalibrationNorm::RootMeanSquare, "rmsce15"),
            (CalibrationNorm::Maximum { minimum_count: 1 }, "mce15"),
        ] {
            let found = bins.calibration_error(norm).unwrap();
            let expected = golden["confidences"][name][key].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-12, "{name} {key}: {found}");
            if let Some(published) = golden["published"][name][key].as_f64() {
                assert!((found - published).abs() < 3e-7, "{name} {key}: {found}");
            }
        }
    }
}
