//! Several signals of confidence as one: the optimum, missing values, and data that say little.

use proptest::prelude::*;
use softlabel_core::{Labels, Probabilities};
use softlabel_posthoc::{
    Error, FitOutcome, Missing, Signal, SignalCombination, SignalOptions, Targets, Transform,
};

fn fit(
    signals: &[Signal],
    rows: &[f64],
    right: &[usize],
    options: SignalOptions,
) -> Result<SignalCombination, Error> {
    SignalCombination::fit(signals, rows, &Labels::new(right, 2).unwrap(), options)
}

fn two() -> [Signal; 2] {
    [Signal::new("retriever"), Signal::log_odds("verifier")]
}

/// Sixteen rows with their outcomes.
fn rows() -> (Vec<f64>, Vec<usize>) {
    let row = |i: usize| [((7 * i) % 16) as f64 / 4.0, (1 + (5 * i) % 16) as f64 / 17.0];
    let right = (0..16).map(|i| usize::from((i * i + 3 * i) / 4 % 3 != 0)).collect();
    ((0..16).flat_map(row).collect(), right)
}

/// At the optimum the gradient, written out by hand, vanishes.
#[test]
fn the_gradient_vanishes_at_the_optimum() {
    let (rows, right) = rows();
    let options = SignalOptions { ridge: 0.7, ..SignalOptions::default() };
    let combined = fit(&two(), &rows, &right, options).unwrap();
    let column = |index: usize| -> Vec<f64> {
        let values = rows.iter().skip(index).step_by(2).copied();
        if index == 0 { values.collect() } else { values.map(|p| (p / (1.0 - p)).ln()).collect() }
    };
    let p = combined.apply(&rows).unwrap();
    let off: Vec<f64> = p.iter().zip(&right).map(|(p, &t)| p - t as f64).collect();
    assert!(off.iter().sum::<f64>().abs() < 1e-7);
    for (index, (_, signal)) in combined.signals().iter().enumerate() {
        let x = column(index);
        let mean = x.iter().sum::<f64>() / 16.0;
        let deviation = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 16.0).sqrt();
        assert!((signal.mean - mean).abs() < 1e-12 && (signal.deviation - deviation).abs() < 1e-12);
        let gradient: f64 =
            x.iter().zip(&off).map(|(x, off)| off * (x - mean) / deviation).sum::<f64>();
        assert!((gradient + 0.7 * signal.factor).abs() < 1e-7, "{gradient}");
    }
    let fit = combined.diagnostics().unwrap();
    let nll = p.iter().zip(&right).map(|(p, &t)| -if t == 1 { p.ln() } else { (-p).ln_1p() });
    assert!((fit.nll_after - nll.sum::<f64>() / 16.0).abs() < 1e-12);
    assert!(fit.nll_after < fit.nll_before && fit.outcome == FitOutcome::Converged);
    let squares: f64 = combined.signals().iter().map(|(_, signal)| signal.factor.powi(2)).sum();
    let objective = fit.objective.unwrap();
    assert!((objective.after - fit.nll_after - 0.5 * 0.7 * squares / 16.0).abs() < 1e-12);
    assert_eq!(objective.before, fit.nll_before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Units of a signal and repeated rows, or their weights, change nothing.
    #[test]
    fn units_and_weights(
        scale in 1e-6..1e6f64,
        shift in -100.0..100.0f64,
        weights in prop::collection::vec(0..4usize, 16),
    ) {
        let (rows, mut right) = rows();
        let mut weights = weights;
        (right[0], right[1], weights[0], weights[1]) = (0, 1, 1, 1);
        let other: Vec<f64> = rows
            .iter()
            .enumerate()
            .map(|(index, x)| if index % 2 == 0 { scale * (x + shift) } else { *x })
            .collect();
        let options = SignalOptions::default();
        let plain = fit(&two(), &rows, &right, options).unwrap().apply(&rows).unwrap();
        let scaled = fit(&two(), &other, &right, options).unwrap().apply(&other).unwrap();
        for (x, y) in plain.iter().zip(&scaled) {
            prop_assert!((x - y).abs() < 1e-7, "{x}, {y}");
        }
        let each = || weights.iter().enumerate().flat_map(|(row, &w)| vec![row; w]);
        let repeated: Vec<f64> = each().flat_map(|row| rows[2 * row..][..2].to_vec()).collect();
        let repeated_right: Vec<usize> = each().map(|row| right[row]).collect();
        let expected = fit(&two(), &repeated, &repeated_right, options).unwrap();
        let labels = Labels::new(&right, 2).unwrap();
        let weights: Vec<f64> = weights.iter().map(|&w| w as f64).collect();
        let weighted = Targets::from(&labels).weighted(&weights[..]).unwrap();
        let found = SignalCombination::fit(&two(), &rows, weighted, options).unwrap();
        for (x, y) in found.apply(&rows).unwrap().iter().zip(expected.apply(&rows).unwrap()) {
            prop_assert!((x - y).abs() < 1e-7, "{x}, {y}");
        }
    }
}

#[test]
fn missing_values_follow_the_policy() {
    let signals = [Signal::new("score")];
    // Where it is missing the answer is wrong.
    let rows = [0.0, 1.0, 2.0, 3.0, f64::NAN, f64::NAN, f64::NAN, f64::NAN];
    let right = [0, 1, 0, 1, 0, 0, 0, 0];
    let with = |missing| {
        fit(&signals, &rows, &right, SignalOptions { missing, ..SignalOptions::default() })
    };
    let error = with(Missing::Refuse).unwrap_err();
    assert!(matches!(error, Error::BadSignal { row: 4, .. }), "{error}");
    let mean = with(Missing::Mean).unwrap();
    assert_eq!(mean.signals()[0].1.mean, 1.5);
    let at = |map: &SignalCombination, x: f64| map.apply(&[x]).unwrap()[0];
    assert_eq!(at(&mean, f64::NAN), at(&mean, 1.5));
    assert_eq!(mean.signals()[0].1.if_missing, 0.0);
    let indicated = with(Missing::Indicate).unwrap();
    assert!(indicated.signals()[0].1.if_missing < -0.5);
    assert!(at(&indicated, f64::NAN) < at(&mean, f64::NAN) - 0.05);
    let contributions = indicated.contributions(&[f64::NAN]).unwrap();
    assert_eq!(contributions, [indicated.signals()[0].1.if_missing]);
    assert!(mean.diagnostics().unwrap().nll_after > indicated.diagnostics().unwrap().nll_after);
}

#[test]
fn data_that_say_little() {
    let one = [Signal::new("score")];
    let options = SignalOptions::default();
    let all_right = fit(&one, &[1.0, 2.0, 3.0], &[1, 1, 1], options).unwrap();
    assert!((all_right.apply(&[9.0]).unwrap()[0] - 0.8).abs() < 1e-15);
    assert_eq!(all_right.diagnostics().unwrap().outcome, FitOutcome::OneSided);
    let flat = fit(&one, &[2.0; 4], &[1, 1, 1, 0], options).unwrap();
    assert!((flat.apply(&[9.0]).unwrap()[0] - 0.75).abs() < 1e-15);
    assert_eq!(flat.diagnostics().unwrap().outcome, FitOutcome::Flat);
    // The ridge keeps what separates finite.
    let separable = fit(&one, &[0.0, 1.0, 2.0, 3.0], &[0, 0, 1, 1], options).unwrap();
    assert!((0.5..5.0).contains(&separable.signals()[0].1.factor), "{separable:?}");
    // Probabilities of 0 and 1 are brought in.
    let verifier = [Signal::log_odds("verifier")];
    let certain = fit(&verifier, &[0.0, 1.0, 0.0, 1.0], &[0, 1, 1, 1], options).unwrap();
    assert!(certain.apply(&[0.5]).unwrap()[0].is_finite());
    // Soft outcomes.
    let judged = Probabilities::new(&[0.75, 0.25, 0.25, 0.75], 2).unwrap();
    let soft = SignalCombination::fit(&one, &[0.0, 1.0], &judged, options).unwrap();
    assert!((soft.apply(&[0.5]).unwrap()[0] - 0.5).abs() < 1e-9);
}

#[test]
fn bad_input_is_refused() {
    let (rows, right) = rows();
    let options = SignalOptions::default();
    assert!(fit(&[], &[], &[], options).is_err());
    assert!(fit(&two(), &rows[..31], &right, options).is_err());
    assert!(fit(&two(), &rows, &right[..15], options).is_err());
    for ridge in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(fit(&two(), &rows, &right, SignalOptions { ridge, ..options }).is_err(), "{ridge}");
    }
    let three = Labels::new(&[0; 16], 3).unwrap();
    assert!(SignalCombination::fit(&two(), &rows, &three, options).is_err());
    let mut outside = rows.clone();
    outside[3] = 1.5;
    let error = fit(&two(), &outside, &right, options).unwrap_err().to_string();
    assert_eq!(error, "signal \"verifier\": expected a probability, found 1.5 in row 1");
    outside[2] = f64::INFINITY;
    assert!(fit(&two(), &outside, &right, options).is_err());
    let combined = fit(&two(), &rows, &right, options).unwrap();
    assert!(combined.apply(&rows[..3]).is_err() && combined.contributions(&rows).is_err());
    assert!(combined.apply(&[0.0, -0.1]).is_err());
}

#[test]
fn documents_are_read_back() {
    let (rows, right) = rows();
    let combined = fit(&two(), &rows, &right, SignalOptions::default()).unwrap();
    let json = combined.to_json().unwrap();
    assert!(json.contains(r#""schema": "softlabel.signals/1""#));
    let read = SignalCombination::from_json(&json).unwrap();
    assert_eq!(read, combined);
    assert_eq!(read.signals()[1].0.transform, Transform::LogOdds);
    for (from, to) in [
        ("softlabel.signals/1", "softlabel.signals/2"),
        ("\"ridge\": 1.0", "\"ridge\": -1.0"),
        ("\"intercept\"", "\"offset\""),
    ] {
        assert!(json.contains(from));
        assert!(SignalCombination::from_json(&json.replace(from, to)).is_err(), "{to}");
    }
}
