//! Vector and matrix scaling, Dirichlet calibration and the bias-corrected temperature: the optimum
//! against a reference, what contains what, symmetries, and data that have no optimum.

use proptest::prelude::*;
use softlabel_core::{Error as Input, Labels, Logits, Temperature};
use softlabel_metrics::evaluate;
use softlabel_posthoc::{
    AnyCalibrator, BiasCorrectedTemperature, Calibrator, DirichletCalibration, Error, FitOutcome,
    MatrixScaling, Odir, TemperatureScaling, VectorScaling,
};

use crate::{checked, noisy};

const MASKED: f64 = f64::NEG_INFINITY;

/// The map of every kind, each of which contains the one before but for the penalty of the last.
fn fits(logits: &Logits<'_, f64>, labels: &Labels) -> [AnyCalibrator; 4] {
    let odir = Odir::new(0.1, 0.2).unwrap();
    [
        BiasCorrectedTemperature::fit(logits, labels).unwrap().into(),
        VectorScaling::fit(logits, labels).unwrap().into(),
        MatrixScaling::fit(logits, labels).unwrap().into(),
        DirichletCalibration::fit(logits, labels, odir).unwrap().into(),
    ]
}

fn nll_after(map: &AnyCalibrator) -> f64 {
    map.diagnostics().unwrap().nll_after
}

fn outcome(map: &AnyCalibrator) -> FitOutcome {
    map.diagnostics().unwrap().outcome
}

/// The rows and labels of the reference.
fn rows() -> (Vec<f64>, Vec<usize>) {
    let row = |i: usize| (0..3).map(move |k| ((7 * i + 13 * k * k + 5 * i * k) % 23) as f64 / 8.0);
    let logits: Vec<f64> = (0..60).flat_map(row).collect();
    let label = |(i, row): (usize, &[f64])| match i % 4 {
        0 => (0..3).rev().max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap(),
        _ => (i * i + 3 * i) / 4 % 3,
    };
    let labels = logits.chunks(3).enumerate().map(label).collect();
    (logits, labels)
}

/// Optima in 40 digits by Newton's method on the written-out Hessian:
///
/// ```python
/// from mpmath import mp, mpf, exp, log, matrix, lu_solve
/// mp.dps, n, K = 40, 60, 3
/// z = [[mpf((7 * i + 13 * k * k + 5 * i * k) % 23) / 8 for k in range(K)] for i in range(n)]
/// top = [max(range(K), key=lambda k: r[k]) for r in z]
/// y = [(i * i + 3 * i) // 4 % K if i % 4 else top[i] for i in range(n)]
/// lnp = [[v - log(sum(exp(u) for u in r)) for v in r] for r in z]
/// def newton(x, parts_of, penalty, size):
///     t = [mpf(0)] * size
///     while True:
///         value, g, H = mpf(0), [mpf(0)] * size, mp.zeros(size)
///         for r, label in zip(x, y):
///             parts, mean = parts_of(r), {}
///             e = [exp(sum(f * t[i] for i, f in part)) for part in parts]
///             p = [v / sum(e) for v in e]
///             value -= log(p[label]) / n
///             for k in range(K):
///                 for i, f in parts[k]:
///                     g[i] += (p[k] - (k == label)) * f / n
///                     mean[i] = mean.get(i, 0) + p[k] * f
///                     for j, h in parts[k]: H[i, j] += p[k] * f * h / n
///             for i in mean:
///                 for j in mean: H[i, j] -= mean[i] * mean[j] / n
///         for i, c in penalty.items():
///             value += c * t[i] ** 2; g[i] += 2 * c * t[i]; H[i, i] += 2 * c
///         for i in range(size): H[i, i] += mpf(10) ** -30  # for what no row determines
///         if max(abs(v) for v in g) < mpf(10) ** -25: return t, value
///         d = lu_solve(H, matrix(g))
///         step = min(1, 1 / max(abs(v) for v in d))
///         t = [a - step * b for a, b in zip(t, d)]
/// one = lambda r: [[(0, r[k]), (1 + k, 1)] for k in range(K)]
/// vector = lambda r: [[(k, r[k]), (K + k, 1)] for k in range(K)]
/// full = lambda r: [[(K * k + j, r[j]) for j in range(K)] + [(K * K + k, 1)] for k in range(K)]
/// odir = {K * k + j: mpf(1) / 10 / (K * (K - 1)) for k in range(K) for j in range(K) if j != k}
/// odir |= {K * K + k: mpf(1) / 5 / K for k in range(K)}
/// for x, parts, penalty, size in [(z, one, {}, K + 1), (z, vector, {}, 2 * K),
///                                 (z, full, {}, K * K + K), (lnp, full, odir, K * K + K)]:
///     t, value = newton(x, parts, penalty, size)
///     shift = sum(t[-K:]) / K  # 0 under the penalty
///     print(mp.nstr(value, 17), *(mp.nstr(v, 17) for v in t[:-K] + [v - shift for v in t[-K:]]))
/// ```
#[test]
fn agree_with_a_reference_in_forty_digits() {
    let (logits, labels) = rows();
    let (logits, labels) = checked(&logits, &labels, 3);
    let close = |found: &[f64], expected: &[f64]| {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7, "{found}, {expected}");
        }
    };
    let nll = |map: &AnyCalibrator, expected: f64| {
        assert_eq!(outcome(map), FitOutcome::Converged);
        assert!((nll_after(map) - expected).abs() < 1e-14, "{}", nll_after(map));
    };

    let map = BiasCorrectedTemperature::fit(&logits, &labels).unwrap();
    assert!((map.temperature().inverse() - 0.254_533_725_247_782_4).abs() < 1e-7);
    close(
        map.intercepts(),
        &[-0.699_291_266_673_461_2, 0.371_921_597_216_364_2, 0.327_369_669_457_097],
    );
    nll(&map.into(), 0.998_624_011_760_583_5);

    let map = VectorScaling::fit(&logits, &labels).unwrap();
    close(
        map.weights(),
        &[0.028_088_881_384_501_743, 0.636_432_429_641_804_7, -0.026_748_981_037_569_114],
    );
    close(
        map.intercepts(),
        &[-0.438_372_305_359_527_4, -0.221_471_767_305_972_2, 0.659_844_072_665_499_6],
    );
    nll(&map.into(), 0.981_102_262_514_935_8);

    let map = MatrixScaling::fit(&logits, &labels).unwrap();
    nll(&map.into(), 0.963_833_046_850_889_8);

    let map = DirichletCalibration::fit(&logits, &labels, Odir::new(0.1, 0.2).unwrap()).unwrap();
    let (w, b) = (map.weights(), map.intercepts());
    close(
        w,
        &[
            0.473_787_229_980_523_2,
            -0.038_156_596_581_757_04,
            0.389_181_254_553_961_8,
            0.023_894_326_681_385_705,
            0.234_901_061_907_482_35,
            -0.389_181_254_553_961_8,
            -0.023_894_326_681_385_705,
            0.038_156_596_581_757_04,
            -0.062_994_685_974_298_19,
        ],
    );
    close(b, &[0.016_629_866_570_891_337, -0.037_597_840_157_942_07, 0.020_967_973_587_050_733]);
    let off_diagonal = w.iter().enumerate().filter(|(index, _)| index / 3 != index % 3);
    let penalty = 0.1 / 6.0 * off_diagonal.map(|(_, w)| w * w).sum::<f64>()
        + 0.2 / 3.0 * b.iter().map(|b| b * b).sum::<f64>();
    let fit = map.diagnostics().unwrap();
    let (objective, told) = (fit.nll_after + penalty, fit.objective.unwrap());
    assert!((objective - 0.978_241_206_049_423_9).abs() < 1e-14, "{objective}");
    assert!((told.after - objective).abs() < 1e-14, "{told:?}");
    assert_eq!(told.before, fit.nll_before);
}

#[test]
fn without_a_penalty_dirichlet_is_matrix_scaling_of_log_probabilities() {
    let (logits, labels) = noisy(90);
    let (logits, labels) = checked(&logits, &labels, 3);
    let logarithms = TemperatureScaling::from_temperature(Temperature::ONE, 3).unwrap();
    let logarithms = logarithms.apply(&logits).unwrap();
    let logarithms = Logits::new(logarithms.as_slice(), 3).unwrap();
    let matrix = MatrixScaling::fit(&logarithms, &labels).unwrap();
    let dirichlet =
        DirichletCalibration::fit(&logits, &labels, Odir::new(0.0, 0.0).unwrap()).unwrap();
    let (x, y) = (matrix.diagnostics().unwrap(), dirichlet.diagnostics().unwrap());
    assert!((x.nll_after - y.nll_after).abs() < 1e-14);
    for map in [matrix.intercepts(), dirichlet.intercepts()] {
        assert!(map.iter().sum::<f64>().abs() < 1e-14);
    }
    // Of all matrices that do the same, the one nearest to where the search began.
    let beta = TemperatureScaling::fit(&logits, &labels).unwrap().temperature().inverse();
    for column in 0..3 {
        let sum: f64 = dirichlet.weights().iter().skip(column).step_by(3).sum();
        assert!((sum - beta).abs() < 1e-12, "{column}: {sum}");
    }
    // The heavier both weigh, the smaller is what they weigh.
    let mut before = f64::INFINITY;
    for weight in [0.0, 0.01, 0.1, 1.0, 10.0] {
        let odir = Odir::new(weight, weight).unwrap();
        let map = DirichletCalibration::fit(&logits, &labels, odir).unwrap();
        let off_diagonal = map.weights().iter().enumerate().filter(|(i, _)| i / 3 != i % 3);
        let size = off_diagonal.map(|(_, w)| w * w).sum::<f64>() / 6.0
            + map.intercepts().iter().map(|b| b * b).sum::<f64>() / 3.0;
        assert!(size < before, "{weight}: {size}");
        before = size;
    }
}

#[test]
fn applying_is_the_formula() {
    let row = [1.0, -0.5, 2.0];
    let normal = |u: [f64; 3]| {
        let total: f64 = u.iter().map(|u| u.exp()).sum();
        u.map(|u| u.exp() / total)
    };
    let w = [0.5, 2.0, -1.0, 0.25, 0.0, 1.0, -0.75, 1.5, 3.0];
    let b = [0.25, -1.0, 0.5];
    let times = |x: [f64; 3]| -> [f64; 3] {
        std::array::from_fn(|k| (0..3).map(|j| w[3 * k + j] * x[j]).sum::<f64>() + b[k])
    };
    let vector = VectorScaling::from_parameters(w[..3].to_vec(), b.to_vec()).unwrap();
    let matrix = MatrixScaling::from_parameters(w.to_vec(), b.to_vec()).unwrap();
    let dirichlet = DirichletCalibration::from_parameters(w.to_vec(), b.to_vec()).unwrap();
    let temperature = Temperature::new(2.0).unwrap();
    let bias = BiasCorrectedTemperature::from_parameters(temperature, b.to_vec()).unwrap();
    let expected: [(AnyCalibrator, [f64; 3]); 4] = [
        (vector.into(), std::array::from_fn(|k| w[k] * row[k] + b[k])),
        (matrix.into(), times(row)),
        (dirichlet.into(), times(normal(row).map(f64::ln))),
        (bias.into(), std::array::from_fn(|k| row[k] / 2.0 + b[k])),
    ];
    for (map, u) in expected {
        assert!(map.diagnostics().is_none());
        let found = map.apply(&Logits::new(&row, 3).unwrap()).unwrap();
        for (found, expected) in found.as_slice().iter().zip(normal(u)) {
            assert!((found.exp() - expected).abs() < 1e-14, "{}", map.method());
        }
    }
}

#[test]
fn a_class_that_never_occurs_is_left_as_it_is() {
    let (logits, labels) = noisy(60);
    let labels: Vec<usize> = labels.into_iter().map(|label| label % 2).collect();
    let (logits, labels) = checked(&logits, &labels, 3);
    let beta = TemperatureScaling::fit(&logits, &labels).unwrap().temperature().inverse();
    let vector = VectorScaling::fit(&logits, &labels).unwrap();
    assert!((vector.weights()[2] - beta).abs() < 1e-14);
    let matrix = MatrixScaling::fit(&logits, &labels).unwrap();
    assert_eq!(matrix.weights()[6..8], [0.0, 0.0]);
    assert!((matrix.weights()[8] - beta).abs() < 1e-14);
    for map in fits(&logits, &labels) {
        assert_eq!(outcome(&map), FitOutcome::OneSided, "{}", map.method());
        assert!(nll_after(&map) < map.diagnostics().unwrap().nll_before);
    }
}

#[test]
fn separable_labels_end_where_every_label_has_more_than_half() {
    let logits = [[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.5, 1.0]].concat();
    let (logits, labels) = checked(&logits, &[0, 1, 0, 1], 2);
    let maps = [
        BiasCorrectedTemperature::fit(&logits, &labels).unwrap().into(),
        VectorScaling::fit(&logits, &labels).unwrap().into(),
        MatrixScaling::fit(&logits, &labels).unwrap().into(),
    ];
    for map in maps {
        let map: AnyCalibrator = map;
        assert_eq!(outcome(&map), FitOutcome::Separable, "{}", map.method());
        assert!(nll_after(&map) <= 0.25 * std::f64::consts::LN_2);
        let calibrated = map.apply(&logits).unwrap();
        for (row, label) in calibrated.matrix().iter().zip(labels.iter()) {
            assert!(row[label].exp() > 0.5 && row.iter().all(|l| l.is_finite()));
        }
    }
}

#[test]
fn equal_logits_leave_the_frequencies() {
    let (logits, labels) = checked(&[1.0; 24], &[0, 0, 0, 0, 0, 1, 1, 2], 3);
    for map in fits(&logits, &labels).into_iter().take(3) {
        assert_eq!(outcome(&map), FitOutcome::Flat, "{}", map.method());
        let calibrated = map.apply(&logits).unwrap();
        for (l, share) in calibrated.as_slice()[..3].iter().zip([0.625, 0.25, 0.125]) {
            assert!((l.exp() - share).abs() < 1e-7, "{}", map.method());
        }
    }
    let (logits, labels) = checked(&[3.0, -2.0], &[0, 0], 1);
    for map in fits(&logits, &labels) {
        assert_eq!(outcome(&map), FitOutcome::Flat, "{}", map.method());
        assert_eq!(map.apply(&logits).unwrap().as_slice(), [0.0, 0.0]);
    }
}

/// Where nothing that rises with the logits helps, the frequencies of the classes are the best there is: without
/// 1/T the optimum is q_k = n_k/n, whatever the logits are.
#[test]
fn frequencies_are_what_is_left_of_logits_that_point_away() {
    let rows = [[2.0, 0.0, 1.0], [0.0, 2.0, 0.0], [1.0, 0.0, 3.0], [0.0, 1.0, 0.5]];
    // Least where they say most, and twice as often 1 as 0, four times as often as 2.
    let labels = [1, 0, 1, 0, 1, 2, 1, 2, 1, 0, 1, 2, 1, 0, 1, 0].repeat(4);
    for labels in [labels.clone(), labels.iter().map(|label| label % 2).collect()] {
        let (logits, checked_labels) = checked(&rows.concat().repeat(16), &labels, 3);
        let map = BiasCorrectedTemperature::fit(&logits, &checked_labels).unwrap();
        let diagnostics = map.diagnostics().unwrap();
        assert_eq!(diagnostics.outcome, FitOutcome::WorseThanUniform);
        let found = map.apply(&logits).unwrap();
        let n = labels.len() as f64;
        let shares =
            [0, 1, 2].map(|k| labels.iter().filter(|&&label| label == k).count() as f64 / n);
        let occurring = || (0..3).filter(|&k| shares[k] > 0.0);
        // Without the class that never occurs, whose b stays.
        let entropy: f64 = occurring().map(|k| -shares[k] * shares[k].ln()).sum();
        let total = |row: &[f64]| occurring().map(|k| row[k].exp()).sum::<f64>();
        for row in found.matrix().iter() {
            for k in occurring() {
                assert!(
                    (row[k].exp() / total(row) - shares[k]).abs() < 2e-6,
                    "{row:?}, {shares:?}"
                );
            }
        }
        if occurring().count() == 3 {
            assert!((diagnostics.nll_after - entropy).abs() < 1e-5, "{diagnostics:?}");
            assert!(diagnostics.nll_after < 3f64.ln() - 0.05);
        }
        // Frequencies are met at the bound as well, not only without the logits.
        for k in occurring() {
            let sum: f64 = found.matrix().iter().map(|row| row[k].exp()).sum();
            let missing = if occurring().count() == 3 { 0.0 } else { 1.0 };
            assert!((sum / n - shares[k]).abs() < 1e-8 + missing, "{sum}");
        }
    }
}

#[test]
fn logits_that_point_away_need_no_negative_temperature() {
    let (logits, labels) = checked(&[2.0, 0.0, 0.0, 2.0].repeat(4), &[1, 0, 1, 0, 1, 0, 0, 1], 2);
    let map = BiasCorrectedTemperature::fit(&logits, &labels).unwrap();
    let diagnostics = map.diagnostics().unwrap();
    assert_eq!(diagnostics.outcome, FitOutcome::WorseThanUniform);
    assert_eq!(map.intercepts(), [0.0, 0.0]);
    assert!((diagnostics.nll_after - std::f64::consts::LN_2).abs() < 1e-5);
    // A factor may be negative, and says the opposite of its logit.
    let vector = VectorScaling::fit(&logits, &labels).unwrap();
    assert!(vector.weights().iter().all(|&weight| weight < 0.0));
    assert!((vector.apply(&logits).unwrap().as_slice()[1].exp() - 0.75).abs() < 1e-7);
}

/// Few rows, many classes, logits of all sizes and penalties of all weights: L-BFGS alone does not
/// get to the end of a third of these.
#[test]
fn badly_scaled_problems_have_their_optimum_too() {
    let mut state = 88_172_645_463_325_252_u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    for round in 0..24 {
        let scale = 10f64.powf(6.0 * uniform() - 2.0);
        let logits: Vec<f64> = (0..7 * 45).map(|_| scale * (12.0 * uniform() - 6.0)).collect();
        let top = |row: &[f64]| (0..7).max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap();
        let labels: Vec<usize> = logits
            .chunks(7)
            .enumerate()
            .map(|(i, row)| if uniform() < 0.4 { i % 7 } else { top(row) })
            .collect();
        let (logits, labels) = checked(&logits, &labels, 7);
        let [lambda, mu] = [0; 2].map(|_| 10f64.powf(8.0 * uniform() - 6.0));
        let odir = Odir::new(lambda, mu).unwrap();
        let objective = |map: &DirichletCalibration| {
            let scores = evaluate(&map.apply(&logits).unwrap(), &labels, 15).unwrap();
            let off_diagonal = map.weights().iter().enumerate().filter(|(i, _)| i / 7 != i % 7);
            scores.nll
                + lambda / 42.0 * off_diagonal.map(|(_, w)| w * w).sum::<f64>()
                + mu / 7.0 * map.intercepts().iter().map(|b| b * b).sum::<f64>()
        };
        let map = DirichletCalibration::fit(&logits, &labels, odir).unwrap();
        let best = objective(&map);
        if !map.diagnostics().unwrap().outcome.converged() {
            continue;
        }
        for index in 0..49 {
            for share in [-1e-3, 1e-3] {
                let (mut weights, intercepts) = (map.weights().to_vec(), map.intercepts());
                weights[index] += share * weights[index];
                let other = DirichletCalibration::from_parameters(weights, intercepts.to_vec());
                let gain = best - objective(&other.unwrap());
                assert!(gain < 1e-9, "{round}: {index}, {gain}");
            }
        }
    }
}

#[test]
fn impossible_classes() {
    let (logits, labels) = noisy(60);
    let masked: Vec<f64> =
        logits.chunks(3).flat_map(|row| [row[0], row[1], row[2], MASKED]).collect();
    let (masked, masked_labels) = checked(&masked, &labels, 4);
    let (logits, labels) = checked(&logits, &labels, 3);
    let without = VectorScaling::fit(&logits, &labels).unwrap();
    let with = VectorScaling::fit(&masked, &masked_labels).unwrap();
    assert_eq!(with.diagnostics().unwrap().outcome, FitOutcome::OneSided);
    let (x, y) = (with.apply(&masked).unwrap(), without.apply(&logits).unwrap());
    for (x, y) in x.matrix().iter().zip(y.matrix().iter()) {
        assert_eq!(x[3], MASKED);
        for (x, y) in x.iter().zip(y) {
            assert!((x - y).abs() < 1e-6, "{x}, {y}");
        }
    }
    BiasCorrectedTemperature::fit(&masked, &masked_labels).unwrap();

    let refused = |error: Error, method: &str| {
        assert!(matches!(error, Error::ImpossibleClass { row: 0, class: 3, .. }), "{error}");
        assert!(error.to_string().contains(method), "{error}");
    };
    refused(MatrixScaling::fit(&masked, &masked_labels).unwrap_err(), "matrix");
    let odir = Odir::new(0.1, 0.1).unwrap();
    refused(DirichletCalibration::fit(&masked, &masked_labels, odir).unwrap_err(), "dirichlet");
    let matrix = MatrixScaling::from_parameters(vec![0.0; 16], vec![0.0; 4]).unwrap();
    refused(matrix.apply(&masked).unwrap_err(), "matrix");
}

#[test]
fn what_cannot_be_fitted_or_made() {
    for (logits, labels, classes) in
        [(vec![], vec![], 3), (vec![0.0; 4], vec![0], 2), (vec![0.0; 6], vec![0, 1], 3)]
    {
        let (logits, labels) = checked(&logits, &labels, classes);
        let odir = Odir::new(0.1, 0.1).unwrap();
        for error in [
            BiasCorrectedTemperature::fit(&logits, &labels).unwrap_err(),
            VectorScaling::fit(&logits, &labels).unwrap_err(),
            MatrixScaling::fit(&logits, &labels).unwrap_err(),
            DirichletCalibration::fit(&logits, &labels, odir).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Input(_)), "{error}");
        }
    }
    let (logits, labels) = checked(&[MASKED, 1.0, 1.0, 0.0], &[0, 1], 2);
    let error = VectorScaling::fit(&logits, &labels).unwrap_err();
    assert!(matches!(error, Error::ImpossibleLabel { row: 0, label: 0 }));
    for (weights, intercepts) in [
        (vec![], vec![]),
        (vec![1.0], vec![]),
        (vec![1.0], vec![f64::NAN]),
        (vec![1.0; 2], vec![0.0]),
    ] {
        let error = VectorScaling::from_parameters(weights, intercepts).unwrap_err();
        assert!(matches!(error, Error::Input(_)), "{error}");
    }
    let error = MatrixScaling::from_parameters(vec![1.0; 3], vec![0.0; 2]).unwrap_err();
    assert!(matches!(error, Error::Input(Input::Mismatch { .. })));
    assert!(BiasCorrectedTemperature::from_parameters(Temperature::ONE, vec![]).is_err());
    for (off_diagonal, intercepts) in [(-1.0, 0.0), (0.0, f64::NAN), (f64::INFINITY, 0.0)] {
        assert!(Odir::new(off_diagonal, intercepts).is_err());
    }
    let vector = VectorScaling::from_parameters(vec![1.0; 3], vec![0.0; 3]).unwrap();
    let error = vector.apply(&Logits::new(&[0.0f32; 4], 4).unwrap()).unwrap_err();
    assert!(matches!(error, Error::ClassCount { expected: 3, found: 4 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A map that can do more does no worse on the rows of the fit, and all beat the temperature.
    #[test]
    fn larger_maps_fit_better(
        logits in prop::collection::vec(-4.0..4.0f64, 120),
        labels in prop::collection::vec(0..3usize, 40),
    ) {
        let (logits, labels) = checked(&logits, &labels, 3);
        let temperature = TemperatureScaling::fit(&logits, &labels).unwrap();
        let temperature = temperature.diagnostics().unwrap().nll_after;
        let maps = fits(&logits, &labels);
        let [bias, vector, matrix, dirichlet] = maps.each_ref().map(nll_after);
        prop_assert!(bias <= temperature + 1e-12);
        prop_assert!(dirichlet <= temperature + 1e-12);
        if maps.iter().all(|map| outcome(map).converged()) {
            prop_assert!(vector <= bias + 1e-12);
            prop_assert!(matrix <= vector + 1e-12);
        }
        for map in &maps {
            let scores = evaluate(&map.apply(&logits).unwrap(), &labels, 15).unwrap();
            prop_assert!((scores.nll - nll_after(map)).abs() < 1e-12);
        }
    }

    /// Where the search converged, every frequency is met: the sum of q_k is the number of rows of k.
    #[test]
    fn frequencies_are_met(
        logits in prop::collection::vec(-4.0..4.0f64, 120),
        labels in prop::collection::vec(0..3usize, 40),
    ) {
        let (logits, labels) = checked(&logits, &labels, 3);
        for map in fits(&logits, &labels).into_iter().take(3) {
            if outcome(&map).converged() {
                let calibrated = map.apply(&logits).unwrap();
                for (class, count) in labels.counts().into_iter().enumerate() {
                    let sum: f64 = calibrated.matrix().iter().map(|row| row[class].exp()).sum();
                    prop_assert!((sum - count as f64).abs() < 1e-6, "{}: {sum}", map.method());
                }
            }
        }
    }

    #[test]
    fn a_shift_changes_nothing_where_it_is_said_so(
        shifts in prop::collection::vec(-64..64i32, 30),
        scale in 1e-3..1e3f64,
    ) {
        let (logits, labels) = noisy(30);
        let shifted: Vec<f64> =
            logits.iter().enumerate().map(|(i, z)| z + f64::from(shifts[i / 3])).collect();
        let scaled: Vec<f64> = logits.iter().map(|z| scale * z).collect();
        let (logits, labels) = checked(&logits, &labels, 3);
        let (shifted, scaled) = (Logits::new(shifted, 3).unwrap(), Logits::new(scaled, 3).unwrap());
        let maps = fits(&logits, &labels);
        let after_shift = fits(&shifted, &labels);
        for index in [0, 3] {
            let off = nll_after(&maps[index]) - nll_after(&after_shift[index]);
            prop_assert!(off.abs() < 1e-12, "{}: {off}", maps[index].method());
        }
        for (x, y) in maps.iter().zip(fits(&scaled, &labels)).take(3) {
            prop_assert!((nll_after(x) - nll_after(&y)).abs() < 1e-12, "{}", x.method());
        }
    }
}
