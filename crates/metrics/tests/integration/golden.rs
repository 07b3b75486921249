//! Values on real networks, against NumPy and against publications.

use softlabel_core::{Fraction, Labels, LogProbabilities, Logits, Probabilities};
use softlabel_metrics::{
    Accumulator, AdaptiveCalibration, CalibrationBins, CalibrationNorm, ClasswiseCalibration,
    ConfidenceScore, EqualMassCalibration, Evaluation, KolmogorovSmirnovError,
    SelectiveClassification, equal_mass_reliability_diagram, evaluate, selective_classification,
};

use crate::networks::{folder, golden, networks};

#[test]
fn agrees_with_numpy_on_three_networks() {
    for network in networks("agrees_with_numpy_on_three_networks") {
        let labels = Labels::new(&network.labels, network.classes).unwrap();
        let probabilities = Probabilities::new(&network.probabilities, network.classes).unwrap();
        let scores = evaluate(&probabilities, &labels, 15).unwrap();
        assert_eq!(scores.samples as f64, network.golden("n"));
        assert_eq!(network.classes as f64, network.golden("K"));
        // No confidence but 1 lies on the edge of a bin, so it does not matter to which side that belongs.
        assert!((scores.ece - network.golden("ece15_left_closed")).abs() < 1e-12);
        for (key, found) in [
            ("acc", scores.accuracy),
            ("nll", scores.nll),
            ("brier_sum", scores.brier),
            ("ece15", scores.ece),
            ("mce15", scores.mce),
            ("rmsce15", scores.rmsce),
            ("overconf_gap", scores.overconfidence()),
            ("entropy_mean", scores.mean_entropy),
            ("brier_toplabel", scores.murphy.brier),
        ] {
            let expected = network.golden(key);
            assert!((found - expected).abs() < 1e-12, "{} {key}: {found}", network.name);
        }
        for (key, found) in [
            ("rel", scores.murphy.reliability),
            ("res", scores.murphy.resolution),
            ("unc", scores.murphy.uncertainty),
            ("wbv", scores.murphy.within_bin_variance),
            ("wbc", scores.murphy.within_bin_covariance),
        ] {
            let expected = network.golden["murphy15"][key].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-12, "{} {key}: {found}", network.name);
        }
        let closure = scores.murphy.sum() - scores.murphy.brier;
        assert!(closure.abs() < 1e-15, "{}: {closure}", network.name);
        let counts: Vec<u64> = scores.diagram.bins.iter().map(|bin| bin.count).collect();
        assert_eq!(serde_json::json!(counts), network.golden["bin_counts15"], "{}", network.name);
    }
}

/// Ties are many: of the first network's confidences a quarter are exactly 1.
#[test]
fn what_needs_all_scores_agrees_with_numpy() {
    for network in networks("what_needs_all_scores_agrees_with_numpy") {
        let labels = Labels::new(&network.labels, network.classes).unwrap();
        let probabilities = Probabilities::new(&network.probabilities, network.classes).unwrap();
        let selective =
            selective_classification(&probabilities, &labels, ConfidenceScore::default()).unwrap();
        let mut equal_mass = EqualMassCalibration::default();
        equal_mass.update(&probabilities, &labels).unwrap();
        let mut smirnov = KolmogorovSmirnovError::default();
        smirnov.update(&probabilities, &labels).unwrap();
        let mut classwise = ClasswiseCalibration::new(network.classes, 15).unwrap();
        classwise.update(&probabilities, &labels).unwrap();
        let classwise = classwise.compute().unwrap();
        for (key, found) in [
            ("aurc_mean_tie_averaged", selective.aurc),
            ("augrc_tie_averaged", selective.augrc),
            ("eaurc_asymptotic", selective.asymptotic_excess_aurc()),
            ("auroc_conf", selective.auroc.unwrap()),
            ("ks_ties_collapsed", smirnov.compute().unwrap()),
            ("ece15_equal_mass", equal_mass.calibration_error(CalibrationNorm::Expected).unwrap()),
            ("cwece15_mean", classwise.mean().unwrap()),
            ("cwece15_sum", classwise.sum().unwrap()),
        ] {
            let expected = network.golden(key);
            assert!((found - expected).abs() < 1e-12, "{} {key}: {found}", network.name);
        }
        // The best order has no ties, so its area is in the reference without averaging.
        let best = network.golden("aurc_mean") - network.golden("eaurc_mean");
        assert!((selective.excess_aurc - (selective.aurc - best)).abs() < 1e-12);
        assert!((selective.risk - (1.0 - network.golden("acc"))).abs() < 1e-15);
        let distinct = network.golden("n_distinct_conf");
        assert_eq!(selective.curve.points.len() as f64, distinct, "{}", network.name);

        let diagram = equal_mass.compute().unwrap();
        let ones = network.golden("n_conf_eq_1_f32");
        let last = diagram.bins.last().unwrap();
        assert_eq!(last.upper, 1.0);
        assert!(last.count as f64 >= ones, "{}", network.name);
        // Tied rows fill up more than one chunk of 666 or 667 rows, or none.
        assert_eq!(diagram.bins.len() < 15, ones > 667.0, "{}", network.name);
        let free = equal_mass_reliability_diagram(&probabilities, &labels, 15).unwrap();
        assert_eq!(free, diagram);
    }
}

/// A part of the reference breaks ties in the order of the file, where our metrics average or collapse them. With the ties
/// broken in the scores, by less than 3e-12, both are the same.
#[test]
fn with_ties_broken_in_the_order_of_the_file_it_is_the_reference_again() {
    let test = "with_ties_broken_in_the_order_of_the_file_it_is_the_reference_again";
    for network in networks(test) {
        let classes = network.classes;
        let top = |row: &[f32]| {
            let first =
                |best: usize, class: usize| if row[class] > row[best] { class } else { best };
            (0..classes).fold(0, first)
        };
        let rows = network.probabilities.chunks(classes);
        let outcomes: Vec<(f64, bool)> = rows
            .zip(&network.labels)
            .map(|(row, &label)| (f64::from(row[top(row)]), top(row) as i64 == label))
            .collect();
        let found = with_broken_ties(&outcomes, classes);
        for (key, found) in [("aurc_mean", found.0), ("eaurc_mean", found.1), ("ks", found.2)] {
            let expected = network.golden(key);
            assert!((found - expected).abs() < 1e-11, "{} {key}: {found}", network.name);
        }
    }
    let Some(folder) = folder(test) else { return };
    let golden = golden(&folder);
    for name in ["resnet110_c10", "densenet40_c10"] {
        let text = std::fs::read_to_string(folder.join(format!("confidences/{name}.csv"))).unwrap();
        let outcome = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            (fields[2].parse().unwrap(), fields[0] == fields[1])
        };
        let outcomes: Vec<(f64, bool)> = text.lines().skip(1).map(outcome).collect();
        let (aurc, _, ks) = with_broken_ties(&outcomes, 10);
        for (key, found) in [("aurc_mean", aurc), ("ks", ks)] {
            let expected = golden["confidences"][name][key].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-11, "{name} {key}: {found}");
        }
    }
}

/// AURC, E-AURC and the Kolmogorov-Smirnov error of confidences and whether they were right. Of equal confidences the first
/// counts as the largest for the areas, and as the smallest for the error.
fn with_broken_ties(outcomes: &[(f64, bool)], classes: usize) -> (f64, f64, f64) {
    let rows = |place: &dyn Fn(usize) -> usize| {
        let row = |(index, &(confidence, _)): (usize, &(f64, bool))| {
            let confidence = confidence - place(index) as f64 * f64::EPSILON;
            let mut row = vec![(1.0 - confidence) / (classes - 1) as f64; classes];
            row[0] = confidence;
            row
        };
        Probabilities::new(outcomes.iter().enumerate().flat_map(row).collect::<Vec<_>>(), classes)
            .unwrap()
    };
    let labels: Vec<usize> = outcomes.iter().map(|&(_, right)| usize::from(!right)).collect();
    let labels = Labels::new(&labels, classes).unwrap();
    let descending = rows(&|index| index);
    let selective =
        selective_classification(&descending, &labels, ConfidenceScore::default()).unwrap();
    let mut smirnov = KolmogorovSmirnovError::default();
    smirnov.update(&rows(&|index| outcomes.len() - index), &labels).unwrap();
    (selective.aurc, selective.excess_aurc, smirnov.compute().unwrap())
}

/// A threshold of one percent leaves out nearly all values of a hundred classes, and with them what
/// makes ACE small.
#[test]
fn a_threshold_takes_the_small_probabilities_out_of_the_adaptive_error() {
    for network in networks("a_threshold_takes_the_small_probabilities_out_of_the_adaptive_error") {
        let labels = Labels::new(&network.labels, network.classes).unwrap();
        let probabilities = Probabilities::new(&network.probabilities, network.classes).unwrap();
        let [all, large] = [0.0, 0.01].map(|threshold| {
            let threshold = Fraction::new(threshold).unwrap();
            let mut error =
                AdaptiveCalibration::with_threshold(network.classes, 15, threshold).unwrap();
            error.update(&probabilities, &labels).unwrap();
            error.compute().unwrap()
        });
        assert!(all.mean().unwrap() < large.mean().unwrap(), "{}", network.name);
        for (class, (all, large)) in all.classes.iter().zip(&large.classes).enumerate() {
            let values = network.probabilities.iter().skip(class).step_by(network.classes);
            let counted = values.filter(|&&p| f64::from(p) >= 0.01).count();
            assert_eq!((all.values, large.values), (10_000, counted as u64), "{}", network.name);
        }
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
    // Areas under the risk-coverage curve: of the confidences c and their groups g by descending c,
    // in Python, `for t in range(1, len(g) + 1): s += (E0 + e*t/len(g)) / (N0 + t)`, then `s / N`.
    for (name, tie_averaged_aurc) in [
        ("resnet110_c10", 0.008_407_664_012_945_633),
        ("densenet40_c10", 0.009_235_849_385_816_368),
    ] {
        let file = folder.join(format!("confidences/{name}.csv"));
        let mut bins = CalibrationBins::new(15).unwrap();
        let mut equal_mass = EqualMassCalibration::default();
        let mut smirnov = KolmogorovSmirnovError::default();
        let mut selective = SelectiveClassification::default();
        for line in std::fs::read_to_string(file).unwrap().lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [label, top] = [0, 1].map(|field| fields[field].parse::<usize>().unwrap());
            let confidence: f64 = fields[2].parse().unwrap();
            let mut row = [(1.0 - confidence) / 9.0; 10];
            row[top] = confidence;
            let row = Probabilities::new(&row, 10).unwrap();
            let label = Labels::new(&[label], 10).unwrap();
            bins.update(&row, &label).unwrap();
            equal_mass.update(&row, &label).unwrap();
            smirnov.update(&row, &label).unwrap();
            selective.update(&row, &label).unwrap();
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
        let equal_mass = equal_mass.calibration_error(CalibrationNorm::Expected);
        for (found, key) in [(equal_mass, "ece15_equal_mass"), (smirnov.compute(), "ks")] {
            let (found, expected) = (found.unwrap(), golden["confidences"][name][key].as_f64());
            assert!((found - expected.unwrap()).abs() < 1e-12, "{name} {key}: {found}");
        }
        let found = selective.compute().unwrap().aurc;
        assert!((found - tie_averaged_aurc).abs() < 1e-15, "{name} aurc: {found}");
        // Ties in the order of the file are another number.
        let walked = golden["confidences"][name]["aurc_mean"].as_f64().unwrap();
        assert!((found - walked).abs() > 1e-4, "{name} aurc: {walked}");
    }
}
