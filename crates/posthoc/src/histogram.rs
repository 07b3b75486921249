//! The frequency of a class among the rows that give it a similar probability.
//!
//! q_k = g_k(p_k) / Σ_j g_j(p_j), with p = softmax(z)
//!
//! z: logits `[rows, classes]`; g_k: constant on bins (lower, upper] of \[0, 1\], the first with its
//! lower end 0, and there the share of rows of class k among the rows of the fit whose p_k lies in
//! the bin.
//! A bin without rows has its midpoint, as if p were right there: any other number would have to
//! come from elsewhere, and 0 would forbid the class.
//!
//! Bins are of equal width, m/M, or of equal mass: with the p_k of the fit sorted, the upper edge of
//! bin m = 1, …, M − 1 is the ⌈nm/M⌉-th, and that of the last is 1. Rows with the same p_k are never
//! parted, so ties make bins of unequal mass, and fewer of them.
//!
//! With two classes q_1 = g_1(p_1) and q_0 = 1 − q_1.
//! The top class of a row may change, and rows that p tells apart become ties.
//!
//! What is defined where there is little to fit:
//!
//! - A class that never occurs among the labels gets 0 and one that alone occurs 1 in all bins that
//!   have rows ([`FitOutcome::OneSided`]).
//! - A class with the same probability in all rows has one bin with rows, and its frequency there; a
//!   class without rows, because it cannot be or no other can, has midpoints only
//!   ([`FitOutcome::Flat`]).
//! - A row in which every g is 0 becomes uniform over the classes that can be.
//!
//! A bin in which a class never occurs has g = 0. [`Zeros`] says whether that stays.
//!
//! Numerical notes: p in `f64`; which bin a p on an edge belongs to is that of `EqualWidthBins` of
//! `softlabel-kernels`.
//!
//! Source: B. Zadrozny, C. Elkan, "Obtaining Calibrated Probability Estimates from Decision Trees
//! and Naive Bayesian Classifiers" (2001).

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Logits, Scalar};
use softlabel_kernels::{CompensatedSum, EqualWidthBins, softmax_in_place};

use crate::calibrator::{calibrates_rows, map_rows};
use crate::document::Document;
use crate::one_vs_rest::{Score, Scored, Sides, check_map_count, diagnostics, map_row, masses};
use crate::sigmoid::mass;
use crate::{ClassFit, FitDiagnostics, FitOutcome, Result, Targets, Zeros};

/// How the bins of a [`HistogramBinning`] are laid out.
///
/// ```
/// use softlabel_posthoc::Binning;
/// assert_eq!(Binning::default(), Binning::EqualWidth);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binning {
    /// Edges at m/M.
    #[default]
    EqualWidth,
    /// Edges such that every bin has as many rows of the fit, as far as ties let it.
    EqualMass,
}

/// How a [`HistogramBinning`] is fitted.
///
/// ```
/// use softlabel_posthoc::{Binning, HistogramOptions};
/// let options = HistogramOptions { binning: Binning::EqualMass, ..HistogramOptions::default() };
/// assert_eq!(options.bins, 15);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistogramOptions {
    /// M, the number of bins: 1 to a million.
    pub bins: usize,
    /// Where their edges are.
    pub binning: Binning,
    /// What becomes of probabilities 0 and 1.
    pub zeros: Zeros,
}

impl Default for HistogramOptions {
    /// 15 bins of equal width, zeros clipped.
    fn default() -> Self {
        Self {
            bins: EqualWidthBins::DEFAULT_COUNT,
            binning: Binning::default(),
            zeros: Zeros::default(),
        }
    }
}

/// The upper edge of a bin and the value in it.
pub(crate) type Bin = (f64, f64);

/// The frequency of a class among the rows that give it a similar probability, renormalized.
///
/// g_k is constant on bins of p_k, and there the share of rows of class k; q_k = g_k(p_k) / Σ_j
/// g_j(p_j). A bin without rows has its midpoint.
/// With two classes there is one map, q_1 = g(p_1) and q_0 = 1 − q_1.
/// The top class of a row may change.
///
/// # Little data
/// A class that never occurs among the labels gets 0, one that alone occurs 1, in bins that have
/// rows ([`FitOutcome::OneSided`]); a class with equal probabilities in all rows gets its frequency
/// in their bin, and one without rows midpoints ([`FitOutcome::Flat`]).
/// A row in which every g is 0 becomes uniform over the classes that can be.
///
/// # Zeros
/// A class that never occurs in a bin has the value 0 there, and a label that comes up after all an
/// infinite negative log-likelihood. [`Zeros`] in the options keeps or clips such values; the
/// default clips to 1e-6.
///
/// # Source
/// B. Zadrozny, C. Elkan, "Obtaining Calibrated Probability Estimates from Decision Trees and Naive
/// Bayesian Classifiers" (2001).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, HistogramBinning, HistogramOptions};
///
/// // p_1 = 0.9 in four rows, three of them right.
/// let logits = Logits::new([0.0, 9.0f64.ln()].repeat(4), 2)?;
/// let labels = Labels::new(&[1, 1, 1, 0], 2)?;
/// let options = HistogramOptions { bins: 10, ..HistogramOptions::default() };
/// let map = HistogramBinning::fit(&logits, &labels, options)?;
/// assert!((map.apply(&logits)?.as_slice()[1].exp() - 0.75).abs() < 1e-15);
/// // No row had p_1 near 0.25: the midpoint of (0.2, 0.3].
/// let other = Logits::new(vec![3.0f64.ln(), 0.0], 2)?;
/// assert!((map.apply(&other)?.as_slice()[1].exp() - 0.25).abs() < 1e-15);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct HistogramBinning {
    /// One list of bins a class, but a single one (of class 1) for two classes; none is empty.
    bins: Vec<Vec<Bin>>,
    classes: usize,
    zeros: Zeros,
    diagnostics: Option<FitDiagnostics>,
}

impl HistogramBinning {
    /// Counts, for every class, how often it occurs in every bin.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no rows, fewer rows than classes, not one
    /// label a row, labels of another number of classes, a number of bins that is 0 or above a
    /// million, or an ε of [`Zeros::Clip`] outside (0, 1/2);
    /// [`Error::ImpossibleLabel`](crate::Error::ImpossibleLabel) if a label has the logit −∞.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{Binning, HistogramBinning, HistogramOptions};
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 3.0], 2)?;
    /// let labels = Labels::new(&[0, 0, 1, 1], 2)?;
    /// let options = HistogramOptions { bins: 2, binning: Binning::EqualMass, ..Default::default() };
    /// let map = HistogramBinning::fit(&logits, &labels, options)?;
    /// let values: Vec<f64> = map.bins()[0].iter().map(|&(_, value)| value).collect();
    /// assert_eq!(values, [0.0, 1.0]);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        options: HistogramOptions,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let HistogramOptions { bins: count, binning, zeros } = options;
        zeros.checked()?;
        let equal_width = EqualWidthBins::new(count).map_err(|error| Input::OutOfRange {
            name: "the number of bins",
            expected: "in 1..=1000000",
            found: error.found as f64,
        })?;
        let of_class = |mut scores: Vec<Score>| {
            scores.sort_by(|x, y| x.score().total_cmp(&y.score()));
            let edges = match binning {
                Binning::EqualWidth => equal_width.intervals().map(|(_, upper)| upper).collect(),
                Binning::EqualMass => equal_mass(&scores, count),
            };
            (fill(&scores, edges), class_fit(&scores))
        };
        let (bins, fits): (Vec<_>, Vec<_>) =
            masses(&logits, &targets, softmax_in_place)?.into_iter().map(of_class).unzip();
        let mut map = Self { bins, classes: logits.classes(), zeros, diagnostics: None };
        let after = map.calibrated(&logits)?;
        map.diagnostics = Some(diagnostics(&logits, &targets, &after, fits)?);
        Ok(map)
    }

    /// The map with given bins (upper edge, value), for `classes` classes.
    ///
    /// `bins` has one list a class, but for two classes a single one, that of class 1.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if `classes` is 0, if there are more or fewer lists, if
    /// one is empty, if edges do not rise strictly or the last is not 1, if a number is outside
    /// \[0, 1\], or for an ε of [`Zeros::Clip`] outside (0, 1/2).
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{Calibrator, HistogramBinning, Zeros};
    /// let map = HistogramBinning::from_bins(2, vec![vec![(0.5, 0.25), (1.0, 0.5)]], Zeros::Keep)?;
    /// let calibrated = map.apply(&Logits::new(&[0.0f32, 0.0], 2)?)?;
    /// assert_eq!(calibrated.as_slice()[1], 0.25f64.ln());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_bins(classes: usize, bins: Vec<Vec<(f64, f64)>>, zeros: Zeros) -> Result<Self> {
        Self::from_parts(classes, bins, zeros, None)
    }

    pub(crate) fn from_parts(
        classes: usize,
        bins: Vec<Vec<Bin>>,
        zeros: Zeros,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_map_count(classes, bins.len())?;
        zeros.checked()?;
        bins.iter().try_for_each(|list| check_bins(list))?;
        Ok(Self { bins, classes, zeros, diagnostics })
    }

    /// The bins (upper edge, value) of every map, ascending: one list a class, but for two classes a
    /// single one, that of class 1.
    pub fn bins(&self) -> &[Vec<(f64, f64)>] {
        &self.bins
    }

    /// What becomes of probabilities 0 and 1.
    pub fn zeros(&self) -> Zeros {
        self.zeros
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        let value = |map: usize, p: f64| value_at(&self.bins[map], p);
        map_rows(logits, self.classes, |row| map_row(row, self.zeros, value))
    }
}

calibrates_rows!(HistogramBinning);

/// Checks given bins: at least one, edges that rise strictly up to 1, all numbers in \[0, 1\].
pub(crate) fn check_bins(list: &[Bin]) -> Result<()> {
    let Some(&(last, _)) = list.last() else {
        return Err(Input::Empty { what: "a list of bins" }.into());
    };
    let outside = |value: &f64| !(0.0..=1.0).contains(value);
    if let Some(found) = list.iter().flat_map(|&(edge, g)| [edge, g]).find(outside) {
        let name = "an edge or value of a bin";
        return Err(Input::OutOfRange { name, expected: "in [0, 1]", found }.into());
    }
    if let Some(pair) = list.windows(2).find(|pair| pair[1].0 <= pair[0].0) {
        let (name, expected) = ("the upper edge of a bin", "above that of the bin before");
        return Err(Input::OutOfRange { name, expected, found: pair[1].0 }.into());
    }
    if last != 1.0 {
        let name = "the upper edge of the last bin";
        return Err(Input::OutOfRange { name, expected: "1", found: last }.into());
    }
    Ok(())
}

/// The value of the bin that p falls into; what lies above the last edge belongs to the last bin.
pub(crate) fn value_at(bins: &[Bin], p: f64) -> f64 {
    let index = bins.partition_point(|&(upper, _)| upper < p);
    bins.get(index).or(bins.last()).map_or(p, |&(_, value)| value)
}

/// The upper edges of at most `count` bins with equally much of the mass of the sorted `scores`.
pub(crate) fn equal_mass<S: Scored>(scores: &[S], count: usize) -> Vec<f64> {
    let mut sum = CompensatedSum::default();
    let up_to = scores.iter().map(|score| {
        sum.add(mass(score));
        sum.value()
    });
    let up_to: Vec<f64> = up_to.collect();
    let total = up_to.last().copied().unwrap_or_default();
    // As many bins as rows leave none empty.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // It saturates.
    let count = count.min(scores.len().max(total as usize));
    let mut edges: Vec<f64> = Vec::new();
    for bin in 1..count {
        // Exact where masses are whole numbers.
        let share = total * bin as f64 / count as f64;
        let edge = scores.get(up_to.partition_point(|&mass| mass < share)).map(Scored::score);
        let above = |edge: f64| edges.last().is_none_or(|&last| last < edge);
        if let Some(edge) = edge.filter(|&edge| edge < 1.0 && above(edge)) {
            edges.push(edge);
        }
    }
    edges.push(1.0);
    edges
}

/// The bins with these upper edges and the shares of positives of the sorted `scores` in them.
fn fill(scores: &[Score], edges: Vec<f64>) -> Vec<Bin> {
    let (mut lower, mut begin) = (0.0, 0);
    let last = edges.len() - 1;
    let bin = |(index, upper): (usize, f64)| {
        let end = if index == last {
            scores.len()
        } else {
            scores.partition_point(|score| score.score() <= upper)
        };
        let inside = &scores[begin..end];
        let Sides { positive, negative, .. } = Sides::of(inside);
        let value = if inside.is_empty() {
            0.5 * (lower + upper)
        } else {
            positive / (positive + negative)
        };
        (lower, begin) = (upper, end);
        (upper, value)
    };
    edges.into_iter().enumerate().map(bin).collect()
}

/// What the sorted scores of a class let be fitted.
pub(crate) fn class_fit<S: Scored>(scores: &[S]) -> ClassFit {
    let Sides { positives, negatives, .. } = Sides::of(scores);
    let outcome = match (scores.first(), scores.last()) {
        (Some(_), Some(_)) if positives == 0 || negatives == 0 => FitOutcome::OneSided,
        (Some(lowest), Some(highest)) if lowest.score() < highest.score() => FitOutcome::Converged,
        _ => FitOutcome::Flat,
    };
    ClassFit { positives, negatives, iterations: 0, outcome }
}
