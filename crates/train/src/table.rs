//! The rows of the table, and what is read from them.

use softlabel_core::Labels;
use softlabel_metrics::{Accumulator, Evaluation, Predictions};
use softlabel_results::{
    Calibration, Check, Comparison, DegenerateFit, Metric, MetricTable, Row, Statistic,
};

use crate::recipe::{Demand, Fit, Recipe};
use crate::{Error, Result};

/// One row's test predictions of one seed, judged.
#[derive(Debug)]
pub(crate) struct Score {
    pub(crate) arm: String,
    pub(crate) calibration: Calibration,
    pub(crate) metrics: Vec<(Metric, f64)>,
    degenerate_fit: Option<DegenerateFit>,
    evaluation: Evaluation,
}

impl Score {
    /// Judges predictions.
    pub(crate) fn new(
        arm: &str,
        calibration: Calibration,
        predictions: &impl Predictions,
        labels: &Labels,
        bins: usize,
        temperature: Option<f64>,
    ) -> Result<Self> {
        let mut evaluation = Evaluation::new(bins)?;
        evaluation.update(predictions, labels)?;
        let scores = evaluation.compute().ok_or(Error::EmptySplit { split: "test" })?;
        let value = |metric| match metric {
            Metric::Accuracy => Some(scores.accuracy),
            Metric::Nll => Some(scores.nll),
            Metric::Brier => Some(scores.brier),
            Metric::Ece => Some(scores.ece),
            Metric::MeanConfidence => Some(scores.mean_confidence),
            Metric::MeanLogitGap => scores.mean_logit_gap,
            Metric::Temperature => temperature,
        };
        let metrics = Metric::ALL.into_iter().filter_map(|metric| Some((metric, value(metric)?)));
        let (arm, metrics) = (arm.to_owned(), metrics.collect());
        Ok(Self { arm, calibration, metrics, degenerate_fit: None, evaluation })
    }

    /// The same, under a map that the data did not determine.
    pub(crate) fn with_degenerate_fit(mut self, fit: Option<DegenerateFit>) -> Self {
        self.degenerate_fit = fit;
        self
    }
}

/// The rows of the table, from the scores of each seed; every seed has the same rows in the same order.
pub(crate) fn rows(seeds: &[Vec<Score>]) -> Result<Vec<Row>> {
    let Some(first) = seeds.first() else { return Ok(Vec::new()) };
    let across =
        |index: usize| seeds.iter().filter_map(|scores| scores.get(index)).collect::<Vec<_>>();
    (0..first.len()).map(|index| row(&across(index))).collect()
}

fn row(scores: &[&Score]) -> Result<Row> {
    let [first, others @ ..] = scores else { return Err(Error::EmptySplit { split: "test" }) };
    let of = |wanted: Metric| {
        let values = scores.iter().flat_map(|score| &score.metrics);
        let of_metric = values.filter(|(metric, _)| *metric == wanted).map(|&(_, value)| value);
        Statistic::of(of_metric.collect())
    };
    let mut pooled = first.evaluation.clone();
    for score in others {
        pooled.merge(&score.evaluation)?;
    }
    let pooled = pooled.compute().ok_or(Error::EmptySplit { split: "test" })?;
    Ok(Row {
        arm: first.arm.clone(),
        calibration: first.calibration.clone(),
        metrics: MetricTable {
            accuracy: of(Metric::Accuracy),
            nll: of(Metric::Nll),
            brier: of(Metric::Brier),
            ece: of(Metric::Ece),
            mean_confidence: of(Metric::MeanConfidence),
            mean_logit_gap: of(Metric::MeanLogitGap),
            temperature: Some(of(Metric::Temperature)).filter(|t| !t.values.is_empty()),
        },
        degenerate_fits: scores.iter().filter_map(|score| score.degenerate_fit.clone()).collect(),
        reliability: pooled.diagram,
    })
}

/// What changed: every calibrated row against its own raw one; every arm that names a baseline against it, raw and
/// under each calibration of a name that both have; and the raw arm against the baseline at its temperature, since
/// doing without a second technique is a choice too.
pub(crate) fn comparisons(recipe: &Recipe, rows: &[Row]) -> Vec<Comparison> {
    let row = |arm: &str, calibration: &Calibration| {
        rows.iter().find(|row| row.arm == arm && row.calibration == *calibration)
    };
    let mut comparisons = Vec::new();
    let mut compare = |baseline: Option<&Row>, candidate: Option<&Row>| {
        if let (Some(baseline), Some(candidate)) = (baseline, candidate) {
            comparisons.push(Comparison::of(baseline, candidate));
        }
    };
    for (name, arm) in &recipe.arms {
        let raw = row(name, &Calibration::NONE);
        if let Some(baseline) = &arm.compare_with {
            compare(row(baseline, &Calibration::NONE), raw);
        }
        for fit in &arm.calibrate {
            compare(raw, row(name, &fit.calibration));
        }
        if let Some(baseline) = &arm.compare_with {
            compare(row(baseline, &Calibration::TEMPERATURE), raw);
            for Fit { calibration, .. } in &arm.calibrate {
                compare(row(baseline, calibration), row(name, calibration));
            }
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
