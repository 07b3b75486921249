//! A sigmoid of the log-odds, made constant on bins of equal mass, for every class against the rest.
//!
//! q_k = h_k(f_k) / Σ_j h_j(f_j), with f_k = ln p_k − ln(1 − p_k) and p = softmax(z)
//!
//! z: logits `[rows, classes]`; g_k(f) = σ(a_k·f + b_k): the sigmoid of
//! [`PlattScaling`](crate::PlattScaling), with its smoothed targets; h_k(f): the mean of g_k over the
//! rows of the fit whose g_k lies in the same bin as g_k(f).
//! Bins are (lower, upper], with as many rows of the fit each, as far as ties let them: rows with the
//! same g_k are never parted, and no bin is empty.
//!
//! The values of a sigmoid cannot be told to be calibrated, however many rows there are: any bins hide
//! some of the error. h takes one value a bin, so its error can be measured, and unlike a histogram's
//! its values are means of g, not of labels, so they vary with 1/n and not with bins/n.
//! Its authors prove this for three parts of the rows, one for g, one for the edges and one for the
//! means; here, as in their code, all rows serve for all three.
//!
//! With two classes there is one map, that of class 1, and q_0 = 1 − q_1.
//! The top class of a row may change, and rows that p tells apart become ties.
//!
//! What is defined where there is little to fit: as in Platt scaling; where g is constant there is one
//! bin. No class that can be has the probability 0.
//!
//! Source: A. Kumar, P. Liang, T. Ma, "Verified Uncertainty Calibration" (2019); their code fits g
//! without smoothed targets.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Logits, Scalar};
use softlabel_kernels::log_odds_in_place;

use crate::calibrator::{calibrates_rows, map_rows};
use crate::document::{Document, Written};
use crate::histogram::{Bin, check_bins, equal_mass, value_at};
use crate::one_vs_rest::{
    Score, Scored, check_map_count, class_of, diagnostics, map_log_odds, masses,
};
use crate::sigmoid::{self, Sigmoid, mass};
use crate::{Error, FitDiagnostics, Result, Targets};

/// f ↦ the value of the bin that σ(a·f + b) falls into.
///
/// ```
/// use softlabel_posthoc::BinnedSigmoid;
/// let map = BinnedSigmoid { slope: 1.0, intercept: 0.0, bins: vec![(0.5, 0.25), (1.0, 0.75)] };
/// assert_eq!((map.value(-2.0), map.value(0.0), map.value(0.1)), (0.25, 0.25, 0.75));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinnedSigmoid {
    /// a.
    pub slope: f64,
    /// b.
    pub intercept: f64,
    /// The bins (upper edge of σ, value), ascending up to 1.
    pub bins: Vec<(f64, f64)>,
}

impl BinnedSigmoid {
    /// The value for these log-odds.
    pub fn value(&self, log_odds: f64) -> f64 {
        value_at(&self.bins, self.sigmoid().log_probability(log_odds).exp())
    }

    fn sigmoid(&self) -> Sigmoid {
        Sigmoid { slope: self.slope, intercept: self.intercept }
    }

    /// ln h − ln(1 − h).
    fn log_odds(&self, log_odds: f64) -> f64 {
        let value = self.value(log_odds).clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON);
        value.ln() - (-value).ln_1p()
    }

    /// `count` bins of equal mass, with the means of what falls into them.
    fn of(sigmoid: Sigmoid, scores: &[Score], count: usize) -> Self {
        let value = |score: &Score| sigmoid.log_probability(score.score()).exp();
        let mut values: Vec<Score> =
            scores.iter().map(|score| score.with_value(value(score))).collect();
        values.sort_by(|x, y| x.score().total_cmp(&y.score()));
        let mut edges = equal_mass(&values, count);
        // Above the highest value there is nothing to take the mean of.
        if let (Some(highest), [.., edge, _]) = (values.last(), &edges[..])
            && *edge >= highest.score()
        {
            edges.remove(edges.len() - 2);
        }
        let mut begin = 0;
        let bin = |upper: f64| -> Bin {
            let end = if upper < 1.0 {
                values.partition_point(|value| value.score() <= upper)
            } else {
                values.len()
            };
            let inside = &values[begin..end];
            begin = end;
            // Without any rows the sigmoid is the identity, and its middle 1/2.
            let total: f64 = inside.iter().map(mass).sum();
            let mean = inside.iter().map(|value| mass(value) * value.score()).sum::<f64>() / total;
            (upper, if inside.is_empty() { 0.5 } else { mean.clamp(0.0, 1.0) })
        };
        let bins = edges.into_iter().map(bin).collect();
        Self { slope: sigmoid.slope, intercept: sigmoid.intercept, bins }
    }
}

/// A sigmoid of the log-odds, made constant on bins of equal mass, for every class against the rest,
/// and renormalized.
///
/// h_k is the mean of Platt's σ(a_k·f_k + b_k) over the rows of the fit in the same bin; q_k ∝ h_k.
/// It takes few values, so that its calibration error can be measured, and they vary less than those
/// of a [`HistogramBinning`](crate::HistogramBinning).
/// With two classes there is one map, of z_1 − z_0, and q_0 = 1 − q_1.
/// The top class of a row may change.
///
/// # Little data
/// A class that never or alone occurs, or has the same score in all rows, has one bin, with the
/// constant of [`PlattScaling`](crate::PlattScaling); its [outcome](crate::ClassFit::outcome) says
/// so. One without rows gets 1/2 before the row is normalized. No probability is 0.
///
/// # Source
/// A. Kumar, P. Liang, T. Ma, "Verified Uncertainty Calibration" (2019).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, ScalingBinning};
///
/// let scores = [-2.0, -1.0, 1.0, 2.0].map(|f| [0.0, f]).concat().repeat(5);
/// let logits = Logits::new(scores, 2)?;
/// let labels = Labels::new(&[0, 1, 0, 1].repeat(5), 2)?;
/// let map = ScalingBinning::fit(&logits, &labels, 2)?;
/// let calibrated = map.apply(&logits)?;
/// // −2 and −1 have become one.
/// assert_eq!(calibrated.as_slice()[1], calibrated.as_slice()[3]);
/// let sigmoid = |f: f64| 1.0 / (1.0 + (-map.maps()[0].slope * f - map.maps()[0].intercept).exp());
/// let mean = (sigmoid(-2.0) + sigmoid(-1.0)) / 2.0;
/// assert!((calibrated.as_slice()[1].exp() - mean).abs() < 1e-12);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias("Platt binning", "scaling-binning"))]
pub struct ScalingBinning {
    /// One a class, but a single one (of class 1) for two classes.
    maps: Vec<BinnedSigmoid>,
    classes: usize,
    diagnostics: Option<FitDiagnostics>,
}

impl ScalingBinning {
    /// The number of bins that its authors use.
    pub const DEFAULT_BINS: usize = 10;

    /// Fits a sigmoid and at most `bins` bins for every class against the rest.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes; `targets` are labels or
    /// distributions, with weights or without.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no rows, fewer rows than classes, not one label a row, labels of
    /// another number of classes, or no bins; [`Error::ImpossibleLabel`] if a label has the logit −∞;
    /// [`Error::NotConverged`] if Newton's method does not get to the optimum of a class.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::ScalingBinning;
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 2.0], 2)?;
    /// let labels = Labels::new(&[0, 1], 2)?;
    /// let map = ScalingBinning::fit(&logits, &labels, ScalingBinning::DEFAULT_BINS)?;
    /// assert_eq!(map.maps()[0].bins.len(), 2);
    /// assert!(ScalingBinning::fit(&logits, &labels, 0).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        bins: usize,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        if bins == 0 {
            let name = "the number of bins";
            return Err(Input::OutOfRange { name, expected: "at least 1", found: 0.0 }.into());
        }
        let classes = logits.classes();
        let (mut maps, mut fits) = (Vec::new(), Vec::new());
        for (map, scores) in masses(&logits, &targets, log_odds_in_place)?.into_iter().enumerate() {
            let (sigmoid, fit) = sigmoid::fit(&scores).map_err(|error| Error::NotConverged {
                method: Self::METHOD,
                class: Some(class_of(map, classes)),
                iterations: error.iterations,
            })?;
            maps.push(BinnedSigmoid::of(sigmoid, &scores, bins));
            fits.push(fit);
        }
        let mut map = Self { maps, classes, diagnostics: None };
        let after = map.calibrated(&logits)?;
        map.diagnostics = Some(diagnostics(&logits, &targets, &after, fits)?);
        Ok(map)
    }

    /// The map with given sigmoids and bins, for `classes` classes.
    ///
    /// `maps` has one a class, but for two classes a single one, that of class 1.
    ///
    /// # Errors
    /// [`Error::Input`] if `classes` is 0, if there are more or fewer maps, if a slope or intercept is
    /// not finite, if one has no bins, if edges do not rise strictly or the last is not 1, or if a
    /// number of a bin is outside \[0, 1\].
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{BinnedSigmoid, Calibrator, ScalingBinning};
    /// let map = BinnedSigmoid { slope: 1.0, intercept: 0.0, bins: vec![(0.5, 0.25), (1.0, 0.75)] };
    /// let map = ScalingBinning::from_maps(2, vec![map])?;
    /// let calibrated = map.apply(&Logits::new(&[0.0f32, 5.0], 2)?)?;
    /// assert!((calibrated.as_slice()[1].exp() - 0.75).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_maps(classes: usize, maps: Vec<BinnedSigmoid>) -> Result<Self> {
        Self::from_parts(classes, maps, None)
    }

    fn from_parts(
        classes: usize,
        maps: Vec<BinnedSigmoid>,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_map_count(classes, maps.len())?;
        for map in &maps {
            if let Some(found) = [map.slope, map.intercept].into_iter().find(|x| !x.is_finite()) {
                let name = "a slope or intercept";
                return Err(Input::OutOfRange { name, expected: "finite", found }.into());
            }
            check_bins(&map.bins)?;
        }
        Ok(Self { maps, classes, diagnostics })
    }

    /// The sigmoid and the bins of every map: one a class, but for two classes a single one, that of
    /// class 1.
    pub fn maps(&self) -> &[BinnedSigmoid] {
        &self.maps
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        let log_odds = |map: usize, log_odds| self.maps[map].log_odds(log_odds);
        map_rows(logits, self.classes, |row| map_log_odds(row, log_odds))
    }
}

calibrates_rows!(ScalingBinning);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    maps: Vec<BinnedSigmoid>,
}

impl Written for ScalingBinning {
    const METHOD: &'static str = "scaling_binning";
    type Parameters = Parameters;

    fn parameters(&self) -> Parameters {
        Parameters { maps: self.maps.clone() }
    }

    fn restore(
        classes: usize,
        parameters: Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(classes, parameters.maps, fit)
    }
}
