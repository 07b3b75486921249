//! [`Dataset`]: labelled images, checked once.
//!
//! Pixels are `u8`, row-major `[n, channels, height, width]`, from 0 to a maximum value.
//! The id of a sample is its index, in the order of the file it came from.

use std::fmt;

use sha2::{Digest, Sha256};
use softlabel_core::{Error as ValueError, Labels};

use crate::{Error, Result};

/// How large the images of a data set are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// 1 for grey, 3 for red, green, blue.
    pub channels: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl ImageShape {
    /// How many pixel values one image has: channels × height × width.
    ///
    /// ```
    /// use softlabel_data::ImageShape;
    /// assert_eq!(ImageShape { channels: 3, height: 32, width: 32 }.values(), 3072);
    /// ```
    pub fn values(self) -> usize {
        self.channels.saturating_mul(self.height).saturating_mul(self.width)
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

/// Labelled images: at least one for every class on average, all of one shape.
///
/// ```
/// use softlabel_core::Labels;
/// use softlabel_data::{Dataset, ImageShape};
///
/// let shape = ImageShape { channels: 1, height: 1, width: 2 };
/// let labels = Labels::new(&[1u8, 0], 2)?;
/// let dataset = Dataset::new("tiny", shape, 4, vec![0, 4, 2, 1], labels)?;
/// assert_eq!(dataset.image(1), Some(&[2, 1][..]));
/// assert_eq!(dataset.pixels_f32(), [0.0, 1.0, 0.5, 0.25]);
/// # Ok::<(), softlabel_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    name: String,
    shape: ImageShape,
    max_value: u8,
    pixels: Vec<u8>,
    labels: Labels,
}

impl Dataset {
    /// Checks that everything fits together.
    ///
    /// `pixels` are row-major `[n, channels, height, width]` with values from 0 to `max_value`, n the number of
    /// labels.
    ///
    /// # Errors
    /// - [`Error::Values`] if there are no labels, a side of the shape or `max_value` is 0, the number of pixels is
    ///   not n × channels × height × width, or there are fewer labels than classes.
    /// - [`Error::Pixel`] with the first pixel above `max_value`.
    ///
    /// ```
    /// use softlabel_core::Labels;
    /// use softlabel_data::{Dataset, ImageShape};
    ///
    /// let shape = ImageShape { channels: 1, height: 1, width: 1 };
    /// let error = Dataset::new("tiny", shape, 16, vec![17], Labels::new(&[0u8], 1)?).unwrap_err();
    /// assert_eq!(error.to_string(), "pixel 17 in image 0 is above the maximum value 16");
    /// # Ok::<(), softlabel_data::Error>(())
    /// ```
    pub fn new(
        name: impl Into<String>,
        shape: ImageShape,
        max_value: u8,
        pixels: Vec<u8>,
        labels: Labels,
    ) -> Result<Self> {
        if labels.is_empty() {
            return Err(ValueError::Empty { what: "the data set" }.into());
        }
        if shape.values() == 0 {
            return Err(ValueError::Empty { what: "the image shape" }.into());
        }
        if max_value == 0 {
            let (name, expected) = ("maximum pixel value", "in 1..=255");
            return Err(ValueError::OutOfRange { name, expected, found: 0.0 }.into());
        }
        if labels.len().checked_mul(shape.values()) != Some(pixels.len()) {
            let expected = format!("{} images of {shape} values", labels.len());
            let found = format!("{} values", pixels.len());
            return Err(ValueError::mismatch("pixels", expected, found).into());
        }
        let (rows, classes) = (labels.len(), labels.classes());
        if rows < classes {
            let what = "the data set";
            return Err(ValueError::MoreClassesThanRows { what, classes, rows }.into());
        }
        if let Some(position) = pixels.iter().position(|&pixel| pixel > max_value) {
            let sample = position / shape.values();
            return Err(Error::Pixel { sample, found: pixels[position], maximum: max_value });
        }
        Ok(Self { name: name.into(), shape, max_value, pixels, labels })
    }

    /// What the data set is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// n, the number of samples: at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// K, the number of classes.
    pub fn classes(&self) -> usize {
        self.labels.classes()
    }

    /// How large an image is.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The largest value that a pixel may have: white.
    pub fn max_value(&self) -> u8 {
        self.max_value
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// All pixels, row-major `[n, channels, height, width]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The pixels of one image, row-major `[channels, height, width]`; `None` if `sample` is not below
    /// [`len`](Self::len).
    pub fn image(&self, sample: usize) -> Option<&[u8]> {
        self.pixels.chunks_exact(self.shape.values()).nth(sample)
    }

    /// All pixels divided by the maximum value: in [0, 1], row-major `[n, channels, height, width]`.
    pub fn pixels_f32(&self) -> Vec<f32> {
        scale(&self.pixels, self.max_value)
    }

    /// What identifies the content: equal exactly when shape, maximum value, class count, pixels and labels are.
    ///
    /// The name does not matter. SHA-256 of the whole data set: some hundred MB a second.
    ///
    /// ```
    /// let fingerprint = softlabel_data::digits()?.fingerprint();
    /// assert_eq!(fingerprint.to_string().len(), 64);
    /// assert!(fingerprint.to_string().starts_with(&fingerprint.short()));
    /// # Ok::<(), softlabel_data::Error>(())
    /// ```
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(b"softlabel.dataset/1");
        let ImageShape { channels, height, width } = self.shape;
        for number in
            [self.len(), channels, height, width, usize::from(self.max_value), self.classes()]
        {
            hash.update((number as u64).to_le_bytes());
        }
        hash.update(&self.pixels);
        for label in self.labels.as_slice() {
            hash.update(label.to_le_bytes());
        }
        Fingerprint(hash.finalize().into())
    }
}

/// Pixels from 0 to `max_value` as numbers from 0 to 1.
pub(crate) fn scale(pixels: &[u8], max_value: u8) -> Vec<f32> {
    pixels.iter().map(|&pixel| f32::from(pixel) / f32::from(max_value)).collect()
}

/// A SHA-256 digest; `Display` writes 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest of some bytes.
    ///
    /// ```
    /// use softlabel_data::Fingerprint;
    /// assert_eq!(Fingerprint::of(b"abc").short(), "ba7816bf8f01"); // FIPS 180-2, example B.1
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first 12 hexadecimal digits: enough to tell apart what people have lying around.
    pub fn short(&self) -> String {
        let mut hexadecimal = self.to_string();
        hexadecimal.truncate(12);
        hexadecimal
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
