//! A rising function of one score, where there is a score and an event and no classes.
//!
//! q = g(s), with the non-decreasing g that minimizes Σ_i w_i (g(s_i) − y_i)²
//!
//! s: any finite score, a higher one for what is likelier; y: the event, 1 if it happened and 0 if
//! not, or the share of times that it did; w: weights.
//! Points of the same score are one point with their mean, so their order cannot matter.
//! Between the points of the fit [`Interpolation`] says what g is, below the first it is the first
//! value and above the last the last.
//!
//! [`IsotonicCalibration`](crate::IsotonicCalibration) is this for every class of a classifier, with
//! rows that sum to 1.
//!
//! Source: B. Zadrozny and C. Elkan, "Transforming Classifier Scores into Accurate Multiclass
//! Probability Estimates" (2002).

use serde::{Deserialize, Serialize};
use softlabel_core::Error as Input;
use softlabel_kernels::{IsotonicPoint, isotonic_regression};

use crate::isotonic::{Knot, check_knots, interpolate, knots_of};
use crate::{Interpolation, Result};

/// A non-decreasing function of one score, fitted to events by least squares.
///
/// ```
/// use softlabel_posthoc::{Interpolation, IsotonicRegression};
///
/// // Of two events at 0.25 one happened.
/// let scores = [0.75, 0.5, 0.25, 0.25, 0.125];
/// let events = [1.0, 1.0, 1.0, 0.0, 0.0];
/// let map = IsotonicRegression::fit(&scores, &events, None, Interpolation::Step)?;
/// assert_eq!(map.value(0.3), 0.5);
/// assert_eq!((map.value(-7.0), map.value(7.0)), (0.0, 1.0));
///
/// let map = IsotonicRegression::fit(&scores, &events, None, Interpolation::Linear)?;
/// assert_eq!(map.value(0.375), 0.75);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parameters", into = "Parameters")]
pub struct IsotonicRegression {
    knots: Vec<Knot>,
    interpolation: Interpolation,
}

impl IsotonicRegression {
    /// Fits the function to `events` at `scores`, each counting `weights` times, 1 without.
    ///
    /// A point of weight 0 is as if it were absent.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if nothing counts, if there is not one event and one
    /// weight a score, for a score that is not finite, an event outside \[0, 1\], and a weight that is
    /// negative or not finite.
    ///
    /// ```
    /// use softlabel_posthoc::{Interpolation, IsotonicRegression};
    /// let fit = |scores: &[f64], events: &[f64], weights: &[f64]| {
    ///     IsotonicRegression::fit(scores, events, Some(weights), Interpolation::default())
    /// };
    /// let map = fit(&[0.5, 0.5], &[0.0, 1.0], &[1.0, 3.0])?;
    /// assert_eq!(map.knots(), [(0.5, 0.75)]);
    /// assert!(fit(&[0.5], &[2.0], &[1.0]).is_err());
    /// assert!(fit(&[0.5], &[1.0], &[0.0]).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit(
        scores: &[f64],
        events: &[f64],
        weights: Option<&[f64]>,
        interpolation: Interpolation,
    ) -> Result<Self> {
        let expected = || format!("{} scores", scores.len());
        if events.len() != scores.len() {
            let found = format!("{} events", events.len());
            return Err(Input::mismatch("events", expected(), found).into());
        }
        if let Some(weights) = weights.filter(|weights| weights.len() != scores.len()) {
            let found = format!("{} weights", weights.len());
            return Err(Input::mismatch("weights", expected(), found).into());
        }
        let out_of_range = |name, expected, values: &[f64], valid: fn(f64) -> bool| match values
            .iter()
            .find(|&&value| !valid(value))
        {
            Some(&found) => Err(Input::OutOfRange { name, expected, found }),
            None => Ok(()),
        };
        out_of_range("score", "finite", scores, f64::is_finite)?;
        out_of_range("event", "in [0, 1]", events, |event| (0.0..=1.0).contains(&event))?;
        let valid = |weight| (0.0..f64::INFINITY).contains(&weight);
        out_of_range("weight", "finite and not negative", weights.unwrap_or_default(), valid)?;
        let weight = |index: usize| weights.map_or(1.0, |weights| weights[index]);
        let point = |index: usize| {
            let (score, value) = (scores[index], events[index]);
            IsotonicPoint { score, value, weight: weight(index) }
        };
        let steps = if weights.is_some_and(|weights| weights.contains(&0.0)) {
            let counted: Vec<usize> =
                (0..scores.len()).filter(|&index| weight(index) > 0.0).collect();
            isotonic_regression(counted.len(), |index| point(counted[index]))
        } else {
            isotonic_regression(scores.len(), point)
        };
        let steps = steps.unwrap_or_default();
        if steps.is_empty() {
            return Err(Input::Empty { what: "the set of scores to fit on" }.into());
        }
        Self::from_knots(knots_of(&steps, interpolation), interpolation)
    }

    /// The function through given points (s, q).
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are none, if s does not rise strictly or q
    /// falls, if an s is not finite or a q outside \[0, 1\].
    ///
    /// ```
    /// use softlabel_posthoc::{Interpolation, IsotonicRegression};
    /// let knots = vec![(-1.0, 0.0), (3.0, 1.0)];
    /// let map = IsotonicRegression::from_knots(knots, Interpolation::Linear)?;
    /// assert_eq!(map.value(1.0), 0.5);
    /// assert!(IsotonicRegression::from_knots(vec![], Interpolation::Linear).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_knots(knots: Vec<(f64, f64)>, interpolation: Interpolation) -> Result<Self> {
        check_knots(&knots, f64::NEG_INFINITY..=f64::INFINITY)?;
        Ok(Self { knots, interpolation })
    }

    /// The points (s, q), s rising.
    pub fn knots(&self) -> &[(f64, f64)] {
        &self.knots
    }

    /// What the function is between its points.
    pub fn interpolation(&self) -> Interpolation {
        self.interpolation
    }

    /// q at a score; NaN for NaN.
    ///
    /// ```
    /// use softlabel_posthoc::{Interpolation, IsotonicRegression};
    /// let map = IsotonicRegression::from_knots(vec![(0.0, 0.25)], Interpolation::Step)?;
    /// assert_eq!(map.value(1.0), 0.25);
    /// assert!(map.value(f64::NAN).is_nan());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn value(&self, score: f64) -> f64 {
        if score.is_nan() { score } else { interpolate(&self.knots, self.interpolation, score) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    interpolation: Interpolation,
    knots: Vec<Knot>,
}

impl TryFrom<Parameters> for IsotonicRegression {
    type Error = crate::Error;

    fn try_from(parameters: Parameters) -> Result<Self> {
        Self::from_knots(parameters.knots, parameters.interpolation)
    }
}

impl From<IsotonicRegression> for Parameters {
    fn from(map: IsotonicRegression) -> Self {
        Self { interpolation: map.interpolation, knots: map.knots }
    }
}
