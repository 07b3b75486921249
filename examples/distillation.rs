//! A small student learns from a smoothed teacher, as it is and temperature-scaled.

use anyhow::Result;
use softlabel::data::{Source, SplitFractions, Subset};
use softlabel::prelude::*;
use tch::nn::{Module, OptimizerConfig};
use tch::{Device, Tensor, nn};

fn main() -> Result<()> {
    let epochs = if std::env::args().any(|argument| argument == "--quick") { 5 } else { 200 };
    let splits = Source::Digits.load(None)?.split(SplitFractions::new(0.2, 0.3)?, 0)?;
    let (images, labels) = (images(&splits.train), labels(&splits.train));
    let ids = Tensor::from_slice(&(0..images.size()[0]).collect::<Vec<_>>());
    let target = Target::Hard(&labels);

    tch::manual_seed(0);
    let smoothed = CrossEntropy::new().with_smoothing(Smoothing::mixture(0.1)?);
    let teacher = train(128, &images, epochs, |logits| Ok(smoothed.forward(logits, target)?))?;
    show("teacher", &teacher, &splits.test)?;

    // What the teacher says is recorded once, detached, and found again by sample id.
    let recorded = TeacherLogits::new(&teacher.forward(&images))?;
    let held_out = to_logits::<f32>(&teacher.forward(&self::images(&splits.validation)))?;
    let scaling = TemperatureScaling::fit(&held_out, splits.validation.labels())?;
    let calibrated = recorded.scaled(scaling.temperature())?;

    let distillation = Distillation::new(Temperature::new(2.0)?, 0.9, 0.1)?;
    let hard = CrossEntropy::new();
    for (name, teacher) in [("student of smoothed", &recorded), ("student of scaled", &calibrated)]
    {
        let student = train(8, &images, epochs, |logits| {
            Ok(distillation.forward(logits, &teacher.batch(&ids)?, &hard, target)?)
        })?;
        show(name, &student, &splits.test)?;
    }
    Ok(())
}

fn train(
    width: i64,
    images: &Tensor,
    epochs: usize,
    loss: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<nn::Sequential> {
    let store = nn::VarStore::new(Device::Cpu);
    let root = store.root();
    let network = nn::seq()
        .add(nn::linear(&root / "hidden", 64, width, nn::LinearConfig::default()))
        .add_fn(Tensor::relu)
        .add(nn::linear(&root / "output", width, 10, nn::LinearConfig::default()));
    let mut optimizer = nn::Adam::default().build(&store, 0.01)?;
    for _ in 0..epochs {
        optimizer.backward_step(&loss(&network.forward(images))?);
    }
    Ok(network)
}

fn show(name: &str, network: &nn::Sequential, split: &Subset) -> Result<()> {
    let logits = to_logits::<f32>(&network.forward(&images(split)))?;
    let scores = evaluate(&logits, split.labels(), 15)?;
    let (accuracy, confidence, ece) = (scores.accuracy, scores.mean_confidence, scores.ece);
    println!("{name:<20} accuracy {accuracy:.3}, confidence {confidence:.3}, ECE {ece:.4}");
    Ok(())
}

fn images(split: &Subset) -> Tensor {
    Tensor::from_slice(&split.pixels_f32()).view((-1, 64))
}

fn labels(split: &Subset) -> Tensor {
    Tensor::from_slice(&split.labels().iter().map(|label| label as i64).collect::<Vec<_>>())
}
