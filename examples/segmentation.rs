//! Segmentation with labels that are softer where classes meet (SVLS): a small convolution learns discs in noise.

use anyhow::Result;
use softlabel::prelude::*;
use softlabel::targets::{LabelMap, Svls};
use tch::nn::{Module, OptimizerConfig};
use tch::{Device, Kind, Tensor, nn};

const SIDE: usize = 24;
const IMAGES: usize = 16;
/// The label of a border that nobody drew.
const NOBODYS: i64 = 255;

fn main() -> Result<()> {
    let steps = if std::env::args().any(|argument| argument == "--quick") { 5 } else { 150 };
    tch::manual_seed(0);
    let labels = discs();
    let side = SIDE as i64;
    let map = Tensor::from_slice(&labels).view((-1, 1, side, side));
    let noise = Tensor::randn(map.size(), (Kind::Float, Device::Cpu)) * 0.5;
    let images = map.eq(1).to_kind(Kind::Float) + noise;

    // Rows and which of them count, in the layout of convolutions.
    let map = LabelMap::new(&labels, &[IMAGES, SIDE, SIDE], 2, Some(NOBODYS))?;
    let targets = Svls::new(1.0, 3)?.encode(&map, ClassAxis::Second)?;
    let rows = Tensor::from_slice(&targets.values).view((-1, 2, side, side));
    let counted = Tensor::from_slice(&targets.counted).view((-1, side, side));
    let target = Target::Masked { rows: &rows, counted: &counted };

    let store = nn::VarStore::new(Device::Cpu);
    let root = store.root();
    let same = nn::ConvConfig { padding: 1, ..Default::default() };
    let network = nn::seq()
        .add(nn::conv2d(&root / "first", 1, 8, 3, same))
        .add_fn(Tensor::relu)
        .add(nn::conv2d(&root / "second", 8, 2, 3, same));
    let mut optimizer = nn::Adam::default().build(&store, 0.02)?;
    let loss = CrossEntropy::new().with_class_axis(ClassAxis::Second);
    let cost = |logits: &Tensor| loss.forward(logits, target);
    let before = f64::try_from(cost(&network.forward(&images))?)?;
    for _ in 0..steps {
        optimizer.backward_step(&cost(&network.forward(&images))?);
    }
    let logits = network.forward(&images);
    let after = f64::try_from(cost(&logits)?)?;
    let truth = Tensor::from_slice(&labels).view((-1, side, side));
    let right = logits.argmax(1, false).eq_tensor(&truth).masked_select(&counted);
    println!("loss      {before:.4} -> {after:.4}");
    println!("accuracy  {:.3}", right.to_kind(Kind::Float).mean(Kind::Float).double_value(&[]));
    anyhow::ensure!(after < before, "training makes the loss smaller");
    Ok(())
}

/// A disc in every image, and a frame that nobody labelled.
fn discs() -> Vec<i64> {
    let mut labels = Vec::with_capacity(IMAGES * SIDE * SIDE);
    for image in 0..IMAGES {
        let centre = (8.0 + (image % 4) as f64 * 2.5, 8.0 + (image / 4) as f64 * 2.5);
        for pixel in 0..SIDE * SIDE {
            let (y, x) = (pixel / SIDE, pixel % SIDE);
            let is_frame = y == 0 || x == 0 || y == SIDE - 1 || x == SIDE - 1;
            let distance = (y as f64 - centre.0).hypot(x as f64 - centre.1);
            labels.push(if is_frame { NOBODYS } else { i64::from(distance < 5.0) });
        }
    }
    labels
}
