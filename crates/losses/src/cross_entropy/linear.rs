//! Cross-entropy of a linear classifier, from the hidden states, without ever holding all logits.
//!
//! For hidden states h `[N, D]`, a weight W `[K, D]` and a bias b `[K]`, the loss of the logits h·Wᵀ + b and all
//! gradients are computed for some rows at a time:
//!
//! ```text
//! Z = h·Wᵀ + b     G = ∂loss/∂Z, written over Z     ∂h = G·W     ∂W += Gᵀ·h     ∂b += Σ G
//! ```
//!
//! Besides the gradients themselves, which any path has to hold, this needs one chunk of logits. For N = 4096 tokens
//! and K = 32000 classes in f32 that is 64 MB instead of 1.6 GB: logits, log-probabilities and their gradient, 524 MB
//! each.
//!
//! Source of the idea: Hsu et al. 2024, "Liger Kernel"; Wijmans et al. 2024, "Cut Your Losses in Large-Vocabulary
//! Language Models".

use std::ops::Range;

use half::{bf16, f16};
use softlabel_core::{Error as CoreError, Reduction};
use softlabel_kernels::rows::{Outputs, Scale, cross_entropy, cross_entropy_in_place};
use softlabel_tensor::autograd::{Node, Saved};
use softlabel_tensor::buffers::{allocate, uninit};
use softlabel_tensor::scalars::number;
use softlabel_tensor::slices::{slice, slice_mut, uninit_slice_mut};
use softlabel_tensor::{ClassAxis, Error as TensorError};
use tch::{Device, Kind, Tensor, no_grad_guard, with_grad};

use super::numbers::{Numbers, refused};
use super::operators::{self, Rows};
use super::prepare::{Prepared, Way};
use super::{CrossEntropy, CrossEntropyOutput, LogitOptions, Target};
use crate::Result;
use crate::linear_layer::{LinearGradients, LinearLayer, logits_shape};
use crate::numeric::computing_kind;
use crate::row_losses::divisor;
use crate::rows::{Logit, Number, split, threads};

/// Logits that a chunk has if nobody says: 2²⁴, 64 MB in f32.
const CHUNK: usize = 1 << 24;

/// Fewer rows than this make a matrix product slow.
const FEWEST_ROWS: usize = 64;

/// Cross-entropy of a linear classifier, from hidden states.
///
/// ```
/// use softlabel_losses::{CrossEntropy, LinearCrossEntropy, Target};
/// use tch::Tensor;
///
/// let hidden = Tensor::from_slice(&[1.0f64, 2.0]).view((1, 2)).set_requires_grad(true);
/// let weight = Tensor::from_slice(&[0.0f64; 6]).view((3, 2)).set_requires_grad(true);
/// let label = Tensor::from_slice(&[2i64]);
/// let loss = LinearCrossEntropy::new(CrossEntropy::new());
/// let value = loss.forward(&hidden, &weight, None, Target::Hard(&label))?;
/// assert!((f64::try_from(&value)? - 3f64.ln()).abs() < 1e-15);
/// value.backward();
/// // (p − t)·hᵀ, row by row.
/// assert!((weight.grad().double_value(&[2, 1]) + 2.0 * 2.0 / 3.0).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LinearCrossEntropy {
    loss: CrossEntropy,
    rows_at_a_time: Option<usize>,
}

impl LinearCrossEntropy {
    /// With all targets and options of a cross-entropy, whose class axis is [`ClassAxis::Last`]: hidden states are
    /// `[.., D]`, and so are masks and soft rows `[.., K]`.
    pub fn new(loss: CrossEntropy) -> Self {
        Self { loss, rows_at_a_time: None }
    }

    /// How many rows have their logits in memory at a time, at least 1. By default so many that these are at most 2²⁴,
    /// but not less than 64.
    #[must_use]
    pub fn with_rows_at_a_time(mut self, rows: usize) -> Self {
        self.rows_at_a_time = Some(rows.max(1));
        self
    }

    /// The cross-entropy.
    pub fn loss(&self) -> &CrossEntropy {
        &self.loss
    }

    /// The loss of the logits `hidden`·`weight`ᵀ + `bias`: a scalar, or one value a sample under [`Reduction::None`].
    ///
    /// `hidden` is `[.., D]`, `weight` `[K, D]`, `bias` `[K]`, all of one float dtype and on one device. Logits are in
    /// that dtype, losses in f32 or better, and the gradients of weight and bias are added up in f32 or better.
    /// The gradients of a loss that is one number are computed with it; under [`Reduction::None`] the logits are
    /// computed again in backward. There are no second derivatives.
    ///
    /// # Errors
    /// As [`CrossEntropy::forward`], shapes, dtypes or devices of the three that do not fit each other, and a
    /// cross-entropy whose classes lie on the second axis.
    pub fn forward(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        target: Target<'_>,
    ) -> Result<Tensor> {
        Ok(self.compute(hidden, weight, bias, target, false)?.loss)
    }

    /// The loss with lse and correctness of every sample.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_with_statistics(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        target: Target<'_>,
    ) -> Result<CrossEntropyOutput> {
        self.compute(hidden, weight, bias, target, true)
    }

    fn compute(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        target: Target<'_>,
        statistics: bool,
    ) -> Result<CrossEntropyOutput> {
        const NAMES: [&str; 3] =
            ["hidden states", "weight of the classifier", "bias of the classifier"];
        let shape = logits_shape(NAMES, hidden, weight, bias)?;
        if self.loss.class_axis() != ClassAxis::Last {
            let found = format!("{:?}", self.loss.class_axis());
            let error = CoreError::mismatch("class axis before a linear layer", "Last", found);
            return Err(TensorError::from(error).into());
        }
        let loss = self.loss.in_batch(self.loss.ignore_index());
        let prepared =
            Prepared::new(&loss, &logits_in_shape(&shape, hidden)?, target, Way::Checked)?;
        let divisor = divisor(loss.reduction, prepared.counted, prepared.weight_sum)?;
        let inputs: Vec<&Tensor> = [hidden, weight].into_iter().chain(bias).collect();
        let node = Node::new("LinearCrossEntropy", &inputs)?;
        let guard = no_grad_guard();
        let layer = Layer {
            tensors: LinearLayer::new(&without_ignored(hidden, &prepared)?, weight, bias)?,
            rows_at_a_time: self
                .rows_at_a_time
                .unwrap_or_else(|| (CHUNK / prepared.plan.classes.max(1)).max(FEWEST_ROWS)),
            options: loss.options,
        };
        let needs = [0, 1, 2].map(|input| node.needs_gradient(input));
        let each = loss.reduction == Reduction::None;
        let largest = prepared.largest_mass() * loss.options.scale;
        let (now, late) = split(divisor, largest, hidden.f_kind()?);
        let gradients = (node.is_recording() && !each).then_some(RowScale::All(1.0 / now));
        let Pass { rows, gradients } =
            layer.pass(&prepared, gradients.as_ref(), needs, statistics)?;
        let shaped = |values: Tensor| values.f_reshape(prepared.shape.as_slice());
        let losses = shaped(rows.losses)?;
        let value = if each {
            losses
        } else {
            let sum = losses.f_sum(Kind::Double)?.f_div_scalar(divisor)?;
            sum.f_to_kind(computing_kind(hidden)?)?
        };
        let log_sum_exp = rows.log_sum_exp.map(shaped).transpose()?;
        let correct = rows.correct.map(shaped).transpose()?;
        drop(guard);
        let (shape, kind, count) = (hidden.size(), weight.f_kind()?, inputs.len());
        let value = if let Some(gradients) = gradients {
            let mut kept = Some(gradients);
            node.attach_one(value, &[], move |backward| {
                let Some(arrived) = backward.gradient(0) else {
                    return LinearGradients::default().handed_out(1.0, kind, &shape, count);
                };
                let factor = number(arrived)? / late;
                let held = if backward.keeps_graph() {
                    kept.as_ref().map(LinearGradients::copy)
                } else {
                    kept.take()
                };
                let held =
                    held.ok_or_else(|| TensorError::other("its gradients were given away before"))?;
                held.handed_out(factor, kind, &shape, count)
            })?
        } else {
            let target: Vec<_> = prepared.tensors().map(Tensor::shallow_clone).collect();
            let saved: Vec<_> = inputs.iter().copied().chain(&target).map(Saved::Tensor).collect();
            node.attach_one(value, &saved, move |backward| {
                let needs = [0, 1, 2].map(|input| backward.needs_gradient(input));
                let gradients = match backward.gradient(0) {
                    None => None,
                    Some(arrived) => {
                        let scale = RowScale::Rows(arrived.f_reshape([-1])?.f_contiguous()?);
                        let pass = layer.pass(&prepared, Some(&scale), needs, false);
                        pass.map_err(TensorError::other)?.gradients
                    }
                };
                gradients.unwrap_or_default().handed_out(1.0, kind, &shape, count)
            })?
        };
        Ok(CrossEntropyOutput { loss: value, log_sum_exp, correct })
    }
}

/// The hidden states, 0 where a sample is ignored: what they hold there must not reach the gradient of the weight.
fn without_ignored(hidden: &Tensor, prepared: &Prepared) -> Result<Tensor> {
    let hidden = hidden.f_detach()?;
    Ok(match prepared.ignored()? {
        None => hidden,
        Some(ignored) => hidden.f_masked_fill(&ignored.f_unsqueeze(-1)?, 0.0)?,
    })
}

/// A tensor of the shape, dtype and device that all logits would have, which holds one element.
fn logits_in_shape(shape: &[i64], hidden: &Tensor) -> Result<Tensor> {
    let one = Tensor::f_zeros([1_i64].as_slice(), (hidden.f_kind()?, hidden.device()))?;
    Ok(one.f_expand(shape, false)?)
}

/// What the gradients of rows are multiplied by.
enum RowScale {
    All(f64),
    /// One a row, in the dtype of the losses.
    Rows(Tensor),
}

/// A linear layer before a loss.
#[derive(Debug)]
struct Layer {
    tensors: LinearLayer,
    rows_at_a_time: usize,
    options: LogitOptions,
}

/// Once through all rows.
struct Pass {
    rows: Rows,
    gradients: Option<LinearGradients>,
}

impl Layer {
    /// Losses, and gradients if they are asked for with what they are multiplied by.
    fn pass(
        &self,
        prepared: &Prepared,
        scale: Option<&RowScale>,
        needs: [bool; 3],
        statistics: bool,
    ) -> Result<Pass> {
        let mut gradients =
            scale.map(|_| LinearGradients::new(&self.tensors, needs)).transpose()?;
        let (mut losses, mut log_sum_exps, mut corrects) = (Vec::new(), Vec::new(), Vec::new());
        let samples = prepared.samples();
        let mut buffer = None;
        for start in (0..samples).step_by(self.rows_at_a_time) {
            let range = start..samples.min(start + self.rows_at_a_time);
            let hidden = self.tensors.rows(range.start as i64, range.len() as i64)?;
            let logits = self.logits(&hidden, buffer.take())?;
            let (rows, logits) = self.rows(logits, prepared, range.clone(), scale, statistics)?;
            losses.push(rows.losses);
            log_sum_exps.extend(rows.log_sum_exp);
            corrects.extend(rows.correct);
            if let Some(gradients) = &mut gradients {
                gradients.add(&self.tensors, &hidden, &logits, start as i64)?;
            }
            buffer = Some(logits);
        }
        let all = |parts: &[Tensor]| -> Result<Option<Tensor>> {
            Ok(if parts.is_empty() { None } else { Some(Tensor::f_cat(parts, 0)?) })
        };
        let none = || -> Result<Tensor> {
            let hidden = &self.tensors.hidden;
            let options = (computing_kind(hidden)?, hidden.device());
            Ok(Tensor::f_zeros([0_i64].as_slice(), options)?)
        };
        let losses = match all(&losses)? {
            Some(losses) => losses,
            None => none()?,
        };
        let rows = Rows { losses, log_sum_exp: all(&log_sum_exps)?, correct: all(&corrects)? };
        Ok(Pass { rows, gradients })
    }

    /// h·Wᵀ + b, into the buffer if it has that many rows.
    fn logits(&self, hidden: &Tensor, buffer: Option<Tensor>) -> Result<Tensor> {
        let shape = [hidden.size(), self.tensors.weight.size()]
            .map(|size| size.first().copied().unwrap_or_default());
        let buffer = match buffer {
            Some(buffer) if buffer.size() == shape => buffer,
            _ if hidden.device() == Device::Cpu => allocate(&shape, hidden.f_kind()?)?,
            _ => Tensor::f_empty(shape.as_slice(), (hidden.f_kind()?, hidden.device()))?,
        };
        self.tensors.logits_into(hidden, &buffer)?;
        Ok(buffer)
    }

    /// What some rows of logits come to, and their gradient, or the logits as they were.
    fn rows(
        &self,
        logits: Tensor,
        prepared: &Prepared,
        range: Range<usize>,
        scale: Option<&RowScale>,
        statistics: bool,
    ) -> Result<(Rows, Tensor)> {
        if logits.device() != Device::Cpu {
            return self.rows_through_operators(logits, prepared, range, scale, statistics);
        }
        match logits.f_kind()? {
            Kind::Double => self.fused_rows::<f64>(logits, prepared, range, scale, statistics),
            Kind::BFloat16 => self.fused_rows::<bf16>(logits, prepared, range, scale, statistics),
            Kind::Half => self.fused_rows::<f16>(logits, prepared, range, scale, statistics),
            _ => self.fused_rows::<f32>(logits, prepared, range, scale, statistics),
        }
    }

    fn fused_rows<T: Logit>(
        &self,
        mut logits: Tensor,
        prepared: &Prepared,
        range: Range<usize>,
        scale: Option<&RowScale>,
        statistics: bool,
    ) -> Result<(Rows, Tensor)> {
        let numbers = Numbers::<T::Sum>::new(prepared)?;
        let target = numbers.target(range.clone());
        let classes = prepared.plan.classes;
        let mut losses = uninit::<T::Sum>(&[range.len() as i64])?;
        let mut log_sum_exp = vec![T::Sum::default(); if statistics { range.len() } else { 0 }];
        let mut correct = vec![false; log_sum_exp.len()];
        let mut outputs = Outputs::uninit_losses(uninit_slice_mut::<T::Sum>(&mut losses)?);
        if statistics {
            outputs = outputs.with_log_sum_exp(&mut log_sum_exp).with_correct(&mut correct);
        }
        let options = self.options.for_kernels();
        let result = match scale {
            None => {
                let logits = slice::<T>(&logits)?;
                cross_entropy(logits, classes, &target, &options, outputs, threads())
            }
            Some(scale) => {
                let part;
                let scale = match scale {
                    RowScale::All(scale) => Scale::All(T::Sum::of(*scale)),
                    RowScale::Rows(scales) => {
                        part = scales.f_narrow(0, range.start as i64, range.len() as i64)?;
                        Scale::Rows(slice::<T::Sum>(&part)?)
                    }
                };
                let logits = slice_mut::<T>(&mut logits)?;
                let threads = threads();
                cross_entropy_in_place(logits, classes, &target, &options, scale, outputs, threads)
            }
        };
        result.map_err(|error| refused(&error, prepared.tolerance))?;
        let given = |is_given: bool, tensor: Tensor| is_given.then_some(tensor);
        let rows = Rows {
            losses,
            log_sum_exp: given(statistics, Tensor::f_from_slice(&log_sum_exp)?),
            correct: given(
                statistics && prepared.labels.is_some(),
                Tensor::f_from_slice(&correct)?,
            ),
        };
        Ok((rows, logits))
    }

    fn rows_through_operators(
        &self,
        logits: Tensor,
        prepared: &Prepared,
        range: Range<usize>,
        scale: Option<&RowScale>,
        statistics: bool,
    ) -> Result<(Rows, Tensor)> {
        let (start, length) = (range.start as i64, range.len() as i64);
        let prepared = prepared.part(range)?;
        let Some(scale) = scale else {
            let rows = operators::cross_entropy(&logits, &prepared, &self.options, statistics)?;
            return Ok((rows, logits));
        };
        with_grad(|| {
            let logits = logits.f_detach()?.f_set_requires_grad(true)?;
            let rows = operators::cross_entropy(&logits, &prepared, &self.options, statistics)?;
            let scaled = match scale {
                RowScale::All(scale) => rows.losses.f_mul_scalar(*scale)?,
                RowScale::Rows(scales) => rows.losses.f_mul(&scales.f_narrow(0, start, length)?)?,
            };
            let total = scaled.f_sum(scaled.f_kind()?)?;
            let gradient = Tensor::f_run_backward(&[&total], &[&logits], false, false)?;
            let losses = rows.losses.f_detach()?;
            let gradient = gradient.into_iter().next().unwrap_or(logits);
            Ok((Rows { losses, ..rows }, gradient))
        })
    }
}
