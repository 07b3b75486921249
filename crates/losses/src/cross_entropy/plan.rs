//! What of a cross-entropy stays the same from batch to batch.

use std::sync::OnceLock;

use softlabel_core::Error as CoreError;
use softlabel_targets::{Dense, FusedTarget, Smoothing};
use softlabel_tensor::{ClassAxis, Error as TensorError, class_last};
use tch::{Kind, Tensor};

use crate::Result;

/// The smoothed targets and the class weights of a class count.
///
/// Working them out costs K² for a prior that is a matrix, so it is done once.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) classes: usize,
    pub(super) fused: FusedTarget,
    pub(super) weights: Option<Vec<f64>>,
    single: OnceLock<Vec<f32>>,
}

impl Plan {
    pub(super) fn new(
        smoothing: &Smoothing,
        weights: Option<&Tensor>,
        classes: usize,
    ) -> Result<Self> {
        let weights = weights.map(|weights| checked_weights(weights, classes)).transpose()?;
        Ok(Self { classes, fused: smoothing.fused(classes)?, weights, single: OnceLock::new() })
    }

    /// The same weights with other targets.
    pub(super) fn with_targets(&self, fused: FusedTarget) -> Self {
        Self {
            classes: self.classes,
            fused,
            weights: self.weights.clone(),
            single: OnceLock::new(),
        }
    }

    /// The dense part of the targets.
    pub(super) fn dense(&self) -> &[f64] {
        match &self.fused.dense {
            Dense::None => &[],
            Dense::Vector(values) | Dense::Matrix(values) => values,
        }
    }

    /// The same in single precision.
    #[allow(clippy::cast_possible_truncation)] // Rounded once, to the precision of the arithmetic.
    pub(super) fn dense_in_single(&self) -> &[f32] {
        self.single.get_or_init(|| self.dense().iter().map(|&value| value as f32).collect())
    }
}

fn checked_weights(weights: &Tensor, classes: usize) -> Result<Vec<f64>> {
    const WHAT: &str = "class weights";
    let weights = class_last(weights, ClassAxis::Last, WHAT)?;
    if weights.size() != [classes as i64] {
        let (expected, found) = (format!("[{classes}]"), weights.size());
        return Err(TensorError::Shape { what: WHAT, expected, found }.into());
    }
    let weights = Vec::<f64>::try_from(weights.f_detach()?.f_to_kind(Kind::Double)?)?;
    if weights.iter().all(|&weight| weight == 0.0) {
        return Err(
            TensorError::from(CoreError::Empty { what: "the weight of all classes" }).into()
        );
    }
    match weights.iter().find(|weight| !(**weight >= 0.0 && weight.is_finite())) {
        None => Ok(weights),
        Some(&found) => {
            let (name, expected) = ("class weight", "finite and not negative");
            Err(TensorError::from(CoreError::OutOfRange { name, expected, found }).into())
        }
    }
}
