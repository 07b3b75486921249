//! Three regularizers added to a cross-entropy, each with a weight of its own, one of them by schedule.

use anyhow::Result;
use softlabel::data::{Source, SplitFractions, Subset};
use softlabel::losses::{ConfidencePenalty, LogitPenalty, MarginSmoothing, Objective};
use softlabel::prelude::*;
use softlabel::targets::Schedule;
use tch::nn::{Module, OptimizerConfig};
use tch::{Device, Tensor, nn};

fn main() -> Result<()> {
    let epochs = if std::env::args().any(|argument| argument == "--quick") { 5 } else { 100 };
    let splits = Source::Digits.load(None)?.split(SplitFractions::new(0.2, 0.3)?, 0)?;
    let labels: Vec<i64> = splits.train.labels().iter().map(|label| label as i64).collect();
    let (images, labels) = (pixels(&splits.train), Tensor::from_slice(&labels));

    let mut objective = Objective::from(CrossEntropy::new())
        .plus(0.1, ConfidencePenalty::new())
        .plus(0.1, MarginSmoothing::new(6.0)?)
        .plus(0.0, LogitPenalty::new());
    let penalty = Schedule::linear(0.0, 1e-3)?;

    tch::manual_seed(0);
    let store = nn::VarStore::new(Device::Cpu);
    let network = nn::linear(store.root(), 64, 10, nn::LinearConfig::default());
    let mut optimizer = nn::Adam::default().build(&store, 0.05)?;
    let mut last = Vec::new();
    for epoch in 0..epochs {
        objective.set_weight(3, penalty.at(epoch, epochs))?;
        let logits = network.forward(&images);
        let (loss, terms) = objective.forward_with_terms(&logits, Target::Hard(&labels))?;
        optimizer.backward_step(&loss);
        last = terms;
    }
    println!("{:22} {:>8} {:>9}", "term", "weight", "value");
    for term in &last {
        let value = term.value.as_ref().map_or(Ok(f64::NAN), f64::try_from)?;
        println!("{:22} {:8.4} {value:9.4}", term.name, term.weight);
    }
    let logits = to_logits::<f32>(&network.forward(&pixels(&splits.test)))?;
    let found = evaluate(&logits, splits.test.labels(), 15)?;
    println!("\naccuracy {:.3}, NLL {:.3}, ECE {:.3}", found.accuracy, found.nll, found.ece);
    Ok(())
}

/// Images `[n, 64]`.
fn pixels(split: &Subset) -> Tensor {
    Tensor::from_slice(&split.pixels_f32()).view((-1, 64))
}
