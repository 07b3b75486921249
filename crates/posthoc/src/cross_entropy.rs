//! The mean cross-entropy of labels under softmax(u), where u is made of a row: what maps that are
//! fitted by its gradient have in common.

use softlabel_kernels::{CompensatedSum, Minimum, MinimumOutcome, log_softmax_in_place};

use crate::{Error, Result, Targets};

/// A search that ends because `f64` sees no decrease has converged if its gradient is below this.
const STALLED_GRADIENT: f64 = 1e-6;

/// The mean of −Σ_k t_k ln softmax(u)_k over `rows`; `scores` replaces a row by u.
///
/// `visit` is shown every row with the derivatives w·(p − t) of its weighted loss by u; a u of −∞ has
/// none.
pub(crate) fn mean_cross_entropy(
    rows: &[f64],
    targets: &Targets<'_>,
    scores: impl Fn(&mut [f64]),
    mut visit: impl FnMut(&[f64], &[f64]),
) -> f64 {
    let classes = targets.classes();
    let mut loss = CompensatedSum::default();
    let mut u = vec![0.0; classes];
    for (index, row) in rows.chunks_exact(classes).enumerate() {
        let (weight, target) = (targets.weight(index), targets.row(index));
        u.copy_from_slice(row);
        scores(&mut u);
        log_softmax_in_place(&mut u);
        loss.add(-weight * target.masses().map(|(class, t)| t * u[class]).sum::<f64>());
        for value in &mut u {
            *value = weight * value.exp();
        }
        target.masses().for_each(|(class, t)| u[class] -= weight * t);
        visit(row, &u);
    }
    loss.value() / targets.total()
}

/// An error if the search did not end at a minimum.
pub(crate) fn check_minimum(method: &'static str, minimum: &Minimum) -> Result<()> {
    let converged = match minimum.outcome {
        MinimumOutcome::Converged | MinimumOutcome::TargetReached => true,
        MinimumOutcome::Stalled => minimum.gradient <= STALLED_GRADIENT,
        MinimumOutcome::IterationLimit | MinimumOutcome::NotFinite => false,
    };
    if converged {
        return Ok(());
    }
    Err(Error::NotConverged { method, class: None, iterations: minimum.iterations })
}
