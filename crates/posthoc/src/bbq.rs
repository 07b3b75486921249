//! Bayesian binning into quantiles: equal-mass histograms of many sizes, averaged by how well each
//! explains the labels.
//!
//! q_k = g_k(p_k) / Σ_j g_j(p_j), with p = softmax(z), g = Σ_B w_B θ_B
//!
//! B: numbers of bins, from ⌈n^{1/3}/10⌉ to ⌈10·n^{1/3}⌉, at most n; w_B ∝ the marginal likelihood of
//! the labels, all B being as likely before:
//!
//! Π_b Γ(N′/B)/Γ(N_b + N′/B) · Γ(m_b + α_b)/Γ(α_b) · Γ(n_b + β_b)/Γ(β_b)
//!
//! with N_b = m_b + n_b rows in bin b, m_b of them of the class, α_b = (N′/B)·c_b, β_b = (N′/B)·(1 −
//! c_b), c_b the midpoint of the bin and N′ = 2; in bin b θ_B = (m_b + α_b)/(N_b + N′/B).
//! z: logits `[rows, classes]`; a B whose ties leave fewer bins counts with those.
//! 0 < g < 1, also in bins that saw one label only.
//!
//! A mean of functions that are constant on bins is one too, so the fitted map is a single list of
//! bins a class.
//! With two classes q_1 = g_1(p_1) and q_0 = 1 − q_1.
//!
//! What is defined where there is little to fit: as in [`HistogramBinning`], but a class that never
//! occurs has a small positive g; a class without rows has one bin, and 1/2.
//!
//! Numerical notes: c_b is kept in \[2⁻⁵², 1 − 2⁻⁵²\], as Γ(0) is infinite; likelihoods in logs.
//!
//! Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using
//! Bayesian Binning" (2015).

use serde::{Deserialize, Serialize};
use softlabel_core::{LogProbabilities, Logits, Scalar};
use softlabel_kernels::softmax_in_place;

use crate::document::{Document, Written};
use crate::histogram::{Bin, class_fit, equal_mass, value_at};
use crate::one_vs_rest::{Score, Scored, Sides, diagnostics, masses};
use crate::{Calibrator, FitDiagnostics, HistogramBinning, Result, Targets, Zeros};

/// N′, how many rows the prior of a whole histogram counts as.
const PRIOR_ROWS: f64 = 2.0;

/// C: numbers of bins reach from n^{1/3}/C to C·n^{1/3}.
const RANGE: usize = 10;

/// Equal-mass histograms of many sizes, averaged by their marginal likelihood, for every class
/// against the rest, and renormalized.
///
/// With two classes there is one map, q_1 = g(p_1) and q_0 = 1 − q_1.
/// The top class of a row may change; no class that can be has the probability 0.
///
/// # Little data
/// A class that never or alone occurs gets values near 0 or 1 that its rows support; one without
/// rows gets 1/2 before the row is normalized.
///
/// # Source
/// M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using
/// Bayesian Binning" (2015).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{BayesianBinning, Calibrator};
///
/// // p_1 = 0.2 with label 0 and p_1 = 0.8 with label 1. One bin has the likelihood 1/6 and says 0.5;
/// // (0, 0.2] and (0.2, 1] have 0.9 · 0.6 and say 0.05 and 0.8.
/// let logits = Logits::new(vec![4.0f64.ln(), 0.0, 0.0, 4.0f64.ln()], 2)?;
/// let map = BayesianBinning::fit(&logits, &Labels::new(&[0, 1], 2)?)?;
/// let expected = (0.5 / 6.0 + 0.54 * 0.05) / (1.0 / 6.0 + 0.54);
/// assert!((map.apply(&logits)?.as_slice()[1].exp() - expected).abs() < 1e-12);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias("BBQ", "Bayesian binning into quantiles"))]
pub struct BayesianBinning {
    /// The mean of all histograms is one.
    mean: HistogramBinning,
}

impl BayesianBinning {
    /// Weighs and averages the histograms of every class.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes; `targets` are labels or
    /// distributions, with weights or without.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no rows, fewer rows than classes, not one
    /// label a row, or labels of another number of classes;
    /// [`Error::ImpossibleLabel`](crate::Error::ImpossibleLabel) if a label has the logit −∞.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::BayesianBinning;
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 2.0], 2)?;
    /// let map = BayesianBinning::fit(&logits, &Labels::new(&[0, 1], 2)?)?;
    /// assert_eq!(map.bins()[0].last().map(|bin| bin.0), Some(1.0));
    /// assert!(BayesianBinning::fit(&logits, &Labels::new(&[0], 2)?).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let (bins, fits): (Vec<_>, Vec<_>) = masses(&logits, &targets, softmax_in_place)?
            .into_iter()
            .map(|mut scores| {
                scores.sort_by(|x, y| x.score().total_cmp(&y.score()));
                (average(&scores), class_fit(&scores))
            })
            .unzip();
        let classes = logits.classes();
        let map = HistogramBinning::from_bins(classes, bins, Zeros::Keep)?;
        let after = map.apply(&logits)?;
        let fit = diagnostics(&logits, &targets, after.as_slice(), fits)?;
        Self::from_parts(classes, map.bins().to_vec(), Some(fit))
    }

    fn from_parts(
        classes: usize,
        bins: Vec<Vec<Bin>>,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Ok(Self { mean: HistogramBinning::from_parts(classes, bins, Zeros::Keep, fit)? })
    }

    /// The bins (upper edge, g) of every map, ascending: one list a class, but for two classes a
    /// single one, that of class 1.
    pub fn bins(&self) -> &[Vec<(f64, f64)>] {
        self.mean.bins()
    }
}

impl Calibrator for BayesianBinning {
    fn classes(&self) -> usize {
        self.mean.classes()
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.mean.diagnostics()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        self.mean.apply(logits)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    bins: Vec<Vec<(f64, f64)>>,
}

impl Written for BayesianBinning {
    const METHOD: &'static str = "bbq";
    type Parameters = Parameters;

    fn parameters(&self) -> Parameters {
        Parameters { bins: self.bins().to_vec() }
    }

    fn restore(
        classes: usize,
        parameters: Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(classes, parameters.bins, fit)
    }
}

/// g of one class, whose `scores` are sorted.
fn average(scores: &[Score]) -> Vec<Bin> {
    let Sides { positive, negative, .. } = Sides::of(scores);
    // A weight is a number of rows. It saturates.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rows = (positive + negative).round() as usize;
    // The least b with (c·b)³ ≥ n, and with b³ ≥ c³·n.
    let cube = |count: usize| count.saturating_pow(3);
    let fewest = (1..=rows).find(|&count| cube(RANGE * count) >= rows).unwrap_or(1);
    let enough = |&count: &usize| cube(count) >= cube(RANGE).saturating_mul(rows);
    let most = (1..=rows).find(enough).unwrap_or(rows).max(fewest);
    let histograms: Vec<(f64, Vec<Bin>)> =
        (fewest..=most).map(|count| histogram(scores, count)).collect();
    let best = histograms.iter().map(|(score, _)| *score).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = histograms.iter().map(|(score, _)| (score - best).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut edges: Vec<f64> =
        histograms.iter().flat_map(|(_, bins)| bins.iter().map(|&(edge, _)| edge)).collect();
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    let mean = |edge: f64| {
        let values = weights.iter().zip(&histograms);
        values.map(|(weight, (_, bins))| weight / total * value_at(bins, edge)).sum::<f64>()
    };
    edges.into_iter().map(|edge| (edge, mean(edge).clamp(0.0, 1.0))).collect()
}

/// A histogram of at most `count` bins, and the logarithm of its marginal likelihood.
fn histogram(scores: &[Score], count: usize) -> (f64, Vec<Bin>) {
    let mut edges = equal_mass(scores, count);
    // A bin (0, 0] would hold nothing; what is at 0 belongs to the first.
    edges.retain(|&edge| edge > 0.0);
    let prior = PRIOR_ROWS / edges.len() as f64;
    let (mut begin, mut lower, mut likelihood) = (0, 0.0, 0.0);
    let bin = |upper: f64| {
        let end = if upper < 1.0 {
            scores.partition_point(|score| score.score() <= upper)
        } else {
            scores.len()
        };
        let Sides { positive: positives, negative: negatives, .. } = Sides::of(&scores[begin..end]);
        let rows = positives + negatives;
        let centre = (0.5 * (lower + upper)).clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        let (alpha, beta) = (prior * centre, prior * (1.0 - centre));
        let rises = |count: f64, from: f64| libm::lgamma(count + from) - libm::lgamma(from);
        likelihood += rises(positives, alpha) + rises(negatives, beta) - rises(rows, prior);
        (begin, lower) = (end, upper);
        (upper, (positives + alpha) / (rows + prior))
    };
    let bins = edges.into_iter().map(bin).collect();
    (likelihood, bins)
}
