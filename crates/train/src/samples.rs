//! The three splits of one seed as tensors.

use softlabel_core::Labels;
use softlabel_data::{Data, Splits, Subset, seed};
use tch::{Device, Tensor};

use crate::maps::{Counted, Images};
use crate::recipe::{DataSettings, Pixels};
use crate::{Error, Result};

/// The splits of one seed.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) train: Part,
    pub(crate) validation: Part,
    pub(crate) test: Part,
    /// The training labels as training sees them.
    pub(crate) observed: Labels,
    /// Mean and deviation of the training pixels.
    pub(crate) moments: (f64, f64),
}

/// One split: images on the device, labels and ids on the host, in the same order.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) subset: Subset,
    /// `[n, channels, height, width]`, with the mean and deviation of the training pixels taken out.
    pub(crate) images: Tensor,
    /// Of maps: the pixels that have the labels.
    pub(crate) counted: Option<Counted>,
}

/// Some training images, and what is to be learned of them: a row each, or, of maps, one a pixel that counts.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Positions of the rows among those of the training split.
    pub(crate) positions: Vec<usize>,
    pub(crate) ids: Vec<usize>,
    pub(crate) labels: Labels,
    pub(crate) counted: Option<Counted>,
}

impl Part {
    /// What a network sees of it.
    pub(crate) fn seen(&self) -> Images<'_> {
        Images { tensor: &self.images, counted: self.counted.as_ref() }
    }
}

impl Samples {
    /// Splits, corrupts and standardizes; all of it follows from the seed.
    pub(crate) fn new(
        data: &Data,
        settings: &DataSettings,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let Splits { train, validation, test } = data.split(settings.split, seed)?;
        if test.is_empty() {
            return Err(Error::EmptySplit { split: "test" });
        }
        for (split, use_of, subset) in [
            ("training", "learn from", &train),
            ("validation", "fit maps to", &validation),
            ("test", "report on", &test),
        ] {
            if subset.labels().is_empty() && !subset.is_empty() {
                return Err(Error::AllIgnored { split, use_of });
            }
        }
        let observed = match &settings.noise {
            None => train.labels().clone(),
            Some(noise) => noise.corrupt(train.labels(), seed::derive(seed, seed::NOISE))?,
        };
        let (mean, deviation) = moments(&train.pixels_f32());
        let part = |subset: Subset| -> Result<Part> {
            let mut pixels = subset.pixels_f32();
            standardize(&mut pixels, mean, deviation);
            let shape = subset.dataset().shape();
            let shape = [subset.len(), shape.channels, shape.height, shape.width];
            let shape = shape.map(|size| size as i64);
            let images = Tensor::f_from_slice(&pixels)?.f_view(shape.as_slice())?;
            let counted = Counted::of(&subset, 0..subset.len(), device)?;
            Ok(Part { subset, images: images.f_to_device(device)?, counted })
        };
        let moments = (mean, deviation);
        let (train, validation, test) = (part(train)?, part(validation)?, part(test)?);
        Ok(Self { train, validation, test, observed, moments })
    }

    /// The rows of training images at some positions, with the labels that an epoch sees.
    pub(crate) fn rows(&self, images: &[usize], observed: &Labels) -> Result<Rows> {
        let subset = &self.train.subset;
        let positions: Vec<usize> = images.iter().flat_map(|&image| subset.rows(image)).collect();
        let all = subset.row_ids();
        let ids = positions.iter().filter_map(|&position| all.get(position).copied()).collect();
        let labels = observed.select(&positions)?;
        let counted = Counted::of(subset, images.iter().copied(), self.train.images.device())?;
        Ok(Rows { positions, ids, labels, counted })
    }

    /// Some images with other pixels.
    pub(crate) fn pixels(&self, images: &Tensor, pixels: Pixels) -> Result<Tensor> {
        let (mean, deviation) = self.moments;
        Ok(match pixels {
            Pixels::Standardized => images.shallow_clone(),
            Pixels::Unit => images.f_mul_scalar(deviation)?.f_add_scalar(mean)?,
        })
    }

    /// What black is to a network.
    pub(crate) fn black(&self) -> f64 {
        -self.moments.0 / self.moments.1
    }

    /// Share of the training labels that the noise changed.
    pub(crate) fn changed_labels(&self) -> f64 {
        let truth = self.train.subset.labels();
        let changed = truth.iter().zip(self.observed.iter()).filter(|(a, b)| a != b).count();
        changed as f64 / truth.len() as f64
    }
}

/// In place: pixels are the largest thing there is.
#[allow(clippy::cast_possible_truncation)] // Images are single precision.
fn standardize(pixels: &mut [f32], mean: f64, deviation: f64) {
    for pixel in pixels {
        *pixel = ((f64::from(*pixel) - mean) / deviation) as f32;
    }
}

/// Labels as the losses take them.
pub(crate) fn label_tensor(labels: &Labels, device: Device) -> Result<Tensor> {
    let values: Vec<i64> = labels.as_slice().iter().map(|&label| label.into()).collect();
    Ok(Tensor::f_from_slice(&values)?.f_to_device(device)?)
}

/// Mean and standard deviation; the deviation of constant pixels is taken as 1.
fn moments(pixels: &[f32]) -> (f64, f64) {
    let count = pixels.len().max(1) as f64;
    let mean = pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / count;
    let variance = pixels.iter().map(|&p| (f64::from(p) - mean).powi(2)).sum::<f64>() / count;
    (mean, if variance > 0.0 { variance.sqrt() } else { 1.0 })
}
