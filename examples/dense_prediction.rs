//! One loss for three shapes: classification `[N, K]`, sequences `[N, T, K]`, images `[N, K, H, W]`.

use anyhow::Result;
use softlabel::prelude::*;
use tch::{Device, Kind, Tensor};

fn main() -> Result<()> {
    let smoothing = Smoothing::off_target(0.1)?;
    let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu));
    let labels =
        |shape: &[i64], classes| Tensor::randint(classes, shape, (Kind::Int64, Device::Cpu));
    tch::manual_seed(0);

    let loss = CrossEntropy::new().with_smoothing(smoothing.clone());
    let found = loss.forward(&random(&[32, 10]), Target::Hard(&labels(&[32], 10)))?;
    println!("classification [32, 10]      {:.4}", f64::try_from(found)?);

    // Padding counts for nothing; the mean is over what is left, or over a count from outside.
    let tokens = labels(&[4, 16], 100);
    let _ = tokens.narrow(1, 12, 4).fill_(-100);
    let loss = CrossEntropy::new()
        .with_smoothing(smoothing.clone())
        .with_ignore_index(-100)
        .with_reduction(Reduction::Mean(Normalizer::Items(48.0)));
    let found = loss.forward(&random(&[4, 16, 100]), Target::Hard(&tokens))?;
    println!("tokens         [4, 16, 100]  {:.4}", f64::try_from(found)?);

    let loss =
        CrossEntropy::new().with_smoothing(smoothing.clone()).with_class_axis(ClassAxis::Second);
    let found = loss.forward(&random(&[2, 5, 8, 8]), Target::Hard(&labels(&[2, 8, 8], 5)))?;
    println!("pixels         [2, 5, 8, 8]  {:.4}", f64::try_from(found)?);
    Ok(())
}
