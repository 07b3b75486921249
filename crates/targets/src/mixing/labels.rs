//! Targets that are two labels each.

use softlabel_core::{ClassLabels, Error as Core, Fraction, Labels};

use crate::{Error, Result, Smoothing};

/// Two labels a sample, and the share of the second; not smoothed.
///
/// Cross-entropy is linear in its target, so the loss of a mixed sample is
/// (1 − s)·loss(first) + s·loss(second), with whatever smoothing the loss has, and no dense rows.
///
/// Labels may be ignored ([`MaskedLabels`](softlabel_core::MaskedLabels)). A sample of which either label is ignored
/// is ignored, whatever the share: half of what it shows has no label. Losses do the same.
///
/// ```
/// use softlabel_core::{Labels, MaskedLabels};
/// use softlabel_targets::{MixedLabels, Smoothing};
///
/// let (first, second) = (Labels::new(&[0], 4)?, Labels::new(&[2], 4)?);
/// let mixed = MixedLabels::new(first, second, vec![0.25])?;
/// assert_eq!(mixed.dense(&Smoothing::NONE)?, [0.75, 0.0, 0.25, 0.0]);
/// assert_eq!(mixed.dense(&Smoothing::mixture(0.5)?)?, [0.5, 0.125, 0.25, 0.125]);
///
/// let padded = MaskedLabels::new(&[0, -100], 2, -100)?;
/// let mixed = MixedLabels::new(padded.clone(), padded, vec![0.5, 0.0])?;
/// assert_eq!(mixed.dense(&Smoothing::NONE)?, [1.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MixedLabels<L = Labels> {
    first: L,
    second: L,
    share_of_second: Vec<f64>,
}

impl<L: ClassLabels> MixedLabels<L> {
    /// Checks that they belong together.
    ///
    /// # Errors
    /// If they differ in length or class count, or a share is not in [0, 1].
    pub fn new(first: L, second: L, share_of_second: Vec<f64>) -> Result<Self> {
        let expected = (first.each().len(), first.classes());
        if (second.each().len(), second.classes()) != expected
            || share_of_second.len() != expected.0
        {
            let found = format!(
                "{} second labels of {} classes and {} shares",
                second.each().len(),
                second.classes(),
                share_of_second.len()
            );
            let expected = format!("{} of {} classes", expected.0, expected.1);
            return Err(Error::from(Core::mismatch("mixed labels", expected, found)));
        }
        share_of_second.iter().try_for_each(|&share| Fraction::new(share).map(|_| ()))?;
        Ok(Self { first, second, share_of_second })
    }

    /// The labels of the samples themselves.
    pub fn first(&self) -> &L {
        &self.first
    }

    /// The labels of what was mixed in.
    pub fn second(&self) -> &L {
        &self.second
    }

    /// s, the share of the second in each.
    pub fn share_of_second(&self) -> &[f64] {
        &self.share_of_second
    }

    /// Which samples count: neither of their labels is ignored.
    pub fn counted(&self) -> Vec<bool> {
        let each = self.first.each().zip(self.second.each());
        each.map(|(first, second)| first.is_some() && second.is_some()).collect()
    }

    /// Dense rows, row-major `[samples, classes]`: (1 − s)·t(first) + s·t(second), t the smoothed target of a label.
    /// Computed in f64 and rounded once; 0 where a sample is ignored. A loss that takes them must not smooth again.
    ///
    /// # Errors
    /// As [`Smoothing::fused`].
    #[allow(clippy::cast_possible_truncation)] // The one rounding to f32 that the documentation states.
    pub fn dense(&self, smoothing: &Smoothing) -> Result<Vec<f32>> {
        let classes = self.first.classes();
        let target = smoothing.fused(classes)?;
        let mut rows = Vec::with_capacity(self.first.each().len() * classes);
        let (mut first, mut second) = (vec![0.0; classes], vec![0.0; classes]);
        let each = self.first.each().zip(self.second.each()).zip(&self.share_of_second);
        for (row, ((a, b), share)) in each.enumerate() {
            let (Some(a), Some(b)) = (a, b) else {
                rows.resize(rows.len() + classes, 0.0);
                continue;
            };
            target.row_into(row, a, &mut first)?;
            target.row_into(row, b, &mut second)?;
            let mixed =
                first.iter().zip(&second).map(|(t, u)| ((1.0 - share) * t + share * u) as f32);
            rows.extend(mixed);
        }
        Ok(rows)
    }
}
