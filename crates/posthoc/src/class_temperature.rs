//! One temperature for every class.
//!
//! q_k ∝ p_k^{1/T_k}, that is q = softmax(β_k·ln p_k) with β_k = 1/T_k > 0 and p = softmax(z)
//!
//! with the β > 0 that minimize the mean negative log-likelihood of the labels.
//!
//! z: logits `[rows, classes]`; T: one number a class.
//! It is vector scaling without constants and with a sign: every class's probability still rises with
//! what the classifier gives it, but classes that it is more and less sure of than it should be are
//! told apart. The top class of a row may change.
//! Since ln p is normalized first a shift of a row of logits changes nothing.
//!
//! The problem is convex in β; its optimum is searched in ln β, where β cannot leave the positive
//! numbers, from temperature scaling on, so the result is never worse than that on the rows that were
//! fitted, unless their logits are all but equal (see below). A vanishing derivative by ln β is one by β, so there is no other place to end.
//!
//! What is defined where there is little to fit:
//!
//! - A class that never occurs among the labels keeps the T of temperature scaling
//!   ([`FitOutcome::OneSided`]): the likelihood asks for T_k → 0.
//! - If the likelihood asks for some β_k ≤ 0, so that the class is the likelier the less it is
//!   believed, T_k grows until no derivative by ln β exceeds 1e-9; by convexity the loss is then
//!   within 1e-9 a class of its infimum ([`FitOutcome::WorseThanUniform`]).
//! - Labels that a map of this kind separates: the search ends where the mean loss is ln 2/rows,
//!   below which every label has more than half of its row ([`FitOutcome::Separable`]).
//! - Equal logits in every row, or such that differ by less than 2e-4: the T say how often the
//!   classes occur, as far as positive numbers can ([`FitOutcome::Flat`]). To tell classes apart by
//!   less, 1/T would have to be so large that `f64` cannot hold what is left of the 1/T·ln p.
//!
//! A logit of −∞ is a class that cannot be: it stays −∞ and adds nothing.
//!
//! Numerical notes: L-BFGS in `f64`, over one change of all ln β and one of each, down to derivatives
//! of 1e-9 by ln β; of logits so small that rounding hides those, by ln β over the scores β·ln p.
//!
//! Source: L. Frenkel, J. Goldberger, "Network Calibration by Class-based Temperature Scaling"
//! (2021), who search their temperatures one by one for a low calibration error; here they minimize
//! the likelihood together.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, LogProbabilities, Logits, Scalar, Temperature};
use softlabel_kernels::{MinimumOutcome, MinimumSettings, log_softmax_in_place, minimize};

use crate::calibrator::{LogRows, log_rows, map_rows};
use crate::cross_entropy::{check_minimum, mean_cross_entropy};
use crate::document::{Document, Written, check_count};
use crate::{Calibrator, FitDiagnostics, FitOutcome, Result, Targets, TemperatureScaling};

/// A β times the mean of |ln p| that is smaller than this makes no difference.
const VANISHING: f64 = 1e-6;

/// One temperature for every class: q_k ∝ p_k^{1/T_k}, p = softmax(z).
///
/// The T > 0 minimize the mean negative log-likelihood, which is convex in 1/T; on the rows that were
/// fitted the result is never worse than temperature scaling, but where the fit is [`FitOutcome::Flat`]:
/// logits that hardly differ are taken for equal, which a temperature does not do.
/// A shift of a row of logits changes nothing; the top class of a row may change.
///
/// # Little data
/// A class that never occurs among the labels keeps the T of temperature scaling
/// ([`FitOutcome::OneSided`]); one that is the likelier the less it is believed gets a T so large that
/// its logits say nothing ([`FitOutcome::WorseThanUniform`]); labels that can be separated end the
/// search at a mean loss of ln 2/rows ([`FitOutcome::Separable`]); where the logits of every row are
/// equal, or differ by less than 2e-4, the T say the frequencies ([`FitOutcome::Flat`]).
///
/// # Source
/// L. Frenkel, J. Goldberger, "Network Calibration by Class-based Temperature Scaling" (2021); the
/// objective is the likelihood in place of their calibration error.
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, ClassTemperature};
///
/// // Right 9 times in 10 where it says 0 at 0.8, but 1 time in 2 where it says 1 at 0.8.
/// let rows = [[4.0, 1.0].repeat(10), [1.0, 4.0].repeat(10)].concat();
/// let logits = Logits::new(rows.iter().map(|p: &f64| (p / 5.0).ln()).collect::<Vec<_>>(), 2)?;
/// let mut labels = [0; 20];
/// labels[9..15].fill(1);
/// let map = ClassTemperature::fit(&logits, &Labels::new(&labels, 2)?)?;
/// let calibrated = map.apply(&logits)?;
/// assert!((calibrated.as_slice()[0].exp() - 0.9).abs() < 1e-6);
/// assert!((calibrated.as_slice()[20].exp() - 0.5).abs() < 1e-6);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
#[doc(alias("CTS", "class-based temperature scaling", "class-dependent temperature"))]
pub struct ClassTemperature {
    temperatures: Vec<Temperature>,
    diagnostics: Option<FitDiagnostics>,
}

impl ClassTemperature {
    /// Fits a temperature for every class.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes; `targets` are labels or
    /// distributions, with weights or without.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no rows, fewer rows than classes, not one
    /// label a row, or labels of another number of classes;
    /// [`Error::ImpossibleLabel`](crate::Error::ImpossibleLabel) if a label has the logit −∞;
    /// [`Error::NotConverged`](crate::Error::NotConverged) if the optimum is not reached, or the
    /// logits are so large that `f64` cannot hold their squares.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{ClassTemperature, FitOutcome, Calibrator};
    ///
    /// let logits = Logits::new(&[2.0f32, 0.0, 0.0, 2.0], 2)?;
    /// let map = ClassTemperature::fit(&logits, &Labels::new(&[0, 1], 2)?)?;
    /// assert_eq!(map.diagnostics().unwrap().outcome, FitOutcome::Separable);
    /// assert!(ClassTemperature::fit(&logits, &Labels::new(&[0], 2)?).is_err());
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        let scaling = TemperatureScaling::fit(&logits, &targets)?;
        let LogRows { rows, flat } = log_rows(&logits)?;
        let overall = match scaling.diagnostics() {
            _ if flat => Some(FitOutcome::Flat),
            fit => fit.map(|fit| fit.outcome),
        };
        let problem = Problem::new(
            &rows,
            &targets,
            match overall {
                // Where no temperature is better than uniform, it is no place to begin at.
                Some(FitOutcome::WorseThanUniform | FitOutcome::Flat) => 0.0,
                _ => scaling.temperature().inverse().ln(),
            },
        );
        let settings = MinimumSettings {
            target: targets.separable_loss(),
            gradient: problem.small_gradient(),
            ..MinimumSettings::default()
        };
        let function =
            |parameters: &[f64], gradient: &mut [f64]| problem.objective(parameters, gradient);
        let minimum = minimize(function, &problem.first(), &settings);
        check_minimum(Self::METHOD, &minimum)?;
        let logarithms = problem.logarithms(&minimum.position);
        let outcome = if overall == Some(FitOutcome::Flat) {
            FitOutcome::Flat
        } else if minimum.outcome == MinimumOutcome::TargetReached {
            FitOutcome::Separable
        } else if logarithms.iter().any(|u| u.exp() < VANISHING / problem.size) {
            FitOutcome::WorseThanUniform
        } else if problem.held.contains(&true) {
            FitOutcome::OneSided
        } else {
            FitOutcome::Converged
        };
        if !outcome.converged() {
            tracing::warn!(?outcome, "the data do not determine all temperatures");
        }
        let temperature = |u: &f64| Temperature::new((-u).exp());
        let temperatures = logarithms.iter().map(temperature).collect::<Result<_, _>>()?;
        let mut map = Self { temperatures, diagnostics: None };
        let nll_after = targets.mean_loss(&map.calibrated(&logits)?);
        map.diagnostics = scaling.diagnostics().map(|fit| FitDiagnostics {
            nll_after,
            iterations: fit.iterations + minimum.iterations,
            outcome,
            ..fit.clone()
        });
        Ok(map)
    }

    /// The map with given temperatures, one a class.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are none.
    ///
    /// ```
    /// use softlabel_core::{Logits, Temperature};
    /// use softlabel_posthoc::{Calibrator, ClassTemperature};
    /// let temperatures = vec![Temperature::new(1.0)?, Temperature::new(0.5)?];
    /// let map = ClassTemperature::from_temperatures(temperatures)?;
    /// let calibrated = map.apply(&Logits::new(&[0.0f32, 0.0], 2)?)?;
    /// // 1/2 against 1/4.
    /// assert!((calibrated.as_slice()[1].exp() - 1.0 / 3.0).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_temperatures(temperatures: Vec<Temperature>) -> Result<Self> {
        Self::from_parts(temperatures, None)
    }

    fn from_parts(
        temperatures: Vec<Temperature>,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        if temperatures.is_empty() {
            return Err(Input::Empty { what: "the set of temperatures" }.into());
        }
        Ok(Self { temperatures, diagnostics })
    }

    /// T_k for every class k.
    pub fn temperatures(&self) -> &[Temperature] {
        &self.temperatures
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<Vec<f64>> {
        let betas: Vec<f64> = self.temperatures.iter().map(|t| t.inverse()).collect();
        map_rows(logits, self.temperatures.len(), |row| {
            log_softmax_in_place(row);
            scale(row, &betas);
            log_softmax_in_place(row);
        })
    }
}

/// Replaces ln p by β·ln p.
fn scale(row: &mut [f64], betas: &[f64]) {
    for (x, beta) in row.iter_mut().zip(betas) {
        if *x > f64::NEG_INFINITY {
            *x = (*x * beta).max(0.25 * f64::MIN);
        }
    }
}

/// Scores β·ln p that are larger than this on average are those of small logits.
const LARGE_SCORE: f64 = 100.0;

/// The mean loss over rows of ln p, as a function of (a, v): ln β_k = start + a + v_k/s_k.
///
/// a = 0 and s = 1 unless the logits are small and β is large. Then a change of one ln β_k says so much
/// more than a change of all that no search by them ends: there s_k is the mean of β·|ln p_k| at the
/// start, so that the curvature by a and v is about that by a score.
struct Problem<'a> {
    rows: &'a [f64],
    targets: &'a Targets<'a>,
    start: f64,
    /// The mean of all |ln p|.
    size: f64,
    /// s, one a class, of small logits.
    scales: Option<Vec<f64>>,
    /// Whether ln β stays where it begins.
    held: Vec<bool>,
}

impl<'a> Problem<'a> {
    fn new(rows: &'a [f64], targets: &'a Targets<'a>, start: f64) -> Self {
        let classes = targets.classes();
        let mean = |values: &mut dyn Iterator<Item = &f64>| {
            let finite = values.filter(|x| x.is_finite());
            let (sum, count) = finite.fold((0.0, 0usize), |(sum, count), x| (sum - x, count + 1));
            if count > 0 { sum / count as f64 } else { 0.0 }
        };
        let (beta, size) = (start.exp(), mean(&mut rows.iter()));
        let scale = |class| {
            let size = mean(&mut rows.iter().skip(class).step_by(classes));
            (beta * size).max(1.0)
        };
        Self {
            rows,
            targets,
            start,
            size,
            scales: (beta * size > LARGE_SCORE).then(|| (0..classes).map(scale).collect()),
            held: targets.class_totals().into_iter().map(|total| total == 0.0).collect(),
        }
    }

    /// Where the search begins: where β is large and a class is held, with the others so little smaller
    /// that it has no probability left.
    fn first(&self) -> Vec<f64> {
        let mut first = vec![0.0; self.held.len() + 1];
        if self.scales.is_some() && self.held.contains(&true) {
            first[0] = -40.0 / (self.start.exp() * self.size);
        }
        first
    }

    /// Such that no derivative by ln β exceeds 1e-9, as far as rounding allows that.
    fn small_gradient(&self) -> f64 {
        let largest = self.scales.iter().flatten().copied().fold(1.0, f64::max);
        (1e-9 / largest).max(1e-12)
    }

    /// s of a class.
    fn scale(&self, class: usize) -> f64 {
        self.scales.as_ref().map_or(1.0, |scales| scales[class])
    }

    /// ln β, one a class.
    fn logarithms(&self, parameters: &[f64]) -> Vec<f64> {
        let change = |class: usize| parameters[0] + parameters[class + 1] / self.scale(class);
        let held = self.held.iter().enumerate();
        held.map(|(class, held)| self.start + if *held { 0.0 } else { change(class) }).collect()
    }

    fn objective(&self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let betas: Vec<f64> = self.logarithms(parameters).iter().map(|u| u.exp()).collect();
        let (by_common, by_own) = gradient.split_at_mut(1);
        let sums = |row: &[f64], differences: &[f64]| {
            for ((slope, x), d) in by_own.iter_mut().zip(row).zip(differences) {
                if *x > f64::NEG_INFINITY {
                    *slope += x * d;
                }
            }
        };
        let common = (self.start + parameters[0]).exp();
        let off = |class: usize| {
            let own = parameters[class + 1] / self.scale(class);
            if self.held[class] { (-parameters[0]).exp_m1() } else { own.exp_m1() }
        };
        let offs: Vec<f64> = (0..betas.len()).map(off).collect();
        let scores = |row: &mut [f64]| {
            if self.scales.is_none() {
                return scale(row, &betas);
            }
            // Less β·ln p of the top class, with the common β: of large scores the differences are left.
            let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            for (x, off) in row.iter_mut().zip(&offs) {
                *x = if *x > f64::NEG_INFINITY { common * (*x - highest + *x * off) } else { *x };
            }
        };
        let loss = mean_cross_entropy(self.rows, self.targets, scores, sums);
        for (class, (slope, beta)) in by_own.iter_mut().zip(&betas).enumerate() {
            *slope *= if self.held[class] { 0.0 } else { beta / self.targets.total() };
            if self.scales.is_some() {
                by_common[0] += *slope;
                *slope /= self.scale(class);
            }
        }
        loss
    }
}

impl Calibrator for ClassTemperature {
    fn classes(&self) -> usize {
        self.temperatures.len()
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.diagnostics.as_ref()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        Ok(LogProbabilities::new(self.calibrated(logits)?, self.classes())?)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    temperatures: Vec<Temperature>,
}

impl Written for ClassTemperature {
    const METHOD: &'static str = "class_temperature";
    type Parameters = Parameters;

    fn parameters(&self) -> Parameters {
        Parameters { temperatures: self.temperatures.clone() }
    }

    fn restore(
        classes: usize,
        parameters: Parameters,
        fit: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_count("number of temperatures", classes, parameters.temperatures.len())?;
        Self::from_parts(parameters.temperatures, fit)
    }
}
