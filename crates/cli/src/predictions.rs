//! Files of predictions, as the commands read them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use softlabel_core::{Labels, Logits, Probabilities, Scalar};
use softlabel_data::predictions::{Checked, PredictionFile, ScoreBlock, Scores, Targets};
use softlabel_metrics::Predictions;
use softlabel_posthoc::{AnyCalibrator, Calibrator};
use softlabel_results::RunFolder;

use crate::arguments::{Reading, ScoreKind};

/// The scores of a file, as the options say; no element was read yet.
pub(crate) fn scores<'a>(file: &'a PredictionFile, reading: &Reading) -> Result<Scores<'a>> {
    let path = file.path().display();
    if file.has_top_labels() && reading.scores_key.is_none() {
        bail!(
            "{path}: expected scores of all classes, found the confidence of the top class alone \
             (true_label, pred_label, confidence), which `softlabel evaluate` can judge"
        );
    }
    let kind = reading.scores.ok_or_else(|| {
        anyhow!("what are the scores in {path}? say --scores logits, log-probs or probs")
    })?;
    let (scores_key, labels_key) = (reading.scores_key.as_deref(), reading.labels_key.as_deref());
    // The name of labels in another file says nothing of this one.
    let labels_key = labels_key.filter(|_| reading.labels.is_none());
    let scores = file.scores(kind.into(), scores_key, labels_key)?;
    let scores = if reading.renormalize { scores.renormalized() } else { scores };
    match reading.clip {
        None => Ok(scores),
        Some(_) if kind == ScoreKind::Logits => {
            bail!("--clip goes with --scores probs or log-probs: logits have no least value")
        }
        Some(least) => Ok(scores.clipped(least)?),
    }
}

/// The labels of the rows of `scores`: from a file of their own, or from the same.
pub(crate) fn targets(
    file: &PredictionFile,
    scores: &Scores<'_>,
    reading: &Reading,
) -> Result<Targets> {
    let found = labels_beside(file, scores, reading)?;
    found.ok_or_else(|| {
        let path = file.path().display();
        anyhow!("no labels in {path}; name an array with --labels-key or a file with --labels")
    })
}

/// The same, if there are any.
pub(crate) fn labels_beside(
    file: &PredictionFile,
    scores: &Scores<'_>,
    reading: &Reading,
) -> Result<Option<Targets>> {
    let (key, renormalize) = (reading.labels_key.as_deref(), reading.renormalize);
    let (path, targets) = match &reading.labels {
        Some(path) => {
            let labels = PredictionFile::open(path)?;
            (path.as_path(), Some(labels.only_labels(key, scores.classes(), renormalize)?))
        }
        None => (file.path(), file.labels(key, scores.classes(), renormalize)?),
    };
    if let Some(targets) = &targets
        && targets.rows() != scores.rows()
    {
        bail!(
            "{}: expected {} labels, one for each row of the scores in {}, found {}",
            path.display(),
            scores.rows(),
            file.path().display(),
            targets.rows()
        );
    }
    Ok(targets)
}

/// The labels as classes; of a distribution its first largest class.
pub(crate) fn classes_of(targets: &Targets) -> Result<Labels> {
    match targets {
        Targets::Classes(labels) => Ok(labels.clone()),
        Targets::Distributions(rows) => {
            let top = |row: &[f64]| {
                let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                row.iter().position(|&value| value == largest).unwrap_or_default() as u64
            };
            let classes: Vec<u64> = rows.matrix().iter().map(top).collect();
            Ok(Labels::new(&classes, rows.classes())?)
        }
    }
}

/// A block of scores, whatever they are.
pub(crate) fn as_predictions(block: &ScoreBlock) -> &dyn Predictions {
    fn of<T: Scalar>(block: &Checked<T>) -> &dyn Predictions
    where
        Logits<'static, T>: Predictions,
    {
        match block {
            Checked::Logits(rows) => rows,
            Checked::LogProbabilities(rows) => rows,
            Checked::Probabilities(rows) => rows,
        }
    }
    match block {
        ScoreBlock::Single(block) => of(block),
        ScoreBlock::Double(block) => of(block),
    }
}

/// A block of scores as logits: log-probabilities are such, probabilities have them as their logarithms.
pub(crate) fn as_logits(block: &ScoreBlock) -> Result<Logits<'static, f64>> {
    fn of<T: Scalar>(block: &Checked<T>) -> (Vec<f64>, usize) {
        let (values, classes, logarithm) = match block {
            Checked::Logits(rows) => (rows.as_slice(), rows.classes(), false),
            Checked::LogProbabilities(rows) => (rows.as_slice(), rows.classes(), false),
            Checked::Probabilities(rows) => (rows.as_slice(), rows.classes(), true),
        };
        let logit = |&value: &T| if logarithm { value.into().ln() } else { value.into() };
        (values.iter().map(logit).collect(), classes)
    }
    let (values, classes) = match block {
        ScoreBlock::Single(block) => of(block),
        ScoreBlock::Double(block) => of(block),
    };
    Ok(Logits::new(values, classes)?)
}

/// Some rows of logits.
pub(crate) fn select(logits: &Logits<'_, f64>, rows: &[usize]) -> Result<Logits<'static, f64>> {
    let classes = logits.classes();
    let all: Vec<&[f64]> = logits.matrix().iter().collect();
    let chosen = rows.iter().filter_map(|&row| all.get(row)).flat_map(|row| row.iter().copied());
    Ok(Logits::new(chosen.collect::<Vec<_>>(), classes)?)
}

/// Some rows of labels.
pub(crate) fn select_targets(targets: &Targets, rows: &[usize]) -> Result<Targets> {
    Ok(match targets {
        Targets::Classes(labels) => Targets::Classes(labels.select(rows)?),
        Targets::Distributions(all) => {
            let classes = all.classes();
            let every: Vec<&[f64]> = all.matrix().iter().collect();
            let chosen = rows.iter().filter_map(|&row| every.get(row));
            let values: Vec<f64> = chosen.flat_map(|row| row.iter().copied()).collect();
            Targets::Distributions(Probabilities::new(values, classes)?)
        }
    })
}

/// Reads a calibrator, which must be for as many classes as the scores have.
pub(crate) fn read_calibrator(path: &Path, scores: &Scores<'_>) -> Result<AnyCalibrator> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let map = AnyCalibrator::from_json(&text).with_context(|| format!("in {name}"))?;
    if map.classes() != scores.classes() {
        bail!(
            "{name}: the calibrator is for {} classes, but the scores have {}",
            map.classes(),
            scores.classes()
        );
    }
    Ok(map)
}

/// Makes the folder that a file is to be in, if it is not there.
pub(crate) fn make_folder_of(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
        }
        None => Ok(()),
    }
}

pub(crate) fn check_is_no_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        bail!("{}: expected the name of a file, found a folder", path.display());
    }
    Ok(())
}

/// Writes beside and renames, so that a file is there whole or not at all.
pub(crate) fn write_file(path: &Path, contents: &[u8]) -> Result<()> {
    check_is_no_folder(path)?;
    // The parent of a bare file name is "", which is the working folder.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let path = if folder.is_some() { path.to_owned() } else { Path::new(".").join(path) };
    Ok(RunFolder::open(folder.unwrap_or(Path::new("."))).write(&path, contents)?)
}
