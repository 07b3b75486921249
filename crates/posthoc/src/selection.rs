//! The choice of a map by cross-validation.
//!
//! The rows are dealt into folds; each method is fitted to all folds but one and judged on that one,
//! in turn, so every row is judged once by a map that did not see it. The method with the lowest mean
//! score over all rows is chosen.
//!
//! - Folds are stratified: of the rows of a class every fold gets as many as any other, but for one.
//! - The folds are the same for all methods, and the same for a seed.
//! - Of many rows a random sample may be enough to choose on; how many is an option.
//! - A method that cannot be fitted to a fold, or gives a target the probability 0 under the negative
//!   log-likelihood, is reported with the reason, and not chosen.
//!
//! Source: M. Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions" (1974);
//! stratified: R. Kohavi, "A Study of Cross-Validation and Bootstrap for Accuracy Estimation and Model
//! Selection" (1995).

use std::borrow::Cow;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, LogProbabilities, Logits, Scalar};

use crate::{Calibrator, Error, Method, Result, Targets};

/// What a map is judged by on rows that it was not fitted to; lower is better.
///
/// ```
/// use softlabel_posthoc::SelectionScore;
/// assert_eq!(SelectionScore::default(), SelectionScore::NegativeLogLikelihood);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectionScore {
    /// −Σ_k t_k ln q_k.
    #[default]
    #[serde(rename = "nll")]
    #[doc(alias = "NLL")]
    NegativeLogLikelihood,
    /// Σ_k (q_k − t_k)², which no single row can make infinite.
    Brier,
}

/// How maps are compared: by what, over how many folds, dealt with which seed.
///
/// ```
/// use softlabel_posthoc::Selection;
/// let selection = Selection { seed: 7, ..Selection::default() };
/// assert_eq!(selection.folds, 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// What is judged by.
    pub score: SelectionScore,
    /// Number of folds, at least 2.
    pub folds: usize,
    /// What the folds are dealt with.
    pub seed: u64,
    /// Of more rows than so many only a random sample of as many is dealt; all without.
    pub most_rows: Option<usize>,
}

impl Default for Selection {
    /// The negative log-likelihood over 5 folds of all rows.
    fn default() -> Self {
        Self { score: SelectionScore::default(), folds: 5, seed: 0, most_rows: None }
    }
}

/// How a method did on rows that it was not fitted to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Candidate {
    /// The method.
    pub method: Method,
    /// The mean score over the rows of all folds; none if it is infinite or a fit failed.
    pub score: Option<f64>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How all methods did, and which did best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Selected {
    /// The method with the lowest score; of several such the first.
    pub method: Method,
    /// All methods in the order in which they were given.
    pub candidates: Vec<Candidate>,
    /// How many rows the folds had together.
    pub samples: usize,
}

/// Methods that [`Method::candidates`] leaves out: their fits or maps take long where there are many
/// rows.
const SLOW: [&str; 3] = ["venn_abers", "bbq", "parametrized_temperature"];

/// Methods with a parameter for each pair of classes.
const QUADRATIC: [&str; 3] = ["matrix", "dirichlet", "sms"];

impl Method {
    /// The methods to choose from where nothing is known beforehand: the identity, all methods that
    /// are fast on many rows, and a temperature followed by an isotonic map.
    ///
    /// Methods with a parameter for each pair of classes need two rows for each to be among them.
    /// Venn-Abers predictors, Bayesian binning and parametrized temperatures are not among them, as they
    /// would take most of the time; name them to try them.
    ///
    /// ```
    /// use softlabel_posthoc::Method;
    /// let names = |rows, classes| -> Vec<String> {
    ///     Method::candidates(rows, classes).iter().map(Method::name).collect()
    /// };
    /// assert!(names(5000, 10).contains(&"dirichlet".to_owned()));
    /// assert!(!names(5000, 100).contains(&"dirichlet".to_owned()));
    /// assert_eq!(names(100, 2)[0], "identity");
    /// ```
    pub fn candidates(rows: usize, classes: usize) -> Vec<Self> {
        let enough = classes.saturating_mul(classes.saturating_add(1)).saturating_mul(2) <= rows;
        let fits = |name: &str| !SLOW.contains(&name) && (enough || !QUADRATIC.contains(&name));
        let names = Self::names().iter().copied().filter(|name| fits(name));
        let names = ["identity"].into_iter().chain(names).chain(["temperature+isotonic"]);
        // Names of methods are methods.
        names.filter_map(|name| name.parse().ok()).collect()
    }
}

impl Selection {
    /// Cross-validates all `methods`, and says which did best.
    ///
    /// Fit the one that is chosen to all rows with [`Method::fit`].
    /// Methods are fitted in threads; the result does not depend on their number.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no methods, fewer than two folds, fewer rows that count than
    /// folds, or where [`Method::fit`] refuses all rows alike; [`Error::NoCandidate`] with all reasons if
    /// no method has a score.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{Method, Selection};
    ///
    /// // Twice as sure as it should be.
    /// let logits = Logits::new([9.0f64.ln(), 0.0, 0.0, 9.0f64.ln()].repeat(40), 2)?;
    /// let labels = Labels::new(&[0, 1, 0, 1, 0, 1, 1, 0].repeat(10), 2)?;
    /// let methods: [Method; 2] = ["identity".parse()?, "temperature".parse()?];
    /// let selected = Selection::default().choose(&methods, &logits, &labels)?;
    /// assert_eq!(selected.method.name(), "temperature");
    /// let score = |index: usize| selected.candidates[index].score.unwrap();
    /// assert!(score(1) < score(0));
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn choose<'t, T: Scalar>(
        &self,
        methods: &[Method],
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
    ) -> Result<Selected> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        if methods.is_empty() {
            return Err(Input::Empty { what: "the set of methods to choose from" }.into());
        }
        let dealt = self.most_rows.map_or(targets.len(), |most| most.min(targets.len()));
        if self.folds < 2 || self.folds > dealt {
            let (expected, found) = (format!("2 to {dealt}, as many as rows"), self.folds);
            return Err(Input::mismatch("number of folds", expected, found.to_string()).into());
        }
        let (logits, targets) = match self.sample(targets.len()) {
            None => (logits, targets),
            Some(rows) => {
                let (logits, targets) = part(&logits, &targets, &rows)?;
                (Cow::Owned(logits), targets)
            }
        };
        let folds = self.deal(&targets);
        let mut sums: Vec<Result<f64, String>> = vec![Ok(0.0); methods.len()];
        for number in 0..self.folds {
            let rows = |test: bool| -> Vec<usize> {
                (0..folds.len()).filter(|&row| (folds[row] == number) == test).collect()
            };
            let part = |test| part(&logits, &targets, &rows(test));
            let (fit, test) = (part(false)?, part(true)?);
            let judged = |method: &Method| -> Result<f64> {
                let map = method.fit(&fit.0, &fit.1)?;
                Ok(self.total(&map.apply(&test.0)?, &test.1))
            };
            let results: Vec<_> = methods.par_iter().map(judged).collect();
            for (sum, result) in sums.iter_mut().zip(results) {
                let result = result.map_err(|error| error.to_string());
                *sum = std::mem::replace(sum, Ok(0.0)).and_then(|sum| Ok(sum + result?));
            }
        }
        let candidates: Vec<Candidate> = methods
            .iter()
            .zip(sums)
            .map(|(method, sum)| {
                let method = method.clone();
                match sum.map(|sum| sum / targets.total()) {
                    Ok(score) if score.is_finite() => {
                        Candidate { method, score: Some(score), reason: None }
                    }
                    Ok(_) => {
                        let reason = "it gives a label the probability 0".to_owned();
                        Candidate { method, score: None, reason: Some(reason) }
                    }
                    Err(reason) => Candidate { method, score: None, reason: Some(reason) },
                }
            })
            .collect();
        let scored = candidates.iter().filter_map(|of| Some((of, of.score?)));
        let best = scored.min_by(|(_, x), (_, y)| x.total_cmp(y)).map(|(of, _)| of.method.clone());
        if let Some(method) = best {
            Ok(Selected { method, candidates, samples: targets.len() })
        } else {
            let reason = |of: &Candidate| {
                format!("{}: {}", of.method.name(), of.reason.as_deref().unwrap_or_default())
            };
            let reasons = candidates.iter().map(reason).collect();
            Err(Error::NoCandidate { reasons })
        }
    }

    /// The numbers of some rows, ascending, if there are too many.
    fn sample(&self, rows: usize) -> Option<Vec<usize>> {
        let most = self.most_rows.filter(|&most| most < rows)?;
        let mut order: Vec<usize> = (0..rows).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed));
        order.truncate(most);
        order.sort_unstable();
        Some(order)
    }

    /// The fold of every row.
    fn deal(&self, targets: &Targets<'_>) -> Vec<usize> {
        let mut order: Vec<usize> = (0..targets.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed));
        // Stable, so within a class in the order of the shuffle.
        order.sort_by_key(|&row| {
            let masses = targets.row(row).masses();
            masses.max_by(|(_, x), (_, y)| x.total_cmp(y)).map(|(class, _)| class)
        });
        let mut folds = vec![0; targets.len()];
        for (place, row) in order.into_iter().enumerate() {
            folds[row] = place % self.folds;
        }
        folds
    }

    /// The sum of w times the score over rows.
    fn total(&self, calibrated: &LogProbabilities<'_, f64>, targets: &Targets<'_>) -> f64 {
        match self.score {
            SelectionScore::NegativeLogLikelihood => {
                targets.mean_loss(calibrated.as_slice()) * targets.total()
            }
            SelectionScore::Brier => {
                let of_row = |(index, row): (usize, &[f64])| {
                    let target = targets.row(index);
                    let squares = row.iter().enumerate();
                    let squares = squares.map(|(class, l)| (l.exp() - target.share(class)).powi(2));
                    targets.weight(index) * squares.sum::<f64>()
                };
                calibrated.matrix().iter().enumerate().map(of_row).sum()
            }
        }
    }
}

/// Some rows.
fn part<T: Scalar>(
    logits: &Logits<'_, T>,
    targets: &Targets<'_>,
    rows: &[usize],
) -> Result<(Logits<'static, T>, Targets<'static>)> {
    let classes = logits.classes();
    let of_row = |&row: &usize| &logits.as_slice()[row * classes..][..classes];
    let values: Vec<T> = rows.iter().flat_map(of_row).copied().collect();
    Ok((Logits::new(values, classes)?, targets.select(rows)?))
}
