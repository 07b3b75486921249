//! The state of accumulators: what it refuses, what it survives, how it is written down.

use softlabel_core::{Error, Labels, Logits, Probabilities};
use softlabel_metrics::{
    Accumulator, Accuracy, AdaptiveCalibration, BrierScore, CalibrationBins, CalibrationError,
    CalibrationNorm, ClasswiseCalibration, EqualMassCalibration, Evaluation,
    KolmogorovSmirnovError, LogitGap, MeanConfidence, MeanEntropy, MurphyDecomposition,
    NegativeLogLikelihood, Predictions, ReliabilityDiagram, Scores, SelectiveClassification,
    SelectiveScores, evaluate, murphy_decomposition,
};

fn logits() -> Logits<'static, f64> {
    Logits::new(vec![2.0, 0.0, 1.0, 0.5, 0.25, -1.0, 0.0, 3.0, 0.0], 3).unwrap()
}

fn labels() -> Labels {
    Labels::new(&[0, 1, 1], 3).unwrap()
}

#[test]
fn state_and_results_cross_threads() {
    fn assert_send_and_sync<T: Send + Sync>() {}
    assert_send_and_sync::<Evaluation>();
    assert_send_and_sync::<Accuracy>();
    assert_send_and_sync::<NegativeLogLikelihood>();
    assert_send_and_sync::<BrierScore>();
    assert_send_and_sync::<MeanConfidence>();
    assert_send_and_sync::<MeanEntropy>();
    assert_send_and_sync::<LogitGap>();
    assert_send_and_sync::<CalibrationBins>();
    assert_send_and_sync::<CalibrationError>();
    assert_send_and_sync::<MurphyDecomposition>();
    assert_send_and_sync::<SelectiveClassification>();
    assert_send_and_sync::<EqualMassCalibration>();
    assert_send_and_sync::<KolmogorovSmirnovError>();
    assert_send_and_sync::<ClasswiseCalibration>();
    assert_send_and_sync::<AdaptiveCalibration>();
    assert_send_and_sync::<SelectiveScores>();
    assert_send_and_sync::<Scores>();
    assert_send_and_sync::<ReliabilityDiagram>();
}

/// A constant stream of confidence 0.9, of which every second is right, has the error 0.4 however
/// long it is. Sums in f32 give 0.47 at 2²³ rows and 0 at 2²⁵.
#[test]
fn nothing_drifts_over_a_billion_rows() {
    let probabilities = Probabilities::new(vec![0.9, 0.1, 0.9, 0.1], 2).unwrap();
    let mut evaluation = Evaluation::default();
    evaluation.update(&probabilities, &Labels::new(&[0, 1], 2).unwrap()).unwrap();
    for _ in 1..30 {
        let half = evaluation.clone();
        evaluation.merge(&half).unwrap();
    }
    let scores = evaluation.compute().unwrap();
    assert_eq!(scores.samples, 1 << 30);
    assert_eq!(scores.accuracy, 0.5);
    for error in [scores.ece, scores.rmsce, scores.mce, scores.overconfidence()] {
        assert!((error - 0.4).abs() < 1e-15, "{error}");
    }
    assert!((scores.nll + 0.5 * (0.9f64.ln() + 0.1f64.ln())).abs() < 1e-15);
    assert!((scores.brier - (0.01 + 0.81)).abs() < 1e-15);
    let murphy = scores.murphy;
    for (found, expected) in [
        (murphy.brier, 0.41),
        (murphy.sum(), 0.41),
        (murphy.reliability, 0.16),
        (murphy.resolution, 0.0),
        (murphy.uncertainty, 0.25),
        (murphy.within_bin_variance, 0.0),
        (murphy.within_bin_covariance, 0.0),
        (scores.bin_average_error, 0.4),
        (scores.debiased.squared, 0.16 - 0.25 / f64::from((1 << 30) - 1)),
    ] {
        assert!((found - expected).abs() < 1e-15, "{found}, not {expected}");
    }
}

#[test]
fn nothing_drifts_row_by_row() {
    let rows = 1 << 16;
    let probabilities = Probabilities::new([0.9, 0.1].repeat(rows), 2).unwrap();
    let labels: Vec<u8> = (0..rows).map(|row| u8::from(row % 2 == 1)).collect();
    let labels = Labels::new(&labels, 2).unwrap();
    let mut evaluation = Evaluation::default();
    for _ in 0..1 << 4 {
        evaluation.update(&probabilities, &labels).unwrap();
    }
    let scores = evaluation.compute().unwrap();
    assert!((scores.ece - 0.4).abs() < 1e-15, "{}", scores.ece);
}

#[test]
fn nothing_is_defined_on_no_rows() {
    assert_eq!(Evaluation::default().compute(), None);
    assert_eq!(LogitGap::default().compute(), None);
    assert_eq!(CalibrationBins::default().compute(), None);
    assert_eq!(CalibrationError::default().compute(), None);
    let none = Logits::<f32>::new(&[][..], 3).unwrap();
    let no_labels = Labels::new::<u8>(&[], 3).unwrap();
    let mut evaluation = Evaluation::default();
    evaluation.update(&none, &no_labels).unwrap();
    assert_eq!(evaluation.compute(), None);
    assert!(matches!(evaluate(&none, &no_labels, 15), Err(Error::Empty { .. })));
    let gap = softlabel_metrics::logit_gap(&none, &no_labels);
    assert!(matches!(gap, Err(Error::Empty { .. })));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut evaluation = Evaluation::default();
    evaluation.update(&logits(), &labels()).unwrap();
    let before = evaluation.clone();
    for wrong in [Labels::new(&[0, 1], 3).unwrap(), Labels::new(&[0, 1, 1], 2).unwrap()] {
        assert!(matches!(evaluation.update(&logits(), &wrong), Err(Error::Mismatch { .. })));
    }
    let error = evaluation.merge(&Evaluation::new(10).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "accumulator to merge: expected 15 bins, found 10 bins");
    assert_eq!(evaluation, before);

    let with_norm = |norm| CalibrationError::new(15, norm).unwrap();
    let mut expected = with_norm(CalibrationNorm::Expected);
    let error = expected.merge(&with_norm(CalibrationNorm::RootMeanSquare)).unwrap_err();
    assert_eq!(error.to_string(), "accumulator to merge: expected Expected, found RootMeanSquare");
}

#[test]
fn bins_are_counted_within_limits() {
    for bins in [0, 1_000_001, usize::MAX] {
        let error = evaluate(&logits(), &labels(), bins).unwrap_err();
        assert!(matches!(error, Error::OutOfRange { found, .. } if found == bins as f64));
    }
    assert!(evaluate(&logits(), &labels(), 1).is_ok());
}

#[test]
fn reset_keeps_the_configuration_and_nothing_else() {
    let mut evaluation = Evaluation::new(7).unwrap();
    evaluation.update(&logits(), &labels()).unwrap();
    evaluation.reset();
    assert_eq!(evaluation, Evaluation::new(7).unwrap());
    let mut error = CalibrationError::new(7, CalibrationNorm::RootMeanSquare).unwrap();
    error.update(&logits(), &labels()).unwrap();
    error.reset();
    assert_eq!(error, CalibrationError::new(7, CalibrationNorm::RootMeanSquare).unwrap());
}

#[test]
fn state_is_written_down_and_goes_on() {
    let mut evaluation = Evaluation::default();
    evaluation.update(&logits(), &labels()).unwrap();
    // With a label of probability 0, whose likelihood is no number of JSON's.
    let sure = Probabilities::new(vec![0.0, 1.0, 0.0], 3).unwrap();
    evaluation.update(&sure, &Labels::new(&[0], 3).unwrap()).unwrap();
    let json = serde_json::to_string(&evaluation).unwrap();
    let mut read: Evaluation = serde_json::from_str(&json).unwrap();
    assert_eq!(read, evaluation);
    for evaluation in [&mut read, &mut evaluation] {
        evaluation.update(&logits(), &labels()).unwrap();
    }
    assert_eq!(read.compute(), evaluation.compute());
    assert_eq!(read.compute().unwrap().nll, f64::INFINITY);
}

#[test]
fn the_kind_of_prediction_may_be_known_at_run_time_only() {
    let (logits, labels) = (logits(), labels());
    let predictions: &dyn Predictions = &logits;
    assert_eq!(evaluate(predictions, &labels, 15), evaluate(&logits, &labels, 15));
}

#[test]
fn results_are_written_down() {
    let scores = evaluate(&logits(), &labels(), 15).unwrap();
    let json = serde_json::to_string(&scores).unwrap();
    assert_eq!(serde_json::from_str::<Scores>(&json).unwrap(), scores);
}

#[test]
fn impossible_bins_are_not_read() {
    assert!(serde_json::from_str::<CalibrationBins>("[]").is_err());
    let one = r#"{"ones":1,"rest":{"sum":0.0,"compensation":0.0}}"#;
    let confidence = r#"{"sum":0.5,"compensation":0.0}"#;
    let bin = format!(
        r#"{{"count":1,"mass":{one},"squares":{one},"correct":{one},"confidence":{confidence}}}"#
    );
    let bins: CalibrationBins = serde_json::from_str(&format!("[{bin},{bin}]")).unwrap();
    assert_eq!((bins.count(), bins.samples()), (2, 2));
}

/// Over all outcomes of four rows of confidence 3/4 that are right with this probability, the
/// square is 0 on average and the plain one is not.
#[test]
fn the_debiased_square_of_a_calibrated_classifier_is_zero_on_average() {
    let rows = Probabilities::new([0.75, 0.25].repeat(4), 2).unwrap();
    let (mut debiased, mut plain, mut negative) = (0.0, 0.0, 0);
    for outcome in 0..16_u8 {
        let labels: Vec<u8> = (0..4).map(|row| outcome >> row & 1).collect();
        let wrong = i32::try_from(outcome.count_ones()).unwrap();
        let chance = 0.25f64.powi(wrong) * 0.75f64.powi(4 - wrong);
        let scores = evaluate(&rows, &Labels::new(&labels, 2).unwrap(), 15).unwrap();
        debiased += chance * scores.debiased.squared;
        plain += chance * scores.rmsce.powi(2);
        negative += u32::from(scores.debiased.squared < 0.0);
        assert_eq!(scores.debiased.root, scores.debiased.squared.max(0.0).sqrt());
    }
    assert!(debiased.abs() < 1e-16, "{debiased}");
    assert!((plain - 0.75 * 0.25 / 4.0).abs() < 1e-16, "{plain}");
    assert!(negative > 0);
}

/// Murphy's three terms are the score where a bin holds a single confidence, and only there.
#[test]
fn terms_within_bins_close_the_decomposition() {
    let rows = Probabilities::new(vec![0.55, 0.45, 0.9, 0.1, 0.7, 0.3, 0.8, 0.2], 2).unwrap();
    let labels = Labels::new(&[1, 0, 0, 1], 2).unwrap();
    for (bins, alone) in [(1, false), (15, true)] {
        let terms = murphy_decomposition(&rows, &labels, bins).unwrap();
        let three = terms.reliability - terms.resolution + terms.uncertainty;
        assert_eq!((three - terms.brier).abs() < 1e-15, alone, "{bins}");
        assert!((terms.sum() - terms.brier).abs() < 1e-15, "{bins}");
    }
    let json = r#"{"score":{"samples":0,"sum":{"sum":0.0,"compensation":0.0}},"cells":[]}"#;
    assert!(serde_json::from_str::<MurphyDecomposition>(json).is_err());
    let error =
        MurphyDecomposition::default().merge(&MurphyDecomposition::new(10).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "accumulator to merge: expected 15 bins, found 10 bins");
}

#[test]
fn bins_count_alike_in_their_average_whatever_they_hold() {
    // Three rows of confidence 0.75, all right, and a wrong one of confidence 1.
    let rows = Probabilities::new(vec![0.75, 0.25, 0.75, 0.25, 0.75, 0.25, 1.0, 0.0], 2).unwrap();
    let labels = Labels::new(&[0, 0, 0, 1], 2).unwrap();
    let mut error = CalibrationError::new(15, CalibrationNorm::BinAverage).unwrap();
    error.update(&rows, &labels).unwrap();
    assert_eq!(error.compute(), Some(0.625));
    let scores = evaluate(&rows, &labels, 15).unwrap();
    assert_eq!((scores.ece, scores.bin_average_error), (1.75 / 4.0, 0.625));
}

#[test]
fn a_bin_with_few_rows_can_be_left_out_of_the_maximum() {
    // Three rows of confidence 0.75, two of them right, and a wrong one of confidence 0.95.
    let rows = Probabilities::new(vec![0.75, 0.25, 0.25, 0.75, 0.25, 0.75], 2).unwrap();
    let labels = Labels::new(&[1, 1, 1], 2).unwrap();
    let other = Probabilities::new(vec![0.95, 0.05], 2).unwrap();
    for (minimum_count, expected) in [(0, 0.95), (1, 0.95), (2, 0.25 / 3.0), (4, f64::NAN)] {
        let norm = CalibrationNorm::Maximum { minimum_count };
        let mut error = CalibrationError::new(15, norm).unwrap();
        error.update(&rows, &labels).unwrap();
        error.update(&other, &Labels::new(&[1], 2).unwrap()).unwrap();
        match error.compute() {
            None => assert!(expected.is_nan(), "{minimum_count}"),
            Some(found) => assert!((found - expected).abs() < 1e-15, "{minimum_count}: {found}"),
        }
    }
}

#[test]
fn infinite_gaps() {
    let masked = f64::NEG_INFINITY;
    let rows = Logits::new(vec![0.0, masked, 0.0, 1.0], 2).unwrap();
    for (labels, expected) in [
        ([0, 1], Some(f64::INFINITY)),     // only the label can be
        ([1, 1], Some(f64::NEG_INFINITY)), // the label cannot be
    ] {
        let labels = Labels::new(&labels, 2).unwrap();
        assert_eq!(softlabel_metrics::logit_gap(&rows, &labels).unwrap(), expected);
    }
    let both = Logits::new(vec![0.0, masked, 0.0, masked], 2).unwrap();
    let labels = Labels::new(&[0, 1], 2).unwrap();
    let scores = evaluate(&both, &labels, 15).unwrap();
    assert_eq!(scores.mean_logit_gap, None);
    assert_eq!((scores.nll, scores.zero_probability_labels), (f64::INFINITY, 1));
    assert_eq!(scores.accuracy, 0.5);
    assert_eq!(scores.brier, 1.0);
    let json = serde_json::to_string(&scores).unwrap();
    assert_eq!(serde_json::from_str::<Scores>(&json).unwrap(), scores);
}

#[test]
fn infinities_merge() {
    let rows = Logits::new(vec![0.0, f64::NEG_INFINITY], 2).unwrap();
    let [only, impossible] = [0, 1].map(|label| {
        let mut evaluation = Evaluation::default();
        evaluation.update(&rows, &Labels::new(&[label], 2).unwrap()).unwrap();
        evaluation
    });
    for (part, gap, nll) in
        [(&only, Some(f64::INFINITY), 0.0), (&impossible, Some(f64::NEG_INFINITY), f64::INFINITY)]
    {
        let mut merged = Evaluation::default();
        merged.merge(part).unwrap();
        let scores = merged.compute().unwrap();
        assert_eq!((scores.mean_logit_gap, scores.nll), (gap, nll));
    }
    let mut both = only;
    both.merge(&impossible).unwrap();
    let scores = both.compute().unwrap();
    assert_eq!((scores.samples, scores.mean_logit_gap), (2, None));
    assert_eq!((scores.nll, scores.zero_probability_labels), (f64::INFINITY, 1));
}

#[test]
fn one_class_is_always_right() {
    let scores =
        evaluate(&Logits::new(vec![-3.0, 7.0], 1).unwrap(), &Labels::new(&[0, 0], 1).unwrap(), 15)
            .unwrap();
    assert_eq!((scores.accuracy, scores.nll, scores.brier, scores.mce), (1.0, 0.0, 0.0, 0.0));
    assert_eq!(scores.mean_logit_gap, Some(f64::INFINITY));
}
