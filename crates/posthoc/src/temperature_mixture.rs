//! One temperature for all logits, and a little of the uniform distribution.
//!
//! q = (1 − w)·softmax(z/T) + w/K, w = c/(n + 1)
//!
//! z: logits `[rows, classes]`; K: classes; n: rows of the fit; T: the temperature that
//! [`TemperatureScaling`] finds, with all its outcomes; c: how many rows the uniform distribution
//! counts as, 1 unless told otherwise.
//!
//! w is not fitted: n right answers are no evidence that the next cannot be wrong, and w is about
//! the share of errors that they leave possible (Laplace's rule of succession).
//! So no loss is infinite, also where the likelihood asks for T → 0: −ln q_y ≤ ln(K/w).
//! What it can cost on rows that temperature scaling gets right is −ln(1 − w), about c/n.
//! The order of the classes stays in every row, so accuracy does.
//!
//! A logit of −∞ is a class that cannot be: the uniform distribution is then that over the others,
//! and K their number.
//!
//! Source: `TS-Mix` of probmetrics, with c = 1; E. Berta, D. Holzmüller, M. I. Jordan, F. Bach,
//! "Structured Matrix Scaling for Multi-Class Calibration" (2025).

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Logits, Scalar, Temperature};
use softlabel_kernels::log_softmax_in_place;

use crate::calibrator::{calibrates_rows, map_rows};
use crate::document::{Document, Written};
use crate::{Calibrator, FitDiagnostics, Result, Targets, TemperatureScaling};

/// How a [`TemperatureMixture`] is fitted.
///
/// ```
/// use softlabel_posthoc::MixtureOptions;
/// assert_eq!(MixtureOptions::default().uniform_rows, 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixtureOptions {
    /// c, how many rows the uniform distribution counts as: at least 0, and at most the rows of the
    /// fit.
    pub uniform_rows: f64,
}

impl Default for MixtureOptions {
    /// One row.
    fn default() -> Self {
        Self { uniform_rows: 1.0 }
    }
}

/// T and w, and what they do to a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mixture {
    temperature: Temperature,
    uniform: f64,
}

impl Mixture {
    /// The temperature that fits best, and w = `uniform_rows`/(n + 1), n being the sum of the weights.
    pub(crate) fn fit<T: Scalar>(
        logits: &Logits<'_, T>,
        targets: &Targets<'_>,
        uniform_rows: f64,
    ) -> Result<(Self, Option<FitDiagnostics>)> {
        let scaling = TemperatureScaling::fit(logits, targets)?;
        let rows = targets.total();
        if !(0.0..=rows).contains(&uniform_rows) {
            let (name, expected) = ("uniform_rows", "at least 0 and at most the number of rows");
            return Err(Input::OutOfRange { name, expected, found: uniform_rows }.into());
        }
        let mixture =
            Self { temperature: scaling.temperature(), uniform: uniform_rows / (rows + 1.0) };
        Ok((mixture, scaling.diagnostics().cloned()))
    }

    /// T and w, if w is in \[0, 1\].
    pub(crate) fn new(temperature: Temperature, uniform: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&uniform) {
            return Ok(Self { temperature, uniform });
        }
        let (name, expected) = ("the share of the uniform distribution", "in [0, 1]");
        Err(Input::OutOfRange { name, expected, found: uniform }.into())
    }

    /// T.
    pub(crate) fn temperature(self) -> Temperature {
        self.temperature
    }

    /// w.
    pub(crate) fn uniform(self) -> f64 {
        self.uniform
    }

    /// Replaces logits by ln q.
    pub(crate) fn map_row(self, row: &mut [f64]) {
        scaled_log_softmax(row, self.temperature);
        if self.uniform > 0.0 {
            let possible = row.iter().filter(|&&l| l > f64::NEG_INFINITY).count() as f64;
            for value in row.iter_mut().filter(|value| **value > f64::NEG_INFINITY) {
                let share = (1.0 - self.uniform) * value.exp() + self.uniform / possible;
                *value = share.ln().min(0.0);
            }
        }
    }
}

/// Replaces logits by ln softmax(z/T), in which nothing is −∞ but classes that cannot be.
pub(crate) fn scaled_log_softmax(row: &mut [f64], temperature: Temperature) {
    // Shifted before it is scaled, so that no quotient overflows to +∞.
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for z in row.iter_mut().filter(|z| **z > f64::NEG_INFINITY) {
        *z = ((*z - highest) / temperature.get()).max(0.5 * f64::MIN);
    }
    log_softmax_in_place(row);
}

/// One temperature for all logits, and a little of the uniform distribution:
/// q = (1 − w)·softmax(z/T) + w/K, w = c/(n + 1).
///
/// T is that of [`TemperatureScaling`]; w depends on the number n of rows of the fit alone, and on
/// c ([`MixtureOptions::uniform_rows`]).
/// No probability of a class that can be is below w/K, so no label makes the negative
/// log-likelihood infinite; the order of the classes stays, so accuracy does.
/// On the rows that were fitted the loss is at most −ln(1 − w) above that of temperature scaling.
///
/// # Little data
/// As [`TemperatureScaling`], whose [outcomes](crate::FitOutcome) these are.
///
/// # Source
/// `TS-Mix` of probmetrics, with c = 1; E. Berta, D. Holzmüller, M. I. Jordan, F. Bach, "Structured
/// Matrix Scaling for Multi-Class Calibration" (2025).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, MixtureOptions, TemperatureMixture};
///
/// // 90 % sure, 75 % right: T = 2 says 0.75, and with four rows w = 1/5.
/// let logits = Logits::new([9.0f64.ln(), 0.0].repeat(4), 2)?;
/// let labels = Labels::new(&[0, 0, 0, 1], 2)?;
/// let map = TemperatureMixture::fit(&logits, &labels, MixtureOptions::default())?;
/// assert!((map.temperature().get() - 2.0).abs() < 1e-9);
/// assert_eq!(map.uniform(), 0.2);
/// let calibrated = map.apply(&logits)?;
/// assert!((calibrated.as_slice()[0].exp() - (0.8 * 0.75 + 0.2 * 0.5)).abs() < 1e-9);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias = "TS-Mix")]
pub struct TemperatureMixture {
    mixture: Mixture,
    classes: usize,
    diagnostics: Option<FitDiagnostics>,
}

impl TemperatureMixture {
    /// Fits the temperature that minimizes the mean negative log-likelihood of the targets, and mixes.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes; n is the sum of the weights
    /// of the targets, if they have any.
    ///
    /// # Errors
    /// Those of [`TemperatureScaling::fit`]; [`Error::Input`](crate::Error::Input) if `uniform_rows`
    /// is negative or more than the rows.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{MixtureOptions, TemperatureMixture};
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 2.0], 2)?;
    /// let labels = Labels::new(&[0, 1], 2)?;
    /// let options = MixtureOptions { uniform_rows: 0.5 };
    /// assert_eq!(TemperatureMixture::fit(&logits, &labels, options)?.uniform(), 0.5 / 3.0);
    /// let options = MixtureOptions { uniform_rows: -1.0 };
    /// assert!(TemperatureMixture::fit(&logits, &labels, options).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        options: MixtureOptions,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let (mixture, fit) = Mixture::fit(&logits, &targets, options.uniform_rows)?;
        let mut map = Self { mixture, classes: logits.classes(), diagnostics: None };
        let nll_after = targets.mean_loss(&map.calibrated(&logits)?);
        map.diagnostics = fit.map(|fit| FitDiagnostics { nll_after, ..fit });
        Ok(map)
    }

    /// The map with a given temperature and share w of the uniform distribution, for `classes`
    /// classes.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if `classes` is 0, or w is outside \[0, 1\].
    ///
    /// ```
    /// use softlabel_core::{Logits, Temperature};
    /// use softlabel_posthoc::{Calibrator, TemperatureMixture};
    /// let map = TemperatureMixture::from_parameters(Temperature::new(1.0)?, 0.1, 2)?;
    /// let calibrated = map.apply(&Logits::new(&[900.0f32, 0.0], 2)?)?;
    /// assert!((calibrated.as_slice()[1].exp() - 0.05).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_parameters(temperature: Temperature, uniform: f64, classes: usize) -> Result<Self> {
        Self::from_parts(Mixture::new(temperature, uniform)?, classes, None)
    }

    fn from_parts(
        mixture: Mixture,
        classes: usize,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        if classes == 0 {
            return Err(Input::Empty { what: "the set of classes" }.into());
        }
        Ok(Self { mixture, classes, diagnostics })
    }

    /// T, what logits are divided by.
    pub fn temperature(&self) -> Temperature {
        self.mixture.temperature
    }

    /// w, the share of the uniform distribution.
    pub fn uniform(&self) -> f64 {
        self.mixture.uniform
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        map_rows(logits, self.classes, |row| self.mixture.map_row(row))
    }
}

calibrates_rows!(TemperatureMixture);

impl Written for TemperatureMixture {
    const METHOD: &'static str = "ts_mix";
    type Parameters = Mixture;

    fn parameters(&self) -> Mixture {
        self.mixture
    }

    fn restore(classes: usize, mixture: Mixture, fit: Option<FitDiagnostics>) -> Result<Self> {
        Self::from_parts(Mixture::new(mixture.temperature, mixture.uniform)?, classes, fit)
    }
}
