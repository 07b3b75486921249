//! The metrics of a file of predictions, and the JSON object they are printed as.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use softlabel_core::{Labels, Logits, Probabilities};
use softlabel_data::predictions::{PredictionFile, Scores, Targets};
use softlabel_metrics::{
    Bootstrap, ClasswiseCalibration, Forecasts, FullEvaluation, FullScores, Interval, Predictions,
    RESAMPLED_METRICS, RowScores, SoftLabelEvaluation, SoftLabelScores, evaluate_forecasts,
};
use softlabel_posthoc::{AnyCalibrator, Calibrator};

use crate::arguments::Reading;
use crate::predictions::{as_logits, as_predictions, classes_of};

/// What predictions come to under their labels.
#[derive(Debug)]
pub(crate) struct Evaluation {
    pub(crate) scores: FullScores,
    /// What every row came to.
    pub(crate) rows: RowScores,
    /// Against labels that are distributions.
    pub(crate) soft: Option<SoftLabelScores>,
    /// Calibration by class, if the probabilities of all classes are known.
    pub(crate) classwise: Option<ClasswiseCalibration>,
    pub(crate) intervals: BTreeMap<String, Interval>,
    /// Whether there are to be intervals.
    resampled: bool,
}

impl Evaluation {
    /// Of all rows of a file, a block at a time; as they are, or as a calibrator maps them.
    pub(crate) fn of_scores(
        scores: &Scores<'_>,
        targets: &Targets,
        calibrator: Option<&AnyCalibrator>,
        bins: usize,
    ) -> Result<Self> {
        let labels = classes_of(targets)?;
        let mut evaluation = FullEvaluation::new(scores.classes(), bins)?;
        let mut soft = SoftLabelEvaluation::default();
        scores.for_each_block(|first, block| -> Result<()> {
            let mapped = match calibrator {
                Some(map) => Some(map.apply(&as_logits(&block)?)?),
                None => None,
            };
            let predictions = match &mapped {
                Some(mapped) => mapped,
                None => as_predictions(&block),
            };
            let rows = first..first + predictions.rows();
            let of_rows = labels.as_slice().get(rows.clone()).unwrap_or_default();
            evaluation.update(predictions, &Labels::new(of_rows, labels.classes())?)?;
            if let Targets::Distributions(all) = targets {
                let classes = all.classes();
                let values = rows.start * classes..rows.end * classes;
                let values = all.as_slice().get(values).unwrap_or_default();
                soft.update(predictions, &Probabilities::new(values, classes)?)?;
            }
            Ok(())
        })?;
        Self::of(&evaluation, soft.compute())
    }

    /// Of rows in memory.
    pub(crate) fn of_logits(
        logits: &Logits<'_, f64>,
        targets: &Targets,
        calibrator: Option<&AnyCalibrator>,
        bins: usize,
    ) -> Result<Self> {
        let mut evaluation = FullEvaluation::new(logits.classes(), bins)?;
        let mut soft = SoftLabelEvaluation::default();
        let mapped = calibrator.map(|map| map.apply(logits)).transpose()?;
        let predictions: &dyn Predictions = match &mapped {
            Some(mapped) => mapped,
            None => logits,
        };
        evaluation.update(predictions, &classes_of(targets)?)?;
        if let Targets::Distributions(rows) = targets {
            soft.update(predictions, rows)?;
        }
        Self::of(&evaluation, soft.compute())
    }

    /// Of the confidences of the top classes alone.
    pub(crate) fn of_top_labels(
        file: &PredictionFile,
        reading: &Reading,
        bins: usize,
    ) -> Result<Self> {
        if let Some(option) = reading.beside_confidences() {
            bail!(
                "{option} does not go with {}, which has true_label, pred_label and confidence, a probability",
                file.path().display()
            );
        }
        let top = file.top_labels()?;
        let right: Vec<bool> = top.labels.iter().zip(&top.predicted).map(|(a, b)| a == b).collect();
        let forecasts = Forecasts::new(&top.confidences, &right)?;
        let scores = evaluate_forecasts(&forecasts, bins)?;
        let (rows, soft, intervals) = (RowScores::from(forecasts), None, BTreeMap::new());
        Ok(Self { scores, rows, soft, classwise: None, intervals, resampled: false })
    }

    fn of(evaluation: &FullEvaluation, soft: Option<SoftLabelScores>) -> Result<Self> {
        let none = softlabel_core::Error::Empty { what: "the set of rows" };
        let scores = evaluation.compute().ok_or(none)?;
        let (rows, classwise) = (evaluation.rows().clone(), Some(evaluation.classwise().clone()));
        let intervals = BTreeMap::new();
        Ok(Self { scores, rows, soft, classwise, intervals, resampled: false })
    }

    /// The same with intervals.
    pub(crate) fn with_intervals(mut self, bootstrap: &Bootstrap) -> Result<Self> {
        self.intervals = self.rows.intervals(self.scores.diagram.bins.len(), bootstrap)?;
        // Of confidences alone nothing is known that needs the other classes.
        let known = |name: &str| self.scores.metric(name).is_none_or(|metric| metric.is_ok());
        self.intervals.retain(|name, _| known(name));
        self.resampled = true;
        Ok(self)
    }

    fn entries<S: SerializeMap>(&self, map: &mut S) -> Result<(), S::Error> {
        let scores = &self.scores;
        map.serialize_entry("samples", &scores.samples)?;
        map.serialize_entry("classes", &scores.classes)?;
        let mut undefined = BTreeMap::new();
        for (name, metric) in scores.metrics() {
            let value = metric.ok().filter(|value| value.is_finite());
            map.serialize_entry(name, &value)?;
            match metric {
                Err(reason) => _ = undefined.insert(name, reason.to_string()),
                Ok(number) if value.is_none() => _ = undefined.insert(name, infinite(number)),
                Ok(_) => {}
            }
        }
        map.serialize_entry("zero_probability_labels", &scores.zero_probability_labels)?;
        map.serialize_entry("soft_labels", &self.soft)?;
        map.serialize_entry("undefined", &undefined)?;
        let intervals = if self.resampled { all(&self.intervals) } else { BTreeMap::new() };
        map.serialize_entry("intervals", &intervals)?;
        map.serialize_entry("bins", &scores.diagram.bins)
    }
}

/// The intervals of all metrics that are resampled; none of what is undefined or infinite.
pub(crate) fn all(
    intervals: &BTreeMap<String, Interval>,
) -> BTreeMap<&'static str, Option<&Interval>> {
    RESAMPLED_METRICS.into_iter().map(|name| (name, intervals.get(name))).collect()
}

/// Why a number that JSON does not have is null.
fn infinite(number: f64) -> String {
    if number > 0.0 { "it is +inf" } else { "it is -inf" }.to_owned()
}

/// The metrics and no schema, for objects that hold several.
impl Serialize for Evaluation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

/// The object that `softlabel evaluate --json` prints.
#[derive(Debug)]
pub(crate) struct EvaluationOutput<'a>(pub(crate) &'a Evaluation);

impl Serialize for EvaluationOutput<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", "softlabel.evaluation/1")?;
        self.0.entries(&mut map)?;
        map.end()
    }
}
