//! What a fit can minimize.

use serde::{Deserialize, Serialize};

use crate::{Objective, Targets};

/// What a fit minimizes, where its authors leave the choice.
///
/// Both are proper: their expectation is least for the true probabilities.
///
/// ```
/// use softlabel_posthoc::FitLoss;
/// assert_eq!(serde_json::to_string(&FitLoss::default()).unwrap(), r#""brier""#);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FitLoss {
    /// The mean over rows of Σ_k (q_k − \[k = y\])², K times the mean squared error.
    #[default]
    #[doc(alias = "MSE")]
    Brier,
    /// The mean over rows of −ln q_y.
    #[doc(alias = "cross-entropy")]
    Nll,
}

impl FitLoss {
    /// What was minimized, if it is not the likelihood: of log-probabilities before and after.
    pub(crate) fn objective(
        self,
        targets: &Targets<'_>,
        before: &[f64],
        after: &[f64],
    ) -> Option<Objective> {
        let of = |rows| targets.mean_squared_error(rows);
        (self == Self::Brier).then(|| Objective { before: of(before), after: of(after) })
    }
}
