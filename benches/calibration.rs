//! Metrics and temperature scaling on 100,000 × 10 logits, against one pass of log-softmax by libtorch.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use softlabel::prelude::*;
use tch::{Device, Kind, Tensor};

fn calibration(criterion: &mut Criterion) {
    let (rows, classes) = (100_000, 10);
    tch::manual_seed(0);
    let tensor = Tensor::randn([rows, classes], (Kind::Float, Device::Cpu)) * 3.0;
    let labels =
        (&tensor + Tensor::randn([rows, classes], (Kind::Float, Device::Cpu))).argmax(-1, false);
    let (Ok(logits), Ok(labels)) = (to_logits::<f32>(&tensor), to_labels(&labels, 10)) else {
        return;
    };
    let mut group = criterion.benchmark_group("calibration_100000x10");
    group.sample_size(20);
    group.bench_function("evaluate", |bencher| {
        bencher.iter(|| evaluate(black_box(&logits), &labels, 15));
    });
    group.bench_function("temperature_fit", |bencher| {
        bencher.iter(|| TemperatureScaling::fit(black_box(&logits), &labels));
    });
    group.bench_function("platt_fit", |bencher| {
        bencher.iter(|| PlattScaling::fit(black_box(&logits), &labels));
    });
    group.bench_function("libtorch_log_softmax", |bencher| {
        bencher.iter(|| black_box(&tensor).log_softmax(-1, Kind::Double));
    });
    group.finish();
}

criterion_group!(benches, calibration);
criterion_main!(benches);
