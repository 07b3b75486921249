//! Networks that learn from their own kind: three born-again generations, and two that teach each other.

use anyhow::Result;
use softlabel::data::{Source, SplitFractions, Subset};
use softlabel::distill::{Average, Ensemble, MutualLearning, born_again};
use softlabel::prelude::*;
use tch::nn::{Module, OptimizerConfig};
use tch::{Device, Tensor, nn, no_grad};

fn main() -> Result<()> {
    let epochs = if std::env::args().any(|argument| argument == "--quick") { 5 } else { 200 };
    let splits = Source::Digits.load(None)?.split(SplitFractions::new(0.2, 0.3)?, 0)?;
    let (images, labels) = (images(&splits.train), labels(&splits.train));
    let (hard, target) = (CrossEntropy::new(), Target::Hard(&labels));

    // Each generation starts afresh, from other weights, and has the one before as its teacher.
    let distillation = Distillation::new(Temperature::new(2.0)?, 0.5, 0.5)?;
    let generations = born_again(3, |generation, teacher: Option<&nn::Sequential>| {
        tch::manual_seed(i64::try_from(generation)?);
        let taught = teacher.map(|teacher| no_grad(|| teacher.forward(&images)));
        let (network, mut optimizer) = network()?;
        for _ in 0..epochs {
            let logits = network.forward(&images);
            let loss = match &taught {
                None => hard.forward(&logits, target)?,
                Some(taught) => distillation.forward(&logits, taught, &hard, target)?,
            };
            optimizer.backward_step(&loss);
        }
        anyhow::Ok(network)
    })?;
    let held_out = self::images(&splits.test);
    let said: Vec<Tensor> = generations.iter().map(|network| network.forward(&held_out)).collect();
    for (generation, logits) in said.iter().enumerate() {
        show(&format!("generation {generation}"), logits, &splits.test)?;
    }
    let all: Vec<&Tensor> = said.iter().collect();
    let together = Ensemble::equal(Average::Probabilities).combine(&all, Temperature::ONE, None)?;
    show("all generations", &together, &splits.test)?;

    // Two networks learn at the same time, from the labels and from each other.
    tch::manual_seed(0);
    let mutual = MutualLearning::new(Distillation::new(Temperature::ONE, 1.0, 1.0)?);
    let mut students = [network()?, network()?];
    for _ in 0..epochs {
        let logits = students.each_ref().map(|(network, _)| network.forward(&images));
        let losses = mutual.losses(&[&logits[0], &logits[1]], &hard, target)?;
        for ((_, optimizer), loss) in students.iter_mut().zip(&losses) {
            optimizer.backward_step(loss);
        }
    }
    for (name, (network, _)) in ["first of two", "second of two"].iter().zip(&students) {
        show(name, &network.forward(&held_out), &splits.test)?;
    }
    Ok(())
}

fn network() -> Result<(nn::Sequential, nn::Optimizer)> {
    let store = nn::VarStore::new(Device::Cpu);
    let root = store.root();
    let network = nn::seq()
        .add(nn::linear(&root / "hidden", 64, 32, nn::LinearConfig::default()))
        .add_fn(Tensor::relu)
        .add(nn::linear(&root / "output", 32, 10, nn::LinearConfig::default()));
    Ok((network, nn::Adam::default().build(&store, 0.01)?))
}

fn show(name: &str, logits: &Tensor, split: &Subset) -> Result<()> {
    let scores = evaluate(&to_logits::<f32>(logits)?, split.labels(), 15)?;
    let (accuracy, confidence, ece) = (scores.accuracy, scores.mean_confidence, scores.ece);
    println!("{name:<16} accuracy {accuracy:.3}, confidence {confidence:.3}, ECE {ece:.4}");
    Ok(())
}

fn images(split: &Subset) -> Tensor {
    Tensor::from_slice(&split.pixels_f32()).view((-1, 64))
}

fn labels(split: &Subset) -> Tensor {
    Tensor::from_slice(&split.labels().iter().map(|label| label as i64).collect::<Vec<_>>())
}
