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
//! Numerical notes: `f64`; inside, columns are divided by their common spread, and shifted by their
//! means where b is free to make up for it (μ = 0), which takes nothing from the problem but its
//! scale and much of its bad condition.
//! L-BFGS ends where no derivative by these scaled parameters exceeds 1e-9. With a matrix of up to
//! 22 classes it has 1000 steps for that; Newton's method goes on from there.

use softlabel_core::{Error as Input, Labels, Logits, Scalar};
use softlabel_kernels::{
    CompensatedSum, Minimum, MinimumOutcome, MinimumSettings, log_softmax_in_place, minimize,
    minimize_newton,
};

use crate::calibrator::{map_rows, mean_nll};
use crate::{Calibrator, Error, FitDiagnostics, FitOutcome, Result, TemperatureScaling};

/// A search that ends because `f64` sees no decrease has converged if its gradient is below this.
const STALLED_GRADIENT: f64 = 1e-6;

/// Up to so many parameters a search that is not at its end in time is ended by Newton's method.
const SMALL: usize = 512;

/// How many steps such a search has.
const PATIENCE: usize = 1000;

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
}

/// W and b, and how they were found.
#[derive(Debug, Clone)]
pub(crate) struct Fitted {
    pub(crate) weights: Vec<f64>,
    pub(crate) intercepts: Vec<f64>,
    pub(crate) outcome: FitOutcome,
    pub(crate) iterations: usize,
}

/// Replaces a row x by Wx + b.
///
/// A class with −∞ stays there; a matrix must not see one.
pub(crate) fn affine_in_place(row: &mut [f64], shape: Shape, weights: &[f64], intercepts: &[f64]) {
    /// Far from overflow in the differences that a softmax takes.
    const LARGE: f64 = f64::MAX / 4.0;
    match shape {
        Shape::Scalar | Shape::Diagonal => {
            let weights = weights.iter().cycle();
            for ((value, weight), intercept) in row.iter_mut().zip(weights).zip(intercepts) {
                if *value != f64::NEG_INFINITY {
                    *value = (weight * *value + intercept).clamp(-LARGE, LARGE);
                }
            }
        }
        Shape::Full => {
            let old = row.to_vec();
            let rows = weights.chunks_exact(old.len().max(1));
            for ((value, weights), intercept) in row.iter_mut().zip(rows).zip(intercepts) {
                let products = weights.iter().zip(&old).map(|(weight, x)| weight * x);
                *value = (products.sum::<f64>() + intercept).clamp(-LARGE, LARGE);
            }
        }
    }
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
pub(crate) fn diagnostics(
    map: &impl Calibrator,
    fitted: &Fitted,
    rows: &Logits<'_, f64>,
    labels: &Labels,
) -> Result<FitDiagnostics> {
    let before = map_rows(rows, rows.classes(), log_softmax_in_place)?;
    Ok(FitDiagnostics {
        samples: rows.rows(),
        nll_before: mean_nll(&before, labels),
        nll_after: mean_nll(map.apply(rows)?.as_slice(), labels),
        iterations: fitted.iterations,
        outcome: fitted.outcome,
        classes: Vec::new(),
    })
}

/// Fits W and b to `rows`, which are checked, and finite if W is a matrix.
pub(crate) fn fit(
    method: &'static str,
    rows: &Logits<'_, f64>,
    labels: &Labels,
    shape: Shape,
    penalty: Penalty,
) -> Result<Fitted> {
    let classes = rows.classes();
    let temperature = TemperatureScaling::fit(rows, labels)?;
    let flat = temperature.diagnostics().is_some_and(|fit| fit.outcome == FitOutcome::Flat);
    let problem = Problem::new(rows, labels, shape, penalty).ok_or_else(|| {
        let name = "number of classes";
        let expected = "so small that a matrix of them fits the memory";
        Input::OutOfRange { name, expected, found: classes as f64 }
    })?;
    let start = problem.start(temperature.temperature().inverse());
    let floor = std::f64::consts::LN_2 / labels.len() as f64;
    let minimum = problem.minimize(&start, floor);
    let converged = match minimum.outcome {
        MinimumOutcome::Converged | MinimumOutcome::TargetReached => true,
        MinimumOutcome::Stalled => minimum.gradient <= STALLED_GRADIENT,
        MinimumOutcome::IterationLimit | MinimumOutcome::NotFinite => false,
    };
    if !converged {
        return Err(Error::NotConverged { method, class: None, iterations: minimum.iterations });
    }
    let outcome = if flat {
        FitOutcome::Flat
    } else if problem.loss(&minimum.position) <= floor {
        FitOutcome::Separable
    } else if problem.held.contains(&true) {
        FitOutcome::OneSided
    } else {
        FitOutcome::Converged
    };
    if !outcome.converged() {
        tracing::warn!(method, ?outcome, "the data do not determine the map");
    }
    let (mut weights, mut intercepts) = problem.unscaled(&minimum.position);
    if shape == Shape::Full && penalty.off_diagonal == 0.0 && !problem.held.contains(&true) {
        let beta = temperature.temperature().inverse();
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
    Ok(Fitted { weights, intercepts, outcome, iterations: minimum.iterations })
}

/// F over scaled rows: u = V(x − m)/s + c, so W = V/s and b = c − Wm.
struct Problem<'a> {
    /// (x − m)/s.
    rows: Vec<f64>,
    labels: &'a Labels,
    shape: Shape,
    penalty: Penalty,
    /// m, one a class.
    means: Vec<f64>,
    /// s.
    spread: f64,
    /// How many numbers V has.
    weight_count: usize,
    /// Whether the parameters of a class stay where they are.
    held: Vec<bool>,
}

impl<'a> Problem<'a> {
    fn new(
        rows: &Logits<'_, f64>,
        labels: &'a Labels,
        shape: Shape,
        penalty: Penalty,
    ) -> Option<Self> {
        let classes = rows.classes();
        let weight_count = shape.weight_count(classes)?;
        let column = |class: usize| {
            let values = rows.matrix().iter().map(move |row| row[class]);
            values.filter(|value| value.is_finite())
        };
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) =
                values.fold((CompensatedSum::default(), 0usize), |(mut sum, n), x| {
                    sum.add(x);
                    (sum, n + 1)
                });
            if count == 0 { 0.0 } else { sum.value() / count as f64 }
        };
        let means: Vec<f64> = match shape {
            // Shifted columns would tie every weight to the penalty of b.
            _ if penalty.intercepts > 0.0 => vec![0.0; classes],
            // One number shifts all columns alike, or classes that are held would move.
            Shape::Scalar => vec![mean(&mut (0..classes).flat_map(column)); classes],
            Shape::Diagonal | Shape::Full => {
                (0..classes).map(|class| mean(&mut column(class))).collect()
            }
        };
        let distances = |class: usize| {
            let centre = means[class];
            column(class).map(move |value| (value - centre).abs())
        };
        let spread = mean(&mut (0..classes).flat_map(distances));
        let spread = if spread > 0.0 { spread } else { 1.0 };
        let scaled = |(index, value): (usize, &f64)| (value - means[index % classes]) / spread;
        Some(Self {
            rows: rows.as_slice().iter().enumerate().map(scaled).collect(),
            labels,
            shape,
            penalty,
            spread,
            weight_count,
            held: labels.counts().into_iter().map(|count| count == 0).collect(),
            means,
        })
    }

    fn classes(&self) -> usize {
        self.means.len()
    }

    /// V and c for W = β, b = 0.
    fn start(&self, beta: f64) -> Vec<f64> {
        let classes = self.classes();
        let mut start = vec![0.0; self.weight_count];
        let step = if self.shape == Shape::Full { classes + 1 } else { 1 };
        for weight in start.iter_mut().step_by(step) {
            *weight = beta * self.spread;
        }
        match self.shape {
            // The means are equal: a shift.
            Shape::Scalar => start.extend(vec![0.0; classes]),
            Shape::Diagonal | Shape::Full => start.extend(self.means.iter().map(|m| beta * m)),
        }
        start
    }

    /// W and b.
    fn unscaled(&self, parameters: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (scaled, intercepts) = parameters.split_at(self.weight_count);
        let weights: Vec<f64> = scaled.iter().map(|weight| weight / self.spread).collect();
        let mut moved: Vec<f64> = self.means.clone();
        let zeros = vec![0.0; moved.len()];
        affine_in_place(&mut moved, self.shape, &weights, &zeros);
        let intercepts = intercepts.iter().zip(moved).map(|(c, moved)| c - moved).collect();
        (weights, intercepts)
    }

    /// The minimum of F, or where F is at most `target`.
    fn minimize(&self, start: &[f64], target: f64) -> Minimum {
        let small = self.shape == Shape::Full && start.len() <= SMALL;
        let mut settings = MinimumSettings { target, ..MinimumSettings::default() };
        if small {
            settings.iterations = PATIENCE;
        }
        let function =
            |parameters: &[f64], gradient: &mut [f64]| self.objective(parameters, gradient);
        let first = minimize(function, start, &settings);
        if !small
            || matches!(first.outcome, MinimumOutcome::Converged | MinimumOutcome::TargetReached)
        {
            return first;
        }
        let hessian = |parameters: &[f64], hessian: &mut [f64]| self.hessian(parameters, hessian);
        let second = minimize_newton(function, hessian, &first.position, &settings);
        Minimum { iterations: first.iterations + second.iterations, ..second }
    }

    /// The second derivatives of F by V and c, if W is a matrix.
    fn hessian(&self, parameters: &[f64], hessian: &mut [f64]) {
        let (classes, count) = (self.classes(), parameters.len());
        let rows = self.labels.len() as f64;
        // The parameter with this index multiplies this column (none: 1) for this class.
        let place = |index: usize| match index.checked_sub(self.weight_count) {
            None => (index / classes, Some(index % classes)),
            Some(class) => (class, None),
        };
        let places: Vec<(usize, Option<usize>)> = (0..count).map(place).collect();
        hessian.fill(0.0);
        let mut factors = vec![0.0; count];
        let mut p = vec![0.0; classes];
        self.walk(parameters, |row, differences| {
            // Only the label's difference is below 0.
            for (p, &d) in p.iter_mut().zip(differences) {
                *p = if d < 0.0 { d + 1.0 } else { d };
            }
            for (factor, (_, column)) in factors.iter_mut().zip(&places) {
                *factor = column.map_or(1.0, |column| row[column]);
            }
            for (a, sums) in hessian.chunks_exact_mut(count).enumerate() {
                let k = places[a].0;
                for (b, sum) in sums[..=a].iter_mut().enumerate() {
                    let l = places[b].0;
                    let spread = p[k] * (f64::from(u8::from(k == l)) - p[l]);
                    *sum += spread * factors[a] * factors[b] / rows;
                }
            }
        });
        for (a, &(k, column)) in places.iter().enumerate() {
            // Columns are not shifted where b is penalized, so the penalty has no mixed derivatives.
            hessian[a * count + a] += match column {
                Some(column) if column == k => 0.0,
                Some(_) => 2.0 * self.penalty.off_diagonal / (self.spread * self.spread),
                None => 2.0 * self.penalty.intercepts,
            };
        }
        for (a, &(k, _)) in places.iter().enumerate() {
            for (b, &(l, _)) in places.iter().enumerate().take(a + 1) {
                if self.held[k] || self.held[l] {
                    hessian[a * count + b] = f64::from(u8::from(a == b));
                }
            }
        }
    }

    /// The mean negative log-likelihood.
    fn loss(&self, parameters: &[f64]) -> f64 {
        self.walk(parameters, |_, _| {})
    }

    /// The mean negative log-likelihood; `visit` is shown every scaled row with p − \[k = y\].
    fn walk(&self, parameters: &[f64], mut visit: impl FnMut(&[f64], &[f64])) -> f64 {
        let classes = self.classes();
        let (weights, intercepts) = parameters.split_at(self.weight_count);
        let mut loss = CompensatedSum::default();
        let mut u = vec![0.0; classes];
        for (row, label) in self.rows.chunks_exact(classes).zip(self.labels.iter()) {
            u.copy_from_slice(row);
            affine_in_place(&mut u, self.shape, weights, intercepts);
            log_softmax_in_place(&mut u);
            loss.add(-u[label]);
            for value in &mut u {
                *value = value.exp();
            }
            u[label] -= 1.0;
            visit(row, &u);
        }
        loss.value() / self.labels.len() as f64
    }

    /// F, and its derivatives by V and c.
    fn objective(&self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        let classes = self.classes();
        gradient.fill(0.0);
        let (by_weight, by_intercept) = gradient.split_at_mut(self.weight_count);
        let mut value = self.walk(parameters, |row, differences| {
            let parts = || row.iter().zip(differences).filter(|(x, _)| x.is_finite());
            match self.shape {
                Shape::Scalar => by_weight[0] += parts().map(|(x, d)| x * d).sum::<f64>(),
                Shape::Diagonal => {
                    for (sum, (x, d)) in by_weight.iter_mut().zip(row.iter().zip(differences)) {
                        *sum += if x.is_finite() { x * d } else { 0.0 };
                    }
                }
                Shape::Full => {
                    for (sums, d) in by_weight.chunks_exact_mut(classes).zip(differences) {
                        for (sum, x) in sums.iter_mut().zip(row) {
                            *sum += x * d;
                        }
                    }
                }
            }
            for (sum, d) in by_intercept.iter_mut().zip(differences) {
                *sum += d;
            }
        });
        let rows = self.labels.len() as f64;
        for sum in gradient.iter_mut() {
            *sum /= rows;
        }
        value += self.add_penalty(parameters, gradient);
        self.hold(gradient);
        value
    }

    /// The penalty; its derivatives are added.
    fn add_penalty(&self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        if self.penalty == Penalty::NONE {
            return 0.0;
        }
        let classes = self.classes();
        let (weights, intercepts) = self.unscaled(parameters);
        let (by_weight, by_intercept) = gradient.split_at_mut(weights.len());
        let Penalty { off_diagonal, intercepts: strength } = self.penalty;
        let mut penalty = CompensatedSum::default();
        for (k, intercept) in intercepts.iter().enumerate() {
            penalty.add(strength * intercept * intercept);
            by_intercept[k] += 2.0 * strength * intercept;
        }
        for (index, (weight, sum)) in weights.iter().zip(by_weight).enumerate() {
            let (k, j) = match self.shape {
                Shape::Full => (index / classes, index % classes),
                Shape::Scalar | Shape::Diagonal => (index, index),
            };
            let mut slope = -2.0 * strength * intercepts[k] * self.means[j];
            if k != j {
                penalty.add(off_diagonal * weight * weight);
                slope += 2.0 * off_diagonal * weight;
            }
            *sum += slope / self.spread;
        }
        penalty.value()
    }

    /// No derivative by the parameters of classes that are held.
    fn hold(&self, gradient: &mut [f64]) {
        let classes = self.classes();
        for class in (0..classes).filter(|&class| self.held[class]) {
            gradient[self.weight_count + class] = 0.0;
            match self.shape {
                Shape::Scalar => {}
                Shape::Diagonal => gradient[class] = 0.0,
                Shape::Full => gradient[class * classes..(class + 1) * classes].fill(0.0),
            }
        }
    }
}
