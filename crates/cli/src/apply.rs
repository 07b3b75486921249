//! `softlabel apply`.

use anyhow::Result;
use softlabel_data::predictions::{PredictionFile, PredictionWriter, WrittenScores};
use softlabel_posthoc::Calibrator;

use crate::Verdict;
use crate::arguments::{Apply, WrittenKind};
use crate::predictions::{as_logits, labels_beside, make_folder_of, read_calibrator, scores};

/// Writes what a calibrator makes of scores, a block of rows at a time.
pub(crate) fn apply(options: &Apply) -> Result<Verdict> {
    let file = PredictionFile::open(&options.predictions)?;
    let scores = scores(&file, &options.reading)?;
    let map = read_calibrator(&options.calibrator, &scores)?;
    let labels = labels_beside(&file, &scores, &options.reading)?;
    let written = WrittenScores {
        name: match options.write {
            WrittenKind::Probs => "probs",
            WrittenKind::LogProbs => "log_probs",
        }
        .to_owned(),
        rows: scores.rows(),
        classes: scores.classes(),
        double: scores.is_double(),
    };
    let labels = labels.as_ref().map(|labels| ("labels", labels));
    make_folder_of(&options.out)?;
    let mut writer = PredictionWriter::new(&options.out, written, labels)?;
    scores.for_each_block(|_, block| -> Result<()> {
        let calibrated = map.apply(&as_logits(&block)?)?;
        match options.write {
            WrittenKind::LogProbs => writer.write(calibrated.as_slice())?,
            WrittenKind::Probs => {
                let probs: Vec<f64> =
                    calibrated.as_slice().iter().map(|value| value.exp()).collect();
                writer.write(&probs)?;
            }
        }
        Ok(())
    })?;
    writer.finish()?;
    Ok(Verdict::Done)
}
