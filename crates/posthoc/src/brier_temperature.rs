//! The temperature with the least squared error.
//!
//! B(β) = mean Σ_k (p_k − t_k)², p = softmax(βx), β = 1/T, t the target: not convex, so the search goes
//! downhill from a temperature that is near, by factors of √2 until B rises, and to the root of B′ in
//! between.

use softlabel_core::Temperature;
use softlabel_kernels::{CompensatedSum, RootSettings, find_root, softmax_in_place};

use crate::{Result, Targets};

/// How often T may grow or shrink by √2 until the squared error rises.
const STEPS: usize = 60;

/// The temperature downhill from `start` at which the squared error of `rows`, ln p, has a minimum.
pub(crate) fn brier_temperature(
    rows: &[f64],
    targets: &Targets<'_>,
    start: Temperature,
) -> Result<Temperature> {
    let classes = targets.classes();
    // The first and second derivatives by ln β of Σ (p − t)², per row.
    let slopes = |u: f64| {
        let beta = u.exp();
        let (mut first, mut second) = (CompensatedSum::default(), CompensatedSum::default());
        let mut p = vec![0.0; classes];
        for (index, row) in rows.chunks_exact(classes).enumerate() {
            let (weight, target) = (targets.weight(index), targets.row(index));
            for (p, x) in p.iter_mut().zip(row) {
                *p = beta * x;
            }
            softmax_in_place(&mut p);
            let parts = || row.iter().zip(&p).filter(|(x, _)| x.is_finite());
            let mean: f64 = parts().map(|(x, p)| p * x).sum();
            let variance: f64 = parts().map(|(x, p)| p * (x - mean).powi(2)).sum();
            let (mut by_beta, mut by_beta_twice) = (0.0, 0.0);
            for (class, (x, p)) in
                row.iter().zip(&p).enumerate().filter(|(_, (x, _))| x.is_finite())
            {
                let off = p - target.share(class);
                let moved = p * (x - mean);
                by_beta += 2.0 * off * moved;
                by_beta_twice += 2.0 * (moved * moved + off * p * ((x - mean).powi(2) - variance));
            }
            first.add(weight * beta * by_beta);
            second.add(weight * beta * (by_beta + beta * by_beta_twice));
        }
        (first.value() / targets.total(), second.value() / targets.total())
    };
    let step = 0.5 * std::f64::consts::LN_2;
    let mut here = start.inverse().ln();
    let slope = slopes(here).0;
    let step = if slope < 0.0 { step } else { -step };
    for _ in 0..STEPS {
        let next = here + step;
        if (slopes(next).0 < 0.0) != (slope < 0.0) {
            let bracket = (here.min(next), here.max(next));
            let root = find_root(slopes, bracket, here, &RootSettings::default());
            return Ok(Temperature::new((-root.position).exp())?);
        }
        here = next;
    }
    Ok(Temperature::new((-here).exp())?)
}
