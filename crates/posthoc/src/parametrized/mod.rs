//! A temperature for every row, which a small network makes of the row's largest probabilities.
//!
//! q = softmax(z/T(z)), T(z) = T₀·exp(−B·tanh(o/B)), B = ln 10, with o the output of the network for the k largest ln p of
//! the row, p = softmax(z), in descending order
//!
//! z: logits `[rows, classes]`; T₀: the temperature that fits best for all rows; features: ln p, not
//! below −100, brought to mean 0 and variance 1 on the rows of the fit; the network: two hidden layers
//! of five, unless told otherwise.
//! Its parameters minimize the squared error, as its authors have it, or the negative log-likelihood
//! ([`FitLoss`]), plus λ times the squares of the hidden weights, with no λ by default.
//!
//! The search of the likelihood begins at o = 0, temperature scaling, and goes downhill; that of the
//! squared error begins where it ended, or at the one temperature that is best for it if that is
//! better: from elsewhere it may end where all probabilities have rounded to 0 and 1, and no derivative
//! says how wrong they are. So in the loss that is fitted the result is never worse than temperature
//! scaling on the rows of the fit. There is more than one minimum: which one is found depends on the
//! seed of the first weights, and on nothing else.
//! T is positive by construction; the order of the classes stays in every row, so accuracy does.
//! Since ln p is normalized a shift of a row of logits changes nothing.
//!
//! Where this differs from its authors' code: T is within a factor of ten of T₀ and not |o|, which touches 0; hidden
//! layers have softplus and not max(x, 0), so that there is a minimum with vanishing derivatives to end
//! at; features are ln p and not z; the search is L-BFGS on all rows and not Adam on a hundred thousand
//! batches.
//!
//! What is defined where there is little to fit: where the likelihood has no best temperature, T is
//! that of [`TemperatureScaling`] in all rows, and so is the [outcome](FitOutcome).
//! A search that has not come to a minimum in the steps that it has ends where it is
//! ([`FitOutcome::IterationLimit`]).
//!
//! A logit of −∞ is a class that cannot be: it stays −∞.
//!
//! Numerical notes: `f64`; derivatives down to 1e-6. The bound is there because the squared error makes temperatures vanish
//! in rows that are lost, whose likelihood then does too: with a factor of 10¹², which the authors allow, the negative
//! log-likelihood of held-out rows may be 10⁹.
//!
//! Source: C. Tomani, D. Cremers, F. Buettner, "Parameterized Temperature Scaling for Boosting the
//! Expressive Power in Post-Hoc Uncertainty Calibration" (2022).

mod network;

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Logits, Scalar, Temperature};
use softlabel_kernels::{
    CompensatedSum, Minimum, MinimumOutcome, MinimumSettings, log_softmax_in_place, minimize,
};

use self::network::Network;
use crate::brier_temperature::brier_temperature;
use crate::calibrator::{calibrates_rows, map_rows};
use crate::document::{Document, Written};
use crate::targets::Row;
use crate::temperature_mixture::scaled_log_softmax;
use crate::{
    Calibrator, Error, FitDiagnostics, FitLoss, FitOutcome, Result, Targets, TemperatureScaling,
};

/// A feature is at least this.
const LEAST_FEATURE: f64 = -100.0;

/// B: a row's temperature is within a factor of e^B, 10, of that of all rows.
const BOUND: f64 = std::f64::consts::LN_10;

/// B·tanh(o/B), whose derivative vanishes nowhere.
fn bounded(output: f64) -> f64 {
    BOUND * (output / BOUND).tanh()
}

/// No derivative is larger at a minimum.
const GRADIENT: f64 = 1e-6;

/// The most numbers that a hidden layer, and the most layers that a network may have.
const MOST: usize = 1000;

/// How a [`ParametrizedTemperature`] is fitted.
///
/// ```
/// use softlabel_posthoc::{FitLoss, ParametrizedOptions};
/// let options = ParametrizedOptions { seed: 3, ..ParametrizedOptions::default() };
/// assert_eq!((options.top, options.nodes, options.layers), (10, 5, 2));
/// assert_eq!(options.loss, FitLoss::Brier);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParametrizedOptions {
    /// k, how many of the largest probabilities of a row the network sees: at least 1, and no more than
    /// there are classes.
    pub top: usize,
    /// How many numbers a hidden layer has: 1 to 1000.
    pub nodes: usize,
    /// The number of hidden layers: 0 to 1000. Without any ln T is linear in the features.
    pub layers: usize,
    /// What is minimized.
    pub loss: FitLoss,
    /// λ, which weighs the squares of the hidden weights: at least 0 and finite.
    pub weight_decay: f64,
    /// How many steps a search may make: there is one for the likelihood, and another for the squared
    /// error.
    pub iterations: usize,
    /// Of the first weights.
    pub seed: u64,
}

impl Default for ParametrizedOptions {
    /// The 10 largest, two layers of 5, the squared error, no decay, as its authors have them; at most
    /// 500 steps, seed 0.
    fn default() -> Self {
        Self {
            top: 10,
            nodes: 5,
            layers: 2,
            loss: FitLoss::Brier,
            weight_decay: 0.0,
            iterations: 500,
            seed: 0,
        }
    }
}

impl ParametrizedOptions {
    /// The same, if all are in their ranges.
    fn checked(self) -> Result<Self> {
        let bad = |name, expected, found| Err(Input::OutOfRange { name, expected, found }.into());
        if self.top == 0 {
            return bad("top", "at least 1", 0.0);
        }
        if !(1..=MOST).contains(&self.nodes) {
            return bad("nodes", "in 1..=1000", self.nodes as f64);
        }
        if self.layers > MOST {
            return bad("layers", "in 0..=1000", self.layers as f64);
        }
        if !(0.0..f64::INFINITY).contains(&self.weight_decay) {
            return bad("weight_decay", "at least 0 and finite", self.weight_decay);
        }
        Ok(self)
    }
}

/// A temperature for every row, made by a small network: q = softmax(z/T(z)).
///
/// T(z) = T₀·exp(−B·tanh(o/B)), B = ln 10, o being the output of a network for the largest ln p of the row, in descending
/// order ([`ParametrizedOptions`]); T₀ is the temperature that fits best for all rows. The parameters
/// minimize the squared error or the negative log-likelihood from temperature scaling on, so in the loss
/// that is fitted the result is never worse than that on the rows of the fit.
/// The order of the classes stays, so accuracy does. For one seed the result is always the same.
///
/// # Little data
/// With so many parameters (96 by default) a few hundred rows are learnt by heart.
/// Where the likelihood has no best temperature T is that of [`TemperatureScaling`] in all rows, and so
/// is the [outcome](FitOutcome); a search that has not come to a minimum in its steps ends where it is
/// ([`FitOutcome::IterationLimit`]).
///
/// # Source
/// C. Tomani, D. Cremers, F. Buettner, "Parameterized Temperature Scaling for Boosting the Expressive
/// Power in Post-Hoc Uncertainty Calibration" (2022); the module of the source says what differs from
/// their code.
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, ParametrizedOptions, ParametrizedTemperature};
///
/// // At 0.99 right 3 times in 4, at 0.7 right 17 times in 20: no single temperature does for both.
/// let sure = [0.99f64.ln(), 0.01f64.ln()].repeat(20);
/// let unsure = [0.7f64.ln(), 0.3f64.ln()].repeat(20);
/// let logits = Logits::new([sure, unsure].concat(), 2)?;
/// let labels: Vec<usize> = (0..40).map(|i| usize::from(if i < 20 { i < 5 } else { i < 23 })).collect();
/// let labels = Labels::new(&labels, 2)?;
/// let map = ParametrizedTemperature::fit(&logits, &labels, ParametrizedOptions::default())?;
/// let calibrated = map.apply(&logits)?;
/// assert!((calibrated.as_slice()[0].exp() - 0.75).abs() < 1e-3);
/// assert!((calibrated.as_slice()[40].exp() - 0.85).abs() < 1e-3);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias("PTS", "parameterized temperature scaling"))]
pub struct ParametrizedTemperature {
    parameters: Parameters,
    classes: usize,
    diagnostics: Option<FitDiagnostics>,
}

/// What a document holds; there is one mean and one deviation a feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    temperature: Temperature,
    means: Vec<f64>,
    deviations: Vec<f64>,
    network: Network,
}

impl ParametrizedTemperature {
    /// Fits the temperature of all rows, then the network.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes; `targets` are labels or
    /// distributions, with weights or without.
    /// The losses of the diagnostics are negative log-likelihoods, whatever was minimized.
    ///
    /// # Errors
    /// Those of [`TemperatureScaling::fit`]; [`Error::Input`] for options out of their range;
    /// [`Error::NotConverged`] if the logits are so large that `f64` cannot hold their squares.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{ParametrizedOptions, ParametrizedTemperature};
    ///
    /// let logits = Logits::new(&[2.0, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 1.0], 2)?;
    /// let labels = Labels::new(&[0, 1, 1, 0], 2)?;
    /// let options = ParametrizedOptions { top: 0, ..ParametrizedOptions::default() };
    /// assert!(ParametrizedTemperature::fit(&logits, &labels, options).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        options: ParametrizedOptions,
    ) -> Result<Self> {
        let options = options.checked()?;
        let (logits, targets) = targets.into().of_fit(logits)?;
        let scaling = TemperatureScaling::fit(&logits, &targets)?;
        let classes = logits.classes();
        let rows = map_rows(&logits, classes, log_softmax_in_place)?;
        let top = options.top.min(classes);
        let features: Vec<f64> =
            rows.chunks_exact(classes).flat_map(|row| largest(row, top)).collect();
        let (means, deviations) = moments(&features, top, &targets);
        let network = Network::new(top, vec![options.nodes; options.layers], options.seed);
        let temperature = scaling.temperature();
        let mut parameters = Parameters { temperature, means, deviations, network };
        let mut fit = scaling.diagnostics().cloned();
        if let Some(fit) = fit.as_mut().filter(|fit| fit.outcome.converged()) {
            let minimum = search(&rows, &targets, &features, &parameters, options)?;
            fit.iterations += minimum.iterations;
            if minimum.gradient > GRADIENT {
                fit.outcome = FitOutcome::IterationLimit;
            }
            parameters.network = parameters.network.with_parameters(minimum.position);
        }
        let mut map = Self { parameters, classes, diagnostics: None };
        let after = map.calibrated(&logits)?;
        map.diagnostics = fit.map(|fit| FitDiagnostics {
            nll_after: targets.mean_loss(&after),
            objective: options.loss.objective(&targets, &rows, &after),
            ..fit
        });
        Ok(map)
    }

    fn from_parts(
        parameters: Parameters,
        classes: usize,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        let Parameters { temperature, means, deviations, network } = parameters;
        let inputs = means.len();
        if classes == 0 || inputs == 0 {
            let what = if classes == 0 { "the set of classes" } else { "the set of features" };
            return Err(Input::Empty { what }.into());
        }
        if deviations.len() != inputs || inputs > classes {
            let what = "number of features";
            let found = format!("{inputs} means and {} deviations", deviations.len());
            let expected = format!("as many means as deviations, at most {classes}");
            return Err(Input::mismatch(what, expected, found).into());
        }
        if let Some(&found) = means.iter().find(|mean| !mean.is_finite()) {
            let name = "the mean of a feature";
            return Err(Input::OutOfRange { name, expected: "finite", found }.into());
        }
        let positive = |deviation: &&f64| **deviation > 0.0 && deviation.is_finite();
        if let Some(&found) = deviations.iter().find(|deviation| !positive(deviation)) {
            let (name, expected) = ("the deviation of a feature", "positive and finite");
            return Err(Input::OutOfRange { name, expected, found }.into());
        }
        let network = network.checked(inputs)?;
        let parameters = Parameters { temperature, means, deviations, network };
        Ok(Self { parameters, classes, diagnostics })
    }

    /// T₀, the temperature of rows for which the network says 0.
    pub fn temperature(&self) -> Temperature {
        self.parameters.temperature
    }

    /// T of every row.
    ///
    /// # Errors
    /// [`Error::ClassCount`] if the logits are of another number of classes.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{ParametrizedOptions, ParametrizedTemperature};
    ///
    /// // All right: no temperature is best, and there is one for all rows.
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 3.0], 2)?;
    /// let labels = Labels::new(&[0, 1], 2)?;
    /// let map = ParametrizedTemperature::fit(&logits, &labels, ParametrizedOptions::default())?;
    /// assert_eq!(map.temperatures(&logits)?, [map.temperature(); 2]);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn temperatures<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<Temperature>> {
        let rows = map_rows(logits, self.classes, log_softmax_in_place)?;
        rows.chunks_exact(self.classes).map(|row| self.temperature_of(row)).collect()
    }

    /// T of a row of ln p.
    fn temperature_of(&self, row: &[f64]) -> Result<Temperature> {
        let Parameters { temperature, means, deviations, network } = &self.parameters;
        let features: Vec<f64> = largest(row, means.len())
            .zip(means.iter().zip(deviations))
            .map(|(x, (mean, deviation))| (x - mean) / deviation)
            .collect();
        let output = network.value(network.parameters(), &features, &mut Vec::new());
        // A sum of infinities of both signs is no number, and neither is its power.
        let output = if output.is_nan() { 0.0 } else { output };
        let factor = (-bounded(output)).exp();
        let product = (temperature.get() * factor).clamp(f64::MIN_POSITIVE, f64::MAX);
        Ok(Temperature::new(product)?)
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        let mut rows = map_rows(logits, self.classes, log_softmax_in_place)?;
        for row in rows.chunks_exact_mut(self.classes) {
            let temperature = self.temperature_of(row)?;
            scaled_log_softmax(row, temperature);
        }
        Ok(rows)
    }
}

/// The `count` largest numbers of a row, in descending order, and not too small.
fn largest(row: &[f64], count: usize) -> impl Iterator<Item = f64> {
    let mut sorted = row.to_vec();
    sorted.sort_by(|x, y| y.total_cmp(x));
    sorted.truncate(count);
    sorted.into_iter().map(|x| x.max(LEAST_FEATURE))
}

/// The weighted mean and standard deviation of every feature; 1 for one that does not vary.
fn moments(features: &[f64], count: usize, targets: &Targets<'_>) -> (Vec<f64>, Vec<f64>) {
    let total = targets.total();
    let column = |index: usize| {
        let values = features.iter().skip(index).step_by(count.max(1));
        values.enumerate().map(|(row, x)| (targets.weight(row), x))
    };
    let of_column = |index: usize| {
        let sum = column(index).map(|(w, x)| w * x).collect::<CompensatedSum>();
        let mean = sum.value() / total;
        let squares = column(index).map(|(w, x)| w * (x - mean).powi(2));
        let deviation = (squares.collect::<CompensatedSum>().value() / total).sqrt();
        // What is left of equal numbers is the rounding of their mean.
        let varies = deviation > 1e-12 * mean.abs();
        (mean, if varies { deviation } else { 1.0 })
    };
    (0..count).map(of_column).unzip()
}

/// The parameters with the least loss: of the likelihood from o = 0 on; then, if it is asked for, of
/// the squared error from there on, or from the best temperature of all rows if that is better.
fn search(
    rows: &[f64],
    targets: &Targets<'_>,
    features: &[f64],
    parameters: &Parameters,
    options: ParametrizedOptions,
) -> Result<Minimum> {
    let checked = |minimum: Minimum| match minimum.outcome {
        MinimumOutcome::NotFinite => {
            let method = ParametrizedTemperature::METHOD;
            Err(Error::NotConverged { method, class: None, iterations: minimum.iterations })
        }
        _ => Ok(minimum),
    };
    let of = |loss| {
        let options = ParametrizedOptions { loss, ..options };
        Problem::new(rows, targets, features, parameters, options)
    };
    let zero = parameters.network.parameters();
    let likely = checked(of(FitLoss::Nll).minimize(zero))?;
    if options.loss == FitLoss::Nll {
        return Ok(likely);
    }
    let squared = of(FitLoss::Brier);
    let single = brier_temperature(rows, targets, parameters.temperature)?;
    let mut start = zero.to_vec();
    // The last number is the constant of o.
    if let Some(constant) = start.last_mut() {
        let wanted = (parameters.temperature.get() / single.get()).ln() / BOUND;
        *constant = BOUND * wanted.clamp(-0.99, 0.99).atanh();
    }
    let value = |position: &[f64]| squared.objective(position, &mut vec![0.0; position.len()]);
    if value(&likely.position) <= value(&start) {
        start = likely.position;
    }
    let minimum = checked(squared.minimize(&start))?;
    Ok(Minimum { iterations: likely.iterations + minimum.iterations, ..minimum })
}

/// The loss over the parameters of the network.
struct Problem<'a> {
    /// ln p.
    rows: &'a [f64],
    targets: &'a Targets<'a>,
    /// Standardized.
    features: Vec<f64>,
    network: &'a Network,
    inputs: usize,
    /// 1/T₀.
    beta: f64,
    options: ParametrizedOptions,
}

impl<'a> Problem<'a> {
    fn new(
        rows: &'a [f64],
        targets: &'a Targets<'_>,
        features: &[f64],
        Parameters { temperature, means, deviations, network }: &'a Parameters,
        options: ParametrizedOptions,
    ) -> Self {
        let inputs = means.len();
        let of_row = |row: &[f64]| -> Vec<f64> {
            let moments = means.iter().zip(deviations);
            row.iter().zip(moments).map(|(x, (mean, deviation))| (x - mean) / deviation).collect()
        };
        let features = features.chunks_exact(inputs).flat_map(of_row).collect();
        Self { rows, targets, features, network, inputs, beta: temperature.inverse(), options }
    }

    fn minimize(&self, start: &[f64]) -> Minimum {
        let settings = MinimumSettings {
            gradient: GRADIENT,
            iterations: self.options.iterations,
            ..MinimumSettings::default()
        };
        let function =
            |parameters: &[f64], gradient: &mut [f64]| self.objective(parameters, gradient);
        minimize(function, start, &settings)
    }

    fn objective(&self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let classes = self.targets.classes();
        let total = self.targets.total();
        let mut loss = CompensatedSum::default();
        let mut l = vec![0.0; classes];
        let mut states = Vec::new();
        let rows = self.rows.chunks_exact(classes).zip(self.features.chunks_exact(self.inputs));
        for (index, (row, features)) in rows.enumerate() {
            let (weight, target) = (self.targets.weight(index), self.targets.row(index));
            let output = self.network.value(parameters, features, &mut states);
            let bounded = bounded(output);
            let beta = self.beta * bounded.exp();
            for (l, x) in l.iter_mut().zip(row) {
                *l = if x.is_finite() { (beta * x).max(0.5 * f64::MIN) } else { *x };
            }
            log_softmax_in_place(&mut l);
            let (value, by_beta) = loss_of_row(self.options.loss, row, &l, target);
            loss.add(weight * value);
            let by_output = 1.0 - (bounded / BOUND).powi(2);
            let slope = weight * by_beta * beta * by_output / total;
            self.network.add_gradient(parameters, features, &states, slope, gradient);
        }
        let decay = self.options.weight_decay;
        loss.value() / total + self.network.add_decay(self.inputs, decay, parameters, gradient)
    }
}

/// The loss of a row x whose calibrated log-probabilities are l = ln softmax(βx), and its derivative by
/// β.
fn loss_of_row(loss: FitLoss, row: &[f64], l: &[f64], target: Row<'_>) -> (f64, f64) {
    let possible = || row.iter().zip(l).enumerate().filter(|(_, (x, _))| x.is_finite());
    let mean: f64 = possible().map(|(_, (x, l))| l.exp() * x).sum();
    match loss {
        FitLoss::Nll => target.masses().fold((0.0, mean), |(value, slope), (class, t)| {
            (value - t * l[class], slope - t * row[class])
        }),
        FitLoss::Brier => possible().fold((0.0, 0.0), |(value, slope), (class, (x, l))| {
            let p = l.exp();
            let off = p - target.share(class);
            (value + off * off, slope + 2.0 * off * p * (x - mean))
        }),
    }
}

calibrates_rows!(ParametrizedTemperature);

impl Written for ParametrizedTemperature {
    const METHOD: &'static str = "parametrized_temperature";
    type Parameters = Parameters;

    fn parameters(&self) -> Parameters {
        self.parameters.clone()
    }

    fn restore(
        classes: usize,
        parameters: Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        Self::from_parts(parameters, classes, fit)
    }
}

#[cfg(test)]
mod tests {
    use softlabel_core::Labels;

    use super::*;

    /// By central differences, of both losses, with all that the objective has.
    #[test]
    fn the_objective_has_the_derivatives_that_it_says() {
        let logits: Vec<f64> = (0..60).map(|i| f64::from((7 * i + 5 * i * i) % 23) / 8.0).collect();
        let logits = Logits::new(logits, 4).unwrap();
        let labels = Labels::new(&[0, 1, 2, 3, 1].repeat(3), 4).unwrap();
        let rows = map_rows(&logits, 4, log_softmax_in_place).unwrap();
        let features: Vec<f64> = rows.chunks_exact(4).flat_map(|row| largest(row, 3)).collect();
        let targets = Targets::from(&labels);
        let (means, deviations) = moments(&features, 3, &targets);
        let network = Network::new(3, vec![4, 3], 1);
        let temperature = Temperature::new(0.7).unwrap();
        let parameters = Parameters { temperature, means, deviations, network };
        for loss in [FitLoss::Brier, FitLoss::Nll] {
            let options =
                ParametrizedOptions { loss, weight_decay: 0.01, ..ParametrizedOptions::default() };
            let problem = Problem::new(&rows, &targets, &features, &parameters, options);
            let count = parameters.network.parameters().len();
            let at: Vec<f64> = (0..count).map(|i| 0.3 * (i as f64).sin()).collect();
            let mut gradient = vec![0.0; count];
            problem.objective(&at, &mut gradient);
            for (index, slope) in gradient.iter().enumerate() {
                let value = |step: f64| {
                    let mut moved = at.clone();
                    moved[index] += step;
                    problem.objective(&moved, &mut vec![0.0; count])
                };
                let expected = (value(1e-5) - value(-1e-5)) / 2e-5;
                assert!((slope - expected).abs() < 1e-8, "{loss:?} {index}: {slope}, {expected}");
            }
        }
    }
}
