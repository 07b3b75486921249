//! How a fit went: carried by the fitted map and written down with it.

use serde::{Deserialize, Serialize};

/// How a fit ended.
///
/// Everything but [`Converged`](Self::Converged) says that the data do not determine the map; what
/// is used then is documented at the map.
///
/// ```
/// use softlabel_posthoc::FitOutcome;
/// assert!(FitOutcome::Converged.converged());
/// assert!(!FitOutcome::Separable.converged());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FitOutcome {
    /// At the optimum.
    Converged,
    /// A map of this kind tells all labels apart, a temperature where every label is (one of) the
    /// largest of its row: the sharper the better, without end.
    Separable,
    /// On average the label's logit is at most the mean of its row: nothing is better than uniform.
    /// Of a temperature with constants: nothing that rises with the logits is better than those.
    WorseThanUniform,
    /// All scores are equal, so nearly equal that `f64` cannot tell them apart, or there are none:
    /// nothing to tell rows apart by.
    Flat,
    /// All rows are on the same side of a class: it never occurs among the labels, so that its part of
    /// the map stays as it was; or, of maps that are fitted class by class, nothing else does; or, of a
    /// map of one event, all rows are right or all are wrong. Where nothing but one class occurs, maps
    /// of all classes together end as [`Separable`](Self::Separable) or [`Flat`](Self::Flat).
    OneSided,
    /// After as many iterations as were allowed, before a minimum: of maps that are fitted so far and
    /// no further, such as networks.
    IterationLimit,
}

impl FitOutcome {
    /// Whether the fit ended at an optimum that the data determine.
    pub fn converged(self) -> bool {
        self == Self::Converged
    }
}

/// How the part of a fit went that is about one class, for maps that are fitted class by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ClassFit {
    /// The number of rows whose label is the class.
    pub positives: usize,
    /// The number of other rows.
    pub negatives: usize,
    /// The number of iterations; 0 of a fit that only sorts and counts.
    pub iterations: usize,
    /// How it ended.
    pub outcome: FitOutcome,
}

/// What a fit made smaller, where that is not the mean negative log-likelihood of its rows alone.
///
/// A penalized likelihood, or a squared error. Of maps that are fitted class by class there is none: each class has an
/// objective of its own.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, MatrixScaling, Odir};
///
/// let logits = Logits::new([2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 2.0].repeat(2), 2)?;
/// let labels = Labels::new(&[0, 0, 1, 1, 0, 1, 1, 0], 2)?;
/// let map = MatrixScaling::fit_regularized(&logits, &labels, Odir::new(0.1, 0.1)?)?;
/// let fit = map.diagnostics().unwrap();
/// let objective = fit.objective.unwrap();
/// // The identity has no penalty, the fitted map has one.
/// assert_eq!(objective.before, fit.nll_before);
/// assert!(fit.nll_after < objective.after && objective.after < objective.before);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Objective {
    /// Of the rows as they came.
    pub before: f64,
    /// Of the same rows under the fitted map.
    pub after: f64,
}

/// How a fit went.
///
/// ```
/// use softlabel_core::{Labels, Logits};
/// use softlabel_posthoc::{Calibrator, FitOutcome, TemperatureScaling};
///
/// let logits = Logits::new([3.0f64.ln(), 0.0].repeat(2), 2)?;
/// let scaling = TemperatureScaling::fit(&logits, &Labels::new(&[0, 0], 2)?)?;
/// let diagnostics = scaling.diagnostics().unwrap();
/// assert_eq!(diagnostics.samples, 2);
/// assert_eq!(diagnostics.outcome, FitOutcome::Separable);
/// assert!((diagnostics.nll_before - (4.0f64 / 3.0).ln()).abs() < 1e-15);
/// # Ok::<(), softlabel_posthoc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FitDiagnostics {
    /// The number of rows that were fitted on.
    pub samples: usize,
    /// The mean negative log-likelihood of these rows before, in nats.
    pub nll_before: f64,
    /// The mean negative log-likelihood of the same rows under the fitted map.
    pub nll_after: f64,
    /// What was minimized, if it is not the negative log-likelihood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// The number of iterations, of all classes together.
    pub iterations: usize,
    /// How the fit ended; of a fit class by class, how that of the first class ended that did not
    /// converge, if there is one.
    pub outcome: FitOutcome,
    /// One entry a class for maps that are fitted class by class, else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassFit>,
}
