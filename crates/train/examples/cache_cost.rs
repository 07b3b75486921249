//! What reading a teacher's logits from a cache costs beside a training step.
//!
//! A student 784-800-800-10 with Adam and batches of 128 learns from 10,000 samples of noise, with the forward divergence
//! at T = 4 and without labels. The time of each step's look-up is told apart from that of the rest of the step.
//!
//! ```sh
//! cargo run --release -p softlabel-train --example cache_cost
//! ```

use std::error::Error;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use softlabel_core::Temperature;
use softlabel_data::logit_cache::{Encoding, LogitCacheWriter, Origin};
use softlabel_data::{LogitCache, batches};
use softlabel_distill::{Distillation, Teacher};
use softlabel_losses::{CrossEntropy, Target};
use softlabel_tensor::MappedFile;
use tch::nn::{self, Module, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor};

const SAMPLES: usize = 10_000;
const CLASSES: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    tch::set_num_threads(1);
    let folder = tempfile::tempdir()?;
    for encoding in [Encoding::F32, Encoding::F16, Encoding::TopK(5)] {
        let cache = folder.path().join(encoding.to_string());
        write(&cache, encoding)?;
        let cache = LogitCache::open_with(&cache, MappedFile::open)?;
        let teacher = Teacher::recorded(CLASSES as i64, move |ids| Ok(cache.rows(ids)?));
        let (reading, step) = train(&teacher)?;
        let share = 100.0 * reading.as_secs_f64() / (reading + step).as_secs_f64();
        println!(
            "{:<6} reading {:>7.1} µs, the rest of the step {:>8.1} µs, share {share:.2} %",
            encoding.to_string(),
            1e6 * reading.as_secs_f64(),
            1e6 * step.as_secs_f64()
        );
    }
    Ok(())
}

fn write(folder: &std::path::Path, encoding: Encoding) -> Result<(), Box<dyn Error>> {
    let unknown = "made up".to_owned();
    let origin = Origin {
        weights: unknown.clone(),
        data: unknown.clone(),
        augmentation: unknown.clone(),
        smoothing: unknown,
    };
    let mut writer = LogitCacheWriter::open(folder, &origin, CLASSES, encoding)?;
    let ids: Vec<usize> = (0..SAMPLES).collect();
    let logits: Vec<f32> =
        (0..SAMPLES * CLASSES).map(|index| (index as f32 * 0.37).sin() * 4.0).collect();
    writer.write(&ids, &logits)?;
    writer.finish()?;
    Ok(())
}

/// The median times of a look-up and of the rest of a step, after an epoch to warm up.
fn train(teacher: &Teacher) -> Result<(Duration, Duration), Box<dyn Error>> {
    let store = VarStore::new(Device::Cpu);
    let root = store.root();
    let linear =
        |name: &str, from, to| nn::linear(&root / name, from, to, nn::LinearConfig::default());
    let network = nn::seq()
        .add(linear("first", 784, 800))
        .add_fn(Tensor::relu)
        .add(linear("second", 800, 800))
        .add_fn(Tensor::relu)
        .add(linear("output", 800, 10));
    let mut optimizer = nn::Adam::default().build(&store, 1e-3)?;
    let images = Tensor::rand([SAMPLES as i64, 784], (Kind::Float, Device::Cpu));
    let distillation = Distillation::new(Temperature::new(4.0)?, 1.0, 0.0)?;
    let (hard, labels) = (CrossEntropy::new(), Tensor::zeros([128], (Kind::Int64, Device::Cpu)));
    let batch_size = NonZeroUsize::new(128).unwrap_or(NonZeroUsize::MIN);
    let (mut reading, mut rest) = (Vec::new(), Vec::new());
    for epoch in 0..3 {
        for batch in batches(SAMPLES, batch_size, 0, epoch) {
            if batch.len() < 128 {
                continue;
            }
            let started = Instant::now();
            let rows: Vec<i64> = batch.iter().map(|&row| row as i64).collect();
            let images = images.index_select(0, &Tensor::from_slice(&rows));
            let before = started.elapsed();
            let asked = Instant::now();
            let taught = teacher.logits(&batch, &images)?;
            let asked = asked.elapsed();
            let after = Instant::now();
            let student = network.forward(&images);
            let loss = distillation.forward(&student, &taught, &hard, Target::Hard(&labels))?;
            optimizer.backward_step(&loss);
            if epoch > 0 {
                reading.push(asked);
                rest.push(before + after.elapsed());
            }
        }
    }
    Ok((median(reading), median(rest)))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
