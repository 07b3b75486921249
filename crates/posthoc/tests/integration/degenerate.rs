//! Every map on logits with little in them: constant, repeated and opposite columns, one row, one class, separable
//! rows, more parameters than rows, logits from 1e-30 to 1e12.

use softlabel_core::{Labels, Logits};
use softlabel_posthoc::{Calibrator, FitOutcome, Method, VectorScaling};

struct Case {
    name: &'static str,
    classes: usize,
    logits: Vec<f64>,
    labels: Vec<usize>,
}

/// Labels of all three classes, and such that class 1 never occurs.
fn cases() -> Vec<Case> {
    let mut cases = cases_of(|i| (i * i * i + 7 * i) / 6 % 3);
    cases.extend(cases_of(|i| i * (i + 3) / 2 % 3));
    cases
}

#[allow(clippy::too_many_lines)] // A list.
fn cases_of(y: fn(usize) -> usize) -> Vec<Case> {
    let mut cases = Vec::new();
    let x = |i: usize| ((7 * i + 5 * i * i) % 23) as f64 / 8.0 - 1.4;
    let mut add = |name, classes, logits: Vec<f64>, labels: Vec<usize>| {
        cases.push(Case { name, classes, logits, labels });
    };
    let rows = |n: usize, row: &dyn Fn(usize) -> Vec<f64>| (0..n).flat_map(row).collect::<Vec<_>>();
    let labels = |n: usize| (0..n).map(y).collect::<Vec<_>>();
    for c in [0.0, 0.7, 3.3, 1e4] {
        add("constant columns", 3, rows(60, &|i| vec![x(i), c, c / 2.0]), labels(60));
    }
    add("constant and two", 3, rows(60, &|i| vec![x(i), x(i + 7) * 0.3, 0.7]), labels(60));
    add("duplicated", 3, rows(60, &|i| vec![x(i), x(i), x(3 * i + 1)]), labels(60));
    add("all duplicated", 3, rows(60, &|i| vec![x(i), x(i), x(i)]), labels(60));
    add("opposite", 3, rows(60, &|i| vec![x(i), -x(i), 0.0]), labels(60));
    add("one row", 1, vec![0.5], vec![0]);
    add("three rows", 3, rows(3, &|i| vec![x(i), x(2 * i), x(3 * i)]), vec![0, 1, 2]);
    add("three rows one class", 3, rows(3, &|i| vec![x(i), x(2 * i), x(3 * i)]), vec![1, 1, 1]);
    add("one class", 3, rows(60, &|i| vec![x(i), x(2 * i), x(3 * i)]), vec![1; 60]);
    add(
        "two of three",
        3,
        rows(60, &|i| vec![x(i), x(2 * i), x(3 * i)]),
        labels(60).into_iter().map(|l| l % 2).collect(),
    );
    add(
        "separable",
        3,
        rows(60, &|i| (0..3).map(|k| x(i + k) * 0.1 + f64::from(u8::from(k == y(i)))).collect()),
        labels(60),
    );
    add(
        "nearly separable",
        3,
        rows(60, &|i| (0..3).map(|k| x(i + k) * 0.1 + f64::from(u8::from(k == y(i)))).collect()),
        {
            let mut l = labels(60);
            l[0] = (l[0] + 1) % 3;
            l
        },
    );
    add(
        "quasi separable",
        2,
        rows(60, &|i| vec![if i % 2 == 0 { 0.0 } else { 1.0 }, 0.3]),
        (0..60).map(|i| if i % 2 == 0 { i / 2 % 2 } else { 1 }).collect(),
    );
    add(
        "two classes",
        2,
        rows(60, &|i| vec![x(i), x(3 * i + 1)]),
        labels(60).into_iter().map(|l| l % 2).collect(),
    );
    add(
        "two, constant",
        2,
        rows(60, &|i| vec![x(i), 0.5]),
        labels(60).into_iter().map(|l| l % 2).collect(),
    );
    for (name, s) in [("huge", 1e4), ("tiny", 1e-8), ("very huge", 1e12), ("very tiny", 1e-30)] {
        add(name, 3, rows(60, &|i| vec![s * x(i), s * x(2 * i), s * x(3 * i)]), labels(60));
    }
    add("mixed", 3, rows(60, &|i| vec![1e4 * x(i), x(2 * i), 1e-8 * x(3 * i)]), labels(60));
    add(
        "outlier",
        3,
        rows(60, &|i| vec![if i == 0 { 1e6 } else { x(i) }, x(2 * i), x(3 * i)]),
        labels(60),
    );
    add("far", 3, rows(60, &|i| vec![1e6 + x(i), x(2 * i), x(3 * i)]), labels(60));
    add("farther", 3, rows(60, &|i| vec![1e12 + x(i), x(2 * i), x(3 * i)]), labels(60));
    add(
        "more parameters than rows",
        8,
        rows(9, &|i| (0..8).map(|k| x(i * 3 + k * k)).collect()),
        (0..9).map(|i| i * i % 8).collect(),
    );
    add(
        "half",
        8,
        rows(30, &|i| (0..8).map(|k| x(i * 3 + k * k)).collect()),
        (0..30).map(|i| i * 5 % 8).collect(),
    );
    add(
        "same rows",
        8,
        rows(30, &|_| (0..8).map(|k| x(3 + k * k)).collect()),
        (0..30).map(|i| i * 5 % 8).collect(),
    );
    add(
        "two kinds",
        3,
        rows(60, &|i| if i % 2 == 0 { vec![1.0, 0.0, 0.0] } else { vec![0.0, 1.0, 0.0] }),
        labels(60),
    );
    add(
        "saturated",
        3,
        rows(60, &|i| {
            (0..3).map(|k| if k == (7 * i + i * i) % 3 { 0.0 } else { -800.0 }).collect()
        }),
        labels(60),
    );
    cases
}

/// Methods by name, and some one after the other.
fn methods() -> impl Iterator<Item = Method> {
    let composed =
        ["temperature+isotonic", "vector+isotonic", "temperature+beta", "platt+temperature"];
    Method::names().iter().copied().chain(composed).map(|name| name.parse().unwrap())
}

#[test]
fn every_map_is_fitted_or_says_why_not() {
    for case in cases() {
        let logits = Logits::new(case.logits.clone(), case.classes).unwrap();
        let labels = Labels::new(&case.labels, case.classes).unwrap();
        for method in methods() {
            let what = format!("{}, {method:?}", case.name);
            let map = method.fit(&logits, &labels).unwrap_or_else(|e| panic!("{what}: {e}"));
            let fit = map.diagnostics().unwrap();
            // A network is fitted so far and no further.
            if !matches!(method, Method::ParametrizedTemperature(_)) {
                assert_ne!(fit.outcome, FitOutcome::IterationLimit, "{what}");
            }
            let found = map.apply(&logits).unwrap();
            for row in found.matrix().iter() {
                let total: f64 = row.iter().map(|value| value.exp()).sum();
                assert!((total - 1.0).abs() < 1e-9, "{what}: {row:?}");
            }
        }
    }
}

/// At an optimum of vector scaling Σ_i (q_ik − t_ik) and Σ_i (q_ik − t_ik)·z_ik are 0 for every class: the objective
/// is convex, so nothing else has to be known of it.
#[test]
fn vector_scaling_is_at_the_optimum() {
    let mut converged = 0;
    for case in cases() {
        let logits = Logits::new(case.logits.clone(), case.classes).unwrap();
        let labels = Labels::new(&case.labels, case.classes).unwrap();
        let map = VectorScaling::fit(&logits, &labels).unwrap();
        if map.diagnostics().unwrap().outcome != FitOutcome::Converged {
            continue;
        }
        converged += 1;
        let found = map.apply(&logits).unwrap();
        let rows = case.labels.len() as f64;
        for class in 0..case.classes {
            let (mut shift, mut slope, mut size) = (0.0, 0.0, 0.0f64);
            for (row, &label) in case.labels.iter().enumerate() {
                let at = row * case.classes + class;
                let excess = found.as_slice()[at].exp() - f64::from(u8::from(label == class));
                shift += excess / rows;
                slope += excess * case.logits[at] / rows;
                size = size.max(case.logits[at].abs());
            }
            // w·z + b loses an ulp of w·z, which no w and b can give back.
            let bound = 1e-6 + f64::EPSILON * size;
            assert!(shift.abs() < bound, "{}, class {class}: {shift}", case.name);
            assert!(slope.abs() <= bound * size, "{}, class {class}: {slope}", case.name);
        }
    }
    assert!(converged >= 20, "{converged}");
}
