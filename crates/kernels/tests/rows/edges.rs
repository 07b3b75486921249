//! Infinities, NaN, masks, confident rows.

use half::{bf16, f16};

use crate::reference::{Case, Number, OwnedDense, OwnedMasses, masses};

/// A switch of the kernels lies between the first two and the others; blocks have 2048 classes.
const CLASSES: [usize; 6] = [3, 17, 65, 1000, 2049, 5000];

for_all_elements! {
    masked_classes_without_mass_cost_nothing;
    mass_on_a_masked_class_is_an_infinite_loss;
    rows_without_any_class;
    what_ignored_rows_hold_does_not_matter;
    not_a_number_and_infinity_stay_in_their_row;
    labels_far_below_stay_in_their_row;
    masks_with_the_least_number;
    wide_gaps;
    confident_rows;
}

/// Some rows, on one side of which all is −∞ but a few classes.
fn masked<T: Number>(classes: usize) -> Case<T>
where
    T::Sum: Number,
{
    let mut case = Case::<T>::new(5, classes, 1);
    let masked_part = classes * 2 / 3;
    for row in 0..5 {
        for class in 0..masked_part {
            case.logits[row * classes + class] = T::of(f64::NEG_INFINITY);
        }
    }
    // Row 1: masked at the other end. Row 2: all but one. Rows 3 and 4: each second.
    for class in 0..classes {
        let logit = |case: &mut Case<T>, row: usize, is_masked: bool| {
            let value = if is_masked { f64::NEG_INFINITY } else { (class % 13) as f64 };
            case.logits[row * classes + class] = T::of(value);
        };
        logit(&mut case, 1, class >= classes / 3);
        logit(&mut case, 2, class + 1 != classes);
        logit(&mut case, 3, class % 2 == 0);
        logit(&mut case, 4, class % 2 == 0);
    }
    let end = i64::try_from(classes).unwrap() - 1;
    case.labels = Some(vec![end, 0, end, 1, 1]);
    case
}

fn masked_classes_without_mass_cost_nothing<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        let mut case = masked::<T>(classes);
        case.check();
        assert!(case.results(1).losses.iter().all(|loss| loss.get().is_finite()));
        // Smoothing over the classes that are not masked.
        case.masses = OwnedMasses::All(masses(0.9, 0.0, 0.1));
        let mask = case.logits.iter().map(|logit| logit.get().is_finite()).collect();
        case.dense = OwnedDense::Mask(mask);
        case.check();
        assert!(case.results(1).losses.iter().all(|loss| loss.get().is_finite()));
        // A label mass that takes away all that a masked class has: no mass is left.
        let mut case = Case::<T>::new(2, classes, 2);
        let off = T::Sum::of(1.0 / (classes as f64 - 1.0)).get();
        case.masses = OwnedMasses::All(masses(-off, off, 0.0));
        for (row, &label) in case.labels.as_ref().unwrap().iter().enumerate() {
            case.logits[row * classes + usize::try_from(label).unwrap()] = T::of(f64::NEG_INFINITY);
        }
        case.check();
        assert!(case.results(1).losses.iter().all(|loss| loss.get().is_finite()));
    }
}

fn mass_on_a_masked_class_is_an_infinite_loss<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        let mut case = masked::<T>(classes);
        case.masses = OwnedMasses::All(masses(0.9, 0.1 / classes as f64, 0.0));
        case.check();
        assert!(case.results(1).losses.iter().all(|loss| loss.get() == f64::INFINITY));
        let mut case = masked::<T>(classes);
        let end = i64::try_from(classes).unwrap() - 1;
        case.labels = Some(vec![0, end, 0, 0, 0]);
        case.check();
        let results = case.results(1);
        assert!(results.losses.iter().all(|loss| loss.get() == f64::INFINITY));
        assert_eq!(results.gradient[0].get(), -1.0);
    }
}

fn rows_without_any_class<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        let mut case = Case::<T>::new(3, classes, 3);
        let labels = vec![0, 1, 2];
        case.labels = Some(labels.clone());
        for value in &mut case.logits[classes..2 * classes] {
            *value = T::of(f64::NEG_INFINITY);
        }
        case.scale = 2.0;
        let results = case.results(1);
        assert_eq!(results.losses[1].get(), f64::INFINITY);
        assert_eq!(results.log_sum_exp[1].get(), f64::NEG_INFINITY);
        assert!(!results.correct[1]);
        for (class, value) in results.gradient[classes..2 * classes].iter().enumerate() {
            assert_eq!(value.get(), 0.0, "{class}");
        }
        assert!(results.losses[0].get().is_finite() && results.losses[2].get().is_finite());
        // Without mass there is no loss.
        case.masses = OwnedMasses::All(masses(0.0, 0.0, 0.0));
        let results = case.results(1);
        assert_eq!(results.losses[1].get(), 0.0);
        assert!(results.gradient.iter().all(|value| value.get() == 0.0));
    }
}

fn what_ignored_rows_hold_does_not_matter<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        let mut case = Case::<T>::smoothed(40, classes, 0.1, 4);
        let labels = case.labels.as_mut().unwrap();
        let bad = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30];
        for (index, row) in (0..40).step_by(3).enumerate() {
            labels[row] = -100;
            for class in 0..=(classes * index / 14) {
                case.logits[row * classes + class.min(classes - 1)] = T::of(bad[index % 4]);
            }
        }
        case.ignore_index = Some(-100);
        case.check();
        case.dense = OwnedDense::F32(
            (0..40 * classes)
                .map(|at| if at / classes % 3 == 0 { f32::NAN } else { 0.001 })
                .collect(),
        );
        case.masses = OwnedMasses::All(masses(0.5, 0.0, 0.5));
        case.check();
        case.spatial = 8;
        case.logits = Case::<T>::new(40, classes, 5).logits;
        case.dense = OwnedDense::None;
        for row in (0..40).step_by(3) {
            for class in 0..classes {
                let at = case.element(row, class);
                case.logits[at] = T::of(bad[class % 4]);
            }
        }
        case.check();
    }
}

fn not_a_number_and_infinity_stay_in_their_row<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        for bad in [f64::NAN, f64::INFINITY] {
            for at in [0, classes / 2, classes - 1] {
                let mut case = Case::<T>::smoothed(20, classes, 0.1, 6);
                let clean = case.results(1);
                case.logits[7 * classes + at] = T::of(bad);
                let results = case.results(1);
                for row in 0..20 {
                    let range = row * classes..(row + 1) * classes;
                    if row == 7 {
                        assert!(results.losses[7].get().is_nan());
                        assert!(results.log_sum_exp[7].get().is_nan());
                        assert!(results.gradient[range].iter().all(|value| value.get().is_nan()));
                    } else {
                        assert_eq!(results.losses[row], clean.losses[row]);
                        assert_eq!(results.gradient[range.clone()], clean.gradient[range]);
                    }
                }
            }
        }
    }
}

/// Without the question which rows are correct, exponentials are taken against the logits of labels.
fn labels_far_below_stay_in_their_row<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        let mut case = Case::<T>::smoothed(70, classes, 0.1, 6);
        let clean = case.results_if(1, false);
        let label = usize::try_from(case.labels.as_ref().unwrap()[7]).unwrap();
        for far in [-40.0, -3e4, f64::NEG_INFINITY, f64::NAN] {
            case.logits[7 * classes + label] = T::of(far);
            let results = case.results_if(1, false);
            if far.is_nan() {
                assert!(results.losses[7].get().is_nan());
            } else {
                results.agree_with_truth(&case);
            }
            for row in (0..70).filter(|&row| row != 7) {
                let range = row * classes..(row + 1) * classes;
                assert_eq!(results.losses[row], clean.losses[row]);
                assert_eq!(results.gradient[range.clone()], clean.gradient[range]);
            }
        }
    }
}

fn masks_with_the_least_number<T: Number>()
where
    T::Sum: Number,
{
    // Where sums of a few of them are infinite in the type of the losses but not in `f64`, a
    // uniform mass keeps them finite.
    let least = match std::any::type_name::<T>() {
        "f32" => f64::from(f32::MIN),
        "f64" => f64::MIN,
        name if name.contains("bf16") => f64::from(bf16::MIN),
        _ => f64::from(f16::MIN),
    };
    for classes in CLASSES {
        let mut case = masked::<T>(classes);
        for logit in &mut case.logits {
            if logit.get() == f64::NEG_INFINITY {
                *logit = T::of(least);
            }
        }
        case.check();
        assert!(case.results(1).losses.iter().all(|loss| loss.get() < 100.0));
        case.masses = OwnedMasses::All(masses(0.9, 0.1 / classes as f64, 0.0));
        case.check();
        let results = case.results(1);
        assert!(results.losses.iter().all(|loss| loss.get().is_finite() && loss.get() > 500.0));
        // A row of nothing else is uniform.
        case.logits[..classes].fill(T::of(least));
        case.masses = OwnedMasses::All(masses(1.0, 0.0, 0.0));
        let results = case.results(1);
        let expected = 1.0 / classes as f64;
        let bound = expected * (T::EPSILON + 8.0 * <T::Sum as Number>::EPSILON);
        assert!((results.gradient[0].get() - expected).abs() <= bound);
    }
}

fn wide_gaps<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        for gap in [80.0, 88.0, 95.0, 104.0, 120.0, 700.0, 740.0, 800.0] {
            let mut case = Case::<T>::smoothed(4, classes, 0.1, 7);
            for (at, logit) in case.logits.iter_mut().enumerate() {
                let is_far = (at % 3 == 0) != (at / classes % 2 == 0);
                *logit = T::of(logit.get() - if is_far { gap } else { 0.0 });
            }
            case.check();
        }
    }
}

fn confident_rows<T: Number>()
where
    T::Sum: Number,
{
    for classes in CLASSES {
        for height in [10.0, 13.0, 30.0, 87.0, 89.5, 100.0, 150.0, 355.0, 1000.0, 30000.0] {
            let mut case = Case::<T>::smoothed(6, classes, 0.01, 8);
            for row in 0..6 {
                let label = usize::try_from(case.labels.as_ref().unwrap()[row]).unwrap();
                // Half are right, half are wrong.
                let class = if row % 2 == 0 { label } else { (label + 1) % classes };
                case.logits[row * classes + class] = T::of(height);
            }
            case.check();
            case.masses = OwnedMasses::All(masses(1.0, 0.0, 0.0));
            case.check();
        }
    }
}

#[test]
fn ties_go_to_the_first() {
    for classes in CLASSES {
        let mut case = Case::<f32>::new(2, classes, 9);
        case.logits.fill(0.5);
        case.labels = Some(vec![0, 1]);
        case.check();
        assert_eq!(case.results(1).correct, [true, false]);
        let end = classes - 1;
        case.logits[end] = 1.0;
        case.logits[classes + end] = 1.0;
        case.labels = Some(vec![0, i64::try_from(end).unwrap()]);
        assert_eq!(case.results(1).correct, [false, true]);
    }
}
