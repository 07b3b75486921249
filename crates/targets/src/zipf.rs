//! Zipf's law as the distribution of the classes that are not the label.
//!
//! Of a row of scores z, the K − 1 classes other than the label are ranked, r = 1 for the highest score. Then
//!
//! d_k = r_k^(−α) / Σ_{j=1}^{K−1} j^(−α), and d_y = 0.
//!
//! α = 0 is uniform over the others, that is, off-target smoothing. Equal scores are ranked in the order of the
//! classes. Unlike a prior, d changes with every row and every step, so it is written densely.
//!
//! Liang et al. do not mix d into the target: they add λ·KL(d ‖ p without the label) to cross-entropy.
//! That is the `ZipfDivergence` of the losses, and [`non_target_rows`](ZipfSmoothing::non_target_rows) is its d;
//! [`rows`](ZipfSmoothing::rows) is the mixture (1 − ε)·onehot + ε·d, for cross-entropy with soft targets.
//!
//! Source: Liang, Li, Bing, Zhao, Tang, Lin, Fan, "Efficient One Pass Self-distillation with Zipf's Label Smoothing",
//! ECCV 2022 (their code has 1/rank, α = 1). Zhou et al. 2025 (MaxSup) report no gain on ImageNet: 76.21 against 76.16 %.

use serde::{Deserialize, Serialize};
use softlabel_core::{ClassLabels, Epsilon, Error as Core, Logits, Scalar};

use crate::distribution::check_count;
use crate::{Error, Result};

/// How fast the non-target distribution falls off with the rank.
///
/// In serialized form `{ exponent = 1.0 }`.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_targets::ZipfSmoothing;
///
/// let logits = Logits::new(&[0.5f32, 3.0, 2.0, -1.0], 4)?;
/// let rows = ZipfSmoothing::new(1.0)?.non_target_rows(&logits, &Labels::new(&[1], 4)?)?;
/// // Ranks 2, -, 1, 3: 1/2, -, 1 and 1/3 of 11/6.
/// assert_eq!(rows, [3.0 / 11.0, 0.0, 6.0 / 11.0, 2.0 / 11.0]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct ZipfSmoothing {
    exponent: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "ZipfSmoothing")]
struct Settings {
    exponent: f64,
}

impl ZipfSmoothing {
    /// Checks the exponent α.
    ///
    /// # Errors
    /// If it is negative or not finite.
    pub fn new(exponent: f64) -> Result<Self> {
        check_count("zipf exponent", exponent)?;
        Ok(Self { exponent })
    }

    /// α.
    pub const fn exponent(&self) -> f64 {
        self.exponent
    }

    /// d for each row, row-major `[rows, classes]`: 0 at the label, falling off with the rank elsewhere. All of a row is
    /// 0 where its label is ignored, as those of [`MaskedLabels`](softlabel_core::MaskedLabels) may be.
    ///
    /// # Errors
    /// If rows or classes are not as many as the labels say, [`Error::TooFewClasses`] below two classes.
    pub fn non_target_rows<T: Scalar, L: ClassLabels>(
        &self,
        logits: &Logits<'_, T>,
        labels: &L,
    ) -> Result<Vec<f32>> {
        self.mixed(logits, labels, Epsilon::new(1.0)?)
    }

    /// (1 − ε)·onehot + ε·d for each row, row-major `[rows, classes]`; 0 where a label is ignored, which a loss leaves
    /// out by a mask beside its soft rows.
    ///
    /// # Errors
    /// As [`non_target_rows`](Self::non_target_rows).
    pub fn rows<T: Scalar, L: ClassLabels>(
        &self,
        logits: &Logits<'_, T>,
        labels: &L,
        epsilon: Epsilon,
    ) -> Result<Vec<f32>> {
        self.mixed(logits, labels, epsilon)
    }

    #[allow(clippy::cast_possible_truncation)] // Computed in f64, rounded once.
    fn mixed<T: Scalar, L: ClassLabels>(
        self,
        logits: &Logits<'_, T>,
        labels: &L,
        epsilon: Epsilon,
    ) -> Result<Vec<f32>> {
        let classes = labels.classes();
        if classes < 2 {
            return Err(Error::TooFewClasses { what: "zipf smoothing", classes });
        }
        let count = labels.each().len();
        if (logits.rows(), logits.classes()) != (count, classes) {
            let expected = format!("{count} rows of {classes} classes");
            let found = format!("{} rows of {}", logits.rows(), logits.classes());
            return Err(Core::mismatch("logits", expected, found).into());
        }
        let by_rank: Vec<f64> =
            (1..classes).map(|rank| (rank as f64).powf(-self.exponent)).collect();
        let sum: f64 = by_rank.iter().sum();
        let mut rows = vec![0.0; logits.as_slice().len()];
        let mut ranked = Vec::with_capacity(classes);
        let each = rows.chunks_exact_mut(classes).zip(logits.matrix().iter()).zip(labels.each());
        for ((row, scores), label) in each {
            let Some(label) = label else { continue };
            ranked.clear();
            ranked.extend((0..classes).filter(|&class| class != label));
            // Stable: equal scores stay in the order of the classes.
            ranked.sort_by(|&a, &b| {
                let (a, b): (f64, f64) = (scores[a].into(), scores[b].into());
                b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
            });
            for (&class, weight) in ranked.iter().zip(&by_rank) {
                row[class] = (epsilon.get() * weight / sum) as f32;
            }
            row[label] = (1.0 - epsilon.get()) as f32;
        }
        Ok(rows)
    }
}

impl TryFrom<Settings> for ZipfSmoothing {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        Self::new(settings.exponent)
    }
}

impl From<ZipfSmoothing> for Settings {
    fn from(zipf: ZipfSmoothing) -> Self {
        Self { exponent: zipf.exponent }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use softlabel_core::{Labels, MaskedLabels};

    use super::*;
    use crate::Smoothing;

    #[test]
    fn an_ignored_row_is_empty_and_changes_no_other() {
        let zipf = ZipfSmoothing::new(1.0).unwrap();
        let logits = Logits::new(&[0.5f32, 3.0, 2.0, 1.0, 2.0, 3.0], 3).unwrap();
        let masked = MaskedLabels::new(&[-100, 1], 3, -100).unwrap();
        let whole = zipf.non_target_rows(&logits, &Labels::new(&[0, 1], 3).unwrap()).unwrap();
        let rows = zipf.non_target_rows(&logits, &masked).unwrap();
        assert_eq!(rows[..3], [0.0; 3]);
        assert_eq!(rows[3..], whole[3..]);
        let mixed = zipf.rows(&logits, &masked, Epsilon::new(0.1).unwrap()).unwrap();
        assert_eq!(mixed[..3], [0.0; 3]);
    }

    #[test]
    fn ties_and_masked_classes_have_ranks_too() {
        let masked = f64::NEG_INFINITY;
        let logits = Logits::new(vec![1.0, masked, 1.0, 5.0], 4).unwrap();
        let zipf = ZipfSmoothing::new(1.0).unwrap();
        let rows = zipf.non_target_rows(&logits, &Labels::new(&[3], 4).unwrap()).unwrap();
        assert_eq!(rows, [6.0 / 11.0, 2.0 / 11.0, 3.0 / 11.0, 0.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(ZipfSmoothing::new(bad).is_err());
        }
        let zipf: ZipfSmoothing = serde_json::from_str(r#"{"exponent":1}"#).unwrap();
        assert!(serde_json::from_str::<ZipfSmoothing>(r#"{"exponent":-1}"#).is_err());
        assert!(serde_json::from_str::<ZipfSmoothing>(r#"{"exponent":1,"alpha":1}"#).is_err());
        let logits = Logits::new(&[0.0_f32, 1.0], 2).unwrap();
        assert!(zipf.non_target_rows(&logits, &Labels::new(&[0], 3).unwrap()).is_err());
        assert!(zipf.non_target_rows(&logits, &Labels::new(&[0, 1], 2).unwrap()).is_err());
        let single = Logits::new(&[0.0_f32], 1).unwrap();
        assert!(zipf.non_target_rows(&single, &Labels::new(&[0], 1).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn rows_follow_the_definition(
            scores in prop::collection::vec(-3_i8..3, 6), label in 0..6_usize,
            exponent in 0.0..3.0, epsilon in 0.0..=1.0
        ) {
            let logits = Logits::new(scores.iter().map(|&z| f32::from(z)).collect::<Vec<_>>(), 6).unwrap();
            let labels = Labels::new(&[label], 6).unwrap();
            let zipf = ZipfSmoothing::new(exponent).unwrap();
            let row = zipf.rows(&logits, &labels, Epsilon::new(epsilon).unwrap()).unwrap();
            let sum: f64 = (1..6).map(|rank| f64::from(rank).powf(-exponent)).sum();
            for class in 0..6 {
                // The rank counted, where the code sorts.
                let above = (0..6).filter(|&k| k != label && k != class).filter(|&k| {
                    scores[k] > scores[class] || (scores[k] == scores[class] && k < class)
                });
                let rank = 1.0 + above.count() as f64;
                let expected =
                    if class == label { 1.0 - epsilon } else { epsilon * rank.powf(-exponent) / sum };
                prop_assert!((f64::from(row[class]) - expected).abs() < 1e-7);
            }
        }

        #[test]
        fn without_an_exponent_it_is_off_target(
            scores in prop::collection::vec(-3.0..3.0, 5), label in 0..5_usize, epsilon in 0.0..=1.0
        ) {
            let labels = Labels::new(&[label], 5).unwrap();
            let zipf = ZipfSmoothing::new(0.0).unwrap();
            let logits = Logits::new(scores, 5).unwrap();
            let rows = zipf.rows(&logits, &labels, Epsilon::new(epsilon).unwrap()).unwrap();
            let off_target = Smoothing::off_target(epsilon).unwrap().fused(5).unwrap();
            for (a, b) in rows.iter().zip(off_target.rows(&labels).unwrap()) {
                prop_assert!((a - b).abs() < 1e-7);
            }
        }
    }
}
