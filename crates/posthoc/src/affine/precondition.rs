//! A matrix near the second derivatives of an affine map's objective, and its inverse.
//!
//! The second derivatives by the parameters of class k alone are
//!
//! M_k = Σ_i v_ik x_i x_iᵀ + R_k, v_ik = w_i q_ik (1 − q_ik) / Σ_i w_i
//!
//! with R_k those of the penalty. M has these blocks and nothing between the classes, and is
//! inverted block by block.
//! Of very many classes the blocks would not fit the memory: then M_k = (Σ_i v_ik) G, with one G =
//! Σ_i w_i x_i x_iᵀ / Σ_i w_i for all.
//!
//! Of a matrix W with a penalty, what is added to a column for all classes alike changes the penalty
//! only, which is little beside what M says of it; so it is taken out: a step has the best value of it
//! for a given difference between the classes, where the penalized elements of a column sum to 0.
//!
//! A block is made of some hundred rows, taken such that each stands for an equal share of Σ_i v_ik:
//! it has to be near, not exact.

use rayon::prelude::*;
use softlabel_kernels::{Strided, add_product};

use super::problem::{Problem, product_of};
use super::{Penalty, Shape};

/// A block is made of about so many rows, or six times its size.
const SAMPLE: usize = 600;

/// With more classes there is one block for all.
const MOST_BLOCKS: usize = 256;

/// What the diagonal of a small matrix is multiplied by, which keeps it positive definite.
const RIDGE: f64 = 1.0 + 1e-10;

/// What is added to a diagonal, in parts of its mean, until there is a factor.
const RIDGES: [f64; 5] = [1e-10, 1e-7, 1e-4, 1e-1, 1e3];

/// M of some place.
#[derive(Default)]
pub(super) enum Preconditioner {
    /// 1.
    #[default]
    None,
    /// Inverse elements of the diagonal.
    Elements(Vec<f64>),
    /// One matrix \[\[a, b\], \[b, d\]\] a class, by w_k and b_k.
    Pairs(Vec<[f64; 3]>),
    /// A block a class, or one for all, and what it is multiplied by for each.
    Blocks { blocks: Vec<Cholesky>, scales: Vec<f64>, gauge: Option<Penalty> },
}

impl Preconditioner {
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        let classes = problem.classes();
        match problem.shape() {
            Shape::Scalar => {
                let mut diagonal = vec![0.0; classes + 1];
                for (row, p, share) in problem.seen() {
                    let mean = product_of(row, p);
                    for (sum, p) in diagonal[1..].iter_mut().zip(p) {
                        *sum += share * p * (1.0 - p);
                    }
                    let off = row.iter().zip(p).map(|(x, p)| p * (x - mean).powi(2));
                    diagonal[0] += share * off.sum::<f64>();
                }
                let inverse =
                    |(index, sum): (usize, f64)| positive(sum + problem.stiffness(index)).recip();
                Self::Elements(diagonal.into_iter().enumerate().map(inverse).collect())
            }
            Shape::Diagonal => {
                let mut pairs = vec![[0.0; 3]; classes];
                for (row, p, share) in problem.seen() {
                    for ((pair, x), p) in pairs.iter_mut().zip(row).zip(p) {
                        let v = share * p * (1.0 - p);
                        pair[0] += v * x * x;
                        pair[1] += v * x;
                        pair[2] += v;
                    }
                }
                for (class, pair) in pairs.iter_mut().enumerate() {
                    // Kept from being singular, as it is where the column is the same in every row.
                    pair[0] = positive(problem.stiffness(class) + RIDGE * pair[0]);
                    pair[2] = positive(problem.stiffness(classes + class) + RIDGE * pair[2]);
                }
                Self::Pairs(pairs)
            }
            Shape::Full if classes <= MOST_BLOCKS => {
                let block = |class: usize| {
                    let of_class = |p: &[f64]| p[class] * (1.0 - p[class]);
                    let gram = sampled_gram(problem, of_class);
                    Cholesky::of(gram, |column| problem.stiffness(class * (classes + 1) + column))
                };
                let blocks = (0..classes).into_par_iter().map(block).collect();
                Self::Blocks { blocks, scales: vec![1.0; classes], gauge: problem.gauge() }
            }
            Shape::Full => {
                let mut scales = vec![0.0; classes];
                for (_, p, share) in problem.seen() {
                    for (scale, p) in scales.iter_mut().zip(p) {
                        *scale += share * p * (1.0 - p);
                    }
                }
                let mean = positive(scales.iter().sum::<f64>() / classes as f64);
                for scale in &mut scales {
                    *scale = positive(*scale);
                }
                // Row 0 is as good as any but for its element on the diagonal.
                let stiffness = |column: usize| {
                    problem.stiffness(if column == 0 { classes + 1 } else { column }) / mean
                };
                let block = Cholesky::of(sampled_gram(problem, |_| 1.0), stiffness);
                Self::Blocks { blocks: vec![block], scales, gauge: problem.gauge() }
            }
        }
    }

    /// M⁻¹r.
    pub(super) fn solve(&self, residual: &[f64], solution: &mut [f64]) {
        solution.copy_from_slice(residual);
        match self {
            Self::None => {}
            Self::Elements(inverse) => {
                solution.iter_mut().zip(inverse).for_each(|(x, inverse)| *x *= inverse);
            }
            Self::Pairs(pairs) => {
                let (by_weight, by_intercept) = solution.split_at_mut(pairs.len());
                for ((x, y), &[a, b, d]) in by_weight.iter_mut().zip(by_intercept).zip(pairs) {
                    let determinant = positive(a * d - b * b);
                    (*x, *y) = ((d * *x - b * *y) / determinant, (a * *y - b * *x) / determinant);
                }
            }
            Self::Blocks { blocks, scales, gauge } => {
                let width = scales.len() + 1;
                level(solution, width, *gauge, true);
                let rows = solution.par_chunks_exact_mut(width).zip(scales).enumerate();
                rows.for_each(|(class, (row, scale))| {
                    if let Some(block) = blocks.get(class).or(blocks.first()) {
                        block.solve(row);
                    }
                    for x in row.iter_mut() {
                        *x /= scale;
                    }
                });
                level(solution, width, *gauge, false);
            }
        }
    }
}

/// A number to divide by.
fn positive(number: f64) -> f64 {
    if number > 0.0 { number } else { 1.0 }
}

/// Takes the mean of the penalized elements of a column from all of them and from the diagonal; or
/// does the transposed of that.
fn level(parameters: &mut [f64], width: usize, gauge: Option<Penalty>, transposed: bool) {
    let Some(penalty) = gauge else { return };
    let classes = width - 1;
    let mut sums = vec![0.0; width];
    for (class, row) in parameters.chunks_exact(width).enumerate() {
        for (column, (sum, value)) in sums.iter_mut().zip(row).enumerate() {
            if transposed || class != column {
                *sum += value;
            }
        }
    }
    for (column, sum) in sums.iter_mut().enumerate() {
        let (strength, count) = if column == classes {
            (penalty.intercepts, classes)
        } else {
            (penalty.off_diagonal, classes - 1)
        };
        *sum = if strength > 0.0 { *sum / count as f64 } else { 0.0 };
    }
    for (class, row) in parameters.chunks_exact_mut(width).enumerate() {
        for (column, (value, mean)) in row.iter_mut().zip(&sums).enumerate() {
            if !transposed || class != column {
                *value -= mean;
            }
        }
    }
}

/// Σ_i v_i x_i x_iᵀ, about, with v_i = `of_row`(q_i)·w_i/Σw: of rows taken such that each stands for an
/// equal share of the v before it.
fn sampled_gram(problem: &Problem<'_>, of_row: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let width = problem.classes() + 1;
    let total: f64 = problem.seen().map(|(_, p, share)| share * of_row(p)).sum();
    let quantum = total / SAMPLE.max(6 * width) as f64;
    let (mut waiting, mut sample) = (0.0, Vec::new());
    for (row, p, share) in problem.seen() {
        waiting += share * of_row(p);
        if waiting >= quantum && waiting > 0.0 {
            let factor = f64::sqrt(waiting);
            sample.extend(row.iter().map(|x| factor * x));
            waiting = 0.0;
        }
    }
    let mut gram = vec![0.0; width * width];
    let transposed = Strided { values: &sample, row: 1, column: width };
    // The shapes fit by construction.
    let _ = add_product(transposed, &sample, &mut gram, [width, sample.len() / width, width]);
    gram
}

/// The lower factor of a positive definite matrix, row by row.
pub(super) struct Cholesky {
    factor: Vec<f64>,
    width: usize,
}

impl Cholesky {
    /// The factor of a Gram matrix with `stiffness` added to its diagonal, and as little more as is
    /// needed.
    fn of(mut matrix: Vec<f64>, stiffness: impl Fn(usize) -> f64) -> Self {
        let width = matrix.len().isqrt();
        let diagonal = matrix.iter_mut().step_by(width + 1).enumerate();
        diagonal.for_each(|(column, element)| *element += stiffness(column));
        let mean = positive(matrix.iter().step_by(width + 1).sum::<f64>() / width as f64);
        let factor = RIDGES.into_iter().find_map(|ridge| factor(&matrix, width, ridge * mean));
        let identity = || {
            let element = |index| if index % (width + 1) == 0 { mean.sqrt() } else { 0.0 };
            (0..width * width).map(element).collect()
        };
        Self { factor: factor.unwrap_or_else(identity), width }
    }

    /// Replaces x by the solution of the system with x on the right.
    fn solve(&self, x: &mut [f64]) {
        let rows = || self.factor.chunks_exact(self.width).enumerate();
        for (index, row) in rows() {
            let (known, rest) = x.split_at_mut(index);
            rest[0] = (rest[0] - product_of(&row[..index], known)) / row[index];
        }
        for (index, row) in rows().rev() {
            let (before, rest) = x.split_at_mut(index);
            rest[0] /= row[index];
            let value = rest[0];
            before.iter_mut().zip(row).for_each(|(x, element)| *x -= element * value);
        }
    }
}

/// The lower factor, or `None` if the matrix is not positive definite.
fn factor(matrix: &[f64], width: usize, ridge: f64) -> Option<Vec<f64>> {
    let mut factor = matrix.to_vec();
    for row in 0..width {
        let (before, rest) = factor.split_at_mut(row * width);
        let rest = rest.get_mut(..width)?;
        for (column, above) in before.chunks_exact(width).enumerate() {
            let known = product_of(&rest[..column], &above[..column]);
            rest[column] = (rest[column] - known) / above[column];
        }
        let left = rest[row] + ridge - product_of(&rest[..row], &rest[..row]);
        if !(left > 0.0 && left.is_finite()) {
            return None;
        }
        rest[row] = left.sqrt();
    }
    Some(factor)
}
