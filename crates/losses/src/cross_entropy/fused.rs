//! Cross-entropy on CPU tensors through the row kernels: logits are read once, the gradient is written once.
//!
//! The gradient is computed together with the loss, as if the gradient of the loss were 1, and kept in the node;
//! backward hands it out, and multiplies it first if what arrives is not 1.
//! Nothing else is kept, so a second derivative is an error.

use half::{bf16, f16};
use softlabel_core::Reduction;
use softlabel_kernels::rows::{
    Outputs, Scale, spatial_cross_entropy, spatial_cross_entropy_gradient,
    spatial_cross_entropy_in_place,
};
use softlabel_tensor::autograd::{KnownGradient, Node};
use softlabel_tensor::buffers::uninit;
use softlabel_tensor::scalars::scalar;
use softlabel_tensor::slices::{slice, slice_mut, uninit_slice_mut};
use tch::{Kind, Tensor, no_grad_guard};

use super::numbers::{Numbers, refused};
use super::prepare::Prepared;
use super::{CrossEntropyOutput, LogitOptions};
use crate::Result;
use crate::rows::{Logit, Number, split, threads};

/// Where the logits lie.
#[derive(Debug)]
pub(super) struct Place {
    /// The logits as they came.
    pub(super) input: Tensor,
    /// Their values, contiguous: `[.., K]`, or as they came if their classes lie second.
    pub(super) values: Tensor,
    /// How many samples lie side by side; 1 if the classes do.
    pub(super) spatial: usize,
    /// The class axis of the values.
    pub(super) class_axis: i64,
    /// Whether the class axis of the input was moved to make it the last of the values.
    pub(super) moved: bool,
    /// Whether the gradient may be written over the logits.
    pub(super) given_up: bool,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) reduction: Reduction,
    /// What the sum of the losses is divided by.
    pub(super) divisor: f64,
    /// What the loss is multiplied by after that.
    pub(super) weight: f64,
    pub(super) statistics: bool,
}

pub(super) fn cross_entropy(
    place: Place,
    prepared: &Prepared,
    options: &LogitOptions,
    wanted: Wanted,
) -> Result<CrossEntropyOutput> {
    match place.values.f_kind()? {
        Kind::Double => run::<f64>(place, prepared, options, wanted),
        Kind::BFloat16 => run::<bf16>(place, prepared, options, wanted),
        Kind::Half => run::<f16>(place, prepared, options, wanted),
        _ => run::<f32>(place, prepared, options, wanted),
    }
}

fn run<T: Logit>(
    place: Place,
    prepared: &Prepared,
    options: &LogitOptions,
    Wanted { reduction, divisor, weight, statistics }: Wanted,
) -> Result<CrossEntropyOutput> {
    let node = Node::new("CrossEntropy", &[&place.input])?;
    let guard = no_grad_guard();
    let numbers = Numbers::<T::Sum>::new(prepared)?;
    let target = numbers.target(0..prepared.samples());
    let kernel_options = options.for_kernels();
    let threads = threads();
    let shape = prepared.shape.as_slice();
    let each = reduction == Reduction::None;
    let mut losses = uninit::<T::Sum>(shape)?;
    let mut log_sum_exp = vec![T::Sum::default(); if statistics { prepared.samples() } else { 0 }];
    let mut correct = vec![false; log_sum_exp.len()];
    let mut total = 0.0;
    let mut outputs = Outputs::uninit_losses(uninit_slice_mut::<T::Sum>(&mut losses)?);
    if !each {
        outputs = outputs.with_total_alone(&mut total);
    }
    if statistics {
        outputs = outputs.with_log_sum_exp(&mut log_sum_exp).with_correct(&mut correct);
    }
    let (classes, spatial) = (prepared.plan.classes, place.spatial);
    let largest = prepared.largest_mass() * options.scale;
    let (now, late) = split(divisor / weight, largest, T::KIND);
    let scale = Scale::All(T::Sum::of(1.0 / now));
    let Place { input, mut values, class_axis, moved, given_up, .. } = place;
    let gradient = if !node.is_recording() {
        let logits = slice::<T>(&values)?;
        spatial_cross_entropy(logits, classes, spatial, &target, &kernel_options, outputs, threads)
            .map_err(|error| refused(&error, prepared.tolerance))?;
        None
    } else if given_up {
        drop(values);
        let mut input = input;
        let buffer = slice_mut::<T>(&mut input)?;
        spatial_cross_entropy_in_place(
            buffer,
            classes,
            spatial,
            &target,
            &kernel_options,
            scale,
            outputs,
            threads,
        )
        .map_err(|error| refused(&error, prepared.tolerance))?;
        values = input.f_detach()?;
        Some(values)
    } else {
        let logits = slice::<T>(&values)?;
        let mut gradient = uninit::<T>(&values.size())?;
        let buffer = uninit_slice_mut::<T>(&mut gradient)?;
        spatial_cross_entropy_gradient(
            logits,
            classes,
            spatial,
            &target,
            &kernel_options,
            scale,
            buffer,
            outputs,
            threads,
        )
        .map_err(|error| refused(&error, prepared.tolerance))?;
        Some(gradient)
    };
    let loss = if !each {
        scalar(T::Sum::of(total / divisor * weight))?
    } else if weight == 1.0 {
        losses
    } else {
        losses.f_mul_scalar(weight)?
    };
    let log_sum_exp =
        if statistics { Some(Tensor::f_from_slice(&log_sum_exp)?.f_reshape(shape)?) } else { None };
    let correct = if statistics && prepared.labels.is_some() {
        Some(Tensor::f_from_slice(&correct)?.f_reshape(shape)?)
    } else {
        None
    };
    drop(guard);
    let Some(gradient) = gradient else {
        return Ok(CrossEntropyOutput { loss, log_sum_exp, correct });
    };
    let mut known = KnownGradient::new(gradient).with_divisor(late);
    if each {
        known = known.with_missing_axis(class_axis);
        if let Some(ignored) = prepared.ignored()? {
            known = known.with_ignored(ignored.f_reshape(shape)?);
        }
    }
    if moved {
        known = known.with_last_axis_second();
    }
    let loss = node.attach_known(loss, known)?;
    Ok(CrossEntropyOutput { loss, log_sum_exp, correct })
}
