//! Who teaches an arm and how, as data: the keys under `arms.NAME.distill`.
//!
//! What is said of the distillation itself is [`Distillation`]'s own form: whatever it can be told can be written here,
//! and its temperature and weights may be a [`Schedule`] over the steps of the training.

use serde::{Deserialize, Serialize};
use softlabel_core::Temperature;
use softlabel_distill::{Distillation, Tail};
use softlabel_results::Range;
use softlabel_targets::Schedule;
use toml::{Table, Value};

use super::calibrate::{Fit, or_none};
use super::{FeatureTerm, SampleNumbers, TeacherSource};

/// How an arm is taught, and by whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub(crate) struct Distill {
    pub(crate) teacher: TeacherSource,
    /// The map, fitted on the validation split, that the teacher's logits go through before they are taught.
    pub(crate) teacher_calibration: Option<Fit>,
    /// Of the teacher's classes the likeliest alone, and what becomes of the others.
    pub(crate) top_k: Option<(usize, Tail)>,
    /// What is learned from the layers below the logits.
    pub(crate) features: Vec<FeatureTerm>,
    /// A temperature for each sample, in the place of the one temperature.
    pub(crate) sample_temperatures: Option<SampleNumbers>,
    /// What the soft loss of each sample is multiplied by.
    pub(crate) sample_weights: Option<SampleNumbers>,
    scheduled: Vec<(&'static str, Schedule)>,
    /// The other keys of the distillation.
    rest: Table,
}

/// The keys that may have a schedule.
const TEMPERATURE: &str = "temperature";
const SOFT_WEIGHT: &str = "soft_weight";
const HARD_WEIGHT: &str = "hard_weight";

/// Has none, but the same range.
const STUDENT_TEMPERATURE: &str = "student_temperature";

#[derive(Clone, Serialize, Deserialize)]
struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    teacher: Option<TeacherSource>,
    #[serde(default, with = "or_none")]
    teacher_calibration: Option<Fit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_k: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tail: Option<Tail>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    features: Vec<FeatureTerm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sample_temperatures: Option<SampleNumbers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sample_weights: Option<SampleNumbers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<Schedule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soft_weight: Option<Schedule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hard_weight: Option<Schedule>,
    #[serde(flatten)]
    rest: Table,
}

impl TryFrom<Settings> for Distill {
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let Settings { teacher, teacher_calibration, top_k, tail, features, rest, .. } = settings;
        let Settings { sample_temperatures, sample_weights, .. } = settings;
        let temperature = match (settings.temperature, &sample_temperatures) {
            (Some(_), Some(_)) => {
                let message = "stand in the place of `temperature`: expected one of the two";
                return Err(format!("`sample_temperatures` {message}"));
            }
            // Of no sample.
            (None, Some(_)) => Schedule::constant(1.0).ok(),
            (temperature, None) => temperature,
        };
        let scheduled = [
            (TEMPERATURE, temperature),
            (SOFT_WEIGHT, settings.soft_weight),
            (HARD_WEIGHT, settings.hard_weight),
        ];
        let scheduled: Vec<_> =
            scheduled.into_iter().filter_map(|(key, schedule)| Some((key, schedule?))).collect();
        let without = TeacherSource::Arm(String::new());
        let missing = teacher.is_none();
        let teacher = teacher.unwrap_or(without);
        if tail.is_some() && top_k.is_none() {
            return Err("`tail` goes with `top_k`".to_owned());
        }
        let top_k = top_k.map(|k| (k, tail.unwrap_or_default()));
        let distill = Self {
            teacher,
            teacher_calibration,
            top_k,
            features,
            sample_temperatures,
            sample_weights,
            scheduled,
            rest,
        };
        // An unknown key first: it may be the teacher's, misspelt.
        let tried = distill.at(0, 1).and_then(|_| distill.at(usize::MAX, usize::MAX));
        match tried {
            Err(error) if error.starts_with("unknown field") => Err(error.replacen(
                "expected one of ",
                "expected one of `teacher`, `teacher_calibration`, `top_k`, `tail`, `features`, \
                 `sample_temperatures`, `sample_weights`, ",
                1,
            )),
            _ if missing => Err("missing field `teacher`".to_owned()),
            // What is out of range is said at its own place, when the recipe is checked.
            Err(_) if distill.out_of_range().is_some() || distill.weighs_nothing() => Ok(distill),
            Err(error) => Err(error),
            Ok(_) => Ok(distill),
        }
    }
}

impl From<Distill> for Settings {
    fn from(distill: Distill) -> Self {
        let of = |key| distill.schedule(key).cloned();
        Self {
            temperature: of(TEMPERATURE).filter(|_| distill.sample_temperatures.is_none()),
            soft_weight: of(SOFT_WEIGHT),
            hard_weight: of(HARD_WEIGHT),
            teacher: Some(distill.teacher),
            teacher_calibration: distill.teacher_calibration,
            top_k: distill.top_k.map(|(k, _)| k),
            tail: distill.top_k.map(|(_, tail)| tail),
            features: distill.features,
            sample_temperatures: distill.sample_temperatures,
            sample_weights: distill.sample_weights,
            rest: distill.rest,
        }
    }
}

fn between(schedule: &Schedule) -> Range {
    let (least, most) = schedule.range();
    Range { least, most }
}

impl Distill {
    fn schedule(&self, key: &str) -> Option<&Schedule> {
        self.scheduled.iter().find(|(name, _)| *name == key).map(|(_, schedule)| schedule)
    }

    /// The distillation at a step of so many, from 0; an error says what is wrong with its keys.
    pub(crate) fn at(&self, step: usize, steps: usize) -> Result<Distillation, String> {
        self.with(step, steps, &[])
    }

    /// The same without the labels.
    pub(crate) fn soft_at(&self, step: usize, steps: usize) -> Result<Distillation, String> {
        self.with(step, steps, &[(HARD_WEIGHT, 0.0)])
    }

    fn with(&self, step: usize, steps: usize, set: &[(&str, f64)]) -> Result<Distillation, String> {
        let mut table = self.rest.clone();
        let scheduled = self.scheduled.iter().map(|(key, s)| (*key, s.at(step, steps)));
        for (key, value) in scheduled.chain(set.iter().copied()) {
            table.insert(key.to_owned(), Value::Float(value));
        }
        let parsed = Distillation::deserialize(Value::Table(table));
        parsed.map_err(|error: toml::de::Error| error.message().trim().to_owned())
    }

    /// Whether it is the same at every step.
    pub(crate) fn is_constant(&self) -> bool {
        self.scheduled.iter().all(|(_, schedule)| schedule.as_constant().is_some())
    }

    /// Between which numbers the temperature of the teacher is, if there is one for all samples.
    pub(crate) fn temperatures(&self) -> Option<Range> {
        let of_samples = self.sample_temperatures.is_some();
        self.schedule(TEMPERATURE).filter(|_| !of_samples).map(between)
    }

    /// Between which numbers the weight of the teacher is.
    pub(crate) fn soft_weights(&self) -> Range {
        self.schedule(SOFT_WEIGHT).map_or(Range { least: 1.0, most: 1.0 }, between)
    }

    /// Between which numbers the weight of the labels is.
    pub(crate) fn hard_weights(&self) -> Range {
        self.schedule(HARD_WEIGHT).map_or(Range { least: 0.0, most: 0.0 }, between)
    }

    /// The weight of the teacher at a step of so many.
    pub(crate) fn soft_weight(&self, step: usize, steps: usize) -> f64 {
        self.schedule(SOFT_WEIGHT).map_or(1.0, |schedule| schedule.at(step, steps))
    }

    /// The weight of the labels at a step of so many.
    pub(crate) fn hard_weight(&self, step: usize, steps: usize) -> f64 {
        self.schedule(HARD_WEIGHT).map_or(0.0, |schedule| schedule.at(step, steps))
    }

    /// Whether the labels never count.
    pub(crate) fn leaves_labels_out(&self) -> bool {
        self.schedule(HARD_WEIGHT).is_none_or(|schedule| schedule.as_constant() == Some(0.0))
    }

    /// Whether neither the teacher nor the labels ever count.
    pub(crate) fn weighs_nothing(&self) -> bool {
        let never = |key| self.schedule(key).and_then(Schedule::as_constant) == Some(0.0);
        never(SOFT_WEIGHT) && never(HARD_WEIGHT)
    }

    /// The first key whose values leave its range: the key, the range, and the value.
    pub(crate) fn out_of_range(&self) -> Option<(&'static str, &'static str, f64)> {
        let bad = |&(key, ref schedule): &(&'static str, Schedule)| {
            let (lowest, highest) = schedule.range();
            let (least, most, range) = match key {
                TEMPERATURE => (0.01, 1000.0, "[0.01, 1000]"),
                _ => (0.0, 1e6, "[0, 1000000]"),
            };
            let found = [lowest, highest].into_iter().find(|v| !(least..=most).contains(v))?;
            Some((key, range, found))
        };
        let of_student = self.rest.get(STUDENT_TEMPERATURE).and_then(|value| match value {
            Value::Float(value) => Some(*value),
            Value::Integer(value) => Some(*value as f64),
            _ => None,
        });
        let far = of_student.filter(|value| !(0.01..=1000.0).contains(value));
        let far = far.map(|found| (STUDENT_TEMPERATURE, "[0.01, 1000]", found));
        self.scheduled.iter().find_map(bad).or(far)
    }

    /// The files with a number for each sample, by their keys.
    pub(crate) fn of_samples(&self) -> [(&'static str, Option<&SampleNumbers>); 2] {
        [
            ("sample_temperatures", self.sample_temperatures.as_ref()),
            ("sample_weights", self.sample_weights.as_ref()),
        ]
    }

    /// The temperature of the teacher, if it stays and is that of all samples.
    pub(crate) fn constant_temperature(&self) -> Option<f64> {
        if self.sample_temperatures.is_some() {
            return None;
        }
        self.schedule(TEMPERATURE).and_then(Schedule::as_constant)
    }

    /// Whether the `kept` largest logits of a sample and the mass of the others at a temperature of 1 are all that has to
    /// be known of the teacher.
    pub(crate) fn is_taught_from_largest(&self, kept: usize) -> bool {
        let Some((k, tail)) = self.top_k else { return false };
        let alone = matches!(self.teacher, TeacherSource::Cache { .. });
        let others = tail == Tail::Renormalized || self.constant_temperature() == Some(1.0);
        alone && k <= kept && others && self.teacher_calibration.is_none()
    }

    /// The temperature of the teacher at a step of so many.
    pub(crate) fn temperature(&self, step: usize, steps: usize) -> Temperature {
        let at = self.schedule(TEMPERATURE).map_or(1.0, |schedule| schedule.at(step, steps));
        Temperature::new(at).unwrap_or(Temperature::ONE)
    }

    /// Whether the arm of a name is among the teachers.
    pub(crate) fn has_teacher(&self, name: &str) -> bool {
        self.teacher.arms().any(|arm| arm == name)
    }
}
