//! Several signals of confidence made one probability, by regularized logistic regression.
//!
//! p = σ(b + Σ_j a_j x_j), x_j = (g_j(s_j) − m_j)/d_j
//!
//! s: signals of a row, such as a retriever's score, the probability of the generated sequence and a
//! verifier's score; g_j: the [`Transform`] of signal j; m_j, d_j: mean and standard deviation of g_j(s_j)
//! over the rows of the fit, so that the a_j can be compared with each other; (a, b) minimizes
//!
//! F(a, b) = (Σ_i w_i (ln(1 + e^{u_i}) − t_i u_i) + ρ/2 Σ_j a_j²) / Σ_i w_i, u = b + Σ_j a_j x_j
//!
//! t_i: whether the row was right, or how much so; ρ: the ridge. b is not held back, so the mean of p
//! over the rows of the fit is the share of right ones.
//! F is strictly convex in a; its minimum exists and is the only one if both outcomes occur.
//!
//! What is defined where there is little to fit:
//!
//! - One outcome only: a = 0 and p is the constant of Laplace's rule of succession, (n₊ + 1)/(n + 2)
//!   ([`FitOutcome::OneSided`]).
//! - A signal that is the same in all rows says nothing: a_j = 0.
//! - No signal that varies: p is the share of right rows ([`FitOutcome::Flat`]).
//!
//! Source: D. R. Cox, "The Regression Analysis of Binary Sequences" (1958); the ridge: S. le Cessie,
//! J. C. van Houwelingen, "Ridge Estimators in Logistic Regression" (1992).

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Logits};
use softlabel_kernels::{CompensatedSum, MinimumOutcome, MinimumSettings, minimize_newton};

use crate::{Error, FitDiagnostics, FitOutcome, Objective, Result, Targets};

const SCHEMA: &str = "softlabel.signals/1";

/// What is nearer to 0 or 1 counts as this near, under [`Transform::LogOdds`].
const CLIP: f64 = 1e-9;

/// A search that ends because `f64` sees no decrease has converged if its gradient is below this.
const STALLED_GRADIENT: f64 = 1e-6;

/// What is made of a signal before it is standardized.
///
/// ```
/// use softlabel_posthoc::Transform;
/// assert_eq!(Transform::default(), Transform::Identity);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Nothing: any finite number, such as a similarity or a log-probability.
    #[default]
    Identity,
    /// ln p − ln(1 − p) of a probability p, which is brought into \[1e-9, 1 − 1e-9\] first: what is
    /// itself a probability adds up as log-odds.
    LogOdds,
}

/// A signal: its name, and what is made of it.
///
/// ```
/// use softlabel_posthoc::{Signal, Transform};
/// let verifier = Signal::log_odds("verifier");
/// assert_eq!((verifier.name.as_str(), verifier.transform), ("verifier", Transform::LogOdds));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// What errors and documents call it.
    pub name: String,
    /// What is made of it.
    #[serde(default)]
    pub transform: Transform,
}

impl Signal {
    /// A signal that is used as it is.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), transform: Transform::Identity }
    }

    /// A signal that is a probability.
    pub fn log_odds(name: impl Into<String>) -> Self {
        Self { name: name.into(), transform: Transform::LogOdds }
    }

    /// The transformed value; `None` for a missing one.
    fn transformed(&self, row: usize, value: f64) -> Result<Option<f64>> {
        let (valid, expected) = match self.transform {
            Transform::Identity => (value.is_finite(), "finite"),
            Transform::LogOdds => ((0.0..=1.0).contains(&value), "a probability"),
        };
        if value.is_nan() {
            return Ok(None);
        }
        if !valid {
            let signal = self.name.clone();
            return Err(Error::BadSignal { signal, row, expected, found: value });
        }
        Ok(Some(match self.transform {
            Transform::Identity => value,
            Transform::LogOdds => {
                let p = value.clamp(CLIP, 1.0 - CLIP);
                p.ln() - (-p).ln_1p()
            }
        }))
    }
}

/// What becomes of signals that are missing, that is, NaN.
///
/// ```
/// use softlabel_posthoc::Missing;
/// assert_eq!(Missing::default(), Missing::Refuse);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// They are an error, in the fit and afterwards.
    #[default]
    Refuse,
    /// They count as the mean of the rows of the fit that have the signal: they add nothing.
    Mean,
    /// They count as the mean, and that they are missing is one more signal with a factor of its own:
    /// for signals that are missing for a reason, such as a verifier that gave no answer.
    Indicate,
}

/// How signals are combined.
///
/// ```
/// use softlabel_posthoc::{Missing, SignalOptions};
/// let options = SignalOptions { missing: Missing::Mean, ..SignalOptions::default() };
/// assert_eq!(options.ridge, 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignalOptions {
    /// ρ, positive: as much as so many rows hold the factors back, whatever the number of rows.
    pub ridge: f64,
    /// What becomes of missing signals.
    pub missing: Missing,
}

impl Default for SignalOptions {
    /// ρ = 1, and no missing signals.
    fn default() -> Self {
        Self { ridge: 1.0, missing: Missing::Refuse }
    }
}

/// What a signal became of in a fit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FittedSignal {
    /// m, the mean of the transformed signal over the rows that have it.
    pub mean: f64,
    /// d, its standard deviation; 0 of a signal that is the same everywhere.
    pub deviation: f64,
    /// a, what a standard deviation adds to the log-odds.
    pub factor: f64,
    /// What it adds to the log-odds that the signal is missing; 0 unless that is
    /// [indicated](Missing::Indicate).
    pub if_missing: f64,
}

/// Several signals of confidence, combined to one calibrated probability.
///
/// p = σ(b + Σ_j a_j x_j) over standardized signals x, by logistic regression with a ridge on the a.
///
/// # Retrieval-augmented generation
/// Whether an answer is right depends on whether the passages were the right ones, whether the model
/// was sure of what it wrote, and whether a verifier finds the answer in the passages. None of these
/// is the probability of being right, and each knows something that the others do not. With a few
/// hundred answers that were judged, `fit` learns how much each of them says; `apply` gives the
/// probability to show, or to decline below; [`contributions`](Self::contributions) says why.
/// Judge on other answers than those that were fitted, as with any calibration.
///
/// # Little data
/// See [`FittedSignal`] and [`FitDiagnostics::outcome`]: with one outcome only p is a constant by
/// Laplace's rule ([`FitOutcome::OneSided`]), with no signal that varies the share of right rows
/// ([`FitOutcome::Flat`]).
///
/// # Example
/// ```
/// use softlabel_core::Labels;
/// use softlabel_posthoc::{Signal, SignalCombination, SignalOptions};
///
/// let signals = [Signal::new("retriever"), Signal::log_odds("verifier")];
/// // The verifier knows; the retriever does not.
/// let rows = [[0.3, 0.9], [0.5, 0.9], [0.5, 0.1], [0.3, 0.1]].repeat(25).concat();
/// let right = Labels::new(&[1, 1, 0, 0].repeat(25), 2)?;
/// let combined = SignalCombination::fit(&signals, &rows, &right, SignalOptions::default())?;
/// assert!(combined.signals()[0].1.factor.abs() < 1e-9);
/// assert!(combined.apply(&[0.4, 0.9])?[0] > 0.9);
///
/// let read = SignalCombination::from_json(&combined.to_json()?)?;
/// assert_eq!(read, combined);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SignalDocument", into = "SignalDocument")]
#[doc(alias("composite confidence", "logistic regression", "stacking"))]
pub struct SignalCombination {
    signals: Vec<(Signal, FittedSignal)>,
    intercept: f64,
    options: SignalOptions,
    diagnostics: Option<FitDiagnostics>,
}

impl SignalCombination {
    /// Fits how much each signal says.
    ///
    /// `rows` are `[rows, signals]`, row by row, NaN where a signal is missing; `targets` are of two
    /// classes, 1 for right and 0 for wrong, or shares of both, with weights or without.
    ///
    /// # Errors
    /// [`Error::Input`] if there are no signals or rows, not as many targets as rows, targets of another
    /// number of classes, or a ridge that is not positive and finite; [`Error::BadSignal`] for a value that
    /// a signal cannot have, or that is missing where that is refused; [`Error::NotConverged`] if the
    /// optimum is not reached.
    ///
    /// ```
    /// use softlabel_core::Labels;
    /// use softlabel_posthoc::{Signal, SignalCombination, SignalOptions};
    ///
    /// let signals = [Signal::new("retriever")];
    /// let right = Labels::new(&[1, 0], 2)?;
    /// let fit = |rows: &[f64]| SignalCombination::fit(&signals, rows, &right, SignalOptions::default());
    /// assert!(fit(&[0.5, 0.25]).is_ok());
    /// let error = fit(&[0.5, f64::NAN]).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "signal \"retriever\": expected a value, as missing ones are refused, found NaN in row 1"
    /// );
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t>(
        signals: &[Signal],
        rows: &[f64],
        targets: impl Into<Targets<'t>>,
        options: SignalOptions,
    ) -> Result<Self> {
        let targets = targets.into();
        check_options(options)?;
        let count = check_shape(signals, rows)?;
        // Rows that agree with the targets stand for the logits of a fit.
        let placeholder = Logits::new(vec![0.0; 2 * count], 2)?;
        let (_, checked) = Targets::from(&targets).of_fit(&placeholder)?;
        let kept: Vec<usize> = (0..count).filter(|&row| targets.weight(row) > 0.0).collect();

        let mut fitted = Vec::with_capacity(signals.len());
        let mut columns: Vec<Vec<f64>> = Vec::new();
        for (index, signal) in signals.iter().enumerate() {
            let value = |&row: &usize| {
                let value = signal.transformed(row, rows[row * signals.len() + index])?;
                present(signal, row, value, options.missing)
            };
            let values: Vec<Option<f64>> = kept.iter().map(value).collect::<Result<_>>()?;
            let (mean, deviation) = moments(&values, &checked);
            let scale = if deviation > 0.0 { deviation } else { f64::INFINITY };
            columns.push(values.iter().map(|x| x.map_or(0.0, |x| (x - mean) / scale)).collect());
            if options.missing == Missing::Indicate {
                columns.push(values.iter().map(|x| f64::from(u8::from(x.is_none()))).collect());
            }
            fitted.push(FittedSignal { mean, deviation, factor: 0.0, if_missing: 0.0 });
        }
        let regression = regress(&columns, &checked, options.ridge)?;
        let step = if options.missing == Missing::Indicate { 2 } else { 1 };
        for (signal, factors) in fitted.iter_mut().zip(regression.factors.chunks(step)) {
            signal.factor = factors.first().copied().unwrap_or_default();
            signal.if_missing = factors.get(1).copied().unwrap_or_default();
        }
        Ok(Self {
            signals: signals.iter().cloned().zip(fitted).collect(),
            intercept: regression.intercept,
            options,
            diagnostics: Some(regression.diagnostics),
        })
    }

    /// The probability of being right of every row of signals, `[rows, signals]`.
    ///
    /// # Errors
    /// [`Error::Input`] if the number of values is no multiple of that of signals;
    /// [`Error::BadSignal`] for a value that a signal cannot have, or that is missing where that is
    /// refused.
    pub fn apply(&self, rows: &[f64]) -> Result<Vec<f64>> {
        let width = self.signals.len();
        if !rows.len().is_multiple_of(width) {
            return Err(shape_error(width, rows.len()));
        }
        let probability = |(row, values): (usize, &[f64])| -> Result<f64> {
            let log_odds = self.intercept + self.parts(row, values)?.iter().sum::<f64>();
            Ok(sigmoid(log_odds))
        };
        rows.chunks_exact(width).enumerate().map(probability).collect()
    }

    /// What each signal of one row adds to the log-odds, beside the [`intercept`](Self::intercept).
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    ///
    /// ```
    /// use softlabel_core::Labels;
    /// use softlabel_posthoc::{Signal, SignalCombination, SignalOptions};
    /// let rows = [0.0, 1.0, 2.0, 3.0];
    /// let right = Labels::new(&[0, 1, 0, 1], 2)?;
    /// let signals = [Signal::new("score")];
    /// let combined = SignalCombination::fit(&signals, &rows, &right, SignalOptions::default())?;
    /// let part = combined.contributions(&[3.0])?[0];
    /// let p = 1.0 / (1.0 + (-part - combined.intercept()).exp());
    /// assert!((combined.apply(&[3.0])?[0] - p).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn contributions(&self, row: &[f64]) -> Result<Vec<f64>> {
        if row.len() != self.signals.len() {
            return Err(shape_error(self.signals.len(), row.len()));
        }
        self.parts(0, row)
    }

    fn parts(&self, row: usize, values: &[f64]) -> Result<Vec<f64>> {
        let part = |((signal, fitted), &value): (&(Signal, FittedSignal), &f64)| {
            let value = signal.transformed(row, value)?;
            Ok(match present(signal, row, value, self.options.missing)? {
                None => fitted.if_missing,
                Some(_) if fitted.deviation == 0.0 => 0.0,
                Some(x) => fitted.factor * ((x - fitted.mean) / fitted.deviation),
            })
        };
        self.signals.iter().zip(values).map(part).collect()
    }

    /// The signals, each with what became of it in the fit.
    pub fn signals(&self) -> &[(Signal, FittedSignal)] {
        &self.signals
    }

    /// b, the log-odds of a row whose signals are all at their means.
    pub fn intercept(&self) -> f64 {
        self.intercept
    }

    /// How it was fitted.
    pub fn options(&self) -> SignalOptions {
        self.options
    }

    /// How the fit went; the loss before it is that of the share of right rows, said of every row.
    pub fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.diagnostics.as_ref()
    }

    /// The combination as a JSON document; reading it gives the same to the last bit.
    ///
    /// # Errors
    /// [`Error::Json`] if it cannot be written, which none that was fitted or read is known to cause.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Reads a JSON document.
    ///
    /// # Errors
    /// [`Error::Json`] if it is no such document, or has numbers that are not finite or of the wrong
    /// sign.
    pub fn from_json(json: &str) -> Result<Self> {
        Ok(serde_json::from_str(json)?)
    }
}

/// How a [`SignalCombination`] is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignalDocument {
    schema: String,
    signals: Vec<(Signal, FittedSignal)>,
    intercept: f64,
    options: SignalOptions,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fit: Option<FitDiagnostics>,
}

impl From<SignalCombination> for SignalDocument {
    fn from(of: SignalCombination) -> Self {
        let SignalCombination { signals, intercept, options, diagnostics } = of;
        Self { schema: SCHEMA.into(), signals, intercept, options, fit: diagnostics }
    }
}

impl TryFrom<SignalDocument> for SignalCombination {
    type Error = Error;

    fn try_from(document: SignalDocument) -> Result<Self> {
        let SignalDocument { schema, signals, intercept, options, fit } = document;
        if schema != SCHEMA {
            return Err(Error::UnknownSchema { expected: SCHEMA, found: schema });
        }
        check_options(options)?;
        if signals.is_empty() {
            return Err(Input::Empty { what: "the set of signals" }.into());
        }
        let numbers = signals.iter().flat_map(|(_, fitted)| {
            [fitted.mean, fitted.deviation, fitted.factor, fitted.if_missing]
        });
        if let Some(found) = numbers.chain([intercept]).find(|number| !number.is_finite()) {
            let name = "a number of a combination of signals";
            return Err(Input::OutOfRange { name, expected: "finite", found }.into());
        }
        if let Some((_, fitted)) = signals.iter().find(|(_, fitted)| fitted.deviation < 0.0) {
            let (name, found) = ("the deviation of a signal", fitted.deviation);
            return Err(Input::OutOfRange { name, expected: "at least 0", found }.into());
        }
        Ok(Self { signals, intercept, options, diagnostics: fit })
    }
}

fn check_options(options: SignalOptions) -> Result<()> {
    let found = options.ridge;
    if found > 0.0 && found.is_finite() {
        return Ok(());
    }
    Err(Input::OutOfRange { name: "ridge", expected: "positive and finite", found }.into())
}

/// The number of rows.
fn check_shape(signals: &[Signal], rows: &[f64]) -> Result<usize> {
    if signals.is_empty() {
        return Err(Input::Empty { what: "the set of signals" }.into());
    }
    if !rows.len().is_multiple_of(signals.len()) {
        return Err(shape_error(signals.len(), rows.len()));
    }
    Ok(rows.len() / signals.len())
}

fn shape_error(signals: usize, found: usize) -> Error {
    let expected = format!("a multiple of {signals} values, one a signal");
    Input::mismatch("rows of signals", expected, format!("{found} values")).into()
}

/// A value that may be missing, if it may.
fn present(
    signal: &Signal,
    row: usize,
    value: Option<f64>,
    missing: Missing,
) -> Result<Option<f64>> {
    if value.is_none() && missing == Missing::Refuse {
        let expected = "a value, as missing ones are refused";
        let signal = signal.name.clone();
        return Err(Error::BadSignal { signal, row, expected, found: f64::NAN });
    }
    Ok(value)
}

/// Mean and standard deviation of what is there; 0 and 0 if nothing is.
fn moments(values: &[Option<f64>], targets: &Targets<'_>) -> (f64, f64) {
    let mean = |of: &dyn Fn(f64) -> f64| {
        let [mut sum, mut total] = [CompensatedSum::default(); 2];
        for (row, value) in values.iter().enumerate() {
            if let Some(value) = value {
                sum.add(targets.weight(row) * of(*value));
                total.add(targets.weight(row));
            }
        }
        if total.value() > 0.0 { sum.value() / total.value() } else { 0.0 }
    };
    let present = || values.iter().flatten();
    let first = present().next().copied().unwrap_or_default();
    if present().all(|&value| value == first) {
        return (first, 0.0);
    }
    // Divided by the largest first, so that no square overflows.
    let largest = present().map(|value| value.abs()).fold(0.0, f64::max);
    let centre = mean(&|value| value / largest);
    let variance = mean(&|value| (value / largest - centre).powi(2));
    (centre * largest, variance.sqrt() * largest)
}

fn sigmoid(log_odds: f64) -> f64 {
    let exponential = (-log_odds.abs()).exp();
    if log_odds >= 0.0 { 1.0 / (1.0 + exponential) } else { exponential / (1.0 + exponential) }
}

struct Regression {
    factors: Vec<f64>,
    intercept: f64,
    diagnostics: FitDiagnostics,
}

/// The minimum of F over standardized columns.
fn regress(columns: &[Vec<f64>], targets: &Targets<'_>, ridge: f64) -> Result<Regression> {
    let total = targets.total();
    let right = targets.class_totals()[1];
    let share = right / total;
    let entropy = |p: f64| -share * p.ln() - (1.0 - share) * (-p).ln_1p();
    let constant = |p: f64, outcome| {
        let loss = if share == 0.0 || share == 1.0 { 0.0 } else { entropy(share) };
        let after = if p == share { loss } else { entropy(p) };
        let diagnostics = FitDiagnostics {
            samples: targets.len(),
            nll_before: loss,
            nll_after: after,
            objective: Some(Objective { before: loss, after }),
            iterations: 0,
            outcome,
            classes: Vec::new(),
        };
        let intercept = p.ln() - (-p).ln_1p();
        Ok(Regression { factors: vec![0.0; columns.len()], intercept, diagnostics })
    };
    if right == 0.0 || right == total {
        return constant((right + 1.0) / (total + 2.0), FitOutcome::OneSided);
    }
    if columns.iter().flatten().all(|&x| x == 0.0) {
        return constant(share, FitOutcome::Flat);
    }

    let size = columns.len();
    let rows = targets.len();
    let log_odds = |parameters: &[f64], row: usize| {
        let parts = columns.iter().zip(parameters).map(|(column, factor)| factor * column[row]);
        parameters[size] + parts.sum::<f64>()
    };
    let mean_loss = |parameters: &[f64], gradient: &mut [f64]| {
        gradient.fill(0.0);
        let mut loss = CompensatedSum::default();
        for row in 0..rows {
            let (u, weight) = (log_odds(parameters, row), targets.weight(row));
            let target = targets.row(row).share(1);
            let linear = if u >= 0.0 { (1.0 - target) * u } else { -target * u };
            loss.add(weight * (linear + (-u.abs()).exp().ln_1p()));
            let difference = weight * (sigmoid(u) - target) / total;
            for (sum, column) in gradient.iter_mut().zip(columns) {
                *sum += difference * column[row];
            }
            gradient[size] += difference;
        }
        loss.value() / total
    };
    let objective = |parameters: &[f64], gradient: &mut [f64]| {
        let mut value = mean_loss(parameters, gradient);
        for (sum, factor) in gradient.iter_mut().zip(parameters).take(size) {
            value += 0.5 * ridge * factor * factor / total;
            *sum += ridge * factor / total;
        }
        value
    };
    let hessian = |parameters: &[f64], hessian: &mut [f64]| {
        hessian.fill(0.0);
        let mut features = vec![1.0; size + 1];
        for row in 0..rows {
            let p = sigmoid(log_odds(parameters, row));
            let variance = targets.weight(row) * p * (1.0 - p) / total;
            features.iter_mut().zip(columns).for_each(|(x, column)| *x = column[row]);
            for (sums, x) in hessian.chunks_exact_mut(size + 1).zip(&features) {
                sums.iter_mut().zip(&features).for_each(|(sum, y)| *sum += variance * x * y);
            }
        }
        hessian.iter_mut().step_by(size + 2).take(size).for_each(|sum| *sum += ridge / total);
    };
    let mut start = vec![0.0; size + 1];
    start[size] = share.ln() - (-share).ln_1p();
    let minimum = minimize_newton(objective, hessian, &start, &MinimumSettings::default());
    let converged = match minimum.outcome {
        MinimumOutcome::Converged | MinimumOutcome::TargetReached => true,
        MinimumOutcome::Stalled => minimum.gradient <= STALLED_GRADIENT,
        MinimumOutcome::IterationLimit | MinimumOutcome::NotFinite => false,
    };
    let iterations = minimum.iterations;
    if !converged {
        return Err(Error::NotConverged { method: "signals", class: None, iterations });
    }
    let diagnostics = FitDiagnostics {
        samples: rows,
        nll_before: entropy(share),
        nll_after: mean_loss(&minimum.position, &mut vec![0.0; size + 1]),
        objective: Some(Objective { before: entropy(share), after: minimum.value }),
        iterations,
        outcome: FitOutcome::Converged,
        classes: Vec::new(),
    };
    let mut factors = minimum.position;
    let intercept = factors.pop().unwrap_or_default();
    Ok(Regression { factors, intercept, diagnostics })
}
