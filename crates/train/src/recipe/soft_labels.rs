//! Soft labels of the training samples, as data: the keys under `arms.NAME.loss.soft_labels`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use softlabel_core::Error as ValueError;
use softlabel_data::predictions::PredictionFile;
use softlabel_targets::{Concentration, SoftLabels};

use crate::Result;

/// A file with a row a sample of the data set, in the order of the data set: votes of annotators, or distributions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SoftLabelFile {
    /// `.npy`, `.npz`, `.safetensors` or `.csv`.
    pub(crate) file: PathBuf,
    /// The name of the array in the file, if it holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Votes that every class starts with.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) concentration: Concentration,
    /// What was in it when it was read for the first time, so that all trainings see the same.
    #[serde(skip)]
    rows: OnceLock<Arc<SoftLabels>>,
}

fn is_none(concentration: &Concentration) -> bool {
    *concentration == Concentration::NONE
}

impl SoftLabelFile {
    /// The distributions of so many samples: shares of the votes, with what every class starts with.
    pub(crate) fn read(&self, samples: usize, classes: usize) -> Result<Arc<SoftLabels>> {
        if let Some(rows) = self.rows.get() {
            return Ok(Arc::clone(rows));
        }
        let rows = PredictionFile::open(&self.file)?.only_rows(self.key.as_deref(), classes)?;
        let labels = SoftLabels::from_counts(&rows, classes, &self.concentration)?;
        if labels.len() == samples {
            return Ok(Arc::clone(self.rows.get_or_init(|| Arc::new(labels))));
        }
        let expected = format!("{samples}, one a sample of the data set");
        let found = labels.len().to_string();
        Err(ValueError::mismatch("rows of soft labels", expected, found).into())
    }
}
