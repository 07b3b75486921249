//! Samples mixed in pairs: mixup and cutmix, as plans that say who is mixed with whom and how much.
//!
//! λ is drawn from Beta(α, α), for the batch or for each sample, and the batch is permuted to give each sample a
//! partner.
//!
//! - mixup: the input is λ·x + (1 − λ)·x', and so is the target.
//! - cutmix: a box of a share 1 − λ of the area, its sides √(1 − λ) of the image's, is cut out of the partner and
//!   pasted in. Its centre is uniform over the image, and what lies outside is lost; the share of the partner in the
//!   target is that of the pixels that were really pasted.
//!
//! A plan knows nothing of images: it is data, and whoever has the tensors carries it out.
//!
//! **Smooth once.** The mixed labels here are not smoothed; the loss (or [`MixedLabels::dense`]) does that.
//! timm smooths inside its mixup, so that a loss that smooths too takes from the labels twice:
//! 1 − (1 − ε)² instead of ε, 0.19 for 0.1.
//!
//! Sources: Zhang, Cissé, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018;
//! Yun, Han, Oh, Chun, Choe, Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
//! Features", ICCV 2019.

mod labels;

use rand::distr::Distribution;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Beta;
use serde::{Deserialize, Serialize};
use softlabel_core::{ClassLabels, Error as Core};

use crate::{Error, Result};

pub use labels::MixedLabels;

/// What one λ (and one box) is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MixBy {
    /// The whole batch: as in the papers.
    #[default]
    Batch,
    /// Each sample its own.
    Sample,
}

/// Mixup: pairs of samples averaged.
///
/// In serialized form `{ alpha = 0.2 }` or `{ alpha = 0.2, by = "sample" }`.
///
/// ```
/// use softlabel_core::Labels;
/// use softlabel_targets::{MixBy, Mixup};
///
/// let plan = Mixup::new(0.2, MixBy::Batch)?.plan(4, 7);
/// assert_eq!(plan.len(), 4);
/// let mixed = plan.labels(&Labels::new(&[0, 1, 2, 0], 3)?)?;
/// assert_eq!(mixed.share_of_second()[0], plan.share_of_partner()[0]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Mixup {
    settings: Mixing,
}

/// Cutmix: a box of one sample pasted into another.
///
/// In serialized form `{ alpha = 1.0 }` or `{ alpha = 1.0, by = "sample" }`.
///
/// ```
/// use softlabel_targets::{CutMix, MixBy};
///
/// let plan = CutMix::new(1.0, MixBy::Sample)?.plan(3, (32, 24), 7)?;
/// let (cut, share) = (plan.boxes()[1], plan.share_of_partner()[1]);
/// assert_eq!(share, cut.area() as f64 / (32.0 * 24.0));
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct CutMix {
    settings: Mixing,
}

/// Checked settings of either.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mixing {
    alpha: f64,
    by: MixBy,
    beta: Beta<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    alpha: f64,
    #[serde(default)]
    by: MixBy,
}

impl Mixing {
    fn new(alpha: f64, by: MixBy) -> Result<Self> {
        let wrong = Core::OutOfRange { name: "alpha", expected: "in [0.001, 1000]", found: alpha };
        // Beyond these λ is 0 or 1, or one half, but for rounding.
        if !(0.001..=1000.0).contains(&alpha) {
            return Err(wrong.into());
        }
        let beta = Beta::new(alpha, alpha).map_err(|_| wrong)?;
        Ok(Self { alpha, by, beta })
    }

    /// One λ, or one for each of `batch` samples.
    fn draw(&self, batch: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
        let count = match self.by {
            MixBy::Batch => 1,
            MixBy::Sample => batch,
        };
        (0..count).map(|_| self.beta.sample(random).clamp(0.0, 1.0)).collect()
    }
}

impl Mixup {
    /// Checks α.
    ///
    /// # Errors
    /// If it is not in [0.001, 1000].
    pub fn new(alpha: f64, by: MixBy) -> Result<Self> {
        Ok(Self { settings: Mixing::new(alpha, by)? })
    }

    /// α.
    pub const fn alpha(&self) -> f64 {
        self.settings.alpha
    }

    /// What one λ is drawn for.
    pub const fn by(&self) -> MixBy {
        self.settings.by
    }

    /// Who is mixed with whom and how much. The same seed gives the same plan on every machine.
    pub fn plan(&self, batch: usize, seed: u64) -> MixPlan {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let partners = permutation(batch, &mut random);
        let shares = self.settings.draw(batch, &mut random).into_iter().map(|lambda| 1.0 - lambda);
        MixPlan { partners, shares: for_all(shares.collect(), batch), boxes: Vec::new() }
    }
}

impl CutMix {
    /// Checks α.
    ///
    /// # Errors
    /// If it is not in [0.001, 1000].
    pub fn new(alpha: f64, by: MixBy) -> Result<Self> {
        Ok(Self { settings: Mixing::new(alpha, by)? })
    }

    /// α.
    pub const fn alpha(&self) -> f64 {
        self.settings.alpha
    }

    /// What one λ and one box are drawn for.
    pub const fn by(&self) -> MixBy {
        self.settings.by
    }

    /// Who is mixed with whom, and which box is pasted into images of `height` times `width` pixels.
    /// The same seed gives the same plan on every machine.
    ///
    /// # Errors
    /// If there are no pixels.
    pub fn plan(
        &self,
        batch: usize,
        (height, width): (usize, usize),
        seed: u64,
    ) -> Result<MixPlan> {
        if height == 0 || width == 0 {
            return Err(Core::Empty { what: "the image" }.into());
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let partners = permutation(batch, &mut random);
        let lambdas = self.settings.draw(batch, &mut random);
        let mut cut = |lambda: f64| {
            let side = (1.0 - lambda).sqrt();
            let (top, bottom) = interval(height, side, &mut random);
            let (left, right) = interval(width, side, &mut random);
            MixBox { top, left, bottom, right }
        };
        let boxes: Vec<MixBox> = lambdas.into_iter().map(&mut cut).collect();
        let area = height as f64 * width as f64;
        let shares = boxes.iter().map(|cut| cut.area() as f64 / area).collect();
        Ok(MixPlan { partners, shares: for_all(shares, batch), boxes: for_all(boxes, batch) })
    }
}

/// A box of pixels: rows `top..bottom`, columns `left..right`. It may be empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixBox {
    /// The first row.
    pub top: usize,
    /// The first column.
    pub left: usize,
    /// The row after the last.
    pub bottom: usize,
    /// The column after the last.
    pub right: usize,
}

impl MixBox {
    /// How many pixels are in it.
    pub const fn area(&self) -> usize {
        self.bottom.saturating_sub(self.top) * self.right.saturating_sub(self.left)
    }
}

/// Who is mixed with whom, and how much.
#[derive(Debug, Clone, PartialEq)]
pub struct MixPlan {
    partners: Vec<usize>,
    shares: Vec<f64>,
    boxes: Vec<MixBox>,
}

impl MixPlan {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.partners.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.partners.is_empty()
    }

    /// With whom each sample is mixed: a permutation of the batch. A sample may be its own partner.
    pub fn partners(&self) -> &[usize] {
        &self.partners
    }

    /// The share of the partner in each sample: 1 − λ, or for cutmix the pixels pasted over all pixels.
    pub fn share_of_partner(&self) -> &[f64] {
        &self.shares
    }

    /// The box of each sample that is pasted from its partner; none for mixup.
    pub fn boxes(&self) -> &[MixBox] {
        &self.boxes
    }

    /// The labels of the mixed samples, not smoothed. A sample that is mixed with an ignored one, whatever the share,
    /// is ignored: see [`MixedLabels`].
    ///
    /// # Errors
    /// If there are not as many as samples in the plan.
    pub fn labels<L: ClassLabels>(&self, labels: &L) -> Result<MixedLabels<L>> {
        let count = labels.each().len();
        if count != self.len() {
            let (expected, found) = (self.len().to_string(), count.to_string());
            return Err(Core::mismatch("labels of a mixed batch", expected, found).into());
        }
        MixedLabels::new(labels.clone(), labels.at(&self.partners)?, self.shares.clone())
    }
}

/// The one value for all samples, or the values as they are.
fn for_all<T: Clone>(mut values: Vec<T>, batch: usize) -> Vec<T> {
    if let [one] = values.as_slice() {
        values = vec![one.clone(); batch];
    }
    values
}

/// Every order of the batch is as likely (Fisher, Yates).
#[allow(clippy::cast_possible_truncation)] // Below the batch size.
fn permutation(batch: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..batch).collect();
    for last in (1..batch).rev() {
        // Drawn as u64, so that the stream is the same on machines of any word size.
        order.swap(last, random.random_range(0..=last as u64) as usize);
    }
    order
}

/// A stretch of a share `side` of `size` pixels around a uniform centre, what is inside of it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 0 and the size.
fn interval(size: usize, side: f64, random: &mut ChaCha8Rng) -> (usize, usize) {
    let length = (size as f64 * side) as usize;
    let centre = random.random_range(0..size as u64) as usize;
    let start = centre.saturating_sub(length / 2);
    // The half before the centre may be lost at the border; the other half is counted from the centre.
    let end = (centre + length - length / 2).min(size);
    (start, end)
}

impl TryFrom<Settings> for Mixup {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        Self::new(settings.alpha, settings.by)
    }
}

impl From<Mixup> for Settings {
    fn from(mixup: Mixup) -> Self {
        Self { alpha: mixup.alpha(), by: mixup.by() }
    }
}

impl TryFrom<Settings> for CutMix {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        Self::new(settings.alpha, settings.by)
    }
}

impl From<CutMix> for Settings {
    fn from(cut_mix: CutMix) -> Self {
        Self { alpha: cut_mix.alpha(), by: cut_mix.by() }
    }
}
