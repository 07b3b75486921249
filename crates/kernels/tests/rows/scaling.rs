//! Rows times numbers.

use std::mem::MaybeUninit;

use half::{bf16, f16};
use softlabel_kernels::rows::{Scale, copy_scaled_rows, scale_rows, with_cpu_features};

use crate::reference::{Number, Random};

fn check<T: Number>()
where
    T::Sum: Number,
{
    for (rows, columns) in [(0, 3), (1, 1), (3, 17), (16, 33), (40, 1000), (2, 0), (3, 20_000)] {
        let mut random = Random(1);
        let values: Vec<T> = random.numbers(rows * columns, 2.0);
        let scales: Vec<T::Sum> = random.numbers(rows, 1.0);
        for features in ["portable", "neon", "avx2", "avx512"] {
            for threads in [1, 3] {
                with_cpu_features(features, || {
                    for by in [Scale::Rows(&scales[..]), Scale::All(T::Sum::of(-0.7))] {
                        let mut scaled = values.clone();
                        scale_rows(&mut scaled, columns, by, threads).unwrap();
                        let mut copied = vec![MaybeUninit::new(T::of(0.0)); values.len()];
                        copy_scaled_rows(&values, &mut copied, columns, by, threads).unwrap();
                        for (at, &value) in values.iter().enumerate() {
                            let scale = match by {
                                Scale::All(scale) => scale,
                                Scale::Rows(scales) => scales[at / columns],
                            };
                            // Exact in f64 for all but f64 itself, then rounded by the
                            // arithmetic, then by the element.
                            let truth = T::of(T::Sum::of(value.get() * scale.get()).get());
                            assert_eq!(scaled[at], truth);
                            // SAFETY: made of initialized numbers.
                            #[allow(unsafe_code)]
                            let copy = unsafe { copied[at].assume_init() };
                            assert_eq!(copy.bits(), scaled[at].bits());
                        }
                    }
                });
            }
        }
    }
}

#[test]
fn all_elements() {
    check::<f32>();
    check::<f64>();
    check::<bf16>();
    check::<f16>();
}

#[test]
fn rounding_and_extremes_are_those_of_the_type() {
    // Ties to even, the largest numbers, subnormal numbers, infinities, NaN.
    for bits in 0..=u16::MAX {
        let (brain, half) = (bf16::from_bits(bits), f16::from_bits(bits));
        for factor in [1.000_1f32, 0.501, 1.0e-3] {
            for features in ["portable", "neon", "avx2", "avx512"] {
                with_cpu_features(features, || {
                    let mut values = [brain; 17];
                    scale_rows(&mut values, 17, Scale::All(factor), 1).unwrap();
                    let truth = bf16::from_f32(brain.to_f32() * factor);
                    assert!(same(values[0].to_f32(), truth.to_f32()), "{features} {brain:?}");
                    assert!(same(values[16].to_f32(), truth.to_f32()), "{features} {brain:?}");
                    let mut values = [half; 17];
                    scale_rows(&mut values, 17, Scale::All(factor), 1).unwrap();
                    let truth = f16::from_f32(half.to_f32() * factor);
                    assert!(same(values[0].to_f32(), truth.to_f32()), "{features} {half:?}");
                    assert!(same(values[16].to_f32(), truth.to_f32()), "{features} {half:?}");
                });
            }
        }
    }
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn lengths_that_do_not_fit() {
    let by = Scale::Rows(&[1.0f32, 2.0]);
    let error = scale_rows(&mut [1.0f32; 5], 2, by, 1).unwrap_err();
    assert_eq!(error.to_string(), "values: expected 4 elements, found 5");
    let error = scale_rows(&mut [1.0f32; 6], 2, by, 1).unwrap_err();
    assert_eq!(error.to_string(), "scales: expected 3 elements, found 2");
    let mut to = [MaybeUninit::uninit(); 3];
    let error = copy_scaled_rows(&[1.0f32; 4], &mut to, 2, by, 1).unwrap_err();
    assert_eq!(error.to_string(), "copy: expected 4 elements, found 3");
}
