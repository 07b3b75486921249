//! The scaled, the unscaled and the uniform distribution, averaged.
//!
//! q = w₁·softmax(z/T) + w₂·softmax(z) + w₃/K, with w ≥ 0 and Σ w = 1
//!
//! z: logits `[rows, classes]`; K: classes; T: the temperature that minimizes the loss of softmax(z/T)
//! alone; w: the weights that then minimize that of q. The loss is the mean squared error, as its
//! authors have it, or the negative log-likelihood ([`FitLoss`]).
//!
//! In w the problem is convex, and its optimum is found on the whole triangle; (1, 0, 0), temperature
//! scaling, is in it, and if T does no harm so is no map at all. So in the loss that is fitted the
//! result is never worse than temperature scaling on the rows that were fitted.
//! The mean squared error is not convex in 1/T: the search goes downhill from the temperature of the
//! likelihood, by factors of √2 until it rises, and to the minimum in between.
//! The order of the classes stays in every row, so accuracy does.
//!
//! What is defined where there is little to fit: where the likelihood has no best temperature, T is
//! that of [`TemperatureScaling`], and so is the [outcome](crate::FitOutcome).
//! Where T = 1 the first two distributions are the same, and w₁ has what both could.
//!
//! A logit of −∞ is a class that cannot be: the uniform distribution is then that over the others,
//! and K their number.
//!
//! Numerical notes: T to 1e-12; Newton's method with an active set for w, until slopes are equal to
//! 1e-12; q in logarithms.
//!
//! Source: J. Zhang, B. Kailkhura, T. Y.-J. Han, "Mix-n-Match: Ensemble and Compositional Methods for
//! Uncertainty Calibration in Deep Learning" (2020), "ensemble temperature scaling".

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Logits, Scalar, Temperature};
use softlabel_kernels::{CompensatedSum, log_softmax_in_place, log_sum_exp};

use crate::brier_temperature::brier_temperature;
use crate::calibrator::{calibrates_rows, map_rows};
use crate::document::{Document, Written};
use crate::simplex::{Taylor, Triple, minimize_on_simplex};
use crate::temperature_mixture::scaled_log_softmax;
use crate::{Calibrator, Error, FitDiagnostics, FitLoss, Result, Targets, TemperatureScaling};

/// How far from 1 a sum of given weights may be.
const SUM_TOLERANCE: f64 = 1e-9;

/// The scaled, the unscaled and the uniform distribution, averaged:
/// q = w₁·softmax(z/T) + w₂·softmax(z) + w₃/K.
///
/// T minimizes the loss of softmax(z/T), then w that of q, over w ≥ 0 with Σ w = 1, where it is
/// convex. The loss is the mean squared error unless told otherwise ([`FitLoss`]); in that loss the
/// result is never worse than temperature scaling on the rows that were fitted.
/// The order of the classes stays, so accuracy does.
///
/// # Little data
/// Where the likelihood has no best temperature, T is that of
/// [`TemperatureScaling`], and so is the [outcome](crate::FitOutcome).
///
/// # Source
/// J. Zhang, B. Kailkhura, T. Y.-J. Han, "Mix-n-Match: Ensemble and Compositional Methods for
/// Uncertainty Calibration in Deep Learning" (2020).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, EnsembleTemperature, FitLoss, TemperatureScaling};
///
/// // Sure at 0.999 and right 3 times in 4, undecided between 0.6 and 0.4 and right 3 in 5: no T suits both,
/// // an average of distributions does.
/// let sure = [0.999f64.ln(), 0.001f64.ln()].repeat(20);
/// let undecided = [0.6f64.ln(), 0.4f64.ln()].repeat(20);
/// let logits = Logits::new([sure, undecided].concat(), 2)?;
/// let labels: Vec<usize> = (0..40).map(|i| usize::from(if i < 20 { i < 5 } else { i < 28 })).collect();
/// let labels = Labels::new(&labels, 2)?;
/// let map = EnsembleTemperature::fit(&logits, &labels, FitLoss::Nll)?;
/// assert!((map.weights().iter().sum::<f64>() - 1.0).abs() < 1e-12);
/// let nll = |fit: Option<&softlabel_posthoc::FitDiagnostics>| fit.unwrap().nll_after;
/// let scaling = TemperatureScaling::fit(&logits, &labels)?;
/// assert!(nll(map.diagnostics()) < nll(scaling.diagnostics()) - 0.001);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias("ETS", "ensemble temperature scaling"))]
pub struct EnsembleTemperature {
    temperature: Temperature,
    weights: Triple,
    classes: usize,
    diagnostics: Option<FitDiagnostics>,
}

impl EnsembleTemperature {
    /// Fits the temperature, then the weights.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes; `targets` are labels or
    /// distributions, with weights or without.
    ///
    /// # Errors
    /// Those of [`TemperatureScaling::fit`].
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{EnsembleTemperature, FitLoss};
    ///
    /// let logits = Logits::new([9.0f64.ln(), 0.0].repeat(4), 2)?;
    /// let labels = Labels::new(&[0, 0, 0, 1], 2)?;
    /// let map = EnsembleTemperature::fit(&logits, &labels, FitLoss::Brier)?;
    /// assert!((map.temperature().get() - 2.0).abs() < 1e-9);
    /// assert!((map.weights()[0] - 1.0).abs() < 1e-9);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        loss: FitLoss,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let scaling = TemperatureScaling::fit(&logits, &targets)?;
        let classes = logits.classes();
        let rows = map_rows(&logits, classes, log_softmax_in_place)?;
        let determined = scaling.diagnostics().is_some_and(|fit| fit.outcome.converged());
        let temperature = match loss {
            FitLoss::Brier if determined => {
                brier_temperature(&rows, &targets, scaling.temperature())?
            }
            FitLoss::Brier | FitLoss::Nll => scaling.temperature(),
        };
        let members = Members { rows: &rows, targets: &targets, temperature };
        let found = match loss {
            FitLoss::Brier => members.least_squares(),
            FitLoss::Nll => members.most_likely(),
        };
        let (weights, iterations) = found.map_err(|iterations| Error::NotConverged {
            method: Self::METHOD,
            class: None,
            iterations,
        })?;
        let total: f64 = weights.iter().sum();
        let weights = weights.map(|weight| weight / total);
        let mut map = Self { temperature, weights, classes, diagnostics: None };
        let after = map.calibrated(&logits)?;
        map.diagnostics = scaling.diagnostics().map(|fit| FitDiagnostics {
            nll_after: targets.mean_loss(&after),
            objective: loss.objective(&targets, &rows, &after),
            iterations: fit.iterations + iterations,
            ..fit.clone()
        });
        Ok(map)
    }

    /// The map with a given temperature and weights (w₁, w₂, w₃), for `classes` classes.
    ///
    /// # Errors
    /// [`Error::Input`] if `classes` is 0, a weight is negative or not finite, or they do not sum to
    /// 1 within 1e-9.
    ///
    /// ```
    /// use softlabel_core::{Logits, Temperature};
    /// use softlabel_posthoc::{Calibrator, EnsembleTemperature};
    /// let map = EnsembleTemperature::from_parameters(Temperature::new(2.0)?, [0.5, 0.25, 0.25], 2)?;
    /// let calibrated = map.apply(&Logits::new(vec![9.0f64.ln(), 0.0], 2)?)?;
    /// assert!((calibrated.as_slice()[0].exp() - (0.375 + 0.225 + 0.125)).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_parameters(
        temperature: Temperature,
        weights: [f64; 3],
        classes: usize,
    ) -> Result<Self> {
        Self::from_parts(Parameters { temperature, weights }, classes, None)
    }

    fn from_parts(
        Parameters { temperature, weights }: Parameters,
        classes: usize,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        if classes == 0 {
            return Err(Input::Empty { what: "the set of classes" }.into());
        }
        let outside = |weight: &&f64| !(0.0..=1.0 + SUM_TOLERANCE).contains(*weight);
        if let Some(&found) = weights.iter().find(outside) {
            let name = "a weight of the ensemble";
            return Err(Input::OutOfRange { name, expected: "in [0, 1]", found }.into());
        }
        let total: f64 = weights.iter().sum();
        if (total - 1.0).abs() > SUM_TOLERANCE {
            let name = "the sum of the weights of the ensemble";
            return Err(Input::OutOfRange { name, expected: "1", found: total }.into());
        }
        Ok(Self { temperature, weights, classes, diagnostics })
    }

    /// T, what logits are divided by in the first distribution.
    pub fn temperature(&self) -> Temperature {
        self.temperature
    }

    /// w₁ of the scaled, w₂ of the unscaled and w₃ of the uniform distribution.
    pub fn weights(&self) -> [f64; 3] {
        self.weights
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        let [scaled, unscaled, uniform] = self.weights.map(f64::ln);
        map_rows(logits, self.classes, |row| {
            let possible = row.iter().filter(|&&z| z > f64::NEG_INFINITY).count() as f64;
            let mut tempered = row.to_vec();
            scaled_log_softmax(&mut tempered, self.temperature);
            log_softmax_in_place(row);
            for (value, tempered) in row.iter_mut().zip(tempered) {
                if *value > f64::NEG_INFINITY {
                    let terms = [scaled + tempered, unscaled + *value, uniform - possible.ln()];
                    *value = log_sum_exp(&terms).min(0.0);
                }
            }
        })
    }
}

/// The three distributions of every row.
struct Members<'a> {
    /// ln softmax(z).
    rows: &'a [f64],
    targets: &'a Targets<'a>,
    temperature: Temperature,
}

impl Members<'_> {
    /// `visit` is shown the scaled and the unscaled distribution of a row, the uniform share, and the
    /// number of the row.
    fn walk(&self, mut visit: impl FnMut(&[f64], &[f64], f64, usize)) {
        let classes = self.targets.classes();
        let (mut scaled, mut unscaled) = (vec![0.0; classes], vec![0.0; classes]);
        for (index, row) in self.rows.chunks_exact(classes).enumerate() {
            scaled.copy_from_slice(row);
            scaled_log_softmax(&mut scaled, self.temperature);
            for value in &mut scaled {
                *value = value.exp();
            }
            for (p, x) in unscaled.iter_mut().zip(row) {
                *p = x.exp();
            }
            let possible = row.iter().filter(|x| x.is_finite()).count();
            visit(&scaled, &unscaled, (possible as f64).recip(), index);
        }
    }

    /// The weights with the least mean squared error, a quadratic.
    fn least_squares(&self) -> Result<(Triple, usize), usize> {
        let mut products = [[CompensatedSum::default(); 3]; 3];
        let mut hits = [CompensatedSum::default(); 3];
        self.walk(|scaled, unscaled, uniform, row| {
            let (weight, target) = (self.targets.weight(row), self.targets.row(row));
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            let between = dot(scaled, unscaled);
            // A distribution times the uniform one is its share, and so is that one squared.
            let rows = [
                [dot(scaled, scaled), between, uniform],
                [between, dot(unscaled, unscaled), uniform],
                [uniform; 3],
            ];
            for (sums, row) in products.iter_mut().zip(rows) {
                for (sum, product) in sums.iter_mut().zip(row) {
                    sum.add(weight * product);
                }
            }
            for (class, t) in target.masses() {
                let of_class = [scaled[class], unscaled[class], uniform];
                for (sum, hit) in hits.iter_mut().zip(of_class) {
                    sum.add(weight * t * hit);
                }
            }
        });
        let rows = self.targets.total();
        let products = products.map(|sums| sums.map(|sum| sum.value() / rows));
        let hits = hits.map(|sum| sum.value() / rows);
        let quadratic = |weights: Triple| {
            let along =
                products.map(|row| row.iter().zip(weights).map(|(a, w)| a * w).sum::<f64>());
            let value = (0..3).map(|i| weights[i] * (along[i] - 2.0 * hits[i])).sum::<f64>() + 1.0;
            let gradient = std::array::from_fn(|i| 2.0 * (along[i] - hits[i]));
            Taylor {
                value,
                gradient,
                hessian: products.map(|row| row.map(|product| 2.0 * product)),
            }
        };
        minimize_on_simplex(quadratic, [1.0, 0.0, 0.0])
    }

    /// The weights with the least negative log-likelihood.
    fn most_likely(&self) -> Result<(Triple, usize), usize> {
        let mut hits: Vec<(Triple, f64)> = Vec::with_capacity(self.targets.len());
        self.walk(|scaled, unscaled, uniform, row| {
            let weight = self.targets.weight(row);
            let masses = self.targets.row(row).masses();
            hits.extend(masses.map(|(k, t)| ([scaled[k], unscaled[k], uniform], weight * t)));
        });
        let rows = self.targets.total();
        let likelihood = |weights: Triple| {
            let mut value = CompensatedSum::default();
            let mut gradient = [CompensatedSum::default(); 3];
            let mut hessian = [[CompensatedSum::default(); 3]; 3];
            for (hit, mass) in &hits {
                let q: f64 = hit.iter().zip(weights).map(|(p, w)| p * w).sum();
                value.add(-mass * q.ln());
                let shares = hit.map(|p| p / q);
                for ((slope, sums), share) in gradient.iter_mut().zip(&mut hessian).zip(shares) {
                    slope.add(-mass * share);
                    for (sum, other) in sums.iter_mut().zip(shares) {
                        sum.add(mass * share * other);
                    }
                }
            }
            let mean = |sum: CompensatedSum| sum.value() / rows;
            Taylor {
                value: mean(value),
                gradient: gradient.map(mean),
                hessian: hessian.map(|sums| sums.map(mean)),
            }
        };
        // A label that has rounded to 0 in both distributions needs the third.
        let at_zero = hits.iter().any(|(hit, _)| hit[0] < f64::MIN_POSITIVE);
        let start = if at_zero { [1.0 / 3.0; 3] } else { [1.0, 0.0, 0.0] };
        minimize_on_simplex(likelihood, start)
    }
}

calibrates_rows!(EnsembleTemperature);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    temperature: Temperature,
    weights: Triple,
}

impl Written for EnsembleTemperature {
    const METHOD: &'static str = "ensemble_temperature";
    type Parameters = Parameters;

    fn parameters(&self) -> Parameters {
        Parameters { temperature: self.temperature, weights: self.weights }
    }

    fn restore(
        classes: usize,
        parameters: Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(parameters, classes, fit)
    }
}
