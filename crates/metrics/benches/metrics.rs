//! Metrics on logits of the size that a validation set has: 1,000,000 × 100 in `f32` and `bf16`, in
//! one pass, and a thousand replicates of the calibration error of 100,000 rows.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use half::bf16;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};
use softlabel_core::{Labels, Logits, Scalar};
use softlabel_metrics::{
    Bootstrap, Forecasts, FullEvaluation, evaluate, full_evaluation, smooth_calibration_error,
};

const CLASSES: usize = 100;

/// A number in [0, 1).
fn uniform(generator: &mut Xoshiro256PlusPlus) -> f64 {
    (generator.next_u64() >> 11) as f64 * 2f64.powi(-53)
}

/// Noise with a lead for a class that is the label in three of four rows.
fn predictions<T: Scalar>(rows: usize) -> (Vec<T>, Vec<u32>) {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(0);
    let mut logits = Vec::with_capacity(rows * CLASSES);
    let mut labels = Vec::with_capacity(rows);
    for row in 0..rows {
        let label = row % CLASSES;
        let lead = if uniform(&mut generator) < 0.75 { label } else { (label + 1) % CLASSES };
        for class in 0..CLASSES {
            let noise = 4.0 * (uniform(&mut generator) + uniform(&mut generator) - 1.0);
            logits.push(T::narrow(noise + if class == lead { 6.0 } else { 0.0 }));
        }
        labels.push(u32::try_from(label).unwrap_or(0));
    }
    (logits, labels)
}

fn million<T: Scalar>(criterion: &mut Criterion, name: &str) {
    let (values, labels) = predictions::<T>(1_000_000);
    let (Ok(logits), Ok(labels)) = (Logits::new(&values, CLASSES), Labels::new(&labels, CLASSES))
    else {
        return;
    };
    let mut group = criterion.benchmark_group(format!("1000000x100_{name}"));
    group.sample_size(10);
    group.bench_function("check_values", |bencher| {
        bencher.iter(|| Logits::new(black_box(&values), CLASSES).is_ok());
    });
    group.bench_function("fixed_state", |bencher| {
        bencher.iter(|| evaluate(black_box(&logits), &labels, 15));
    });
    group.bench_function("everything", |bencher| {
        bencher.iter(|| full_evaluation(black_box(&logits), &labels, 15));
    });
    let Ok(mut evaluation) = FullEvaluation::new(CLASSES, 15) else { return };
    group.bench_function("everything_update_alone", |bencher| {
        bencher.iter(|| {
            evaluation.reset();
            evaluation.update(black_box(&logits), &labels)
        });
    });
    group.bench_function("smooth_error_alone", |bencher| {
        bencher.iter(|| smooth_calibration_error(black_box(&logits), &labels));
    });
    group.finish();
}

fn large(criterion: &mut Criterion) {
    million::<f32>(criterion, "f32");
    million::<bf16>(criterion, "bf16");
}

fn bootstrap(criterion: &mut Criterion) {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(1);
    let said: Vec<f64> = (0..100_000).map(|_| uniform(&mut generator).sqrt()).collect();
    let happened: Vec<bool> = said.iter().map(|&c| uniform(&mut generator) < c * c).collect();
    let (Ok(forecasts), Ok(settings)) = (Forecasts::new(&said, &happened), Bootstrap::new(1000, 0))
    else {
        return;
    };
    let mut group = criterion.benchmark_group("bootstrap_100000x1000");
    group.sample_size(10);
    group.bench_function("expected_calibration_error", |bencher| {
        bencher.iter(|| settings.expected_calibration_error(black_box(&forecasts), 15));
    });
    group.finish();
}

criterion_group!(benches, large, bootstrap);
criterion_main!(benches);
