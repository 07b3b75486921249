//! Every kind of loss, with its formula written down in f64 on plain slices.

use softlabel_losses::{
    Acls, AnyLoss, BackwardCorrection, BinaryCrossEntropy, Bootstrap, BootstrapMode, Brier,
    ConfidencePenalty, CorrectnessRanking, Direction, DualFocal, Entropy, Focal, Focal53,
    ForwardCorrection, GeneralizedCrossEntropy, JsDivergence, KlDivergence, LabelRelaxation,
    LogitNorm, LogitPenalty, MarginSmoothing, MaxSup, Mmce, Poly, Reference, SymmetricCrossEntropy,
    ZipfDivergence,
};
use softlabel_targets::BinarySmoothing;

/// What a sample costs, from its logits and its target.
pub(crate) enum Formula {
    /// Of a distribution, which for labels is one-hot.
    Rows(fn(&[f64], &[f64]) -> f64),
    /// Of a label alone.
    Label(fn(&[f64], usize) -> f64),
    /// Of several samples together: see the tests of these losses.
    Together,
}

pub(crate) struct Case {
    pub(crate) loss: AnyLoss,
    pub(crate) formula: Formula,
    /// Whether a constant added to all logits changes nothing.
    pub(crate) shift_invariant: bool,
    /// Whether a logit of −∞ beside the label leaves the loss finite.
    pub(crate) finite_beside: bool,
    /// Whether the gradient is that of the value: not where a part is held constant.
    pub(crate) differentiable: bool,
}

pub(crate) const PRIOR: [f64; 5] = [0.1, 0.2, 0.3, 0.15, 0.25];
const MATRIX: [[f64; 5]; 5] = [
    [0.7, 0.1, 0.1, 0.05, 0.05],
    [0.0, 0.8, 0.1, 0.1, 0.0],
    [0.2, 0.1, 0.6, 0.05, 0.05],
    [0.05, 0.05, 0.1, 0.75, 0.05],
    [0.1, 0.1, 0.1, 0.1, 0.6],
];
pub(crate) fn matrix() -> Vec<Vec<f64>> {
    MATRIX.iter().map(|row| row.to_vec()).collect()
}

pub(crate) fn log_softmax(z: &[f64]) -> Vec<f64> {
    let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lse = largest + z.iter().map(|v| (v - largest).exp()).sum::<f64>().ln();
    z.iter().map(|v| v - lse).collect()
}

pub(crate) fn softmax(z: &[f64]) -> Vec<f64> {
    log_softmax(z).into_iter().map(f64::exp).collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// w·v with 0·∞ = 0.
fn times(w: f64, v: f64) -> f64 {
    if w == 0.0 { 0.0 } else { w * v }
}

fn dot(w: &[f64], v: &[f64]) -> f64 {
    w.iter().zip(v).map(|(&w, &v)| times(w, v)).sum()
}

fn cross_entropy(z: &[f64], q: &[f64]) -> f64 {
    -dot(q, &log_softmax(z))
}

fn entropy(z: &[f64]) -> f64 {
    -dot(&softmax(z), &log_softmax(z))
}

fn kl(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| times(a, a.ln() - b.ln())).sum()
}

fn js(a: &[f64], b: &[f64]) -> f64 {
    let m: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect();
    f64::midpoint(kl(a, &m), kl(b, &m))
}

fn finite(z: &[f64]) -> Vec<f64> {
    z.iter().copied().filter(|v| v.is_finite()).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn margin_smoothing(z: &[f64], margin: f64) -> f64 {
    mean(&finite(z).iter().map(|v| (largest(z) - v - margin).max(0.0)).collect::<Vec<_>>())
}

/// `top` is the largest logit where it is a constant.
pub(crate) fn acls(z: &[f64], top: f64) -> f64 {
    let z = finite(z);
    let others = (z.len() as f64 - 1.0).max(1.0);
    let is_top = |v: f64| v == largest(&z);
    let part = |v: f64| {
        if is_top(v) {
            0.8 * (v - 1.5).max(0.0).powi(2)
        } else {
            0.3 * (top - v - 1.5).max(0.0).powi(2) / others
        }
    };
    z.iter().map(|&v| part(v)).sum()
}

fn focal(p: f64, base: f64, gamma: f64) -> f64 {
    -base.powf(gamma) * p.ln()
}

fn dual_focal(z: &[f64], y: usize, gamma: f64) -> f64 {
    let p = softmax(z);
    let below = p.iter().copied().filter(|&v| v < p[y]).fold(0.0, f64::max);
    focal(p[y], 1.0 - p[y] + below, gamma)
}

fn relaxation(z: &[f64], y: usize, alpha: f64) -> f64 {
    let p = softmax(z);
    if p[y] >= 1.0 - alpha {
        return 0.0;
    }
    let others: f64 = p.iter().sum::<f64>() - p[y];
    (1.0 - alpha) * ((1.0 - alpha) / p[y]).ln() + alpha * (alpha / others).ln()
}

fn log_norm(z: &[f64]) -> Vec<f64> {
    let norm = finite(z).iter().map(|v| v * v).sum::<f64>().sqrt() + 1e-7;
    z.iter().map(|v| v / norm / 0.3).collect()
}

fn argmax_row(z: &[f64]) -> Vec<f64> {
    z.iter().map(|&v| f64::from(u8::from(v == largest(z)))).collect()
}

fn binary(z: &[f64], q: &[f64], keep: f64, floor: f64, weights: [f64; 5]) -> f64 {
    let log_sigmoid = |v: f64| if v > 0.0 { -(-v).exp().ln_1p() } else { v - v.exp().ln_1p() };
    let entry = |k: usize| {
        let t = q[k] * keep + floor;
        -times(weights[k] * t, log_sigmoid(z[k])) - times(1.0 - t, log_sigmoid(-z[k]))
    };
    mean(&(0..z.len()).map(entry).collect::<Vec<_>>())
}

/// By counting, for each class, how many come before it.
pub(crate) fn zipf(z: &[f64], y: usize, exponent: f64) -> f64 {
    let others: Vec<usize> = (0..z.len()).filter(|&k| k != y && z[k].is_finite()).collect();
    let rank = |k: usize| {
        let before = |&&j: &&usize| z[j] > z[k] || (z[j] == z[k] && j < k);
        1.0 + others.iter().filter(before).count() as f64
    };
    let total: f64 = (1..=others.len()).map(|r| (r as f64).powf(-exponent)).sum();
    let log_p = log_softmax(&others.iter().map(|&k| z[k]).collect::<Vec<_>>());
    let part = |(&k, log_p): (&usize, &f64)| {
        let d = rank(k).powf(-exponent) / total;
        times(d, d.ln() - log_p)
    };
    others.iter().zip(&log_p).map(part).sum()
}

/// (T⁻¹ℓ)_y as the solution x of T x = ℓ, by Cramer's rule.
fn backward_correction(z: &[f64], y: usize) -> f64 {
    let costs: Vec<f64> = log_softmax(z).into_iter().map(|l| -l).collect();
    let mut replaced = matrix();
    for (row, cost) in replaced.iter_mut().zip(&costs) {
        row[y] = *cost;
    }
    determinant(&replaced) / determinant(&matrix())
}

/// By expansion along the first row.
fn determinant(matrix: &[Vec<f64>]) -> f64 {
    let Some((first, rest)) = matrix.split_first() else { return 1.0 };
    let minor = |column: usize| -> Vec<Vec<f64>> {
        let without = |row: &Vec<f64>| {
            let kept = row.iter().enumerate().filter(|(k, _)| *k != column);
            kept.map(|(_, &v)| v).collect()
        };
        rest.iter().map(without).collect()
    };
    let term = |(column, value): (usize, &f64)| {
        let sign = if column % 2 == 0 { 1.0 } else { -1.0 };
        sign * value * determinant(&minor(column))
    };
    first.iter().enumerate().map(term).sum()
}

fn case(loss: impl Into<AnyLoss>, formula: Formula) -> Case {
    let loss = loss.into();
    Case { loss, formula, shift_invariant: true, finite_beside: true, differentiable: true }
}

/// At least one of every kind; those with modes in every mode.
#[allow(clippy::too_many_lines)] // A table.
pub(crate) fn all() -> Vec<Case> {
    use Formula::{Label, Rows, Together};
    let kl_of = |direction, reference| KlDivergence::new(direction, reference).unwrap();
    let js_of = |reference| JsDivergence::new(reference).unwrap();
    let prior = || Reference::Prior(PRIOR.to_vec());
    let binary_with = |smoothing| BinaryCrossEntropy::new().with_smoothing(smoothing);
    let weighted =
        BinaryCrossEntropy::new().with_pos_weight(vec![1.0, 2.0, 0.5, 0.0, 3.0]).unwrap();
    vec![
        case(ConfidencePenalty::new(), Rows(|z, _| -entropy(z))),
        case(
            ConfidencePenalty::with_threshold(1.0).unwrap(),
            Rows(|z, _| (1.0 - entropy(z)).max(0.0)),
        ),
        case(Entropy::new(), Rows(|z, _| entropy(z))),
        case(MarginSmoothing::new(2.0).unwrap(), Rows(|z, _| margin_smoothing(z, 2.0))),
        case(MarginSmoothing::new(0.0).unwrap(), Rows(|z, _| margin_smoothing(z, 0.0))),
        Case {
            shift_invariant: false,
            differentiable: false,
            ..case(Acls::new(1.5, 0.8, 0.3).unwrap(), Rows(|z, _| acls(z, largest(z))))
        },
        case(MaxSup::new(), Rows(|z, _| largest(z) - mean(&finite(z)))),
        Case {
            shift_invariant: false,
            ..case(LogitPenalty::new(), Rows(|z, _| finite(z).iter().map(|v| v * v / 2.0).sum()))
        },
        Case {
            shift_invariant: false,
            ..case(LogitNorm::new(0.3).unwrap(), Rows(|z, q| cross_entropy(&log_norm(z), q)))
        },
        case(CorrectnessRanking::new(), Together),
        case(Mmce::new(0.4).unwrap(), Together),
        case(Mmce::new(0.2).unwrap().squared(), Together),
        case(kl_of(Direction::Forward, Reference::Target), Rows(|z, q| kl(q, &softmax(z)))),
        Case {
            finite_beside: false,
            ..case(kl_of(Direction::Forward, prior()), Rows(|z, _| kl(&PRIOR, &softmax(z))))
        },
        case(
            kl_of(Direction::Reverse, Reference::Uniform),
            Rows(|z, _| kl(&softmax(z), &vec![1.0 / z.len() as f64; z.len()])),
        ),
        case(kl_of(Direction::Reverse, prior()), Rows(|z, _| kl(&softmax(z), &PRIOR))),
        case(js_of(Reference::Target), Rows(|z, q| js(&softmax(z), q))),
        case(js_of(prior()), Rows(|z, _| js(&softmax(z), &PRIOR))),
        case(ZipfDivergence::new(1.0).unwrap(), Label(|z, y| zipf(z, y, 1.0))),
        case(ZipfDivergence::new(0.0).unwrap(), Label(|z, y| zipf(z, y, 0.0))),
        case(ZipfDivergence::new(2.5).unwrap(), Label(|z, y| zipf(z, y, 2.5))),
        // 2^(−5000) is 0: all is on the first rank.
        case(ZipfDivergence::new(5e3).unwrap(), Label(|z, y| zipf(z, y, 5e3))),
        case(
            Brier::new(),
            Rows(|z, q| softmax(z).iter().zip(q).map(|(p, q)| (p - q).powi(2)).sum()),
        ),
        case(
            Focal::new(2.0).unwrap(),
            Label(|z, y| focal(softmax(z)[y], 1.0 - softmax(z)[y], 2.0)),
        ),
        case(
            Focal::new(0.5).unwrap(),
            Label(|z, y| focal(softmax(z)[y], 1.0 - softmax(z)[y], 0.5)),
        ),
        case(Focal::new(0.0).unwrap(), Label(|z, y| -softmax(z)[y].ln())),
        case(
            Focal53::new(),
            Label(|z, y| {
                let p = softmax(z)[y];
                focal(p, 1.0 - p, if p < 0.2 { 5.0 } else { 3.0 })
            }),
        ),
        case(DualFocal::new(3.0).unwrap(), Label(|z, y| dual_focal(z, y, 3.0))),
        case(
            Poly::new(-0.7).unwrap(),
            Rows(|z, q| cross_entropy(z, q) - 0.7 * (1.0 - dot(q, &softmax(z)))),
        ),
        case(LabelRelaxation::new(0.3).unwrap(), Label(|z, y| relaxation(z, y, 0.3))),
        case(
            Bootstrap::new(BootstrapMode::Soft, 0.9).unwrap(),
            Rows(|z, q| 0.9 * cross_entropy(z, q) + (1.0 - 0.9) * entropy(z)),
        ),
        case(
            Bootstrap::new(BootstrapMode::Hard, 0.8).unwrap(),
            Rows(|z, q| 0.8 * cross_entropy(z, q) + (1.0 - 0.8) * cross_entropy(z, &argmax_row(z))),
        ),
        case(
            GeneralizedCrossEntropy::new(0.7).unwrap(),
            Label(|z, y| (1.0 - softmax(z)[y].powf(0.7)) / 0.7),
        ),
        case(
            SymmetricCrossEntropy::new(0.4, 0.9, -4.0).unwrap(),
            Rows(|z, q| {
                let log_q: Vec<f64> = q.iter().map(|q| q.ln().max(-4.0)).collect();
                0.4 * cross_entropy(z, q) - 0.9 * dot(&softmax(z), &log_q)
            }),
        ),
        case(
            ForwardCorrection::new(matrix()).unwrap(),
            Label(|z, y| {
                -softmax(z).iter().zip(MATRIX).map(|(p, row)| p * row[y]).sum::<f64>().ln()
            }),
        ),
        Case {
            finite_beside: false,
            ..case(BackwardCorrection::new(matrix()).unwrap(), Label(backward_correction))
        },
        Case {
            shift_invariant: false,
            ..case(weighted, Rows(|z, q| binary(z, q, 1.0, 0.0, [1.0, 2.0, 0.5, 0.0, 3.0])))
        },
        Case {
            shift_invariant: false,
            finite_beside: false,
            ..case(
                binary_with(BinarySmoothing::half(0.2).unwrap()),
                Rows(|z, q| binary(z, q, 0.8, 0.1, [1.0; 5])),
            )
        },
        Case {
            shift_invariant: false,
            finite_beside: false,
            ..case(
                binary_with(BinarySmoothing::over_classes(0.2).unwrap()),
                Rows(|z, q| binary(z, q, 0.8, 0.2 / z.len() as f64, [1.0; 5])),
            )
        },
    ]
}

impl Case {
    /// Whether soft targets have a meaning.
    pub(crate) fn takes_soft(&self) -> bool {
        matches!(self.formula, Formula::Rows(_))
            || matches!(self.loss, AnyLoss::CorrectnessRanking(_))
    }

    pub(crate) fn of_label(&self, z: &[f64], y: usize) -> Option<f64> {
        match self.formula {
            Formula::Rows(formula) => {
                let row: Vec<f64> = (0..z.len()).map(|k| f64::from(u8::from(k == y))).collect();
                Some(formula(z, &row))
            }
            Formula::Label(formula) => Some(formula(z, y)),
            Formula::Together => None,
        }
    }

    /// Whether the loss is a number about the batch.
    pub(crate) fn is_about_batch(&self) -> bool {
        matches!(self.loss, AnyLoss::Mmce(_))
    }
}
