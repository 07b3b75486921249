//! Teachers of which only the k likeliest classes are known.
//!
//! For the k classes S that a teacher holds likeliest, with probabilities q_i at temperature T, the mass m = Σ_S q_i that
//! is kept, and p = softmax(s/T) of the student over all classes:
//!
//! ```text
//! bucket          Σ_S q_i (ln q_i − ln p_i) + (1 − m)·(ln (1 − m) − ln (1 − Σ_S p_i))
//! renormalized    Σ_S q_i/m (ln (q_i/m) − ln (p_i/Σ_S p_i))
//! truncated       Σ_S q_i (ln q_i − ln p_i)
//! ```
//!
//! The first is the divergence of what is left when all other classes are taken together: at most that of all classes,
//! and 0 only if the student gives those as much as the teacher. The second knows nothing of the others: for k = 1 it is
//! 0, whatever the student says. The third is no divergence: it is smallest where the student has nothing left for the
//! others, and may be negative.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as CoreError, Temperature};
use softlabel_losses::{CrossEntropy, RowLosses, Target};
use softlabel_tensor::{ClassAxis, Error as TensorError, check_same_device, class_last};
use tch::{Kind, Tensor, no_grad_guard};

use crate::pair::{Amount, Pair, Tempering, computing_kind, log_sum_exp, sum_classes};
use crate::soft_loss::out_of_range;
use crate::{Distillation, Divergence, Error, Result, SoftLoss};

/// What becomes of the classes that are not among the k likeliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tail {
    /// They are one class.
    #[default]
    Bucket,
    /// There are none.
    Renormalized,
    /// They are left out of the sum.
    Truncated,
}

/// The k likeliest classes of a teacher, sample by sample, at one temperature.
///
/// It has to be known at the temperature that it teaches at: what is not kept cannot be tempered later.
///
/// ```
/// use softlabel_core::Temperature;
/// use softlabel_distill::TopK;
/// use tch::Tensor;
///
/// let teacher = Tensor::from_slice(&[0.5f64.ln(), 0.125f64.ln(), 0.25f64.ln(), 0.125f64.ln()]).view((1, 4));
/// let top = TopK::from_logits(&teacher, 2, Temperature::ONE)?;
/// assert!((top.kept_mass()?.double_value(&[0]) - 0.75).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TopK {
    /// ln q_i, `[.., k]`.
    log_probabilities: Tensor,
    /// `[.., k]`, i64.
    classes: Tensor,
    /// ln (1 − m), `[..]`.
    log_tail: Tensor,
    temperature: Temperature,
    tail: Tail,
}

/// A loss under a teacher of which the k likeliest classes are known.
#[derive(Debug)]
#[non_exhaustive]
pub struct TopKOutput {
    /// The loss, reduced as the hard loss says.
    pub loss: Tensor,
    /// The mean over the samples that count of the mass that the teacher's k classes have; NaN if none does.
    pub kept_mass: f64,
}

impl TopK {
    /// Of all logits `[.., K]`, in f32 or better. The mass of the others is computed from their own logits.
    ///
    /// # Errors
    /// Unless 1 ≤ k < K; [`Error::TeacherNotFinite`] for NaN or +∞.
    pub fn from_logits(logits: &Tensor, k: usize, temperature: Temperature) -> Result<Self> {
        let _guard = no_grad_guard();
        let logits = class_last(logits, ClassAxis::Last, "teacher logits")?.f_detach()?;
        let classes = logits.size().last().copied().unwrap_or_default();
        check_k(k, classes)?;
        let pair = Pair {
            student: logits.shallow_clone(),
            teacher: logits.shallow_clone(),
            ignored: None,
            tempering: Tempering::none(),
        };
        pair.check_teacher()?;
        let scaled =
            logits.f_to_kind(computing_kind(&logits)?)?.f_mul_scalar(temperature.inverse())?;
        let (largest, places) = scaled.f_topk(k as i64, -1, true, true)?;
        let whole = log_sum_exp(&scaled)?;
        let rest = log_sum_exp(&scaled.f_scatter_value(-1, &places, f64::NEG_INFINITY)?)?;
        Ok(Self {
            log_probabilities: largest.f_sub(&whole.f_unsqueeze(-1)?)?,
            classes: places,
            log_tail: rest.f_sub(&whole)?,
            temperature,
            tail: Tail::default(),
        })
    }

    /// Of log-probabilities `[.., k]` at a temperature and the classes `[.., k]` that they are of, as served models give
    /// them. The mass of the others is what is missing to 1, at least 10⁻⁷.
    ///
    /// # Errors
    /// Shapes, dtypes or devices that differ; a negative class or one twice in a sample; log-probabilities above 0, or
    /// whose probabilities sum to more than 1 (within 1e-3).
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// use softlabel_distill::TopK;
    /// use tch::Tensor;
    ///
    /// let served = Tensor::from_slice(&[0.5f64.ln(), 0.25f64.ln()]).view((1, 2));
    /// let classes = Tensor::from_slice(&[0i64, 2]).view((1, 2));
    /// let top = TopK::from_log_probabilities(&served, &classes, Temperature::ONE)?;
    /// assert!((top.kept_mass()?.double_value(&[0]) - 0.75).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_log_probabilities(
        log_probabilities: &Tensor,
        classes: &Tensor,
        temperature: Temperature,
    ) -> Result<Self> {
        const WHAT: &str = "log-probabilities of a teacher";
        const CLASSES: &str = "classes of a teacher's log-probabilities";
        let _guard = no_grad_guard();
        let given = class_last(log_probabilities, ClassAxis::Last, WHAT)?.f_detach()?;
        let values = given.f_to_kind(computing_kind(&given)?)?;
        check_same_device(classes, &values, CLASSES)?;
        if classes.size() != values.size() {
            let (expected, found) = (format!("{:?}", values.size()), classes.size());
            return Err(TensorError::Shape { what: CLASSES, expected, found }.into());
        }
        let found = classes.f_kind()?;
        if found != Kind::Int64 {
            return Err(TensorError::Kind { what: CLASSES, expected: "i64", found }.into());
        }
        if values.numel() > 0 {
            let lowest = i64::try_from(classes.f_min()?)?;
            if lowest < 0 {
                return Err(out_of_range(CLASSES, "not negative", lowest as f64));
            }
            let k = values.size().last().copied().unwrap_or_default();
            let sorted = classes.f_sort(-1, false)?.0;
            let twice =
                sorted.f_narrow(-1, 1, k - 1)?.f_eq_tensor(&sorted.f_narrow(-1, 0, k - 1)?)?;
            if k > 1 && i64::try_from(twice.f_any()?)? != 0 {
                let error = CoreError::mismatch(CLASSES, "different ones in a sample", "one twice");
                return Err(TensorError::from(error).into());
            }
            let highest = f64::try_from(values.f_max()?)?;
            if highest.is_nan() || highest > 0.0 {
                return Err(out_of_range(WHAT, "at most 0", highest));
            }
            let mass = f64::try_from(log_sum_exp(&values)?.f_exp()?.f_max()?)?;
            if mass > 1.0 + 1e-3 {
                return Err(out_of_range("mass of a teacher's classes", "at most 1", mass));
            }
        }
        let log_kept = log_sum_exp(&values)?.f_clamp_max(-1e-7)?;
        let log_tail = log_kept.f_expm1()?.f_neg()?.f_log()?;
        let (classes, tail) = (classes.f_detach()?, Tail::default());
        Ok(Self { log_probabilities: values, classes, log_tail, temperature, tail })
    }

    /// What becomes of the other classes; they are one bucket by default.
    #[must_use]
    pub fn with_tail(mut self, tail: Tail) -> Self {
        self.tail = tail;
        self
    }

    /// The temperature that it is known at.
    pub fn temperature(&self) -> Temperature {
        self.temperature
    }

    /// m of every sample, `[..]`: how much of the teacher is kept.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn kept_mass(&self) -> Result<Tensor> {
        sum_classes(&self.log_probabilities.f_exp()?)
    }

    /// The loss of every sample, times a factor; 0 where a sample is ignored.
    fn rows(&self, student: &Tensor, ignored: Option<&Tensor>, factor: f64) -> Result<Tensor> {
        let Self { log_probabilities: log_q, classes, log_tail, .. } = self;
        let kind =
            if log_q.f_kind()? == Kind::Double { Kind::Double } else { computing_kind(student)? };
        let ignored_rows = ignored.map(|ignored| ignored.f_unsqueeze(-1)).transpose()?;
        let student = match &ignored_rows {
            None => student.shallow_clone(),
            Some(ignored) => student.f_masked_fill(ignored, 0.0)?,
        };
        let z = student.f_to_kind(kind)?.f_mul_scalar(self.temperature.inverse())?;
        let at_classes = z.f_gather(-1, classes, false)?;
        let all = |student: Tensor, teacher: Tensor| {
            let ignored = ignored.map(Tensor::shallow_clone);
            let tempering = Tempering { factor: Amount::All(factor), ..Tempering::none() };
            Pair { student, teacher, ignored, tempering }
        };
        let log_q = log_q.f_to_kind(kind)?;
        match self.tail {
            Tail::Renormalized => {
                let pair = all(at_classes, log_q);
                pair.sound(Divergence::Forward.rows(&pair)?)
            }
            Tail::Bucket => {
                let rest = log_sum_exp(&z.f_scatter_value(-1, classes, f64::NEG_INFINITY)?)?;
                let join = |classes: &Tensor, tail: &Tensor| -> Result<Tensor> {
                    let tail = tail.f_to_kind(kind)?.f_unsqueeze(-1)?;
                    Ok(Tensor::f_cat(&[classes, &tail], -1)?)
                };
                // The softmax of k logits and the log-sum-exp of the others is p of the k, and what is left.
                let pair = all(join(&at_classes, &rest)?, join(&log_q, log_tail)?);
                pair.sound(Divergence::Forward.rows(&pair)?)
            }
            Tail::Truncated => {
                let log_p = at_classes.f_sub(&log_sum_exp(&z)?.f_unsqueeze(-1)?)?;
                let impossible = log_q.f_isneginf()?;
                let ratio = log_q.f_sub(&log_p)?.f_masked_fill(&impossible, 0.0)?;
                let rows = sum_classes(&ratio.f_mul(&log_q.f_exp()?)?)?;
                let pair = all(at_classes, log_q);
                pair.sound(pair.scaled(&rows)?)
            }
        }
    }
}

impl Distillation {
    /// As [`forward`](Self::forward), from the k likeliest classes of a teacher. Student logits are `[.., K]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); any loss but the forward divergence, a standardization, or another temperature
    /// than that of the teacher; a class that the student has not.
    ///
    /// ```
    /// use softlabel_core::Temperature;
    /// use softlabel_distill::{Distillation, TopK};
    /// use softlabel_losses::{CrossEntropy, Target};
    /// use tch::Tensor;
    ///
    /// let teacher = Tensor::from_slice(&[0.5f64.ln(), 0.125f64.ln(), 0.25f64.ln(), 0.125f64.ln()]).view((1, 4));
    /// let student = Tensor::from_slice(&[0.0f64; 4]).view((1, 4));
    /// let label = Tensor::from_slice(&[0i64]);
    /// let top = TopK::from_logits(&teacher, 1, Temperature::ONE)?;
    /// let output = Distillation::new(Temperature::ONE, 1.0, 0.0)?
    ///     .forward_top_k(&student, &top, &CrossEntropy::new(), Target::Hard(&label))?;
    /// // [0.5, 0.5] against [0.25, 0.75]
    /// let truth = 0.5 * 2f64.ln() + 0.5 * (2f64 / 3.0).ln();
    /// assert!((f64::try_from(output.loss)? - truth).abs() < 1e-15);
    /// assert_eq!(output.kept_mass, 0.5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn forward_top_k(
        &self,
        student: &Tensor,
        teacher: &TopK,
        hard: &CrossEntropy,
        target: Target<'_>,
    ) -> Result<TopKOutput> {
        let logits = class_last(student, hard.class_axis(), "student logits")?;
        self.check_top_k(&logits, teacher)?;
        let ignored = hard.ignored(target)?;
        let kept = RowLosses::new(teacher.kept_mass()?, ignored.as_ref())?;
        let kept_mass = kept
            .reduce(softlabel_core::Reduction::default())
            .map_or(Ok(f64::NAN), f64::try_from)?;
        let soft = |weight| {
            let factor = self.factor(teacher.temperature.get());
            let rows = teacher.rows(&logits, ignored.as_ref(), factor)?;
            let rows = RowLosses::new(rows, ignored.as_ref())?;
            Ok(rows.reduce(hard.reduction())?.f_mul_scalar(weight)?)
        };
        let hard = |weight| Ok(hard.forward_weighted(student, target, weight)?);
        let loss = self.weigh(soft, hard)?;
        Ok(TopKOutput { loss, kept_mass })
    }

    fn check_top_k(&self, student: &Tensor, teacher: &TopK) -> Result<()> {
        if self.loss() != SoftLoss::Divergence(Divergence::Forward) || self.is_standardized() {
            let expected = "the forward divergence of logits as they are";
            let error = CoreError::mismatch(
                "loss under a teacher's likeliest classes",
                expected,
                self.loss().name(),
            );
            return Err(TensorError::from(error).into());
        }
        for temperature in self.temperatures() {
            if temperature != teacher.temperature {
                let expected =
                    format!("{}, at which the likeliest classes are known", teacher.temperature);
                let error = CoreError::mismatch("temperature", expected, temperature.to_string());
                return Err(TensorError::from(error).into());
            }
        }
        check_same_device(&teacher.log_probabilities, student, "teacher logits")?;
        let (mut expected, mut found) = (student.size(), teacher.classes.size());
        let (classes, k) = (expected.pop().unwrap_or_default(), found.pop().unwrap_or_default());
        if expected != found {
            let (student, teacher) = (student.size(), teacher.classes.size());
            return Err(Error::TeacherShape { student, teacher });
        }
        check_k(usize::try_from(k).unwrap_or_default(), classes)?;
        if teacher.classes.numel() > 0 {
            let highest = i64::try_from(teacher.classes.f_max()?)?;
            if highest >= classes {
                return Err(Error::ClassCounts { student: classes, teacher: highest + 1 });
            }
        }
        Ok(())
    }
}

fn check_k(k: usize, classes: i64) -> Result<()> {
    if k >= 1 && (k as i64) < classes {
        return Ok(());
    }
    let expected = format!("at least 1 and fewer than the {classes} classes");
    Err(TensorError::from(CoreError::mismatch(
        "k of a teacher's likeliest classes",
        expected,
        k.to_string(),
    ))
    .into())
}
