//! The rows of the table, filled seed by seed.

use softlabel_core::Labels;
use softlabel_metrics::{Accumulator, Evaluation, Predictions, ReliabilityDiagram};
use softlabel_results::{Calibration, Check, Comparison, Metric, MetricTable, Row, Statistic};

use crate::Result;
use crate::recipe::{Demand, Recipe};

/// The rows of a run, in the order of the recipe.
#[derive(Debug)]
pub(crate) struct Table {
    bins: usize,
    rows: Vec<Unfinished>,
}

/// A row with the seeds so far.
#[derive(Debug)]
struct Unfinished {
    arm: String,
    calibration: Calibration,
    /// One entry a seed, each with [`Metric::ALL`] in order.
    values: Vec<Vec<(Metric, f64)>>,
    pooled: Evaluation,
}

impl Table {
    pub(crate) fn new(bins: usize) -> Self {
        Self { bins, rows: Vec::new() }
    }

    /// Judges the test predictions of one seed; returns the metrics.
    pub(crate) fn add(
        &mut self,
        arm: &str,
        calibration: Calibration,
        predictions: &impl Predictions,
        labels: &Labels,
        temperature: Option<f64>,
    ) -> Result<Vec<(Metric, f64)>> {
        let mut evaluation = Evaluation::new(self.bins)?;
        evaluation.update(predictions, labels)?;
        let scores =
            evaluation.compute().ok_or(softlabel_core::Error::Empty { what: "the test split" })?;
        let values: Vec<(Metric, f64)> = Metric::ALL
            .into_iter()
            .filter_map(|metric| {
                let value = match metric {
                    Metric::Accuracy => Some(scores.accuracy),
                    Metric::Nll => Some(scores.nll),
                    Metric::Brier => Some(scores.brier),
                    Metric::Ece => Some(scores.ece),
                    Metric::MeanConfidence => Some(scores.mean_confidence),
                    Metric::MeanLogitGap => scores.mean_logit_gap,
                    Metric::Temperature => temperature,
                };
                value.map(|value| (metric, value))
            })
            .collect();
        let known = |row: &&mut Unfinished| row.arm == arm && row.calibration == calibration;
        match self.rows.iter_mut().find(known) {
            Some(row) => {
                row.pooled.merge(&evaluation)?;
                row.values.push(values.clone());
            }
            None => self.rows.push(Unfinished {
                arm: arm.to_owned(),
                calibration,
                values: vec![values.clone()],
                pooled: evaluation,
            }),
        }
        Ok(values)
    }

    /// The finished rows.
    pub(crate) fn finish(self) -> Vec<Row> {
        self.rows.into_iter().map(Unfinished::finish).collect()
    }
}

impl Unfinished {
    fn finish(self) -> Row {
        let of = |wanted: Metric| {
            let values = self.values.iter().flatten();
            let of_metric = values.filter(|(metric, _)| *metric == wanted).map(|&(_, value)| value);
            Statistic::of(of_metric.collect())
        };
        let temperature = Some(of(Metric::Temperature)).filter(|t| !t.values.is_empty());
        let none = || ReliabilityDiagram { samples: 0, bins: Vec::new() };
        Row {
            metrics: MetricTable {
                accuracy: of(Metric::Accuracy),
                nll: of(Metric::Nll),
                brier: of(Metric::Brier),
                ece: of(Metric::Ece),
                mean_confidence: of(Metric::MeanConfidence),
                mean_logit_gap: of(Metric::MeanLogitGap),
                temperature,
            },
            reliability: self.pooled.compute().map_or_else(none, |scores| scores.diagram),
            arm: self.arm,
            calibration: self.calibration,
        }
    }
}

/// What changed: every calibrated row against its own raw one; every arm that names a baseline against it, raw and
/// under each calibration that both have; and the raw arm against the calibrated baseline, since doing without a
/// second technique is a choice too.
pub(crate) fn comparisons(recipe: &Recipe, rows: &[Row]) -> Vec<Comparison> {
    let row = |arm: &str, calibration| {
        rows.iter().find(|row| row.arm == arm && row.calibration == calibration)
    };
    let mut comparisons = Vec::new();
    let mut compare = |baseline: Option<&Row>, candidate: Option<&Row>| {
        if let (Some(baseline), Some(candidate)) = (baseline, candidate) {
            comparisons.push(Comparison::of(baseline, candidate));
        }
    };
    for (name, arm) in &recipe.arms {
        let raw = row(name, Calibration::None);
        if let Some(baseline) = &arm.compare_with {
            compare(row(baseline, Calibration::None), raw);
        }
        for &calibration in &arm.calibrate {
            compare(raw, row(name, calibration));
        }
        if let Some(baseline) = &arm.compare_with {
            let calibrated = row(baseline, Calibration::Temperature);
            compare(calibrated, raw);
            compare(calibrated, row(name, Calibration::Temperature));
        }
    }
    comparisons
}

/// Holds the demands of the recipe against the rows.
pub(crate) fn checks(demands: &[Demand], rows: &[Row]) -> Vec<Check> {
    let judge = |demand: &Demand| {
        let row = rows
            .iter()
            .find(|row| row.arm == demand.arm && row.calibration == demand.calibration)?;
        let found = row.metrics.get(demand.metric)?.mean;
        let (at_least, at_most) = (demand.at_least, demand.at_most);
        let passed =
            at_least.is_none_or(|least| found >= least) && at_most.is_none_or(|most| found <= most);
        Some(Check { row: row.title(), metric: demand.metric, at_least, at_most, found, passed })
    };
    demands.iter().filter_map(judge).collect()
}
