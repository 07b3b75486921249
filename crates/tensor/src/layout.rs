//! Shapes: where the class axis lies, and that targets fit the logits.

use softlabel_core::ClassAxis;
use tch::{Device, Kind, Tensor};

use crate::slices::slice;
use crate::{Error, Result};

/// A view of `scores` with the class axis last: `[.., K]`.
///
/// # Errors
/// [`Error::Kind`] unless the dtype is a float; [`Error::Shape`] without a class axis or with an empty one.
pub fn class_last(scores: &Tensor, axis: ClassAxis, what: &'static str) -> Result<Tensor> {
    let kind = scores.f_kind()?;
    if !matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double) {
        return Err(Error::Kind { what, expected: "a floating-point dtype", found: kind });
    }
    let shape = scores.size();
    let (position, expected) = match axis {
        ClassAxis::Last => (shape.len().wrapping_sub(1), "[.., K] with K > 0"),
        ClassAxis::Second => (1, "[N, K, ..] with K > 0"),
    };
    if shape.get(position).is_none_or(|&classes| classes < 1) {
        return Err(Error::Shape { what, expected: expected.to_owned(), found: shape });
    }
    Ok(match axis {
        ClassAxis::Last => scores.shallow_clone(),
        ClassAxis::Second => scores.f_movedim_int(1, -1)?,
    })
}

/// The values of a tensor, contiguous: itself where it already is, a copy without its history where not.
///
/// # Errors
/// libtorch's, if there is no memory.
///
/// ```
/// use softlabel_tensor::contiguous;
/// use tch::Tensor;
///
/// let logits = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]).view((2, 2));
/// assert_eq!(contiguous(&logits)?.data_ptr(), logits.data_ptr());
/// assert_ne!(contiguous(&logits.tr())?.data_ptr(), logits.data_ptr());
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
pub fn contiguous(tensor: &Tensor) -> Result<Tensor> {
    if tensor.is_contiguous() {
        return Ok(tensor.shallow_clone());
    }
    Ok(tensor.f_detach()?.f_contiguous()?)
}

/// Checks that `tensor` lies where `logits` lie.
///
/// # Errors
/// [`Error::Device`] if it does not.
pub fn check_same_device(tensor: &Tensor, logits: &Tensor, what: &'static str) -> Result<()> {
    let (expected, found) = (logits.device(), tensor.device());
    if expected == found { Ok(()) } else { Err(Error::Device { what, expected, found }) }
}

/// Checks that class indices go with logits `[.., K]`: an integer dtype, the shape `[..]`, the same device.
/// Returns them as `i64`. Their values are [`check_label_values`]'.
///
/// # Errors
/// [`Error::Kind`], [`Error::Shape`] or [`Error::Device`].
pub fn check_labels_fit(labels: &Tensor, logits: &Tensor, what: &'static str) -> Result<Tensor> {
    let kind = labels.f_kind()?;
    if !matches!(kind, Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int | Kind::Int64) {
        return Err(Error::Kind { what, expected: "an integer dtype", found: kind });
    }
    let shape = logits.size();
    let leading = shape.split_last().map_or(&[][..], |(_, leading)| leading);
    if labels.size() != leading {
        let expected = format!("{leading:?} for logits {shape:?}");
        return Err(Error::Shape { what, expected, found: labels.size() });
    }
    check_same_device(labels, logits, what)?;
    Ok(if kind == Kind::Int64 { labels.shallow_clone() } else { labels.f_to_kind(Kind::Int64)? })
}

/// Checks that every label, of dtype `i64`, is in `0..classes` or equal to `ignore_index`.
///
/// # Errors
/// [`LabelOutOfRange`](softlabel_core::Error::LabelOutOfRange) with the first bad label and its position
/// in row-major order.
pub fn check_label_values(labels: &Tensor, classes: i64, ignore_index: Option<i64>) -> Result<()> {
    let bad = |label: i64| !(0..classes).contains(&label) && Some(label) != ignore_index;
    let first = if labels.device() == Device::Cpu && labels.is_contiguous() {
        let values = slice::<i64>(labels)?;
        // Without branches, which vectorizes; who it was is asked only if somebody was.
        let limit = classes.cast_unsigned();
        if values.iter().fold(true, |fit, label| fit & (label.cast_unsigned() < limit)) {
            return Ok(());
        }
        values.iter().position(|&label| bad(label)).map(|position| (position, values[position]))
    } else {
        let mut bad = labels.f_lt(0)?.f_logical_or(&labels.f_ge(classes)?)?;
        if let Some(ignored) = ignore_index {
            bad = bad.f_logical_and(&labels.f_ne(ignored)?)?;
        }
        if labels.numel() == 0 || i64::try_from(bad.f_any()?)? == 0 {
            return Ok(());
        }
        let position =
            i64::try_from(bad.f_flatten(0, -1)?.f_to_kind(Kind::Uint8)?.f_argmax(0, false)?)?;
        let found = i64::try_from(labels.f_flatten(0, -1)?.f_get(position)?)?;
        Some((usize::try_from(position).unwrap_or_default(), found))
    };
    let Some((position, found)) = first else { return Ok(()) };
    let classes = usize::try_from(classes).unwrap_or_default();
    Err(softlabel_core::Error::LabelOutOfRange { position, found, classes }.into())
}

/// Both of [`check_labels_fit`] and [`check_label_values`].
///
/// # Errors
/// As they have.
pub fn check_labels(labels: &Tensor, logits: &Tensor, ignore_index: Option<i64>) -> Result<Tensor> {
    let labels = check_labels_fit(labels, logits, "labels")?;
    let classes = logits.size().last().copied().unwrap_or_default();
    check_label_values(&labels, classes, ignore_index)?;
    Ok(labels)
}

/// How far the sum of a soft row of a dtype may be from 1: what rounding its entries and their sum to that dtype can do,
/// 0.01 in bf16, 0.002 in f16, and 0.001 in better ones.
///
/// ```
/// use softlabel_tensor::{check_soft_row_values, soft_row_tolerance};
/// use tch::{Device, Kind, Tensor};
///
/// assert_eq!(soft_row_tolerance(Kind::Float), 1e-3);
/// // A third in bf16 is 0.333984375, three of them 1.001953125.
/// let thirds = Tensor::full([1, 3], 1.0 / 3.0, (Kind::BFloat16, Device::Cpu));
/// assert!(check_soft_row_values(&thirds, None).is_ok());
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
pub fn soft_row_tolerance(kind: Kind) -> f64 {
    match kind {
        Kind::BFloat16 => 1e-2,
        Kind::Half => 2e-3,
        _ => 1e-3,
    }
}

/// Checks that soft targets go with logits `[.., K]`: a float dtype, the same shape and device. Their values are
/// [`check_soft_row_values`]'.
///
/// # Errors
/// [`Error::Kind`], [`Error::Shape`] or [`Error::Device`].
pub fn check_soft_rows_fit(targets: &Tensor, logits: &Tensor) -> Result<()> {
    const WHAT: &str = "soft targets";
    let rows = class_last(targets, ClassAxis::Last, WHAT)?;
    if rows.size() != logits.size() {
        let expected = format!("{:?} as the logits", logits.size());
        return Err(Error::Shape { what: WHAT, expected, found: targets.size() });
    }
    check_same_device(targets, logits, WHAT)
}

/// Checks that rows `[.., K]` are distributions: no negative value or NaN, every row summing to 1 within
/// their dtype's [tolerance](soft_row_tolerance). Rows where `ignored` is true may hold anything.
///
/// # Errors
/// [`RowSum`](softlabel_core::Error::RowSum) / [`BadValue`](softlabel_core::Error::BadValue) with the first bad row.
pub fn check_soft_row_values(rows: &Tensor, ignored: Option<&Tensor>) -> Result<()> {
    const WHAT: &str = "soft targets";
    if rows.numel() == 0 {
        return Ok(());
    }
    let classes = rows.size().last().copied().unwrap_or(1);
    let tolerance = soft_row_tolerance(rows.f_kind()?);
    let rows = rows.f_detach()?.f_reshape([-1, classes])?.f_to_kind(Kind::Float)?;
    let rows = match ignored {
        None => rows,
        Some(ignored) => rows.f_masked_fill(&ignored.f_reshape([-1, 1])?, 1.0 / classes as f64)?,
    };
    let first = |bad: &Tensor| -> Result<Option<(i64, usize)>> {
        if i64::try_from(bad.f_any()?)? == 0 {
            return Ok(None);
        }
        let row = i64::try_from(bad.f_to_kind(Kind::Uint8)?.f_argmax(0, false)?)?;
        Ok(Some((row, usize::try_from(row).unwrap_or_default())))
    };
    // NaN fails every comparison, so "not (lowest ≥ 0)" finds it too.
    let lowest = rows.f_amin([-1_i64].as_slice(), false)?;
    if let Some((at, row)) = first(&lowest.f_ge(0.0)?.f_logical_not()?)? {
        let class = usize::try_from(i64::try_from(rows.f_get(at)?.f_argmin(0, false)?)?)
            .unwrap_or_default();
        let found = f64::try_from(lowest.f_get(at)?)?;
        let expected = "a probability";
        return Err(
            softlabel_core::Error::BadValue { what: WHAT, expected, row, class, found }.into()
        );
    }
    let sums = rows.f_sum_dim_intlist([-1_i64].as_slice(), false, Kind::Double)?;
    let off = sums.f_sub_scalar(1.0)?.f_abs()?.f_le(tolerance)?.f_logical_not()?;
    if let Some((at, row)) = first(&off)? {
        let found = f64::try_from(sums.f_get(at)?)?;
        return Err(softlabel_core::Error::RowSum { what: WHAT, row, found, tolerance }.into());
    }
    Ok(())
}

/// Both of [`check_soft_rows_fit`] and [`check_soft_row_values`].
///
/// # Errors
/// As they have.
pub fn check_soft_rows(targets: &Tensor, logits: &Tensor, ignored: Option<&Tensor>) -> Result<()> {
    check_soft_rows_fit(targets, logits)?;
    check_soft_row_values(targets, ignored)
}

#[cfg(test)]
mod tests {
    use softlabel_core::Error as Core;

    use super::*;

    fn zeros(shape: &[i64], kind: Kind) -> Tensor {
        Tensor::zeros(shape, (kind, Device::Cpu))
    }

    #[test]
    fn the_class_axis_moves_last() {
        let scores = zeros(&[2, 5, 3, 4], Kind::Float);
        assert_eq!(class_last(&scores, ClassAxis::Second, "logits").unwrap().size(), [2, 3, 4, 5]);
        assert_eq!(class_last(&scores, ClassAxis::Last, "logits").unwrap().size(), [2, 5, 3, 4]);
    }

    #[test]
    fn shapes_and_kinds_are_named() {
        let check = |shape: &[i64], kind, axis| {
            class_last(&zeros(shape, kind), axis, "logits").unwrap_err().to_string()
        };
        assert_eq!(
            check(&[3], Kind::Float, ClassAxis::Second),
            "logits: expected shape [N, K, ..] with K > 0, found [3]"
        );
        assert_eq!(
            check(&[], Kind::Float, ClassAxis::Last),
            "logits: expected shape [.., K] with K > 0, found []"
        );
        assert_eq!(
            check(&[2, 0], Kind::Float, ClassAxis::Last),
            "logits: expected shape [.., K] with K > 0, found [2, 0]"
        );
        assert_eq!(
            check(&[2, 3], Kind::Int64, ClassAxis::Last),
            "logits: expected a floating-point dtype, found Int64"
        );
    }

    #[test]
    fn labels_are_checked_against_the_logits() {
        let logits = zeros(&[2, 2, 3], Kind::Float);
        let labels = Tensor::from_slice(&[0i64, 1, -100, 3]).view((2, 2));
        let found = |ignore| check_labels(&labels, &logits, ignore).unwrap_err();
        assert!(matches!(
            found(None),
            Error::Core(Core::LabelOutOfRange { position: 2, found: -100, classes: 3 })
        ));
        assert!(matches!(
            found(Some(-100)),
            Error::Core(Core::LabelOutOfRange { position: 3, found: 3, classes: 3 })
        ));
        assert!(check_labels(&labels.clamp(0, 2), &logits, None).is_ok());
        assert!(matches!(
            check_labels(&zeros(&[4], Kind::Int64), &logits, None),
            Err(Error::Shape { .. })
        ));
        assert!(matches!(
            check_labels(&zeros(&[2, 2], Kind::Float), &logits, None),
            Err(Error::Kind { .. })
        ));
        assert!(check_labels(&zeros(&[0], Kind::Int), &zeros(&[0, 3], Kind::Float), None).is_ok());
    }

    #[test]
    fn soft_rows_are_distributions() {
        let logits = zeros(&[2, 2], Kind::Float);
        let check = |values: [f32; 4]| {
            check_soft_rows(&Tensor::from_slice(&values).view((2, 2)), &logits, None)
        };
        assert!(check([0.25, 0.75, 1.0, 0.0]).is_ok());
        assert!(matches!(
            check([0.25, 0.75, 1.0, 0.1]),
            Err(Error::Core(Core::RowSum { row: 1, .. }))
        ));
        assert!(matches!(
            check([0.25, 0.75, 1.25, -0.25]),
            Err(Error::Core(Core::BadValue { row: 1, class: 1, .. }))
        ));
        assert!(matches!(
            check([f32::NAN, 0.75, 1.0, 0.0]),
            Err(Error::Core(Core::BadValue { row: 0, .. }))
        ));
        assert!(check_soft_rows(&zeros(&[2, 3], Kind::Float), &logits, None).is_err());
    }
}
