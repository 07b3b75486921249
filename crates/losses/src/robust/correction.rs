//! Forward and backward correction for label noise that is known.
//!
//! T is row-stochastic, T[i][j] = P(observed j | true i), and ỹ an observed label:
//!
//! ```text
//! forward    −ln Σ_i T[i][ỹ]·p_i
//! backward   −Σ_j (T⁻¹)[ỹ][j]·ln p_j
//! ```
//!
//! The forward sum is taken over logarithms. The inverse is computed once, in f64, by elimination with pivoting.
//!
//! Source: Patrini, Rozza, Menon, Nock, Qu, "Making Deep Neural Networks Robust to Label Noise: a Loss Correction
//! Approach", CVPR 2017.

use softlabel_core::Error as CoreError;
use softlabel_tensor::Error as TensorError;
use tch::Tensor;

use crate::check::configuration;
use crate::matrix::Matrix;
use crate::numeric::{sum_classes, weigh};
use crate::term::row_loss;
use crate::{Batch, Error, Result};

const TRANSITION: &str = "the transition matrix of a loss correction";

configuration! {
    /// Cross-entropy of what would be observed if the prediction were the truth: −ln (Tᵀp)_ỹ (Patrini et al. 2017).
    ///
    /// Its minimum is where it would be with clean labels, if T is right and has an inverse, which is not computed.
    /// With the identity it is cross-entropy. Needs labels. A label that T says is never observed is an infinite loss
    /// without gradient.
    ///
    /// ```
    /// use softlabel_losses::{ForwardCorrection, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[1i64]);
    /// let forward = ForwardCorrection::new(vec![vec![0.8, 0.2], vec![0.4, 0.6]])?;
    /// let loss = forward.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? + (0.2 * 0.75 + 0.6 * 0.25f64).ln()).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ForwardCorrection {
        transition: Matrix,
    }
}

impl ForwardCorrection {
    /// With T, row by row; `LabelNoise::transition_matrix` of softlabel-targets computes it for the usual kinds of
    /// noise.
    ///
    /// # Errors
    /// If T is empty or not square, or a row is no distribution within 1e-6.
    pub fn new(transition: Vec<Vec<f64>>) -> Result<Self> {
        Self { transition: Matrix::new(transition) }.checked()
    }

    /// T.
    pub fn transition(&self) -> &[Vec<f64>] {
        self.transition.rows()
    }

    fn checked(self) -> Result<Self> {
        check_stochastic(self.transition.rows())?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let labels = batch.labels(Self::NAME)?;
        check_classes(&self.transition, batch)?;
        // Row ỹ holds ln T[i][ỹ] over i.
        let log_columns = self.transition.tensor(batch, |rows| {
            let column = |j: usize| rows.iter().map(move |row| row[j].ln());
            Ok((0..rows.len()).flat_map(column).collect())
        })?;
        let joint = select_rows(&log_columns, labels)?.f_add(batch.log_probabilities()?)?;
        // Nothing is left to sum where a label is impossible: infinite, and without gradient.
        let impossible = joint.f_max_dim(-1, true)?.0.f_isneginf()?;
        let sums =
            joint.f_masked_fill(&impossible, 0.0)?.f_logsumexp([-1_i64].as_slice(), false)?;
        Ok(sums.f_neg()?.f_masked_fill(&impossible.f_squeeze_dim(-1)?, f64::INFINITY)?)
    }
}

row_loss!(ForwardCorrection, "forward_correction");

configuration! {
    /// The loss whose mean over noisy labels is cross-entropy with the true ones: (T⁻¹ℓ)_ỹ with ℓ_j = −ln p_j
    /// (Patrini et al. 2017).
    ///
    /// Unbiased if T is right, and of large variance where T is near singular: a T whose inverse multiplies by more
    /// than [`LIMIT`](Self::LIMIT) is refused. It is negative at times, and not bounded below. Needs labels.
    /// A logit of −∞ costs nothing where the inverse has an exact 0, else it is infinite, of either sign.
    ///
    /// ```
    /// use softlabel_losses::{BackwardCorrection, LossOptions, LossTerm, Target};
    /// use tch::Tensor;
    ///
    /// let logits = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// // The inverse is [[1.5, −0.5], [−1, 2]].
    /// let backward = BackwardCorrection::new(vec![vec![0.8, 0.2], vec![0.4, 0.6]])?;
    /// let loss = backward.forward(&logits, Target::Hard(&label), &LossOptions::default())?;
    /// assert!((f64::try_from(loss)? + 1.5 * 0.75f64.ln() - 0.5 * 0.25f64.ln()).abs() < 1e-14);
    /// assert!(BackwardCorrection::new(vec![vec![0.5, 0.5], vec![0.5, 0.5]]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    BackwardCorrection {
        transition: Matrix,
    }
}

impl BackwardCorrection {
    /// The largest row sum of |T⁻¹| that is accepted: losses are multiplied by up to it.
    /// As the rows of T sum to 1, it is the condition number of T in the maximum norm.
    pub const LIMIT: f64 = 1e4;

    /// With T, row by row.
    ///
    /// # Errors
    /// If T is empty or not square, or a row is no distribution within 1e-6; [`Error::IllConditioned`] if T has no
    /// inverse of use.
    pub fn new(transition: Vec<Vec<f64>>) -> Result<Self> {
        Self { transition: Matrix::new(transition) }.checked()
    }

    /// T.
    pub fn transition(&self) -> &[Vec<f64>] {
        self.transition.rows()
    }

    fn checked(self) -> Result<Self> {
        check_stochastic(self.transition.rows())?;
        inverse(self.transition.rows())?;
        Ok(self)
    }

    fn rows(&self, batch: &Batch) -> Result<Tensor> {
        let labels = batch.labels(Self::NAME)?;
        check_classes(&self.transition, batch)?;
        let inverse = self.transition.tensor(batch, |rows| Ok(inverse(rows)?.concat()))?;
        let weights = select_rows(&inverse, labels)?;
        Ok(sum_classes(&weigh(batch.log_probabilities()?, &weights)?)?.f_neg()?)
    }
}

row_loss!(BackwardCorrection, "backward_correction");

/// Row y of a `[K, K]` matrix for every label y: `[.., K]`.
fn select_rows(matrix: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let mut shape = labels.size();
    shape.push(-1);
    let rows = matrix.f_index_select(0, &labels.f_reshape([-1])?)?;
    // An empty batch leaves −1 undetermined.
    if let (Some(last), Some(&classes)) = (shape.last_mut(), matrix.size().last()) {
        *last = classes;
    }
    Ok(rows.f_reshape(shape.as_slice())?)
}

fn check_stochastic(rows: &[Vec<f64>]) -> Result<()> {
    if rows.is_empty() {
        return Err(TensorError::from(CoreError::Empty { what: TRANSITION }).into());
    }
    for (index, row) in rows.iter().enumerate() {
        if row.len() != rows.len() {
            let (expected, found) = (rows.len().to_string(), row.len().to_string());
            let error = CoreError::mismatch("columns of a transition matrix", expected, found);
            return Err(TensorError::from(error).into());
        }
        crate::check::distribution(TRANSITION, index, row)?;
    }
    Ok(())
}

fn check_classes(matrix: &Matrix, batch: &Batch) -> Result<()> {
    let (expected, found) = (batch.classes(), matrix.rows().len());
    if expected == found {
        return Ok(());
    }
    let what = "classes of a transition matrix";
    let error = CoreError::mismatch(what, expected.to_string(), found.to_string());
    Err(TensorError::from(error).into())
}

/// By Gauss-Jordan elimination with partial pivoting.
fn inverse(matrix: &[Vec<f64>]) -> Result<Vec<Vec<f64>>> {
    let size = matrix.len();
    let (limit, what) = (BackwardCorrection::LIMIT, TRANSITION);
    let unit = |index: usize| (0..size).map(move |j| f64::from(u8::from(j == index)));
    let mut rows: Vec<Vec<f64>> = matrix
        .iter()
        .enumerate()
        .map(|(i, row)| row.iter().copied().chain(unit(i)).collect())
        .collect();
    for column in 0..size {
        let size_at = |row: &usize| rows[*row][column].abs();
        let pivot = (column..size).max_by(|a, b| size_at(a).total_cmp(&size_at(b)));
        let pivot = pivot.unwrap_or(column);
        rows.swap(column, pivot);
        let (before, rest) = rows.split_at_mut(column);
        let Some((row, after)) = rest.split_first_mut() else { continue };
        let scale = row[column];
        if scale.abs() < f64::EPSILON {
            return Err(Error::IllConditioned { what, found: f64::INFINITY, limit });
        }
        for value in row.iter_mut() {
            *value /= scale;
        }
        for other in before.iter_mut().chain(after) {
            let factor = other[column];
            if factor != 0.0 {
                other.iter_mut().zip(row.iter()).for_each(|(value, own)| *value -= factor * own);
            }
        }
    }
    let inverse: Vec<Vec<f64>> = rows.into_iter().map(|row| row[size..].to_vec()).collect();
    let row_sum = |row: &Vec<f64>| row.iter().map(|value| value.abs()).sum::<f64>();
    let found = inverse.iter().map(row_sum).fold(0.0, f64::max);
    if found <= limit { Ok(inverse) } else { Err(Error::IllConditioned { what, found, limit }) }
}
