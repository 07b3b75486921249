//! Distillation of linear heads, from hidden states, without ever holding all logits.
//!
//! For hidden states h `[N, D]`, a weight W `[K, D]` and a bias b `[K]` of the student, and such of the teacher, whose
//! width may differ, the loss of the logits s = h·Wᵀ + b under t = h′·W′ᵀ + b′ and all gradients are computed for some
//! rows at a time:
//!
//! ```text
//! G = ∂loss/∂s of some rows     ∂h = G·W     ∂W += Gᵀ·h     ∂b += Σ G
//! ```
//!
//! Besides the gradients themselves this needs a chunk of logits of either side and of their gradients. For 4096 tokens
//! and a vocabulary of 32000 in f32 all logits of both sides and their gradients are 524 MB each.
//!
//! Source of the idea: Hsu et al. 2024, "Liger Kernel".

use softlabel_core::{Error as CoreError, Normalizer, Reduction};
use softlabel_losses::linear_layer::{LinearGradients, LinearLayer, logits_shape};
use softlabel_losses::{CrossEntropy, Target};
use softlabel_tensor::autograd::Node;
use softlabel_tensor::scalars::{number, scalar};
use softlabel_tensor::{ClassAxis, Error as TensorError};
use tch::{Kind, Tensor, no_grad_guard, with_grad};

use crate::pair::computing_kind;
use crate::{Distillation, Error, Result, SoftLoss};

/// Logits that a chunk has if nobody says: 2²⁴, 64 MB in f32.
const CHUNK: i64 = 1 << 24;

/// Fewer rows than this make a matrix product slow.
const FEWEST_ROWS: i64 = 64;

/// A linear classifier on hidden states: what its logits are made of, h·Wᵀ + b.
#[derive(Debug, Clone, Copy)]
pub struct LinearHead<'a> {
    /// h, `[.., D]`.
    pub hidden: &'a Tensor,
    /// W, `[K, D]`, in the dtype and on the device of h.
    pub weight: &'a Tensor,
    /// b, `[K]`, likewise.
    pub bias: Option<&'a Tensor>,
}

/// Distillation from head to head.
///
/// ```
/// use softlabel_core::Temperature;
/// use softlabel_distill::{Distillation, LinearDistillation, LinearHead};
/// use softlabel_losses::{CrossEntropy, Target};
/// use tch::Tensor;
///
/// let hidden = Tensor::from_slice(&[1.0f64]).view((1, 1));
/// let weight = Tensor::from_slice(&[0.0f64, 0.0]).view((2, 1)).set_requires_grad(true);
/// let knowing = Tensor::from_slice(&[3f64.ln(), 0.0]).view((2, 1));
/// let student = LinearHead { hidden: &hidden, weight: &weight, bias: None };
/// let teacher = LinearHead { hidden: &hidden, weight: &knowing, bias: None };
///
/// let distillation = Distillation::new(Temperature::ONE, 1.0, 0.0)?;
/// let label = Tensor::from_slice(&[0i64]);
/// let loss = LinearDistillation::new(distillation, CrossEntropy::new())?
///     .forward(student, teacher, Target::Hard(&label))?;
/// assert!((f64::try_from(&loss)? - (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() < 1e-15);
/// loss.backward();
/// assert!((weight.grad().double_value(&[0, 0]) + 0.25).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LinearDistillation {
    distillation: Distillation,
    /// With a reduction of its own: the sum.
    hard: CrossEntropy,
    reduction: Reduction,
    rows_at_a_time: Option<i64>,
}

impl LinearDistillation {
    /// With all options of a distillation and its hard loss, except the class axis: hidden states are `[.., D]`.
    ///
    /// # Errors
    /// [`Error::NotOfOneSample`] for a loss that is about a batch as a whole; a reduction to anything but one number;
    /// class weights under a mean over their sum: take [`Normalizer::Count`].
    pub fn new(distillation: Distillation, hard: CrossEntropy) -> Result<Self> {
        if let SoftLoss::Relational { .. } = distillation.loss() {
            return Err(Error::NotOfOneSample { loss: distillation.loss().name() });
        }
        let reduction = hard.reduction();
        let refused = |expected: &str, found: &str| -> Error {
            let what = "reduction of a distillation of linear heads";
            TensorError::from(CoreError::mismatch(what, expected, found)).into()
        };
        if reduction == Reduction::None {
            return Err(refused("to one number", "none"));
        }
        if reduction == Reduction::Mean(Normalizer::WeightSum) && hard.class_weights().is_some() {
            return Err(refused(
                "a mean over the count of samples under class weights",
                "a mean over the sum of their weights",
            ));
        }
        let hard = hard.with_class_axis(ClassAxis::Last).with_reduction(Reduction::Sum);
        Ok(Self { distillation, hard, reduction, rows_at_a_time: None })
    }

    /// How many rows have their logits in memory at a time, at least 1. By default so many that these are at most 2²⁴,
    /// but not less than 64.
    #[must_use]
    pub fn with_rows_at_a_time(mut self, rows: usize) -> Self {
        self.rows_at_a_time = Some(i64::try_from(rows).unwrap_or(i64::MAX).max(1));
        self
    }

    /// The loss, differentiable in the student's hidden states, weight and bias: one number, as
    /// [`Distillation::forward`] of all logits has it. Logits are in the dtype of each head, losses in f32 or better, and
    /// the gradients of weight and bias are added up in f32 or better. The gradients are computed with the loss. There
    /// are no second derivatives.
    ///
    /// # Errors
    /// As [`Distillation::forward`], and shapes, dtypes or devices of a head that do not fit each other.
    pub fn forward(
        &self,
        student: LinearHead<'_>,
        teacher: LinearHead<'_>,
        target: Target<'_>,
    ) -> Result<Tensor> {
        let shape = student.logits_shape("hidden states of the student")?;
        let teacher_shape = teacher.logits_shape("hidden states of the teacher")?;
        let (leading, classes) = shape.split_at(shape.len() - 1);
        if leading != &teacher_shape[..teacher_shape.len() - 1] {
            return Err(Error::TeacherShape { student: shape, teacher: teacher_shape });
        }
        let target = Flat::new(target, leading)?;
        let divisor = self.divisor(&target)?;
        let inputs: Vec<&Tensor> =
            [student.hidden, student.weight].into_iter().chain(student.bias).collect();
        let node = Node::new("LinearDistillation", &inputs)?;
        let guard = no_grad_guard();
        let needs = node.is_recording().then(|| [0, 1, 2].map(|input| node.needs_gradient(input)));
        let (mut student, teacher) = (student.layer()?, teacher.layer()?);
        // What an ignored row holds must not reach the gradient of the weight.
        if let Some(ignored) = self.hard.ignored(target.part(0, target.samples)?.target())? {
            student.hidden = student.hidden.f_masked_fill(&ignored.f_unsqueeze(-1)?, 0.0)?;
        }
        let chunk =
            self.rows_at_a_time.unwrap_or_else(|| (CHUNK / classes[0].max(1)).max(FEWEST_ROWS));
        let mut gradients = needs.map(|needs| LinearGradients::new(&student, needs)).transpose()?;
        let mut total = 0.0;
        let mut start = 0;
        while start < target.samples {
            let length = chunk.min(target.samples - start);
            let hidden = student.rows(start, length)?;
            let logits = student.logits(&hidden)?;
            let taught = teacher.logits(&teacher.rows(start, length)?)?;
            let part = target.part(start, length)?;
            let loss = |logits: &Tensor| {
                let loss = self.distillation.forward(logits, &taught, &self.hard, part.target());
                loss.map_err(|error| at_sample(error, start))
            };
            match &mut gradients {
                None => total += f64::try_from(loss(&logits)?)?,
                Some(gradients) => {
                    let (value, gradient) = with_grad(|| -> Result<_> {
                        let logits = logits.f_set_requires_grad(true)?;
                        let loss = loss(&logits)?;
                        let found = Tensor::f_run_backward(&[&loss], &[&logits], false, false)?;
                        Ok((f64::try_from(loss)?, found.into_iter().next().unwrap_or(logits)))
                    })?;
                    total += value;
                    gradients.add(&student, &hidden, &gradient, start)?;
                }
            }
            start += length;
        }
        let kind = if teacher.hidden.f_kind()? == Kind::Double {
            Kind::Double
        } else {
            computing_kind(&student.hidden)?
        };
        let value = scalar(total / divisor)?;
        let value = value.f_to_kind(kind)?.f_to_device(student.hidden.device())?;
        drop(guard);
        let Some(gradients) = gradients else { return Ok(value) };
        let (count, hidden_shape) = (inputs.len(), inputs[0].size());
        let kind = student.hidden.f_kind()?;
        let mut kept = Some(gradients);
        Ok(node.attach_one(value, &[], move |backward| {
            let Some(arrived) = backward.gradient(0) else {
                return Ok((0..count).map(|_| None).collect());
            };
            let factor = number(arrived)? / divisor;
            let held = if backward.keeps_graph() {
                kept.as_ref().map(LinearGradients::copy)
            } else {
                kept.take()
            };
            let held =
                held.ok_or_else(|| TensorError::other("its gradients were given away before"))?;
            held.handed_out(factor, kind, &hidden_shape, count)
        })?)
    }

    fn divisor(&self, target: &Flat<'_>) -> Result<f64> {
        match self.reduction {
            Reduction::Mean(Normalizer::Items(items)) if items > 0.0 && items.is_finite() => {
                Ok(items)
            }
            Reduction::Mean(Normalizer::Items(found)) => {
                let (name, expected) =
                    ("the number of items that a mean divides by", "positive and finite");
                Err(crate::soft_loss::out_of_range(name, expected, found))
            }
            Reduction::Mean(_) => {
                let all = target.samples as f64;
                let counted = match self.hard.ignored(target.part(0, target.samples)?.target())? {
                    None => all,
                    Some(ignored) => all - f64::try_from(ignored.f_sum(Kind::Int64)?)?,
                };
                if counted > 0.0 {
                    return Ok(counted);
                }
                let what = "the batch that a mean is taken over";
                Err(TensorError::from(CoreError::Empty { what }).into())
            }
            _ => Ok(1.0),
        }
    }
}

/// A bad sample of a chunk, among all.
fn at_sample(error: Error, start: i64) -> Error {
    match error {
        Error::TeacherNotFinite { sample } => {
            Error::TeacherNotFinite { sample: sample + usize::try_from(start).unwrap_or_default() }
        }
        other => other,
    }
}

impl LinearHead<'_> {
    fn logits_shape(&self, hidden: &'static str) -> Result<Vec<i64>> {
        let names = [hidden, "weight of a head", "bias of a head"];
        Ok(logits_shape(names, self.hidden, self.weight, self.bias)?)
    }

    fn layer(&self) -> Result<LinearLayer> {
        Ok(LinearLayer::new(self.hidden, self.weight, self.bias)?)
    }
}

/// A target whose samples lie one after the other.
struct Flat<'a> {
    given: Target<'a>,
    /// Labels or rows, and the second labels or the mask.
    tensors: [Option<Tensor>; 2],
    samples: i64,
}

/// Some samples of it.
struct Part<'a> {
    given: Target<'a>,
    tensors: [Option<Tensor>; 2],
    range: std::ops::Range<usize>,
}

impl<'a> Flat<'a> {
    fn new(given: Target<'a>, leading: &[i64]) -> Result<Self> {
        let samples: i64 = leading.iter().product();
        let labels = |labels: &Tensor, what: &'static str| -> Result<Tensor> {
            if labels.size() != leading {
                let (expected, found) =
                    (format!("{leading:?} as the hidden states"), labels.size());
                return Err(TensorError::Shape { what, expected, found }.into());
            }
            Ok(labels.f_reshape([samples])?)
        };
        let rows = |rows: &Tensor| -> Result<Tensor> {
            let (mut size, classes) =
                (rows.size(), rows.size().last().copied().unwrap_or_default());
            size.pop();
            if size != leading {
                let (what, expected) = ("soft targets", format!("{leading:?} and the classes"));
                return Err(TensorError::Shape { what, expected, found: rows.size() }.into());
            }
            Ok(rows.f_reshape([samples, classes])?)
        };
        let tensors = match given {
            Target::Hard(given) | Target::Smoothed { labels: given, .. } => {
                [Some(labels(given, "labels")?), None]
            }
            Target::Soft(given) => [Some(rows(given)?), None],
            Target::Allowed { labels: given, allowed } => {
                [Some(labels(given, "labels")?), Some(rows(allowed)?)]
            }
            Target::Masked { rows: given, counted } => {
                [Some(rows(given)?), Some(labels(counted, "mask of the samples")?)]
            }
            Target::Mixed { first, second, .. } => {
                [Some(labels(first, "labels")?), Some(labels(second, "second labels")?)]
            }
            _ => [None, None],
        };
        let numbers = match given {
            Target::Mixed { share_of_second, .. } => Some(share_of_second.len()),
            Target::Smoothed { epsilons, .. } => Some(epsilons.len()),
            _ => None,
        };
        if let Some(found) = numbers.filter(|&found| found as i64 != samples) {
            let (expected, found) = (format!("{samples}, one a sample"), found.to_string());
            let error = CoreError::mismatch("numbers of the samples of a target", expected, found);
            return Err(TensorError::from(error).into());
        }
        Ok(Self { given, tensors, samples })
    }

    fn part(&self, start: i64, length: i64) -> Result<Part<'a>> {
        let narrow = |tensor: &Option<Tensor>| -> Result<Option<Tensor>> {
            Ok(tensor.as_ref().map(|tensor| tensor.f_narrow(0, start, length)).transpose()?)
        };
        let (from, to) = (usize::try_from(start), usize::try_from(start + length));
        Ok(Part {
            given: self.given,
            tensors: [narrow(&self.tensors[0])?, narrow(&self.tensors[1])?],
            range: from.unwrap_or_default()..to.unwrap_or_default(),
        })
    }
}

impl Part<'_> {
    fn target(&self) -> Target<'_> {
        let numbers = |values: &'_ [f64]| -> std::ops::Range<usize> {
            self.range.start.min(values.len())..self.range.end.min(values.len())
        };
        match (self.given, &self.tensors) {
            (Target::Hard(_), [Some(labels), _]) => Target::Hard(labels),
            (Target::Soft(_), [Some(rows), _]) => Target::Soft(rows),
            (Target::Allowed { .. }, [Some(labels), Some(allowed)]) => {
                Target::Allowed { labels, allowed }
            }
            (Target::Masked { .. }, [Some(rows), Some(counted)]) => {
                Target::Masked { rows, counted }
            }
            (Target::Mixed { share_of_second, .. }, [Some(first), Some(second)]) => Target::Mixed {
                first,
                second,
                share_of_second: &share_of_second[numbers(share_of_second)],
            },
            (Target::Smoothed { epsilons, .. }, [Some(labels), _]) => {
                Target::Smoothed { labels, epsilons: &epsilons[numbers(epsilons)] }
            }
            (given, _) => given,
        }
    }
}
