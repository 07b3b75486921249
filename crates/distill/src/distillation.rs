//! Knowledge distillation on logits.
//!
//! For student logits s and teacher logits t of one sample, p = softmax(s/T), q = softmax(t/T):
//!
//! ```text
//! loss = hard_weight · CE(s, target) + soft_weight · c · mean over rows of KL(q ‖ p)
//! KL(q ‖ p) = Σ_k q_k (ln q_k − ln p_k)          c = T² or 1
//! ```
//!
//! The direction is forward, KL(teacher ‖ student), as in Hinton's cross-entropy with soft targets, from which it
//! differs by the teacher's entropy only: same gradient, T·(p − q)·c/T² a row, and 0 where student and teacher agree.
//! The mean is over rows ("batch mean"); a mean over elements, K times smaller, is not offered.
//! With c = T² the soft gradient keeps its size as T grows.
//! The teacher is detached here, whatever it comes from. Accumulates in f32, or f64 if both are f64.
//!
//! Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015.

use serde::{Deserialize, Serialize};
use softlabel_core::Temperature;
use softlabel_losses::{CrossEntropy, RowLosses, Target};
use softlabel_tensor::{ClassAxis, check_same_device, class_last};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// What the soft term is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SoftScale {
    /// T², so that its gradient does not shrink as T grows (Hinton et al. 2015).
    #[default]
    TemperatureSquared,
    /// 1, as TRL, Liger and TextBrewer do.
    One,
}

/// How a student is taught: temperature, scale, and the weights of teacher and labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distillation {
    temperature: Temperature,
    soft_weight: f64,
    hard_weight: f64,
    scale: SoftScale,
}

impl Distillation {
    /// Both sides at `temperature`, the soft term scaled by T².
    ///
    /// # Errors
    /// [`Error::Weights`] if a weight is negative or not finite, or both are 0.
    pub fn new(temperature: Temperature, soft_weight: f64, hard_weight: f64) -> Result<Self> {
        let valid = |weight: f64| weight >= 0.0 && weight.is_finite();
        if valid(soft_weight) && valid(hard_weight) && soft_weight + hard_weight > 0.0 {
            Ok(Self { temperature, soft_weight, hard_weight, scale: SoftScale::default() })
        } else {
            Err(Error::Weights { soft: soft_weight, hard: hard_weight })
        }
    }

    /// What the soft term is multiplied by.
    #[must_use]
    pub fn with_scale(mut self, scale: SoftScale) -> Self {
        self.scale = scale;
        self
    }

    /// The temperature of both sides.
    pub fn temperature(&self) -> Temperature {
        self.temperature
    }

    /// The loss of a batch. Teacher and student have the same shape.
    ///
    /// The hard loss says how both terms are computed: where the class axis lies, which samples are ignored, and the
    /// reduction. Class weights and smoothing are the labels' own: they do not touch the soft term, whose mean divides
    /// by the number of samples that count (or by the outside count of [`Normalizer::Items`]).
    ///
    /// A weight of exactly 0 leaves its term out altogether: with `soft_weight` 0 and `hard_weight` 1 this is
    /// `hard.forward(student, target)`, bit for bit.
    ///
    /// # Errors
    /// [`Error::TeacherShape`], a device that differs, a mean over no samples, and all that the hard loss objects to.
    ///
    /// [`Normalizer::Items`]: softlabel_losses::Normalizer::Items
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// use softlabel_distill::Distillation;
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use tch::Tensor;
    ///
    /// // KL([0.75, 0.25] ‖ [0.5, 0.5]) = 0.75·ln 1.5 + 0.25·ln 0.5
    /// let teacher = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    /// let student = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = Distillation::new(Temperature::ONE, 1.0, 0.0)?
    ///     .forward(&student, &teacher, &CrossEntropy::new(), Target::Hard(&label))?;
    /// assert!((f64::try_from(loss)? - (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward(
        &self,
        student: &Tensor,
        teacher: &Tensor,
        hard: &CrossEntropy,
        target: Target<'_>,
    ) -> Result<Tensor> {
        let soft_term = || -> Result<Tensor> {
            let ignored = hard.ignored(target)?;
            let divergences =
                self.divergences(student, teacher, hard.class_axis(), ignored.as_ref())?;
            let losses = RowLosses::new(divergences, ignored.as_ref())?;
            Ok(losses.reduce(hard.reduction())?.f_mul_scalar(self.soft_weight)?)
        };
        let hard_term = || Ok(hard.forward(student, target)?.f_mul_scalar(self.hard_weight)?);
        match (self.soft_weight > 0.0, self.hard_weight > 0.0) {
            (true, false) => soft_term(),
            (false, _) => hard_term(),
            (true, true) => Ok(hard_term()?.f_add(&soft_term()?)?),
        }
    }

    /// c · KL(q ‖ p) of every row.
    fn divergences(
        &self,
        student: &Tensor,
        teacher: &Tensor,
        axis: ClassAxis,
        ignored: Option<&Tensor>,
    ) -> Result<Tensor> {
        let student = class_last(student, axis, "student logits")?;
        let teacher = class_last(teacher, axis, "teacher logits")?.f_detach()?;
        if student.size() != teacher.size() {
            return Err(Error::TeacherShape { student: student.size(), teacher: teacher.size() });
        }
        check_same_device(&teacher, &student, "teacher logits")?;
        let double = student.f_kind()? == Kind::Double && teacher.f_kind()? == Kind::Double;
        let kind = if double { Kind::Double } else { Kind::Float };
        let ignored = ignored.map(|ignored| ignored.f_unsqueeze(-1)).transpose()?;
        let log_softmax = |logits: Tensor| -> Result<Tensor> {
            // An ignored row is replaced before anything is computed from it.
            let logits = match &ignored {
                None => logits,
                Some(ignored) => logits.f_masked_fill(ignored, 0.0)?,
            };
            let cooled = logits.f_to_kind(kind)?.f_mul_scalar(self.temperature.inverse())?;
            Ok(cooled.f_log_softmax(-1, kind)?)
        };
        let (log_p, log_q) = (log_softmax(student)?, log_softmax(teacher)?);
        // What the teacher holds impossible costs nothing, whatever the student says of it.
        let impossible = log_q.f_eq(f64::NEG_INFINITY)?;
        let difference = log_q.f_sub(&log_p)?.f_masked_fill(&impossible, 0.0)?;
        let scale = match self.scale {
            SoftScale::TemperatureSquared => self.temperature.get().powi(2),
            SoftScale::One => 1.0,
        };
        let terms = log_q.f_exp()?.f_mul(&difference)?;
        Ok(terms.f_sum_dim_intlist([-1_i64].as_slice(), false, kind)?.f_mul_scalar(scale)?)
    }
}
