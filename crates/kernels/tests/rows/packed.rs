//! The sum of the losses alone, of so many rows of few classes that they are computed where they lie.

use half::{bf16, f16};

use crate::reference::{Case, Number, OwnedDense, OwnedMasses, Random, masses};
use crate::targets::all_rows;

/// Three groups of rows that are computed together, and some more.
const ROWS: usize = 200;

const CLASSES: [usize; 10] = [1, 2, 3, 5, 10, 16, 17, 31, 33, 64];

for_all_elements! {
    the_same_masses_for_all;
    vectors;
    by_label;
    dense_rows;
    scales;
    what_is_not_finite_stays_in_its_row;
}

fn case<T: Number>(classes: usize) -> Case<T>
where
    T::Sum: Number,
{
    Case { scale: 1.0 / ROWS as f64, ..Case::new(ROWS, classes, 40 + classes as u64) }
}

/// As it is, with other steps and class weights, with ignored rows in one group, and in all.
fn check_all_ways<T: Number>(case: &Case<T>)
where
    T::Sum: Number,
{
    let mut case = case.clone();
    case.check_total_alone();
    case.scale = -2.5;
    case.options.scale = 3.0;
    case.check_total_alone();
    case.options.scale = 0.5;
    case.weights = Some(Random(7).units(case.classes));
    case.check_total_alone();
    case.weights = None;
    case.ignored = Some((0..ROWS).map(|row| (70..75).contains(&row)).collect());
    case.check_total_alone();
    case.ignored = Some((0..ROWS).map(|row| row % 60 == 59).collect());
    case.check_total_alone();
}

fn the_same_masses_for_all<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        let mut case = case::<T>(classes);
        let share = 1.0 / classes as f64;
        for (label, uniform) in [(1.0, 0.0), (0.9, 0.1 * share), (-0.5, 1.5 * share)] {
            case.masses = OwnedMasses::All(masses(label, uniform, 0.0));
            check_all_ways(&case);
        }
        case.ignore_index = Some(0);
        case.check_total_alone();
        case.labels = None;
        case.masses = OwnedMasses::All(masses(0.0, share, 0.0));
        check_all_ways(&case);
    }
}

fn vectors<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        let mut case = case::<T>(classes);
        case.dense = OwnedDense::Vector(Random(3).numbers(classes, 0.1));
        for (label, uniform, dense) in [(0.5, 0.2 / classes as f64, 0.3), (-0.3, 0.0, 1.0)] {
            case.masses = OwnedMasses::All(masses(label, uniform, dense));
            check_all_ways(&case);
        }
        case.labels = None;
        case.masses = OwnedMasses::All(masses(0.0, 0.1, -0.7));
        check_all_ways(&case);
    }
}

fn by_label<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        let mut case = case::<T>(classes);
        let mut random = Random(4);
        let matrix = OwnedDense::Matrix(random.numbers(classes * classes, 0.1));
        let of_class = |_| masses(random.unit(), random.unit() / classes as f64, random.normal());
        let each = OwnedMasses::Class((0..classes).map(of_class).collect());
        case.dense = matrix.clone();
        case.masses = OwnedMasses::All(masses(0.5, 0.2 / classes as f64, 0.3));
        check_all_ways(&case);
        case.masses = each;
        for dense in [OwnedDense::None, OwnedDense::Vector(random.units(classes)), matrix] {
            case.dense = dense;
            check_all_ways(&case);
        }
        case.ignore_index = Some(0);
        case.check_total_alone();
    }
}

fn dense_rows<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        let mut case = case::<T>(classes);
        let labels = case.labels.clone();
        let mut random = Random(5);
        let share = 2.0 / classes as f64;
        let values: Vec<f64> = (0..ROWS * classes).map(|_| share * random.unit()).collect();
        for dense in all_rows(&values) {
            case.dense = dense;
            case.labels = None;
            case.masses = OwnedMasses::All(masses(0.0, 0.0, 1.0));
            check_all_ways(&case);
            case.labels.clone_from(&labels);
            case.masses = OwnedMasses::All(masses(0.3, 0.1 / classes as f64, -0.6));
            check_all_ways(&case);
        }
    }
}

/// Steps and masses whose products single precision has no room for, or nearly.
fn scales<T: Number>()
where
    T::Sum: Number,
{
    for classes in [3, 10] {
        let mut case = case::<T>(classes);
        // Beyond 65504 and below 6e-8 half precision has nothing.
        let is_half = T::of(1e6).get().is_infinite();
        for scale in if is_half { [1e3, 1e-3, 1.0, -7.0] } else { [1e12, 1e30, 1e-12, 1e-25] } {
            case.scale = scale;
            case.masses = OwnedMasses::All(masses(0.9, 0.1 / classes as f64, 0.0));
            case.dense = OwnedDense::None;
            case.check_total_alone();
            case.dense = OwnedDense::Matrix(Random(6).numbers(classes * classes, 0.1));
            case.check_total_alone();
        }
        // Of all labels, of some, and of single rows.
        case.scale = if is_half { 1e-16 } else { 1e-9 };
        let huge = |label: usize| masses(if label == 1 { 1e18 } else { 0.5 }, 0.1, 0.0);
        case.dense = OwnedDense::None;
        case.masses = OwnedMasses::Class((0..classes).map(huge).collect());
        case.check_total_alone();
        case.masses = OwnedMasses::All(masses(1e18, 1e17, 1e17));
        let mut rows = vec![0.5f32; ROWS * classes];
        let dense = [
            OwnedDense::None,
            OwnedDense::Matrix(Random(6).numbers(classes * classes, 0.1)),
            OwnedDense::Vector(vec![T::Sum::of(0.5); classes]),
        ];
        for dense in dense {
            case.dense = dense;
            case.check_total_alone();
        }
        rows[70 * classes] = 1e18;
        case.masses = OwnedMasses::All(masses(0.1, 0.0, 1.0));
        case.dense = OwnedDense::F32(rows);
        case.check_total_alone();
    }
}

fn what_is_not_finite_stays_in_its_row<T: Number>()
where
    T::Sum: Number,
{
    const BAD: usize = 70;
    for classes in CLASSES {
        let mut clean = case::<T>(classes);
        let share = 1.0 / classes as f64;
        let matrix = vec![T::Sum::of(share); classes * classes];
        for dense in [
            OwnedDense::None,
            OwnedDense::Vector(matrix[..classes].to_vec()),
            OwnedDense::Matrix(matrix),
            OwnedDense::F32(vec![0.25; ROWS * classes]),
        ] {
            clean.dense = dense;
            clean.masses = OwnedMasses::All(masses(0.9, 0.05 * share, 0.05));
            let results = clean.results(1);
            let row = BAD * classes..(BAD + 1) * classes;
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let mut case = clean.clone();
                // A row of −∞ throughout; else one logit.
                let end = if bad == f64::NEG_INFINITY { row.end } else { row.start + 1 };
                case.logits[row.start..end].fill(T::of(bad));
                let all = [case.total_alone(1), case.total_alone(3), case.total_alone_in_place(2)];
                for (total, mut gradient) in all {
                    if bad == f64::NEG_INFINITY {
                        assert_eq!(total, f64::INFINITY);
                    } else {
                        assert!(total.is_nan());
                        assert!(gradient[row.clone()].iter().all(|value| value.get().is_nan()));
                    }
                    gradient[row.clone()].copy_from_slice(&results.gradient[row.clone()]);
                    let others = crate::entry_points::Results { gradient, ..results.clone() };
                    others.agree_with_truth(&clean);
                }
            }
        }
    }
}
