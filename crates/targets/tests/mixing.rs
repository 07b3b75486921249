//! Mixup and cutmix plans: what they promise, and the distributions that they are drawn from.
#![allow(clippy::unwrap_used)] // Tests fail by panicking.

use proptest::prelude::*;
use softlabel_core::{Epsilon, Labels, Probabilities};
use softlabel_targets::{
    Convention, CutMix, MixBy, MixPlan, MixedLabels, Mixup, NegativeEpsilon, Smoothing,
};

fn check_plan(plan: &MixPlan, batch: usize, by: MixBy) {
    assert_eq!((plan.len(), plan.is_empty()), (batch, batch == 0));
    let mut partners = plan.partners().to_vec();
    partners.sort_unstable();
    assert!(partners.into_iter().eq(0..batch));
    assert_eq!(plan.share_of_partner().len(), batch);
    assert!(plan.share_of_partner().iter().all(|share| (0.0..=1.0).contains(share)));
    if by == MixBy::Batch {
        assert!(plan.share_of_partner().windows(2).all(|pair| pair[0] == pair[1]));
        assert!(plan.boxes().windows(2).all(|pair| pair[0] == pair[1]));
    }
}

/// Mean 1/2 and variance 1/(4(2α + 1)) of Beta(α, α), at five standard deviations of their estimates.
#[test]
fn shares_have_the_moments_of_their_distribution() {
    const COUNT: usize = 40_000;
    for alpha in [0.001, 0.05, 0.2, 1.0, 4.0, 1000.0] {
        let plan = Mixup::new(alpha, MixBy::Sample).unwrap().plan(COUNT, 5);
        let shares = plan.share_of_partner();
        let count = COUNT as f64;
        let mean = shares.iter().sum::<f64>() / count;
        let central = |power| shares.iter().map(|s| (s - 0.5_f64).powi(power)).sum::<f64>() / count;
        let variance = 0.25 / (2.0 * alpha + 1.0);
        assert!((mean - 0.5).abs() <= 5.0 * (variance / count).sqrt(), "alpha {alpha}: {mean}");
        // Fourth central moment: 3/(16(2α + 1)(2α + 3)).
        let fourth = 3.0 / (16.0 * (2.0 * alpha + 1.0) * (2.0 * alpha + 3.0));
        let deviation = ((fourth - variance * variance) / count).sqrt();
        let found = central(2);
        assert!((found - variance).abs() <= 5.0 * deviation, "alpha {alpha}: {found}");
        assert!((central(4) - fourth).abs() <= 0.05 * fourth, "alpha {alpha}");
    }
}

/// Every sample is everybody's partner as often.
#[test]
fn partners_are_uniform() {
    const BATCH: usize = 5;
    const PLANS: u32 = 20_000;
    let mixup = Mixup::new(1.0, MixBy::Batch).unwrap();
    let mut counts = [[0_u32; BATCH]; BATCH];
    for seed in 0..PLANS {
        for (sample, &partner) in mixup.plan(BATCH, u64::from(seed)).partners().iter().enumerate() {
            counts[sample][partner] += 1;
        }
    }
    let (count, p) = (f64::from(PLANS), 0.2);
    let deviation = (count * p * (1.0 - p)).sqrt();
    for found in counts.as_flattened() {
        assert!((f64::from(*found) - count * p).abs() <= 5.0 * deviation, "{counts:?}");
    }
}

/// A box that no border cuts has the share that was drawn, up to whole pixels: for alpha = 1 the share of the partner
/// is uniform in (0, 1) before the border takes its part, so no share may exceed what was drawn.
#[test]
fn boxes_are_squares_of_the_image_unless_a_border_cuts_them() {
    let plan = CutMix::new(1.0, MixBy::Sample).unwrap().plan(5_000, (100, 200), 3).unwrap();
    let mut whole = 0;
    for cut in plan.boxes() {
        let (height, width) = (cut.bottom - cut.top, cut.right - cut.left);
        let touches = cut.top == 0 || cut.left == 0 || cut.bottom == 100 || cut.right == 200;
        if !touches {
            whole += 1;
            assert!(width.abs_diff(2 * height) <= 1, "{cut:?}");
        }
    }
    // Both centres inside by half a side t: the integral of (1 - t)^2·2t over t = 1/6 of all.
    let expected = 5_000.0 / 6.0;
    assert!(
        (f64::from(whole) - expected).abs() < 5.0 * (expected * 5.0 / 6.0).sqrt() + 25.0,
        "{whole}"
    );
}

#[test]
fn same_seed_same_plan() {
    let mixup = Mixup::new(0.4, MixBy::Sample).unwrap();
    assert_eq!(mixup.plan(8, 1), mixup.plan(8, 1));
    assert_ne!(mixup.plan(8, 1), mixup.plan(8, 2));
    let cut_mix = CutMix::new(0.4, MixBy::Batch).unwrap();
    assert_eq!(cut_mix.plan(8, (9, 9), 1), cut_mix.plan(8, (9, 9), 1));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for alpha in [0.0, -1.0, f64::NAN, 1e9] {
        assert!(Mixup::new(alpha, MixBy::Batch).is_err());
        assert!(CutMix::new(alpha, MixBy::Batch).is_err());
    }
    let cut_mix: CutMix = serde_json::from_str(r#"{"alpha":1}"#).unwrap();
    assert!(cut_mix.plan(2, (0, 4), 1).is_err());
    assert_eq!((cut_mix.alpha(), cut_mix.by()), (1.0, MixBy::Batch));
    let mixup: Mixup = serde_json::from_str(r#"{"alpha":0.2,"by":"sample"}"#).unwrap();
    assert_eq!(serde_json::to_string(&mixup).unwrap(), r#"{"alpha":0.2,"by":"sample"}"#);
    for bad in [r#"{"alpha":0}"#, r#"{"alpha":1,"by":"pixel"}"#, r#"{"alpha":1,"lambda":1}"#] {
        assert!(serde_json::from_str::<Mixup>(bad).is_err());
        assert!(serde_json::from_str::<CutMix>(bad).is_err());
    }
    let labels = |values: &[i32], classes| Labels::new(values, classes).unwrap();
    assert!(mixup.plan(2, 1).labels(&labels(&[0, 1, 1], 2)).is_err());
    let mixed = |second, shares| MixedLabels::new(labels(&[0, 1], 2), second, shares);
    assert!(mixed(labels(&[0, 1], 2), vec![0.5, 0.5]).is_ok());
    assert!(mixed(labels(&[0, 1], 3), vec![0.5, 0.5]).is_err());
    assert!(mixed(labels(&[0], 2), vec![0.5, 0.5]).is_err());
    assert!(mixed(labels(&[0, 1], 2), vec![0.5]).is_err());
    assert!(mixed(labels(&[0, 1], 2), vec![0.5, 1.5]).is_err());
}

proptest! {
    #[test]
    fn plans_are_permutations_with_shares(
        batch in 0..20_usize, alpha in 0.01..5.0, seed: u64, by_sample: bool,
        height in 1..40_usize, width in 1..40_usize,
    ) {
        let by = if by_sample { MixBy::Sample } else { MixBy::Batch };
        let plan = Mixup::new(alpha, by).unwrap().plan(batch, seed);
        check_plan(&plan, batch, by);
        prop_assert!(plan.boxes().is_empty());
        let plan = CutMix::new(alpha, by).unwrap().plan(batch, (height, width), seed).unwrap();
        check_plan(&plan, batch, by);
        prop_assert_eq!(plan.boxes().len(), batch);
        for (cut, share) in plan.boxes().iter().zip(plan.share_of_partner()) {
            prop_assert!(cut.top <= cut.bottom && cut.bottom <= height);
            prop_assert!(cut.left <= cut.right && cut.right <= width);
            // Counted, pixel by pixel.
            let inside = (0..height * width).filter(|pixel| {
                let (y, x) = (pixel / width, pixel % width);
                (cut.top..cut.bottom).contains(&y) && (cut.left..cut.right).contains(&x)
            });
            prop_assert_eq!(*share, inside.count() as f64 / (height * width) as f64);
        }
    }

    /// Mixing and smoothing are both linear: smoothing the mixed one-hot rows once is the same as mixing smoothed ones.
    #[test]
    fn dense_rows_are_smoothed_once(
        labels in prop::collection::vec(0..5_u8, 1..10), seed: u64, epsilon in 0.0..=1.0, kind in 0..3,
    ) {
        let labels = Labels::new(&labels, 5).unwrap();
        let plan = Mixup::new(0.5, MixBy::Sample).unwrap().plan(labels.len(), seed);
        let mixed = plan.labels(&labels).unwrap();
        let smoothing = match kind {
            0 => Smoothing::mixture(epsilon).unwrap(),
            1 => Smoothing::off_target(epsilon).unwrap(),
            _ => Smoothing::towards(NegativeEpsilon::new(-0.1 - epsilon).unwrap(), Convention::Mixture),
        };
        let plain = mixed.dense(&Smoothing::NONE).unwrap();
        let expected = smoothing.smooth_rows(&Probabilities::new(plain, 5).unwrap()).unwrap();
        for (found, expected) in mixed.dense(&smoothing).unwrap().iter().zip(expected) {
            prop_assert!((found - expected).abs() < 5e-7, "{found} against {expected}");
        }
    }
}

#[test]
fn smoothing_twice_takes_twice() {
    let mixed =
        MixedLabels::new(Labels::new(&[0], 4).unwrap(), Labels::new(&[1], 4).unwrap(), vec![0.25]);
    let mixed = mixed.unwrap();
    let smoothing = Smoothing::mixture(0.1).unwrap();
    let once = mixed.dense(&smoothing).unwrap();
    let twice = smoothing.smooth_rows(&Probabilities::new(once, 4).unwrap()).unwrap();
    let more = Smoothing::new(Epsilon::new(0.19).unwrap(), Convention::Mixture);
    for (twice, more) in twice.iter().zip(mixed.dense(&more).unwrap()) {
        assert!((twice - more).abs() < 1e-7);
    }
}
