//! What a run leaves behind: the [`RunFolder`] and the schema of the files in it.
//!
//! ```text
//! runs/digits-1/
//!   recipe.toml          the recipe as it was run, overrides applied
//!   run.json             provenance: overrides as typed, seeds, versions, device, timings   (Provenance)
//!   metrics.jsonl        one line an epoch, a calibration fit, an evaluation
//!   summary.json         every number of the table; same seed, same bytes                   (Summary)
//!   report.html          the same for a browser
//!   predictions/ARM/seed-S/{train,validation,test}.safetensors
//!   calibrators/ARM/seed-S/METHOD.json
//!   calibrators/ARM/seed-S/teacher-N/METHOD.json    of a teacher that is no arm of the run
//! ```
//!
//! `train` writes these files and `report` draws them; neither knows of the other.
//! Every file is written beside its place and renamed, so a killed program leaves no half file.

mod arm;
mod error;
mod folder;
mod number;
mod provenance;
mod summary;

pub use arm::{Arm, Errors, Lesson, Range, Taught};
pub use error::{Error, Result};
pub use folder::{Existing, RunFolder};
pub use provenance::{Provenance, RunState, Timing};
pub use summary::{
    Calibration, Check, Comparison, DatasetSummary, DegenerateFit, Difference, Metric, MetricTable,
    Row, SplitSizes, Statistic, Summary,
};
