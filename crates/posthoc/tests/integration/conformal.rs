//! Conformal sets against their definition, and the coverage that they promise.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use softlabel_core::{Labels, Probabilities};
use softlabel_posthoc::{ConformalPredictor, ConformalScore};

const SCORES: [ConformalScore; 5] = [
    ConformalScore::Lac,
    ConformalScore::Aps { randomized: false },
    ConformalScore::Aps { randomized: true },
    ConformalScore::Raps { randomized: false, penalty: 0.1, free_ranks: 1 },
    ConformalScore::Raps { randomized: true, penalty: 0.05, free_ranks: 2 },
];

/// Rows over 4 classes, and labels drawn from other distributions than the rows say: a bad classifier.
fn draw(rows: usize, generator: &mut ChaCha12Rng) -> (Vec<f64>, Vec<i64>) {
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let weights: [f64; 4] = std::array::from_fn(|_| generator.random::<f64>().powi(3) + 1e-3);
        let total: f64 = weights.iter().sum();
        values.extend(weights.map(|weight| weight / total));
        let likeliest = (0..4).max_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap_or(0);
        let right = generator.random::<f64>() < 0.6;
        labels.push(if right { likeliest as i64 } else { generator.random_range(0..4) });
    }
    (values, labels)
}

#[test]
fn coverage_is_what_is_promised() {
    const DRAWS: usize = 150;
    let mut generator = ChaCha12Rng::seed_from_u64(3);
    for score in SCORES {
        for alpha in [0.1, 0.3] {
            let mut covered = 0.0;
            for draw_of in 0..DRAWS as u64 {
                let (values, labels) = draw(100, &mut generator);
                let (fit, fit_labels) =
                    (Probabilities::new(values, 4).unwrap(), Labels::new(&labels, 4).unwrap());
                let (values, labels) = draw(100, &mut generator);
                let (test, test_labels) =
                    (Probabilities::new(values, 4).unwrap(), Labels::new(&labels, 4).unwrap());
                let predictor =
                    ConformalPredictor::fit(&fit, &fit_labels, score, alpha, draw_of).unwrap();
                let sets = predictor.predict(&test, draw_of + 1_000).unwrap();
                covered += sets.coverage(&test_labels).unwrap() / DRAWS as f64;
            }
            // The standard error over the draws is below 0.005.
            assert!(covered > 1.0 - alpha - 0.015, "{score:?} {alpha}: {covered}");
            let continuous = !matches!(score, ConformalScore::Aps { randomized: false });
            if continuous {
                assert!(covered < 1.0 - alpha + 0.01 + 0.02, "{score:?} {alpha}: {covered}");
            }
        }
    }
}

#[test]
fn every_class_is_covered_if_each_has_its_threshold() {
    const DRAWS: usize = 60;
    let mut generator = ChaCha12Rng::seed_from_u64(5);
    let mut covered = [0.0; 4];
    for _ in 0..DRAWS {
        let (values, labels) = draw(400, &mut generator);
        let fit = Probabilities::new(values, 4).unwrap();
        let fit_labels = Labels::new(&labels, 4).unwrap();
        let score = ConformalScore::Aps { randomized: false };
        let predictor =
            ConformalPredictor::fit_class_conditional(&fit, &fit_labels, score, 0.2, 0).unwrap();
        assert_eq!(predictor.thresholds().len(), 4);
        let (values, labels) = draw(400, &mut generator);
        let sets = predictor.predict(&Probabilities::new(values, 4).unwrap(), 0).unwrap();
        for (class, covered) in covered.iter_mut().enumerate() {
            let rows: Vec<_> = (0..400).filter(|&row| labels[row] == class as i64).collect();
            let hits = rows.iter().filter(|&&row| sets.classes_of(row).contains(&class)).count();
            *covered += hits as f64 / rows.len() as f64 / DRAWS as f64;
        }
    }
    for covered in covered {
        assert!(covered > 0.785, "{covered}");
    }
}

#[test]
fn too_few_rows_promise_everything() {
    let rows = Probabilities::new([0.5, 0.5].repeat(8), 2).unwrap();
    let labels = Labels::new(&[0; 8], 2).unwrap();
    // ⌈9·0.9⌉ = 9 of 8.
    let predictor = ConformalPredictor::fit(&rows, &labels, ConformalScore::Lac, 0.1, 0).unwrap();
    assert_eq!(predictor.thresholds(), [f64::INFINITY]);
    let sets = predictor.predict(&rows, 0).unwrap();
    assert_eq!(sets.sizes(), [0, 0, 8]);
    // A class without rows is in every set; of 8 rows the ⌈9·0.8⌉-th is there.
    let predictor =
        ConformalPredictor::fit_class_conditional(&rows, &labels, ConformalScore::Lac, 0.2, 0)
            .unwrap();
    assert_eq!(predictor.thresholds(), [0.5, f64::INFINITY]);
}

#[test]
fn a_rank_that_is_whole_but_for_rounding_is_whole() {
    // (9 + 1)·(1 − 0.3) is 7.000000000000001 or so in f64 arithmetic of some orders; the rank is 7.
    let p: Vec<f64> = (1..=9).map(|n| f64::from(n) / 10.0).collect();
    let rows: Vec<f64> = p.iter().flat_map(|p| [*p, 1.0 - p]).collect();
    let rows = Probabilities::new(rows, 2).unwrap();
    let labels = Labels::new(&[0; 9], 2).unwrap();
    let predictor = ConformalPredictor::fit(&rows, &labels, ConformalScore::Lac, 0.3, 0).unwrap();
    assert!((predictor.thresholds()[0] - 0.7).abs() < 1e-12);
}

#[test]
fn documents_come_back_and_bad_ones_do_not() {
    let rows = Probabilities::new([0.5, 0.5].repeat(8), 2).unwrap();
    let labels = Labels::new(&[0; 8], 2).unwrap();
    for score in SCORES {
        for alpha in [0.05, 0.2] {
            let predictor = ConformalPredictor::fit(&rows, &labels, score, alpha, 1).unwrap();
            let json = serde_json::to_string(&predictor).unwrap();
            assert_eq!(serde_json::from_str::<ConformalPredictor>(&json).unwrap(), predictor);
        }
    }
    let bad = r#"{"score": {"score": "lac"}, "alpha": 2, "classes": 2, "thresholds": [0.5]}"#;
    let error = serde_json::from_str::<ConformalPredictor>(bad).unwrap_err().to_string();
    assert!(
        error.starts_with("alpha of a conformal predictor must be in (0, 1), found 2"),
        "{error}"
    );
    let bad = r#"{"score": {"score": "lac"}, "alpha": 0.1, "classes": 3, "thresholds": [0.5, 1]}"#;
    assert!(serde_json::from_str::<ConformalPredictor>(bad).is_err());
}

#[test]
fn what_does_not_fit_is_named() {
    let rows = Probabilities::new([0.5, 0.5].repeat(3), 2).unwrap();
    let fit = |labels: &[i64], score, alpha| {
        let labels = Labels::new(labels, 2).unwrap();
        ConformalPredictor::fit(&rows, &labels, score, alpha, 0).unwrap_err().to_string()
    };
    assert_eq!(
        fit(&[0, 1], ConformalScore::Lac, 0.1),
        "labels: expected 3 labels of 2 classes, found 2 of 2"
    );
    let raps = ConformalScore::Raps { randomized: false, penalty: -1.0, free_ranks: 0 };
    assert_eq!(
        fit(&[0, 1, 1], raps, 0.1),
        "the penalty of RAPS must be finite and not negative, found -1"
    );
    let labels = Labels::new(&[0, 1, 1], 2).unwrap();
    let predictor = ConformalPredictor::fit(&rows, &labels, ConformalScore::Lac, 0.5, 0).unwrap();
    let other = Probabilities::new(vec![1.0, 0.0, 0.0], 3).unwrap();
    assert!(predictor.predict(&other, 0).is_err());
    let sets = predictor.predict(&rows, 0).unwrap();
    assert!(sets.coverage(&Labels::new(&[0], 2).unwrap()).is_err());
    assert!(sets.classes_of(3).is_empty());
}

proptest! {
    #[test]
    fn sets_are_those_of_the_definition(
        weights in prop::collection::vec(0.01..1.0f64, 15),
        fit_weights in prop::collection::vec(0.01..1.0f64, 50),
        labels in prop::collection::vec(0i64..5, 10),
        penalty in 0.0..0.3f64,
        free_ranks in 0usize..4,
    ) {
        let normalized = |weights: &[f64]| -> Vec<f64> {
            let rows = weights.chunks(5);
            rows.flat_map(|row| row.iter().map(|w| w / row.iter().sum::<f64>()).collect::<Vec<_>>()).collect()
        };
        let raps = ConformalScore::Raps { randomized: false, penalty, free_ranks };
        let fit = Probabilities::new(normalized(&fit_weights), 5).unwrap();
        let predictor =
            ConformalPredictor::fit(&fit, &Labels::new(&labels, 5).unwrap(), raps, 0.25, 0).unwrap();
        let score = |row: &[f64], class: usize| {
            let ahead = |other: &usize| row[*other] > row[class] || (row[*other] == row[class] && *other < class);
            let ahead: Vec<usize> = (0..5).filter(ahead).collect();
            let mass: f64 = ahead.iter().map(|&other| row[other]).sum();
            mass + row[class] + penalty * (ahead.len() + 1).saturating_sub(free_ranks) as f64
        };
        let mut scores: Vec<f64> =
            fit.matrix().iter().zip(&labels).map(|(row, &y)| score(row, usize::try_from(y).unwrap())).collect();
        scores.sort_by(f64::total_cmp);
        // ⌈11·0.75⌉ = 9.
        prop_assert!((predictor.thresholds()[0] - scores[8]).abs() < 1e-12);
        let rows = Probabilities::new(normalized(&weights), 5).unwrap();
        let sets = predictor.predict(&rows, 0).unwrap();
        for (n, row) in rows.matrix().iter().enumerate() {
            for class in 0..5 {
                let clear = (score(row, class) - scores[8]).abs() > 1e-12;
                let is_in = sets.classes_of(n).contains(&class);
                prop_assert!(!clear || is_in == (score(row, class) < scores[8]));
            }
        }
    }
}
