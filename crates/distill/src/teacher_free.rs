//! A teacher that nobody trained.
//!
//! ```text
//! q_k = a if k is the label, (1 − a)/(K − 1) if it is not
//! ```

use serde::{Deserialize, Serialize};
use softlabel_tensor::{ClassAxis, check_labels, class_last};
use tch::{Tensor, no_grad_guard};

use crate::pair::computing_kind;
use crate::soft_loss::out_of_range;
use crate::{Error, Result};

/// A virtual teacher that is right with probability a and has no idea of the other classes: teacher-free distillation
/// by regularization ("Tf-KD_reg"). The paper has a ≥ 0.9, a temperature of 20 and more, and 0.1 to 0.95 for its weight.
///
/// At T = 1 its gradient is that of label smoothing with ε = 1 − a over the other classes; a temperature flattens it.
/// Serialized as `{ confidence = 0.99 }`.
///
/// The other teacher-free form of the paper, self-training ("Tf-KD_self"), is distillation from a network of the same
/// kind that was trained before: see [`born_again`](crate::born_again).
///
/// Yuan et al. 2020, "Revisiting Knowledge Distillation via Label Smoothing Regularization".
///
/// ```
/// use softlabel_distill::VirtualTeacher;
/// use tch::{Kind, Tensor};
///
/// let student = Tensor::from_slice(&[0.0f64; 3]).view((1, 3));
/// let label = Tensor::from_slice(&[1i64]);
/// let teacher = VirtualTeacher::new(0.9)?.logits(&student, &label, None)?;
/// let q = teacher.softmax(-1, Kind::Double);
/// assert!((q.double_value(&[0, 1]) - 0.9).abs() < 1e-15);
/// assert!((q.double_value(&[0, 2]) - 0.05).abs() < 1e-15);
/// # Ok::<(), softlabel_distill::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct VirtualTeacher {
    confidence: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    confidence: f64,
}

impl TryFrom<Written> for VirtualTeacher {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        Self::new(written.confidence)
    }
}

impl From<VirtualTeacher> for Written {
    fn from(teacher: VirtualTeacher) -> Self {
        Self { confidence: teacher.confidence }
    }
}

impl VirtualTeacher {
    /// Right with probability `confidence`.
    ///
    /// # Errors
    /// Unless it is in (0, 1).
    pub fn new(confidence: f64) -> Result<Self> {
        if confidence > 0.0 && confidence < 1.0 {
            return Ok(Self { confidence });
        }
        Err(out_of_range("confidence of a virtual teacher", "in (0, 1)", confidence))
    }

    /// a.
    pub fn confidence(self) -> f64 {
        self.confidence
    }

    /// Its logits ln q `[.., K]` for samples with these labels `[..]`, in the shape of the student's logits `[.., K]`
    /// and on their device, f32 or f64. Over a temperature they are tempered as any teacher's are.
    /// A sample with the label `ignore_index` gets those of class 0.
    ///
    /// # Errors
    /// [`Error::TooFewClasses`] for one class; labels of another shape or out of range.
    pub fn logits(
        self,
        student: &Tensor,
        labels: &Tensor,
        ignore_index: Option<i64>,
    ) -> Result<Tensor> {
        self.rows(student, labels, ignore_index, f64::ln)
    }

    /// q itself in the place of logits, as the authors' code passes it on: the softmax over the temperature is taken of
    /// what are probabilities already, and the teacher is far flatter than q even at T = 1.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn probabilities_as_logits(
        self,
        student: &Tensor,
        labels: &Tensor,
        ignore_index: Option<i64>,
    ) -> Result<Tensor> {
        self.rows(student, labels, ignore_index, |probability| probability)
    }

    fn rows(
        self,
        student: &Tensor,
        labels: &Tensor,
        ignore_index: Option<i64>,
        of: fn(f64) -> f64,
    ) -> Result<Tensor> {
        let _guard = no_grad_guard();
        let student = class_last(student, ClassAxis::Last, "student logits")?;
        let found = student.size().last().copied().unwrap_or_default();
        if found < 2 {
            return Err(Error::TooFewClasses { loss: "a virtual teacher", least: 2, found });
        }
        let labels = check_labels(labels, &student, ignore_index)?;
        let labels = match ignore_index {
            None => labels,
            Some(index) => labels.f_masked_fill(&labels.f_eq(index)?, 0)?,
        };
        let others = (1.0 - self.confidence) / (found - 1) as f64;
        let options = (computing_kind(&student)?, student.device());
        let rows = Tensor::f_full(student.size().as_slice(), of(others), options)?;
        Ok(rows.f_scatter_value(-1, &labels.f_unsqueeze(-1)?, of(self.confidence))?)
    }
}
