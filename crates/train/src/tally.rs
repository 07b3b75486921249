//! What is told of a trained arm beside its scores: its errors, and what there is to learn from it.

use softlabel_core::Logits;
use softlabel_data::SavedPredictions;
use softlabel_data::predictions::Origin;
use softlabel_metrics::{class_dispersion, wrong_class_mass};

use crate::{Event, Result};

/// How often predictions are wrong.
pub(crate) fn errors(predictions: &SavedPredictions) -> Event {
    let Origin { arm, seed, split } = predictions.origin();
    let (logits, labels) = (predictions.logits(), predictions.labels());
    let (mut by_class, mut samples_by_class) =
        (vec![0; labels.classes()], vec![0; labels.classes()]);
    for (row, label) in logits.as_slice().chunks_exact(labels.classes()).zip(labels.iter()) {
        samples_by_class[label] += 1;
        // The first of the largest.
        let top = row.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
        if top.is_none_or(|(top, _)| top != label) {
            by_class[label] += 1;
        }
    }
    Event::Errors {
        arm: arm.clone(),
        seed: *seed,
        split: if split == "train" { "train" } else { "test" },
        samples: labels.len(),
        errors: by_class.iter().sum(),
        by_class,
        samples_by_class,
    }
}

/// What there is to learn from predictions of the training samples at a temperature.
pub(crate) fn lesson(predictions: &SavedPredictions, temperature: f64) -> Result<Event> {
    let Origin { arm, seed, .. } = predictions.origin();
    let labels = predictions.labels();
    let logits = predictions.logits().as_slice().iter();
    let scaled: Vec<f64> = logits.map(|&logit| f64::from(logit) / temperature).collect();
    let scaled = Logits::new(scaled, labels.classes())?;
    Ok(Event::Lesson {
        arm: arm.clone(),
        seed: *seed,
        temperature,
        wrong_class_mass: wrong_class_mass(&scaled, labels)?,
        class_dispersion: class_dispersion(&scaled, labels)?,
    })
}
