//! Smoothed cross-entropy, forward and backward: ours against libtorch's own operator, on the same tensors.
//!
//! Compare the two medians of a shape; absolute times mean little on a shared machine.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use softlabel::prelude::*;
use tch::{Device, Kind, Reduction, Tensor};

const EPSILON: f64 = 0.1;

fn cross_entropy_backward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cross_entropy_backward");
    for (rows, classes) in [(65_536, 10), (4_096, 1_000)] {
        tch::manual_seed(0);
        let logits =
            Tensor::randn([rows, classes], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let labels = Tensor::randint(classes, [rows], (Kind::Int64, Device::Cpu));
        let shape = format!("{rows}x{classes}");
        let smoothing = Smoothing::mixture(EPSILON).unwrap_or_default();
        let ours = CrossEntropy::new().with_smoothing(smoothing);
        group.bench_function(BenchmarkId::new("softlabel", &shape), |bencher| {
            bencher.iter(|| {
                let loss = ours.forward(black_box(&logits), Target::Hard(&labels));
                loss.map(|loss| Tensor::run_backward(&[loss], &[&logits], false, false))
            });
        });
        group.bench_function(BenchmarkId::new("libtorch", &shape), |bencher| {
            bencher.iter(|| {
                let logits = black_box(&logits);
                let weights = None::<Tensor>;
                let loss =
                    logits.cross_entropy_loss(&labels, weights, Reduction::Mean, -100, EPSILON);
                Tensor::run_backward(&[loss], &[logits], false, false)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, cross_entropy_backward);
criterion_main!(benches);
