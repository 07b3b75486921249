//! Who teaches the arms of an experiment.

use std::rc::Rc;

use softlabel_distill::{Teacher, TeacherLogits};

use crate::experiment::Experiment;
use crate::maps::{Images, index_tensor};
use crate::model::Network;
use crate::recipe::{Distill, Fit, TeacherSource};
use crate::teachers::Place;
use crate::teaching::{Mentor, Voice};
use crate::training::Training;
use crate::{Error, Result};

/// Finds an earlier arm as a teacher, calibrated as it is wanted, with its network.
pub(crate) type OfArm<'a> =
    dyn FnMut(&str, Option<&Fit>) -> Result<(Teacher, Option<Rc<Network>>)> + 'a;

/// How many samples the teaching of an arm is tried on.
pub(crate) const TRIED: usize = 4;

impl Experiment {
    /// Whether the teachers of an arm that are no arms are there, and what they say can be taught: tries it on the first
    /// samples, with networks that know nothing in the place of arms.
    pub(crate) fn check_teaching(
        &self,
        training: &Training<'_>,
        name: &str,
        distill: &Distill,
    ) -> Result<()> {
        let arm = &training.recipe.arms[name];
        let untrained = |teacher: &str, _: Option<&Fit>| {
            let samples = training.samples;
            let network = training.network(&training.recipe.arms[teacher].model)?;
            let first = training.first(arm, TRIED);
            let rows = samples.rows(&first, &samples.observed)?;
            let index = index_tensor(&first, training.device)?;
            let tensor = &samples.train.images.f_index_select(0, &index)?;
            let seen = Images { tensor, counted: rows.counted.as_ref() };
            let logits = TeacherLogits::new(&network.predict(seen)?)?;
            Ok((Teacher::from(logits.with_ids(&rows.ids)?), Some(Rc::new(network))))
        };
        let mentor = self.mentor(training, name, distill, &mut { untrained })?;
        training.try_teaching(name, arm, mentor)
    }

    /// Who teaches an arm; earlier arms are asked for by name.
    pub(crate) fn mentor(
        &self,
        training: &Training<'_>,
        name: &str,
        distill: &Distill,
        of_arm: &mut OfArm<'_>,
    ) -> Result<Mentor> {
        let (data, pool) = (self.fingerprint(), self.data().pool().fingerprint().to_string());
        let (samples, seed, device) = (training.samples, training.seed, self.device());
        let place = Place { samples, seed, device, data: &data, pool: &pool };
        let (mut network, mut calibrators) = (None, Vec::new());
        let mut one = |(position, source): (usize, &TeacherSource)| -> Result<Teacher> {
            if let TeacherSource::Arm(arm) = source {
                let (teacher, of_arm) = of_arm(arm, distill.teacher_calibration.as_ref())?;
                network = of_arm;
                return Ok(teacher);
            }
            let arms = || Error::NoArm { arm: name.to_owned(), arms: Vec::new() };
            let (teacher, map) = place.teacher(name, source, distill)?.ok_or_else(arms)?;
            calibrators.extend(map.map(|map| (position, map)));
            Ok(teacher)
        };
        let voice = match &distill.teacher {
            TeacherSource::Virtual { teacher, probabilities_as_logits } => {
                let (teacher, probabilities_as_logits) = (*teacher, *probabilities_as_logits);
                Voice::Virtual { teacher, probabilities_as_logits }
            }
            TeacherSource::Peers(models) => Voice::Peers(models.clone()),
            TeacherSource::Several { teachers, ensemble, gate } => {
                let teachers = teachers.iter().enumerate().map(one).collect::<Result<Vec<_>>>()?;
                let (ensemble, gate) = (ensemble.clone(), gate.clone());
                Voice::Several { teachers, ensemble, gate }
            }
            source => Voice::One(one((0, source))?),
        };
        Ok(Mentor { voice, network, calibrators })
    }
}
