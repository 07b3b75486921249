//! The formulas, one after the other as they are written in the papers, in plain f64.

pub(crate) fn softmax(logits: &[f64]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let total: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / total).collect()
}

/// Σ a·ln(a/b).
pub(crate) fn divergence(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).filter(|(a, _)| **a > 0.0).map(|(a, b)| a * (a / b).ln()).sum()
}

pub(crate) fn squared_error(z: &[f64], u: &[f64]) -> f64 {
    z.iter().zip(u).map(|(z, u)| (z - u).powi(2)).sum()
}

pub(crate) fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

pub(crate) fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let centred = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| value - mean).collect::<Vec<_>>()
    };
    cosine(&centred(a), &centred(b))
}

/// TCKD and NCKD of Zhao et al. 2022, from probabilities.
pub(crate) fn decoupled(z: &[f64], u: &[f64], label: usize) -> (f64, f64) {
    let (p, q) = (softmax(z), softmax(u));
    let binary = |p: &[f64]| [p[label], 1.0 - p[label]];
    let without = |logits: &[f64]| {
        let mut rest = logits.to_vec();
        rest.remove(label);
        softmax(&rest)
    };
    (divergence(&binary(&q), &binary(&p)), divergence(&without(u), &without(z)))
}

/// 1 − mean correlation of rows, and of columns, of Huang et al. 2022.
pub(crate) fn relational(z: &[Vec<f64>], u: &[Vec<f64>]) -> (f64, f64) {
    let of = |rows: &[Vec<f64>]| rows.iter().map(|row| softmax(row)).collect::<Vec<_>>();
    let (p, q) = (of(z), of(u));
    let columns = |rows: &[Vec<f64>]| -> Vec<Vec<f64>> {
        (0..rows[0].len()).map(|class| rows.iter().map(|row| row[class]).collect()).collect()
    };
    let apart = |a: &[Vec<f64>], b: &[Vec<f64>]| {
        1.0 - a.iter().zip(b).map(|(a, b)| pearson(a, b)).sum::<f64>() / a.len() as f64
    };
    (apart(&p, &q), apart(&columns(&p), &columns(&q)))
}

/// z-scores of Sun et al. 2024.
pub(crate) fn standardized(logits: &[f64]) -> Vec<f64> {
    let mean = logits.iter().sum::<f64>() / logits.len() as f64;
    let variance = logits.iter().map(|logit| (logit - mean).powi(2)).sum::<f64>();
    let deviation = (variance / (logits.len() - 1) as f64).sqrt();
    logits.iter().map(|logit| (logit - mean) / (1e-7 + deviation)).collect()
}

pub(crate) fn cross_entropy(logits: &[f64], label: usize) -> f64 {
    -softmax(logits)[label].ln()
}
