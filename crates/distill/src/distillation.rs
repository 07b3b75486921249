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
//! Other [divergences](Divergence) can stand in its place.
//! The mean is over rows ("batch mean"); a mean over elements, K times smaller, is not offered.
//! With c = T² the soft gradient keeps its size as T grows.
//! The teacher is detached here, whatever it comes from. Accumulates in f32, or f64 if either is f64.
//!
//! On CPU tensors divergence and gradient come out of one fused kernel ([`softlabel_kernels::rows::divergence`]) that
//! reads student and teacher once and keeps nothing but the gradient, which has no second derivative then; on other
//! devices out of libtorch's operators.
//!
//! Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015.

use serde::{Deserialize, Serialize};
use softlabel_core::Temperature;
use softlabel_losses::{CrossEntropy, RowLosses, Target};
use softlabel_tensor::{ClassAxis, check_same_device, class_last};
use tch::{Kind, Tensor};

use crate::{Divergence, Error, Result};

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

/// How a student is taught: temperature, scale, divergence, and the weights of teacher and labels.
///
/// In serialized form `{ temperature = 4, soft_weight = 0.9, hard_weight = 0.1, scale = "temperature_squared",
/// divergence = "forward" }`, of which the last two may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Distillation {
    temperature: Temperature,
    soft_weight: f64,
    hard_weight: f64,
    scale: SoftScale,
    divergence: Divergence,
}

/// The serialized form.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    temperature: Temperature,
    soft_weight: f64,
    hard_weight: f64,
    #[serde(default)]
    scale: SoftScale,
    #[serde(default)]
    divergence: Divergence,
}

impl TryFrom<Settings> for Distillation {
    type Error = Error;

    fn try_from(settings: Settings) -> Result<Self> {
        let Settings { temperature, soft_weight, hard_weight, scale, divergence } = settings;
        let distillation = Self::new(temperature, soft_weight, hard_weight)?.with_scale(scale);
        distillation.with_divergence(divergence)
    }
}

impl From<Distillation> for Settings {
    fn from(distillation: Distillation) -> Self {
        let Distillation { temperature, soft_weight, hard_weight, scale, divergence } =
            distillation;
        Self { temperature, soft_weight, hard_weight, scale, divergence }
    }
}

impl Distillation {
    /// Both sides at `temperature`, the soft term scaled by T².
    ///
    /// # Errors
    /// [`Error::Weights`] if a weight is negative or not finite, or both are 0.
    pub fn new(temperature: Temperature, soft_weight: f64, hard_weight: f64) -> Result<Self> {
        let valid = |weight: f64| weight >= 0.0 && weight.is_finite();
        if valid(soft_weight) && valid(hard_weight) && soft_weight + hard_weight > 0.0 {
            let (scale, divergence) = (SoftScale::default(), Divergence::default());
            Ok(Self { temperature, soft_weight, hard_weight, scale, divergence })
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

    /// Which divergence; the forward one by default.
    ///
    /// # Errors
    /// If β of a Jensen-Shannon divergence is out of range.
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// use softlabel_distill::{Distillation, Divergence};
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use tch::Tensor;
    ///
    /// // KL([0.5, 0.5] ‖ [0.75, 0.25]) = 0.5·ln(2/3) + 0.5·ln 2
    /// let teacher = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    /// let student = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = Distillation::new(Temperature::ONE, 1.0, 0.0)?
    ///     .with_divergence(Divergence::Reverse)?
    ///     .forward(&student, &teacher, &CrossEntropy::new(), Target::Hard(&label))?;
    /// let truth = 0.5 * (2f64 / 3.0).ln() + 0.5 * 2f64.ln();
    /// assert!((f64::try_from(loss)? - truth).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_divergence(mut self, divergence: Divergence) -> Result<Self> {
        divergence.check()?;
        self.divergence = divergence;
        Ok(self)
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
        // Of two precisions the better one.
        let student = if teacher.f_kind()? == Kind::Double {
            student.f_to_kind(Kind::Double)?
        } else {
            student
        };
        let temperature = self.temperature;
        let scale = match self.scale {
            SoftScale::TemperatureSquared => temperature.get().powi(2),
            SoftScale::One => 1.0,
        };
        self.divergence.rows(&student, &teacher, ignored, temperature.inverse(), scale)
    }
}
