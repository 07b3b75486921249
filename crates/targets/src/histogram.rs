//! Regression as classification: a number becomes a distribution over K classes that stand for intervals.
//!
//! A network with K outputs learns the distribution by cross-entropy; its prediction is the expectation
//! Σ_k p_k·c_k of the class centres c.
//!
//! - two-hot: K centres evenly spaced from low to high, both included. A value between two of them is shared so that
//!   the expectation is the value: what is encoded decodes exactly.
//! - HL-Gauss: K bins of equal width w from low to high, c_k their middles. A normal distribution with mean v and
//!   deviation σ is cut off at low and high:
//!   p_k = (Φ((e_{k+1} − v)/σ) − Φ((e_k − v)/σ)) / (Φ((high − v)/σ) − Φ((low − v)/σ)), e the edges of the bins.
//!   Neighbouring bins share, as in ordinal smoothing. The expectation is not exactly v: near an end the cut-off
//!   distribution leans inwards, by up to about 0.8·σ at the end itself. Choose a support that is wider than the data.
//!
//! Numerical notes: differences of Φ are taken between tails on the side of the value, so that a far bin keeps its
//! relative accuracy where Φ itself is 1 but for rounding.
//!
//! Sources: Imani, White, "Improving Regression Performance with Distributional Losses", ICML 2018;
//! Farebrother et al., "Stop Regressing: Training Value Functions via Classification for Scalable Deep RL", ICML 2024
//! (σ = 0.75·w).

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Core, Probabilities, Scalar};

use crate::settings::check_settings;
use crate::{Error, MaskedTargets, Result};

/// What becomes of a value below `low` or above `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outside {
    /// It is an error.
    #[default]
    Refuse,
    /// It counts as the nearer end.
    Clamp,
}

/// How a number becomes a distribution over K classes, and back.
///
/// In serialized form `{ kind = "two_hot", low = -1.0, high = 1.0, classes = 51 }`, or
/// `{ kind = "hl_gauss", low = -1.0, high = 1.0, classes = 50, sigma_ratio = 0.75 }`, where `sigma` may stand for
/// `sigma_ratio`; `outside = "clamp"` may be added to either.
///
/// ```
/// use softlabel_core::Probabilities;
/// use softlabel_targets::HistogramTarget;
///
/// let two_hot = HistogramTarget::two_hot(0.0, 4.0, 5)?;
/// let row = two_hot.encode(&[2.25])?;
/// assert_eq!(row, [0.0, 0.0, 0.75, 0.25, 0.0]);
/// assert_eq!(two_hot.decode(&Probabilities::new(row, 5)?)?, [2.25]);
///
/// let gauss = HistogramTarget::hl_gauss_by_ratio(0.0, 5.0, 5, 0.75)?;
/// let row = gauss.encode(&[2.5])?;
/// assert!((row[2] - 0.4954).abs() < 1e-4 && row[1] == row[3]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[doc(alias = "HL-Gauss")]
#[doc(alias = "TwoHot")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct HistogramTarget {
    low: f64,
    high: f64,
    classes: usize,
    shape: Shape,
    outside: Outside,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    TwoHot,
    Gauss(Width),
}

/// σ, as it was given.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Width {
    Sigma(f64),
    Ratio(f64),
}

impl HistogramTarget {
    /// Two neighbouring centres share a value.
    ///
    /// # Errors
    /// If `low` is not below `high` or one is not finite, or there are fewer than 2 classes.
    pub fn two_hot(low: f64, high: f64, classes: usize) -> Result<Self> {
        Self::new(low, high, classes, Shape::TwoHot)
    }

    /// A normal distribution with deviation `sigma`, in the unit of the values.
    ///
    /// # Errors
    /// As [`two_hot`](Self::two_hot), and if `sigma` is not positive and finite.
    pub fn hl_gauss(low: f64, high: f64, classes: usize, sigma: f64) -> Result<Self> {
        Self::new(low, high, classes, Shape::Gauss(Width::Sigma(sigma)))
    }

    /// A normal distribution whose deviation is `ratio` times the width of a bin; 0.75 in Farebrother et al.
    ///
    /// # Errors
    /// As [`hl_gauss`](Self::hl_gauss).
    pub fn hl_gauss_by_ratio(low: f64, high: f64, classes: usize, ratio: f64) -> Result<Self> {
        Self::new(low, high, classes, Shape::Gauss(Width::Ratio(ratio)))
    }

    fn new(low: f64, high: f64, classes: usize, shape: Shape) -> Result<Self> {
        if !(low.is_finite() && high.is_finite() && low < high && (high - low).is_finite()) {
            let (expected, found) = ("finite, low below high", format!("{low} and {high}"));
            return Err(Core::mismatch("support of a histogram", expected, found).into());
        }
        if classes < 2 {
            return Err(Error::TooFewClasses { what: "a histogram target", classes });
        }
        let target = Self { low, high, classes, shape, outside: Outside::Refuse };
        // So close to each other, or so far from 0, that rounding makes one of two.
        let rises = |class| target.centre(class) < target.centre(class + 1);
        if !(0..classes - 1).all(rises) {
            let found = format!("{classes} between {low} and {high}");
            return Err(Core::mismatch("centres of a histogram", "distinct numbers", found).into());
        }
        match target.sigma() {
            // The width of the support must be seen in the units of sigma.
            Some(sigma) if !(sigma > 0.0 && sigma.is_finite() && (high - low) / sigma > 1e-6) => {
                let name = "sigma of a histogram";
                let expected = "positive, finite and below a million times the support";
                Err(Core::OutOfRange { name, expected, found: sigma }.into())
            }
            _ => Ok(target),
        }
    }

    /// With another rule for values outside the support.
    #[must_use]
    pub fn with_outside(mut self, outside: Outside) -> Self {
        self.outside = outside;
        self
    }

    /// K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The lowest and the highest value that has a place.
    pub fn support(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// σ in the unit of the values; nothing for two-hot.
    pub fn sigma(&self) -> Option<f64> {
        match self.shape {
            Shape::TwoHot => None,
            Shape::Gauss(Width::Sigma(sigma)) => Some(sigma),
            Shape::Gauss(Width::Ratio(ratio)) => {
                Some(ratio * (self.high - self.low) / self.classes as f64)
            }
        }
    }

    /// c: what the classes stand for, ascending.
    pub fn centres(&self) -> Vec<f64> {
        (0..self.classes).map(|class| self.centre(class)).collect()
    }

    fn centre(&self, class: usize) -> f64 {
        match self.shape {
            Shape::TwoHot => self.between(class as f64 / (self.classes - 1) as f64),
            Shape::Gauss(_) => self.between((class as f64 + 0.5) / self.classes as f64),
        }
    }

    /// low at 0, high at 1, exactly.
    fn between(&self, share: f64) -> f64 {
        self.low * (1.0 - share) + self.high * share
    }

    /// The distribution of each value, row-major `[values.len(), classes]`: computed in f64 and rounded once.
    ///
    /// # Errors
    /// As [`encode_into`](Self::encode_into).
    #[allow(clippy::cast_possible_truncation)] // The one rounding to f32 that the documentation states.
    pub fn encode(&self, values: &[f64]) -> Result<Vec<f32>> {
        let mut rows = Vec::with_capacity(values.len() * self.classes);
        let mut row = vec![0.0; self.classes];
        for &value in values {
            self.encode_into(value, &mut row)?;
            rows.extend(row.iter().map(|&p| p as f32));
        }
        Ok(rows)
    }

    /// The distributions of values of which some are missing, row-major `[values.len(), classes]`: rows of those are 0
    /// and do not count.
    ///
    /// # Errors
    /// As [`encode_into`](Self::encode_into).
    ///
    /// ```
    /// use softlabel_targets::HistogramTarget;
    ///
    /// let targets = HistogramTarget::two_hot(0.0, 1.0, 3)?.encode_masked(&[Some(0.25), None])?;
    /// assert_eq!(targets.values, [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]);
    /// assert_eq!(targets.counted, [true, false]);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    #[allow(clippy::cast_possible_truncation)] // The one rounding to f32 that the documentation states.
    pub fn encode_masked(&self, values: &[Option<f64>]) -> Result<MaskedTargets> {
        let mut rows = Vec::with_capacity(values.len() * self.classes);
        let mut row = vec![0.0; self.classes];
        for value in values {
            match value {
                Some(value) => self.encode_into(*value, &mut row)?,
                None => row.fill(0.0),
            }
            rows.extend(row.iter().map(|&p| p as f32));
        }
        let counted = values.iter().map(Option::is_some).collect();
        Ok(MaskedTargets { values: rows, counted })
    }

    /// The distribution of one value, into one place a class.
    ///
    /// # Errors
    /// If the value is NaN, or outside the support and not to be clamped; if there are not as many places as classes.
    pub fn encode_into(&self, value: f64, row: &mut [f64]) -> Result<()> {
        if row.len() != self.classes {
            let (expected, found) = (self.classes.to_string(), row.len().to_string());
            return Err(Core::mismatch("places for a histogram", expected, found).into());
        }
        let inside = (self.low..=self.high).contains(&value);
        if value.is_nan() || (!inside && self.outside == Outside::Refuse) {
            let (name, expected) = ("value", "within the support of the histogram");
            return Err(Core::OutOfRange { name, expected, found: value }.into());
        }
        let value = value.clamp(self.low, self.high);
        match self.sigma() {
            None => self.share_between_two(value, row),
            Some(sigma) => self.integrate(value, sigma, row),
        }
        Ok(())
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 0 and the class count.
    fn share_between_two(&self, value: f64, row: &mut [f64]) {
        let place = (value - self.low) / (self.high - self.low) * (self.classes - 1) as f64;
        let mut below = (place as usize).min(self.classes - 2);
        // The division may round across a centre.
        if value < self.centre(below) {
            below = below.saturating_sub(1);
        }
        let (left, right) = (self.centre(below), self.centre(below + 1));
        let share = ((value - left) / (right - left)).clamp(0.0, 1.0);
        row.fill(0.0);
        row[below] = 1.0 - share;
        row[below + 1] = share;
    }

    fn integrate(&self, value: f64, sigma: f64, row: &mut [f64]) {
        let edge = |index: usize| self.between(index as f64 / self.classes as f64);
        let scaled = |edge: f64| (edge - value) / (sigma * std::f64::consts::SQRT_2);
        let mut from = scaled(self.low);
        for (class, p) in row.iter_mut().enumerate() {
            let to = scaled(edge(class + 1));
            *p = erf_between(from, to);
            from = to;
        }
        // Twice the mass inside the support: the sum of the bins, so that they sum to 1 whatever was rounded.
        let inside: f64 = row.iter().sum();
        for p in row {
            *p /= inside;
        }
    }

    /// Σ_k p_k·c_k for each row.
    ///
    /// # Errors
    /// If the rows are of another number of classes.
    pub fn decode<T: Scalar>(&self, probabilities: &Probabilities<'_, T>) -> Result<Vec<f64>> {
        if probabilities.classes() != self.classes {
            let (expected, found) = (self.classes.to_string(), probabilities.classes().to_string());
            return Err(Core::mismatch("classes of the histogram", expected, found).into());
        }
        let centres = self.centres();
        let expectation = |row: &[T]| row.iter().zip(&centres).map(|(&p, c)| p.into() * c).sum();
        Ok(probabilities.matrix().iter().map(expectation).collect())
    }
}

/// erf(b) − erf(a) for a ≤ b, taken in the tail where both are on one side of 0.
fn erf_between(a: f64, b: f64) -> f64 {
    if a > 0.5 {
        libm::erfc(a) - libm::erfc(b)
    } else if b < -0.5 {
        libm::erfc(-b) - libm::erfc(-a)
    } else {
        libm::erf(b) - libm::erf(a)
    }
}

/// The serialized form: flat, so that an unknown key is found at its own place.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    kind: Kind,
    low: f64,
    high: f64,
    classes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sigma: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sigma_ratio: Option<f64>,
    #[serde(default, skip_serializing_if = "is_default")]
    outside: Outside,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    TwoHot,
    HlGauss,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // The signature that serde calls.
fn is_default(outside: &Outside) -> bool {
    *outside == Outside::default()
}

impl TryFrom<Settings> for HistogramTarget {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        let given =
            [("sigma", settings.sigma.is_some()), ("sigma_ratio", settings.sigma_ratio.is_some())];
        let (kind, needed): (_, &[&[&str]]) = match settings.kind {
            Kind::TwoHot => ("two_hot", &[&[]]),
            Kind::HlGauss => ("hl_gauss", &[&["sigma"], &["sigma_ratio"]]),
        };
        check_settings("histogram", kind, &given, needed, &[])?;
        let shape = match (settings.sigma, settings.sigma_ratio) {
            (Some(sigma), _) => Shape::Gauss(Width::Sigma(sigma)),
            (None, Some(ratio)) => Shape::Gauss(Width::Ratio(ratio)),
            (None, None) => Shape::TwoHot,
        };
        let target = Self::new(settings.low, settings.high, settings.classes, shape)?;
        Ok(target.with_outside(settings.outside))
    }
}

impl From<HistogramTarget> for Settings {
    fn from(target: HistogramTarget) -> Self {
        let HistogramTarget { low, high, classes, shape, outside } = target;
        let (kind, sigma, sigma_ratio) = match shape {
            Shape::TwoHot => (Kind::TwoHot, None, None),
            Shape::Gauss(Width::Sigma(sigma)) => (Kind::HlGauss, Some(sigma), None),
            Shape::Gauss(Width::Ratio(ratio)) => (Kind::HlGauss, None, Some(ratio)),
        };
        Self { kind, low, high, classes, sigma, sigma_ratio, outside }
    }
}
