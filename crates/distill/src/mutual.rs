//! Students that teach each other, and students that follow their own kind.

use softlabel_core::Error as CoreError;
use softlabel_losses::{CrossEntropy, Target};
use softlabel_tensor::Error as TensorError;
use tch::Tensor;

use crate::{Distillation, Result, Samples};

/// Mutual learning: M networks learn together, each from the labels and from what all others say of the batch.
///
/// ```text
/// loss_m = hard_weight · CE(s_m, target) + soft_weight · c/(M − 1) · Σ_{l ≠ m} mean over rows of ℓ(s_m, s_l)
/// ```
///
/// The others are constants in each loss: one backward through loss m moves student m alone. With both weights 1, T = 1
/// and the forward divergence KL(p_l ‖ p_m) it is that of Zhang et al. 2018, "Deep Mutual Learning", where students are
/// updated one after the other: compute the logits of the others anew after a step to do the same.
///
/// ```
/// use softlabel_core::Temperature;
/// use softlabel_distill::{Distillation, MutualLearning};
/// use softlabel_losses::{CrossEntropy, Target};
/// use tch::Tensor;
///
/// let first = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2)).set_requires_grad(true);
/// let second = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2)).set_requires_grad(true);
/// let label = Tensor::from_slice(&[0i64]);
/// let mutual = MutualLearning::new(Distillation::new(Temperature::ONE, 1.0, 1.0)?);
/// let losses =
///     mutual.losses(&[&first, &second], &CrossEntropy::new(), Target::Hard(&label))?;
/// // −ln ½ + KL([0.75, 0.25] ‖ [0.5, 0.5])
/// let truth = 2f64.ln() + 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
/// assert!((f64::try_from(&losses[0])? - truth).abs() < 1e-15);
///
/// losses[0].backward();
/// assert!(first.grad().defined() && !second.grad().defined());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MutualLearning {
    distillation: Distillation,
}

impl MutualLearning {
    /// Each student learns from each other as this distillation says.
    pub fn new(distillation: Distillation) -> Self {
        Self { distillation }
    }

    /// The loss of every student, in their order. Their logits have the same shape.
    ///
    /// # Errors
    /// Fewer than two students, and as [`Distillation::forward`].
    pub fn losses(
        &self,
        students: &[&Tensor],
        hard: &CrossEntropy,
        target: Target<'_>,
    ) -> Result<Vec<Tensor>> {
        if students.len() < 2 {
            let found = students.len().to_string();
            let error = CoreError::mismatch("students that teach each other", "at least 2", found);
            return Err(TensorError::from(error).into());
        }
        let share = 1.0 / (students.len() - 1) as f64;
        let loss = |(m, student): (usize, &&Tensor)| {
            let soft = |weight: f64| {
                let mut total: Option<Tensor> = None;
                for (l, other) in students.iter().enumerate() {
                    if l == m {
                        continue;
                    }
                    let part = self.distillation.soft(
                        student,
                        other,
                        hard,
                        target,
                        Samples::default(),
                        weight * share,
                    )?;
                    total = Some(match total {
                        None => part,
                        Some(total) => total.f_add(&part)?,
                    });
                }
                // There is at least one other.
                Ok(total.unwrap_or_else(|| student.shallow_clone()))
            };
            let of_labels = |weight| Ok(hard.forward_weighted(student, target, weight)?);
            self.distillation.weigh(soft, of_labels)
        };
        students.iter().enumerate().map(loss).collect()
    }
}

/// Trains a network, then one of its kind with the first as its teacher, and so on: `train` is called with the number of
/// the generation, from 0, and the one before, of which the first has none. Returns all of them, for those who want the
/// last, or [all together](crate::Ensemble).
///
/// One generation after the first is self-distillation ("Tf-KD_self", Yuan et al. 2020); Furlanello et al. 2018, "Born
/// Again Neural Networks", have several, and average the probabilities of all.
///
/// # Errors
/// The first that `train` returns.
///
/// ```
/// // A "network" is how far it has got; each starts where it can see its teacher.
/// let train = |generation: usize, teacher: Option<&f64>| -> Result<f64, std::fmt::Error> {
///     Ok(teacher.map_or(1.0, |teacher| teacher + generation as f64))
/// };
/// assert_eq!(softlabel_distill::born_again(3, train)?, [1.0, 2.0, 4.0]);
/// # Ok::<(), std::fmt::Error>(())
/// ```
pub fn born_again<M, E>(
    generations: usize,
    mut train: impl FnMut(usize, Option<&M>) -> std::result::Result<M, E>,
) -> std::result::Result<Vec<M>, E> {
    let mut all = Vec::with_capacity(generations);
    for generation in 0..generations {
        let next = train(generation, all.last())?;
        all.push(next);
    }
    Ok(all)
}
