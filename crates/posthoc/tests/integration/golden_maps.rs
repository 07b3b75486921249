//! Maps with several parameters, fitted on the predictions of real networks, against NumPy and SciPy.
//!
//! All references are of the first 5000 rows, judged on the others:
//!
//! ```python
//! import numpy as np
//! from scipy.optimize import minimize
//! from scipy.special import expit, log_softmax, logsumexp, softmax
//! d = np.load(name + ".npz")
//! z, y = np.log(d["predictions"].astype(np.float64)), d["ground_truth"]
//! n, K = 5000, z.shape[1]
//! I, A = np.arange(n), slice(0, n)
//! Y = np.eye(K)[y[A]]
//! nll = lambda l: (-l[I, y[:n]].mean(), -l[n + I, y[n:]].mean())
//! fit = lambda l: -l[I, y[A]].mean()
//! options = dict(maxiter=20000, maxfun=40000, ftol=0, gtol=1e-11, maxcor=50)
//! lbfgs = lambda f, x: minimize(f, x, jac=True, method="L-BFGS-B", options=options).x
//! beta = ...  # 1/T, by bisection of the mean of E_q[z] − z_y
//! ```

use softlabel_core::{Labels, Logits};
use softlabel_metrics::negative_log_likelihood;
use softlabel_posthoc::{
    AnyCalibrator, Calibrator, ClassTemperature, EnsembleTemperature, FitLoss, MatrixRidge, Method,
    ScalingBinning, SplineCalibration, SplineOptions, StructuredMatrixScaling,
    StructuredVectorScaling, VectorRidge,
};

use crate::golden::parts;
use crate::networks::{NAMES, networks};

/// Fits on the first half; checks both losses to `tolerance`, then what `check` does.
fn check<M: Calibrator>(
    test: &str,
    expected: [[f64; 2]; 3],
    tolerance: f64,
    fit: impl Fn(&Logits<'_, f64>, &Labels) -> M,
    check: impl Fn(usize, &M),
) {
    for network in networks(test) {
        let place = NAMES.iter().position(|name| *name == network.name).unwrap();
        let [on_fit, on_test] = expected[place];
        if on_fit.is_nan() {
            continue;
        }
        let [_, (first, first_labels), (second, second_labels)] = parts(&network);
        let map = fit(&first, &first_labels);
        let calibrated = map.apply(&second).unwrap();
        let found = negative_log_likelihood(&calibrated, &second_labels).unwrap();
        assert!((found - on_test).abs() < tolerance, "{}: {found}", network.name);
        let found = map.diagnostics().unwrap().nll_after;
        assert!((found - on_fit).abs() < tolerance, "{}: {found}", network.name);
        check(place, &map);
    }
}

/// ```python
/// w = 1 / (n + 1)
/// print(nll(np.log((1 - w) * softmax(beta * z, 1) + w / K)))
/// ```
#[test]
fn a_temperature_and_a_share_of_the_uniform_distribution() {
    let expected = [
        [0.277_789_191_482_623_54, 0.270_500_501_962_306_3],
        [0.960_241_870_866_812_3, 0.934_787_364_934_080_7],
        [1.297_250_033_775_661_4, 1.325_998_683_319_478],
    ];
    let method: Method = "ts-mix".parse().unwrap();
    check(
        "a_temperature_and_a_share_of_the_uniform_distribution",
        expected,
        1e-12,
        |logits, labels| method.fit(logits, labels).unwrap(),
        |_, map| {
            let AnyCalibrator::TemperatureMixture(map) = map else { panic!("{map:?}") };
            assert!((map.uniform() - 1.0 / 5001.0).abs() < 1e-18);
        },
    );
}

/// ```python
/// lp = log_softmax(z, 1)
/// def f(u):
///     b = np.exp(u); l = log_softmax(lp[A] * b, 1)
///     return fit(l), ((np.exp(l) - Y) * lp[A]).mean(0) * b
/// u = lbfgs(f, np.full(K, np.log(beta)))
/// print(np.exp(-u[[0, 7]]), nll(log_softmax(lp * np.exp(u), 1)))
/// ```
#[test]
fn a_temperature_for_every_class() {
    let temperatures = [
        [2.638_371_410_942_807_6, 1.938_801_744_066_880_6],
        [1.027_468_105_841_425_7, 1.081_924_878_232_231_7],
        [1.284_260_749_814_191, 1.510_739_961_219_590_9],
    ];
    let expected = [
        [0.263_338_315_122_239_4, 0.255_673_941_739_590_3],
        [0.939_419_082_325_381_2, 0.933_441_913_864_454_2],
        [1.293_389_618_932_432_8, 1.322_854_453_014_813_4],
    ];
    check(
        "a_temperature_for_every_class",
        expected,
        1e-7,
        |logits, labels| ClassTemperature::fit(logits, labels).unwrap(),
        |place, map| {
            for (class, expected) in [0, 7].into_iter().zip(temperatures[place]) {
                let found = map.temperatures()[class].get();
                assert!((found - expected).abs() < 1e-5, "{found}, {expected}");
            }
            assert!(map.diagnostics().unwrap().outcome.converged());
        },
    );
}

/// ```python
/// lp = log_softmax(z, 1)
/// # T: by bisection of Σ (q − Y) q (z − E_q[z]) around the minimum of `minimize_scalar`.
/// p = [softmax(lp / T, 1), softmax(lp, 1), np.full_like(lp, 1 / K)]
/// f = lambda w: ((sum(a * b[A] for a, b in zip(w, p)) - Y) ** 2).sum(1).mean()
/// w = minimize(f, start, method="SLSQP", bounds=[(0, 1)] * 3, options=dict(ftol=1e-16),
///     constraints=dict(type="eq", fun=lambda w: sum(w) - 1)).x  # the best of three starts
/// print(T, w, nll(np.log(sum(a * b for a, b in zip(w, p)))))
/// ```
#[test]
fn an_ensemble_by_squared_error() {
    let parameters = [
        (2.087_694_783_421_396_6, [0.991_431_414, 0.007_733_185_57, 0.000_835_400_464]),
        (1.135_290_244_158_997_4, [0.618_379_58, 0.346_179_43, 0.035_440_98]),
        (1.361_275_731_320_261, [1.0, 0.0, 0.0]),
    ];
    let expected = [
        [0.277_950_995_156_490_1, 0.270_882_203_770_245_24],
        [0.982_215_915_124_953_4, 0.957_304_483_486_138_3],
        [1.297_302_295_036_128_8, 1.326_325_289_703_109_7],
    ];
    check(
        "an_ensemble_by_squared_error",
        expected,
        1e-5,
        |logits, labels| EnsembleTemperature::fit(logits, labels, FitLoss::Brier).unwrap(),
        |place, map| {
            let (temperature, weights) = parameters[place];
            assert!((map.temperature().get() - temperature).abs() < 1e-8, "{map:?}");
            for (found, expected) in map.weights().into_iter().zip(weights) {
                assert!((found - expected).abs() < 1e-4, "{map:?}");
            }
        },
    );
}

/// As above with `f = lambda w: -np.log(sum(a * b[A][I, y[A]] for a, b in zip(w, p))).mean()` and the
/// T of the likelihood.
#[test]
fn an_ensemble_by_likelihood() {
    let expected = [
        [0.277_761_376_912_825_3, 0.270_565_718_196_004_9],
        [0.960_154_033_393_148_5, 0.934_724_620_050_999_3],
        [1.297_168_631_352_518_1, 1.326_188_585_005_577_2],
    ];
    check(
        "an_ensemble_by_likelihood",
        expected,
        1e-6,
        |logits, labels| EnsembleTemperature::fit(logits, labels, FitLoss::Nll).unwrap(),
        |place, map| {
            let found = map.diagnostics().unwrap().nll_after;
            assert!(found < expected[place][0] + 1e-12, "{found}");
        },
    );
}

/// ```python
/// x, w = ..., 1 / (n + 1)  # np.log((1 - w) * softmax(beta * z, 1) + w / K)
/// def f(p):
///     v, b = p[:K], p[K:]; l = log_softmax(x[A] * (1 + v) + b, 1); D = (np.exp(l) - Y) / n
///     return fit(l) + K / n * (v @ v + b @ b), np.concatenate(
///         [(D * x[A]).sum(0) + 2 * K / n * v, D.sum(0) + 2 * K / n * b])
/// p = lbfgs(f, np.zeros(2 * K))
/// print(1 + p[0], p[K], nll(log_softmax(x * (1 + p[:K]) + p[K:], 1)))
/// ```
#[test]
fn structured_vector_scaling() {
    let parameters = [
        [0.979_654_719_380_290_4, 0.740_527_571_120_808_9],
        [1.024_620_656_173_721_9, -0.011_590_194_907_752_9],
        [1.035_846_370_033_805_2, -0.072_527_526_500_379_7],
    ];
    let expected = [
        [0.246_193_732_677_975_17, 0.238_223_972_633_407_58],
        [0.944_978_460_014_318_3, 0.928_103_452_445_545_2],
        [1.288_936_490_826_935_2, 1.319_808_967_657_989_6],
    ];
    check(
        "structured_vector_scaling",
        expected,
        1e-7,
        |logits, labels| {
            StructuredVectorScaling::fit(logits, labels, VectorRidge::default()).unwrap()
        },
        |place, map| {
            let [v, b] = parameters[place];
            let off = [(map.weights()[0] - v).abs(), (map.intercepts()[0] - b).abs()];
            assert!(off.iter().all(|off| *off < 1e-6), "{off:?}");
        },
    );
}

/// ```python
/// R = K / n * np.eye(K) + K * (K - 1) / n * (1 - np.eye(K))
/// def f(p):
///     V, b = p[:K * K].reshape(K, K), p[K * K:]
///     l = log_softmax(x[A] + x[A] @ V.T + b, 1); D = (np.exp(l) - Y) / n
///     return fit(l) + (R * V * V).sum() + K / n * b @ b, np.concatenate(
///         [(D.T @ x[A] + 2 * R * V).ravel(), D.sum(0) + 2 * K / n * b])
/// p = lbfgs(f, np.zeros(K * K + K))
/// print(1 + p[0], p[1], p[K * K], nll(log_softmax(x + x @ p[:K * K].reshape(K, K).T + p[K * K:], 1)))
/// ```
#[test]
fn structured_matrix_scaling() {
    const TOO_LONG: [f64; 2] = [f64::NAN; 2];
    let parameters = [
        [1.143_436_191_332_362_7, -0.066_339_541_430_097_35, 0.198_337_088_304_018_83],
        [0.0; 3],
        [0.985_918_580_503_193, 0.017_826_230_472_620_43, -0.045_332_798_369_756_41],
    ];
    let expected = [
        [0.236_112_647_538_226_83, 0.231_115_272_651_155_83],
        TOO_LONG,
        [1.272_920_977_042_258_3, 1.310_992_251_173_465_4],
    ];
    check(
        "structured_matrix_scaling",
        expected,
        1e-6,
        |logits, labels| {
            StructuredMatrixScaling::fit(logits, labels, MatrixRidge::default()).unwrap()
        },
        |place, map| {
            let found = [map.weights()[0], map.weights()[1], map.intercepts()[0]];
            for (found, expected) in found.into_iter().zip(parameters[place]) {
                assert!((found - expected).abs() < 1e-5, "{found}, {expected}");
            }
        },
    );
}

/// ```python
/// p, G = softmax(z, 1), np.empty_like(z)
/// for k in range(K):
///     o = np.argsort(p[:n, k], kind="stable"); s, Y = p[:n, k][o], (y[:n] == k)[o].astype(float)
///     u, i, c = np.unique(s, return_inverse=True, return_counts=True)
///     Y, t = (np.bincount(i, Y) / c)[i], np.linspace(0, 1, n)
///     # `Spline` of the authors' code
///     S = Spline(t, np.cumsum(Y - s) / n, np.linspace(0, 1, 6), "natural")
///     v = np.clip(np.bincount(i, s + S.evaluate_deriv(t)) / c, 0, 1)
///     G[:, k] = np.interp(p[:, k], u, v)
/// G = np.clip(G, 1e-6, 1 - 1e-6)
/// print(nll(np.log(G / G.sum(1, keepdims=True))))
/// ```
#[test]
fn splines() {
    let expected = [
        [0.431_712_682_100_701_74, 0.402_449_939_373_235_4],
        [0.956_909_550_321_491_3, 0.983_343_348_436_698_4],
        [1.304_953_587_907_831_3, 1.364_668_539_244_880_5],
    ];
    check(
        "splines",
        expected,
        1e-9,
        |logits, labels| SplineCalibration::fit(logits, labels, SplineOptions::default()).unwrap(),
        |place, map| {
            if place == 0 {
                let points = &map.points()[0];
                assert_eq!(points.len(), 5000);
                assert!((points[0].1 - 0.002_374_419_270_973_964).abs() < 1e-9);
            }
        },
    );
}

/// The sigmoids are those of the test of Platt scaling in `golden.rs`.
///
/// ```python
/// H = np.empty_like(z)
/// for k in range(K):
///     g = expit(a[k] * f[:, k] + b[k]); s = np.sort(g[:n])
///     e = np.unique(np.append(s[[int(np.ceil(n * m / 10)) - 1 for m in range(1, 10)]], s[-1]))
///     i = np.searchsorted(e[:-1], g)
///     H[:, k] = np.array([g[:n][i[:n] == j].mean() for j in range(len(e))])[i]
/// print(nll(np.log(H / H.sum(1, keepdims=True))))
/// ```
#[test]
fn sigmoids_made_constant_on_bins() {
    let expected = [
        [0.290_646_829_198_203_06, 0.283_846_209_477_922_1],
        [1.572_318_467_994_913_6, 1.561_376_382_242_115],
        [1.309_172_008_941_461_8, 1.337_787_132_453_334_1],
    ];
    check(
        "sigmoids_made_constant_on_bins",
        expected,
        1e-8,
        |logits, labels| ScalingBinning::fit(logits, labels, 10).unwrap(),
        |_, map| {
            for map in map.maps() {
                assert_eq!(map.bins.len(), 10);
            }
        },
    );
}
