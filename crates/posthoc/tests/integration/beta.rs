//! Beta calibration: the optimum against a reference, the border a = 0 or b = 0, symmetries, and
//! data that have little.

use proptest::prelude::*;
use softlabel_core::{Error as Input, Logits};
use softlabel_metrics::evaluate;
use softlabel_posthoc::{
    BetaCalibration, BetaCurve, BetaForm, Calibrator, Error, FitOutcome, PlattScaling,
};

use crate::{checked, noisy};

const MASKED: f64 = f64::NEG_INFINITY;

const FORMS: [BetaForm; 3] = [BetaForm::Abm, BetaForm::Am, BetaForm::Ab];

fn fit(logits: &[f64], labels: &[usize], classes: usize, form: BetaForm) -> BetaCalibration {
    let (logits, labels) = checked(logits, labels, classes);
    BetaCalibration::fit(&logits, &labels, form).unwrap()
}

/// The mean negative log-likelihood of a curve and its derivatives by a, b and c, written out for
/// two classes with the logits 0 and f.
fn loss_and_gradient(odds: &[f64], labels: &[usize], curve: BetaCurve) -> (f64, [f64; 3]) {
    let (mut loss, mut gradient) = (0.0, [0.0; 3]);
    let n = labels.len() as f64;
    for (f, &label) in odds.iter().zip(labels) {
        let p = 1.0 / (1.0 + (-f).exp());
        let (x, y) = (p.ln(), -(1.0 - p).ln());
        let q = 1.0 / (1.0 + (-(curve.a * x + curve.b * y + curve.c)).exp());
        loss -= if label == 1 { q.ln() } else { (1.0 - q).ln() } / n;
        let difference = q - label as f64;
        for (sum, factor) in gradient.iter_mut().zip([x, y, 1.0]) {
            *sum += difference * factor / n;
        }
    }
    (loss, gradient)
}

/// Optima in 40 digits by Newton's method. For every class those of the free fit have a < 0 or b <
/// 0; of the two with one of them 0 the better is below.
///
/// ```python
/// from mpmath import mp, mpf, exp, log, matrix, lu_solve
/// mp.dps, n, K = 40, 60, 3
/// z = [[mpf((7 * i + 13 * k * k + 5 * i * k) % 23) / 8 for k in range(K)] for i in range(n)]
/// top = [max(range(K), key=lambda k: r[k]) for r in z]
/// y = [(i * i + 3 * i) // 4 % K if i % 4 else top[i] for i in range(n)]
/// def newton(X, positive):
///     t, m = [mpf(0)] * len(X[0]), range(len(X[0]))
///     while True:
///         p = [1 / (1 + exp(-sum(a * b for a, b in zip(t, x)))) for x in X]
///         g = [sum((q - s) * x[i] for q, s, x in zip(p, positive, X)) for i in m]
///         if max(abs(v) for v in g) < mpf(10) ** -30:
///             return t, -sum(log(q if s else 1 - q) for q, s in zip(p, positive)) / n
///         H = [[sum(q * (1 - q) * x[i] * x[j] for q, x in zip(p, X)) for j in m] for i in m]
///         d = lu_solve(matrix(H), matrix(g))
///         step = min(1, 1 / max(abs(v) for v in d))
///         t = [a - step * b for a, b in zip(t, d)]
/// for k in range(K):
///     p = [exp(r[k]) / sum(exp(v) for v in r) for r in z]
///     for name, X in [("abm", [[log(q), -log(1 - q), 1] for q in p]),
///                     ("abm a=0", [[-log(1 - q), 1] for q in p]),
///                     ("abm b=0", [[log(q), 1] for q in p]),
///                     ("am", [[log(q) - log(1 - q), 1] for q in p]),
///                     ("ab", [[log(2 * q), -log(2 * (1 - q))] for q in p]),
///                     ("ab a=0", [[-log(2 * (1 - q))] for q in p]),
///                     ("ab b=0", [[log(2 * q)] for q in p])]:
///         print(k, name, *newton(X, [label == k for label in y]))
/// ```
#[test]
fn agrees_with_a_reference_in_forty_digits() {
    let row = |i: usize| (0..3).map(move |k| ((7 * i + 13 * k * k + 5 * i * k) % 23) as f64 / 8.0);
    let logits: Vec<f64> = (0..60).flat_map(row).collect();
    let label = |(i, row): (usize, &[f64])| match i % 4 {
        0 => (0..3).rev().max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap(),
        _ => (i * i + 3 * i) / 4 % 3,
    };
    let labels: Vec<usize> = logits.chunks(3).enumerate().map(label).collect();
    let two = std::f64::consts::LN_2;
    let same = |a: f64, c: f64| [a, a, c];
    let expected = [
        (
            BetaForm::Abm,
            [
                [0.454_163_072_379_152_4, 0.0, -1.176_341_923_295_734_8],
                [0.0, 1.139_882_152_651_367, -0.814_821_558_577_568_3],
                [0.315_813_177_896_937_35, 0.0, 0.063_512_113_066_241_44],
            ],
        ),
        (
            BetaForm::Am,
            [
                same(0.283_768_960_986_763_44, -1.514_892_218_416_4),
                same(0.310_322_805_728_859_9, -0.018_108_030_770_179),
                same(0.203_866_023_303_753_84, -0.169_618_640_694_149_1),
            ],
        ),
        (
            BetaForm::Ab,
            [
                [1.825_569_795_432_846_8, 0.0, two * 1.825_569_795_432_846_8],
                [0.0, 1.172_540_386_107_000_6, -two * 1.172_540_386_107_000_6],
                [0.439_928_713_025_292_98, 0.0, two * 0.439_928_713_025_292_98],
            ],
        ),
    ];
    for (form, expected) in expected {
        let map = fit(&logits, &labels, 3, form);
        for (curve, expected) in map.curves().iter().zip(expected) {
            for (found, expected) in [curve.a, curve.b, curve.c].into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-7, "{form:?}: {curve:?}, {expected}");
            }
        }
        assert!(map.diagnostics().unwrap().outcome.converged());
    }
}

#[test]
fn diagnostics_are_those_of_the_applied_map() {
    let (logits, labels) = noisy(90);
    for form in FORMS {
        let map = fit(&logits, &labels, 3, form);
        let (logits, labels) = checked(&logits, &labels, 3);
        let diagnostics = map.diagnostics().unwrap();
        let before = evaluate(&logits, &labels, 15).unwrap();
        let after = evaluate(&map.apply(&logits).unwrap(), &labels, 15).unwrap();
        assert_eq!(diagnostics.samples, 90);
        assert!((diagnostics.nll_before - before.nll).abs() < 1e-14);
        assert!((diagnostics.nll_after - after.nll).abs() < 1e-14);
        let iterations: usize = diagnostics.classes.iter().map(|fit| fit.iterations).sum();
        assert_eq!(diagnostics.iterations, iterations);
    }
}

#[test]
fn applying_is_the_formula() {
    let curves = [(0.5, 2.0, 0.25), (1.0, 0.0, -1.0), (0.0, 0.0, 3.0)];
    let curves = curves.map(|(a, b, c)| BetaCurve { a, b, c });
    let row = [1.0, -0.5, 2.0];
    let total: f64 = row.iter().map(|z: &f64| z.exp()).sum();
    let values: Vec<f64> = row
        .iter()
        .zip(curves)
        .map(|(z, BetaCurve { a, b, c })| {
            let p = z.exp() / total;
            1.0 / (1.0 + (-(a * p.ln() - b * (1.0 - p).ln() + c)).exp())
        })
        .collect();
    let map = BetaCalibration::from_curves(3, curves.to_vec()).unwrap();
    let found = map.apply(&Logits::new(&row, 3).unwrap()).unwrap();
    for (found, value) in found.as_slice().iter().zip(&values) {
        assert!((found.exp() - value / values.iter().sum::<f64>()).abs() < 1e-14);
    }
}

#[test]
fn classes_with_little() {
    let (logits, _) = noisy(10);
    for form in FORMS {
        let map = fit(&logits, &[0; 10], 3, form);
        let diagnostics = map.diagnostics().unwrap();
        assert_eq!(diagnostics.outcome, FitOutcome::OneSided);
        let found = map.apply(&Logits::new(&logits, 3).unwrap()).unwrap();
        // 11/12 against 1/12 and 1/12.
        assert!((found.as_slice()[0].exp() - 11.0 / 13.0).abs() < 1e-14);

        let flat = fit(&[4.0, 0.0].repeat(4), &[0, 1, 0, 0], 2, form);
        assert_eq!(flat.diagnostics().unwrap().outcome, FitOutcome::Flat);
        let found = flat.apply(&Logits::new(&[4.0, 0.0], 2).unwrap()).unwrap();
        assert!((found.as_slice()[1].exp() - 0.25).abs() < 1e-14);
    }
}

#[test]
fn separable_labels_end_where_every_row_is_on_its_side() {
    for size in [1e-3, 1.0, 1e3, 1e200] {
        let logits = [[size, 0.0], [0.0, size]].repeat(5).concat();
        for form in FORMS {
            let map = fit(&logits, &[0, 1].repeat(5), 2, form);
            assert_eq!(
                map.diagnostics().unwrap().outcome,
                FitOutcome::Separable,
                "{size} {form:?}"
            );
            let found = map.apply(&Logits::new(&logits, 2).unwrap()).unwrap();
            assert!(found.as_slice()[0].exp() > 0.5 && found.as_slice()[3].exp() > 0.5);
            assert!(found.as_slice().iter().all(|l| l.is_finite()));
        }
    }
}

#[test]
fn impossible_classes_stay_impossible_and_teach_nothing() {
    let (logits, labels) = noisy(60);
    let mut masked: Vec<f64> =
        logits.chunks(3).flat_map(|row| [row[0], row[1], row[2], MASKED]).collect();
    masked.extend([5.0, MASKED, MASKED, MASKED].repeat(7));
    let more_labels: Vec<usize> = labels.iter().copied().chain([0; 7]).collect();
    let map = fit(&masked, &more_labels, 4, BetaForm::Abm);
    let without = fit(&logits, &labels, 3, BetaForm::Abm);
    assert_eq!(map.curves()[..3], without.curves()[..]);
    assert_eq!(map.curves()[3], BetaCurve { a: 1.0, b: 1.0, c: 0.0 });
    assert_eq!(map.diagnostics().unwrap().classes[3].outcome, FitOutcome::Flat);
    let calibrated = map.apply(&Logits::new(masked, 4).unwrap()).unwrap();
    assert!(calibrated.matrix().iter().all(|row| row[3] == MASKED));
    assert_eq!(calibrated.as_slice()[4 * 60..4 * 60 + 4], [0.0, MASKED, MASKED, MASKED]);
    let single = fit(&[3.0, -2.0], &[0, 0], 1, BetaForm::Abm);
    assert_eq!(single.apply(&Logits::new(&[7.0], 1).unwrap()).unwrap().as_slice(), [0.0]);
}

#[test]
fn nothing_underflows_or_overflows() {
    let row = Logits::new(vec![1e4, 0.0, -1e4, f64::MAX, f64::MIN, 0.0], 3).unwrap();
    for (a, b, c) in [(1.0, 1.0, 0.0), (1e3, 0.0, -5.0), (1e300, 1e300, 1e300), (0.0, 0.0, 0.0)] {
        let map = BetaCalibration::from_curves(3, vec![BetaCurve { a, b, c }; 3]).unwrap();
        let calibrated = map.apply(&row).unwrap();
        assert!(calibrated.as_slice().iter().all(|value| value.is_finite()), "{calibrated:?}");
    }
}

#[test]
fn what_cannot_be_fitted_or_made() {
    let fit = |logits: &[f64], labels: &[usize], classes| {
        let (logits, labels) = checked(logits, labels, classes);
        BetaCalibration::fit(&logits, &labels, BetaForm::Abm).unwrap_err()
    };
    assert!(matches!(fit(&[], &[], 3), Error::Input(Input::Empty { .. })));
    assert!(matches!(fit(&[0.0; 4], &[0], 2), Error::Input(Input::Mismatch { .. })));
    let error = fit(&[MASKED, 1.0, 1.0, 0.0], &[0, 1], 2);
    assert!(matches!(error, Error::ImpossibleLabel { row: 0, label: 0 }));
    for (classes, numbers) in [
        (0, vec![]),
        (2, vec![]),
        (3, vec![(1.0, 1.0, 0.0)]),
        (2, vec![(-0.5, 1.0, 0.0)]),
        (2, vec![(1.0, f64::INFINITY, 0.0)]),
        (2, vec![(1.0, 1.0, f64::NAN)]),
    ] {
        let curves = numbers.into_iter().map(|(a, b, c)| BetaCurve { a, b, c }).collect();
        let error = BetaCalibration::from_curves(classes, curves).unwrap_err();
        assert!(matches!(error, Error::Input(_)), "{error}");
    }
}

/// With a = b and c of one's own the map is Platt's of the log-odds.
#[test]
fn equal_factors_are_a_sigmoid_of_the_log_odds() {
    let (slopes, intercepts) = ([0.5, 2.0, 1.25], [0.25, -1.0, 0.0]);
    let platt = PlattScaling::from_parameters(&slopes, &intercepts).unwrap();
    let curve = |(&a, &c): (&f64, &f64)| BetaCurve { a, b: a, c };
    let curves = slopes.iter().zip(&intercepts).map(curve).collect();
    let beta = BetaCalibration::from_curves(3, curves).unwrap();
    let (logits, _) = noisy(20);
    let logits = Logits::new(logits, 3).unwrap();
    let (x, y) = (platt.apply(&logits).unwrap(), beta.apply(&logits).unwrap());
    for (x, y) in x.as_slice().iter().zip(y.as_slice()) {
        assert!((x - y).abs() < 1e-13);
    }
}

proptest! {
    /// The conditions of an optimum under a, b ≥ 0: the derivative by c vanishes, and those by a and
    /// b do where they are positive and are not negative where they are 0.
    #[test]
    fn no_allowed_step_improves(
        odds in prop::collection::vec(-6.0..6.0f64, 30),
        labels in prop::collection::vec(0..2usize, 30),
    ) {
        let logits: Vec<f64> = odds.iter().flat_map(|&f| [0.0, f]).collect();
        let map = fit(&logits, &labels, 2, BetaForm::Abm);
        let curve = map.curves()[0];
        if map.diagnostics().unwrap().outcome.converged() {
            let (_, [by_a, by_b, by_c]) = loss_and_gradient(&odds, &labels, curve);
            prop_assert!(by_c.abs() < 1e-7, "{curve:?}: {by_c}");
            for (value, slope) in [(curve.a, by_a), (curve.b, by_b)] {
                prop_assert!(value >= 0.0 && slope > -1e-7, "{curve:?}: {slope}");
                prop_assert!(value == 0.0 || slope.abs() < 1e-7, "{curve:?}: {slope}");
            }
        }
    }

    /// More free numbers fit no worse; with two classes none is worse than the identity.
    #[test]
    fn larger_forms_fit_better(
        odds in prop::collection::vec(-6.0..6.0f64, 30),
        labels in prop::collection::vec(0..2usize, 30),
    ) {
        let logits: Vec<f64> = odds.iter().flat_map(|&f| [0.0, f]).collect();
        let maps = FORMS.map(|form| fit(&logits, &labels, 2, form));
        let fits = maps.each_ref().map(|map| map.diagnostics().unwrap().clone());
        if fits.iter().all(|fit| fit.outcome.converged()) {
            let [abm, am, ab] = fits.each_ref().map(|fit| fit.nll_after);
            prop_assert!(abm <= am + 1e-12 && abm <= ab + 1e-12);
            prop_assert!(am <= fits[0].nll_before + 1e-12 && ab <= fits[0].nll_before + 1e-12);
        }
    }

    #[test]
    fn two_classes_mirror_each_other(
        odds in prop::collection::vec(-6.0..6.0f64, 30),
        labels in prop::collection::vec(0..2usize, 30),
    ) {
        let logits: Vec<f64> = odds.iter().flat_map(|&f| [0.0, f]).collect();
        let turned: Vec<f64> = odds.iter().flat_map(|&f| [f, 0.0]).collect();
        let turned_labels: Vec<usize> = labels.iter().map(|label| 1 - label).collect();
        for form in FORMS {
            let (x, y) = (
                fit(&logits, &labels, 2, form),
                fit(&turned, &turned_labels, 2, form),
            );
            if x.diagnostics().unwrap().outcome.converged() {
                // −ln(1 − p) of one side is −ln p of the other.
                let (x, y) = (x.curves()[0], y.curves()[0]);
                let size = 1e-5 * (1.0 + x.a + x.b);
                prop_assert!((x.a - y.b).abs() < size && (x.b - y.a).abs() < size);
                prop_assert!((x.c + y.c).abs() < 10.0 * size, "{x:?}, {y:?}");
            }
        }
    }
}
