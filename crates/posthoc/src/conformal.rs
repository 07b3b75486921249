//! Conformal prediction: sets of classes that contain the label with a probability that is promised.
//!
//! For a score s(x, k) that says how badly class k fits, n calibration rows with the scores s_i = s(x_i, y_i) of their
//! labels, and a promised coverage 1 − α, the set of a new row holds the classes whose score is at most
//!
//! q̂ = the ⌈(n + 1)(1 − α)⌉-th smallest s_i, ∞ if there are not that many.
//!
//! If calibration rows and new rows are exchangeable, the set contains the label with probability at least 1 − α,
//! however bad the classifier is, on average over draws of both; a classifier that is bad gets large sets.
//! Ties between scores only make sets larger.
//!
//! | score | s(x, k) | source |
//! |---|---|---|
//! | [`ConformalScore::Lac`] | 1 − p_k: the smallest sets on average; may be empty | Sadinle, Lei, Wasserman (2019) |
//! | [`ConformalScore::Aps`] | Σ of the probabilities before k in descending order, and u·p_k | Romano, Sesia, Candès (2020) |
//! | [`ConformalScore::Raps`] | that and λ·max(0, rank of k − k_reg), the first rank being 1 | Angelopoulos, Bates, Malik, Jordan (2021) |
//!
//! u is 1, or for randomized sets uniform on [0, 1): one number a row, drawn from a seed. Randomized sets have the
//! coverage that is promised and not more. Classes of one probability are ranked by their number.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Labels, Probabilities, Scalar};

use crate::Result;

/// How badly a class fits a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "score", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ConformalScore {
    /// What the class lacks of probability 1: least ambiguous sets.
    Lac,
    /// The probability of all that is likelier: adaptive prediction sets.
    Aps {
        /// Whether the class's own probability counts in part, by a draw.
        randomized: bool,
    },
    /// The same with a penalty on low ranks, which keeps sets small: regularized adaptive prediction sets.
    Raps {
        /// Whether the class's own probability counts in part, by a draw.
        randomized: bool,
        /// λ ≥ 0: what each rank beyond `free_ranks` costs.
        penalty: f64,
        /// k_reg: how many ranks cost nothing.
        free_ranks: usize,
    },
}

/// A fitted conformal predictor: thresholds on a score.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_posthoc::{ConformalPredictor, ConformalScore};
///
/// // Four calibration rows, whose labels have 0.9, 0.8, 0.6 and 0.5.
/// let rows = [0.9, 0.1, 0.8, 0.2, 0.4, 0.6, 0.5, 0.5];
/// let (rows, labels) = (Probabilities::new(&rows, 2)?, Labels::new(&[0, 0, 1, 0], 2)?);
/// let predictor = ConformalPredictor::fit(&rows, &labels, ConformalScore::Lac, 0.4, 0)?;
/// // ⌈5·0.6⌉ = 3: the third smallest of 0.1, 0.2, 0.4, 0.5.
/// assert!((predictor.thresholds()[0] - 0.4).abs() < 1e-15);
///
/// let sets = predictor.predict(&Probabilities::new(&[0.7, 0.3, 0.55, 0.45], 2)?, 0)?;
/// assert_eq!(sets.classes_of(0), [0]);
/// assert!(sets.classes_of(1).is_empty());
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct ConformalPredictor {
    score: ConformalScore,
    alpha: f64,
    classes: usize,
    /// One for all classes, or one a class; infinite where there were too few rows.
    thresholds: Vec<f64>,
}

/// As it is serialized; a threshold that is infinite is null.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    score: ConformalScore,
    alpha: f64,
    classes: usize,
    thresholds: Vec<Option<f64>>,
}

impl ConformalPredictor {
    /// One threshold for all classes, from the probabilities of rows that the classifier was not trained on.
    ///
    /// α in (0, 1) is the share of labels that may be missed. `seed` is of the draws of a randomized score.
    ///
    /// # Errors
    /// [`Input`](crate::Error::Input) if α or the penalty is out of range, there are no rows, or labels and rows do
    /// not belong together.
    pub fn fit<T: Scalar>(
        probabilities: &Probabilities<'_, T>,
        labels: &Labels,
        score: ConformalScore,
        alpha: f64,
        seed: u64,
    ) -> Result<Self> {
        let scores = label_scores(probabilities, labels, score, alpha, seed)?;
        let thresholds = vec![threshold(scores, alpha)];
        Ok(Self { score, alpha, classes: probabilities.classes(), thresholds })
    }

    /// One threshold a class, from the rows of that class alone (Mondrian; Vovk 2012): the coverage that is promised
    /// holds for every class, not only on average over them. A class with fewer than ⌈(1 − α)/α⌉ rows is in every set.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fit_class_conditional<T: Scalar>(
        probabilities: &Probabilities<'_, T>,
        labels: &Labels,
        score: ConformalScore,
        alpha: f64,
        seed: u64,
    ) -> Result<Self> {
        let scores = label_scores(probabilities, labels, score, alpha, seed)?;
        let mut by_class = vec![Vec::new(); probabilities.classes()];
        for (score, label) in scores.into_iter().zip(labels.iter()) {
            if let Some(of_class) = by_class.get_mut(label) {
                of_class.push(score);
            }
        }
        let thresholds = by_class.into_iter().map(|scores| threshold(scores, alpha)).collect();
        Ok(Self { score, alpha, classes: probabilities.classes(), thresholds })
    }

    /// The score.
    pub fn score(&self) -> ConformalScore {
        self.score
    }

    /// α.
    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    /// q̂: one for all classes, or one a class. Infinite where there were too few rows for the coverage.
    pub fn thresholds(&self) -> &[f64] {
        &self.thresholds
    }

    /// The set of every row. `seed` is of the draws of a randomized score, and another one than that of the fit.
    ///
    /// # Errors
    /// [`ClassCount`](crate::Error::ClassCount) if the rows have another number of classes.
    pub fn predict<T: Scalar>(
        &self,
        probabilities: &Probabilities<'_, T>,
        seed: u64,
    ) -> Result<PredictionSets> {
        let (expected, found) = (self.classes, probabilities.classes());
        if expected != found {
            return Err(crate::Error::ClassCount { expected, found });
        }
        let mut draws = Draws::new(self.score, seed);
        let (mut order, mut scores) = (Vec::new(), Vec::new());
        let (mut members, mut ends) = (Vec::new(), Vec::with_capacity(probabilities.rows()));
        for row in probabilities.matrix().iter() {
            scores_of(row, self.score, draws.next(), &mut order, &mut scores);
            let limit = |class: usize| match self.thresholds.as_slice() {
                [all] => *all,
                each => each.get(class).copied().unwrap_or(f64::INFINITY),
            };
            let fits = |class: &usize| scores[*class] <= limit(*class);
            members.extend((0..expected).filter(fits));
            ends.push(members.len());
        }
        Ok(PredictionSets { classes: expected, members, ends })
    }
}

/// One set of classes a row.
///
/// ```
/// use softlabel_core::{Labels, Probabilities};
/// use softlabel_posthoc::{ConformalPredictor, ConformalScore};
///
/// let rows = Probabilities::new([0.6, 0.4].repeat(9), 2)?;
/// let labels = Labels::new(&[0, 0, 0, 0, 0, 0, 1, 1, 1], 2)?;
/// let predictor = ConformalPredictor::fit(&rows, &labels, ConformalScore::Lac, 0.1, 0)?;
/// let sets = predictor.predict(&rows, 0)?;
/// assert_eq!((sets.coverage(&labels)?, sets.mean_size()), (1.0, 2.0));
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PredictionSets {
    classes: usize,
    members: Vec<usize>,
    ends: Vec<usize>,
}

impl PredictionSets {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The classes in the set of a row, ascending; none if there is no such row.
    pub fn classes_of(&self, row: usize) -> &[usize] {
        let Some(&end) = self.ends.get(row) else { return &[] };
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        self.members.get(start.unwrap_or(0)..end).unwrap_or_default()
    }

    /// The mean number of classes in a set; 0 for no sets.
    pub fn mean_size(&self) -> f64 {
        if self.is_empty() { 0.0 } else { self.members.len() as f64 / self.len() as f64 }
    }

    /// How many sets have 0, 1, .., K classes.
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.classes + 1];
        for row in 0..self.len() {
            if let Some(count) = sizes.get_mut(self.classes_of(row).len()) {
                *count += 1;
            }
        }
        sizes
    }

    /// The share of rows whose set contains their label.
    ///
    /// # Errors
    /// [`Input`](crate::Error::Input) if there is not one label a set, or none at all.
    pub fn coverage(&self, labels: &Labels) -> Result<f64> {
        if labels.len() != self.len() {
            let (expected, found) = (format!("{} sets", self.len()), labels.len().to_string());
            return Err(Input::mismatch("labels", expected, found).into());
        }
        if self.is_empty() {
            return Err(Input::Empty { what: "the sets whose coverage is asked for" }.into());
        }
        let covered = labels.iter().enumerate();
        let covered = covered.filter(|(row, label)| self.classes_of(*row).contains(label));
        Ok(covered.count() as f64 / self.len() as f64)
    }
}

/// u of one row after the other.
enum Draws {
    Ones,
    Uniform(Box<ChaCha12Rng>),
}

impl Draws {
    fn new(score: ConformalScore, seed: u64) -> Self {
        match score {
            ConformalScore::Aps { randomized: true }
            | ConformalScore::Raps { randomized: true, .. } => {
                Self::Uniform(Box::new(ChaCha12Rng::seed_from_u64(seed)))
            }
            _ => Self::Ones,
        }
    }

    fn next(&mut self) -> f64 {
        match self {
            Self::Ones => 1.0,
            Self::Uniform(generator) => generator.random(),
        }
    }
}

/// The score of every class of a row.
fn scores_of<T: Scalar>(
    row: &[T],
    score: ConformalScore,
    draw: f64,
    order: &mut Vec<usize>,
    scores: &mut Vec<f64>,
) {
    scores.clear();
    scores.extend(row.iter().map(|&p| 1.0 - p.into()));
    let (penalty, free_ranks) = match score {
        ConformalScore::Lac => return,
        ConformalScore::Aps { .. } => (0.0, 0),
        ConformalScore::Raps { penalty, free_ranks, .. } => (penalty, free_ranks),
    };
    order.clear();
    order.extend(0..row.len());
    // Stable: of equal probabilities the lower class comes first.
    order.sort_by(|&a, &b| row[b].into().total_cmp(&row[a].into()));
    let mut before = 0.0;
    for (place, &class) in order.iter().enumerate() {
        let p: f64 = row[class].into();
        let beyond = (place + 1).saturating_sub(free_ranks) as f64;
        scores[class] = before + draw * p + penalty * beyond;
        before += p;
    }
}

/// The scores of the labels, all inputs checked.
fn label_scores<T: Scalar>(
    probabilities: &Probabilities<'_, T>,
    labels: &Labels,
    score: ConformalScore,
    alpha: f64,
    seed: u64,
) -> Result<Vec<f64>> {
    check(score, alpha)?;
    let (rows, classes) = (probabilities.rows(), probabilities.classes());
    if rows == 0 {
        return Err(Input::Empty { what: "the set of rows to calibrate on" }.into());
    }
    if (labels.len(), labels.classes()) != (rows, classes) {
        let expected = format!("{rows} labels of {classes} classes");
        let found = format!("{} of {}", labels.len(), labels.classes());
        return Err(Input::mismatch("labels", expected, found).into());
    }
    let mut draws = Draws::new(score, seed);
    let (mut order, mut scores) = (Vec::new(), Vec::new());
    let each = probabilities.matrix().iter().zip(labels.iter());
    Ok(each
        .map(|(row, label)| {
            scores_of(row, score, draws.next(), &mut order, &mut scores);
            scores[label]
        })
        .collect())
}

fn check(score: ConformalScore, alpha: f64) -> Result<()> {
    let out_of_range = |name, expected, found| Input::OutOfRange { name, expected, found };
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(out_of_range("alpha of a conformal predictor", "in (0, 1)", alpha).into());
    }
    match score {
        ConformalScore::Raps { penalty, .. } if !(penalty >= 0.0 && penalty.is_finite()) => {
            let expected = "finite and not negative";
            Err(out_of_range("the penalty of RAPS", expected, penalty).into())
        }
        _ => Ok(()),
    }
}

/// q̂.
fn threshold(mut scores: Vec<f64>, alpha: f64) -> f64 {
    let count = scores.len();
    let exact = (count as f64 + 1.0) * (1.0 - alpha);
    // (n + 1)(1 − α) may be a whole number but for rounding.
    let near = exact.round();
    let rank = if (exact - near).abs() <= 1e-9 * near { near } else { exact.ceil() };
    if rank > count as f64 {
        return f64::INFINITY;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // In 1..=count.
    let place = (rank as usize).max(1) - 1;
    let (_, threshold, _) = scores.select_nth_unstable_by(place, f64::total_cmp);
    *threshold
}

impl From<ConformalPredictor> for Parts {
    fn from(predictor: ConformalPredictor) -> Self {
        let ConformalPredictor { score, alpha, classes, thresholds } = predictor;
        let finite = |threshold: f64| threshold.is_finite().then_some(threshold);
        Self { score, alpha, classes, thresholds: thresholds.into_iter().map(finite).collect() }
    }
}

impl TryFrom<Parts> for ConformalPredictor {
    type Error = crate::Error;

    fn try_from(parts: Parts) -> Result<Self> {
        let Parts { score, alpha, classes, thresholds } = parts;
        check(score, alpha)?;
        let found = thresholds.len();
        if classes == 0 || (found != 1 && found != classes) {
            let expected = format!("1, or one for each of {classes} classes");
            return Err(Input::mismatch("thresholds", expected, found.to_string()).into());
        }
        let thresholds = thresholds.into_iter().map(|threshold| threshold.unwrap_or(f64::INFINITY));
        Ok(Self { score, alpha, classes, thresholds: thresholds.collect() })
    }
}
