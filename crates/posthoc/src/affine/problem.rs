//! The objective of an affine map, its gradient and its curvature, over scaled rows.
//!
//! u = Vx̃ + c, x̃_j = (x_j − m_j)/s_j, so W_kj = V_kj/s_j and b = c − Wm
//!
//! F(V, c) = Σ_i w_i (ln Σ_k e^{u_ik} − Σ_k t_ik u_ik) / Σ_i w_i + λ Σ_{i≠j} V_ij²/s_j² + μ Σ_k b_k²
//!
//! m = 0 where μ > 0, so no penalty mixes parameters.
//! A column that is the same in every row, but for rounding, is exactly 0 once its mean is taken away:
//! its weight has the derivative 0 and stays where it is, and b says all that there is to say.
//! With D_ik = w_i (q_ik − t_ik) and a 1 appended to every row x the gradient of a matrix is DᵀX, and
//! the product of the second derivatives with Z is TᵀX, T_ik = w_i q_ik (s_ik − Σ_j q_ij s_ij), S =
//! XZᵀ: two products of matrices each.

use rayon::prelude::*;
use softlabel_core::Logits;
use softlabel_kernels::{CompensatedSum, Curved, Strided, add_product, softmax_rows};

use super::precondition::Preconditioner;
use super::{BLOCK, Penalty, Shape, affine_in_place, transposed};
use crate::Targets;

/// At most so many parts, each with a gradient of its own.
const PARTS: usize = 64;

/// A column whose values differ by no more than this part of the largest differs by rounding.
const SAME: f64 = 8.0 * f64::EPSILON;

/// F over scaled rows.
pub(super) struct Problem<'a> {
    /// x̃ row by row, 0 where a class cannot be, and a 1 at the end if W is a matrix.
    rows: Vec<f64>,
    /// Where a class cannot be, if anywhere.
    impossible: Option<Vec<bool>>,
    targets: &'a Targets<'a>,
    total: f64,
    classes: usize,
    shape: Shape,
    /// By W and b.
    penalty: Penalty,
    /// m, one a class.
    means: Vec<f64>,
    /// s, one a class, all equal where W is one number.
    spreads: Vec<f64>,
    /// The m of classes that are held where W is one number: what moves them moves all.
    centre: f64,
    /// Whether the parameters of a class stay where they are.
    held: Vec<bool>,
    /// Whether W stays where it is, for all classes, if it is one number.
    weight_is_held: bool,
    /// Whether every column is the same in every row.
    constant: bool,
    /// q at the place that was looked at last.
    probabilities: Vec<f64>,
    preconditioner: Preconditioner,
}

impl<'a> Problem<'a> {
    /// `None` if there are more parameters than can be counted.
    pub(super) fn new(
        logits: &Logits<'_, f64>,
        targets: &'a Targets<'a>,
        shape: Shape,
        penalty: Penalty,
    ) -> Option<Self> {
        let classes = logits.classes();
        shape.weight_count(classes)?.checked_add(classes)?;
        let held: Vec<bool> = targets.class_totals().into_iter().map(|t| t == 0.0).collect();
        let column = |class: usize| {
            let values = logits.matrix().iter().map(move |row| row[class]);
            values.filter(|value| value.is_finite())
        };
        let centre = mean((0..classes).flat_map(column));
        let centre_of = |class: usize| match shape {
            // Shifted columns would tie every weight to the penalty of b.
            _ if penalty.intercepts > 0.0 => 0.0,
            // One number shifts all columns alike, or classes that are held would move.
            Shape::Scalar if held[class] => centre,
            _ => mean(column(class)),
        };
        let means: Vec<f64> = (0..classes).map(centre_of).collect();
        let distances = |class: usize| {
            let centre = means[class];
            column(class).map(move |value| (value - centre).abs())
        };
        let spread_of = |class: usize| {
            let largest = column(class).fold(0.0, |largest, value| value.abs().max(largest));
            let spread = mean(distances(class));
            if spread > SAME * largest { spread } else { 0.0 }
        };
        let mut spreads: Vec<f64> = (0..classes).map(spread_of).collect();
        let constant: Vec<bool> = spreads.iter().map(|&spread| spread == 0.0).collect();
        if shape == Shape::Scalar {
            spreads = vec![mean((0..classes).flat_map(distances)); classes];
        }
        for spread in spreads.iter_mut().filter(|spread| **spread == 0.0) {
            *spread = 1.0;
        }
        let scaled = |class: usize, value: f64| {
            let is_nothing = value == f64::NEG_INFINITY || constant[class];
            if is_nothing { 0.0 } else { (value - means[class]) / spreads[class] }
        };
        let is_same = |class: usize| {
            let (low, high) = column(class)
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
            high - low <= SAME * high.abs().max(low.abs())
        };
        let mut rows = Vec::with_capacity(logits.as_slice().len() + logits.rows());
        for row in logits.matrix().iter() {
            rows.extend(row.iter().enumerate().map(|(class, &value)| scaled(class, value)));
            if shape == Shape::Full {
                rows.push(1.0);
            }
        }
        let impossible = |value: &f64| *value == f64::NEG_INFINITY;
        let mask = || logits.as_slice().iter().map(impossible).collect();
        Some(Self {
            impossible: logits.as_slice().iter().any(impossible).then(mask),
            rows,
            targets,
            total: targets.total(),
            classes,
            shape,
            penalty,
            held,
            weight_is_held: false,
            constant: (0..classes).all(is_same),
            means,
            spreads,
            centre,
            probabilities: Vec::new(),
            preconditioner: Preconditioner::default(),
        })
    }

    /// Whether the parameters of a class stay where they are.
    pub(super) fn holds_a_class(&self) -> bool {
        self.held.contains(&true)
    }

    /// Whether every column is the same in every row.
    pub(super) fn is_constant(&self) -> bool {
        self.constant
    }

    /// From now on W stays where it is, if it is one number.
    pub(super) fn hold_weight(&mut self) {
        self.weight_is_held = true;
    }

    /// V and c for W = β, b = 0.
    pub(super) fn start(&self, beta: f64) -> Vec<f64> {
        let classes = self.classes;
        let weights = self.spreads.iter().map(|spread| beta * spread);
        match self.shape {
            Shape::Scalar => {
                let shifts = self.means.iter().map(|mean| beta * (mean - self.centre));
                weights.take(1).chain(shifts).collect()
            }
            Shape::Diagonal => {
                let shifts = self.means.iter().map(|mean| beta * mean);
                weights.chain(shifts).collect()
            }
            Shape::Full => {
                let mut start = vec![0.0; classes * (classes + 1)];
                for (class, row) in start.chunks_exact_mut(classes + 1).enumerate() {
                    row[class] = beta * self.spreads[class];
                    row[classes] = beta * self.means[class];
                }
                start
            }
        }
    }

    /// W and b.
    pub(super) fn unscaled(&self, parameters: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let classes = self.classes;
        let (mut weights, mut intercepts): (Vec<f64>, Vec<f64>) = match self.shape {
            Shape::Scalar => (parameters[..1].to_vec(), parameters[1..].to_vec()),
            Shape::Diagonal => (parameters[..classes].to_vec(), parameters[classes..].to_vec()),
            Shape::Full => {
                let rows = || parameters.chunks_exact(classes + 1);
                let weights = rows().flat_map(|row| &row[..classes]).copied().collect();
                (weights, rows().map(|row| row[classes]).collect())
            }
        };
        for (weight, spread) in weights.iter_mut().zip(self.spreads.iter().cycle()) {
            *weight /= spread;
        }
        for (class, intercept) in intercepts.iter_mut().enumerate() {
            *intercept -= match self.shape {
                Shape::Scalar => weights[0] * self.means[class],
                Shape::Diagonal => weights[class] * self.means[class],
                Shape::Full => {
                    let row = &weights[class * classes..][..classes];
                    row.iter().zip(&self.means).map(|(weight, mean)| weight * mean).sum::<f64>()
                }
            };
        }
        (weights, intercepts)
    }

    /// The mean loss, without the penalty.
    pub(super) fn loss(&self, parameters: &[f64]) -> f64 {
        let parts: Vec<CompensatedSum> = self
            .parts()
            .map(|(first, rows)| {
                let mut loss = CompensatedSum::default();
                self.differences(parameters, first, rows, &mut loss, |_, _, _| {});
                loss
            })
            .collect();
        self.merged(&parts)
    }

    fn merged(&self, parts: &[CompensatedSum]) -> f64 {
        let mut loss = CompensatedSum::default();
        for part in parts {
            loss.merge(*part);
        }
        loss.value() / self.total
    }

    /// Numbers that a row has.
    fn width(&self) -> usize {
        if self.shape == Shape::Full { self.classes + 1 } else { self.classes }
    }

    /// Rows of a part: their numbers do not depend on the number of threads, and a gradient is no
    /// larger than the rows that it is of.
    fn part(&self) -> usize {
        let smallest = if self.shape == Shape::Full { BLOCK.max(self.classes) } else { BLOCK };
        self.targets.len().div_ceil(PARTS).max(smallest).next_multiple_of(BLOCK)
    }

    /// The rows in parts, each with the number of its first.
    fn parts(&self) -> impl IndexedParallelIterator<Item = (usize, &[f64])> {
        let part = self.part();
        let parts = self.rows.par_chunks(part * self.width()).enumerate();
        parts.map(move |(index, rows)| (index * part, rows))
    }

    /// Shows `visit` the blocks of a part: the number of the first row, the rows, and D; adds the
    /// losses.
    fn differences(
        &self,
        parameters: &[f64],
        first: usize,
        rows: &[f64],
        loss: &mut CompensatedSum,
        mut visit: impl FnMut(usize, &[f64], &[f64]),
    ) {
        let classes = self.classes;
        let factors = self.factors(parameters);
        let (mut values, mut log_totals) = (Vec::new(), Vec::new());
        for (index, rows) in rows.chunks(BLOCK * self.width()).enumerate() {
            let first = first + index * BLOCK;
            self.scores(&factors, first, rows, true, &mut values);
            let count = rows.len() / self.width();
            let expected = |row: usize, scores: &[f64]| -> f64 {
                let masses = self.targets.row(first + row).masses();
                masses.map(|(class, share)| share * scores[class]).sum()
            };
            let linear: Vec<f64> = values
                .chunks_exact(classes)
                .enumerate()
                .map(|(row, scores)| expected(row, scores))
                .collect();
            log_totals.resize(count, 0.0);
            // The shapes fit by construction.
            let _ = softmax_rows(&mut values, classes, &mut log_totals);
            for (row, p) in values.chunks_exact_mut(classes).enumerate() {
                let weight = self.targets.weight(first + row);
                loss.add(weight * (log_totals[row] - linear[row]));
                for (class, share) in self.targets.row(first + row).masses() {
                    p[class] -= share;
                }
                if weight != 1.0 {
                    for p in p.iter_mut() {
                        *p *= weight;
                    }
                }
            }
            visit(first, rows, &values);
        }
    }

    /// Parameters as [`scores`](Self::scores) reads them.
    fn factors(&self, parameters: &[f64]) -> Vec<f64> {
        match self.shape {
            Shape::Full => transposed(parameters, self.classes + 1),
            Shape::Scalar | Shape::Diagonal => parameters.to_vec(),
        }
    }

    /// u of a block of rows; −∞ where a class cannot be, or anything if not `masked`.
    fn scores(
        &self,
        factors: &[f64],
        first: usize,
        rows: &[f64],
        masked: bool,
        scores: &mut Vec<f64>,
    ) {
        let (classes, width) = (self.classes, self.width());
        scores.clear();
        if self.shape == Shape::Full {
            let count = rows.len() / width;
            scores.resize(count * classes, 0.0);
            let a = Strided { values: rows, row: width, column: 1 };
            // The shapes fit by construction.
            let _ = add_product(a, factors, scores, [count, width, classes]);
            return;
        }
        let (weights, intercepts) = factors.split_at(factors.len() - classes);
        scores.extend_from_slice(rows);
        scores
            .chunks_exact_mut(classes)
            .for_each(|row| affine_in_place(row, self.shape, weights, intercepts));
        if let Some(impossible) = self.impossible.as_ref().filter(|_| masked) {
            let impossible = &impossible[first * classes..][..scores.len()];
            for (score, _) in scores.iter_mut().zip(impossible).filter(|(_, masked)| **masked) {
                *score = f64::NEG_INFINITY;
            }
        }
    }

    /// Adds what a block of D, or of T, says about the parameters.
    fn add_transposed(&self, rows: &[f64], differences: &[f64], sums: &mut [f64]) {
        let (classes, width) = (self.classes, self.width());
        match self.shape {
            Shape::Full => {
                let a = Strided { values: differences, row: 1, column: classes };
                // The shapes fit by construction.
                let _ = add_product(a, rows, sums, [classes, rows.len() / width, width]);
            }
            Shape::Scalar | Shape::Diagonal => {
                let (by_weight, by_intercept) = sums.split_at_mut(sums.len() - classes);
                for (row, d) in rows.chunks_exact(classes).zip(differences.chunks_exact(classes)) {
                    if let [sum] = by_weight {
                        *sum += row.iter().zip(d).map(|(x, d)| x * d).sum::<f64>();
                    } else {
                        by_weight
                            .iter_mut()
                            .zip(row)
                            .zip(d)
                            .for_each(|((sum, x), d)| *sum += x * d);
                    }
                    by_intercept.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
                }
            }
        }
    }

    /// The means of what the parts say, in their order, without what is held.
    fn mean_of(&self, parts: impl IntoIterator<Item = Vec<f64>>, mean: &mut [f64]) {
        mean.fill(0.0);
        for part in parts {
            mean.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        for sum in mean.iter_mut() {
            *sum /= self.total;
        }
    }

    /// Twice the factor of the square of a parameter in the penalty.
    pub(super) fn stiffness(&self, index: usize) -> f64 {
        let classes = self.classes;
        let Penalty { off_diagonal, intercepts } = self.penalty;
        match self.shape {
            Shape::Full if index % (classes + 1) == classes => 2.0 * intercepts,
            Shape::Full if index % (classes + 1) == index / (classes + 1) => 0.0,
            Shape::Full => 2.0 * off_diagonal / self.spreads[index % (classes + 1)].powi(2),
            Shape::Diagonal if index >= classes => 2.0 * intercepts,
            Shape::Scalar if index >= 1 => 2.0 * intercepts,
            Shape::Diagonal | Shape::Scalar => 0.0,
        }
    }

    fn add_penalty(&self, parameters: &[f64], product: &mut [f64]) {
        if self.penalty != Penalty::NONE {
            for (index, (product, parameter)) in product.iter_mut().zip(parameters).enumerate() {
                *product += self.stiffness(index) * parameter;
            }
        }
    }

    /// No derivative by parameters that are held.
    fn hold(&self, gradient: &mut [f64]) {
        let classes = self.classes;
        if self.weight_is_held && self.shape == Shape::Scalar {
            gradient[0] = 0.0;
        }
        for class in (0..classes).filter(|&class| self.held[class]) {
            match self.shape {
                Shape::Scalar => gradient[1 + class] = 0.0,
                Shape::Diagonal => (gradient[class], gradient[classes + class]) = (0.0, 0.0),
                Shape::Full => gradient[class * (classes + 1)..][..=classes].fill(0.0),
            }
        }
    }

    /// The penalties that fix what is added to a column of W, and to b, for all classes alike, which
    /// changes nothing else; `None` where there is no such freedom.
    pub(super) fn gauge(&self) -> Option<Penalty> {
        let free = self.shape == Shape::Full && self.classes > 1 && !self.holds_a_class();
        free.then_some(self.penalty)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn penalty(&self) -> Penalty {
        self.penalty
    }

    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    /// Every row with its q and its share w/Σw.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&[f64], &[f64], f64)> {
        let rows = self.rows.chunks_exact(self.width());
        let rows = rows.zip(self.probabilities.chunks_exact(self.classes)).enumerate();
        rows.map(|(index, (row, p))| (row, p, self.targets.weight(index) / self.total))
    }
}

impl Curved for Problem<'_> {
    fn value(&mut self, parameters: &[f64], gradient: &mut [f64]) -> f64 {
        let parts = self.parts().map(|(first, rows)| {
            let (mut loss, mut sums) = (CompensatedSum::default(), vec![0.0; parameters.len()]);
            self.differences(parameters, first, rows, &mut loss, |_, rows, differences| {
                self.add_transposed(rows, differences, &mut sums);
            });
            (loss, sums)
        });
        let (losses, sums): (Vec<_>, Vec<_>) = parts.collect::<Vec<_>>().into_iter().unzip();
        self.mean_of(sums, gradient);
        self.add_penalty(parameters, gradient);
        self.hold(gradient);
        let squares = parameters.iter().enumerate();
        let penalty = squares.map(|(index, x)| 0.5 * self.stiffness(index) * x * x);
        self.merged(&losses) + penalty.sum::<f64>()
    }

    fn look_at(&mut self, parameters: &[f64]) {
        let classes = self.classes;
        let mut probabilities = std::mem::take(&mut self.probabilities);
        probabilities.resize(self.targets.len() * classes, 0.0);
        let factors = self.factors(parameters);
        let parts = probabilities.par_chunks_mut(self.part() * classes);
        parts.zip(self.parts()).for_each(|(probabilities, (first, rows))| {
            let (mut values, mut log_totals) = (Vec::new(), Vec::new());
            let blocks = probabilities.chunks_mut(BLOCK * classes);
            for (index, (p, rows)) in blocks.zip(rows.chunks(BLOCK * self.width())).enumerate() {
                self.scores(&factors, first + index * BLOCK, rows, true, &mut values);
                log_totals.resize(values.len() / classes, 0.0);
                // The shapes fit by construction.
                let _ = softmax_rows(&mut values, classes, &mut log_totals);
                p.copy_from_slice(&values);
            }
        });
        self.probabilities = probabilities;
        self.preconditioner = Preconditioner::new(self);
    }

    fn curve(&mut self, direction: &[f64], product: &mut [f64]) {
        let classes = self.classes;
        let factors = self.factors(direction);
        let probabilities = self.probabilities.par_chunks(self.part() * classes);
        let parts = self.parts().zip(probabilities).map(|((first, rows), probabilities)| {
            let (mut values, mut sums) = (Vec::new(), vec![0.0; direction.len()]);
            let blocks = rows.chunks(BLOCK * self.width());
            for (index, (rows, p)) in blocks.zip(probabilities.chunks(BLOCK * classes)).enumerate()
            {
                let first = first + index * BLOCK;
                self.scores(&factors, first, rows, false, &mut values);
                let pairs = values.chunks_exact_mut(classes).zip(p.chunks_exact(classes));
                for (row, (s, p)) in pairs.enumerate() {
                    let mean = product_of(s, p);
                    let weight = self.targets.weight(first + row);
                    s.iter_mut().zip(p).for_each(|(s, p)| *s = weight * p * (*s - mean));
                }
                self.add_transposed(rows, &values, &mut sums);
            }
            sums
        });
        let parts: Vec<Vec<f64>> = parts.collect();
        self.mean_of(parts, product);
        self.add_penalty(direction, product);
        self.hold(product);
    }

    fn solve(&mut self, residual: &[f64], solution: &mut [f64]) {
        self.preconditioner.solve(residual, solution);
        self.hold(solution);
    }
}

/// The mean of finite values, exactly the value if all are the same; 0 of none.
fn mean(mut values: impl Iterator<Item = f64>) -> f64 {
    let Some(first) = values.next() else { return 0.0 };
    let (mut sum, mut count) = (CompensatedSum::default(), 1usize);
    for value in values {
        sum.add(value - first);
        count += 1;
    }
    first + sum.value() / count as f64
}

/// Σ x_i y_i, in eight lanes that the compiler can hold in vectors.
pub(super) fn product_of(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
    for (x, y) in x.iter().zip(y) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    lanes.into_iter().sum::<f64>() + rest
}
