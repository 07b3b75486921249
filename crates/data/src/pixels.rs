//! What images are made of: bytes up to a maximum, or numbers as they are.

use softlabel_core::Error as ValueError;

use crate::{Error, ImageShape, Result};

/// The pixels of some images, row-major `[n, channels, height, width]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// From 0 to a maximum, by which they are divided before anybody computes with them.
    Bytes {
        /// The pixels.
        values: Vec<u8>,
        /// White.
        maximum: u8,
    },
    /// Finite numbers, used as they are.
    Floats(Vec<f32>),
}

impl Pixels {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Bytes { values, .. } => values.len(),
            Self::Floats(values) => values.len(),
        }
    }

    /// Whether they are pixels of `images` images, none above the maximum, none infinite or no number.
    pub(crate) fn check(&self, images: usize, shape: ImageShape) -> Result<()> {
        if shape.values() == 0 {
            return Err(ValueError::Empty { what: "the image shape" }.into());
        }
        if let Self::Bytes { maximum: 0, .. } = self {
            let (name, expected) = ("maximum pixel value", "in 1..=255");
            return Err(ValueError::OutOfRange { name, expected, found: 0.0 }.into());
        }
        if images.checked_mul(shape.values()) != Some(self.count()) {
            let expected = format!("{images} images of {shape} values");
            let found = format!("{} values", self.count());
            return Err(ValueError::mismatch("pixels", expected, found).into());
        }
        match self {
            Self::Bytes { values, maximum } => {
                let above = values.iter().position(|pixel| pixel > maximum);
                above.map_or(Ok(()), |position| {
                    let (sample, found) = (position / shape.values(), values[position]);
                    Err(Error::Pixel { sample, found, maximum: *maximum })
                })
            }
            Self::Floats(values) => {
                let wrong = values.iter().position(|pixel| !pixel.is_finite());
                wrong.map_or(Ok(()), |position| {
                    let (sample, found) = (position / shape.values(), values[position]);
                    Err(Error::PixelNotFinite { sample, found })
                })
            }
        }
    }

    /// As numbers: bytes divided by their maximum.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::Bytes { values, maximum } => scale(values, *maximum),
            Self::Floats(values) => values.clone(),
        }
    }

    /// Those of some images of so many values each; images that are not there are left out.
    pub(crate) fn select_f32(&self, images: &[usize], size: usize) -> Vec<f32> {
        let range = |&image: &usize| image * size..(image + 1) * size;
        let ranges = images.iter().map(range);
        match self {
            Self::Bytes { values, maximum } => {
                let images = ranges.filter_map(|range| values.get(range));
                images.flat_map(|image| scale(image, *maximum)).collect()
            }
            Self::Floats(values) => {
                ranges.filter_map(|range| values.get(range)).flatten().copied().collect()
            }
        }
    }
}

/// Pixels from 0 to `max_value` as numbers from 0 to 1.
fn scale(pixels: &[u8], max_value: u8) -> Vec<f32> {
    pixels.iter().map(|&pixel| f32::from(pixel) / f32::from(max_value)).collect()
}
