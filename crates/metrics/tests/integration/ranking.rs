//! Metrics that need every score: against their definitions, in any order, in parts, with ties.

use proptest::prelude::*;
use softlabel_core::{Error, Fraction, Labels, LogProbabilities, Logits, Probabilities};
use softlabel_metrics::{
    Accumulator, CalibrationNorm, ConfidenceScore, EqualMassCalibration, KolmogorovSmirnovError,
    Observations, ReliabilityDiagram, SelectiveClassification, SelectiveScores,
    equal_mass_calibration_error, equal_mass_reliability_diagram, kolmogorov_smirnov_error,
    selective_classification,
};

use crate::cases::{Case, cases, shuffled_cases, tied_cases};

const SCORES: [ConfidenceScore; 3] = [
    ConfidenceScore::MaximumProbability,
    ConfidenceScore::NegativeEntropy,
    ConfidenceScore::Margin,
];

fn selective(case: &Case, score: ConfidenceScore) -> SelectiveScores {
    selective_classification(&case.logits(), &case.labels(), score).unwrap()
}

fn equal_mass(case: &Case, bins: usize) -> EqualMassCalibration {
    case.seen_by(EqualMassCalibration::new(bins).unwrap())
}

/// How many errors the first j rows hold on average over all orders of tied rows: row by row, the
/// chance to be among them.
fn expected_errors(rows: &[(f64, bool)], j: usize) -> f64 {
    let chance = |score: f64| {
        let above = rows.iter().filter(|row| row.0 > score).count() as f64;
        let tied = rows.iter().filter(|row| row.0 == score).count() as f64;
        ((j as f64 - above) / tied).clamp(0.0, 1.0)
    };
    rows.iter().filter(|row| !row.1).map(|row| chance(row.0)).sum()
}

/// The precision-recall pairs of finding `sought` rows with the largest scores, threshold by
/// threshold.
fn average_precision(rows: &[(f64, bool)], sought: bool) -> f64 {
    let mut thresholds: Vec<f64> = rows.iter().map(|row| row.0).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let all = rows.iter().filter(|row| row.1 == sought).count() as f64;
    let (mut area, mut recall_before) = (0.0, 0.0);
    for threshold in thresholds {
        let kept: Vec<_> = rows.iter().filter(|row| row.0 >= threshold).collect();
        let hits = kept.iter().filter(|row| row.1 == sought).count() as f64;
        area += (hits / all - recall_before) * hits / kept.len() as f64;
        recall_before = hits / all;
    }
    area
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
}

proptest! {
    #[test]
    fn selection_agrees_with_the_definitions(case in prop_oneof![cases(), tied_cases()]) {
        for score in SCORES {
            let rows = case.ranked(score);
            let scores = selective(&case, score);
            let n = rows.len();
            let wrong: Vec<f64> = rows.iter().filter(|row| !row.1).map(|row| row.0).collect();
            let right: Vec<f64> = rows.iter().filter(|row| row.1).map(|row| row.0).collect();
            let mean = |term: &dyn Fn(usize) -> f64| (1..=n).map(term).sum::<f64>() / n as f64;

            assert_close(scores.risk, wrong.len() as f64 / n as f64);
            assert_close(scores.aurc, mean(&|j| expected_errors(&rows, j) / j as f64));
            assert_close(scores.augrc, mean(&|j| expected_errors(&rows, j) / n as f64));
            let best = mean(&|j| j.saturating_sub(right.len()) as f64 / j as f64);
            assert_close(scores.excess_aurc, scores.aurc - best);
            let approximation = scores.asymptotic_excess_aurc() - scores.excess_aurc;
            prop_assert!((-1e-14..=scores.risk / n as f64 + 1e-14).contains(&approximation));

            let pair = |right: f64, wrong: f64| {
                f64::from(u8::from(right > wrong)) + 0.5 * f64::from(u8::from(right == wrong))
            };
            let pairs: Vec<f64> =
                right.iter().flat_map(|&r| wrong.iter().map(move |&w| pair(r, w))).collect();
            prop_assert_eq!(scores.auroc.is_some(), !pairs.is_empty());
            prop_assert_eq!(scores.fpr_at_95_tpr.is_some(), !pairs.is_empty());
            if let (Some(auroc), Some(rate)) = (scores.auroc, scores.fpr_at_95_tpr) {
                assert_close(auroc, pairs.iter().sum::<f64>() / pairs.len() as f64);
                let kept = |of: &[f64], threshold: f64| {
                    of.iter().filter(|&&score| score >= threshold).count() as f64 / of.len() as f64
                };
                let enough = rows.iter().map(|row| row.0).filter(|&t| kept(&right, t) >= 0.95);
                assert_close(rate, kept(&wrong, enough.fold(f64::NEG_INFINITY, f64::max)));
            }
            let mirrored: Vec<_> = rows.iter().map(|&(score, right)| (-score, right)).collect();
            for (found, rows, sought) in
                [(scores.aupr_success, &rows, true), (scores.aupr_error, &mirrored, false)]
            {
                prop_assert_eq!(found.is_some(), rows.iter().any(|row| row.1 == sought));
                if let Some(found) = found {
                    assert_close(found, average_precision(rows, sought));
                }
            }
        }
    }

    #[test]
    fn the_curve_gives_risk_at_every_coverage(case in prop_oneof![cases(), tied_cases()]) {
        let rows = case.ranked(ConfidenceScore::MaximumProbability);
        let curve = selective(&case, ConfidenceScore::MaximumProbability).curve;
        let n = rows.len();
        prop_assert_eq!(curve.samples, n as u64);
        for j in 1..=n {
            let coverage = Fraction::new(j as f64 / n as f64).unwrap();
            let risk = curve.risk_at_coverage(coverage).unwrap();
            assert_close(risk, expected_errors(&rows, j) / j as f64);
            // A little less takes as many rows.
            let less = Fraction::new((j as f64 - 0.5) / n as f64).unwrap();
            prop_assert_eq!(curve.risk_at_coverage(less), Some(risk));
        }
        prop_assert_eq!(curve.risk_at_coverage(Fraction::ZERO), None);

        for point in &curve.points {
            let kept: Vec<_> = rows.iter().filter(|row| row.0 >= point.threshold).collect();
            prop_assert_eq!(kept.len() as u64, point.kept);
            prop_assert_eq!(kept.iter().filter(|row| !row.1).count() as u64, point.errors);
            let found = curve.coverage_at_risk(Fraction::new(point.risk).unwrap()).unwrap();
            prop_assert!(found.risk <= point.risk && found.kept >= point.kept);
        }
        let least = curve.points.iter().map(|point| point.risk).fold(f64::INFINITY, f64::min);
        if least > 0.0 {
            let below = Fraction::new(least * 0.999).unwrap();
            prop_assert_eq!(curve.coverage_at_risk(below), None);
        }
    }

    /// To the last bit, not up to rounding.
    #[test]
    fn neither_order_nor_parts_change_anything(
        (case, shuffled) in shuffled_cases(),
        split in any::<prop::sample::Index>(),
        bins in 1..20usize,
    ) {
        fn check<A: Accumulator + Clone + PartialEq + std::fmt::Debug>(
            case: &Case,
            shuffled: &Case,
            split: usize,
            empty: &A,
        ) -> Result<(), TestCaseError>
        where
            A::Value: PartialEq + std::fmt::Debug,
        {
            let whole = case.seen_by(empty.clone()).compute();
            prop_assert_eq!(&shuffled.seen_by(empty.clone()).compute(), &whole);
            let rows: Vec<usize> = (0..case.labels.len()).collect();
            let (left, right) = rows.split_at(split);
            let mut left = case.select(left).seen_by(empty.clone());
            let right = case.select(right).seen_by(empty.clone());
            let mut other_way = right.clone();
            other_way.merge(&left).unwrap();
            left.merge(&right).unwrap();
            prop_assert_eq!(&left, &other_way);
            prop_assert_eq!(left.samples(), rows.len() as u64);
            prop_assert_eq!(left.compute(), whole);
            left.reset();
            prop_assert_eq!((left.samples(), left.compute()), (0, None));
            Ok(())
        }
        let split = split.index(case.labels.len() + 1);
        for score in SCORES {
            check(&case, &shuffled, split, &SelectiveClassification::new(score))?;
        }
        check(&case, &shuffled, split, &EqualMassCalibration::new(bins).unwrap())?;
        check(&case, &shuffled, split, &KolmogorovSmirnovError::default())?;
    }

    /// Sorted, cut into chunks, binned by the distinct midpoints between them.
    #[test]
    fn bins_of_equal_mass_agree_with_the_definition(
        case in prop_oneof![cases(), tied_cases()],
        count in 1..50usize,
    ) {
        let mut rows = case.ranked(ConfidenceScore::MaximumProbability);
        rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        let n = rows.len();
        let chunks = count.min(n);
        let mut edges = vec![];
        let mut end = 0;
        for chunk in 0..chunks - 1 {
            end += n / chunks + usize::from(chunk < n % chunks);
            edges.push(f64::midpoint(rows[end - 1].0, rows[end].0));
        }
        edges.push(1.0);
        edges.dedup();
        let bin = |c: f64| edges.iter().filter(|&&edge| edge < c).count();
        let gaps: Vec<(f64, f64)> = (0..edges.len())
            .filter_map(|m| {
                let rows = || rows.iter().filter(|row| bin(row.0) == m);
                let right = rows().filter(|row| row.1).count() as f64;
                let distance = (rows().map(|row| row.0).sum::<f64>() - right).abs();
                let count = rows().count() as f64;
                (count > 0.0).then(|| (count, distance / count))
            })
            .collect();
        let n = n as f64;
        let calibration = equal_mass(&case, count);
        let diagram = calibration.compute().unwrap();
        let counts: Vec<f64> = diagram.bins.iter().map(|bin| bin.count as f64).collect();
        prop_assert_eq!(counts, gaps.iter().map(|gap| gap.0).collect::<Vec<_>>());
        for (norm, expected) in [
            (CalibrationNorm::Expected, gaps.iter().map(|(count, gap)| count / n * gap).sum()),
            (
                CalibrationNorm::RootMeanSquare,
                gaps.iter().map(|(count, gap)| count / n * gap * gap).sum::<f64>().sqrt(),
            ),
            (
                CalibrationNorm::Maximum { minimum_count: 1 },
                gaps.iter().map(|gap| gap.1).fold(0.0, f64::max),
            ),
        ] {
            assert_close(calibration.calibration_error(norm).unwrap(), expected);
        }
    }

    #[test]
    fn bins_of_equal_mass_cover_all_and_split_no_ties(
        case in prop_oneof![cases(), tied_cases()],
        count in 1..50usize,
    ) {
        let rows = case.ranked(ConfidenceScore::MaximumProbability);
        let ReliabilityDiagram { samples, bins } = equal_mass(&case, count).compute().unwrap();
        prop_assert_eq!(samples, rows.len() as u64);
        prop_assert!(bins.len() <= count.min(rows.len()));
        prop_assert_eq!((bins[0].lower, bins[bins.len() - 1].upper), (0.0, 1.0));
        for pair in bins.windows(2) {
            prop_assert_eq!(pair[0].upper, pair[1].lower);
        }
        for bin in &bins {
            prop_assert!(bin.count > 0);
            let inside = rows.iter().filter(|row| row.0 > bin.lower && row.0 <= bin.upper);
            prop_assert_eq!(inside.count() as u64, bin.count);
        }
    }

    #[test]
    fn the_error_without_bins_agrees_with_the_definition(
        case in prop_oneof![cases(), tied_cases()],
    ) {
        let rows = case.ranked(ConfidenceScore::MaximumProbability);
        let up_to = |threshold: f64| {
            let rows = rows.iter().filter(|row| row.0 <= threshold);
            rows.map(|&(c, right)| c - f64::from(u8::from(right))).sum::<f64>().abs()
        };
        let expected = rows.iter().map(|row| up_to(row.0)).fold(0.0, f64::max) / rows.len() as f64;
        let found = kolmogorov_smirnov_error(&case.logits(), &case.labels()).unwrap();
        assert_close(found, expected);
        prop_assert!(found >= case.scores(15).overconfidence().abs() - 1e-14);
    }
}

/// A constant confidence cannot tell right from wrong, whatever the order of the rows: one tie
/// group, one bin, one step.
#[test]
fn a_constant_confidence_ranks_nothing() {
    let rows = 12;
    let probabilities = Probabilities::new([0.75, 0.25].repeat(rows), 2).unwrap();
    for labels in [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]] {
        let labels = Labels::new(&labels.repeat(rows / 4), 2).unwrap();
        for score in SCORES {
            let scores = selective_classification(&probabilities, &labels, score).unwrap();
            assert_eq!((scores.risk, scores.auroc), (0.25, Some(0.5)));
            assert_close(scores.aurc, 0.25);
            assert_eq!((scores.aupr_success, scores.aupr_error), (Some(0.75), Some(0.25)));
            assert_eq!(scores.fpr_at_95_tpr, Some(1.0));
            assert_eq!(scores.curve.points.len(), 1);
            let half = scores.curve.risk_at_coverage(Fraction::new(0.5).unwrap());
            assert_eq!(half, Some(0.25));
        }
        assert_eq!(kolmogorov_smirnov_error(&probabilities, &labels).unwrap(), 0.0);
        for bins in [1, 2, 12, 100] {
            let error = equal_mass_calibration_error(&probabilities, &labels, bins).unwrap();
            assert_eq!(error, 0.0);
        }
    }
}

#[test]
fn nothing_to_find_is_undefined() {
    let probabilities = Probabilities::new(&[1.0f32, 0.0, 0.75, 0.25], 2).unwrap();
    let of = |labels| {
        let labels = Labels::new(&[labels, labels], 2).unwrap();
        selective_classification(&probabilities, &labels, ConfidenceScore::Margin).unwrap()
    };
    let (right, wrong) = (of(0), of(1));
    for scores in [&right, &wrong] {
        assert_eq!((scores.auroc, scores.fpr_at_95_tpr, scores.excess_aurc), (None, None, 0.0));
    }
    assert_eq!((right.aurc, right.augrc), (0.0, 0.0));
    assert_eq!((right.aupr_success, right.aupr_error), (Some(1.0), None));
    assert_eq!((wrong.aurc, wrong.augrc), (1.0, 0.75));
    assert_eq!((wrong.aupr_success, wrong.aupr_error), (None, Some(1.0)));
    assert_eq!(right.curve.coverage_at_risk(Fraction::ZERO).unwrap().coverage, 1.0);
    assert_eq!(wrong.curve.coverage_at_risk(Fraction::new(0.5).unwrap()), None);
}

#[test]
fn a_share_that_rounds_up_takes_no_row_more() {
    // 0.55 · 100 is above 55 in f64.
    let logits: Vec<f64> = (0..100).flat_map(|row| [f64::from(row) / 10.0 + 0.1, 0.0]).collect();
    let labels: Vec<u8> = (0..100).map(|row| u8::from(row == 44)).collect();
    let logits = Logits::new(&logits, 2).unwrap();
    let labels = Labels::new(&labels, 2).unwrap();
    let scores = selective_classification(&logits, &labels, ConfidenceScore::default()).unwrap();
    let risk = |coverage| scores.curve.risk_at_coverage(Fraction::new(coverage).unwrap());
    assert_eq!(risk(0.55), Some(0.0));
    assert_eq!(risk(0.56), Some(1.0 / 56.0));
}

/// Logarithms may be a rounding above 0, and the confidence above 1 with them.
#[test]
fn a_confidence_above_one_is_in_the_last_bin() {
    let rows = LogProbabilities::new(vec![1e-4, -40.0, 2e-4, -40.0, -0.5, -0.9327], 2).unwrap();
    let labels = Labels::new(&[0, 0, 0], 2).unwrap();
    for count in 1..5 {
        let diagram = equal_mass_reliability_diagram(&rows, &labels, count).unwrap();
        let counted: u64 = diagram.bins.iter().map(|bin| bin.count).sum();
        assert_eq!((counted, diagram.bins[diagram.bins.len() - 1].upper), (3, 1.0));
        assert!(diagram.bins.iter().all(|bin| bin.lower < bin.upper));
    }
}

#[test]
fn empty_or_unlike_states_are_named() {
    let none = Logits::<f32>::new(&[][..], 3).unwrap();
    let no_labels = Labels::new::<u8>(&[], 3).unwrap();
    let score = ConfidenceScore::default();
    let is_empty = |error: Error| matches!(error, Error::Empty { .. });
    assert!(is_empty(selective_classification(&none, &no_labels, score).unwrap_err()));
    assert!(is_empty(kolmogorov_smirnov_error(&none, &no_labels).unwrap_err()));
    assert!(is_empty(equal_mass_calibration_error(&none, &no_labels, 15).unwrap_err()));
    let bins = equal_mass_calibration_error(&none, &no_labels, 0).unwrap_err();
    assert!(matches!(bins, Error::OutOfRange { .. }));

    let mut margin = SelectiveClassification::new(ConfidenceScore::Margin);
    let error = margin.merge(&SelectiveClassification::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "accumulator to merge: expected Margin, found MaximumProbability"
    );
    let error =
        EqualMassCalibration::default().merge(&EqualMassCalibration::new(10).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "accumulator to merge: expected 15 bins, found 10 bins");
}

#[test]
fn states_and_results_are_written_down() {
    fn check<A>(empty: A)
    where
        A: Accumulator + PartialEq + std::fmt::Debug + serde::Serialize,
        A: serde::de::DeserializeOwned,
        A::Value: PartialEq + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    {
        let case = Case {
            classes: 2,
            logits: vec![2.0, 0.0, 2.0, 0.0, 0.5, 0.25, 0.0, 3.0],
            labels: vec![0, 1, 0, 0],
        };
        let state = case.seen_by(empty);
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<A>(&json).unwrap(), state);
        let value = state.compute().unwrap();
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<A::Value>(&json).unwrap(), value);
    }
    SCORES.into_iter().map(SelectiveClassification::new).for_each(check);
    check(EqualMassCalibration::new(3).unwrap());
    check(KolmogorovSmirnovError::default());
    let bad = r#"{"bins":0,"ranking":{"right":{"values":[]},"wrong":{"values":[]}}}"#;
    let error = serde_json::from_str::<EqualMassCalibration>(bad).unwrap_err().to_string();
    assert!(error.starts_with("number of bins must be in 1..=1000000, found 0"), "{error}");
}

/// Weights of selection: a right row of weight 3 above a wrong one of weight 1, below another of 2.
#[test]
fn weighted_rows_take_as_much_of_the_coverage() {
    let probabilities = Probabilities::new(&[1.0f64, 0.0, 0.75, 0.25, 0.5, 0.5], 2).unwrap();
    let observations = Observations::from(Labels::new(&[1, 0, 1], 2).unwrap());
    let observations = observations.weighted(&[2.0, 3.0, 1.0]).unwrap();
    let score = ConfidenceScore::MaximumProbability;
    let scores = selective_classification(&probabilities, &observations, score).unwrap();
    assert_close(scores.risk, 3.0 / 6.0);
    // Risks 2/2, 2/5 and 3/6 over coverages of 2/6, 3/6 and 1/6.
    assert_close(scores.aurc, (2.0 * 1.0 + 3.0 * 0.4 + 1.0 * 0.5) / 6.0);
    assert_close(scores.augrc, (2.0 * 2.0 + 3.0 * 2.0 + 1.0 * 3.0) / 36.0);
    // The right row is above one of three wrong weights.
    assert_close(scores.auroc.unwrap(), 1.0 / 3.0);
    let coverages: Vec<f64> = scores.curve.points.iter().map(|point| point.coverage).collect();
    assert_eq!(coverages, [2.0 / 6.0, 5.0 / 6.0, 1.0]);
    let at =
        |coverage: f64| scores.curve.risk_at_coverage(Fraction::new(coverage).unwrap()).unwrap();
    assert_close(at(0.2), 1.0);
    assert_close(at(0.8), 0.4);
    assert_close(at(1.0), 0.5);
}
