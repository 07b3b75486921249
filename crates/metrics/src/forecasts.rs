//! Probabilities of events, and whether they happened: what every metric of calibration is about.
//!
//! A multiclass classifier becomes a forecaster of events in several ways, and each of them is
//! another question:
//!
//! | event | probability | made by |
//! |---|---|---|
//! | the top class is right | max_k p_k | [`Forecasts::top_label`] |
//! | the label is class k | p_k | [`Forecasts::of_class`] |
//! | y = 1, of a binary classifier | P(y = 1) | [`Forecasts::new`], [`Forecasts::from_logits`] |
//! | a binary classifier is right | max(p, 1 − p) | [`Forecasts::top_label_of_binary`] |
//! | a label of several is present | p_k | [`Forecasts::multi_label`] |
//!
//! Libraries differ in what they mean by the calibration of a binary classifier: scikit-learn and
//! torchmetrics mean the event y = 1, others the event of being right. Here the constructor says it.

use rayon::slice::ParallelSliceMut;
use serde::{Deserialize, Serialize};
use softlabel_core::{Error, Result, Scalar};
use softlabel_kernels::RowStatistics;

use crate::accumulator::EMPTY;
use crate::observations::weight_or_nothing;
use crate::predictions::for_each_row;
use crate::ranking::{TieGroup, tie_groups_of};
use crate::{Accumulator, Observed, Predictions, Weight};

/// A probability that was said of an event, and whether it happened.
///
/// ```
/// use softlabel_metrics::Forecast;
/// let forecast = Forecast::new(0.75, true);
/// assert_eq!(forecast.residual(), -0.25);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// c, in \[0, 1\].
    pub probability: f64,
    /// a.
    pub happened: bool,
    /// w.
    pub weight: Weight,
}

impl Forecast {
    /// A forecast of weight 1.
    pub fn new(probability: f64, happened: bool) -> Self {
        Self { probability, happened, weight: Weight::ONE }
    }

    /// That the top class of a row is right.
    pub(crate) fn top_label_of_row(row: &RowStatistics, weight: Weight) -> Self {
        Self { probability: row.confidence, happened: row.is_correct(), weight }
    }

    /// a as a number, 0 or 1.
    pub(crate) fn outcome(&self) -> f64 {
        f64::from(u8::from(self.happened))
    }

    /// c − a.
    pub fn residual(&self) -> f64 {
        self.probability - self.outcome()
    }
}

/// A metric that needs nothing but forecasts of events.
///
/// As an [`Accumulator`] of predictions it looks at the event that the top class is right.
///
/// ```
/// use softlabel_metrics::{CalibrationError, Forecasts, ForecastAccumulator, Accumulator};
///
/// // The event calibration of a binary classifier: P(y = 1) against y.
/// let forecasts = Forecasts::new(&[0.25f32, 0.25, 0.25, 0.25], &[false, false, false, true])?;
/// let mut error = CalibrationError::default();
/// error.update_forecasts(&forecasts);
/// assert_eq!(error.compute(), Some(0.0));
/// // That of its being right: 3/4 sure of y = 0, which was so three times of four.
/// let right = Forecasts::top_label_of_binary(&[0.25f32], &[false])?;
/// assert_eq!(right.iter().next().unwrap().probability, 0.75);
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
pub trait ForecastAccumulator: Accumulator {
    /// Adds one forecast.
    fn add_forecast(&mut self, forecast: Forecast);

    /// Adds all forecasts.
    fn update_forecasts(&mut self, forecasts: &Forecasts) {
        forecasts.iter().for_each(|forecast| self.add_forecast(forecast));
    }

    /// The value over all of the forecasts and what was added before.
    ///
    /// # Errors
    /// [`Error::Empty`] if there are none, or if the metric is undefined on them for a reason that
    /// its documentation gives.
    fn value_of(mut self, forecasts: &Forecasts) -> Result<Self::Value>
    where
        Self: Sized,
    {
        self.update_forecasts(forecasts);
        self.compute().ok_or(EMPTY)
    }
}

/// Forecasts of events, checked.
///
/// ```
/// use softlabel_metrics::{ForecastAccumulator, Forecasts, SpiegelhalterTest};
///
/// let forecasts = Forecasts::new(&[0.9f64, 0.2], &[true, false])?;
/// assert_eq!(forecasts.len(), 2);
/// assert!(SpiegelhalterTest::default().value_of(&forecasts)?.z < 0.0);
///
/// let error = Forecasts::new(&[1.5f64], &[true]).unwrap_err();
/// assert_eq!(error.to_string(), "forecasts: expected in [0, 1], found 1.5 in row 0, class 0");
/// # Ok::<(), softlabel_metrics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "State", into = "State")]
pub struct Forecasts {
    probabilities: Vec<f64>,
    happened: Vec<bool>,
    /// One a forecast, or none at all if all are 1.
    weights: Vec<f64>,
}

/// What is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    probabilities: Vec<f64>,
    happened: Vec<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    weights: Vec<f64>,
}

impl Forecasts {
    /// The probability of an event and whether it happened, one of each a row; of a binary
    /// classifier P(y = 1) and whether y = 1.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there are not as many of both, [`Error::BadValue`] for NaN or a number
    /// outside \[0, 1\].
    pub fn new<T: Scalar>(probabilities: &[T], happened: &[bool]) -> Result<Self> {
        same_length(probabilities.len(), happened.len())?;
        let mut wide = vec![0.0; probabilities.len()];
        T::widen(probabilities, &mut wide);
        let bad = wide.iter().position(|p| !(0.0..=1.0).contains(p));
        if let Some(row) = bad {
            let found = wide[row];
            let (what, expected) = ("forecasts", "in [0, 1]");
            return Err(Error::BadValue { what, expected, row, class: 0, found });
        }
        Ok(Self { probabilities: wide, happened: happened.to_vec(), weights: Vec::new() })
    }

    /// The same from the logits of a binary classifier, p = 1/(1 + e^{−z}).
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there are not as many of both, [`Error::BadValue`] for NaN.
    ///
    /// ```
    /// use softlabel_metrics::Forecasts;
    /// let forecasts = Forecasts::from_logits(&[3.0f64.ln()], &[true])?;
    /// assert!((forecasts.iter().next().unwrap().probability - 0.75).abs() < 1e-15);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn from_logits<T: Scalar>(logits: &[T], happened: &[bool]) -> Result<Self> {
        let sigmoid = |&logit: &T| {
            let logit: f64 = logit.into();
            1.0 / (1.0 + (-logit).exp())
        };
        Self::new(&logits.iter().map(sigmoid).collect::<Vec<f64>>(), happened)
    }

    /// The confidence max(p, 1 − p) of a binary classifier that says P(y = 1) = p, and whether it was
    /// right; of p = 1/2 it says y = 0, the first class.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn top_label_of_binary<T: Scalar>(probabilities: &[T], labels: &[bool]) -> Result<Self> {
        let mut forecasts = Self::new(probabilities, labels)?;
        let rows = forecasts.probabilities.iter_mut().zip(&mut forecasts.happened);
        for (probability, happened) in rows {
            let says_one = *probability > 0.5;
            *probability = probability.max(1.0 - *probability);
            *happened = says_one == *happened;
        }
        Ok(forecasts)
    }

    /// The confidence max_k p_k of every row that counts, and whether the top class is the label.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if predictions and labels do not fit.
    ///
    /// ```
    /// use softlabel_core::{Labels, Probabilities};
    /// use softlabel_metrics::{Forecast, Forecasts};
    /// let probabilities = Probabilities::new(&[0.25f32, 0.75], 2)?;
    /// let forecasts = Forecasts::top_label(&probabilities, &Labels::new(&[1], 2)?)?;
    /// assert_eq!(forecasts.iter().next(), Some(Forecast::new(0.75, true)));
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn top_label(
        predictions: &(impl Predictions + ?Sized),
        labels: &(impl Observed + ?Sized),
    ) -> Result<Self> {
        let mut forecasts = Self::default();
        for_each_row(predictions, labels, |row, weight, _| {
            // Of log-probabilities it may be a rounding above 1.
            let probability = row.confidence.min(1.0);
            forecasts.push(Forecast { probability, ..Forecast::top_label_of_row(row, weight) });
        })?;
        Ok(forecasts)
    }

    /// The probability of class `class` in every row that counts, and whether it is the label.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if predictions and labels do not fit, [`Error::OutOfRange`] if there is no
    /// such class.
    ///
    /// ```
    /// use softlabel_core::{Labels, Probabilities};
    /// use softlabel_metrics::{Forecast, Forecasts};
    /// let probabilities = Probabilities::new(&[0.25f32, 0.75], 2)?;
    /// let forecasts = Forecasts::of_class(&probabilities, &Labels::new(&[1], 2)?, 0)?;
    /// assert_eq!(forecasts.iter().next(), Some(Forecast::new(0.25, false)));
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn of_class(
        predictions: &(impl Predictions + ?Sized),
        labels: &(impl Observed + ?Sized),
        class: usize,
    ) -> Result<Self> {
        if class >= predictions.classes() {
            let (name, expected) = ("class", "below the number of classes");
            return Err(Error::OutOfRange { name, expected, found: class as f64 });
        }
        let mut forecasts = Self::default();
        for_each_row(predictions, labels, |row, weight, probabilities| {
            let probability = probabilities.get(class).copied().unwrap_or(0.0).min(1.0);
            forecasts.push(Forecast { probability, happened: row.label == class, weight });
        })?;
        Ok(forecasts)
    }

    /// Several labels a row, each with a probability of its own: the forecasts of each label.
    ///
    /// `probabilities` and `present` are row-major `[rows, labels]`; rows need not sum to 1.
    /// [`pooled`](Self::pooled) makes one set of them all.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), [`Error::Empty`] if `labels` is 0, [`Error::Mismatch`] if the
    /// number of values is no multiple of it.
    ///
    /// ```
    /// use softlabel_metrics::{CalibrationError, ForecastAccumulator, Forecasts};
    /// let of_labels = Forecasts::multi_label(
    ///     &[0.75f32, 0.25, 0.75, 0.25], &[true, false, false, false], 2)?;
    /// let errors: Vec<f64> = of_labels
    ///     .iter()
    ///     .map(|forecasts| CalibrationError::default().value_of(forecasts))
    ///     .collect::<Result<_, _>>()?;
    /// assert_eq!(errors, [0.25, 0.25]);
    /// let pooled = Forecasts::pooled(&of_labels);
    /// assert_eq!(CalibrationError::default().value_of(&pooled)?, 0.25);
    /// # Ok::<(), softlabel_metrics::Error>(())
    /// ```
    pub fn multi_label<T: Scalar>(
        probabilities: &[T],
        present: &[bool],
        labels: usize,
    ) -> Result<Vec<Self>> {
        if labels == 0 {
            return Err(Error::Empty { what: "the axis of labels" });
        }
        if !probabilities.len().is_multiple_of(labels) {
            let found = format!("{} values", probabilities.len());
            return Err(Error::mismatch(
                "forecasts",
                format!("a multiple of {labels} labels"),
                found,
            ));
        }
        same_length(probabilities.len(), present.len())?;
        let of_label = |label: usize| {
            let probabilities: Vec<T> =
                probabilities.iter().skip(label).step_by(labels).copied().collect();
            let present: Vec<bool> = present.iter().skip(label).step_by(labels).copied().collect();
            Self::new(&probabilities, &present)
        };
        (0..labels).map(of_label).collect()
    }

    /// All forecasts of several sets as one.
    pub fn pooled(sets: &[Self]) -> Self {
        let mut pooled = Self::default();
        for forecast in sets.iter().flat_map(Self::iter) {
            pooled.push(forecast);
        }
        pooled
    }

    /// The same with a weight a forecast; those of weight 0 are left out.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if there is not one weight a forecast, [`Error::OutOfRange`] for NaN, a
    /// negative or an infinite weight.
    pub fn weighted(self, weights: &[f64]) -> Result<Self> {
        if weights.len() != self.len() {
            let expected = format!("{} forecasts", self.len());
            return Err(Error::mismatch("weights", expected, format!("{} weights", weights.len())));
        }
        let mut weighted = Self::default();
        for (forecast, &weight) in self.iter().zip(weights) {
            if let Some(weight) = weight_or_nothing(weight)? {
                weighted.push(Forecast { weight, ..forecast });
            }
        }
        Ok(weighted)
    }

    /// How many forecasts there are.
    pub fn len(&self) -> usize {
        self.probabilities.len()
    }

    /// Whether some count more than others.
    pub fn is_weighted(&self) -> bool {
        !self.weights.is_empty()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.probabilities.is_empty()
    }

    /// The forecasts, in order.
    pub fn iter(&self) -> impl Iterator<Item = Forecast> + Clone + '_ {
        let weights = self.weights.iter().copied().chain(std::iter::repeat(1.0));
        let rows = self.probabilities.iter().zip(&self.happened).zip(weights);
        rows.map(|((&probability, &happened), weight)| Forecast {
            probability,
            happened,
            // Weights were checked when they came.
            weight: Weight::new(weight).unwrap_or_default(),
        })
    }

    /// The same, by ascending probability, in groups of equal ones.
    pub(crate) fn tie_groups(&self) -> Vec<TieGroup> {
        let sign = |forecast: &Forecast| if forecast.happened { 1.0 } else { -1.0 };
        let mut rows: Vec<(f64, f64)> =
            self.iter().map(|f| (f.probability + 0.0, sign(&f) * f.weight.get())).collect();
        rows.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        tie_groups_of(rows)
    }

    pub(crate) fn append(&mut self, other: &Self) {
        if !(self.weights.is_empty() && other.weights.is_empty()) {
            self.weights.resize(self.len(), 1.0);
            self.weights.extend(other.iter().map(|forecast| forecast.weight.get()));
        }
        self.probabilities.extend_from_slice(&other.probabilities);
        self.happened.extend_from_slice(&other.happened);
    }

    pub(crate) fn push(&mut self, forecast: Forecast) {
        let weight = forecast.weight.get();
        if weight != 1.0 || !self.weights.is_empty() {
            self.weights.resize(self.len(), 1.0);
            self.weights.push(weight);
        }
        self.probabilities.push(forecast.probability);
        self.happened.push(forecast.happened);
    }
}

fn same_length(probabilities: usize, happened: usize) -> Result<()> {
    if probabilities != happened {
        let expected = format!("{probabilities} forecasts");
        return Err(Error::mismatch("outcomes", expected, format!("{happened} outcomes")));
    }
    Ok(())
}

impl TryFrom<State> for Forecasts {
    type Error = Error;

    fn try_from(State { probabilities, happened, weights }: State) -> Result<Self> {
        let forecasts = Self::new(&probabilities, &happened)?;
        if weights.is_empty() { Ok(forecasts) } else { forecasts.weighted(&weights) }
    }
}

impl From<Forecasts> for State {
    fn from(Forecasts { probabilities, happened, weights }: Forecasts) -> Self {
        Self { probabilities, happened, weights }
    }
}
