//! Several teachers that speak as one.
//!
//! For logits t_i of M teachers and weights w_i of a sample, Σ w_i = 1, at temperature T:
//!
//! ```text
//! average of probabilities     q = Σ_i w_i·softmax(t_i/T)
//! average of logits            q = softmax(Σ_i w_i·t_i/T), the geometric mean of the probabilities, normalized
//! ```
//!
//! The two differ: of a class that one teacher holds impossible the geometric mean is 0, whatever the others say.

use serde::{Deserialize, Serialize};
use softlabel_core::{Error as CoreError, Temperature};
use softlabel_losses::Error as LossError;
use softlabel_tensor::{
    ClassAxis, Error as TensorError, check_labels, check_same_device, check_soft_row_values,
    class_last,
};
use tch::{Kind, Tensor, no_grad_guard};

use crate::soft_loss::out_of_range;
use crate::{Error, Result};

/// What of several teachers is averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Average {
    /// Their probabilities at the temperature.
    #[default]
    Probabilities,
    /// Their logits: the geometric mean.
    Geometric,
}

/// How much the teachers count.
///
/// Serialized as `"equal"`, `{ fixed = [0.7, 0.3] }` or `"confidence"`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Weighting {
    /// All alike.
    #[default]
    Equal,
    /// One number a teacher, not negative; they are divided by their sum.
    Fixed(Vec<f64>),
    /// Sample by sample, the more the likelier a teacher holds the label:
    /// w_i = (1 − e^{C_i}/Σ_j e^{C_j})/(M − 1) for the cross-entropies C_i with the label at temperature 1.
    /// Zhang, Chen, Wang 2022, "Confidence-Aware Multi-Teacher Knowledge Distillation".
    Confidence,
}

/// A way to make one teacher of several. It has no state; serialized as `{ average = "probabilities", weighting =
/// "equal" }`, both of which may be left out.
///
/// ```
/// use softlabel_core::Temperature;
/// use softlabel_distill::{Average, Ensemble};
/// use tch::{Kind, Tensor};
///
/// // [0.75, 0.25] and [0.25, 0.75], and a temperature at which that is what they say.
/// let first = Tensor::from_slice(&[2.0 * 3f64.ln(), 0.0]).view((1, 2));
/// let second = Tensor::from_slice(&[0.0, 2.0 * 3f64.ln()]).view((1, 2));
/// let temperature = Temperature::new(2.0)?;
///
/// let teacher = Ensemble::fixed(Average::Probabilities, vec![3.0, 1.0])?
///     .combine(&[&first, &second], temperature, None)?;
/// let q = (teacher / 2.0).softmax(-1, Kind::Double);
/// assert!((q.double_value(&[0, 0]) - (0.75 * 0.75 + 0.25 * 0.25)).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Ensemble {
    average: Average,
    weighting: Weighting,
    ignore_index: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    average: Average,
    #[serde(default)]
    weighting: Weighting,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ignore_index: Option<i64>,
}

impl TryFrom<Written> for Ensemble {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        let Written { average, weighting, ignore_index } = written;
        Self { average, weighting, ignore_index }.checked()
    }
}

impl From<Ensemble> for Written {
    fn from(ensemble: Ensemble) -> Self {
        let Ensemble { average, weighting, ignore_index } = ensemble;
        Self { average, weighting, ignore_index }
    }
}

impl Ensemble {
    /// Teachers that count alike.
    pub fn equal(average: Average) -> Self {
        Self { average, ..Self::default() }
    }

    /// Teachers of these weights.
    ///
    /// # Errors
    /// If one is negative or not finite, or all are 0.
    pub fn fixed(average: Average, weights: Vec<f64>) -> Result<Self> {
        Self { average, weighting: Weighting::Fixed(weights), ignore_index: None }.checked()
    }

    /// Teachers that count by how likely they hold the label. Samples with the label `ignore_index` are some average.
    pub fn confidence(average: Average, ignore_index: Option<i64>) -> Self {
        Self { average, weighting: Weighting::Confidence, ignore_index }
    }

    /// What is averaged.
    pub fn average(&self) -> Average {
        self.average
    }

    /// How much the teachers count.
    pub fn weighting(&self) -> &Weighting {
        &self.weighting
    }

    fn checked(self) -> Result<Self> {
        if let Weighting::Fixed(weights) = &self.weighting {
            let (name, valid) = ("weight of a teacher", |w: f64| w >= 0.0 && w.is_finite());
            if let Some(&found) = weights.iter().find(|weight| !valid(**weight)) {
                return Err(out_of_range(name, "finite and not negative", found));
            }
            let sum: f64 = weights.iter().sum();
            if !(sum > 0.0 && sum.is_finite()) {
                return Err(out_of_range(
                    "sum of the teachers' weights",
                    "positive and finite",
                    sum,
                ));
            }
        }
        Ok(self)
    }

    /// The logits `[.., K]` of one teacher that, over the temperature, says what these teachers say together. Detached;
    /// f32, or f64 if one of them is.
    ///
    /// `labels` `[..]` are asked for if the weights are confidences.
    ///
    /// # Errors
    /// No teachers, or another number than there are weights; shapes and devices that differ;
    /// [`NeedsLabels`](LossError::NeedsLabels); labels out of range; [`Error::NothingPossible`] if the geometric mean of
    /// a row is 0 throughout.
    pub fn combine(
        &self,
        teachers: &[&Tensor],
        temperature: Temperature,
        labels: Option<&Tensor>,
    ) -> Result<Tensor> {
        let _guard = no_grad_guard();
        let teachers = stacked(teachers)?;
        let count = teachers.size().first().copied().unwrap_or_default();
        let options = (teachers.f_kind()?, teachers.device());
        let same_for_all = |weights: Tensor| -> Result<Tensor> {
            let mut shape = vec![1; teachers.dim()];
            shape[0] = count;
            Ok(weights.f_to_kind(options.0)?.f_to_device(options.1)?.f_reshape(shape.as_slice())?)
        };
        let weights = match &self.weighting {
            Weighting::Equal => same_for_all(Tensor::f_full(
                [count],
                1.0 / count as f64,
                (Kind::Double, options.1),
            )?)?,
            Weighting::Fixed(weights) => {
                if weights.len() as i64 != count {
                    let (expected, found) = (weights.len().to_string(), count.to_string());
                    let error = CoreError::mismatch("teachers", expected, found);
                    return Err(TensorError::from(error).into());
                }
                let sum: f64 = weights.iter().sum();
                let shares: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
                same_for_all(Tensor::f_from_slice(&shares)?)?
            }
            Weighting::Confidence => {
                let missing = || LossError::NeedsLabels { loss: "confidence weights of teachers" };
                self.confidences(&teachers, labels.ok_or_else(missing)?)?
            }
        };
        self.averaged(&teachers, &weights, temperature)
    }

    /// As [`combine`](Self::combine), with weights of every sample's own, `gates` `[.., M]`, from a gating network for
    /// example: distributions over the teachers.
    ///
    /// # Errors
    /// As [`combine`](Self::combine); gates of another shape, or rows that are no distributions within 1e-3.
    pub fn combine_gated(
        &self,
        teachers: &[&Tensor],
        temperature: Temperature,
        gates: &Tensor,
    ) -> Result<Tensor> {
        const WHAT: &str = "gates of teachers";
        let _guard = no_grad_guard();
        let teachers = stacked(teachers)?;
        let gates = class_last(gates, ClassAxis::Last, WHAT)?.f_detach()?;
        check_same_device(&gates, &teachers, WHAT)?;
        let mut shape = teachers.size();
        let count = shape.remove(0);
        if let Some(last) = shape.last_mut() {
            *last = count;
        }
        if gates.size() != shape {
            let expected = format!("{shape:?}, a weight for each sample and teacher");
            return Err(TensorError::Shape { what: WHAT, expected, found: gates.size() }.into());
        }
        check_soft_row_values(&gates, None)?;
        let weights = gates.f_to_kind(teachers.f_kind()?)?.f_movedim_int(-1, 0)?.f_unsqueeze(-1)?;
        self.averaged(&teachers, &weights, temperature)
    }

    /// `[M, .., 1]`.
    fn confidences(&self, teachers: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let kind = teachers.f_kind()?;
        let count = teachers.size().first().copied().unwrap_or_default();
        let labels = check_labels(labels, &teachers.f_select(0, 0)?, self.ignore_index)?;
        let labels = match self.ignore_index {
            None => labels,
            Some(index) => labels.f_masked_fill(&labels.f_eq(index)?, 0)?,
        };
        let log_q = teachers.f_log_softmax(-1, kind)?;
        let mut shape = log_q.size();
        if let Some(last) = shape.last_mut() {
            *last = 1;
        }
        let at_label = labels.f_unsqueeze(0)?.f_unsqueeze(-1)?.f_expand(shape.as_slice(), false)?;
        // Infinite ones compare like very large ones.
        let costs = log_q.f_gather(-1, &at_label, false)?.f_neg()?.f_clamp_max(1e30)?;
        if count < 2 {
            return Ok(costs.f_ones_like()?);
        }
        let shares = costs.f_softmax(0, kind)?;
        Ok(shares.f_neg()?.f_add_scalar(1.0)?.f_div_scalar((count - 1) as f64)?)
    }

    fn averaged(
        &self,
        teachers: &Tensor,
        weights: &Tensor,
        temperature: Temperature,
    ) -> Result<Tensor> {
        let silent = weights.f_eq(0.0)?;
        match self.average {
            Average::Probabilities => {
                let kind = teachers.f_kind()?;
                let tempered = teachers.f_mul_scalar(temperature.inverse())?;
                let log_q = tempered.f_log_softmax(-1, kind)?.f_add(&weights.f_log()?)?;
                let log_q = log_q.f_masked_fill(&silent, f64::NEG_INFINITY)?;
                Ok(log_q.f_logsumexp([0_i64].as_slice(), false)?.f_mul_scalar(temperature.get())?)
            }
            Average::Geometric => {
                let parts = teachers.f_mul(weights)?.f_masked_fill(&silent, 0.0)?;
                let mean =
                    parts.f_sum_dim_intlist([0_i64].as_slice(), false, teachers.f_kind()?)?;
                possible(mean)
            }
        }
    }
}

/// The logits `[.., K]`, if every row of them leaves a class possible.
fn possible(logits: Tensor) -> Result<Tensor> {
    let none =
        logits.f_amax([-1_i64].as_slice(), false)?.f_eq(f64::NEG_INFINITY)?.f_reshape([-1])?;
    if none.numel() == 0 || !bool::try_from(none.f_any()?)? {
        return Ok(logits);
    }
    let sample = i64::try_from(none.f_to_kind(Kind::Uint8)?.f_argmax(0, false)?)?;
    Err(Error::NothingPossible { sample: usize::try_from(sample).unwrap_or_default() })
}

/// `[M, .., K]`, in f32 or f64.
fn stacked(teachers: &[&Tensor]) -> Result<Tensor> {
    const WHAT: &str = "teacher logits";
    let Some(first) = teachers.first() else {
        return Err(TensorError::from(CoreError::Empty { what: "the list of teachers" }).into());
    };
    let mut double = false;
    for teacher in teachers {
        let _ = class_last(teacher, ClassAxis::Last, WHAT)?;
        check_same_device(teacher, first, WHAT)?;
        if teacher.size() != first.size() {
            let (expected, found) =
                (format!("{:?} as the first teacher's", first.size()), teacher.size());
            return Err(TensorError::Shape { what: WHAT, expected, found }.into());
        }
        double |= teacher.f_kind()? == Kind::Double;
    }
    let kind = if double { Kind::Double } else { Kind::Float };
    let all: Vec<Tensor> = teachers
        .iter()
        .map(|teacher| teacher.f_detach()?.f_to_kind(kind))
        .collect::<Result<_, _>>()?;
    Ok(Tensor::f_stack(&all, 0)?)
}
