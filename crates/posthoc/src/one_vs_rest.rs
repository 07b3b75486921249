//! Maps of single probabilities, one class against the rest, made distributions again.
//!
//! q_k = g_k(p_k) / Σ_j g_j(p_j), with p = softmax(z)
//!
//! z: logits `[rows, classes]`; g_k: a map of \[0, 1\] into \[0, 1\], fitted on "k" against "not k".
//! With two classes there is one map only, that of class 1, and q_0 = 1 − q_1: the fit of class 0
//! would be its mirror image.
//!
//! - A class that cannot be (z = −∞) stays so and adds nothing; rows in which a class cannot be, or
//!   no other can, are left out of its fit.
//! - If all g of a row are 0 every class that can be is equally likely.
//!
//! Numerical notes: in `f64`.
//! Maps that are constant somewhere take the value 0 there if nothing but other classes was seen;
//! [`Zeros`] says what becomes of that.
//!
//! Source: B. Zadrozny and C. Elkan, "Transforming Classifier Scores into Accurate Multiclass
//! Probability Estimates" (2002).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Labels, Logits, Scalar};
use softlabel_kernels::{
    CompensatedSum, log_odds_in_place, log_softmax_in_place, softmax_in_place,
};

use crate::calibrator::{map_rows, rows_and_labels};
use crate::platt::overall_outcome;
use crate::sigmoid::Sigmoid;
use crate::{ClassFit, FitDiagnostics, Result, Targets};

/// What becomes of probabilities 0 and 1 that a map of single classes gives.
///
/// Where a map saw nothing but other classes it says 0, and if such a class comes up after all the
/// negative log-likelihood is infinite.
///
/// ```
/// use softlabel_posthoc::Zeros;
/// assert_eq!(Zeros::default(), Zeros::Clip(1e-6));
/// assert_eq!(serde_json::to_string(&Zeros::Keep).unwrap(), r#""keep""#);
/// assert_eq!(serde_json::to_string(&Zeros::Clip(0.001)).unwrap(), r#"{"clip":0.001}"#);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zeros {
    /// They stay: 0 is what the rows of the fit say, and −∞ its logarithm.
    Keep,
    /// What a map gives is brought into \[ε, 1 − ε\] before the row is normalized; ε lies in (0,
    /// 1/2).
    Clip(f64),
}

impl Default for Zeros {
    /// Clipped to \[1e-6, 1 − 1e-6\].
    fn default() -> Self {
        Self::Clip(1e-6)
    }
}

impl Zeros {
    /// The same, if ε is in its range.
    pub(crate) fn checked(self) -> Result<Self> {
        match self {
            Self::Clip(found) if !(found > 0.0 && found < 0.5) => {
                Err(Input::OutOfRange { name: "epsilon", expected: "in (0, 0.5)", found }.into())
            }
            valid => Ok(valid),
        }
    }

    fn apply(self, probability: f64) -> f64 {
        match self {
            Self::Keep => probability,
            Self::Clip(epsilon) => probability.clamp(epsilon, 1.0 - epsilon),
        }
    }
}

/// How many maps `classes` classes have.
pub(crate) fn map_count(classes: usize) -> usize {
    if classes == 2 { 1 } else { classes }
}

/// The class that the map with this index is about.
pub(crate) fn class_of(map: usize, classes: usize) -> usize {
    if classes == 2 { 1 } else { map }
}

/// A score of a class in a row, and how much of the row is of the class and how much is not.
///
/// Maps whose fit knows no weights take pairs of a score and whether the row is of the class.
pub(crate) trait Scored {
    fn score(&self) -> f64;

    /// w·t_k.
    fn positive(&self) -> f64;

    /// w·(1 − t_k).
    fn negative(&self) -> f64;
}

/// A score with its masses: that of its row on the class, and the rest of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Score {
    value: f64,
    positive: f64,
    negative: f64,
}

impl Score {
    /// A score of a class in a row, with the masses of its target.
    pub(crate) fn of(value: f64, targets: &Targets<'_>, row: usize, class: usize) -> Self {
        let (weight, share) = (targets.weight(row), targets.row(row).share(class));
        Self { value, positive: weight * share, negative: weight * (1.0 - share) }
    }

    /// Another score of the same masses.
    pub(crate) fn with_value(self, value: f64) -> Self {
        Self { value, ..self }
    }
}

impl Scored for Score {
    fn score(&self) -> f64 {
        self.value
    }

    fn positive(&self) -> f64 {
        self.positive
    }

    fn negative(&self) -> f64 {
        self.negative
    }
}

impl Scored for (f64, bool) {
    fn score(&self) -> f64 {
        self.0
    }

    fn positive(&self) -> f64 {
        f64::from(u8::from(self.1))
    }

    fn negative(&self) -> f64 {
        f64::from(u8::from(!self.1))
    }
}

/// How many rows have something of a class, and how many something else, and the masses of both.
pub(crate) struct Sides {
    pub(crate) positives: usize,
    pub(crate) negatives: usize,
    pub(crate) positive: f64,
    pub(crate) negative: f64,
}

impl Sides {
    pub(crate) fn of(scores: &[impl Scored]) -> Self {
        let [mut positive, mut negative] = [CompensatedSum::default(); 2];
        let (mut positives, mut negatives) = (0, 0);
        for score in scores {
            let (yes, no) = (score.positive(), score.negative());
            positives += usize::from(yes > 0.0);
            negatives += usize::from(no > 0.0);
            positive.add(yes);
            negative.add(no);
        }
        Self { positives, negatives, positive: positive.value(), negative: negative.value() }
    }
}

/// For every map the scores of its class with their masses; `score` makes the scores of a row from its
/// logits.
pub(crate) fn masses<T: Scalar>(
    logits: &Logits<'_, T>,
    targets: &Targets<'_>,
    score: impl Fn(&mut [f64]) + Sync,
) -> Result<Vec<Vec<Score>>> {
    let classes = logits.classes();
    let values = map_rows(logits, classes, score)?;
    let of_map = |map: usize| {
        let class = class_of(map, classes);
        let rows = logits.as_slice().chunks_exact(classes).zip(values.chunks_exact(classes));
        let scores = rows.enumerate().filter_map(|(row, (logits, values))| {
            let possible = |&&logit: &&T| logit.into() > f64::NEG_INFINITY;
            if !possible(&&logits[class]) || logits.iter().filter(possible).nth(1).is_none() {
                return None;
            }
            Some(Score::of(values[class], targets, row, class))
        });
        scores.collect()
    };
    Ok((0..map_count(classes)).into_par_iter().map(of_map).collect())
}

/// For every map the scores of its class, each with whether its row is of the class; `score` makes
/// the scores of a row from its logits.
pub(crate) fn scores<T: Scalar>(
    logits: &Logits<'_, T>,
    labels: &Labels,
    score: impl Fn(&mut [f64]) + Sync,
) -> Result<Vec<Vec<(f64, bool)>>> {
    let classes = logits.classes();
    let values = map_rows(logits, classes, score)?;
    let mut scores = vec![Vec::new(); map_count(classes)];
    for ((row, label), values) in rows_and_labels(logits, labels).zip(values.chunks_exact(classes))
    {
        let possible = |class: usize| row[class].into() > f64::NEG_INFINITY;
        if (0..classes).filter(|&class| possible(class)).count() < 2 {
            continue;
        }
        for (map, scores) in scores.iter_mut().enumerate() {
            let class = class_of(map, classes);
            if possible(class) {
                scores.push((values[class], label == class));
            }
        }
    }
    Ok(scores)
}

/// Replaces the logits of a row by the logarithms of calibrated probabilities; `calibrated` is g.
pub(crate) fn map_row(row: &mut [f64], zeros: Zeros, calibrated: impl Fn(usize, f64) -> f64) {
    let classes = row.len();
    let possible = row.iter().filter(|&&z| z > f64::NEG_INFINITY).count();
    if possible < 2 {
        log_softmax_in_place(row);
        return;
    }
    if classes == 2 {
        softmax_in_place(row);
        let second = zeros.apply(calibrated(0, row[1]));
        row.copy_from_slice(&[(-second).ln_1p(), second.ln()]);
        return;
    }
    let can_be: Vec<bool> = row.iter().map(|&z| z > f64::NEG_INFINITY).collect();
    softmax_in_place(row);
    for (class, value) in row.iter_mut().enumerate().filter(|&(class, _)| can_be[class]) {
        *value = zeros.apply(calibrated(class, *value));
    }
    let total: f64 = row.iter().zip(&can_be).filter(|&(_, can)| *can).map(|(value, _)| value).sum();
    for (value, can) in row.iter_mut().zip(can_be) {
        *value = match (can, total > 0.0) {
            (false, _) => f64::NEG_INFINITY,
            (true, true) => (*value / total).ln(),
            (true, false) => -(possible as f64).ln(),
        };
    }
}

/// Replaces the logits of a row by calibrated log-probabilities; `calibrated` makes log-odds of the
/// log-odds of a class.
pub(crate) fn map_log_odds(row: &mut [f64], calibrated: impl Fn(usize, f64) -> f64) {
    if row.iter().filter(|&&z| z > f64::NEG_INFINITY).count() < 2 {
        log_softmax_in_place(row);
        return;
    }
    let sigmoid = Sigmoid { slope: 1.0, intercept: 0.0 };
    log_odds_in_place(row);
    if let [first, second] = row {
        let log_odds = calibrated(0, *second);
        *first = sigmoid.log_probability(-log_odds);
        *second = sigmoid.log_probability(log_odds);
        return;
    }
    for (map, value) in row.iter_mut().enumerate().filter(|(_, f)| **f > f64::NEG_INFINITY) {
        *value = sigmoid.log_probability(calibrated(map, *value));
    }
    log_softmax_in_place(row);
}

/// How the fits of all maps went together; `after` are the calibrated log-probabilities.
pub(crate) fn diagnostics<'t, T: Scalar>(
    logits: &Logits<'_, T>,
    targets: impl Into<Targets<'t>>,
    after: &[f64],
    mut fits: Vec<ClassFit>,
) -> Result<FitDiagnostics> {
    let targets = targets.into();
    let before = map_rows(logits, logits.classes(), log_softmax_in_place)?;
    let iterations = fits.iter().map(|fit| fit.iterations).sum();
    if let (2, &[fit]) = (logits.classes(), fits.as_slice()) {
        let mirrored = ClassFit { positives: fit.negatives, negatives: fit.positives, ..fit };
        fits = vec![mirrored, fit];
    }
    Ok(FitDiagnostics {
        samples: logits.rows(),
        nll_before: targets.mean_loss(&before),
        nll_after: targets.mean_loss(after),
        objective: None,
        iterations,
        outcome: overall_outcome(&fits),
        classes: fits,
    })
}

/// Checks the number of maps of a document or of given parameters.
pub(crate) fn check_map_count(classes: usize, found: usize) -> Result<()> {
    if classes == 0 {
        return Err(Input::Empty { what: "the set of classes" }.into());
    }
    let expected = map_count(classes);
    if found != expected {
        let expected = format!("{expected} for {classes} classes");
        return Err(Input::mismatch("number of maps", expected, found.to_string()).into());
    }
    Ok(())
}
