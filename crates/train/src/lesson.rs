//! What a trained arm leaves to its students.

use std::collections::HashMap;
use std::rc::Rc;

use softlabel_distill::{Teacher, TeacherLogits};
use softlabel_posthoc::AnyCalibrator;
use softlabel_results::Calibration;
use tch::nn::VarStore;
use tch::{Device, TchError, Tensor};

use crate::Result;
use crate::class_bias::{ChosenBias, biased};
use crate::model::Network;
use crate::recipe::Fit;
use crate::samples::Part;

/// What a trained arm leaves to its students.
pub(crate) struct Lesson {
    pub(crate) network: Rc<Network>,
    /// The constant of a class that was chosen for it.
    pub(crate) bias: Option<ChosenBias>,
    /// Logits of the training samples, in their order, with that constant.
    pub(crate) logits: Tensor,
    /// Fitted on the validation split.
    pub(crate) maps: HashMap<Calibration, AnyCalibrator>,
}

impl Lesson {
    /// What a student hears: what was said of the training samples, or, where its own images are `moved`, what is said of
    /// these; as it is, or what a fitted map makes of it.
    pub(crate) fn teacher(
        &self,
        train: &Part,
        wanted: Option<&Fit>,
        moved: bool,
    ) -> Result<Teacher> {
        let teacher = if moved {
            let classes = self.logits.size().last().copied().unwrap_or_default();
            looking(&self.network, self.bias, classes, self.logits.device())
        } else {
            TeacherLogits::new(&self.logits)?.with_ids(train.subset.row_ids())?.into()
        };
        match wanted.and_then(|fit| self.maps.get(&fit.calibration)) {
            None => Ok(teacher),
            Some(map) => Ok(teacher.calibrated(map.clone())?),
        }
    }
}

/// A trained network as a teacher that looks at images.
pub(crate) fn looking(
    network: &Network,
    bias: Option<ChosenBias>,
    classes: i64,
    device: Device,
) -> Teacher {
    let network = network.shallow_clone();
    Teacher::function(VarStore::new(device), classes, move |images, _| {
        let said = network.forward(images).and_then(|said| biased(bias, &said.logits));
        said.map_err(|error| TchError::Kind(error.to_string()))
    })
}
