//! Labelled maps: images whose pixels each have a label, and sequences as maps of height 1.
//!
//! Two arrays: images `[n, channels, height, width]` or `[n, height, width]`, of bytes, which are divided by 255, or of
//! floating-point numbers, which are used as they are; labels `[n, height, width]`, integers.

use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;
use softlabel_core::Error as ValueError;

use crate::predictions::{ArrayInfo, ElementType, Numbers, PredictionFile};
use crate::{Dataset, Error, ImageShape, Pixels, Result, digits, seed};

/// Where images and the labels of their pixels lie, and what the labels mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapFiles {
    /// `.npy`, `.npz` or `.safetensors`: images.
    pub images: PathBuf,
    /// The name of the images in their file, if it holds several arrays.
    pub images_key: Option<String>,
    /// `.npy`, `.npz` or `.safetensors`: a label for each pixel.
    pub labels: PathBuf,
    /// The name of the labels in their file, if it holds several arrays.
    pub labels_key: Option<String>,
    /// K.
    pub classes: usize,
    /// The label of pixels that do not count.
    pub ignore: Option<i64>,
}

/// Reads labelled maps.
///
/// # Errors
/// - [`Error::Format`] and [`Error::Io`] for a file that is no such file, or not there.
/// - [`Error::InFile`] if it lacks the array, or that has another type or shape.
/// - What [`Dataset::maps`] finds wrong.
///
/// ```
/// use softlabel_data::{Error, MapFiles, read_maps};
///
/// let files = MapFiles {
///     images: "no/such/images.npy".into(),
///     images_key: None,
///     labels: "no/such/labels.npy".into(),
///     labels_key: None,
///     classes: 2,
///     ignore: None,
/// };
/// assert!(matches!(read_maps(&files), Err(Error::Io { .. })));
/// ```
pub fn read_maps(files: &MapFiles) -> Result<Dataset> {
    let (images, pixels) = array(&files.images, "images", files.images_key.as_deref())?;
    let of_images = |expected: &str| wrong(expected, &images, &files.images);
    let (samples, shape) = match images.shape[..] {
        [n, channels, height, width] => (n, ImageShape { channels, height, width }),
        [n, height, width] => (n, ImageShape { channels: 1, height, width }),
        _ => return Err(of_images("images [n, channels, height, width] or [n, height, width]")),
    };
    #[expect(clippy::cast_possible_truncation, reason = "images are single precision")]
    let pixels = match (images.element, pixels) {
        (ElementType::U8, Numbers::I64(values)) => Pixels::Bytes {
            values: values.into_iter().filter_map(|value| u8::try_from(value).ok()).collect(),
            maximum: u8::MAX,
        },
        (_, Numbers::F32(values)) => Pixels::Floats(values),
        (_, Numbers::F64(values)) => {
            Pixels::Floats(values.into_iter().map(|value| value as f32).collect())
        }
        _ => return Err(of_images("images of bytes (u8) or of floating-point numbers")),
    };
    let (map, labels) = array(&files.labels, "labels", files.labels_key.as_deref())?;
    let labels = match labels {
        Numbers::I64(labels) => labels,
        Numbers::U64(labels) => {
            labels.into_iter().map(|label| i64::try_from(label).unwrap_or(i64::MAX)).collect()
        }
        _ => return Err(wrong("labels of integers", &map, &files.labels)),
    };
    if map.shape != [samples, shape.height, shape.width] {
        let ImageShape { height, width, .. } = shape;
        let expected =
            format!("labels [{samples}, {height}, {width}], one for each pixel of the images");
        return Err(wrong(&expected, &map, &files.labels));
    }
    let maps = Dataset::maps("maps", shape, pixels, &labels, files.classes, files.ignore);
    maps.map_err(|error| {
        let path = if is_of_images(&error) { &files.images } else { &files.labels };
        error.in_file(path)
    })
}

/// Whether it is the images that are wrong, not the labels.
fn is_of_images(error: &Error) -> bool {
    matches!(
        error,
        Error::Pixel { .. }
            | Error::PixelNotFinite { .. }
            | Error::Values(ValueError::Empty { what: "the image shape" })
    )
}

fn array(path: &Path, what: &'static str, key: Option<&str>) -> Result<(ArrayInfo, Numbers)> {
    PredictionFile::open(path)?.only_array(what, key)
}

fn wrong(expected: &str, found: &ArrayInfo, path: &Path) -> Error {
    let (expected, found) = (expected.to_owned(), found.to_string());
    Error::Array { expected, found }.in_file(path)
}

/// How many digits a side of a map of digits has.
const DIGITS: usize = 2;
/// By how many pixels they overlap.
const OVERLAP: usize = 2;
/// From how much ink around it, of 9·16, a pixel belongs to its digit.
const INK: u32 = 36;

/// 449 maps that need no files, made of [`digits()`]: four digits, two by two, that overlap by two pixels, 14×14.
///
/// A pixel has the class of its digit if the 3×3 pixels around it have at least a quarter of the most ink, where two
/// digits overlap of the one with more of it; all others have class 10, the background. So regions are broader than the
/// strokes, their edges are in the grey, and classes meet where digits touch.
/// Every digit is in one map alone, in an order that is drawn once and for all.
///
/// # Errors
/// None in practice: what is embedded is checked like any other file.
///
/// ```
/// let maps = softlabel_data::digit_maps()?;
/// assert_eq!((maps.len(), maps.classes(), maps.shape().to_string()), (449, 11, "1×14×14".into()));
/// assert_eq!(maps.labels().len(), 449 * 14 * 14);
/// # Ok::<(), softlabel_data::Error>(())
/// ```
pub fn digit_maps() -> Result<Dataset> {
    let digits = digits()?;
    let ImageShape { height, width, .. } = digits.shape();
    let side = |size: usize| DIGITS * size - (DIGITS - 1) * OVERLAP;
    let shape = ImageShape { channels: 1, height: side(height), width: side(width) };
    let mut order: Vec<usize> = (0..digits.len()).collect();
    order.shuffle(&mut seed::stream(0, "digit maps"));
    let background = digits.classes() as i64;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for map in order.chunks_exact(DIGITS * DIGITS) {
        let mut ink = vec![0; shape.values()];
        let mut of_pixel = vec![(INK - 1, background); shape.values()];
        for (place, &digit) in map.iter().enumerate() {
            let (top, left) =
                (place / DIGITS * (height - OVERLAP), place % DIGITS * (width - OVERLAP));
            let label = digits.labels().as_slice().get(digit).map_or(background, |&l| l.into());
            let image = digits.image(digit).unwrap_or_default();
            let inked = |row: usize, column: usize| {
                let is_in = row < height && column < width;
                image.get(row * width + column).copied().filter(|_| is_in).unwrap_or_default()
            };
            for (row, column) in (0..height).flat_map(|row| (0..width).map(move |c| (row, c))) {
                let pixel = (top + row) * shape.width + left + column;
                ink[pixel] = inked(row, column).max(ink[pixel]);
                let near = |at: usize| at.saturating_sub(1)..at + 2;
                let around = near(row).flat_map(|row| near(column).map(move |c| (row, c)));
                let around = around.map(|(row, column)| u32::from(inked(row, column))).sum();
                if around > of_pixel[pixel].0 {
                    of_pixel[pixel] = (around, label);
                }
            }
        }
        pixels.extend(ink);
        labels.extend(of_pixel.into_iter().map(|(_, label)| label));
    }
    let pixels = Pixels::Bytes { values: pixels, maximum: digits.max_value() };
    Dataset::maps("digit_maps", shape, pixels, &labels, digits.classes() + 1, None)
}
