//! Classes that are not contiguous: N×K×S.

use half::{bf16, f16};

use crate::reference::{Case, Number, OwnedDense, OwnedMasses, OwnedSecond, Random, masses};
use crate::targets::all_rows;

fn check<T: Number>()
where
    T::Sum: Number,
{
    for (images, classes, spatial) in
        [(1, 1, 2), (2, 3, 5), (3, 10, 16), (2, 21, 33), (1, 70, 49), (2, 150, 17), (1, 1000, 40)]
    {
        let rows = images * spatial;
        let mut random = Random(spatial as u64);
        let mut case = Case::<T>::smoothed(rows, classes, 0.1, 1);
        case.spatial = spatial;
        case.check();
        case.ignored = Some((0..rows).map(|row| row % 5 == 3).collect());
        case.weights = Some(random.units(classes));
        case.scales = Some(random.numbers(rows, 1.0));
        case.check();
        case.dense = OwnedDense::Vector(random.units(classes));
        case.masses = OwnedMasses::All(masses(0.5, 0.0, 1.0 / classes as f64));
        case.second = Some(OwnedSecond {
            labels: random.labels(rows, classes),
            one: None,
            rows: random.units(rows),
        });
        case.check();
        let values: Vec<f64> =
            (0..rows * classes).map(|_| random.unit() / classes as f64).collect();
        for dense in all_rows(&values) {
            case.dense = dense;
            case.check();
        }
        case.options.softcap = Some(9.0);
        case.options.scale = 1.25;
        case.options.z_loss = 1e-3;
        case.check();
    }
}

#[test]
fn f32() {
    check::<f32>();
}

#[test]
fn f64() {
    check::<f64>();
}

#[test]
fn bf16() {
    check::<bf16>();
}

#[test]
fn f16() {
    check::<f16>();
}

#[test]
fn one_position_is_a_row() {
    let mut case = Case::<f32>::smoothed(20, 90, 0.1, 2);
    let along = case.results(1);
    case.spatial = 20;
    let at = |row: usize, class: usize| row * 90 + class;
    case.logits = (0..90)
        .flat_map(|class| (0..20).map(move |row| (row, class)))
        .map(|(row, class)| Case::<f32>::smoothed(20, 90, 0.1, 2).logits[at(row, class)])
        .collect();
    let across = case.results(1);
    for (a, b) in along.losses.iter().zip(&across.losses) {
        assert!((a - b).abs() <= 4.0 * f32::EPSILON * a.abs().max(1.0));
    }
}
