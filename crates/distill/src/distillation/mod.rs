//! Knowledge distillation on logits.
//!
//! For student logits s and teacher logits t of one sample, z = s/T and u = t/T:
//!
//! ```text
//! loss = hard_weight · CE(s, target) + soft_weight · c · mean over rows of ℓ(z, u)          c = T² or 1
//! ```
//!
//! ℓ is a [`SoftLoss`], by default the forward divergence KL(q ‖ p) = Σ_k q_k (ln q_k − ln p_k) of p = softmax(z) and
//! q = softmax(u), the teacher first, as in Hinton's cross-entropy with soft targets, from which it differs by the
//! teacher's entropy only: same gradient, T·(p − q)·c/T² a row, and 0 where student and teacher agree.
//! The mean is over rows ("batch mean"); a mean over elements, K times smaller, is not offered.
//! With c = T² the soft gradient keeps its size as T grows.
//! The teacher is detached here, whatever it comes from. Accumulates in f32, or f64 if either is f64.
//!
//! On CPU tensors divergence and gradient come out of one fused kernel ([`softlabel_kernels::rows::divergence`]) that
//! reads student and teacher once and keeps nothing but the gradient, which has no second derivative then; on other
//! devices, and for the other kinds, out of libtorch's operators.
//!
//! Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015.

mod terms;

use serde::{Deserialize, Serialize};
use softlabel_core::{Reduction, Temperature};
use softlabel_losses::{CrossEntropy, Target, Term};
use softlabel_tensor::{ClassAxis, class_last};
use tch::{Kind, Tensor};

use crate::settings::{Settings, SoftReduction};
use crate::{ClassMatch, DistillationSums, Divergence, Error, Result, Samples, SoftLoss};

/// What the soft term is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SoftScale {
    /// T² of the student, so that its gradient does not shrink as T grows (Hinton et al. 2015).
    #[default]
    TemperatureSquared,
    /// 1, as TRL, Liger and TextBrewer do.
    One,
}

/// How a student is taught: the loss, its temperatures and scale, and the weights of teacher and labels.
///
/// In serialized form `{ temperature = 4, soft_weight = 0.9, hard_weight = 0.1 }`, and, all of which may be left out:
///
/// | key | default | |
/// |---|---|---|
/// | `kind` | `"forward"` | a [`SoftLoss`] |
/// | `scale` | `"temperature_squared"` | or `"one"`: a [`SoftScale`] |
/// | `student_temperature` | `temperature` | see [`with_student_temperature`](Self::with_student_temperature) |
/// | `standardize` | `false` | see [`with_standardization`](Self::with_standardization) |
/// | `classes` | `"equal"` | a [`ClassMatch`] |
/// | `reduction` | `"batch_mean"` | nothing else: `"mean"`, over elements, is refused |
///
/// ```
/// use softlabel_distill::{Distillation, SoftLoss};
///
/// let text = "temperature = 4\nsoft_weight = 1\nhard_weight = 1\nkind = { dkd = { alpha = 1, beta = 8 } }";
/// let distillation: Distillation = toml::from_str(text)?;
/// assert_eq!(distillation.loss(), SoftLoss::Decoupled { alpha: 1.0, beta: 8.0 });
///
/// let error = toml::from_str::<Distillation>(&format!("{text}\nreduction = 'mean'")).unwrap_err();
/// assert!(error.to_string().contains("K times too small"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings<Temperature, f64>", into = "Settings<Temperature, f64>")]
pub struct Distillation {
    temperature: Temperature,
    student_temperature: Option<Temperature>,
    soft_weight: f64,
    hard_weight: f64,
    scale: SoftScale,
    loss: SoftLoss,
    standardize: bool,
    classes: ClassMatch,
}

impl TryFrom<Settings<Temperature, f64>> for Distillation {
    type Error = Error;

    fn try_from(settings: Settings<Temperature, f64>) -> Result<Self> {
        let Settings { temperature, soft_weight, hard_weight, .. } = settings;
        Self::new(temperature, soft_weight, hard_weight)?.with_options(&settings)
    }
}

impl From<Distillation> for Settings<Temperature, f64> {
    fn from(distillation: Distillation) -> Self {
        let Distillation { temperature, soft_weight, hard_weight, .. } = distillation;
        distillation.settings(temperature, soft_weight, hard_weight)
    }
}

impl Distillation {
    /// Both sides at `temperature`, the soft term scaled by T².
    ///
    /// # Errors
    /// [`Error::Weights`] if a weight is negative or not finite, or both are 0.
    pub fn new(temperature: Temperature, soft_weight: f64, hard_weight: f64) -> Result<Self> {
        let valid = |weight: f64| weight >= 0.0 && weight.is_finite();
        if !(valid(soft_weight) && valid(hard_weight) && soft_weight + hard_weight > 0.0) {
            return Err(Error::Weights { soft: soft_weight, hard: hard_weight });
        }
        Ok(Self {
            temperature,
            student_temperature: None,
            soft_weight,
            hard_weight,
            scale: SoftScale::default(),
            loss: SoftLoss::default(),
            standardize: false,
            classes: ClassMatch::default(),
        })
    }

    /// What the soft term is multiplied by.
    #[must_use]
    pub fn with_scale(mut self, scale: SoftScale) -> Self {
        self.scale = scale;
        self
    }

    /// Which loss; the forward divergence by default.
    ///
    /// # Errors
    /// If a parameter of the loss is out of range; [`Error::NoTemperature`] for a temperature other than 1 if the loss
    /// does not look at it.
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// use softlabel_distill::{Distillation, Divergence, SoftLoss};
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use tch::Tensor;
    ///
    /// let teacher = Tensor::from_slice(&[3f64.ln(), 0.0]).view((1, 2));
    /// let student = Tensor::from_slice(&[0.0f64, 0.0]).view((1, 2));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let loss = |loss: SoftLoss| {
    ///     let distillation = Distillation::new(Temperature::ONE, 1.0, 0.0)?.with_loss(loss)?;
    ///     distillation.forward(&student, &teacher, &CrossEntropy::new(), Target::Hard(&label))
    /// };
    /// // KL([0.5, 0.5] ‖ [0.75, 0.25]) = 0.5·ln(2/3) + 0.5·ln 2
    /// let truth = 0.5 * (2f64 / 3.0).ln() + 0.5 * 2f64.ln();
    /// assert!((f64::try_from(loss(Divergence::Reverse.into())?)? - truth).abs() < 1e-15);
    /// let truth = 3f64.ln().powi(2);
    /// assert!((f64::try_from(loss(SoftLoss::SquaredError)?)? - truth).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_loss(mut self, loss: impl Into<SoftLoss>) -> Result<Self> {
        self.loss = loss.into();
        self.loss.check()?;
        self.check_temperature()?;
        Ok(self)
    }

    /// [`with_loss`](Self::with_loss) for a divergence.
    ///
    /// # Errors
    /// If β of a Jensen-Shannon divergence is out of range.
    pub fn with_divergence(self, divergence: Divergence) -> Result<Self> {
        self.with_loss(divergence)
    }

    /// Another temperature for the student than for the teacher; T² is then the student's, by which its gradient shrinks.
    ///
    /// With 1 the student is not tempered at all, as in the experiments of Müller et al. 2019 on smoothed teachers.
    /// Student and teacher that agree have a loss then, unless both temperatures are the same.
    ///
    /// # Errors
    /// [`Error::NoTemperature`] for another than 1 if the loss does not look at it.
    pub fn with_student_temperature(mut self, temperature: Temperature) -> Result<Self> {
        self.student_temperature = Some(temperature);
        self.check_temperature()?;
        Ok(self)
    }

    /// Whether both sides are [standardized](crate::standardize()) before they are divided by the temperature.
    /// The hard term sees the logits as they are.
    #[must_use]
    pub fn with_standardization(mut self, standardize: bool) -> Self {
        self.standardize = standardize;
        self
    }

    /// What happens where student and teacher have different numbers of classes; an error by default.
    #[must_use]
    pub fn with_classes(mut self, classes: ClassMatch) -> Self {
        self.classes = classes;
        self
    }

    /// The temperature of both sides, or of the teacher if the student has its own.
    pub fn temperature(&self) -> Temperature {
        self.temperature
    }

    /// The loss.
    pub fn loss(&self) -> SoftLoss {
        self.loss
    }

    /// What happens where student and teacher have different numbers of classes.
    pub fn classes(&self) -> ClassMatch {
        self.classes
    }

    /// Whether both sides are standardized.
    pub fn is_standardized(&self) -> bool {
        self.standardize
    }

    /// The weight of the teacher.
    pub fn soft_weight(&self) -> f64 {
        self.soft_weight
    }

    /// The weight of the labels.
    pub fn hard_weight(&self) -> f64 {
        self.hard_weight
    }

    /// All but what a schedule can change.
    pub(crate) fn settings<T, W>(&self, temperature: T, soft: W, hard: W) -> Settings<T, W> {
        Settings {
            temperature,
            soft_weight: soft,
            hard_weight: hard,
            student_temperature: self.student_temperature,
            scale: self.scale,
            kind: self.loss,
            standardize: self.standardize,
            classes: self.classes,
            reduction: SoftReduction::BatchMean,
        }
    }

    /// As [`settings`](Self::settings), the other way.
    pub(crate) fn with_options<T, W>(self, settings: &Settings<T, W>) -> Result<Self> {
        let Settings { student_temperature, scale, kind, standardize, classes, .. } = *settings;
        Self { student_temperature, scale, standardize, classes, ..self }.with_loss(kind)
    }

    /// That of the teacher, and that of the student if it has its own.
    pub(crate) fn temperatures(&self) -> impl Iterator<Item = Temperature> {
        [Some(self.temperature), self.student_temperature].into_iter().flatten()
    }

    fn check_temperature(&self) -> Result<()> {
        let other = self.temperatures().find(|&temperature| temperature != Temperature::ONE);
        match other {
            Some(found) if !self.loss.has_temperature() => {
                Err(Error::NoTemperature { loss: self.loss.name(), found: found.get() })
            }
            _ => Ok(()),
        }
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
    /// [`Error::TeacherShape`], [`Error::ClassCounts`], a device that differs, a mean over no samples,
    /// [`Error::TeacherNotFinite`] with the sample if the loss is NaN for a NaN or +∞ of the teacher, what the loss
    /// asks for and has not, and all that the hard loss objects to.
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
        self.forward_samples(student, teacher, hard, target, Samples::default())
    }

    /// As [`forward`](Self::forward), with numbers of every sample's own.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Mismatch`](softlabel_core::Error::Mismatch) unless there is one number a sample,
    /// [`OutOfRange`](softlabel_core::Error::OutOfRange) for one out of its range; [`Error::NotOfOneSample`] if the loss is about
    /// the batch as a whole.
    pub fn forward_samples(
        &self,
        student: &Tensor,
        teacher: &Tensor,
        hard: &CrossEntropy,
        target: Target<'_>,
        samples: Samples<'_>,
    ) -> Result<Tensor> {
        self.weigh(
            |weight| self.soft(student, teacher, hard, target, samples, weight),
            |weight| Ok(hard.forward_weighted(student, target, weight)?),
        )
    }

    /// Sums over the samples that count, and their number, for normalization by the caller; the reduction of the hard
    /// loss has no say.
    ///
    /// # Errors
    /// As [`forward_samples`](Self::forward_samples).
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// use softlabel_distill::{Distillation, Samples};
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use tch::Tensor;
    ///
    /// let teacher = Tensor::from_slice(&[3f64.ln(), 0.0, 1.0, 1.0]).view((2, 2));
    /// let student = Tensor::from_slice(&[0.0f64; 4]).view((2, 2));
    /// let labels = Tensor::from_slice(&[0i64, -100]);
    /// let hard = CrossEntropy::new().with_ignore_index(-100);
    /// let sums = Distillation::new(Temperature::ONE, 0.5, 0.5)?
    ///     .sums(&student, &teacher, &hard, Target::Hard(&labels), Samples::default())?;
    /// assert_eq!(sums.count, 1.0);
    /// let soft = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
    /// assert!((f64::try_from(&sums.loss)? - 0.5 * (soft + 2f64.ln())).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sums(
        &self,
        student: &Tensor,
        teacher: &Tensor,
        hard: &CrossEntropy,
        target: Target<'_>,
        samples: Samples<'_>,
    ) -> Result<DistillationSums> {
        let logits = class_last(student, hard.class_axis(), "student logits")?;
        let classes = logits.size().last().copied().unwrap_or(1).max(1);
        let all = logits.numel() as f64 / classes as f64;
        let count = match hard.ignored(target)? {
            None => all,
            Some(ignored) => all - f64::try_from(ignored.f_sum(Kind::Int64)?)?,
        };
        let (mut soft, mut hard_sum) = (None, None);
        let soft_term = |weight| {
            let term = self.soft_term_of(student, teacher, hard, target, samples)?;
            let sum = term.reduce(Reduction::Sum, self.loss.name())?;
            soft = Some(sum.f_detach()?);
            Ok(sum.f_mul_scalar(weight)?)
        };
        let hard_term = |weight| {
            let sum = hard.row_losses(student, target)?.reduce(Reduction::Sum)?;
            hard_sum = Some(sum.f_detach()?);
            Ok(sum.f_mul_scalar(weight)?)
        };
        let loss = self.weigh(soft_term, hard_term)?;
        Ok(DistillationSums { loss, soft, hard: hard_sum, count })
    }

    /// The soft term alone, before its weight, where there are no labels: samples where `counted`, a bool mask of the
    /// samples, is false count for nothing.
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// use softlabel_distill::{Distillation, Samples};
    /// use softlabel_losses::{ClassAxis, Reduction};
    /// use tch::Tensor;
    ///
    /// let teacher = Tensor::from_slice(&[3f64.ln(), 0.0, 9.0, 1.0]).view((2, 2));
    /// let student = Tensor::from_slice(&[0.0f64; 4]).view((2, 2));
    /// let counted = Tensor::from_slice(&[true, false]);
    /// let loss = Distillation::new(Temperature::ONE, 1.0, 0.0)?
    ///     .soft_term(&student, &teacher, ClassAxis::Last, Some(&counted), Samples::default())?
    ///     .reduce(Reduction::default(), "forward")?;
    /// assert!((f64::try_from(loss)? - (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward_samples`](Self::forward_samples); [`NeedsLabels`](softlabel_losses::Error::NeedsLabels) for a loss that does.
    pub fn soft_term(
        &self,
        student: &Tensor,
        teacher: &Tensor,
        axis: ClassAxis,
        counted: Option<&Tensor>,
        samples: Samples<'_>,
    ) -> Result<Term> {
        let ignored = counted.map(Tensor::f_logical_not).transpose()?;
        self.term(&self.pair(student, teacher, axis, ignored, samples)?, None, samples)
    }

    /// Whether the soft term is finite under the classes that a teacher `[n, K]` holds impossible (−∞), as one does
    /// whose map keeps zeros, for a student of `classes` classes that holds none impossible.
    ///
    /// `ids` are those of the samples, for the error.
    ///
    /// # Errors
    /// [`Error::ImpossibleClass`] with the first such sample and class, for a loss that does not
    /// [bear them](SoftLoss::bears_impossible_classes).
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// use softlabel_distill::{Distillation, Divergence, Error};
    /// use tch::Tensor;
    ///
    /// let teacher = Tensor::from_slice(&[0.0, f64::NEG_INFINITY]).view((1, 2));
    /// let forward = Distillation::new(Temperature::ONE, 1.0, 0.0)?;
    /// assert!(forward.check_impossible(&teacher, 2, &[70]).is_ok());
    /// let reverse = forward.with_divergence(Divergence::Reverse)?;
    /// let error = reverse.check_impossible(&teacher, 2, &[70]).unwrap_err();
    /// assert!(matches!(error, Error::ImpossibleClass { sample: 70, class: 1, .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check_impossible(&self, teacher: &Tensor, classes: i64, ids: &[usize]) -> Result<()> {
        let known = teacher.size().last().copied().unwrap_or_default().min(classes);
        if self.soft_weight == 0.0 || self.loss.bears_impossible_classes() || known < 1 {
            return Ok(());
        }
        let impossible = teacher.f_narrow(-1, 0, known)?.f_isneginf()?;
        if impossible.numel() == 0 || !bool::try_from(impossible.f_any()?)? {
            return Ok(());
        }
        let first = impossible.f_to_kind(Kind::Uint8)?.f_reshape([-1])?.f_argmax(0, false)?;
        let first = i64::try_from(first)?;
        let row = usize::try_from(first / known).unwrap_or_default();
        let (loss, class) = (self.loss.name(), first % known);
        let sample = ids.get(row).copied().unwrap_or(row);
        Err(Error::ImpossibleClass { loss, sample, class })
    }
}
