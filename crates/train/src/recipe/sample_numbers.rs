//! A number for each sample of the data set, as data: ε of single samples, their temperatures, their weights.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use softlabel_core::Error as ValueError;
use softlabel_data::predictions::PredictionFile;

use crate::Result;

/// A file with a number a sample of the data set, in the order of the data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SampleNumbers {
    /// `.npy`, `.npz`, `.safetensors` or `.csv`.
    pub(crate) file: PathBuf,
    /// The name of the array or column in the file, if it holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// What was in it when it was read for the first time, so that all trainings see the same.
    #[serde(skip)]
    numbers: OnceLock<Arc<[f64]>>,
}

impl SampleNumbers {
    /// The numbers of so many samples, each from `least` to `most`; `what` they are called in errors.
    pub(crate) fn read(
        &self,
        samples: usize,
        what: &'static str,
        (least, most, range): (f64, f64, &'static str),
    ) -> Result<Arc<[f64]>> {
        if let Some(numbers) = self.numbers.get() {
            return Ok(Arc::clone(numbers));
        }
        let numbers = PredictionFile::open(&self.file)?.only_rows(self.key.as_deref(), 1)?;
        if numbers.len() != samples {
            let expected = format!("{samples}, one a sample of the data set");
            return Err(ValueError::mismatch(what, expected, numbers.len().to_string()).into());
        }
        if let Some(row) = numbers.iter().position(|number| !(least..=most).contains(number)) {
            let expected = format!("numbers in {range}");
            let found = format!("{} for sample {row}", numbers[row]);
            return Err(ValueError::mismatch(what, expected, found).into());
        }
        Ok(Arc::clone(self.numbers.get_or_init(|| numbers.into())))
    }
}
