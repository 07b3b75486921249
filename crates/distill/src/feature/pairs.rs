//! Losses that compare how samples of a batch lie to each other; widths of student and teacher may differ.

use softlabel_tensor::Error as TensorError;
use tch::{Kind, Reduction, Tensor};

use super::{EPSILON, rows, unit_rows};
use crate::{Error, Result};

/// The mean over ordered pairs i, j of H(d_ij(s) − d_ij(t)), where d_ij = ‖x_i − x_j‖ over the mean distance of
/// distinct samples, and H is Huber's loss with threshold 1, ½x² or |x| − ½.
///
/// The mean distance is over pairs that do not coincide; where all do, every distance is 0. Pairs i = i count in the
/// outer mean, with 0, as in the authors' code. The paper weighs it by 25.
///
/// # Errors
/// Features that are no floats, are empty, differ in N, are of fewer than two samples, or lie on different devices.
///
/// Source: Park et al., "Relational Knowledge Distillation", 2019.
///
/// ```
/// use softlabel_distill::feature::relational_distance;
/// use tch::Tensor;
/// let student = Tensor::from_slice(&[0.0f64, 1.0, 3.0]).view((3, 1));
/// let teacher = Tensor::from_slice(&[0.0f64, 1.0, 2.0]).view((3, 1));
/// // Distances 1, 2, 3 over 2 and 1, 1, 2 over 4/3: differences 0.5 − 0.75, 1 − 0.75 and 1.5 − 1.5.
/// let loss = f64::try_from(relational_distance(&student, &teacher)?)?;
/// assert!((loss - 4.0 * 0.5 * 0.25f64.powi(2) / 9.0).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "RKD")]
pub fn relational_distance(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let (student, teacher) = rows(student, teacher, 2)?;
    let (student, teacher) = (relative_distances(&student)?, relative_distances(&teacher)?);
    Ok(student.f_smooth_l1_loss(&teacher, Reduction::Mean, 1.0)?)
}

/// The mean over ordered triples i, j, k of H(cos_ijk(s) − cos_ijk(t)), where cos_ijk is the cosine of the angle at
/// x_i between x_j and x_k, and H is Huber's loss with threshold 1.
///
/// An angle with a side of length 0 has cosine 0; those with i = j or i = k count in the mean, as in the authors' code.
/// Memory is N³ + N²·D. The paper weighs it by 50.
///
/// # Errors
/// Features that are no floats, are empty, differ in N, are of fewer than three samples, or lie on different devices.
///
/// Source: Park et al., "Relational Knowledge Distillation", 2019.
///
/// ```
/// use softlabel_distill::feature::relational_angle;
/// use tch::Tensor;
/// let student = Tensor::from_slice(&[0.0f64, 0.0, 1.0, 0.0, 0.0, 1.0]).view((3, 2));
/// let turned = Tensor::from_slice(&[5.0f64, 5.0, 5.0, 8.0, 2.0, 5.0]).view((3, 2)); // and moved, three times as large
/// assert!(f64::try_from(relational_angle(&student, &turned)?)? < 1e-30);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "RKD")]
pub fn relational_angle(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let (student, teacher) = rows(student, teacher, 3)?;
    let cosines = |features: &Tensor| -> Result<Tensor> {
        let directions = unit_rows(&differences(features)?)?;
        Ok(directions.f_bmm(&directions.f_transpose(1, 2)?)?)
    };
    Ok(cosines(&student)?.f_smooth_l1_loss(&cosines(&teacher)?, Reduction::Mean, 1.0)?)
}

/// ‖G(s) − G(t)‖² / N², where G = X·Xᵀ with every row scaled to length 1: samples that are alike to the teacher
/// become alike to the student.
///
/// The paper weighs it by 3000.
///
/// # Errors
/// Features that are no floats, are empty, differ in N, or lie on different devices.
///
/// Source: Tung, Mori, "Similarity-Preserving Knowledge Distillation", 2019.
///
/// ```
/// use softlabel_distill::feature::similarity_preserving;
/// use tch::Tensor;
/// // Orthogonal to the student, the same to the teacher: rows (1, 0), (0, 1) against (1, 1)/√2.
/// let student = Tensor::from_slice(&[1.0f64, 0.0, 0.0, 1.0]).view((2, 2));
/// let teacher = Tensor::from_slice(&[3.0f64, 3.0]).view((2, 1));
/// let loss = f64::try_from(similarity_preserving(&student, &teacher)?)?;
/// assert!((loss - (4.0 - 2.0 * 2f64.sqrt()) / 4.0).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn similarity_preserving(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let (student, teacher) = rows(student, teacher, 1)?;
    let gram = |features: &Tensor| unit_rows(&features.f_mm(&features.f_transpose(0, 1)?)?);
    Ok(gram(&student)?.f_mse_loss(&gram(&teacher)?, Reduction::Mean)?)
}

/// The mean over i of KL(q_i ‖ p_i), teacher first, where p_ij ∝ (1 + cos(s_i, s_j)) / 2 over all j and q the same of
/// the teacher: each sample's neighbours as a distribution.
///
/// The sample itself is among its neighbours, as in the authors' code, so no row is empty; a feature of length 0 has
/// cosine 0 with all. A similarity of the teacher of 0 costs nothing; one of the student's is held at
/// [`EPSILON`]. The authors' mean is over N² elements and is N times smaller; theirs is weighed by 3e4.
///
/// # Errors
/// Features that are no floats, are empty, differ in N, or lie on different devices.
///
/// Source: Passalis, Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", 2018.
///
/// ```
/// use softlabel_distill::feature::probabilistic_transfer;
/// use tch::Tensor;
/// // Orthogonal to the student: (2/3, 1/3) and (1/3, 2/3). The same to the teacher: (1/2, 1/2) twice.
/// let student = Tensor::from_slice(&[1.0f64, 0.0, 0.0, 1.0]).view((2, 2));
/// let teacher = Tensor::from_slice(&[3.0f64, 3.0]).view((2, 1));
/// let loss = f64::try_from(probabilistic_transfer(&student, &teacher)?)?;
/// assert!((loss - 0.5 * (9f64 / 8.0).ln()).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "PKT")]
pub fn probabilistic_transfer(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let (student, teacher) = rows(student, teacher, 1)?;
    let kind = student.f_kind()?;
    let neighbours = |features: &Tensor| -> Result<Tensor> {
        let unit = unit_rows(features)?;
        let near = unit.f_mm(&unit.f_transpose(0, 1)?)?.f_add_scalar(1.0)?.f_clamp_min(0.0)?;
        let total = near.f_sum_dim_intlist([-1_i64].as_slice(), true, kind)?;
        Ok(near.f_div(&total)?)
    };
    let p = neighbours(&student)?.f_clamp_min(EPSILON)?;
    let q = neighbours(&teacher)?;
    let terms = q.f_xlogy(&q)?.f_sub(&q.f_xlogy(&p)?)?;
    Ok(terms.f_sum_dim_intlist([-1_i64].as_slice(), false, kind)?.f_mean(kind)?)
}

/// ‖C(s) − C(t)‖² / N², where C_ij = exp(−γ·‖s_i − s_j‖²) over features scaled to length 1.
///
/// The paper approximates the kernel by its Taylor series, of order 2 and γ = 0.4; here it is exact, so a large γ does
/// no harm.
///
/// # Errors
/// A γ that is not positive and finite; features that are no floats, are empty, differ in N, or lie on different
/// devices.
///
/// Source: Peng et al., "Correlation Congruence for Knowledge Distillation", 2019.
///
/// ```
/// use softlabel_distill::feature::correlation_congruence;
/// use tch::Tensor;
/// // Orthogonal to the student, ‖·‖² = 2; the same to the teacher, 0.
/// let student = Tensor::from_slice(&[1.0f64, 0.0, 0.0, 1.0]).view((2, 2));
/// let teacher = Tensor::from_slice(&[3.0f64, 3.0]).view((2, 1));
/// let loss = f64::try_from(correlation_congruence(&student, &teacher, 0.4)?)?;
/// assert!((loss - (1.0 - (-0.8f64).exp()).powi(2) / 2.0).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn correlation_congruence(student: &Tensor, teacher: &Tensor, gamma: f64) -> Result<Tensor> {
    if !(gamma > 0.0 && gamma.is_finite()) {
        let (name, expected) = ("gamma of a correlation", "positive and finite");
        let error = softlabel_core::Error::OutOfRange { name, expected, found: gamma };
        return Err(Error::Tensor(TensorError::from(error)));
    }
    let (student, teacher) = rows(student, teacher, 1)?;
    let kernel = |features: &Tensor| -> Result<Tensor> {
        let kind = features.f_kind()?;
        let differences = differences(&unit_rows(features)?)?;
        let squares =
            differences.f_square()?.f_sum_dim_intlist([-1_i64].as_slice(), false, kind)?;
        Ok(squares.f_mul_scalar(-gamma)?.f_exp()?)
    };
    Ok(kernel(&student)?.f_mse_loss(&kernel(&teacher)?, Reduction::Mean)?)
}

/// x_j − x_i at `[i, j, ..]`: exact where samples coincide, which ‖x_i‖² + ‖x_j‖² − 2·x_i·x_j is not.
fn differences(features: &Tensor) -> Result<Tensor> {
    Ok(features.f_unsqueeze(0)?.f_sub(&features.f_unsqueeze(1)?)?)
}

/// Distances over the mean of those that are not 0.
fn relative_distances(features: &Tensor) -> Result<Tensor> {
    let kind = features.f_kind()?;
    let squares =
        differences(features)?.f_square()?.f_sum_dim_intlist([-1_i64].as_slice(), false, kind)?;
    let coincide = squares.f_le(EPSILON * EPSILON)?;
    let distances =
        squares.f_clamp_min(EPSILON * EPSILON)?.f_sqrt()?.f_masked_fill(&coincide, 0.0)?;
    let pairs = coincide.f_logical_not()?.f_sum(Kind::Int64)?.f_clamp_min(1)?;
    let mean = distances.f_sum(kind)?.f_div(&pairs)?.f_clamp_min(EPSILON)?;
    Ok(distances.f_div(&mean)?)
}
