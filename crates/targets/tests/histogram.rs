//! Numbers as distributions over classes, against values computed elsewhere and by property.
#![allow(clippy::unwrap_used)] // Tests fail by panicking.

use proptest::prelude::*;
use softlabel_core::Probabilities;
use softlabel_targets::{HistogramTarget, Outside};

fn row(target: &HistogramTarget, value: f64) -> Vec<f64> {
    let mut row = vec![f64::NAN; target.classes()];
    target.encode_into(value, &mut row).unwrap();
    row
}

fn expectation(target: &HistogramTarget, row: &[f64]) -> f64 {
    row.iter().zip(target.centres()).map(|(p, c)| p * c).sum()
}

// Python's math.erf, for edges e: f = lambda x: math.erf((x-v)/(s*math.sqrt(2)));
// [(f(e[k+1])-f(e[k]))/(f(high)-f(low)) for k in range(K)].
#[test]
fn gaussians_as_computed_elsewhere() {
    for (target, value, expected) in [
        (
            HistogramTarget::hl_gauss(-1.0, 1.0, 6, 0.25),
            0.1,
            vec![
                0.001_077_065_137_463_382_1,
                0.040_442_572_865_338_255,
                0.303_109_906_686_491_2,
                0.480_176_795_989_122_55,
                0.163_645_569_926_420_26,
                0.011_548_089_395_164_395,
            ],
        ),
        (
            HistogramTarget::hl_gauss_by_ratio(0.0, 5.0, 5, 0.75),
            0.0,
            vec![
                0.817_577_560_569_658_5,
                0.174_761_678_321_129_46,
                0.007_597_418_651_712_007,
                6.324_605_760_054_191e-5,
                9.639_989_950_990_484e-8,
            ],
        ),
    ] {
        let found = row(&target.unwrap(), value);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-14, "{found} against {expected}");
        }
    }
}

/// A bin nine deviations away, where erf is 1 but for rounding.
// Python: (math.erfc(9/2**.5)-math.erfc(10/2**.5))/(2-2*math.erfc(10/2**.5)).
#[test]
fn far_bins_keep_their_accuracy() {
    let row = row(&HistogramTarget::hl_gauss(-10.0, 10.0, 20, 1.0).unwrap(), 0.0);
    let expected = 1.128_512_207_423_600_6e-19;
    for far in [row[0], row[19]] {
        assert!((far / expected - 1.0).abs() < 1e-13, "{far} against {expected}");
    }
}

#[test]
fn what_is_outside_is_refused_or_clamped() {
    let refusing = HistogramTarget::two_hot(-1.0, 1.0, 5).unwrap();
    let clamping = refusing.clone().with_outside(Outside::Clamp);
    for bad in [-1.001, 1.001, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(refusing.encode(&[0.0, bad]).is_err());
        let end = if bad > 0.0 { 1.0 } else { -1.0 };
        assert_eq!(clamping.encode(&[bad]).unwrap(), refusing.encode(&[end]).unwrap());
    }
    assert!(refusing.encode(&[f64::NAN]).is_err());
    assert!(clamping.encode(&[f64::NAN]).is_err());
    assert!(refusing.encode_into(0.0, &mut [0.0; 4]).is_err());
    assert!(refusing.decode(&Probabilities::new(&[1.0], 1).unwrap()).is_err());
}

#[test]
fn settings_that_cannot_be_are_refused() {
    for bad in [
        HistogramTarget::two_hot(1.0, 1.0, 5),
        HistogramTarget::two_hot(f64::NAN, 1.0, 5),
        HistogramTarget::two_hot(f64::MIN, f64::MAX, 5),
        HistogramTarget::two_hot(0.0, 1.0, 1),
        // Five centres, and two numbers from the one end to the other.
        HistogramTarget::two_hot(1e16, 1e16 + 2.0, 5),
        HistogramTarget::hl_gauss(0.0, 1.0, 5, 0.0),
        HistogramTarget::hl_gauss(0.0, 1.0, 5, f64::INFINITY),
        HistogramTarget::hl_gauss(0.0, 1.0, 5, 1e9),
        HistogramTarget::hl_gauss_by_ratio(0.0, 1.0, 5, -0.75),
    ] {
        assert!(bad.is_err());
    }
    let parse = |text: &str| serde_json::from_str::<HistogramTarget>(text);
    for text in [
        r#"{"kind":"two_hot","low":-1.0,"high":1.0,"classes":51}"#,
        r#"{"kind":"hl_gauss","low":0.0,"high":1.0,"classes":50,"sigma":0.1,"outside":"clamp"}"#,
        r#"{"kind":"hl_gauss","low":0.0,"high":1.0,"classes":50,"sigma_ratio":0.75}"#,
    ] {
        assert_eq!(serde_json::to_string(&parse(text).unwrap()).unwrap(), text);
    }
    for (bad, expected) in [
        (r#"{"kind":"two_hot","low":0,"high":1,"classes":5,"sigma":1}"#, "does not take `sigma`"),
        (r#"{"kind":"hl_gauss","low":0,"high":1,"classes":5}"#, "needs `sigma` or `sigma_ratio`"),
        (
            r#"{"kind":"hl_gauss","low":0,"high":1,"classes":5,"sigma":1,"sigma_ratio":1}"#,
            "not both",
        ),
        (r#"{"kind":"two_hot","low":1,"high":0,"classes":5}"#, "low below high"),
        (r#"{"kind":"two_hot","low":0,"high":1,"bins":5}"#, "unknown field `bins`"),
    ] {
        let error = parse(bad).unwrap_err().to_string();
        assert!(error.contains(expected), "{bad}: {error}");
    }
}

proptest! {
    #[test]
    fn two_hot_comes_back(
        low in -1e3..1e3, width in 0.01..1e3, classes in 2..200_usize, share in 0.0..=1.0
    ) {
        let target = HistogramTarget::two_hot(low, low + width, classes).unwrap();
        let value = f64::min(low + share * width, low + width);
        let row = row(&target, value);
        prop_assert!(row.iter().filter(|p| **p > 0.0).count() <= 2);
        prop_assert!(row.iter().all(|p| (0.0..=1.0).contains(p)));
        // A few units in the last place of the largest number that takes part.
        let tolerance = 8.0 * f64::EPSILON * (low.abs() + width);
        prop_assert!((expectation(&target, &row) - value).abs() <= tolerance);
        // Dense rows are f32.
        let rows = Probabilities::new(target.encode(&[value]).unwrap(), classes).unwrap();
        let decoded = target.decode(&rows).unwrap()[0];
        prop_assert!((decoded - value).abs() <= 1.2e-7 * (low.abs() + width));
    }

    #[test]
    fn centres_are_one_hot(low in -10.0..10.0, width in 0.1..10.0, classes in 2..50_usize, k in 0..50_usize) {
        let target = HistogramTarget::two_hot(low, low + width, classes).unwrap();
        let k = k % classes;
        let row = row(&target, target.centres()[k].min(low + width));
        prop_assert!((row[k] - 1.0).abs() < 1e-9, "{row:?}");
    }

    #[test]
    fn gaussians_are_distributions_around_the_value(
        low in -10.0..10.0, width in 0.1..10.0, classes in 2..60_usize, share in 0.0..=1.0,
        ratio in 0.01..5.0,
    ) {
        let target = HistogramTarget::hl_gauss_by_ratio(low, low + width, classes, ratio).unwrap();
        let value = f64::min(low + share * width, low + width);
        let row = row(&target, value);
        prop_assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-13);
        prop_assert!(row.iter().all(|p| (0.0..=1.0).contains(p)));
        // The documented lean, and half a bin for what a bin does not resolve.
        let lean = 0.8 * target.sigma().unwrap() + 0.5 * width / classes as f64;
        prop_assert!((expectation(&target, &row) - value).abs() <= lean * (1.0 + 1e-9));
    }

    #[test]
    fn gaussians_far_from_the_ends_keep_the_mean(share in 0.4..=0.6) {
        let target = HistogramTarget::hl_gauss_by_ratio(0.0, 1.0, 100, 0.75).unwrap();
        let row = row(&target, share);
        // The sum over bins of a Gaussian of 0.75 bins differs from its integral by about 2·exp(-2(0.75π)²) bins.
        prop_assert!((expectation(&target, &row) - share).abs() < 1e-6);
    }
}
