//! Every smoothing against its definition, (1 − ε)·onehot(y) + ε·π_y, built densely and without any of its code.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests fail by panicking.
#![allow(clippy::cast_possible_truncation)] // Dense rows are f32.

use proptest::prelude::*;
use softlabel_core::{Epsilon, Labels, Probabilities};
use softlabel_targets::{
    AllowedClasses, ClassDistribution, ClassMatrix, ClassTree, Convention, Dense, Error, Hierarchy,
    MassesBy, NegativeEpsilon, Ordinal, OrdinalDistance, Prior, Smoothing,
};

const CLASSES: usize = 5;

/// f32 rounds numbers of size up to 2 by at most half a unit in the last place; the f64 work behind them adds nothing.
const TOLERANCE: f64 = 1.2e-7;

/// A prior, and π_y for every label y by its own definition.
type Case = (Prior, Vec<Vec<f64>>);

fn normalized(weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

fn uniform_over(members: &[usize]) -> Vec<f64> {
    let member = |class| f64::from(u8::from(members.contains(&class)));
    normalized((0..CLASSES).map(member).collect())
}

fn priors() -> impl Strategy<Value = Case> {
    let weights = || prop::collection::vec(0.01..1.0, CLASSES).prop_map(normalized);
    let others = |y: usize| uniform_over(&(0..CLASSES).filter(|k| *k != y).collect::<Vec<_>>());
    let mixture = vec![vec![0.2; CLASSES]; CLASSES];
    let paths = [vec!["a", "x"], vec!["a", "x"], vec!["a", "y"], vec!["b", "z"], vec!["b", "z"]];
    // Heights of the joining nodes among the classes of those paths, over the root's.
    let joined =
        [[0, 1, 2, 3, 3], [1, 0, 2, 3, 3], [2, 2, 0, 3, 3], [3, 3, 3, 0, 1], [3, 3, 3, 1, 0]];
    prop_oneof![
        Just((Convention::Mixture.into(), mixture)),
        Just((Convention::OffTarget.into(), (0..CLASSES).map(others).collect())),
        weights().prop_map(|prior| {
            (ClassDistribution::new(prior.clone()).unwrap().into(), vec![prior; CLASSES])
        }),
        prop::sample::subsequence(vec![0, 1, 2, 3, 4], 1..=CLASSES).prop_map(|members| {
            let rows = vec![uniform_over(&members); CLASSES];
            (AllowedClasses::new(members).unwrap().into(), rows)
        }),
        prop::collection::vec(weights(), CLASSES)
            .prop_map(|rows| (ClassMatrix::new(&rows).unwrap().into(), rows)),
        (0.1..3.0).prop_map(|scale: f64| {
            let weight = |y: usize, k: usize| (-scale * y.abs_diff(k) as f64).exp();
            let row = |y| normalized((0..CLASSES).map(|k| weight(y, k)).collect());
            let ordinal = Ordinal::new(OrdinalDistance::Absolute, scale).unwrap();
            (ordinal.into(), (0..CLASSES).map(row).collect())
        }),
        (0.0..8.0).prop_map(move |beta: f64| {
            let weight = |height: &i32| (-beta * f64::from(*height) / 3.0).exp();
            let rows = joined.iter().map(|row| normalized(row.iter().map(weight).collect()));
            let tree = ClassTree::from_paths(&paths).unwrap();
            (Hierarchy::new(tree, beta).unwrap().into(), rows.collect())
        }),
    ]
}

fn expected(epsilon: f64, label: usize, prior: &[Vec<f64>]) -> Vec<f64> {
    let one_hot = |class| f64::from(u8::from(class == label));
    (0..CLASSES).map(|k| (1.0 - epsilon) * one_hot(k) + epsilon * prior[label][k]).collect()
}

fn check(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (&found, expected) in found.iter().zip(expected) {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= TOLERANCE * expected.abs().max(1.0), "{found} against {expected}");
    }
}

fn labels() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..CLASSES, 0..12)
}

fn epsilon() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0]
}

fn concat(rows: impl Iterator<Item = Vec<f64>>) -> Vec<f64> {
    rows.collect::<Vec<_>>().concat()
}

proptest! {
    #[test]
    fn one_epsilon((prior, rows) in priors(), labels in labels(), epsilon in epsilon()) {
        let target = Smoothing::towards(Epsilon::new(epsilon).unwrap(), prior).fused(CLASSES).unwrap();
        let found = target.rows(&Labels::new(&labels, CLASSES).unwrap()).unwrap();
        check(&found, &concat(labels.iter().map(|&y| expected(epsilon, y, &rows))));
    }

    #[test]
    fn an_epsilon_a_class(
        (prior, rows) in priors(),
        labels in labels(),
        epsilons in prop::collection::vec(epsilon(), CLASSES),
    ) {
        let checked: Vec<_> = epsilons.iter().map(|&e| Epsilon::new(e).unwrap()).collect();
        let target = Smoothing::towards(checked, prior).fused(CLASSES).unwrap();
        let found = target.rows(&Labels::new(&labels, CLASSES).unwrap()).unwrap();
        check(&found, &concat(labels.iter().map(|&y| expected(epsilons[y], y, &rows))));
    }

    #[test]
    fn an_epsilon_a_row(
        (prior, rows) in priors(),
        samples in prop::collection::vec((0..CLASSES, epsilon()), 0..12),
    ) {
        let (labels, epsilons): (Vec<usize>, Vec<f64>) = samples.iter().copied().unzip();
        let smoothing = Smoothing::towards(Epsilon::new(0.3).unwrap(), prior);
        let target = smoothing.fused_per_row(CLASSES, &epsilons).unwrap();
        let found = target.rows(&Labels::new(&labels, CLASSES).unwrap()).unwrap();
        check(&found, &concat(samples.iter().map(|&(y, e)| expected(e, y, &rows))));
    }

    #[test]
    fn less_than_nothing((prior, rows) in priors(), labels in labels(), r in -3.0..-0.01) {
        let smoothing = Smoothing::towards(NegativeEpsilon::new(r).unwrap(), prior);
        let found = smoothing.fused(CLASSES).unwrap();
        let found = found.rows(&Labels::new(&labels, CLASSES).unwrap()).unwrap();
        check(&found, &concat(labels.iter().map(|&y| expected(r, y, &rows))));
    }

    #[test]
    fn soft_rows_are_mixtures_of_labels(
        (prior, rows) in priors(),
        weights in prop::collection::vec(0.0..1.0, CLASSES),
        epsilons in prop_oneof![
            epsilon().prop_map(|e| vec![e; CLASSES]),
            prop::collection::vec(epsilon(), CLASSES),
        ],
        as_one: bool,
    ) {
        prop_assume!(weights.iter().sum::<f64>() > 0.0);
        let q = normalized(weights);
        let one = as_one && epsilons.windows(2).all(|pair| pair[0] == pair[1]);
        let checked: Vec<_> = epsilons.iter().map(|&e| Epsilon::new(e).unwrap()).collect();
        let smoothing = if one {
            Smoothing::towards(checked[0], prior)
        } else {
            Smoothing::towards(checked, prior)
        };
        let mut sum = vec![0.0; CLASSES];
        for label in 0..CLASSES {
            let row = expected(epsilons[label], label, &rows);
            sum.iter_mut().zip(row).for_each(|(sum, t)| *sum += q[label] * t);
        }
        let soft = Probabilities::new(q.clone(), CLASSES).unwrap();
        check(&smoothing.smooth_rows(&soft).unwrap(), &sum);
        if one && smoothing.convention().is_some() {
            let masses = smoothing.fused_soft(CLASSES).unwrap();
            prop_assert_eq!(masses.label, 0.0);
            let fused: Vec<f32> =
                q.iter().map(|q| (masses.uniform + masses.dense * q) as f32).collect();
            check(&fused, &sum);
        } else {
            prop_assert!(smoothing.fused_soft(CLASSES).is_err());
        }
    }

    #[test]
    fn both_conventions_say_the_same(epsilon in 0.0..=0.8, labels in labels(), mixture: bool) {
        let convention = if mixture { Convention::Mixture } else { Convention::OffTarget };
        let smoothing = Smoothing::new(Epsilon::new(epsilon).unwrap(), convention);
        let labels = Labels::new(&labels, CLASSES).unwrap();
        let rows = |smoothing: &Smoothing| smoothing.fused(CLASSES).unwrap().rows(&labels).unwrap();
        let before: Vec<f64> = rows(&smoothing).into_iter().map(f64::from).collect();
        let as_mixture = smoothing.to_mixture(CLASSES).unwrap();
        let as_off_target = smoothing.to_off_target(CLASSES).unwrap();
        prop_assert_eq!(as_mixture.convention(), Some(Convention::Mixture));
        prop_assert_eq!(as_off_target.convention(), Some(Convention::OffTarget));
        check(&rows(&as_mixture), &before);
        check(&rows(&as_off_target), &before);
    }

    #[test]
    fn what_is_written_reads_the_same(
        (prior, _) in priors(),
        epsilons in prop::collection::vec(epsilon(), CLASSES),
        kind in 0..3,
    ) {
        let checked: Vec<_> = epsilons.iter().map(|&e| Epsilon::new(e).unwrap()).collect();
        let smoothing = match kind {
            0 => Smoothing::towards(checked[0], prior),
            1 => Smoothing::towards(checked, prior),
            _ => Smoothing::towards(NegativeEpsilon::new(-0.1 - epsilons[0]).unwrap(), prior),
        };
        let text = serde_json::to_string(&smoothing).unwrap();
        prop_assert_eq!(serde_json::from_str::<Smoothing>(&text).unwrap(), smoothing);
    }
}

/// The label's mass and the uniform part cancel exactly, so that a −∞ logit at the label costs nothing.
#[test]
fn nothing_is_left_off_target() {
    for classes in 2..200 {
        let target = Smoothing::off_target(1.0).unwrap().fused(classes).unwrap();
        let MassesBy::All(masses) = target.masses else { panic!("one epsilon for all") };
        assert_eq!(masses.label + masses.uniform, 0.0);
    }
}

#[test]
fn a_class_that_is_not_allowed_has_exactly_nothing() {
    let allowed = AllowedClasses::new(vec![0, 3]).unwrap();
    let target = Smoothing::towards(Epsilon::new(0.5).unwrap(), allowed).fused(4).unwrap();
    let mut row = [f64::NAN; 4];
    target.row_into(0, 3, &mut row).unwrap();
    assert_eq!(row, [0.25, 0.0, 0.0, 0.75]);
}

#[test]
fn no_smoothing_needs_no_prior_but_checks_it() {
    let prior = ClassDistribution::new(vec![0.5, 0.5]).unwrap();
    let none = Smoothing::towards(Epsilon::ZERO, prior);
    assert!(none.is_none());
    let target = none.fused(2).unwrap();
    assert!(target.is_one_hot());
    assert_eq!(target.dense, Dense::None);
    assert!(none.fused(3).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let half = Epsilon::new(0.5).unwrap();
    let by_class = Smoothing::towards(vec![half; 3], Convention::Mixture);
    assert!(by_class.fused(3).is_ok());
    assert!(by_class.fused(4).is_err());
    assert!(by_class.fused(0).is_err());
    assert!(matches!(by_class.uniform_share(3), Err(Error::NotUniform { .. })));
    assert!(Smoothing::towards(vec![], Convention::Mixture).fused(2).is_err());
    let negative = Smoothing::towards(NegativeEpsilon::new(-0.5).unwrap(), Convention::Mixture);
    assert!(matches!(negative.uniform_share(3), Err(Error::NotUniform { .. })));
    assert!(matches!(negative.weights(3), Err(Error::NotUniform { .. })));

    let smoothing = Smoothing::mixture(0.1).unwrap();
    assert!(smoothing.fused_per_row(2, &[0.1, 1.1]).is_err());
    assert!(smoothing.fused_per_row(2, &[f64::NAN]).is_err());
    let two_rows = smoothing.fused_per_row(2, &[0.1, 0.2]).unwrap();
    assert!(two_rows.rows(&Labels::new(&[0, 1, 1], 2).unwrap()).is_err());
    assert!(two_rows.row_into(2, 0, &mut [0.0; 2]).is_err());
    assert!(two_rows.row_into(0, 2, &mut [0.0; 2]).is_err());
    assert!(Smoothing::off_target(0.9).unwrap().to_mixture(2).is_err());
    let single = Smoothing::mixture(0.3).unwrap().to_off_target(1).unwrap();
    assert_eq!(single.fused(1).unwrap().rows(&Labels::new(&[0], 1).unwrap()).unwrap(), [1.0]);
}

#[test]
fn a_file_says_what_is_wrong_with_it() {
    let parse = |text: &str| serde_json::from_str::<Smoothing>(text);
    let by_class = parse(r#"{"epsilon":[0.1,0.2],"convention":"mixture"}"#).unwrap();
    assert_eq!(by_class.to_string(), "0.1 to 0.2 by class (mixture)");
    let negative = parse(r#"{"negative_epsilon":-0.4,"convention":"mixture"}"#).unwrap();
    assert_eq!(negative.to_string(), "-0.4 (mixture)");
    let whole = parse(r#"{"epsilon":1,"prior":{"kind":"ordinal","distance":"squared","scale":2}}"#);
    assert_eq!(whole.unwrap().to_string(), "1 (ordinal, squared, scale 2)");
    for (bad, expected) in [
        (r#"{"epsilon":0.1}"#, "missing field `convention` of a smoothing (or `prior`)"),
        (r#"{"convention":"mixture"}"#, "missing field `epsilon`"),
        (r#"{"epsilon":-0.1,"convention":"mixture"}"#, "epsilon must be in [0, 1], found -0.1"),
        (r#"{"epsilon":[0.1,2],"convention":"mixture"}"#, "epsilon must be in [0, 1], found 2"),
        (r#"{"epsilon":[],"convention":"mixture"}"#, "expected an epsilon for each class"),
        (r#"{"epsilon":"a","convention":"mixture"}"#, "a number, or a list with a number"),
        (r#"{"negative_epsilon":0.1,"convention":"mixture"}"#, "must be below 0 and finite"),
        (
            r#"{"epsilon":0.1,"negative_epsilon":-0.1,"convention":"mixture"}"#,
            "takes `epsilon` or `negative_epsilon`, not both",
        ),
        (
            r#"{"epsilon":0.1,"convention":"mixture","prior":{"kind":"mixture"}}"#,
            "takes `convention` or `prior`, not both",
        ),
    ] {
        let error = parse(bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{bad}: {error}");
    }
}
