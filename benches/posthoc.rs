//! Fits of calibration maps on predictions of the sizes at which they are used, against one pass of log-softmax by
//! libtorch.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use softlabel::posthoc::{
    BetaCalibration, BetaForm, DirichletCalibration, Interpolation, IsotonicCalibration,
    IsotonicOptions, IsotonicRegression, MatrixScaling, Odir, PlattScaling, TemperatureScaling,
    VectorScaling,
};
use softlabel::prelude::*;
use tch::{Device, Kind, Tensor};

/// Overconfident logits, and labels drawn from half of them; the logits as a tensor too.
fn predictions(rows: i64, classes: i64) -> Option<(Tensor, Logits<'static, f32>, Labels)> {
    tch::manual_seed(0);
    let size = (Kind::Float, Device::Cpu);
    let tensor = Tensor::randn([rows, classes], size) * 3.0;
    let noise = -(-Tensor::rand([rows, classes], size).log()).log();
    let labels = (&tensor / 2.0 + noise).argmax(-1, false);
    let labels = to_labels(&labels, usize::try_from(classes).ok()?).ok()?;
    let logits = to_logits::<f32>(&tensor).ok()?;
    Some((tensor, logits, labels))
}

fn temperature(criterion: &mut Criterion) {
    for (rows, classes) in [(5_000, 10), (5_000, 100), (200_000, 100)] {
        let Some((tensor, logits, labels)) = predictions(rows, classes) else { return };
        let mut group = criterion.benchmark_group(format!("temperature_{rows}x{classes}"));
        group.sample_size(20);
        group.bench_function("fit", |bencher| {
            bencher.iter(|| TemperatureScaling::fit(black_box(&logits), &labels));
        });
        group.bench_function("libtorch_log_softmax", |bencher| {
            bencher.iter(|| black_box(&tensor).log_softmax(-1, Kind::Double));
        });
        group.finish();
    }
}

fn maps(criterion: &mut Criterion) {
    let (rows, classes) = (5_000, 100);
    let Some((_, logits, labels)) = predictions(rows, classes) else { return };
    let mut group = criterion.benchmark_group(format!("maps_{rows}x{classes}"));
    group.sample_size(10);
    group.bench_function("platt", |bencher| {
        bencher.iter(|| PlattScaling::fit(black_box(&logits), &labels));
    });
    group.bench_function("beta", |bencher| {
        bencher.iter(|| BetaCalibration::fit(black_box(&logits), &labels, BetaForm::default()));
    });
    group.bench_function("isotonic", |bencher| {
        let options = IsotonicOptions::default();
        bencher.iter(|| IsotonicCalibration::fit(black_box(&logits), &labels, options));
    });
    group.bench_function("vector", |bencher| {
        bencher.iter(|| VectorScaling::fit(black_box(&logits), &labels));
    });
    group.bench_function("matrix", |bencher| {
        let odir = Odir::default();
        bencher.iter(|| MatrixScaling::fit_regularized(black_box(&logits), &labels, odir));
    });
    group.bench_function("dirichlet", |bencher| {
        bencher.iter(|| DirichletCalibration::fit(black_box(&logits), &labels, Odir::default()));
    });
    group.finish();
}

fn isotonic(criterion: &mut Criterion) {
    tch::manual_seed(0);
    let size = (Kind::Double, Device::Cpu);
    let scores = Tensor::rand([2_000_000], size);
    let events = Tensor::rand([2_000_000], size).lt_tensor(&scores.square()).to_kind(Kind::Double);
    let (Ok(scores), Ok(events)) = (Vec::<f64>::try_from(scores), Vec::<f64>::try_from(events))
    else {
        return;
    };
    let mut group = criterion.benchmark_group("isotonic_regression_2000000");
    group.sample_size(10);
    group.bench_function("fit", |bencher| {
        bencher.iter(|| {
            IsotonicRegression::fit(black_box(&scores), &events, None, Interpolation::Linear)
        });
    });
    group.finish();
}

criterion_group!(benches, temperature, maps, isotonic);
criterion_main!(benches);
