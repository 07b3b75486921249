//! A matrix and a constant for every class.
//!
//! q = softmax(Wz + b), with the (W, b) that minimize the mean negative log-likelihood of the
//! labels
//!
//! z: logits `[rows, classes]`, as they are; W: `[classes, classes]`; b: `[classes]`.
//! The problem is convex; the optimum is searched from W = 1/T, b = 0 on, T being the temperature
//! that fits best, so the result is never worse than temperature scaling on the rows that were
//! fitted.
//! Adding a number to a column of W, or to b, changes nothing: of all optima the one is returned
//! whose columns sum to 1/T and whose b sum to 0.
//! The top class of a row may change.
//!
//! There are classes² + classes numbers to fit: with many classes or few rows they fit the rows and
//! not the task (at a hundred classes Guo et al. saw errors of calibration of 20 % and more).
//! [`DirichletCalibration`](crate::DirichletCalibration) is the same map with a penalty.
//! A shift of a row of logits does change the result: where logits are only known up to one,
//! log-probabilities are a definite choice of it.
//!
//! What is defined where there is little to fit:
//!
//! - A class that never occurs among the labels keeps its row of W = 1/T and b_k = 0, up to the
//!   common shift of the b ([`FitOutcome::OneSided`](crate::FitOutcome)); columns then sum to
//!   another number.
//! - Labels that a map of this kind separates: the likelihood asks to go on without end; the search
//!   ends where the mean loss is ln 2/rows, below which every label has more than half of its row
//!   ([`FitOutcome::Separable`](crate::FitOutcome)).
//! - Equal logits in every row: b says how often the classes occur
//!   ([`FitOutcome::Flat`](crate::FitOutcome)).
//!
//! A logit of −∞ has no product with most numbers, so it is refused.
//!
//! Numerical notes: Newton's method with conjugate gradients in `f64`, threaded over rows, down to
//! derivatives of 1e-9 by parameters of scaled logits.
//!
//! Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks"
//! (2017).

use serde::{Deserialize, Serialize};
use softlabel_core::{LogProbabilities, Logits, Scalar};

use crate::affine::{self, Penalty, Shape, apply_matrix, check_parameters, check_possible};
use crate::calibrator::{check_class_count, map_rows};
use crate::document::{Document, Written};
use crate::{Calibrator, FitDiagnostics, Odir, Result, Targets};

/// A matrix and a constant for every class: q = softmax(Wz + b).
///
/// (W, b) minimizes the mean negative log-likelihood, which is convex; on the rows that were fitted
/// the result is never worse than temperature scaling. The b sum to 0.
/// Logits are used as they are: a shift of a row changes the result, and −∞ is refused.
/// The top class of a row may change.
///
/// There are classes² + classes numbers to fit. With many classes they fit the rows and not the
/// task; see [`DirichletCalibration`](crate::DirichletCalibration) for the same with a penalty.
///
/// # Little data
/// A class that never occurs among the labels keeps the row of temperature scaling
/// ([`FitOutcome::OneSided`](crate::FitOutcome)); labels that can be separated end the search at a
/// mean loss of ln 2/rows ([`FitOutcome::Separable`](crate::FitOutcome)); where the logits of every
/// row are equal b says the frequencies ([`FitOutcome::Flat`](crate::FitOutcome)).
///
/// # Source
/// C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks" (2017).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, MatrixScaling};
///
/// // The classifier takes class 0 for 1 and 1 for 0, three times in four.
/// let logits = Logits::new([1.0, 0.0, 0.0, 1.0].repeat(4), 2)?;
/// let labels = Labels::new(&[1, 0, 1, 0, 1, 0, 0, 1], 2)?;
/// let scaling = MatrixScaling::fit(&logits, &labels)?;
/// let calibrated = scaling.apply(&logits)?;
/// assert!((calibrated.as_slice()[1].exp() - 0.75).abs() < 1e-7);
/// assert!((calibrated.as_slice()[2].exp() - 0.75).abs() < 1e-7);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct MatrixScaling {
    weights: Vec<f64>,
    intercepts: Vec<f64>,
    diagnostics: Option<FitDiagnostics>,
}

impl MatrixScaling {
    /// Fits a matrix and a constant for every class.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no rows, fewer rows than classes, not one
    /// label a row, or labels of another number of classes;
    /// [`Error::ImpossibleLabel`](crate::Error::ImpossibleLabel) if a label has the logit −∞,
    /// [`Error::ImpossibleClass`](crate::Error::ImpossibleClass) if any class has;
    /// [`Error::NotConverged`](crate::Error::NotConverged) if the optimum is not reached, or the
    /// logits are so large that `f64` cannot hold their squares.
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{Calibrator, MatrixScaling};
    ///
    /// // The same logits in all rows: only the frequencies 5, 2 and 1 of 8 are left to say.
    /// let logits = Logits::new([2.0, 1.0, 0.0].repeat(8), 3)?;
    /// let labels = Labels::new(&[0, 0, 0, 0, 0, 1, 1, 2], 3)?;
    /// let scaling = MatrixScaling::fit(&logits, &labels)?;
    /// let calibrated = scaling.apply(&logits)?;
    /// assert!((calibrated.as_slice()[1].exp() - 0.25).abs() < 1e-7);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
    ) -> Result<Self> {
        Self::fit_penalized(logits, targets.into(), Penalty::NONE)
    }

    /// Fits a matrix and a constant for every class, held back off the diagonal and in the
    /// constants: matrix scaling with ODIR of Kull et al. (2019).
    ///
    /// Unlike [`fit`](Self::fit) it does not overfit where classes are many.
    /// The penalty is that of [`Odir`]; the diagonal is free.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    ///
    /// ```
    /// use softlabel_core::{Labels, Logits};
    /// use softlabel_posthoc::{MatrixScaling, Odir};
    ///
    /// let logits = Logits::new(&[2.0, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 1.0], 2)?;
    /// let labels = Labels::new(&[0, 1, 1, 0], 2)?;
    /// let map = MatrixScaling::fit_regularized(&logits, &labels, Odir::new(1e6, 1e6)?)?;
    /// assert!(map.weights()[1].abs() < 1e-5 && map.intercepts()[0].abs() < 1e-5);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit_regularized<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        regularization: Odir,
    ) -> Result<Self> {
        Self::fit_penalized(logits, targets.into(), regularization.penalty(logits.classes()))
    }

    fn fit_penalized<T: Scalar>(
        logits: &Logits<'_, T>,
        targets: Targets<'_>,
        penalty: Penalty,
    ) -> Result<Self> {
        let (logits, targets) = targets.of_fit(logits)?;
        check_possible(Self::METHOD, &logits)?;
        let rows = Logits::new(map_rows(&logits, logits.classes(), |_| {})?, logits.classes())?;
        let fitted = affine::fit(Self::METHOD, &rows, &targets, Shape::Full, penalty)?;
        let mut map = Self::from_parts(fitted.weights.clone(), fitted.intercepts.clone(), None)?;
        map.diagnostics = Some(affine::diagnostics(&map, &fitted, &rows, &targets)?);
        Ok(map)
    }

    /// The map with a given matrix W, row by row, and constants b, one a class.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if there are no constants, not as many rows and columns
    /// of W as constants, or if a number is not finite.
    ///
    /// ```
    /// use softlabel_core::Logits;
    /// use softlabel_posthoc::{Calibrator, MatrixScaling};
    /// let scaling = MatrixScaling::from_parameters(vec![0.0, 1.0, 1.0, 0.0], vec![0.0, 0.0])?;
    /// let calibrated = scaling.apply(&Logits::new(vec![0.0, 3.0f64.ln()], 2)?)?;
    /// assert!((calibrated.as_slice()[0].exp() - 0.75).abs() < 1e-15);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn from_parameters(weights: Vec<f64>, intercepts: Vec<f64>) -> Result<Self> {
        Self::from_parts(weights, intercepts, None)
    }

    pub(crate) fn from_parts(
        weights: Vec<f64>,
        intercepts: Vec<f64>,
        diagnostics: Option<FitDiagnostics>,
    ) -> Result<Self> {
        check_parameters(Shape::Full, &weights, &intercepts)?;
        Ok(Self { weights, intercepts, diagnostics })
    }

    /// W, row by row: the numbers of what class k becomes, for every k.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// b_k for every class k.
    pub fn intercepts(&self) -> &[f64] {
        &self.intercepts
    }
}

impl Calibrator for MatrixScaling {
    fn classes(&self) -> usize {
        self.intercepts.len()
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.diagnostics.as_ref()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        check_class_count(logits, self.classes())?;
        check_possible(Self::METHOD, logits)?;
        apply_matrix(&map_rows(logits, self.classes(), |_| {})?, &self.weights, &self.intercepts)
    }
}
