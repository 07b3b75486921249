//! What the last layer of a network sees of some samples.

use softlabel_data::predictions::{Origin, SavedFeatures};
use tch::Tensor;

use crate::Result;
use crate::model::Network;
use crate::recipe::SaveFeatures;
use crate::samples::Part;

/// The features of the first samples of some classes.
pub(crate) fn features(
    origin: Origin,
    settings: &SaveFeatures,
    network: &Network,
    part: &Part,
) -> Result<SavedFeatures> {
    let classes = &settings.classes;
    let mut left = vec![settings.samples; classes.len()];
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for (row, label) in part.subset.labels().iter().enumerate() {
        let place = classes.iter().position(|class| *class == label);
        if let Some(left) = place.and_then(|place| left.get_mut(place)).filter(|left| **left > 0) {
            *left -= 1;
            rows.push(row as i64);
            labels.push(label);
        }
    }
    let select = |tensor: &Tensor, rows: &[i64]| -> Result<Tensor> {
        let rows = Tensor::f_from_slice(rows)?.f_to_device(tensor.device())?;
        Ok(tensor.f_index_select(0, &rows)?)
    };
    let _guard = tch::no_grad_guard();
    let features = network.forward(&select(&part.images, &rows)?)?.features;
    let of_classes: Vec<i64> = classes.iter().map(|&class| class as i64).collect();
    let templates = select(network.templates(), &of_classes)?;
    let values = |tensor: &Tensor| -> Result<Vec<f32>> {
        Ok(Vec::try_from(tensor.f_to_device(tch::Device::Cpu)?.f_flatten(0, -1)?)?)
    };
    let (features, templates) = (values(&features)?, values(&templates)?);
    Ok(SavedFeatures::new(origin, features, labels, classes.clone(), templates)?)
}
