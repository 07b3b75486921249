//! Spatially varying label smoothing: soft targets for segmentation, softer where classes meet.
//!
//! The target of a pixel is a weighted mean of the one-hot labels around it. The weights are a Gaussian over a window
//! of n×n (or n×n×n) pixels, exp(−|offset|²/(2σ²)), with the weight of the centre set to the sum of all others, and
//! then normalized: the pixel's own label has at least one half. Inside a region the target is one-hot; across an edge
//! it is shared.
//!
//! Beyond the border the nearest pixel is repeated. Ignored pixels have no say: the weights of a pixel's other
//! neighbours are normalized to 1 without them (the paper has no ignored pixels). The row of an ignored pixel is 0
//! throughout, and a mask says so.
//!
//! Source: Islam, Glocker, "Spatially Varying Label Smoothing: Capturing Uncertainty from Expert Annotations",
//! IPMI 2021 (σ = 1, n = 3).

use serde::{Deserialize, Serialize};
use softlabel_core::{ClassAxis, Error as Core};

use crate::{Error, MaskedTargets, Result};

/// Class indices of pixels or voxels, some of them ignored: `[batch, height, width]` or
/// `[batch, depth, height, width]`, row-major.
///
/// ```
/// use softlabel_targets::LabelMap;
///
/// let map = LabelMap::new(&[0i64, 1, 255, 1], &[1, 2, 2], 2, Some(255))?;
/// assert_eq!(map.labels()[2], None);
/// assert!(LabelMap::new(&[0i64, 1, 255, 1], &[1, 2, 2], 2, None).is_err());
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    labels: Vec<Option<u32>>,
    batch: usize,
    /// Depth 1 where there is none.
    size: [usize; 3],
    is_volume: bool,
    classes: usize,
}

impl LabelMap {
    /// Checks the labels against shape and class count. `ignored` is the label of pixels that do not count.
    ///
    /// # Errors
    /// If the shape has not 3 or 4 axes or not as many pixels as there are labels, or a label is neither `ignored` nor
    /// below `classes`.
    pub fn new<T: Copy + TryInto<i64>>(
        labels: &[T],
        shape: &[usize],
        classes: usize,
        ignored: Option<i64>,
    ) -> Result<Self> {
        const WHAT: &str = "label map";
        let (batch, size, is_volume) = match *shape {
            [batch, height, width] => (batch, [1, height, width], false),
            [batch, depth, height, width] => (batch, [depth, height, width], true),
            _ => {
                let expected = "[batch, height, width] or [batch, depth, height, width]";
                return Err(Core::mismatch(WHAT, expected, format!("{shape:?}")).into());
            }
        };
        let pixels = shape.iter().try_fold(1_usize, |product, &axis| product.checked_mul(axis));
        if pixels != Some(labels.len()) {
            let (expected, found) = (format!("the shape {shape:?}"), labels.len());
            return Err(Core::mismatch(WHAT, expected, format!("{found} labels")).into());
        }
        let counted = |(position, &label): (usize, &T)| {
            let found: i64 = label.try_into().unwrap_or(i64::MAX);
            if ignored == Some(found) {
                return Ok(None);
            }
            let label = u32::try_from(found).ok().filter(|&label| (label as usize) < classes);
            label.map(Some).ok_or(Core::LabelOutOfRange { position, found, classes })
        };
        let labels = labels.iter().enumerate().map(counted).collect::<Result<_, _>>()?;
        Ok(Self { labels, batch, size, is_volume, classes })
    }

    /// The label of each pixel; nothing for one that is ignored.
    pub fn labels(&self) -> &[Option<u32>] {
        &self.labels
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.classes
    }
}

/// Spatially varying label smoothing with a window and a width.
///
/// In serialized form `{ sigma = 1.0, size = 3 }`.
///
/// ```
/// use softlabel_targets::{ClassAxis, LabelMap, Svls};
///
/// // An edge between two columns: of the neighbours' half, a third is across.
/// let map = LabelMap::new(&[0, 0, 1, 1], &[1, 1, 4], 2, None)?;
/// let target = Svls::default().encode(&map, ClassAxis::Last)?;
/// assert_eq!(target.values[..2], [1.0, 0.0]);
/// assert!((target.values[3] - 0.1722).abs() < 1e-4);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[doc(alias = "SVLS")]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Svls {
    sigma: f64,
    size: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "Svls")]
struct Settings {
    sigma: f64,
    size: usize,
}

/// The largest window: beyond it the work for a pixel, size³, is surely a mistake.
const LARGEST: usize = 63;

impl Svls {
    /// Checks σ, in pixels, and the size n of the window.
    ///
    /// # Errors
    /// If `sigma` is not positive and finite, or so small that no neighbour has any weight, or `size` is not odd, at
    /// least 3 and at most 63.
    pub fn new(sigma: f64, size: usize) -> Result<Self> {
        // The nearest neighbour has the weight exp(-1/(2 sigma^2)), which is 0 for sigma below about 0.026.
        if !(sigma > 0.0 && sigma.is_finite() && (-0.5 / (sigma * sigma)).exp() > 0.0) {
            let expected = "finite and large enough that a neighbour has weight";
            return Err(Core::OutOfRange { name: "sigma", expected, found: sigma }.into());
        }
        if size.is_multiple_of(2) || !(3..=LARGEST).contains(&size) {
            let (name, expected, found) = ("window size", "odd, in 3..=63", size as f64);
            return Err(Core::OutOfRange { name, expected, found }.into());
        }
        Ok(Self { sigma, size })
    }

    /// σ.
    pub const fn sigma(&self) -> f64 {
        self.sigma
    }

    /// n.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Offsets and weights of the window: the centre has one half, all together one.
    fn window(self, is_volume: bool) -> Vec<([isize; 3], f64)> {
        let reach = (self.size / 2) as isize;
        let depths = if is_volume { -reach..=reach } else { 0..=0 };
        let mut window = Vec::new();
        for z in depths {
            for y in -reach..=reach {
                for x in -reach..=reach {
                    let square = (z * z + y * y + x * x) as f64;
                    window.push(([z, y, x], (-square / (2.0 * self.sigma * self.sigma)).exp()));
                }
            }
        }
        let is_centre = |offset: &[isize; 3]| *offset == [0; 3];
        let others: f64 = window.iter().filter(|(o, _)| !is_centre(o)).map(|(_, w)| w).sum();
        for (offset, weight) in &mut window {
            *weight = if is_centre(offset) { 0.5 } else { *weight / (2.0 * others) };
        }
        window
    }

    /// The targets of all pixels: computed in f64 and rounded once. The work for a pixel is n² or n³.
    ///
    /// # Errors
    /// If pixels times classes are more than memory can address.
    #[allow(clippy::cast_possible_truncation)] // The one rounding to f32 that the documentation states.
    pub fn encode(&self, map: &LabelMap, axis: ClassAxis) -> Result<MaskedTargets> {
        let (classes, pixels) = (map.classes, map.size.iter().product::<usize>());
        let Some(count) = map.labels.len().checked_mul(classes) else {
            let found = format!("{} pixels of {classes} classes", map.labels.len());
            return Err(Core::mismatch("label map", "fewer values than memory", found).into());
        };
        let window = self.window(map.is_volume);
        let mut values = vec![0.0_f32; count];
        let mut target = vec![0.0_f64; classes];
        let [depth, height, width] = map.size;
        let near = |at: usize, by: isize, size: usize| {
            at.saturating_add_signed(by).min(size.saturating_sub(1))
        };
        for image in 0..map.batch {
            let labels = &map.labels[image * pixels..(image + 1) * pixels];
            for pixel in (0..pixels).filter(|&pixel| labels[pixel].is_some()) {
                let (z, y, x) = (pixel / (height * width), pixel / width % height, pixel % width);
                target.fill(0.0);
                let mut sum = 0.0;
                for ([dz, dy, dx], weight) in &window {
                    let row = near(z, *dz, depth) * height + near(y, *dy, height);
                    if let Some(label) = labels[row * width + near(x, *dx, width)] {
                        target[label as usize] += weight;
                        sum += weight;
                    }
                }
                for (class, &t) in target.iter().enumerate().filter(|(_, t)| **t > 0.0) {
                    let place = match axis {
                        ClassAxis::Last => (image * pixels + pixel) * classes + class,
                        ClassAxis::Second => (image * classes + class) * pixels + pixel,
                    };
                    values[place] = (t / sum) as f32;
                }
            }
        }
        let counted = map.labels.iter().map(Option::is_some).collect();
        Ok(MaskedTargets { values, counted })
    }
}

impl Default for Svls {
    /// σ = 1 and a window of 3, as in the paper.
    fn default() -> Self {
        Self { sigma: 1.0, size: 3 }
    }
}

impl TryFrom<Settings> for Svls {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        Self::new(settings.sigma, settings.size)
    }
}

impl From<Svls> for Settings {
    fn from(svls: Svls) -> Self {
        Self { sigma: svls.sigma, size: svls.size }
    }
}
