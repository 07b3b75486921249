//! Compositions of maps, and the choice among methods.

use softlabel_core::{Labels, Logits, Temperature};
use softlabel_posthoc::{
    AnyCalibrator, Calibrator, Composition, Error, FitOutcome, IsotonicCalibration,
    IsotonicOptions, Method, Selection, SelectionScore, Targets, TemperatureScaling,
};

use crate::noisy;

fn method(name: &str) -> Method {
    name.parse().unwrap()
}

fn rows() -> (Logits<'static, f64>, Labels) {
    let (logits, labels) = noisy(600);
    (Logits::new(logits, 3).unwrap(), Labels::new(&labels, 3).unwrap())
}

#[test]
fn each_stage_is_fitted_to_what_the_one_before_says() {
    let (logits, labels) = rows();
    let map = method("temperature+isotonic").fit(&logits, &labels).unwrap();
    let first = TemperatureScaling::fit(&logits, &labels).unwrap();
    let between = first.apply(&logits).unwrap();
    let between = Logits::new(between.as_slice().to_vec(), 3).unwrap();
    let second = IsotonicCalibration::fit(&between, &labels, IsotonicOptions::default()).unwrap();
    let AnyCalibrator::Composition(composition) = &map else { panic!("{map:?}") };
    assert_eq!(composition.stages(), [first.clone().into(), second.clone().into()]);
    assert_eq!(map.apply(&logits).unwrap(), second.apply(&between).unwrap());
    let (fit, one, two) =
        (map.diagnostics().unwrap(), first.diagnostics().unwrap(), second.diagnostics().unwrap());
    assert!((fit.nll_before - one.nll_before).abs() < 1e-12);
    assert!((fit.nll_after - two.nll_after).abs() < 1e-12);
    assert_eq!((fit.samples, fit.iterations), (600, one.iterations));
}

#[test]
fn documents_and_names_go_both_ways() {
    let (logits, labels) = rows();
    for name in ["temperature+isotonic", "platt+temperature+beta", "identity"] {
        let method = method(name);
        assert_eq!(method.name(), name);
        let map = method.fit(&logits, &labels).unwrap();
        assert_eq!(map.method(), name);
        let json = map.to_json().unwrap();
        assert!(json.contains(&format!(r#""method": "{name}""#)), "{json}");
        assert_eq!(AnyCalibrator::from_json(&json).unwrap(), map);
        let table = serde_json::to_string(&method).unwrap();
        assert_eq!(serde_json::from_str::<Method>(&table).unwrap(), method, "{table}");
        assert_eq!(serde_json::from_str::<Method>(&format!("{name:?}")).unwrap(), method);
    }
    let table = r#"{"method": "temperature+beta", "stages": [{"method": "temperature"},
        {"method": "beta", "form": "ab"}]}"#;
    let read: Method = serde_json::from_str(table).unwrap();
    assert_ne!(read, method("temperature+beta"));
    assert_eq!(read.name(), "temperature+beta");
    for (table, expected) in [
        (r#"{"method": "temperature+beta", "stages": ["beta"]}"#, "are those of \"beta\""),
        (r#"{"method": "temperature+beta", "form": "ab"}"#, "has no \"form\""),
        (r#""temperature+betta""#, "unknown method \"betta\""),
        (r#""temperature+""#, "unknown method \"\""),
        (r#""temperature+identity""#, "unknown method \"identity\""),
    ] {
        let error = serde_json::from_str::<Method>(table).unwrap_err().to_string();
        assert!(error.contains(expected), "{table}: {error}");
    }
}

#[test]
fn stages_are_named_where_they_fail() {
    let (logits, _) = rows();
    let halving = TemperatureScaling::from_temperature(Temperature::new(2.0).unwrap(), 2).unwrap();
    let error = Composition::from_stages(3, vec![halving.clone().into()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "stage 1 (temperature): the map was fitted on 3 classes, found predictions of 2"
    );
    let map = Composition::from_stages(2, vec![halving.clone().into(), halving.into()]).unwrap();
    assert!(matches!(map.apply(&logits), Err(Error::Stage { stage: 1, .. })));
    assert!(Composition::from_stages(0, Vec::new()).is_err());

    // A class that an isotonic map says cannot be, which a matrix cannot multiply.
    let certain =
        Logits::new([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]].repeat(9).concat(), 3);
    let labels = Labels::new(&[0, 1, 2].repeat(9), 3).unwrap();
    let keeping = r#"{"method": "isotonic+matrix", "stages":
        [{"method": "isotonic", "zeros": "keep"}, {"method": "matrix"}]}"#;
    let keeping: Method = serde_json::from_str(keeping).unwrap();
    let error = keeping.fit(&certain.unwrap(), &labels).unwrap_err();
    assert!(error.to_string().starts_with("stage 2 (matrix): row 0"), "{error}");
    assert!(matches!(error, Error::Stage { stage: 2, source, .. }
        if matches!(*source, Error::ImpossibleClass { .. })));
}

#[test]
fn inner_compositions_count_as_their_stages() {
    let (logits, labels) = rows();
    let inner = method("temperature+platt").fit(&logits, &labels).unwrap();
    let last = method("temperature").fit(&logits, &labels).unwrap();
    let map = Composition::from_stages(3, vec![inner, last]).unwrap();
    assert_eq!(map.stages().len(), 3);
    assert_eq!(AnyCalibrator::from(map).method(), "temperature+platt+temperature");
}

#[test]
fn the_best_on_rows_not_seen_is_chosen() {
    let (logits, labels) = rows();
    let overconfident: Vec<f64> = logits.as_slice().iter().map(|z| 40.0 * z).collect();
    let logits = Logits::new(overconfident, 3).unwrap();
    let methods: Vec<Method> = ["identity", "temperature", "matrix", "platt"].map(method).to_vec();
    for score in [SelectionScore::NegativeLogLikelihood, SelectionScore::Brier] {
        let selection = Selection { score, seed: 3, ..Selection::default() };
        let selected = selection.choose(&methods, &logits, &labels).unwrap();
        assert_eq!(selected, selection.choose(&methods, &logits, &labels).unwrap());
        let scores: Vec<f64> = selected.candidates.iter().map(|of| of.score.unwrap()).collect();
        let best = (0..4).min_by(|&i, &j| scores[i].total_cmp(&scores[j])).unwrap();
        assert_eq!(selected.method, methods[best]);
        assert!(scores[1] < scores[0], "{scores:?}");
    }
    // By hand, over the whole of the rows as the only test fold of each row: the mean of a score
    // that no fit changes is that of all rows.
    let identity = Selection::default().choose(&methods[..1], &logits, &labels).unwrap();
    let all = method("identity").fit(&logits, &labels).unwrap();
    let nll = all.diagnostics().unwrap().nll_after;
    assert!((identity.candidates[0].score.unwrap() - nll).abs() < 1e-12);
    assert_eq!(all.diagnostics().unwrap().outcome, FitOutcome::Converged);
}

#[test]
fn a_method_that_fails_is_reported() {
    let (logits, labels) = rows();
    let weights = vec![1.5; 600];
    let weighted = Targets::from(&labels).weighted(&weights[..]).unwrap();
    let methods = ["venn_abers", "temperature"].map(method);
    let selection = Selection::default();
    let selected = selection.choose(&methods, &logits, &weighted).unwrap();
    assert_eq!(selected.method, methods[1]);
    let reason = selected.candidates[0].reason.as_deref().unwrap();
    assert!(reason.starts_with("venn_abers cannot be fitted with weights: "), "{reason}");
    // Weights that are all alike change nothing.
    let plain = selection.choose(&methods[1..], &logits, &labels).unwrap();
    let score = |of: Option<f64>| of.unwrap();
    let off = score(plain.candidates[0].score) - score(selected.candidates[1].score);
    assert!(off.abs() < 1e-12);

    let error = selection.choose(&methods[..1], &logits, &weighted).unwrap_err();
    assert!(matches!(&error, Error::NoCandidate { reasons } if reasons.len() == 1), "{error}");
    assert!(selection.choose(&[], &logits, &labels).is_err());
    for folds in [0, 1, 601] {
        let selection = Selection { folds, ..selection };
        assert!(selection.choose(&methods[1..], &logits, &labels).is_err(), "{folds}");
    }
}

/// Of many rows a sample is dealt, the same for a seed, and no more than there are.
#[test]
fn many_rows_are_compared_on_a_sample() {
    let (logits, labels) = rows();
    let methods = ["identity", "temperature"].map(method);
    let choose = |most_rows, seed| {
        let selection = Selection { most_rows, seed, ..Selection::default() };
        selection.choose(&methods, &logits, &labels).unwrap()
    };
    let (all, sample) = (choose(None, 0), choose(Some(200), 0));
    assert_eq!((all.samples, sample.samples), (600, 200));
    assert_eq!(sample.method, all.method);
    assert_eq!(sample, choose(Some(200), 0));
    assert_ne!(sample.candidates, choose(Some(200), 1).candidates);
    assert_eq!(choose(Some(600), 0), all);
    assert_eq!(choose(Some(1000), 0), all);
    let few = Selection { most_rows: Some(4), ..Selection::default() };
    assert!(few.choose(&methods, &logits, &labels).is_err());
}

#[test]
fn folds_have_their_share_of_every_class() {
    // 5 rows of a rare class and 5 folds: each fit sees 4 of them, so none is one-sided.
    let logits = Logits::new([[1.0, 0.0], [0.5, 0.25]].repeat(50).concat(), 2).unwrap();
    let mut labels = vec![0; 100];
    labels[95..].fill(1);
    let labels = Labels::new(&labels, 2).unwrap();
    for seed in 0..20 {
        let selection = Selection { seed, ..Selection::default() };
        let keeping = r#"{"method": "histogram_binning", "bins": 1, "zeros": "keep"}"#;
        let method: Method = serde_json::from_str(keeping).unwrap();
        let selected = selection.choose(&[method], &logits, &labels).unwrap();
        // With one bin the map says the share of its fit, 4 of 80, in every fold.
        let expected = -0.95 * 0.95f64.ln() - 0.05 * 0.05f64.ln();
        let found = selected.candidates[0].score.unwrap();
        assert!((found - expected).abs() < 1e-12, "{seed}: {found}, {expected}");
    }
}
