//! The fit of all maps q = softmax(Wx + b) that are affine in what a row says.
//!
//! (W, b) minimizes the convex
//!
//! F(W, b) = mean\[ln Σ_k e^{u_k} − u_y\] + λ Σ_{i≠j} W_ij² + μ Σ_k b_k², u = Wx + b
//!
//! x: rows `[rows, classes]`; y: labels; W: one number for all classes, one a class (a diagonal), or
//! a matrix `[classes, classes]`; b: one number a class.
//!
//! - The search begins at the temperature that fits best, W = 1/T, b = 0, where the penalty is 0, so
//!   the mean negative log-likelihood that it ends with is not larger.
//! - A common shift of all b changes no probability; where μ = 0 the b returned sum to 0.
//!   Where W is a matrix and λ = 0, so does a common addition to a column, and the column sums are
//!   brought back to 1/T.
//! - A class that never occurs among the labels pulls its b to −∞: it keeps W_kk = 1/T and b_k = 0
//!   in place of that, and the fit is about the others.
//! - A mean loss of less than ln 2/rows means that every label has more than half of its row: then
//!   the labels are separable, the infimum 0 is not attained, and the search ends there.
//!
//! - A column of x that is the same in every row has nothing to say that b does not: where μ = 0 its
//!   weights stay where the search began, and b alone is fitted.
//!
//! Numerical notes: `f64`; inside, columns are divided by their spread, and shifted by their
//! means where b is free to make up for it (μ = 0), which takes nothing from the problem but its
//! scale and much of its bad condition.
//! Newton's method with conjugate gradients, in threads over rows and with one small system a class
//! for a preconditioner; it ends where no derivative by these scaled parameters exceeds 1e-9.
//! Sums over rows are taken in parts that do not depend on the number of threads.

mod precondition;
mod problem;

use rayon::prelude::*;
use softlabel_core::{Error as Input, LogProbabilities, Logits, Scalar};
use softlabel_kernels::{
    MinimumOutcome, MinimumSettings, Strided, add_product, log_softmax_in_place,
    minimize_truncated_newton,
};

use crate::calibrator::map_rows;
use crate::{
    Calibrator, Error, FitDiagnostics, FitOutcome, Objective, Result, Targets, TemperatureScaling,
};
use problem::{Problem, product_of};

/// A search that ends because `f64` sees no decrease has converged if its gradient is below this.
const STALLED_GRADIENT: f64 = 1e-6;

/// Steps of Newton's method; few tens are usual.
const STEPS: usize = 500;

/// So many rows are multiplied by a matrix at a time.
const BLOCK: usize = 128;

/// What W is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A multiple of the identity.
    Scalar,
    /// A diagonal.
    Diagonal,
    /// Any matrix, row by row.
    Full,
}

impl Shape {
    /// How many numbers W has; `None` if more than fit a `usize`.
    fn weight_count(self, classes: usize) -> Option<usize> {
        match self {
            Self::Scalar => Some(1),
            Self::Diagonal => Some(classes),
            Self::Full => classes.checked_mul(classes),
        }
    }
}

/// λ and μ, as they multiply sums of squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Penalty {
    pub(crate) off_diagonal: f64,
    pub(crate) intercepts: f64,
}

impl Penalty {
    pub(crate) const NONE: Self = Self { off_diagonal: 0.0, intercepts: 0.0 };

    /// That of W, which is a matrix unless λ is 0, and b; 0 of the identity.
    fn of(self, weights: &[f64], intercepts: &[f64]) -> f64 {
        let squared = |value: &f64| value * value;
        let off_diagonal = |(at, weight): (usize, &f64)| {
            if at % (intercepts.len() + 1) == 0 { 0.0 } else { squared(weight) }
        };
        let off_diagonal: f64 = weights.iter().enumerate().map(off_diagonal).sum();
        let intercepts: f64 = intercepts.iter().map(squared).sum();
        self.off_diagonal * off_diagonal + self.intercepts * intercepts
    }
}

/// W and b, and how they were found.
#[derive(Debug, Clone)]
pub(crate) struct Fitted {
    pub(crate) weights: Vec<f64>,
    pub(crate) intercepts: Vec<f64>,
    pub(crate) outcome: FitOutcome,
    pub(crate) iterations: usize,
    pub(crate) penalty: Penalty,
}

/// Far from overflow in the differences that a softmax takes.
const LARGE: f64 = f64::MAX / 4.0;

/// Replaces a row x by Wx + b.
///
/// A class with −∞ stays there; a matrix must not see one.
pub(crate) fn affine_in_place(row: &mut [f64], shape: Shape, weights: &[f64], intercepts: &[f64]) {
    if shape == Shape::Full {
        let old = row.to_vec();
        let rows = weights.chunks_exact(old.len().max(1));
        for ((value, weights), intercept) in row.iter_mut().zip(rows).zip(intercepts) {
            *value = (product_of(weights, &old) + intercept).clamp(-LARGE, LARGE);
        }
        return;
    }
    let weights = weights.iter().cycle();
    for ((value, weight), intercept) in row.iter_mut().zip(weights).zip(intercepts) {
        if *value != f64::NEG_INFINITY {
            *value = (weight * *value + intercept).clamp(-LARGE, LARGE);
        }
    }
}

/// softmax(Wx + b) of finite rows x, as log-probabilities.
pub(crate) fn apply_matrix(
    rows: &[f64],
    weights: &[f64],
    intercepts: &[f64],
) -> Result<LogProbabilities<'static, f64>> {
    let classes = intercepts.len();
    let transposed = transposed(weights, classes);
    let mut values = vec![0.0; rows.len()];
    let size = BLOCK * classes;
    values.par_chunks_mut(size).zip(rows.par_chunks(size)).for_each(|(values, rows)| {
        values.chunks_exact_mut(classes).for_each(|row| row.copy_from_slice(intercepts));
        let a = Strided { values: rows, row: classes, column: 1 };
        // The shapes fit by construction.
        let _ = add_product(a, &transposed, values, [rows.len() / classes, classes, classes]);
        for row in values.chunks_exact_mut(classes) {
            for value in row.iter_mut() {
                *value = value.clamp(-LARGE, LARGE);
            }
            log_softmax_in_place(row);
        }
    });
    Ok(LogProbabilities::new(values, classes)?)
}

/// A matrix of rows of so many columns with rows and columns exchanged.
fn transposed(matrix: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns)).copied().collect()
}

/// Checks given W and b: as many as there are classes, at least one class, all finite.
pub(crate) fn check_parameters(shape: Shape, weights: &[f64], intercepts: &[f64]) -> Result<()> {
    let classes = intercepts.len();
    if classes == 0 {
        return Err(Input::Empty { what: "the set of intercepts" }.into());
    }
    if Some(weights.len()) != shape.weight_count(classes) {
        let expected = match shape {
            Shape::Scalar => "1".to_owned(),
            Shape::Diagonal => format!("{classes}, as intercepts"),
            Shape::Full => format!("{classes} times {classes}, as there are intercepts"),
        };
        let found = weights.len().to_string();
        return Err(Input::mismatch("number of weights", expected, found).into());
    }
    if let Some(&found) = weights.iter().chain(intercepts).find(|value| !value.is_finite()) {
        let name = "a weight or intercept";
        return Err(Input::OutOfRange { name, expected: "finite", found }.into());
    }
    Ok(())
}

/// Refuses rows with a class that cannot be, for maps in which every class speaks for all.
pub(crate) fn check_possible<T: Scalar>(
    method: &'static str,
    logits: &Logits<'_, T>,
) -> Result<()> {
    let impossible = |&value: &T| value.into() == f64::NEG_INFINITY;
    match logits.as_slice().iter().position(impossible) {
        None => Ok(()),
        Some(index) => {
            let (row, class) = (index / logits.classes(), index % logits.classes());
            Err(Error::ImpossibleClass { method, row, class })
        }
    }
}

/// How the fit went, of which `map` is the result.
pub(crate) fn diagnostics<T: Scalar>(
    map: &impl Calibrator,
    fitted: &Fitted,
    rows: &Logits<'_, T>,
    targets: &Targets<'_>,
) -> Result<FitDiagnostics> {
    let before = map_rows(rows, rows.classes(), log_softmax_in_place)?;
    let nll_before = targets.mean_loss(&before);
    let nll_after = targets.mean_loss(map.apply(rows)?.as_slice());
    let penalty = fitted.penalty.of(&fitted.weights, &fitted.intercepts);
    let penalized = Objective { before: nll_before, after: nll_after + penalty };
    Ok(FitDiagnostics {
        samples: rows.rows(),
        nll_before,
        nll_after,
        objective: (fitted.penalty != Penalty::NONE).then_some(penalized),
        iterations: fitted.iterations,
        outcome: fitted.outcome,
        classes: Vec::new(),
    })
}

/// Fits W and b to `rows`, which are checked, and finite if W is a matrix.
pub(crate) fn fit(
    method: &'static str,
    rows: &Logits<'_, f64>,
    targets: &Targets<'_>,
    shape: Shape,
    penalty: Penalty,
) -> Result<Fitted> {
    let temperature = TemperatureScaling::fit(rows, targets)?;
    let is_flat = temperature.diagnostics().is_some_and(|fit| fit.outcome == FitOutcome::Flat);
    let beta = temperature.temperature().inverse();
    let problem = problem(rows, targets, shape, penalty)?;
    // Columns that are equal in every row still tell rows apart where each has a weight of its own.
    let says_nothing = shape == Shape::Scalar || rows.classes() == 1 || problem.is_constant();
    search(method, problem, beta, targets, is_flat && says_nothing)
}

/// Fits b alone to `rows`, which are checked, W being the number β.
pub(crate) fn fit_intercepts(
    method: &'static str,
    rows: &Logits<'_, f64>,
    targets: &Targets<'_>,
    beta: f64,
) -> Result<Fitted> {
    let mut problem = problem(rows, targets, Shape::Scalar, Penalty::NONE)?;
    problem.hold_weight();
    search(method, problem, beta, targets, false)
}

fn problem<'a>(
    rows: &Logits<'_, f64>,
    targets: &'a Targets<'a>,
    shape: Shape,
    penalty: Penalty,
) -> Result<Problem<'a>> {
    Problem::new(rows, targets, shape, penalty).ok_or_else(|| {
        let name = "number of classes";
        let expected = "so small that a matrix of them fits the memory";
        Input::OutOfRange { name, expected, found: rows.classes() as f64 }.into()
    })
}

/// The optimum, from W = β, b = 0 on.
fn search(
    method: &'static str,
    mut problem: Problem<'_>,
    beta: f64,
    targets: &Targets<'_>,
    flat: bool,
) -> Result<Fitted> {
    let (classes, shape, penalty) = (problem.classes(), problem.shape(), problem.penalty());
    let start = problem.start(beta);
    let floor = targets.separable_loss();
    let settings =
        MinimumSettings { target: floor, iterations: STEPS, ..MinimumSettings::default() };
    let minimum = minimize_truncated_newton(&mut problem, &start, &settings);
    let converged = match minimum.outcome {
        MinimumOutcome::Converged | MinimumOutcome::TargetReached => true,
        MinimumOutcome::Stalled => minimum.gradient <= STALLED_GRADIENT,
        MinimumOutcome::IterationLimit | MinimumOutcome::NotFinite => false,
    };
    if !converged {
        return Err(Error::NotConverged { method, class: None, iterations: minimum.iterations });
    }
    let held = problem.holds_a_class();
    let outcome = if flat {
        FitOutcome::Flat
    } else if problem.loss(&minimum.position) <= floor {
        FitOutcome::Separable
    } else if held {
        FitOutcome::OneSided
    } else {
        FitOutcome::Converged
    };
    if !outcome.converged() {
        tracing::warn!(method, ?outcome, "the data do not determine the map");
    }
    let (mut weights, mut intercepts) = problem.unscaled(&minimum.position);
    if shape == Shape::Full && penalty.off_diagonal == 0.0 && !held {
        for column in 0..classes {
            let sum: f64 = weights.iter().skip(column).step_by(classes).sum();
            for weight in weights.iter_mut().skip(column).step_by(classes) {
                *weight += (beta - sum) / classes as f64;
            }
        }
    }
    if penalty.intercepts == 0.0 {
        let mean = intercepts.iter().sum::<f64>() / classes as f64;
        for intercept in &mut intercepts {
            *intercept -= mean;
        }
    }
    Ok(Fitted { weights, intercepts, outcome, iterations: minimum.iterations, penalty })
}
