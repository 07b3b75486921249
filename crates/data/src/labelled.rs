//! Which pixels of labelled maps have a label.

use std::ops::Range;

use softlabel_core::Error as ValueError;

use crate::Result;

/// The pixels of some images that have a label, image by image, the others being ignored.
///
/// A *row* counts labels: the rows of an image are its labelled pixels, in their order.
///
/// ```
/// use softlabel_data::{Dataset, ImageShape, Pixels};
///
/// let shape = ImageShape { channels: 1, height: 1, width: 3 };
/// let pixels = Pixels::Floats(vec![0.0; 6]);
/// let maps = Dataset::maps("tiny", shape, pixels, &[0, 255, 1, 255, 255, 0], 2, Some(255))?;
/// let labelled = maps.labelled().unwrap();
/// assert_eq!((labelled.pixels(0), labelled.pixels(1)), (&[0, 2][..], &[2][..]));
/// assert_eq!(labelled.rows(1), 2..3);
/// assert_eq!(maps.labels().as_slice(), [0, 1, 0]);
/// # Ok::<(), softlabel_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledPixels {
    /// Where the rows of each image begin, and where those of the last end.
    starts: Vec<usize>,
    /// The pixel of each row, counted within its image.
    pixels: Vec<u32>,
}

impl LabelledPixels {
    /// Of images one after another, each given by its pixels that have a label.
    pub(crate) fn new<I: IntoIterator<Item = u32>>(images: impl Iterator<Item = I>) -> Self {
        let (mut starts, mut pixels) = (vec![0], Vec::new());
        for image in images {
            pixels.extend(image);
            starts.push(pixels.len());
        }
        Self { starts, pixels }
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of an image; none of one that is not there.
    pub fn rows(&self, image: usize) -> Range<usize> {
        match self.starts.get(image..).unwrap_or_default() {
            [start, end, ..] => *start..*end,
            _ => 0..0,
        }
    }

    /// The pixels of an image that have a label, ascending, counted row by row from the upper left.
    pub fn pixels(&self, image: usize) -> &[u32] {
        self.pixels.get(self.rows(image)).unwrap_or_default()
    }

    /// Those of some images, in that order.
    pub(crate) fn select(&self, images: &[usize]) -> Result<Self> {
        if let Some(&image) = images.iter().find(|&&image| image >= self.images()) {
            let (name, expected) = ("position", "below the number of images");
            return Err(ValueError::OutOfRange { name, expected, found: image as f64 }.into());
        }
        Ok(Self::new(images.iter().map(|&image| self.pixels(image).iter().copied())))
    }
}
