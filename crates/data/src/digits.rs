//! The handwritten digits that come with this crate, and other files of their format.
//!
//! Format: text, one image a line: 64 pixel counts from 0 to 16 (8×8, row by row) and the digit, separated by commas.
//!
//! Source: E. Alpaydın and C. Kaynak, *Optical Recognition of Handwritten Digits*, 1998,
//! UCI Machine Learning Repository, DOI 10.24432/C50P49. CC BY 4.0; `assets/README.md` says what is embedded.

use std::path::Path;

use softlabel_core::Labels;

use crate::file::{self, Content};
use crate::{Dataset, Error, ImageShape, Result};

const EMBEDDED: &[u8] = include_bytes!("../assets/digits.csv.gz");
const SHAPE: ImageShape = ImageShape { channels: 1, height: 8, width: 8 };
const MAX_VALUE: u8 = 16;
const CLASSES: usize = 10;
const HELP: &str = "the digits with 8×8 pixels come from the UCI Machine Learning Repository, \
     \"Optical Recognition of Handwritten Digits\", as optdigits.tra and optdigits.tes";

/// The 1,797 embedded digits: 8×8 pixels from 0 to 16, ten classes of 174 to 183 images.
///
/// # Errors
/// None in practice: what is embedded is checked like any other file.
///
/// ```
/// let digits = softlabel_data::digits()?;
/// assert_eq!((digits.len(), digits.classes(), digits.max_value()), (1797, 10, 16));
/// assert_eq!(digits.labels().counts(), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
/// # Ok::<(), softlabel_data::Error>(())
/// ```
pub fn digits() -> Result<Dataset> {
    let path = Path::new("digits.csv.gz (embedded)");
    let bytes = file::decompress(EMBEDDED.to_vec()).map_err(|error| error.in_file(path))?;
    Content { path: path.to_owned(), bytes }.parse(parse)
}

/// A file in the format of the UCI digits, plain or gzip: their training part (`optdigits.tra`), say.
///
/// # Errors
/// - [`Error::Missing`] if there is no such file, [`Error::Io`] if it cannot be read.
/// - [`Error::InFile`] with what is wrong in it: a line that is not 65 numbers from 0 to 255, a pixel above 16,
///   a label that is no digit, fewer images than digits, damaged gzip data.
///
/// ```
/// use softlabel_data::{Error, read_digits};
/// let error = read_digits("no/such/optdigits.tra".as_ref()).unwrap_err();
/// assert!(matches!(error, Error::Missing { .. }));
/// ```
pub fn read_digits(path: &Path) -> Result<Dataset> {
    let content = file::read(path.to_owned())?;
    let missing = || Error::Missing { what: "digits", tried: vec![path.to_owned()], help: HELP };
    content.ok_or_else(missing)?.parse(parse)
}

fn parse(text: &[u8]) -> Result<Dataset> {
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
    for row in reader.byte_records() {
        let row = row.map_err(|error| bad_line(error.position(), error.to_string()))?;
        let values = row.iter().map(parse_value).collect::<Result<Vec<u8>, _>>();
        match values.map_err(|found| bad_line(row.position(), found))?.split_last() {
            Some((&label, image)) if image.len() == SHAPE.values() => {
                pixels.extend_from_slice(image);
                labels.push(label);
            }
            _ => return Err(bad_line(row.position(), format!("{} values", row.len()))),
        }
    }
    Dataset::new("digits", SHAPE, MAX_VALUE, pixels, Labels::new(&labels, CLASSES)?)
}

/// A number from 0 to 255, or what stood in its place.
fn parse_value(field: &[u8]) -> Result<u8, String> {
    let text = String::from_utf8_lossy(field);
    text.trim().parse().map_err(|_| format!("`{text}`"))
}

fn bad_line(at: Option<&csv::Position>, found: String) -> Error {
    let line = at.map_or(0, csv::Position::line);
    let expected = format!("{} pixels and a label, numbers from 0 to 255", SHAPE.values());
    Error::Line { line, expected, found }
}
