//! Shapes: where the class axis lies, and that targets fit the logits.

use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Where the class axis of logits lies. For `[N, K]` both are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ClassAxis {
    /// `[.., K]`: `[N, K]` for classification, `[N, T, K]` for sequences.
    #[default]
    Last,
    /// `[N, K, d1, ..]`: PyTorch's layout, `[N, K, H, W]` for dense prediction.
    Second,
}

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

/// Checks that `tensor` lies where `logits` lie.
///
/// # Errors
/// [`Error::Device`] if it does not.
pub fn check_same_device(tensor: &Tensor, logits: &Tensor, what: &'static str) -> Result<()> {
    let (expected, found) = (logits.device(), tensor.device());
    if expected == found { Ok(()) } else { Err(Error::Device { what, expected, found }) }
}

/// Checks class indices against logits `[.., K]`: an integer dtype, the shape `[..]`, the same device, every label in
/// 0..K or equal to `ignore_index`. Returns them as `i64`.
///
/// # Errors
/// [`Error::Kind`], [`Error::Shape`], [`Error::Device`], or
/// [`LabelOutOfRange`](softlabel_core::Error::LabelOutOfRange) with the first bad label and its position
/// in row-major order.
pub fn check_labels(labels: &Tensor, logits: &Tensor, ignore_index: Option<i64>) -> Result<Tensor> {
    const WHAT: &str = "labels";
    let kind = labels.f_kind()?;
    if !matches!(kind, Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int | Kind::Int64) {
        return Err(Error::Kind { what: WHAT, expected: "an integer dtype", found: kind });
    }
    let shape = logits.size();
    let (classes, leading) = shape.split_last().map_or((0, &[][..]), |(&k, rest)| (k, rest));
    if labels.size() != leading {
        let expected = format!("{leading:?} for logits {shape:?}");
        return Err(Error::Shape { what: WHAT, expected, found: labels.size() });
    }
    check_same_device(labels, logits, WHAT)?;
    let labels = labels.f_to_kind(Kind::Int64)?;
    let mut bad = labels.f_lt(0)?.f_logical_or(&labels.f_ge(classes)?)?;
    if let Some(ignored) = ignore_index {
        bad = bad.f_logical_and(&labels.f_ne(ignored)?)?;
    }
    if labels.numel() > 0 && i64::try_from(bad.f_any()?)? != 0 {
        let position =
            i64::try_from(bad.f_flatten(0, -1)?.f_to_kind(Kind::Uint8)?.f_argmax(0, false)?)?;
        let found = i64::try_from(labels.f_flatten(0, -1)?.f_get(position)?)?;
        return Err(softlabel_core::Error::LabelOutOfRange {
            position: usize::try_from(position).unwrap_or_default(),
            found,
            classes: usize::try_from(classes).unwrap_or_default(),
        }
        .into());
    }
    Ok(labels)
}

/// Checks soft targets against logits `[.., K]`: a float dtype, the same shape and device, no negative value or NaN,
/// every row summing to 1 within 1e-3.
///
/// # Errors
/// [`Error::Kind`], [`Error::Shape`], [`Error::Device`], or
/// [`RowSum`](softlabel_core::Error::RowSum) / [`BadValue`](softlabel_core::Error::BadValue) with the first bad row.
pub fn check_soft_rows(targets: &Tensor, logits: &Tensor) -> Result<()> {
    const WHAT: &str = "soft targets";
    const TOLERANCE: f64 = 1e-3;
    let rows = class_last(targets, ClassAxis::Last, WHAT)?;
    if rows.size() != logits.size() {
        let expected = format!("{:?} as the logits", logits.size());
        return Err(Error::Shape { what: WHAT, expected, found: targets.size() });
    }
    check_same_device(targets, logits, WHAT)?;
    if rows.numel() == 0 {
        return Ok(());
    }
    let classes = rows.size().last().copied().unwrap_or(1);
    let rows = rows.f_detach()?.f_reshape([-1, classes])?.f_to_kind(Kind::Float)?;
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
    let off = sums.f_sub_scalar(1.0)?.f_abs()?.f_le(TOLERANCE)?.f_logical_not()?;
    if let Some((at, row)) = first(&off)? {
        let found = f64::try_from(sums.f_get(at)?)?;
        let tolerance = TOLERANCE;
        return Err(softlabel_core::Error::RowSum { what: WHAT, row, found, tolerance }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use softlabel_core::Error as Core;
    use tch::Device;

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
        let check =
            |values: [f32; 4]| check_soft_rows(&Tensor::from_slice(&values).view((2, 2)), &logits);
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
        assert!(check_soft_rows(&zeros(&[2, 3], Kind::Float), &logits).is_err());
    }
}
