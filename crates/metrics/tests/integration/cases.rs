//! Small sets of predictions, for properties.

use proptest::prelude::*;
use softlabel_core::{Labels, Logits};
use softlabel_metrics::{Accumulator, ConfidenceScore, Predictions, Scores, evaluate};

/// Logits, labels and the class count of a small set of predictions.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) classes: usize,
    pub(crate) logits: Vec<f64>,
    pub(crate) labels: Vec<usize>,
}

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    (2..6usize, 1..40usize).prop_flat_map(|(classes, rows)| {
        let logits = prop::collection::vec(-6.0..6.0f64, rows * classes);
        let labels = prop::collection::vec(0..classes, rows);
        (logits, labels).prop_map(move |(logits, labels)| Case { classes, logits, labels })
    })
}

/// Cases with whole logits, many of whose rows are equally sure.
pub(crate) fn tied_cases() -> impl Strategy<Value = Case> {
    cases().prop_map(|mut case| {
        case.logits.iter_mut().for_each(|z| *z = (*z / 3.0).round());
        case
    })
}

/// Cases with and without ties, each with its rows in another order.
pub(crate) fn shuffled_cases() -> impl Strategy<Value = (Case, Case)> {
    let cases = prop_oneof![cases(), tied_cases()];
    let with_order = cases.prop_flat_map(|case| {
        let order: Vec<usize> = (0..case.labels.len()).collect();
        (Just(case), Just(order).prop_shuffle())
    });
    with_order.prop_map(|(case, order)| (case.select(&order), case))
}

impl Case {
    pub(crate) fn logits(&self) -> Logits<'_, f64> {
        Logits::new(&self.logits, self.classes).unwrap()
    }

    pub(crate) fn labels(&self) -> Labels {
        Labels::new(&self.labels, self.classes).unwrap()
    }

    /// exp(z) / Σ exp(z), row by row.
    pub(crate) fn softmax(&self) -> Vec<Vec<f64>> {
        let softmax = |row: &[f64]| {
            let total: f64 = row.iter().map(|z| z.exp()).sum();
            row.iter().map(|z| z.exp() / total).collect()
        };
        self.logits.chunks(self.classes).map(softmax).collect()
    }

    /// The rows at `positions`.
    pub(crate) fn select(&self, positions: &[usize]) -> Self {
        let row = |&i: &usize| &self.logits[i * self.classes..(i + 1) * self.classes];
        Self {
            classes: self.classes,
            logits: positions.iter().flat_map(row).copied().collect(),
            labels: positions.iter().map(|&i| self.labels[i]).collect(),
        }
    }
    pub(crate) fn scores(&self, bins: usize) -> Scores {
        evaluate(&self.logits(), &self.labels(), bins).unwrap()
    }

    /// What `accumulator` holds once it has seen all rows.
    pub(crate) fn seen_by<A: Accumulator>(&self, mut accumulator: A) -> A {
        accumulator.update(&self.logits(), &self.labels()).unwrap();
        accumulator
    }

    /// Every row's score, and whether it is right.
    pub(crate) fn ranked(&self, score: ConfidenceScore) -> Vec<(f64, bool)> {
        let (logits, labels) = (self.logits(), self.labels());
        // The statistics that accumulators see: ties are a matter of the last bit.
        let row = |(row, label)| {
            logits.statistics_and_probabilities(row, label, &mut Vec::new()).unwrap()
        };
        let rows = labels.iter().enumerate().map(row);
        rows.map(|row| (score.of(&row), row.is_correct())).collect()
    }
}
