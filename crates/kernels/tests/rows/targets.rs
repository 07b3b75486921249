//! Every kind of target, for every element, on rows of all lengths.

use half::{bf16, f16};
use proptest::prelude::*;

use crate::reference::{Case, Number, OwnedDense, OwnedMasses, OwnedSecond, Random, masses};

/// Around the lengths of vectors, the switch between kernels, and blocks; and real vocabularies.
const CLASSES: [usize; 21] =
    [1, 2, 3, 8, 10, 16, 17, 31, 33, 41, 63, 64, 65, 100, 129, 668, 1000, 1128, 2048, 2049, 4200];

for_all_elements! {
    labels: check_labels;
    uniform: check_uniform;
    by_class_and_row: check_by_class_and_row;
    vectors: check_vectors;
    matrices: check_matrices;
    dense_rows: check_dense_rows;
    second_labels: check_second_labels;
    options: check_options;
    vocabularies: check_vocabularies;
}

/// Of few classes also whole groups that are computed together, and some more.
fn rows_for(classes: usize) -> &'static [usize] {
    match classes {
        0..=64 => &[15, 16, 33, 150],
        65..=300 => &[15, 16, 33],
        _ => &[0, 1, 3],
    }
}

/// Cases of all lengths.
fn for_sizes<T: Number>(seed: u64, check: impl Fn(usize, usize, u64))
where
    T::Sum: Number,
{
    for (index, classes) in CLASSES.into_iter().enumerate() {
        for &rows in rows_for(classes) {
            check(rows, classes, seed + index as u64);
        }
    }
}

fn check_labels<T: Number>()
where
    T::Sum: Number,
{
    for_sizes::<T>(1, |rows, classes, seed| {
        let mut case = Case::<T>::new(rows, classes, seed);
        case.check();
        case.ignore_index = Some(0);
        case.scale = -2.5;
        case.check();
        case.ignored = Some((0..rows).map(|row| row % 3 == 1).collect());
        case.check();
    });
}

fn check_uniform<T: Number>()
where
    T::Sum: Number,
{
    for_sizes::<T>(2, |rows, classes, seed| {
        for epsilon in [0.1, 1.0] {
            Case::<T>::smoothed(rows, classes, epsilon, seed).check();
        }
        // Off the label, and with all of it (ε = 1), where the label's mass cancels to 0.
        let off = T::Sum::of(1.0 / (classes as f64 - 1.0).max(1.0)).get();
        let mut case = Case::<T>::new(rows, classes, seed);
        case.masses = OwnedMasses::All(masses(-off, off, 0.0));
        case.scales = Some(Random(seed).numbers(rows, 1.0));
        case.check();
        let mut case = Case::<T>::smoothed(rows, classes, 0.1, seed);
        case.weights = Some(Random(seed).units(classes));
        case.check();
    });
}

fn check_by_class_and_row<T: Number>()
where
    T::Sum: Number,
{
    for_sizes::<T>(3, |rows, classes, seed| {
        let mut random = Random(seed);
        let mut some = |count: usize| {
            (0..count)
                .map(|_| masses(random.unit(), random.unit() / classes as f64, random.unit()))
                .collect::<Vec<_>>()
        };
        let mut case = Case::<T>::new(rows, classes, seed);
        case.masses = OwnedMasses::Class(some(classes));
        case.check();
        case.masses = OwnedMasses::Row(some(rows));
        case.check();
        case.dense = OwnedDense::Vector(Random(seed + 1).units(classes));
        case.check();
        case.weights = Some(Random(seed + 2).units(classes));
        case.check();
    });
}

fn check_vectors<T: Number>()
where
    T::Sum: Number,
{
    for_sizes::<T>(4, |rows, classes, seed| {
        let mut random = Random(seed);
        let mut case = Case::<T>::new(rows, classes, seed);
        case.dense = OwnedDense::Vector(distribution(&mut random, classes));
        for (uniform, dense) in [(0.0, 1.0), (0.2 / classes as f64, 0.3)] {
            case.masses = OwnedMasses::All(masses(0.5, uniform, dense));
            case.weights = None;
            case.check();
            case.weights = Some(random.units(classes));
            case.check();
        }
    });
}

fn check_matrices<T: Number>()
where
    T::Sum: Number,
{
    for classes in [1, 2, 3, 10, 16, 17, 65, 130] {
        for rows in [1, 15, 33] {
            let mut random = Random(5);
            let mut case = Case::<T>::new(rows, classes, 5);
            let matrix = (0..classes).flat_map(|_| distribution(&mut random, classes));
            case.dense = OwnedDense::Matrix(matrix.collect());
            for (uniform, dense) in [(0.0, 1.0), (0.2 / classes as f64, 0.3)] {
                case.masses = OwnedMasses::All(masses(0.5, uniform, dense));
                case.weights = None;
                case.check();
                case.weights = Some(random.units(classes));
                case.check();
                case.ignore_index = Some(1);
                case.check();
                case.ignore_index = None;
            }
        }
    }
}

fn check_dense_rows<T: Number>()
where
    T::Sum: Number,
{
    for_sizes::<T>(6, |rows, classes, seed| {
        let mut random = Random(seed);
        let values: Vec<f64> =
            (0..rows).flat_map(|_| distribution::<f64>(&mut random, classes)).collect();
        let mut case = Case::<T>::new(rows, classes, seed);
        case.ignored = Some((0..rows).map(|row| row % 7 == 2).collect());
        for dense in all_rows(&values) {
            // Alone and without labels; with everything.
            case.labels = None;
            case.dense = dense;
            case.weights = None;
            case.masses = OwnedMasses::All(masses(0.0, 0.0, 1.0));
            case.check();
            case.labels = Some(random.labels(rows, classes));
            case.masses = OwnedMasses::All(masses(0.3, 0.1 / classes as f64, 0.6));
            case.weights = Some(random.units(classes));
            case.check();
        }
    });
}

#[allow(clippy::cast_possible_truncation)]
pub fn all_rows<A>(values: &[f64]) -> [OwnedDense<A>; 5] {
    [
        OwnedDense::F32(values.iter().map(|&value| value as f32).collect()),
        OwnedDense::F64(values.to_vec()),
        OwnedDense::Bf16(values.iter().map(|&value| bf16::from_f64(value)).collect()),
        OwnedDense::F16(values.iter().map(|&value| f16::from_f64(value)).collect()),
        OwnedDense::Mask(values.iter().map(|&value| value > 0.01).collect()),
    ]
}

/// Shares that sum to about 1.
fn distribution<A: Number>(random: &mut Random, classes: usize) -> Vec<A> {
    (0..classes).map(|_| A::of(2.0 * random.unit() / classes as f64)).collect()
}

fn check_second_labels<T: Number>()
where
    T::Sum: Number,
{
    for_sizes::<T>(7, |rows, classes, seed| {
        let mut random = Random(seed);
        let mut case = Case::<T>::smoothed(rows, classes, 0.1, seed);
        case.second = Some(OwnedSecond {
            labels: random.labels(rows, classes),
            one: Some(T::Sum::of(0.25)),
            rows: random.units(rows),
        });
        case.check();
        if let Some(second) = &mut case.second {
            second.one = None;
            // Both labels the same in one row.
            if rows > 0 {
                second.labels[0] = case.labels.as_ref().unwrap()[0];
            }
        }
        case.check();
        case.dense = OwnedDense::Vector(distribution(&mut random, classes));
        case.check();
        // Each label with masses of its own.
        let class = |_| masses(random.unit(), random.unit() / classes as f64, random.unit());
        case.masses = OwnedMasses::Class((0..classes).map(class).collect());
        case.check();
        case.weights = Some(random.units(classes));
        case.ignored = Some((0..rows).map(|row| row % 5 == 3).collect());
        case.check();
        case.dense = OwnedDense::None;
        case.check();
        // And with a row of its own.
        if classes <= 130 || classes == 1128 {
            let matrix = (0..classes).flat_map(|_| distribution(&mut random, classes));
            case.dense = OwnedDense::Matrix(matrix.collect());
            case.check();
            case.weights = None;
            case.check();
            case.masses = OwnedMasses::All(masses(0.5, 0.2 / classes as f64, 0.3));
            case.check();
        }
    });
}

fn check_options<T: Number>()
where
    T::Sum: Number,
{
    for_sizes::<T>(8, |rows, classes, seed| {
        let mut case = Case::<T>::smoothed(rows, classes, 0.1, seed);
        case.options.z_loss = 1e-2;
        case.check();
        for (scale, softcap) in [(0.5, None), (3.0, None), (-1.5, None), (2.0, Some(8.0))] {
            case.options.scale = scale;
            case.options.softcap = softcap;
            case.dense = OwnedDense::None;
            case.check();
            case.dense = OwnedDense::Vector(distribution(&mut Random(seed), classes));
            case.check();
        }
    });
}

fn check_vocabularies<T: Number>()
where
    T::Sum: Number,
{
    for classes in [32_000, 50_257, 128_256] {
        let mut case = Case::<T>::smoothed(2, classes, 0.1, 9);
        case.check();
        case.dense = OwnedDense::F32(Random(9).units(2 * classes));
        case.masses = OwnedMasses::All(masses(0.3, 0.0, 1.4 / classes as f64));
        case.check();
    }
}

#[test]
fn gradients_over_a_large_vocabulary_are_exact_to_a_millionth() {
    let classes = 128_256;
    let case = Case::<f32>::smoothed(2, classes, 0.1, 10);
    let results = case.results(1);
    for row in 0..2 {
        let truth = case.truth(row);
        for (class, of) in truth.classes.iter().enumerate() {
            let value = f64::from(results.gradient[row * classes + class]);
            assert!((value - of.gradient).abs() < 1e-6);
        }
    }
}

proptest! {
    #[test]
    fn any_target(
        rows in 0usize..40,
        classes in 1usize..150,
        seed in any::<u64>(),
        kinds in any::<[u8; 6]>(),
        numbers in prop::array::uniform4(-1.0..1.0f64),
        spread in 0.0..30.0f64,
    ) {
        any_case::<f32>(rows, classes, seed, kinds, numbers, spread).check();
        any_case::<bf16>(rows, classes, seed, kinds, numbers, spread).check();
        any_case::<f64>(rows, classes, seed, kinds, numbers, spread).check();
    }
}

fn any_case<T: Number>(
    rows: usize,
    classes: usize,
    seed: u64,
    kinds: [u8; 6],
    [label, uniform, dense, share]: [f64; 4],
    spread: f64,
) -> Case<T>
where
    T::Sum: Number,
{
    let mut random = Random(seed);
    let mut case = Case::<T>::new(rows, classes, seed);
    case.logits = random.numbers(rows * classes, spread);
    let mut some = || masses(label * random.unit(), uniform * random.unit(), dense);
    case.masses = match kinds[0] % 3 {
        0 => OwnedMasses::All(some()),
        1 => OwnedMasses::Class((0..classes).map(|_| some()).collect()),
        _ => OwnedMasses::Row((0..rows).map(|_| some()).collect()),
    };
    let values: Vec<f64> = (0..rows * classes).map(|_| random.unit()).collect();
    let [f32s, f64s, bf16s, f16s, mask] = all_rows(&values);
    case.dense = match kinds[1] % 8 {
        0 => OwnedDense::None,
        1 => OwnedDense::Vector(random.units(classes)),
        2 => OwnedDense::Matrix(random.units(classes * classes)),
        3 => f32s,
        4 => f64s,
        5 => bf16s,
        6 => f16s,
        _ => mask,
    };
    case.weights = (kinds[2].is_multiple_of(2)).then(|| random.units(classes));
    case.second = (kinds[3].is_multiple_of(3)).then(|| OwnedSecond {
        labels: random.labels(rows, classes),
        one: (kinds[3] < 100).then(|| T::Sum::of(share)),
        rows: random.units(rows),
    });
    case.ignore_index = (kinds[4].is_multiple_of(2)).then(|| i64::from(kinds[4] % 5));
    case.ignored =
        (kinds[5].is_multiple_of(2)).then(|| (0..rows).map(|_| random.below(4) == 0).collect());
    case.scales = (kinds[5].is_multiple_of(3)).then(|| random.numbers(rows, 1.0));
    case
}
