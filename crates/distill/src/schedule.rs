//! Distillation whose temperature and weights change while the student trains.

use serde::{Deserialize, Serialize};
use softlabel_core::Temperature;
use softlabel_targets::Schedule;
use softlabel_tensor::Error as TensorError;

use crate::settings::Settings;
use crate::soft_loss::out_of_range;
use crate::{Distillation, Error, Result};

/// A [`Distillation`] at every step of a training: annealed temperatures, weights that warm up or fade out.
///
/// Serialized as a distillation is, where `temperature`, `soft_weight` and `hard_weight` may each be a number or a
/// [`Schedule`]:
///
/// ```
/// use softlabel_distill::DistillationSchedule;
///
/// let schedule: DistillationSchedule = toml::from_str(
///     "temperature = { kind = 'cosine', from = 8, to = 1 }
///      soft_weight = { kind = 'warmup', from = 0, peak = 1, to = 1, until = 0.1, decay = 'linear' }
///      hard_weight = 1
///      kind = { dkd = { alpha = 1, beta = 8 } }",
/// )?;
/// let (first, last) = (schedule.at(0, 101)?, schedule.at(100, 101)?);
/// assert_eq!((first.temperature().get(), first.soft_weight()), (8.0, 0.0));
/// assert_eq!((last.temperature().get(), last.soft_weight()), (1.0, 1.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings<Schedule, Schedule>", into = "Settings<Schedule, Schedule>")]
pub struct DistillationSchedule {
    temperature: Schedule,
    soft_weight: Schedule,
    hard_weight: Schedule,
    /// What does not change. Its temperature and weights, which are not used, are 1.
    fixed: Distillation,
}

impl DistillationSchedule {
    /// A distillation that does not change, until it is told.
    ///
    /// # Errors
    /// None that a checked distillation could have.
    pub fn new(distillation: Distillation) -> Result<Self> {
        Ok(Self {
            temperature: Schedule::constant(distillation.temperature().get())?,
            soft_weight: Schedule::constant(distillation.soft_weight())?,
            hard_weight: Schedule::constant(distillation.hard_weight())?,
            fixed: Distillation::new(Temperature::ONE, 1.0, 1.0)?
                .with_options(&distillation.settings((), (), ()))?,
        })
    }

    /// With a temperature that changes.
    ///
    /// # Errors
    /// Unless it is positive at every step, and 1 for a loss that has none.
    pub fn with_temperature(mut self, temperature: Schedule) -> Result<Self> {
        self.temperature = temperature;
        self.checked()
    }

    /// With a weight of the teacher that changes.
    ///
    /// # Errors
    /// If it is negative at a step.
    pub fn with_soft_weight(mut self, weight: Schedule) -> Result<Self> {
        self.soft_weight = weight;
        self.checked()
    }

    /// With a weight of the labels that changes.
    ///
    /// # Errors
    /// If it is negative at a step.
    pub fn with_hard_weight(mut self, weight: Schedule) -> Result<Self> {
        self.hard_weight = weight;
        self.checked()
    }

    /// The distillation of step `step`, counted from 0, of `total`.
    ///
    /// # Errors
    /// [`Error::Weights`] if both weights are 0 at this step.
    pub fn at(&self, step: usize, total: usize) -> Result<Distillation> {
        let temperature = Temperature::new(self.temperature.at(step, total));
        Distillation::new(
            temperature.map_err(TensorError::from)?,
            self.soft_weight.at(step, total),
            self.hard_weight.at(step, total),
        )?
        .with_options(&self.fixed.settings((), (), ()))
    }

    fn checked(self) -> Result<Self> {
        let (low, high) = self.temperature.range();
        for end in [low, high] {
            let temperature = Temperature::new(end).map_err(TensorError::from)?;
            if temperature != Temperature::ONE && !self.fixed.loss().has_temperature() {
                let (loss, found) = (self.fixed.loss().name(), end);
                return Err(Error::NoTemperature { loss, found });
            }
        }
        for (name, weight) in
            [("soft_weight", &self.soft_weight), ("hard_weight", &self.hard_weight)]
        {
            let (low, _) = weight.range();
            if low < 0.0 {
                return Err(out_of_range(name, "not negative at any step", low));
            }
        }
        let (soft, hard) = (self.soft_weight.range().1, self.hard_weight.range().1);
        if soft + hard > 0.0 { Ok(self) } else { Err(Error::Weights { soft, hard }) }
    }
}

impl TryFrom<Settings<Schedule, Schedule>> for DistillationSchedule {
    type Error = Error;

    fn try_from(settings: Settings<Schedule, Schedule>) -> Result<Self> {
        let fixed = Distillation::new(Temperature::ONE, 1.0, 1.0)?.with_options(&settings)?;
        let Settings { temperature, soft_weight, hard_weight, .. } = settings;
        Self { temperature, soft_weight, hard_weight, fixed }.checked()
    }
}

impl From<DistillationSchedule> for Settings<Schedule, Schedule> {
    fn from(schedule: DistillationSchedule) -> Self {
        let DistillationSchedule { temperature, soft_weight, hard_weight, fixed } = schedule;
        fixed.settings(temperature, soft_weight, hard_weight)
    }
}
