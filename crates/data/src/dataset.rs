//! [`Dataset`]: labelled images, checked once.
//!
//! Pixels are row-major `[n, channels, height, width]`: `u8` from 0 to a maximum value, or numbers as they are.
//! The id of a sample is its index, in the order of the file it came from.
//! An image has one label, or, in a data set of *maps*, each of its pixels has one or is ignored.

use std::fmt;

use sha2::{Digest, Sha256};
use softlabel_core::{Error as ValueError, Labels};

use crate::{Error, LabelledPixels, Pixels, Result};

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
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    name: String,
    shape: ImageShape,
    pixels: Pixels,
    labels: Labels,
    /// Of maps.
    labelled: Option<LabelledPixels>,
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
        let pixels = Pixels::Bytes { values: pixels, maximum: max_value };
        let images = labels.len();
        Self::checked(Self { name: name.into(), shape, pixels, labels, labelled: None }, images)
    }

    /// Maps: `labels` are row-major `[n, height, width]`, and those that are `ignore` do not count.
    ///
    /// # Errors
    /// - [`Error::Values`] if there are no labels, a side of the shape is 0, there are not as many labels as pixels have
    ///   room for, or fewer that count than classes.
    /// - [`Error::PixelLabel`] with the first label that is neither below `classes` nor `ignore`.
    /// - [`Error::Pixel`] or [`Error::PixelNotFinite`] with the first pixel that is above the maximum, infinite or no
    ///   number.
    ///
    /// ```
    /// use softlabel_data::{Dataset, ImageShape, Pixels};
    ///
    /// let shape = ImageShape { channels: 1, height: 1, width: 2 };
    /// let maps = |labels: &[i64]| {
    ///     let pixels = Pixels::Bytes { values: vec![0, 1, 2, 3], maximum: 3 };
    ///     Dataset::maps("tiny", shape, pixels, labels, 2, Some(255))
    /// };
    /// let dataset = maps(&[0, 1, 255, 0])?;
    /// assert_eq!((dataset.len(), dataset.labels().as_slice()), (2, &[0, 1, 0][..]));
    /// let error = maps(&[0, 1, 7, 0]).unwrap_err();
    /// let expected = "label of row 0, column 0 of image 1: expected a class in 0..2 or the ignored 255, found 7";
    /// assert_eq!(error.to_string(), expected);
    /// # Ok::<(), softlabel_data::Error>(())
    /// ```
    pub fn maps(
        name: impl Into<String>,
        shape: ImageShape,
        pixels: Pixels,
        labels: &[i64],
        classes: usize,
        ignore: Option<i64>,
    ) -> Result<Self> {
        let area = shape.height.saturating_mul(shape.width);
        let images = labels.len().checked_div(area).unwrap_or_default();
        if labels.is_empty() || images * area != labels.len() {
            let expected =
                format!("labels of one or more maps of {}×{}", shape.height, shape.width);
            let found = format!("{} labels", labels.len());
            return Err(ValueError::mismatch("label maps", expected, found).into());
        }
        if u32::try_from(area).is_err() {
            return Err(Error::TooLarge);
        }
        let counts = |label: &i64| Some(*label) != ignore;
        let rows: Vec<i64> = labels.iter().copied().filter(counts).collect();
        if rows.is_empty() {
            return Err(ValueError::Empty { what: "the labels that are not ignored" }.into());
        }
        let is_class = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
        let wrong = |label: &i64| counts(label) && !is_class(*label);
        if let Some(position) = labels.iter().position(wrong) {
            let (sample, pixel) = (position / area, position % area);
            let (row, column) = (pixel / shape.width, pixel % shape.width);
            let found = labels[position];
            return Err(Error::PixelLabel { sample, row, column, found, classes, ignore });
        }
        let of_image = |image: &[i64]| {
            let counted = (0..).zip(image).filter(|(_, label)| counts(label));
            counted.map(|(pixel, _)| pixel).collect::<Vec<u32>>()
        };
        let labelled = Some(LabelledPixels::new(labels.chunks_exact(area).map(of_image)));
        let labels = Labels::new(&rows, classes)?;
        Self::checked(Self { name: name.into(), shape, pixels, labels, labelled }, images)
    }

    /// What holds of images and of maps.
    fn checked(self, images: usize) -> Result<Self> {
        self.pixels.check(images, self.shape)?;
        let (rows, classes) = (self.labels.len(), self.labels.classes());
        if rows < classes {
            let what = "the data set";
            return Err(ValueError::MoreClassesThanRows { what, classes, rows }.into());
        }
        Ok(self)
    }

    /// What the data set is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// n, the number of samples: at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labelled.as_ref().map_or(self.labels.len(), LabelledPixels::images)
    }

    /// K, the number of classes.
    pub fn classes(&self) -> usize {
        self.labels.classes()
    }

    /// How large an image is.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The largest value that a pixel may have: white. 1 where pixels are numbers as they are.
    pub fn max_value(&self) -> u8 {
        match self.pixels {
            Pixels::Bytes { maximum, .. } => maximum,
            Pixels::Floats(_) => 1,
        }
    }

    /// The labels: one an image, or, of maps, one for each pixel that counts, image by image.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Which pixels have a label, if it is not the images that have one.
    pub fn labelled(&self) -> Option<&LabelledPixels> {
        self.labelled.as_ref()
    }

    /// All pixels, row-major `[n, channels, height, width]`; empty where they are no bytes, which
    /// [`pixels_f32`](Self::pixels_f32) does not mind.
    pub fn pixels(&self) -> &[u8] {
        match &self.pixels {
            Pixels::Bytes { values, .. } => values,
            Pixels::Floats(_) => &[],
        }
    }

    /// The pixels of one image, row-major `[channels, height, width]`; `None` if `sample` is not below
    /// [`len`](Self::len), or pixels are no bytes.
    pub fn image(&self, sample: usize) -> Option<&[u8]> {
        self.pixels().chunks_exact(self.shape.values()).nth(sample)
    }

    /// All pixels, bytes divided by the maximum value, which makes them in [0, 1]: row-major
    /// `[n, channels, height, width]`.
    pub fn pixels_f32(&self) -> Vec<f32> {
        self.pixels.to_f32()
    }

    /// The same of some images alone.
    pub(crate) fn select_f32(&self, samples: &[usize]) -> Vec<f32> {
        self.pixels.select_f32(samples, self.shape.values())
    }

    /// What identifies the content: equal exactly when shape, maximum value, class count, pixels, labels and, of
    /// maps, what is ignored are.
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
        hash.update(if self.labelled.is_some() {
            &b"softlabel.maps/1"[..]
        } else {
            b"softlabel.dataset/1"
        });
        let ImageShape { channels, height, width } = self.shape;
        for number in
            [self.len(), channels, height, width, usize::from(self.max_value()), self.classes()]
        {
            hash.update((number as u64).to_le_bytes());
        }
        match &self.pixels {
            Pixels::Bytes { values, .. } => hash.update(values),
            Pixels::Floats(values) => {
                for pixel in values {
                    hash.update(pixel.to_le_bytes());
                }
            }
        }
        if let Some(labelled) = &self.labelled {
            for image in 0..labelled.images() {
                hash.update((labelled.rows(image).len() as u64).to_le_bytes());
                for pixel in labelled.pixels(image) {
                    hash.update(pixel.to_le_bytes());
                }
            }
        }
        for label in self.labels.as_slice() {
            hash.update(label.to_le_bytes());
        }
        Fingerprint(hash.finalize().into())
    }
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
