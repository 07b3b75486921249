//! Spatially varying label smoothing against a straightforward computation that pads, and against one made by hand.
#![allow(clippy::unwrap_used)] // Tests fail by panicking.

use proptest::prelude::*;
use softlabel_targets::{ClassAxis, LabelMap, Svls};

const IGNORED: i64 = -100;

/// The definition: pad by repeating the border, one plane a class, convolve, divide by the weights that count.
fn reference(labels: &[i64], shape: [usize; 4], classes: usize, sigma: f64, n: usize) -> Vec<f64> {
    let [batch, depth, height, width] = shape;
    let reach = n / 2;
    let reach_z = if depth == 1 { 0 } else { reach };
    let mut rows = Vec::new();
    for image in 0..batch {
        let padded = |z: usize, y: usize, x: usize| {
            let inside = |at: usize, by: usize, size: usize| at.clamp(by, by + size - 1) - by;
            let (z, y, x) =
                (inside(z, reach_z, depth), inside(y, reach, height), inside(x, reach, width));
            labels[((image * depth + z) * height + y) * width + x]
        };
        let weight = |z: usize, y: usize, x: usize| {
            let square = |a: usize, b: usize| (a as f64 - b as f64).powi(2);
            (-(square(z, reach_z) + square(y, reach) + square(x, reach)) / (2.0 * sigma * sigma))
                .exp()
        };
        let offsets = || {
            (0..=2 * reach_z)
                .flat_map(move |z| (0..n).flat_map(move |y| (0..n).map(move |x| [z, y, x])))
        };
        let centre = [reach_z, reach, reach];
        let neighbours: f64 =
            offsets().filter(|o| *o != centre).map(|[z, y, x]| weight(z, y, x)).sum();
        for z in 0..depth {
            for y in 0..height {
                for x in 0..width {
                    let mut target = vec![0.0; classes];
                    for offset in offsets() {
                        let [dz, dy, dx] = offset;
                        let label = padded(z + dz, y + dy, x + dx);
                        let weight = if offset == centre { neighbours } else { weight(dz, dy, dx) };
                        if label != IGNORED {
                            target[usize::try_from(label).unwrap()] += weight;
                        }
                    }
                    let sum: f64 = target.iter().sum();
                    let own = padded(z + reach_z, y + reach, x + reach);
                    rows.extend(target.iter().map(|t| if own == IGNORED { 0.0 } else { t / sum }));
                }
            }
        }
    }
    rows
}

fn check(labels: &[i64], shape: [usize; 4], is_volume: bool, sigma: f64, n: usize) {
    const CLASSES: usize = 3;
    let axes = if is_volume { shape.to_vec() } else { vec![shape[0], shape[2], shape[3]] };
    let map = LabelMap::new(labels, &axes, CLASSES, Some(IGNORED)).unwrap();
    let svls = Svls::new(sigma, n).unwrap();
    let last = svls.encode(&map, ClassAxis::Last).unwrap();
    let second = svls.encode(&map, ClassAxis::Second).unwrap();
    let expected = reference(labels, shape, CLASSES, sigma, n);
    let pixels = shape[1] * shape[2] * shape[3];
    for (pixel, label) in labels.iter().enumerate() {
        assert_eq!(last.counted[pixel], *label != IGNORED);
        for class in 0..CLASSES {
            let found = last.values[pixel * CLASSES + class];
            let expected = expected[pixel * CLASSES + class];
            assert!((f64::from(found) - expected).abs() < 1e-7, "{found} against {expected}");
            let (image, inside) = (pixel / pixels, pixel % pixels);
            assert_eq!(second.values[(image * CLASSES + class) * pixels + inside], found);
        }
    }
    assert_eq!(last.counted, second.counted);
}

// With a = exp(-1/2) for a neighbour beside, b = exp(-1) for one at a corner and s = 4a + 4b, weights are a/2s =
// 0.07781 and b/2s = 0.04719. Around the one pixel of class 1 its 8 neighbours have those; the pixel itself has 1/2.
#[test]
fn one_pixel_by_hand() {
    let map = LabelMap::new(&[0, 0, 0, 0, 1, 0, 0, 0, 0], &[1, 3, 3], 2, None).unwrap();
    let target = Svls::default().encode(&map, ClassAxis::Second).unwrap();
    let (beside, corner) = (0.077_807, 0.047_193);
    let expected = [corner, beside, corner, beside, 0.5, beside, corner, beside, corner];
    for (pixel, expected) in expected.into_iter().enumerate() {
        assert!((f64::from(target.values[9 + pixel]) - expected).abs() < 1e-6);
        assert!((f64::from(target.values[pixel]) - (1.0 - expected)).abs() < 1e-6);
    }
}

#[test]
fn an_ignored_neighbour_has_no_say() {
    let map = LabelMap::new(&[0, 255, 1], &[1, 1, 3], 2, Some(255)).unwrap();
    let target = Svls::default().encode(&map, ClassAxis::Last).unwrap();
    // What is left around each end is itself.
    assert_eq!(target.values, [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(target.counted, [true, false, true]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (sigma, size) in
        [(0.0, 3), (-1.0, 3), (f64::NAN, 3), (0.01, 3), (1.0, 2), (1.0, 1), (1.0, 65)]
    {
        assert!(Svls::new(sigma, size).is_err(), "{sigma} {size}");
    }
    let map = |labels: &[i64], shape: &[usize]| LabelMap::new(labels, shape, 2, None);
    assert!(map(&[0, 1], &[1, 2]).is_err());
    assert!(map(&[0, 1], &[1, 1, 3]).is_err());
    assert!(map(&[0, 2], &[1, 1, 2]).is_err());
    assert!(map(&[0, -100], &[1, 1, 2]).is_err());
    // The product overflows before the 0 is reached.
    assert!(map(&[], &[usize::MAX, 2, 0]).is_err());
    let empty = map(&[], &[0, 4, 4]).unwrap();
    assert!(Svls::default().encode(&empty, ClassAxis::Last).unwrap().values.is_empty());
    let svls: Svls = serde_json::from_str(r#"{"sigma":1,"size":3}"#).unwrap();
    assert_eq!(svls, Svls::default());
    assert!(serde_json::from_str::<Svls>(r#"{"sigma":1,"size":4}"#).is_err());
    assert!(serde_json::from_str::<Svls>(r#"{"sigma":1,"size":3,"k":1}"#).is_err());
}

proptest! {
    #[test]
    fn planes_follow_the_definition(
        labels in prop::collection::vec(prop_oneof![5 => 0..3_i64, 1 => Just(IGNORED)], 24),
        tall: bool, wide: bool, sigma in 0.3..3.0,
    ) {
        let shape = if tall { [2, 1, 4, 3] } else { [1, 1, 2, 12] };
        check(&labels, shape, false, sigma, if wide { 5 } else { 3 });
    }

    #[test]
    fn volumes_follow_the_definition(
        labels in prop::collection::vec(prop_oneof![5 => 0..3_i64, 1 => Just(IGNORED)], 48),
        sigma in 0.3..3.0, wide: bool,
    ) {
        check(&labels, [2, 3, 4, 2], true, sigma, if wide { 5 } else { 3 });
    }
}
