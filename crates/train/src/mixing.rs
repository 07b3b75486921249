//! Plans of mixup and CutMix carried out on images.

use softlabel_targets::MixPlan;
use tch::{Kind, Tensor};

use crate::Result;

/// Images `[n, channels, height, width]` mixed with their partners.
pub(crate) fn mix(images: &Tensor, plan: &MixPlan) -> Result<Tensor> {
    let device = images.device();
    let partners: Vec<i64> = plan.partners().iter().map(|&partner| partner as i64).collect();
    let partners = Tensor::f_from_slice(&partners)?.f_to_device(device)?;
    let partners = images.f_index_select(0, &partners)?;
    let size = images.size();
    let &[samples, _, height, width] = size.as_slice() else {
        return Ok(images.shallow_clone());
    };
    if plan.boxes().is_empty() {
        let shares = Tensor::f_from_slice(plan.share_of_partner())?.f_view([samples, 1, 1, 1])?;
        let shares = shares.f_to_kind(images.f_kind()?)?.f_to_device(device)?;
        return Ok(images.f_lerp_tensor(&partners, &shares)?);
    }
    let pixels = |size: i64| 0..usize::try_from(size).unwrap_or_default();
    let (rows, columns) = (pixels(height), pixels(width));
    let mut pasted = Vec::with_capacity(plan.len() * rows.len() * columns.len());
    for cut in plan.boxes() {
        for row in rows.clone() {
            let inside = (cut.top..cut.bottom).contains(&row);
            let column = |column| inside && (cut.left..cut.right).contains(&column);
            pasted.extend(columns.clone().map(column));
        }
    }
    let pasted = Tensor::f_from_slice(&pasted)?.f_view([samples, 1, height, width])?;
    Ok(partners.f_where_self(&pasted.f_to_kind(Kind::Bool)?.f_to_device(device)?, images)?)
}

#[cfg(test)]
mod tests {
    use softlabel_targets::{CutMix, MixBy, Mixup};
    use tch::Device;

    use super::*;

    /// Image i holds i everywhere, so that a pixel says whose it is.
    fn images(count: i64) -> Tensor {
        let values = Tensor::arange(count, (Kind::Float, Device::Cpu)).view((count, 1, 1, 1));
        values.expand([count, 2, 6, 5], false)
    }

    #[test]
    fn mixup_averages_with_the_partner_by_its_share() {
        let plan = Mixup::new(1.0, MixBy::Sample).unwrap().plan(7, 3);
        let mixed = mix(&images(7), &plan).unwrap();
        for (sample, (&partner, share)) in
            plan.partners().iter().zip(plan.share_of_partner()).enumerate()
        {
            let expected = (1.0 - share) * sample as f64 + share * partner as f64;
            let found = mixed.get(sample as i64);
            let error = f64::try_from((found - expected).abs().max()).unwrap();
            assert!(error < 1e-6, "{sample}: {error}");
        }
    }

    #[test]
    fn cutmix_pastes_the_box_and_nothing_else() {
        let plan = CutMix::new(1.0, MixBy::Sample).unwrap().plan(9, (6, 5), 4).unwrap();
        let mixed = mix(&images(9), &plan).unwrap();
        for (sample, (&partner, cut)) in plan.partners().iter().zip(plan.boxes()).enumerate() {
            for (row, column) in (0..6usize).flat_map(|row| (0..5usize).map(move |c| (row, c))) {
                let inside =
                    (cut.top..cut.bottom).contains(&row) && (cut.left..cut.right).contains(&column);
                let found = mixed.double_value(&[sample as i64, 1, row as i64, column as i64]);
                assert_eq!(found, if inside { partner as f64 } else { sample as f64 });
            }
        }
        assert!(plan.boxes().iter().any(|cut| cut.area() > 0));
    }
}
