//! The evaluation of everything against its parts, the reference values, and what it must not do.

use proptest::prelude::*;
use softlabel_core::{Labels, LogProbabilities, Logits, Probabilities};
use softlabel_metrics::{
    Accumulator, ConfidenceScore, Forecasts, FullEvaluation, FullScores, Observations, Undefined,
    classwise_calibration_error, equal_mass_calibration_error, evaluate, evaluate_forecasts,
    full_evaluation, kolmogorov_smirnov_error, selective_classification, smooth_calibration_error,
};

use crate::cases::{cases, shuffled_cases, tied_cases};
use crate::networks::networks;

#[test]
fn agrees_with_the_reference_on_real_networks() {
    for network in networks("agrees_with_the_reference_on_real_networks") {
        let predictions = Probabilities::new(&network.probabilities, network.classes).unwrap();
        let labels = Labels::new(&network.labels, network.classes).unwrap();
        let scores = full_evaluation(&predictions, &labels, 15).unwrap();
        for (name, found) in [
            ("acc", scores.accuracy),
            ("nll", scores.nll.unwrap()),
            ("brier_sum", scores.brier.unwrap()),
            ("ece15", scores.ece),
            ("mce15", scores.mce),
            ("rmsce15", scores.rmsce),
            ("ece15_equal_mass", scores.ece_equal_mass),
            ("cwece15_mean", scores.classwise_ece.unwrap()),
            ("cwece15_sum", scores.classwise_ece_sum.unwrap()),
            ("ks_ties_collapsed", scores.ks),
            ("aurc_mean_tie_averaged", scores.aurc),
            ("augrc_tie_averaged", scores.augrc),
            ("auroc_conf", scores.auroc_confidence.unwrap()),
            ("entropy_mean", scores.mean_entropy.unwrap()),
            ("brier_toplabel", scores.murphy.brier),
        ] {
            let expected = network.golden(name);
            assert!((found - expected).abs() < 1e-9, "{} {name}: {found}", network.name);
        }
        let counts: Vec<u64> = scores.diagram.bins.iter().map(|bin| bin.count).collect();
        assert_eq!(serde_json::to_value(&counts).unwrap(), network.golden["bin_counts15"]);
        assert_eq!(counts.iter().sum::<u64>(), scores.samples);
    }
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= 1e-12, "{found}, not {expected}");
}

proptest! {
    #[test]
    fn agrees_with_every_metric_alone(case in prop_oneof![cases(), tied_cases()], bins in 1..30_usize) {
        let (logits, labels) = (case.logits(), case.labels());
        let full = full_evaluation(&logits, &labels, bins).unwrap();
        let fixed = evaluate(&logits, &labels, bins).unwrap();
        close(full.ece, fixed.ece);
        close(full.nll.unwrap(), fixed.nll);
        prop_assert_eq!(full.samples, fixed.samples);
        close(full.classwise_ece.unwrap(), classwise_calibration_error(&logits, &labels, bins).unwrap());
        close(full.ece_equal_mass, equal_mass_calibration_error(&logits, &labels, bins).unwrap());
        close(full.ks, kolmogorov_smirnov_error(&logits, &labels).unwrap());
        close(full.smooth_ece, smooth_calibration_error(&logits, &labels).unwrap().error);
        let score = ConfidenceScore::MaximumProbability;
        let selective = selective_classification(&logits, &labels, score).unwrap();
        close(full.aurc, selective.aurc);
        prop_assert_eq!(full.auroc_confidence.ok(), selective.auroc);
        prop_assert_eq!(full.diagram.bins.iter().map(|bin| bin.count).sum::<u64>(), full.samples);
    }

    #[test]
    fn order_and_parts_change_nothing((case, shuffled) in shuffled_cases(), at in any::<prop::sample::Index>()) {
        let whole = full_evaluation(&case.logits(), &case.labels(), 15).unwrap();
        let other = full_evaluation(&shuffled.logits(), &shuffled.labels(), 15).unwrap();
        let rows = case.labels.len();
        let at = at.index(rows);
        let part = |range: std::ops::Range<usize>| {
            let part = case.select(&range.collect::<Vec<_>>());
            let mut evaluation = FullEvaluation::new(case.classes, 15).unwrap();
            evaluation.update(&part.logits(), &part.labels()).unwrap();
            evaluation
        };
        let mut merged = part(0..at);
        merged.merge(&part(at..rows)).unwrap();
        let json = serde_json::to_string(&merged).unwrap();
        prop_assert_eq!(&serde_json::from_str::<FullEvaluation>(&json).unwrap(), &merged);
        for found in [other, merged.compute().unwrap()] {
            for ((name, a), (_, b)) in found.metrics().into_iter().zip(whole.metrics()) {
                match (a, b) {
                    (Ok(a), Ok(b)) => prop_assert!(a == b || (a - b).abs() < 1e-12, "{name}: {a}, {b}"),
                    (a, b) => prop_assert_eq!(a, b),
                }
            }
        }
    }

    /// A row of weight 2 is what two such rows are, wherever ties do not matter, and weights that are
    /// all alike change nothing.
    #[test]
    fn weights_are_repetitions(case in cases(), weights in prop::collection::vec(0..4_u8, 1..40)) {
        let rows = case.labels.len();
        let weights: Vec<u8> = weights.into_iter().cycle().take(rows).collect();
        let repeated: Vec<usize> = (0..rows)
            .flat_map(|row| std::iter::repeat_n(row, usize::from(weights[row])))
            .collect();
        prop_assume!(!repeated.is_empty());
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let weighted = Observations::from(case.labels()).weighted(&weights).unwrap();
        let found = full_evaluation(&case.logits(), &weighted, 7).unwrap();
        let repeated = case.select(&repeated);
        let expected = full_evaluation(&repeated.logits(), &repeated.labels(), 7).unwrap();
        close(found.accuracy, expected.accuracy);
        close(found.nll.unwrap(), expected.nll.unwrap());
        close(found.brier.unwrap(), expected.brier.unwrap());
        close(found.ece, expected.ece);
        close(found.mce, expected.mce);
        close(found.rmsce, expected.rmsce);
        close(found.classwise_ece.unwrap(), expected.classwise_ece.unwrap());
        close(found.ks, expected.ks);
        close(found.kuiper, expected.kuiper);
        close(found.smooth_ece, expected.smooth_ece);
        close(found.murphy.brier, expected.murphy.brier);
        close(found.murphy.sum(), found.murphy.brier);
        match (found.auroc_confidence, expected.auroc_confidence) {
            (Ok(found), Ok(expected)) => close(found, expected),
            (found, expected) => prop_assert_eq!(found, expected),
        }

        let alike = Observations::from(case.labels()).weighted(&vec![0.3; rows]).unwrap();
        let found = full_evaluation(&case.logits(), &alike, 7).unwrap();
        let expected = full_evaluation(&case.logits(), &case.labels(), 7).unwrap();
        for ((name, a), (_, b)) in found.metrics().into_iter().zip(expected.metrics()) {
            // Equal weights are cut where their sums round to.
            if let (Ok(a), Ok(b)) = (a, b) && name != "ece_equal_mass" {
                prop_assert!(a == b || (a - b).abs() < 1e-11, "{name}: {a}, {b}");
            }
        }
    }
}

#[test]
fn ignored_rows_do_not_exist() {
    let values = [2.0f32, 0.0, 0.0, 3.0, 1.0, 0.0, f32::MAX, f32::MIN];
    let logits = Logits::new(&values, 2).unwrap();
    let ignored = Observations::with_ignored(&[0, 1, 1, -100], 2, -100).unwrap();
    let found = full_evaluation(&logits, &ignored, 15).unwrap();
    let fewer = Logits::new(&values[..6], 2).unwrap();
    let expected = full_evaluation(&fewer, &Labels::new(&[0, 1, 1], 2).unwrap(), 15).unwrap();
    assert_eq!(found, expected);
    let none = Observations::with_ignored(&[9; 4], 2, 9).unwrap();
    assert!(full_evaluation(&logits, &none, 15).is_err());
}

#[test]
fn kinds_and_element_types_of_predictions_agree() {
    let logits: Vec<half::f16> =
        [2.0, 0.0, -1.0, 0.5, 3.0, 1.0].into_iter().map(half::f16::from_f64).collect();
    let labels = Labels::new(&[0, 2], 3).unwrap();
    let half = full_evaluation(&Logits::new(&logits, 3).unwrap(), &labels, 15).unwrap();
    let wide: Vec<f64> = logits.iter().map(|&z| z.into()).collect();
    let double = full_evaluation(&Logits::new(&wide, 3).unwrap(), &labels, 15).unwrap();
    assert_eq!(half, double);
    let bits: Vec<half::bf16> = wide.iter().map(|&z| half::bf16::from_f64(z)).collect();
    assert_eq!(full_evaluation(&Logits::new(&bits, 3).unwrap(), &labels, 15).unwrap(), double);

    let mut logarithms = wide.clone();
    for row in logarithms.chunks_mut(3) {
        let total: f64 = row.iter().map(|z| z.exp()).sum();
        for z in row {
            *z -= total.ln();
        }
    }
    let probabilities: Vec<f64> = logarithms.iter().map(|l| l.exp()).collect();
    let logarithms = LogProbabilities::new(&logarithms, 3).unwrap();
    let probabilities = Probabilities::new(&probabilities, 3).unwrap();
    for found in [
        full_evaluation(&logarithms, &labels, 15).unwrap(),
        full_evaluation(&probabilities, &labels, 15).unwrap(),
    ] {
        for ((_, a), (_, b)) in found.metrics().into_iter().zip(double.metrics()) {
            close(a.unwrap(), b.unwrap());
        }
    }
}

#[test]
fn what_is_undefined_says_why() {
    let probabilities = Probabilities::new(&[0.75f64, 0.25, 1.0, 0.0], 2).unwrap();
    let scores = |labels: &[u8]| {
        full_evaluation(&probabilities, &Labels::new(labels, 2).unwrap(), 15).unwrap()
    };
    let right = scores(&[0, 0]);
    assert_eq!(right.auroc_confidence, Err(Undefined::AllRight));
    assert_eq!(right.aupr_success, Ok(1.0));
    let wrong = scores(&[1, 1]);
    assert_eq!(wrong.fpr_at_95_tpr, Err(Undefined::AllWrong));
    assert_eq!((wrong.nll, wrong.zero_probability_labels), (Ok(f64::INFINITY), 1));
    let json = serde_json::to_string(&wrong).unwrap();
    assert_eq!(serde_json::from_str::<FullScores>(&json).unwrap(), wrong);
    assert_eq!(scores(&[1, 0]).mean_logit_gap, Ok(f64::INFINITY));

    let forecasts =
        Forecasts::top_label(&probabilities, &Labels::new(&[0, 1], 2).unwrap()).unwrap();
    let top = evaluate_forecasts(&forecasts, 15).unwrap();
    let full = scores(&[0, 1]);
    for ((name, a), (_, b)) in top.metrics().into_iter().zip(full.metrics()) {
        match a {
            Ok(a) => close(a, b.unwrap()),
            Err(reason) => assert_eq!(reason, Undefined::TopClassOnly, "{name}"),
        }
    }
    assert!(evaluate_forecasts(&Forecasts::default(), 15).is_err());
}

#[test]
fn classes_and_bins_must_fit() {
    let mut evaluation = FullEvaluation::new(3, 15).unwrap();
    let two = Logits::new(&[0.0f32, 1.0], 2).unwrap();
    assert!(evaluation.update(&two, &Labels::new(&[0], 2).unwrap()).is_err());
    assert!(evaluation.merge(&FullEvaluation::new(3, 14).unwrap()).is_err());
    assert!(FullEvaluation::new(0, 15).is_err() && FullEvaluation::new(3, 0).is_err());
    assert_eq!(evaluation.samples(), 0);
    assert!(evaluation.compute().is_none());
    let _ = evaluation.rows().top_label();
    let fixed = softlabel_metrics::Evaluation::new(7).unwrap();
    assert_eq!((fixed.bins(), fixed.samples()), (7, 0));
}
