//! A loss for every token of sequences that are padded, in two parts of a batch, and straight from hidden states.

use anyhow::{Result, ensure};
use softlabel::prelude::*;
use tch::{Device, Kind, Tensor};

const PADDING: i64 = -100;

fn main() -> Result<()> {
    tch::manual_seed(0);
    let (sequences, length, width, vocabulary) = (8, 32, 64, 1000);
    let numbers = (Kind::Float, Device::Cpu);
    let hidden = Tensor::randn([sequences, length, width], numbers);
    let weight = (Tensor::randn([vocabulary, width], numbers) * 0.05).set_requires_grad(true);
    let tokens = Tensor::randint(vocabulary, [sequences, length], (Kind::Int64, Device::Cpu));
    for sequence in 0..sequences {
        // The last sequence is the shortest.
        let _ = tokens.get(sequence).narrow(0, length - 3 * sequence, 3 * sequence).fill_(PADDING);
    }
    let all = tokens.ne(PADDING).sum(Kind::Int64).int64_value(&[]) as f64;

    let loss = |reduction| {
        CrossEntropy::new()
            .with_smoothing(Smoothing::mixture(0.1).unwrap_or_default())
            .with_ignore_index(PADDING)
            .with_reduction(reduction)
    };
    let logits = |hidden: &Tensor| hidden.matmul(&weight.tr());
    let whole = loss(Reduction::default()).forward(&logits(&hidden), Target::Hard(&tokens))?;

    // Two parts of unequal length: both divide by the tokens of the whole, so they add up to its mean.
    let part = loss(Reduction::Mean(Normalizer::Items(all)));
    let mut sum = 0.0;
    for (from, count) in [(0, 3), (3, 5)] {
        let (hidden, tokens) = (hidden.narrow(0, from, count), tokens.narrow(0, from, count));
        let of_part = part.forward(&logits(&hidden), Target::Hard(&tokens))?;
        of_part.backward();
        sum += f64::try_from(of_part)?;
    }
    let accumulated = weight.grad().copy();
    let mut gradient = weight.grad();
    let _ = gradient.zero_();

    // The logits of all tokens never exist at once.
    let linear = LinearCrossEntropy::new(loss(Reduction::default()));
    let straight = linear.forward(&hidden, &weight, None, Target::Hard(&tokens))?;
    straight.backward();
    let (whole, straight) = (f64::try_from(whole)?, f64::try_from(straight)?);
    let apart = f64::try_from((weight.grad() - accumulated).abs().max())?;
    println!("tokens that count       {all}");
    println!("mean over the batch     {whole:.6}");
    println!("sum of its two parts    {sum:.6}");
    println!("from hidden states      {straight:.6}");
    println!("gradients apart by      {apart:.1e}");
    ensure!((whole - sum).abs() < 1e-5 && (whole - straight).abs() < 1e-5 && apart < 1e-6);
    Ok(())
}
