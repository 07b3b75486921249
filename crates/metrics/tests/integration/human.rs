//! Predictions against what people said: CIFAR-10H, whose rows are those of the CIFAR-10 test set.

use std::io::Read;

use softlabel_core::{Logits, Probabilities};
use softlabel_metrics::{SoftLabelEvaluation, soft_label_evaluation};

use crate::networks::{folder, networks};

/// The counts of the annotators, `[10000, 10]` in `f64`.
fn votes(folder: &std::path::Path) -> Vec<f64> {
    let mut bytes = Vec::new();
    let path = folder.join("cifar10h/cifar10h-counts.npy");
    std::fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let numbers = bytes[header..].chunks_exact(8);
    let text = String::from_utf8_lossy(&bytes[10..header]).into_owned();
    if text.contains("<f8") {
        numbers.map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    } else {
        assert!(text.contains("<i8"), "{text}");
        numbers.map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect()
    }
}

/// Cross-entropies at T = 1 and at the best temperature, with NumPy from the same files.
#[test]
fn human_cross_entropy_of_two_networks() {
    let name = "human_cross_entropy_of_two_networks";
    let Some(folder) = folder(name) else { return };
    let people = Probabilities::renormalized(votes(&folder), 10).unwrap();
    for network in networks(name) {
        let (at_one, temperature, at_best) = match network.name {
            "wideresnet-16-4-cifar-10" => (0.773_558_64, 2.712_890, 0.439_608_09),
            "lenet-5-cifar-10" => (1.430_454_97, 1.460_773, 1.353_909_55),
            _ => continue,
        };
        let wide: Vec<f64> = network.probabilities.iter().map(|&p| f64::from(p)).collect();
        // The logarithms of the rows as logits: their softmax sums to one, as rows of f32 do not.
        let cross_entropy = |temperature: f64| {
            let logits: Vec<f64> = wide.iter().map(|p| p.ln() / temperature).collect();
            soft_label_evaluation(&Logits::new(&logits, 10).unwrap(), &people).unwrap()
        };
        let scores = cross_entropy(1.0);
        assert!((scores.cross_entropy - at_one).abs() < 5.1e-9, "{}", scores.cross_entropy);
        let divergence = scores.cross_entropy - scores.target_entropy;
        assert!((scores.kl_divergence - divergence).abs() < 1e-12);
        assert_eq!((scores.samples, scores.impossible_targets), (10_000, 0));
        let found = cross_entropy(temperature).cross_entropy;
        assert!((found - at_best).abs() < 5.1e-9, "{found}");
        // It is a minimum.
        for other in [0.999, 1.001] {
            assert!(cross_entropy(temperature * other).cross_entropy > found);
        }
    }
}

#[test]
fn parts_merge_and_weights_count() {
    let predictions = Logits::new(&[1.0f64, 0.0, -1.0, 0.5, 2.0, 0.0], 2).unwrap();
    let people = Probabilities::new(&[0.25f64, 0.75, 1.0, 0.0, 0.5, 0.5], 2).unwrap();
    let mut whole = SoftLabelEvaluation::default();
    whole.update(&predictions, &people).unwrap();
    let part = |from: usize, to: usize| {
        let mut part = SoftLabelEvaluation::default();
        let predictions = Logits::new(&predictions.as_slice()[from * 2..to * 2], 2).unwrap();
        let people = Probabilities::new(&people.as_slice()[from * 2..to * 2], 2).unwrap();
        part.update(&predictions, &people).unwrap();
        part
    };
    let mut merged = part(0, 1);
    merged.merge(&part(1, 3));
    let (merged_scores, scores) = (merged.compute().unwrap(), whole.compute().unwrap());
    assert!((merged_scores.cross_entropy - scores.cross_entropy).abs() < 1e-15);
    assert_eq!(merged_scores.samples, 3);
    let json = serde_json::to_string(&merged).unwrap();
    assert_eq!(serde_json::from_str::<SoftLabelEvaluation>(&json).unwrap(), merged);

    let mut weighted = SoftLabelEvaluation::default();
    weighted.update_weighted(&predictions, &people, &[1.0, 0.0, 0.0]).unwrap();
    assert_eq!(weighted, part(0, 1));
    assert!(weighted.update_weighted(&predictions, &people, &[1.0]).is_err());
    assert!(weighted.update_weighted(&predictions, &people, &[1.0, -1.0, 1.0]).is_err());
    assert!(weighted.update(&Logits::new(&[0.0f64; 4], 2).unwrap(), &people).is_err());
    weighted.reset();
    assert!(weighted.compute().is_none());
}
