//! Structured scaling: an affine map of mixed log-probabilities that a ridge holds near the
//! identity.
//!
//! q = softmax(Wx + b), x = ln((1 − w)·softmax(z/T) + w/K), with the (W, b) that minimize
//!
//! F(W, b) = mean(−ln q_y) + λ_b·K/n Σ_k b_k² + λ_d·K/n Σ_k (W_kk − 1)² + λ_o·K(K − 1)/n Σ_{i≠j}
//! W_ij²
//!
//! z: logits `[rows, classes]`; y: labels; K: classes; n: rows; W: a diagonal or a matrix `[classes,
//! classes]`; b: `[classes]`; T and w: those of [`TemperatureMixture`](crate::TemperatureMixture)
//! with one row of the uniform distribution, fitted first and not held back.
//!
//! The ridge grows with the number of numbers that it is about and falls with the rows, so the same
//! λ = 1 suits any K and n. F is strictly convex: there is one optimum, whatever the labels are.
//! The search begins at the identity, so the likelihood is never worse than that of the mixture on
//! the rows that were fitted.
//!
//! Numerical notes: L-BFGS in `f64` over V = (W − 1)·s and b, s being the mean of |x|, down to
//! derivatives of 1e-9.
//!
//! Source: E. Berta, D. Holzmüller, M. I. Jordan, F. Bach, "Structured Matrix Scaling for
//! Multi-Class Calibration" (2025), and probmetrics, whose `SVSCalibrator` and `SMSCalibrator` have
//! these penalties (`ridge`, ρ = τ = 1) and weights (1) by default.

mod matrix;
mod vector;

pub use matrix::{MatrixRidge, StructuredMatrixScaling};
pub use vector::{StructuredVectorScaling, VectorRidge};

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, Logits, Scalar, Temperature};
use softlabel_kernels::{CompensatedSum, MinimumSettings, minimize};

use crate::affine::{Shape, affine_in_place, check_parameters};
use crate::calibrator::map_rows;
use crate::cross_entropy::{check_minimum, mean_cross_entropy};
use crate::temperature_mixture::Mixture;
use crate::{FitDiagnostics, Objective, Result, Targets};

/// How many rows the uniform distribution counts as.
const UNIFORM_ROWS: f64 = 1.0;

/// What a document holds; a matrix is written row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    temperature: Temperature,
    uniform: f64,
    weights: Vec<f64>,
    intercepts: Vec<f64>,
}

/// A fitted map of either shape.
#[derive(Debug, Clone, PartialEq)]
struct Structured {
    mixture: Mixture,
    weights: Vec<f64>,
    intercepts: Vec<f64>,
    diagnostics: Option<FitDiagnostics>,
}

/// λ_b, λ_d and λ_o.
#[derive(Debug, Clone, Copy)]
struct Strengths {
    intercepts: f64,
    diagonal: f64,
    off_diagonal: f64,
}

impl Strengths {
    /// The same, if all are positive and finite.
    fn checked(self) -> Result<Self> {
        let strengths = [self.intercepts, self.diagonal, self.off_diagonal];
        match strengths.into_iter().find(|&strength| !(strength > 0.0 && strength.is_finite())) {
            None => Ok(self),
            Some(found) => {
                let (name, expected) = ("the strength of a ridge", "positive and finite");
                Err(Input::OutOfRange { name, expected, found }.into())
            }
        }
    }
}

impl Structured {
    /// `logits` and `targets` are checked, and have no class that cannot be if W is a matrix.
    fn fit<T: Scalar>(
        method: &'static str,
        logits: &Logits<'_, T>,
        targets: &Targets<'_>,
        shape: Shape,
        strengths: Strengths,
    ) -> Result<Self> {
        let strengths = strengths.checked()?;
        let (mixture, fit) = Mixture::fit(logits, targets, UNIFORM_ROWS)?;
        let rows = map_rows(logits, logits.classes(), |row| mixture.map_row(row))?;
        let problem = Problem::new(&rows, targets, shape, strengths)?;
        let function =
            |parameters: &[f64], gradient: &mut [f64]| problem.objective(parameters, gradient);
        let start = vec![0.0; problem.weight_count + targets.classes()];
        let minimum = minimize(function, &start, &MinimumSettings::default());
        check_minimum(method, &minimum)?;
        let (changes, intercepts) = minimum.position.split_at(problem.weight_count);
        let mut map = Self {
            mixture,
            weights: problem.weights(changes),
            intercepts: intercepts.to_vec(),
            diagnostics: None,
        };
        let nll_after = targets.mean_loss(&map.calibrated(logits, shape)?);
        let objective =
            fit.as_ref().map(|fit| Objective { before: fit.nll_before, after: minimum.value });
        map.diagnostics = fit.map(|fit| FitDiagnostics {
            nll_after,
            objective,
            iterations: fit.iterations + minimum.iterations,
            ..fit
        });
        Ok(map)
    }

    fn from_parts(
        parameters: Parameters,
        shape: Shape,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        let Parameters { temperature, uniform, weights, intercepts } = parameters;
        check_parameters(shape, &weights, &intercepts)?;
        let mixture = Mixture::new(temperature, uniform)?;
        Ok(Self { mixture, weights, intercepts, diagnostics })
    }

    fn parameters(&self) -> Parameters {
        Parameters {
            temperature: self.mixture.temperature(),
            uniform: self.mixture.uniform(),
            weights: self.weights.clone(),
            intercepts: self.intercepts.clone(),
        }
    }

    fn calibrated<T: Scalar>(&self, logits: &Logits<'_, T>, shape: Shape) -> Result<Vec<f64>> {
        map_rows(logits, self.intercepts.len(), |row| {
            self.mixture.map_row(row);
            affine_in_place(row, shape, &self.weights, &self.intercepts);
            softlabel_kernels::log_softmax_in_place(row);
        })
    }
}

/// F over V = (W − 1)·s, of which a matrix is held column by column, and b.
struct Problem<'a> {
    rows: &'a [f64],
    targets: &'a Targets<'a>,
    shape: Shape,
    /// s.
    spread: f64,
    /// How many numbers V has.
    weight_count: usize,
    /// λ·K/n and λ·K(K − 1)/n.
    strengths: Strengths,
}

impl<'a> Problem<'a> {
    fn new(
        rows: &'a [f64],
        targets: &'a Targets<'_>,
        shape: Shape,
        strengths: Strengths,
    ) -> Result<Self> {
        let count = targets.classes();
        let weight_count =
            if shape == Shape::Full { count.checked_mul(count) } else { Some(count) };
        let Some(weight_count) = weight_count else {
            let name = "number of classes";
            let expected = "so small that a matrix of them fits the memory";
            return Err(Input::OutOfRange { name, expected, found: count as f64 }.into());
        };
        let finite = || rows.iter().filter(|x| x.is_finite());
        let total = finite().map(|x| x.abs()).collect::<CompensatedSum>().value();
        let spread = if total > 0.0 { total / finite().count() as f64 } else { 1.0 };
        let (classes, n) = (count as f64, targets.total());
        let strengths = Strengths {
            intercepts: strengths.intercepts * classes / n,
            diagonal: strengths.diagonal * classes / n,
            off_diagonal: strengths.off_diagonal * classes * (classes - 1.0) / n,
        };
        Ok(Self { rows, targets, shape, spread, weight_count, strengths })
    }

    /// W, row by row.
    fn weights(&self, changes: &[f64]) -> Vec<f64> {
        let classes = self.targets.classes();
        match self.shape {
            Shape::Full => (0..self.weight_count)
                .map(|index| (index / classes, index % classes))
                .map(|(k, j)| (changes[j * classes + k] / self.spread, k == j))
                .map(|(change, diagonal)| if diagonal { 1.0 + change } else { change })
                .collect(),
            Shape::Scalar | Shape::Diagonal => {
                changes.iter().map(|change| 1.0 + change / self.spread).collect()
            }
        }
    }

    /// F, and its derivatives by V and b.
    fn objective(&self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let classes = self.targets.classes();
        let (changes, intercepts) = parameters.split_at(self.weight_count);
        let (by_change, by_intercept) = gradient.split_at_mut(self.weight_count);
        let loss = match self.shape {
            Shape::Full => {
                let scores = |row: &mut [f64]| {
                    let mut u = intercepts.to_vec();
                    for (x, column) in row.iter().zip(changes.chunks_exact(classes)) {
                        let x = x / self.spread;
                        for (u, change) in u.iter_mut().zip(column) {
                            *u += x * change;
                        }
                    }
                    for (x, u) in row.iter_mut().zip(u) {
                        *x += u;
                    }
                };
                mean_cross_entropy(self.rows, self.targets, scores, |row, differences| {
                    for (x, column) in row.iter().zip(by_change.chunks_exact_mut(classes)) {
                        for (sum, d) in column.iter_mut().zip(differences) {
                            *sum += x * d;
                        }
                    }
                    for (sum, d) in by_intercept.iter_mut().zip(differences) {
                        *sum += d;
                    }
                })
            }
            Shape::Scalar | Shape::Diagonal => {
                let scores = |row: &mut [f64]| {
                    for ((x, change), intercept) in row.iter_mut().zip(changes).zip(intercepts) {
                        if x.is_finite() {
                            *x += *x * (change / self.spread) + intercept;
                        }
                    }
                };
                mean_cross_entropy(self.rows, self.targets, scores, |row, differences| {
                    let sums = by_change.iter_mut().zip(by_intercept.iter_mut());
                    for ((x, d), (change, intercept)) in row.iter().zip(differences).zip(sums) {
                        if x.is_finite() {
                            *change += x * d;
                            *intercept += d;
                        }
                    }
                })
            }
        };
        let rows = self.targets.total();
        let mut ridge = CompensatedSum::default();
        for (index, (change, slope)) in changes.iter().zip(by_change).enumerate() {
            let diagonal = self.shape != Shape::Full || index / classes == index % classes;
            let Strengths { diagonal: on, off_diagonal: off, .. } = self.strengths;
            let strength = if diagonal { on } else { off } / (self.spread * self.spread);
            ridge.add(strength * change * change);
            *slope = *slope / (rows * self.spread) + 2.0 * strength * change;
        }
        for (intercept, slope) in intercepts.iter().zip(by_intercept) {
            ridge.add(self.strengths.intercepts * intercept * intercept);
            *slope = *slope / rows + 2.0 * self.strengths.intercepts * intercept;
        }
        loss + ridge.value()
    }
}
