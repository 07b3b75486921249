//! A matrix of log-probabilities with a penalty on everything off its diagonal.
//!
//! q = softmax(W ln p + b), p = softmax(z), with the (W, b) that minimize
//!
//! mean(−ln q_y) + λ/(K(K − 1)) Σ_{i≠j} W_ij² + μ/K Σ_k b_k²
//!
//! z: logits `[rows, classes]`; K: classes; W: `[classes, classes]`; b: `[classes]`.
//! That is ODIR, off-diagonal and intercept regularization: λ and μ weigh *means* of squares, so the
//! same numbers suit any K; Kull et al. search both from 1e-7 to 1e7 with a second held-out set or
//! by cross-validation. The diagonal is free.
//!
//! It is what Bayes' rule gives if the p of every class are Dirichlet distributed.
//! Since ln p is normalized first a shift of a row of logits changes nothing.
//!
//! The problem is convex; the optimum is searched from W = 1/T, b = 0 on, T being the temperature
//! that fits best. The penalty is 0 there, so the negative log-likelihood is never worse than that
//! of temperature scaling on the rows that were fitted, unless their logits are all but equal (see below).
//! With λ > 0 and μ > 0 the optimum is the only one; with λ = 0 adding a number to a column of W
//! changes nothing, and columns sum to 1/T, with μ = 0 the same goes for b, which sums to 0.
//! The top class of a row may change.
//!
//! What is defined where there is little to fit:
//!
//! - A class that never occurs among the labels keeps its row of W = 1/T and b_k = 0
//!   ([`FitOutcome::OneSided`](crate::FitOutcome)): the penalty does not hold W_kk back.
//! - Labels that a map of this kind separates: the search ends where the mean loss is ln 2/rows,
//!   penalty included, or at the optimum if the penalty is larger
//!   ([`FitOutcome::Separable`](crate::FitOutcome)).
//! - Equal logits in every row, or such that differ by less than 2e-4: b says how often the classes
//!   occur, as far as μ lets it ([`FitOutcome::Flat`](crate::FitOutcome)). To tell classes apart by
//!   less, W would have to be so large that `f64` cannot hold what is left of W ln p.
//!
//! A logit of −∞ has no product with most numbers, so it is refused.
//!
//! Numerical notes: Newton's method with conjugate gradients in `f64`, threaded over rows, down to
//! derivatives of 1e-9 by parameters of scaled logits.
//!
//! Source: M. Kull, M. Perello Nieto, M. Kängsepp, T. Silva Filho, H. Song, P. Flach, "Beyond
//! Temperature Scaling: Obtaining Well-Calibrated Multiclass Probabilities with Dirichlet
//! Calibration" (2019).

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as Input, LogProbabilities, Logits, Scalar};
use softlabel_kernels::log_softmax_in_place;

use crate::affine::{self, Penalty, Shape, apply_matrix, check_parameters, check_possible};
use crate::calibrator::{check_class_count, log_rows, map_rows};
use crate::document::{Document, Written};
use crate::{Calibrator, FitDiagnostics, Result, Targets};

/// How much the fit of a [`DirichletCalibration`] is held back: λ and μ, both finite and at least 0.
///
/// They weigh the means of the squares: λ that of the K(K − 1) numbers off the diagonal, μ that of
/// the K constants.
///
/// ```
/// use softlabel_posthoc::Odir;
/// let odir = Odir::new(0.01, 0.02)?;
/// assert_eq!((odir.off_diagonal(), odir.intercepts()), (0.01, 0.02));
/// assert!(Odir::new(-1.0, 0.0).is_err());
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "OdirFields")]
#[doc(alias = "off-diagonal and intercept regularization")]
pub struct Odir {
    off_diagonal: f64,
    intercepts: f64,
}

/// [`Odir`] as it is read, before it is checked.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OdirFields {
    off_diagonal: f64,
    intercepts: f64,
}

impl Default for OdirFields {
    fn default() -> Self {
        let Odir { off_diagonal, intercepts } = Odir::default();
        Self { off_diagonal, intercepts }
    }
}

impl TryFrom<OdirFields> for Odir {
    type Error = crate::Error;

    fn try_from(fields: OdirFields) -> Result<Self> {
        Self::new(fields.off_diagonal, fields.intercepts)
    }
}

impl Default for Odir {
    /// λ = μ = 1, a start; its authors choose both by cross-validation.
    fn default() -> Self {
        Self { off_diagonal: 1.0, intercepts: 1.0 }
    }
}

impl Odir {
    /// λ = `off_diagonal`, μ = `intercepts`.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) if one is negative or not finite.
    pub fn new(off_diagonal: f64, intercepts: f64) -> Result<Self> {
        let valid = |value: &f64| (0.0..f64::INFINITY).contains(value);
        match [off_diagonal, intercepts].into_iter().find(|value| !valid(value)) {
            None => Ok(Self { off_diagonal, intercepts }),
            Some(found) => {
                let (name, expected) = ("a weight of ODIR", "at least 0 and finite");
                Err(Input::OutOfRange { name, expected, found }.into())
            }
        }
    }

    /// λ, the weight of the mean square off the diagonal.
    pub fn off_diagonal(self) -> f64 {
        self.off_diagonal
    }

    /// μ, the weight of the mean square of the constants.
    pub fn intercepts(self) -> f64 {
        self.intercepts
    }

    /// As the factors of sums of squares.
    pub(crate) fn penalty(self, classes: usize) -> Penalty {
        let classes = classes as f64;
        let off_diagonal = self.off_diagonal / (classes * (classes - 1.0)).max(1.0);
        Penalty { off_diagonal, intercepts: self.intercepts / classes }
    }
}

/// A matrix of log-probabilities and a constant for every class: q = softmax(W ln p + b).
///
/// (W, b) minimizes the mean negative log-likelihood plus λ times the mean of the squares off the
/// diagonal plus μ times the mean of b² ([`Odir`]), which is convex; on the rows that were fitted
/// the likelihood is never worse than that of temperature scaling, but where the fit is
/// [`Flat`](crate::FitOutcome): logits that hardly differ are taken for equal, which a temperature does not do.
/// Logits are normalized to ln p first, so a shift of a row changes nothing; −∞ is refused.
/// The top class of a row may change.
///
/// # Little data
/// A class that never occurs among the labels keeps the row of temperature scaling
/// ([`FitOutcome::OneSided`](crate::FitOutcome)); labels that can be separated end the search at a
/// mean loss of ln 2/rows ([`FitOutcome::Separable`](crate::FitOutcome)); where the logits of every
/// row are equal, or differ by less than 2e-4, b says the frequencies
/// ([`FitOutcome::Flat`](crate::FitOutcome)).
///
/// # Source
/// M. Kull, M. Perello Nieto, M. Kängsepp, T. Silva Filho, H. Song, P. Flach, "Beyond Temperature
/// Scaling: Obtaining Well-Calibrated Multiclass Probabilities with Dirichlet Calibration" (2019).
///
/// # Example
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, DirichletCalibration, Odir};
///
/// // The classifier takes class 0 for 1 and 1 for 0, three times in four.
/// let logits = Logits::new([1.0, 0.0, 0.0, 1.0].repeat(4), 2)?;
/// let labels = Labels::new(&[1, 0, 1, 0, 1, 0, 0, 1], 2)?;
/// let map = DirichletCalibration::fit(&logits, &labels, Odir::new(0.0, 0.0)?)?;
/// assert!((map.apply(&logits)?.as_slice()[1].exp() - 0.75).abs() < 1e-7);
/// // Held back, it goes less far.
/// let map = DirichletCalibration::fit(&logits, &labels, Odir::new(0.1, 0.1)?)?;
/// assert!(map.apply(&logits)?.as_slice()[1].exp() < 0.75);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct DirichletCalibration {
    weights: Vec<f64>,
    intercepts: Vec<f64>,
    diagnostics: Option<FitDiagnostics>,
}

impl DirichletCalibration {
    /// Fits a matrix and a constant for every class.
    ///
    /// `logits` are `[rows, classes]`, with at least as many rows as classes; `regularization` has no
    /// best value that could be known before, and is chosen on other rows.
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
    /// use softlabel_posthoc::{Calibrator, DirichletCalibration, Odir};
    ///
    /// // The same logits in all rows: only the frequencies 5, 2 and 1 of 8 are left to say.
    /// let logits = Logits::new([2.0, 1.0, 0.0].repeat(8), 3)?;
    /// let labels = Labels::new(&[0, 0, 0, 0, 0, 1, 1, 2], 3)?;
    /// let scaling = DirichletCalibration::fit(&logits, &labels, Odir::new(0.1, 0.0)?)?;
    /// let calibrated = scaling.apply(&logits)?;
    /// assert!((calibrated.as_slice()[1].exp() - 0.25).abs() < 1e-7);
    /// # Ok::<(), softlabel_posthoc::Error>(())
    /// ```
    pub fn fit<'t, T: Scalar>(
        logits: &Logits<'_, T>,
        targets: impl Into<Targets<'t>>,
        regularization: Odir,
    ) -> Result<Self> {
        let (logits, targets) = targets.into().of_fit(logits)?;
        check_possible(Self::METHOD, &logits)?;
        let rows = Logits::new(log_rows(&logits)?.rows, logits.classes())?;
        let fitted = affine::fit(
            Self::METHOD,
            &rows,
            &targets,
            Shape::Full,
            regularization.penalty(logits.classes()),
        )?;
        let mut map = Self::from_parts(fitted.weights.clone(), fitted.intercepts.clone(), None)?;
        map.diagnostics = Some(affine::diagnostics(&map, &fitted, &logits, &targets)?);
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
    /// use softlabel_posthoc::{Calibrator, DirichletCalibration};
    /// let scaling = DirichletCalibration::from_parameters(vec![0.0, 1.0, 1.0, 0.0], vec![0.0, 0.0])?;
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

impl Calibrator for DirichletCalibration {
    fn classes(&self) -> usize {
        self.intercepts.len()
    }

    fn diagnostics(&self) -> Option<&FitDiagnostics> {
        self.diagnostics.as_ref()
    }

    fn apply<T: Scalar>(&self, logits: &Logits<'_, T>) -> Result<LogProbabilities<'static, f64>> {
        check_class_count(logits, self.classes())?;
        check_possible(Self::METHOD, logits)?;
        let rows = map_rows(logits, self.classes(), log_softmax_in_place)?;
        apply_matrix(&rows, &self.weights, &self.intercepts)
    }
}
