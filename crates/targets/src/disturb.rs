//! DisturbLabel: at every epoch some labels are replaced at random.
//!
//! With probability γ a label is replaced by a class drawn uniformly from all K, itself among them, so that a share
//! γ·(K − 1)/K changes. The expected one-hot target is (1 − γ)·onehot + γ/K: label smoothing in the `Mixture`
//! convention with ε = γ, of which this is a noisy sample. Its gradients have the same mean and more variance.
//!
//! Source: Xie, Wang, Wei, Wang, Tian, "DisturbLabel: Regularizing CNN on the Loss Layer", CVPR 2016.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use softlabel_core::{ClassLabels, Epsilon, Fraction};

use crate::{Convention, Result, Smoothing};

/// Replaces a share of the labels by classes drawn uniformly from all of them.
///
/// In serialized form `{ rate = 0.1 }`.
/// For labels that are wrong once and for all there is [`LabelNoise`](crate::LabelNoise).
///
/// ```
/// use softlabel_core::Labels;
/// use softlabel_targets::DisturbLabel;
///
/// let labels = Labels::new(&[0i64; 10_000], 5)?;
/// let disturbed = DisturbLabel::new(0.2)?.disturb(&labels, 7)?;
/// let changed = disturbed.iter().filter(|&label| label != 0).count();
/// assert!((1_490..1_710).contains(&changed)); // 0.2·4/5, within three standard deviations
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisturbLabel {
    rate: Fraction,
}

impl DisturbLabel {
    /// Checks the rate γ.
    ///
    /// # Errors
    /// If it is not in [0, 1].
    pub fn new(rate: f64) -> Result<Self> {
        Ok(Self { rate: Fraction::new(rate)? })
    }

    /// γ.
    pub const fn rate(&self) -> Fraction {
        self.rate
    }

    /// The labels of one epoch. Give every epoch a seed of its own, or the same labels are replaced each time.
    ///
    /// The random stream depends on `seed` alone and is the same on every machine.
    /// Two draws a label, so what becomes of one does not depend on the others. Ignored positions of
    /// [`MaskedLabels`](softlabel_core::MaskedLabels) stay ignored, and no label becomes ignored: where the ignore index
    /// is a class, the others are drawn from.
    ///
    /// # Errors
    /// None today; reserved for labels that could not be checked.
    pub fn disturb<L: ClassLabels>(&self, labels: &L, seed: u64) -> Result<L> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let ignored = labels.ignored_class();
        // One at least, also where nothing can be a label.
        let classes = (labels.classes() - usize::from(ignored.is_some())).max(1);
        // Drawn as u64, so that the stream is the same on machines of any word size; below the class count.
        #[allow(clippy::cast_possible_truncation)]
        let disturb = |label: Option<usize>| {
            let is_disturbed = random.random::<f64>() < self.rate.get();
            let other = random.random_range(0..classes as u64) as usize;
            let other =
                if ignored.is_some_and(|ignored| other >= ignored) { other + 1 } else { other };
            label.map_or(0, |label| if is_disturbed { other } else { label })
        };
        let disturbed: Vec<usize> = labels.each().map(disturb).collect();
        Ok(labels.relabelled(&disturbed)?)
    }

    /// What it does on average: label smoothing with ε = γ. Of labels that cannot be one of the classes, as it is the
    /// ignore index, among the others alone.
    ///
    /// # Errors
    /// None today; a rate is a valid ε.
    pub fn expectation(&self) -> Result<Smoothing> {
        Ok(Smoothing::new(Epsilon::new(self.rate.get())?, Convention::Mixture))
    }
}

impl std::fmt::Display for DisturbLabel {
    /// `rate 0.1`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "rate {}", self.rate)
    }
}

#[cfg(test)]
mod tests {
    use softlabel_core::{Labels, MaskedLabels};

    use super::*;

    /// Observed frequencies against the smoothed target, at five standard deviations.
    #[test]
    fn the_mean_is_label_smoothing() {
        const COUNT: usize = 50_000;
        for (rate, classes) in [(0.1, 2), (0.3, 5), (1.0, 7)] {
            let disturb = DisturbLabel::new(rate).unwrap();
            let labels = Labels::new(&vec![1; COUNT], classes).unwrap();
            let counts = disturb.disturb(&labels, 11).unwrap().counts();
            let target = disturb.expectation().unwrap().weights(classes).unwrap();
            for (class, count) in counts.into_iter().enumerate() {
                let p = if class == 1 { target.label } else { target.other };
                let deviation = (p * (1.0 - p) / COUNT as f64).sqrt();
                let error = (count as f64 / COUNT as f64 - p).abs();
                assert!(error <= 5.0 * deviation, "{count} of {COUNT} against {p}");
            }
        }
    }

    #[test]
    fn same_seed_same_labels_and_no_rate_no_change() {
        let labels = Labels::new(&[0, 1, 2, 3].repeat(100), 4).unwrap();
        let disturb = DisturbLabel::new(0.5).unwrap();
        assert_eq!(disturb.disturb(&labels, 1).unwrap(), disturb.disturb(&labels, 1).unwrap());
        assert_ne!(disturb.disturb(&labels, 1).unwrap(), disturb.disturb(&labels, 2).unwrap());
        assert_eq!(DisturbLabel::new(0.0).unwrap().disturb(&labels, 1).unwrap(), labels);
    }

    #[test]
    fn no_label_becomes_ignored() {
        for ignore_index in [0, 2, 4, -100] {
            let given: Vec<i64> = [0i64, 1, 2, 3, 4, ignore_index].repeat(200);
            let labels = MaskedLabels::new(&given, 5, ignore_index).unwrap();
            let disturbed = DisturbLabel::new(1.0).unwrap().disturb(&labels, 3).unwrap();
            let ignored =
                |labels: &MaskedLabels| labels.iter().map(|l| l.is_none()).collect::<Vec<_>>();
            assert_eq!(ignored(&disturbed), ignored(&labels));
            let mut found: Vec<usize> = disturbed.iter().flatten().collect();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), if ignore_index < 0 { 5 } else { 4 });
        }
        let nothing = MaskedLabels::new(&[0, 0], 1, 0).unwrap();
        assert_eq!(DisturbLabel::new(1.0).unwrap().disturb(&nothing, 3).unwrap(), nothing);
    }

    #[test]
    fn a_bad_rate_is_refused() {
        assert!(DisturbLabel::new(1.5).is_err());
        let disturb: DisturbLabel = serde_json::from_str(r#"{"rate":0.1}"#).unwrap();
        assert_eq!(disturb.to_string(), "rate 0.1");
        assert!(serde_json::from_str::<DisturbLabel>(r#"{"rate":-0.1}"#).is_err());
        assert!(serde_json::from_str::<DisturbLabel>(r#"{"rate":0.1,"seed":1}"#).is_err());
    }
}
