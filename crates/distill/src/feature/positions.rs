//! Losses that compare what student and teacher say of the same sample at the same place.

use softlabel_tensor::Error as TensorError;
use tch::{Reduction, Tensor};

use super::{STUDENT, TEACHER, matched, unit_rows};
use crate::Result;

/// The mean of (s − t)² over all elements: the student imitates a hidden layer.
///
/// Shapes are equal. Where the student is narrower, bring its features to the teacher's width first, with a 1×1
/// convolution or a linear layer that is trained with the student and dropped after. RepDistiller weighs it by 100.
///
/// # Errors
/// Features that are no floats, are empty, differ in shape, or lie on different devices.
///
/// Source: Romero et al., "FitNets: Hints for Thin Deep Nets", 2015.
///
/// ```
/// use softlabel_distill::feature::hint;
/// use tch::Tensor;
/// let student = Tensor::from_slice(&[1.0f64, 2.0]).view((1, 2));
/// let teacher = Tensor::from_slice(&[1.0f64, 5.0]).view((1, 2));
/// assert_eq!(f64::try_from(hint(&student, &teacher)?)?, 4.5); // (0² + 3²) / 2
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "FitNets")]
pub fn hint(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let (student, teacher) = matched(student, teacher)?;
    if student.size() != teacher.size() {
        let expected = format!("{:?} as the student's", student.size());
        let found = teacher.size();
        return Err(TensorError::Shape { what: TEACHER, expected, found }.into());
    }
    Ok(student.f_mse_loss(&teacher, Reduction::Mean)?)
}

/// The mean of (a(s) − a(t))² over samples and positions, where a(x) is the mean over channels of x², a map over the
/// image that is scaled to length 1: the student looks where the teacher looks.
///
/// Features are `[N, C, H, W]`; channels may differ. A map that is 0 everywhere stays 0. RepDistiller weighs it by
/// 1000.
///
/// # Errors
/// Features that are no floats, are empty, are not of four axes, differ in N, H or W, or lie on different devices.
///
/// Source: Zagoruyko, Komodakis, "Paying More Attention to Attention", 2017, in the squared form of the authors' code.
///
/// ```
/// use softlabel_distill::feature::attention_transfer;
/// use tch::Tensor;
/// let student = Tensor::from_slice(&[1.0f64, 0.0]).view((1, 1, 1, 2));
/// let teacher = Tensor::from_slice(&[0.0f64, 2.0]).view((1, 1, 1, 2));
/// assert_eq!(f64::try_from(attention_transfer(&student, &teacher)?)?, 1.0); // ((1 − 0)² + (0 − 1)²) / 2
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn attention_transfer(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let (student, teacher) = matched(student, teacher)?;
    let (shape, other) = (student.size(), teacher.size());
    let &[samples, _, height, width] = shape.as_slice() else {
        let expected = "[samples, channels, height, width]".to_owned();
        return Err(TensorError::Shape { what: STUDENT, expected, found: shape }.into());
    };
    if !matches!(*other.as_slice(), [n, _, h, w] if (n, h, w) == (samples, height, width)) {
        let expected = format!("[{samples}, channels, {height}, {width}]");
        return Err(TensorError::Shape { what: TEACHER, expected, found: other }.into());
    }
    let map = |features: &Tensor| -> Result<Tensor> {
        let kind = features.f_kind()?;
        let energy = features.f_square()?.f_mean_dim([1_i64].as_slice(), false, kind)?;
        unit_rows(&energy.f_reshape([samples, -1])?)
    };
    Ok(map(&student)?.f_mse_loss(&map(&teacher)?, Reduction::Mean)?)
}
