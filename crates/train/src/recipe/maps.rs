//! What goes with labelled maps, and what with them alone.

use super::check::{Checked, require};
use super::{Arm, Recipe, TeacherSource};

impl Recipe {
    /// Whether what an arm says goes with labels of pixels, or of images, whatever the data have.
    pub(super) fn check_maps(&self, name: &str, arm: &Arm) -> Checked {
        let at = |key: &[&'static str]| [&["arms", name], key].concat();
        if !self.data.source.is_of_maps() {
            return require(
                arm.loss.spatial_smoothing.is_none(),
                &at(&["loss", "spatial_smoothing"]),
                format!(
                    "is for maps, whose pixels have labels: expected `data.source.dataset` to be `digit_maps` or `maps`, \
                     found `{}`",
                    self.data.source.name()
                ),
            );
        }
        let moved =
            "moves images, not the labels of their pixels: expected images that have one label";
        let one = "is about samples of one label: expected none where each pixel has one";
        let file = "has a number for each sample, not for each pixel: expected one for all";
        let loss = &arm.loss;
        for (key, is_there, message) in [
            (&["shift"][..], arm.shift.is_some(), moved),
            (&["omit_classes"], !arm.omit_classes.is_empty(), one),
            (&["save_features"], arm.save_features.is_some(), one),
            (&["loss", "mixup"], loss.mixup.is_some(), one),
            (&["loss", "cutmix"], loss.cutmix.is_some(), one),
            (&["loss", "soft_labels"], loss.soft_labels.is_some(), one),
            (&["loss", "smoothing", "epsilon"], loss.smoothing.of_samples().is_some(), file),
        ] {
            require(!is_there, &at(key), message)?;
        }
        let Some(distill) = &arm.distill else { return Ok(()) };
        for (key, numbers) in distill.of_samples() {
            require(numbers.is_none(), &[&at(&["distill"])[..], &[key]].concat(), file)?;
        }
        require(
            distill.features.is_empty(),
            &at(&["distill", "features"]),
            "look at whole images, ignored pixels too: expected none where each pixel has a label",
        )?;
        let of_images = |source: &TeacherSource| {
            matches!(source, TeacherSource::Script { .. } | TeacherSource::Cache { .. })
        };
        require(
            !distill.teacher.each().iter().any(of_images),
            &at(&["distill", "teacher"]),
            "says something of images, not of pixels: expected an arm of this recipe or of a run",
        )
    }
}
