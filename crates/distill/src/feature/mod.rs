//! Distillation from features: what the layers below the logits say.
//!
//! A loss takes the student's features first and the teacher's second, both with the batch in front, and returns a
//! scalar that is differentiable in the student; the teacher is detached here. Weights are the caller's: those that
//! the papers use differ by four orders of magnitude, and stand with each loss.
//!
//! | loss | compares | shapes |
//! |---|---|---|
//! | [`hint`] | features, element by element | equal; bring the student's there with an adapter |
//! | [`attention_transfer`] | where in the image energy lies | `[N, C, H, W]`, equal but for C |
//! | [`relational_distance`], [`relational_angle`] | distances and angles within the batch | `[N, ..]`, equal N |
//! | [`similarity_preserving`] | the batch's Gram matrix, row by row | `[N, ..]`, equal N |
//! | [`probabilistic_transfer`] | the batch's similarities as distributions | `[N, ..]`, equal N |
//! | [`correlation_congruence`] | the batch's Gaussian kernel | `[N, ..]`, equal N |
//! | [`hierarchical_context`] | features, and their means over parts of the image | `[N, C, H, W]`, equal |
//!
//! Four have variables of their own, in a [`Path`](tch::nn::Path) of the caller's store: they are trained with the
//! student by an optimizer made from that store, and dropped after.
//!
//! | loss | compares | shapes |
//! |---|---|---|
//! | [`VariationalInformation`] | the teacher's features with a Gaussian around a guess from the student's | `[N, C, H, W]`, equal but for C |
//! | [`ContrastiveRepresentation`] | each sample with remembered ones of the other side | `[N, ..]`, equal N |
//! | [`MaskedGeneration`] | the teacher's features with what is generated from a part of the student's | `[N, C, H, W]`, equal but for C |
//! | [`ReviewFusion`] | each level with the student's own and deeper ones, fused | `[N, C, H, W]` a level, equal but for C |
//!
//! All but [`hint`] and [`attention_transfer`] look at pairs within a batch: their memory is quadratic in N (cubic for
//! angles), and accumulating gradients over smaller batches is not the same as one large batch.
//!
//! Half dtypes are computed in f32; f64 stays f64 if both sides are. Features that are not finite give a loss that is
//! not finite. Every gradient is finite where features coincide or vanish: lengths below [`EPSILON`] count as it.

mod adapter;
mod contrastive;
mod masked;
mod pairs;
mod positions;
mod review;
mod variational;

use softlabel_tensor::{Error as TensorError, check_same_device};
use tch::{Kind, Tensor};

pub use contrastive::{ContrastiveRepresentation, ContrastiveSettings};
pub use masked::MaskedGeneration;
pub use pairs::{
    correlation_congruence, probabilistic_transfer, relational_angle, relational_distance,
    similarity_preserving,
};
pub use positions::{attention_transfer, hint};
pub use review::{ReviewFusion, hierarchical_context};
pub use variational::VariationalInformation;

use crate::Result;

/// The shortest length that a feature, or a difference of two, is divided by.
pub const EPSILON: f64 = 1e-12;

const STUDENT: &str = "student features";
const TEACHER: &str = "teacher features";

/// Both in the dtype that is computed in, the teacher detached.
fn matched(student: &Tensor, teacher: &Tensor) -> Result<(Tensor, Tensor)> {
    for (what, features) in [(STUDENT, student), (TEACHER, teacher)] {
        let found = features.f_kind()?;
        if !matches!(found, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
            return Err(TensorError::Kind { what, expected: "a float dtype", found }.into());
        }
        if features.numel() == 0 || features.dim() == 0 {
            let expected = "[samples, ..] with at least one element".to_owned();
            return Err(TensorError::Shape { what, expected, found: features.size() }.into());
        }
    }
    check_same_device(teacher, student, TEACHER)?;
    let double = student.f_kind()? == Kind::Double && teacher.f_kind()? == Kind::Double;
    let kind = if double { Kind::Double } else { Kind::Float };
    Ok((student.f_to_kind(kind)?, teacher.f_detach()?.f_to_kind(kind)?))
}

/// Both as `[N, D]`, N the same and at least `least`.
fn rows(student: &Tensor, teacher: &Tensor, least: i64) -> Result<(Tensor, Tensor)> {
    let (student, teacher) = matched(student, teacher)?;
    let count = |features: &Tensor| features.size().first().copied().unwrap_or_default();
    let samples = count(&student);
    if samples < least {
        let expected = format!("[samples, ..] with at least {least} samples");
        let found = student.size();
        return Err(TensorError::Shape { what: STUDENT, expected, found }.into());
    }
    if count(&teacher) != samples {
        let expected = format!("[{samples}, ..], as many samples as the student's");
        let found = teacher.size();
        return Err(TensorError::Shape { what: TEACHER, expected, found }.into());
    }
    Ok((student.f_reshape([samples, -1])?, teacher.f_reshape([samples, -1])?))
}

/// Rows of length 1 along the last axis; a row shorter than [`EPSILON`] is divided by that.
fn unit_rows(features: &Tensor) -> Result<Tensor> {
    Ok(features.f_div(&length(features)?)?)
}

/// max(‖x‖, ε) along the last axis, which stays as 1; the gradient of a length of 0 is 0, not a NaN.
fn length(features: &Tensor) -> Result<Tensor> {
    let kind = features.f_kind()?;
    let squares = features.f_square()?.f_sum_dim_intlist([-1_i64].as_slice(), true, kind)?;
    Ok(squares.f_clamp_min(EPSILON * EPSILON)?.f_sqrt()?)
}
