//! Metrics of many predictions in one pass, alone and with intervals, against one pass of log-softmax by libtorch.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use softlabel::metrics::{
    Bootstrap, ConfidenceScore, Forecasts, equal_mass_calibration_error, full_evaluation,
    selective_classification,
};
use softlabel::prelude::*;
use tch::{Device, Kind, Tensor};

/// Bins of the calibration errors.
const BINS: usize = 15;

fn metrics(criterion: &mut Criterion) {
    for (rows, classes) in [(10_000, 10), (10_000, 100), (100_000, 100)] {
        tch::manual_seed(0);
        let size = (Kind::Float, Device::Cpu);
        let tensor = Tensor::randn([rows, classes], size) * 3.0;
        let noise = -(-Tensor::rand([rows, classes], size).log()).log();
        let labels = (&tensor / 2.0 + noise).argmax(-1, false);
        let (Ok(logits), Ok(labels)) = (
            to_logits::<f32>(&tensor),
            to_labels(&labels, usize::try_from(classes).unwrap_or_default()),
        ) else {
            return;
        };
        let mut group = criterion.benchmark_group(format!("metrics_{rows}x{classes}"));
        group.sample_size(20);
        group.bench_function("evaluate", |bencher| {
            bencher.iter(|| evaluate(black_box(&logits), &labels, BINS));
        });
        group.bench_function("full_evaluation", |bencher| {
            bencher.iter(|| full_evaluation(black_box(&logits), &labels, BINS));
        });
        group.bench_function("equal_mass", |bencher| {
            bencher.iter(|| equal_mass_calibration_error(black_box(&logits), &labels, BINS));
        });
        group.bench_function("selective", |bencher| {
            let score = ConfidenceScore::MaximumProbability;
            bencher.iter(|| selective_classification(black_box(&logits), &labels, score));
        });
        group.bench_function("libtorch_log_softmax", |bencher| {
            bencher.iter(|| black_box(&tensor).log_softmax(-1, Kind::Double));
        });
        group.finish();
    }
}

fn intervals(criterion: &mut Criterion) {
    tch::manual_seed(0);
    let confidences = Tensor::rand([100_000], (Kind::Double, Device::Cpu)) * 0.5 + 0.5;
    let happened = Tensor::rand([100_000], (Kind::Double, Device::Cpu)).lt_tensor(&confidences);
    let (Ok(confidences), Ok(happened)) =
        (Vec::<f64>::try_from(confidences), Vec::<bool>::try_from(happened))
    else {
        return;
    };
    let (Ok(forecasts), Ok(bootstrap)) =
        (Forecasts::new(&confidences, &happened), Bootstrap::new(1000, 0))
    else {
        return;
    };
    let mut group = criterion.benchmark_group("bootstrap_of_ece_100000");
    group.sample_size(10);
    group.bench_function("1000_replicates", |bencher| {
        bencher.iter(|| bootstrap.expected_calibration_error(black_box(&forecasts), BINS));
    });
    group.finish();
}

criterion_group!(benches, metrics, intervals);
criterion_main!(benches);
