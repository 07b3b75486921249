//! Measure and repair the calibration of predictions that some other program made. Needs no libtorch itself.

use anyhow::{Context, Result, ensure};
use softlabel::posthoc::AnyCalibrator;
use softlabel::prelude::*;

fn main() -> Result<()> {
    // Three classes; the largest logit is right four times in five, but says 96 %.
    let rows: Vec<f32> = (0..1000).flat_map(|row| spread(row % 3)).collect();
    let labels: Vec<i64> =
        (0..1000).map(|row| if row % 5 == 4 { (row + 1) % 3 } else { row % 3 }).collect();
    let (logits, labels) = (Logits::new(rows, 3)?, Labels::new(&labels, 3)?);

    // In batches, as they would come from a stream; accumulators also merge across threads.
    let mut evaluation = Evaluation::new(15)?;
    for (row, label) in logits.matrix().iter().zip(labels.as_slice()) {
        evaluation.update(&Logits::new(row, 3)?, &Labels::new(&[*label], 3)?)?;
    }
    let scores = evaluation.compute().context("no rows were added")?;
    println!(
        "before       accuracy {:.3}, confidence {:.3}, ECE {:.4}",
        scores.accuracy, scores.mean_confidence, scores.ece
    );

    // Each map is fitted, saved as JSON, loaded, and applied.
    let maps: [AnyCalibrator; 2] = [
        TemperatureScaling::fit(&logits, &labels)?.into(),
        PlattScaling::fit(&logits, &labels)?.into(),
    ];
    for map in maps {
        let loaded = AnyCalibrator::from_json(&map.to_json()?)?;
        let scores = evaluate(&loaded.apply(&logits)?, &labels, 15)?;
        println!(
            "{:<12} confidence {:.3}, ECE {:.4}",
            loaded.method(),
            scores.mean_confidence,
            scores.ece
        );
        ensure!(scores.ece < 0.01, "fitted on the same rows, it should be calibrated");
    }
    Ok(())
}

/// Logits that favour one class.
fn spread(class: usize) -> [f32; 3] {
    std::array::from_fn(|k| if k == class { 4.0 } else { 0.1 * k as f32 })
}
