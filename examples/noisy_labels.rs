//! Digits of which two labels in five are wrong: cross-entropy, smoothing, and losses made for noise.

use anyhow::Result;
use softlabel::data::{Source, SplitFractions, Subset};
use softlabel::losses::{
    ForwardCorrection, GeneralizedCrossEntropy, Objective, SymmetricCrossEntropy,
};
use softlabel::prelude::*;
use tch::nn::{Module, OptimizerConfig};
use tch::{Device, Tensor, nn};

const RATE: f64 = 0.4;
const CLASSES: usize = 10;

fn main() -> Result<()> {
    let epochs = if std::env::args().any(|argument| argument == "--quick") { 5 } else { 150 };
    let splits = Source::Digits.load(None)?.split(SplitFractions::new(0.2, 0.3)?, 0)?;
    let noise = LabelNoise::symmetric(RATE)?;
    let noisy: Vec<i64> =
        noise.corrupt(splits.train.labels(), 1)?.iter().map(|label| label as i64).collect();
    let (images, noisy) = (pixels(&splits.train), Tensor::from_slice(&noisy));
    // What is known of the noise, a row for each true class.
    let transition = noise.transition_matrix(CLASSES)?;
    let transition = transition.chunks(CLASSES).map(<[f64]>::to_vec).collect();

    let losses = [
        ("cross-entropy", Objective::new(CrossEntropy::new())),
        ("smoothing 0.3", CrossEntropy::new().with_smoothing(Smoothing::mixture(0.3)?).into()),
        ("generalized, q = 0.7", Objective::new(GeneralizedCrossEntropy::new(0.7)?)),
        ("symmetric", Objective::new(SymmetricCrossEntropy::new(0.1, 1.0, -4.0)?)),
        ("forward correction", Objective::new(ForwardCorrection::new(transition)?)),
    ];
    println!("{:22} {:>8} {:>7} {:>7}", "", "accuracy", "NLL", "ECE");
    for (name, loss) in losses {
        tch::manual_seed(0);
        let store = nn::VarStore::new(Device::Cpu);
        let root = store.root();
        let network = nn::seq()
            .add(nn::linear(&root / "hidden", 64, 128, nn::LinearConfig::default()))
            .add_fn(Tensor::relu)
            .add(nn::linear(&root / "output", 128, CLASSES as i64, nn::LinearConfig::default()));
        let mut optimizer = nn::Adam::default().build(&store, 0.01)?;
        for _ in 0..epochs {
            let logits = network.forward(&images);
            optimizer.backward_step(&loss.forward(&logits, Target::Hard(&noisy))?);
        }
        let logits = to_logits::<f32>(&network.forward(&pixels(&splits.test)))?;
        let found = evaluate(&logits, splits.test.labels(), 15)?;
        println!("{name:22} {:8.3} {:7.3} {:7.3}", found.accuracy, found.nll, found.ece);
    }
    Ok(())
}

/// Images `[n, 64]`.
fn pixels(split: &Subset) -> Tensor {
    Tensor::from_slice(&split.pixels_f32()).view((-1, 64))
}
