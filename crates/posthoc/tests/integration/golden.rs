//! Fits on the predictions of real networks, against SciPy's.
//!
//! The files hold f32 probabilities, none of them 0; their logarithms, in f64, are the logits.

use softlabel_core::{Labels, Logits, Probabilities};
use softlabel_metrics::evaluate;
use softlabel_posthoc::{
    AnyCalibrator, BetaCalibration, BetaCurve, BetaForm, Calibrator, DirichletCalibration,
    Interpolation, IsotonicCalibration, IsotonicOptions, MatrixScaling, Odir, PlattScaling,
    TemperatureScaling, VectorScaling, Zeros,
};

use crate::networks::{Network, folder, golden, networks};

/// Logits and labels of all rows, the first half and the second half.
pub(crate) fn parts(network: &Network) -> [(Logits<'static, f64>, Labels); 3] {
    let classes = network.classes;
    let logits: Vec<f64> = network.probabilities.iter().map(|&p| f64::from(p).ln()).collect();
    let rows = network.labels.len();
    [0..rows, 0..rows / 2, rows / 2..rows].map(|part| {
        let logits = logits[part.start * classes..part.end * classes].to_vec();
        let labels = &network.labels[part];
        (Logits::new(logits, classes).unwrap(), Labels::new(labels, classes).unwrap())
    })
}

/// A number of the reference for maps fitted on the first half and judged on the second.
fn posthoc(network: &str, map: &str, key: &str) -> f64 {
    let golden = golden(&folder("posthoc").unwrap());
    let value = &golden["posthoc"][network][map][key];
    value.as_f64().unwrap_or_else(|| panic!("golden.json: no number {network} {map} {key}"))
}

/// Temperatures for what people said, CIFAR-10H: minima with NumPy from the same files.
#[test]
fn temperatures_for_human_labels() {
    let name = "temperatures_for_human_labels";
    let Some(folder) = folder(name) else { return };
    let bytes = std::fs::read(folder.join("cifar10h/cifar10h-probs.npy")).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let shares = bytes[header..].as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b));
    let people = Probabilities::renormalized(shares.collect(), 10).unwrap();
    for network in networks(name) {
        let (temperature, loss) = match network.name {
            "wideresnet-16-4-cifar-10" => (2.712_890, 0.439_608_09),
            "lenet-5-cifar-10" => (1.460_773, 1.353_909_55),
            _ => continue,
        };
        let logits: Vec<f64> = network.probabilities.iter().map(|&p| f64::from(p).ln()).collect();
        let scaling = TemperatureScaling::fit(&Logits::new(logits, 10).unwrap(), &people).unwrap();
        assert!((scaling.temperature().get() - temperature).abs() < 5.1e-7, "{scaling:?}");
        let found = scaling.diagnostics().unwrap().nll_after;
        assert!((found - loss).abs() < 5.1e-9, "{found}");
    }
}

#[test]
fn temperatures_of_three_networks() {
    for network in networks("temperatures_of_three_networks") {
        let [(all, all_labels), (first, first_labels), (second, second_labels)] = parts(&network);
        let check = |key: &str, found: f64, tolerance: f64| {
            let expected = network.golden(key);
            let off = (found - expected).abs();
            assert!(off < tolerance * expected, "{} {key}: {found}", network.name);
        };
        let on_all = TemperatureScaling::fit(&all, &all_labels).unwrap();
        check("T_full", on_all.temperature().get(), 1e-12);
        let scores = evaluate(&on_all.apply(&all).unwrap(), &all_labels, 15).unwrap();
        check("nll_T_full", scores.nll, 1e-12);
        check("brier_sum_T_full", scores.brier, 1e-12);
        check("ece15_T_full", scores.ece, 1e-12);
        let diagnostics = on_all.diagnostics().unwrap();
        assert_eq!(diagnostics.samples, 10_000);
        assert!((diagnostics.nll_after - scores.nll).abs() < 1e-14);
        // Of which all but two or three are of a sample.
        assert!(diagnostics.outcome.converged() && diagnostics.iterations < 16, "{diagnostics:?}");

        let on_half = TemperatureScaling::fit(&first, &first_labels).unwrap();
        check("T_fit_first_half", on_half.temperature().get(), 1e-12);
        // This one is of the f32 probabilities as they are, whose rows sum to 1 only nearly.
        let before = evaluate(&second, &second_labels, 15).unwrap();
        check("nll_test_half_before", before.nll, 1e-6);
        let after = evaluate(&on_half.apply(&second).unwrap(), &second_labels, 15).unwrap();
        check("nll_test_half_after", after.nll, 1e-12);
        check("ece15_test_half_after", after.ece, 1e-12);
        assert_eq!(after.accuracy, before.accuracy);
        // Scaled logits are the same predictions.
        let scaled = evaluate(&on_half.scale(&second).unwrap(), &second_labels, 15).unwrap();
        assert!((scaled.nll - after.nll).abs() < 1e-14);
    }
}

/// The half that was not fitted to, as it was read and after the temperature of the other.
#[test]
fn the_second_half_before_and_after_a_temperature() {
    for network in networks("the_second_half_before_and_after_a_temperature") {
        let [_, (first, first_labels), (second, second_labels)] = parts(&network);
        let rows = network.probabilities[5000 * network.classes..].to_vec();
        let read = Probabilities::new(rows, network.classes).unwrap();
        let before = evaluate(&read, &second_labels, 15).unwrap();
        let scaling = TemperatureScaling::fit(&first, &first_labels).unwrap();
        let after = evaluate(&scaling.apply(&second).unwrap(), &second_labels, 15).unwrap();
        for (map, scores, tolerance) in [("uncal", &before, 1e-9), ("temp", &after, 1e-7)] {
            for (key, found) in [
                ("nll", scores.nll),
                ("ece15", scores.ece),
                ("acc", scores.accuracy),
                ("brier", scores.brier),
            ] {
                let off = (found - posthoc(network.name, map, key)).abs();
                assert!(off < tolerance, "{} {map} {key}: {found}", network.name);
            }
        }
        let ece = network.golden("ece15_test_half_before");
        assert!((before.ece - ece).abs() < 1e-9, "{}: {}", network.name, before.ece);
        let temperature = scaling.temperature().get();
        assert!((temperature - posthoc(network.name, "temp", "T")).abs() < 1e-7);
        let on_fit = scaling.diagnostics().unwrap().nll_after;
        let off = (on_fit - posthoc(network.name, "temp", "fit_nll")).abs();
        assert!(off < 1e-9, "{}: {on_fit}", network.name);
    }
}

/// ```python
/// import numpy as np
/// from scipy.special import expit, logsumexp
/// d = np.load(name + ".npz")
/// z, y = np.log(d["predictions"].astype(np.float64)), d["ground_truth"]
/// K = z.shape[1]
/// f = np.stack([z[:, k] - logsumexp(np.delete(z, k, 1), axis=1) for k in range(K)], 1)
/// A, B = np.empty(K), np.empty(K)
/// for k in range(K):
///     x, positive = f[:5000, k], y[:5000] == k
///     p = positive.sum()
///     t = np.where(positive, (p + 1) / (p + 2), 1 / (5000 - p + 2))
///     X = np.stack([x, np.ones_like(x)], 1)
///     F = lambda w: np.sum(np.logaddexp(0, X @ w) - t * (X @ w))
///     w = np.array([0.3, np.log((p + 1) / (5000 - p + 1))])
///     for _ in range(200):  # Newton with halving
///         q = expit(X @ w)
///         s = np.linalg.solve((X * (q * (1 - q))[:, None]).T @ X, X.T @ (q - t))
///         step = 1.0
///         while F(w - step * s) > F(w) + 1e-9 * abs(F(w)) and step > 1e-8: step /= 2
///         w = w - step * s
///         if np.abs(s).max() < 1e-14: break
///     A[k], B[k] = w
/// l = -np.logaddexp(0, -(A * f + B))
/// l -= logsumexp(l, axis=1, keepdims=True)
/// nll = lambda part: -l[part][np.arange(5000), y[part]].mean()
/// print(A[0], B[0], A[7], B[7], nll(slice(0, 5000)), nll(slice(5000, 10000)))
/// print((l[5000:].argmax(1) == y[5000:]).mean())
/// ```
const PLATT: [(&str, [f64; 7]); 3] = [
    (
        "wideresnet-16-4-cifar-10",
        [
            0.496_051_859_501_647,
            0.876_726_907_086_043_1,
            0.561_199_524_569_163_1,
            0.182_546_394_858_258_24,
            0.253_736_602_276_645_4,
            0.245_899_676_271_657_07,
            0.9194,
        ],
    ),
    (
        "wideresnet-16-4-cifar-100",
        [
            0.784_678_746_645_669,
            -0.730_356_555_344_302_9,
            0.860_576_462_497_945_3,
            -0.252_390_922_106_977_8,
            0.944_397_177_508_185_6,
            0.940_397_355_591_453_4,
            0.7574,
        ],
    ),
    (
        "lenet-5-cifar-10",
        [
            0.743_400_781_407_380_8,
            -0.429_675_351_156_280_4,
            0.719_170_414_616_257_6,
            -0.137_355_054_151_932_08,
            1.290_016_491_295_978_8,
            1.321_381_391_262_366,
            0.5226,
        ],
    ),
];

#[test]
fn sigmoids_of_three_networks() {
    for network in networks("sigmoids_of_three_networks") {
        let [_, (first, first_labels), (second, second_labels)] = parts(&network);
        let scaling = PlattScaling::fit(&first, &first_labels).unwrap();
        let (a, b) = (scaling.slopes(), scaling.intercepts());
        let diagnostics = scaling.diagnostics().unwrap();
        let test = evaluate(&scaling.apply(&second).unwrap(), &second_labels, 15).unwrap();
        let found = [a[0], b[0], a[7], b[7], diagnostics.nll_after, test.nll, test.accuracy];
        let (_, expected) = PLATT.into_iter().find(|(name, _)| *name == network.name).unwrap();
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-10, "{}: {found}, {expected}", network.name);
        }
        assert!(diagnostics.outcome.converged(), "{diagnostics:?}");
        assert_eq!(diagnostics.classes.len(), network.classes);
        let positives: usize = diagnostics.classes.iter().map(|fit| fit.positives).sum();
        assert_eq!(positives, 5000);
    }
}

#[test]
fn isotonic_maps_of_three_networks() {
    for network in networks("isotonic_maps_of_three_networks") {
        let [_, (first, first_labels), (second, second_labels)] = parts(&network);
        let options = IsotonicOptions { interpolation: Interpolation::Linear, zeros: Zeros::Keep };
        let map = IsotonicCalibration::fit(&first, &first_labels, options).unwrap();
        let calibrated = map.apply(&second).unwrap();
        let scores = evaluate(&calibrated, &second_labels, 15).unwrap();
        let labelled = || calibrated.matrix().iter().zip(second_labels.iter());
        let zeros = labelled().filter(|(row, label)| row[*label] == f64::NEG_INFINITY).count();
        // The reference counts a probability 0 of a label as 1e-15.
        let losses = labelled().map(|(row, label)| -row[label].max(1e-15f64.ln()));
        let nll = losses.sum::<f64>() / second_labels.len() as f64;
        let expected = |key: &str| posthoc(network.name, "isotonic_ovr", key);
        assert_eq!(zeros as f64, expected("zero_prob_true"), "{}", network.name);
        assert_eq!(scores.accuracy, expected("acc"), "{}", network.name);
        for (found, key) in [(scores.brier, "brier"), (scores.ece, "ece15"), (nll, "nll")] {
            // The softmax of ln p is p but for the rounding of f32.
            let off = (found - expected(key)).abs();
            assert!(off < 1e-7, "{} {key}: {found}", network.name);
        }
        assert!(map.diagnostics().unwrap().outcome.converged());
    }
}

/// The reference penalizes sums of squares, with the number in the key before both; 10 classes.
fn odir(strength: f64) -> Odir {
    Odir::new(90.0 * strength, 10.0 * strength).unwrap()
}

#[test]
fn affine_maps_of_three_networks() {
    for network in networks("affine_maps_of_three_networks") {
        let [_, (first, first_labels), (second, second_labels)] = parts(&network);
        let check = |key: &str, map: AnyCalibrator, penalty: f64| {
            let diagnostics = map.diagnostics().unwrap();
            let test = evaluate(&map.apply(&second).unwrap(), &second_labels, 15).unwrap();
            let objective = diagnostics.nll_after + penalty;
            let accuracy = test.accuracy;
            for (found, golden, tolerance) in [
                (objective, "fit_obj", 1e-9),
                (test.nll, "nll", 1e-6),
                (test.brier, "brier", 1e-6),
                (test.ece, "ece15", 1e-6),
                (accuracy, "acc", 0.0),
            ] {
                let off = (found - posthoc(network.name, key, golden)).abs();
                assert!(off <= tolerance, "{} {key} {golden}: {found}", network.name);
            }
            assert!(diagnostics.outcome.converged(), "{diagnostics:?}");
        };
        let vector = VectorScaling::fit(&first, &first_labels).unwrap();
        check("vector_unreg", vector.into(), 0.0);
        if network.classes != 10 {
            continue;
        }
        let matrix = MatrixScaling::fit(&first, &first_labels).unwrap();
        check("matrix_unreg", matrix.into(), 0.0);
        for (key, strength) in [("dirichlet_odir_0.001", 0.001), ("dirichlet_odir_0.01", 0.01)] {
            let map = DirichletCalibration::fit(&first, &first_labels, odir(strength)).unwrap();
            let weights = map.weights().iter().enumerate();
            let off_diagonal = weights.filter(|(index, _)| index / 10 != index % 10);
            let squares = off_diagonal.map(|(_, weight)| weight * weight).sum::<f64>()
                + map.intercepts().iter().map(|b| b * b).sum::<f64>();
            check(key, map.into(), strength * squares);
        }
    }
}

/// The confidence of the top class as the probability that it is right: the reference clips it by
/// the spacing of `f64` at 1, and its search ends in the fourth digit of the numbers.
#[test]
fn beta_maps_of_three_networks() {
    for network in networks("beta_maps_of_three_networks") {
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        for (row, &label) in network.probabilities.chunks(network.classes).zip(&network.labels) {
            let top = (0..row.len()).rev().max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap();
            let p = f64::from(row[top]).clamp(f64::EPSILON, 1.0 - f64::EPSILON);
            logits.extend([(1.0 - p).ln(), p.ln()]);
            labels.push(usize::from(usize::try_from(label).unwrap() == top));
        }
        let half = |part: std::ops::Range<usize>| {
            let logits = logits[2 * part.start..2 * part.end].to_vec();
            (Logits::new(logits, 2).unwrap(), Labels::new(&labels[part], 2).unwrap())
        };
        let [(first, first_labels), (second, second_labels)] = [half(0..5000), half(5000..10_000)];
        let map = BetaCalibration::fit(&first, &first_labels, BetaForm::Abm).unwrap();
        let diagnostics = map.diagnostics().unwrap();
        assert!(diagnostics.outcome.converged());

        let golden = golden(&folder("beta").unwrap());
        let golden = &golden["posthoc"][network.name];
        let [a, b, m] = [0, 1, 2].map(|k| golden["beta_abm_toplabel"]["map"][k].as_f64().unwrap());
        // m is where the map is 1/2.
        let theirs = BetaCurve { a, b, c: b * (1.0 - m).ln() - a * m.ln() };
        let ours = map.curves()[0];
        for (ours, theirs) in [(ours.a, a), (ours.b, b), (ours.c, theirs.c)] {
            assert!((ours - theirs).abs() < 2e-3, "{}: {ours}, {theirs}", network.name);
        }
        let theirs = BetaCalibration::from_curves(2, vec![theirs]).unwrap();
        let on_fit = evaluate(&theirs.apply(&first).unwrap(), &first_labels, 15).unwrap();
        assert!(diagnostics.nll_after < on_fit.nll, "{}: {}", network.name, on_fit.nll);

        let expected = golden["beta_abm_toplabel"]["bin_nll"].as_f64().unwrap();
        let test = evaluate(&map.apply(&second).unwrap(), &second_labels, 15).unwrap();
        assert!((test.nll - expected).abs() < 2e-4, "{}: {}", network.name, test.nll);
        let before = evaluate(&second, &second_labels, 15).unwrap();
        let expected = golden["toplabel_uncal"]["bin_nll"].as_f64().unwrap();
        assert!((before.nll - expected).abs() < 1e-14, "{}: {}", network.name, before.nll);
    }
}
