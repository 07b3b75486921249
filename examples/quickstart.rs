//! Train with label smoothing, measure calibration, fit a temperature, measure again.

use anyhow::Result;
use softlabel::data::{Source, SplitFractions, Subset};
use softlabel::prelude::*;
use tch::nn::{Module, OptimizerConfig};
use tch::{Device, Tensor, nn};

fn main() -> Result<()> {
    let epochs = if std::env::args().any(|argument| argument == "--quick") { 5 } else { 100 };
    let splits = Source::Digits.load(None)?.split(SplitFractions::new(0.2, 0.3)?, 0)?;
    let (images, labels) = tensors(&splits.train);

    tch::manual_seed(0);
    let store = nn::VarStore::new(Device::Cpu);
    let root = store.root();
    let network = nn::seq()
        .add(nn::linear(&root / "hidden", 64, 64, nn::LinearConfig::default()))
        .add_fn(Tensor::relu)
        .add(nn::linear(&root / "output", 64, 10, nn::LinearConfig::default()));
    let mut optimizer = nn::Adam::default().build(&store, 0.01)?;
    let loss = CrossEntropy::new().with_smoothing(Smoothing::mixture(0.1)?);
    for _ in 0..epochs {
        optimizer.backward_step(&loss.forward(&network.forward(&images), Target::Hard(&labels))?);
    }

    let predict = |split: &Subset| -> Result<Logits<'static, f32>> {
        Ok(to_logits(&network.forward(&tensors(split).0))?)
    };
    let scaling =
        TemperatureScaling::fit(&predict(&splits.validation)?, splits.validation.labels())?;
    let logits = predict(&splits.test)?;
    let before = evaluate(&logits, splits.test.labels(), 15)?;
    let after = evaluate(&scaling.apply(&logits)?, splits.test.labels(), 15)?;
    println!("accuracy     {:.3}", before.accuracy);
    println!("temperature  {:.3}", scaling.temperature());
    println!("ECE          {:.4} -> {:.4}", before.ece, after.ece);
    println!("NLL          {:.4} -> {:.4}", before.nll, after.nll);
    Ok(())
}

/// Images `[n, 64]` and labels `[n]`.
fn tensors(split: &Subset) -> (Tensor, Tensor) {
    let images = Tensor::from_slice(&split.pixels_f32()).view((-1, 64));
    let labels: Vec<i64> = split.labels().iter().map(|label| label as i64).collect();
    (images, Tensor::from_slice(&labels))
}
