//! Who teaches an arm and how, as data: the keys under `arms.NAME.distill`.
//!
//! What is said of the distillation itself is [`Distillation`]'s own form: whatever it can be told can be written here,
//! and its temperature and weights may be a [`Schedule`] over the steps of the training.

use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use softlabel_distill::Distillation;
use softlabel_results::Calibration;
use softlabel_targets::Schedule;
use toml::{Table, Value};

use super::no_calibration;

/// How an arm is taught, and by whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub(crate) struct Distill {
    pub(crate) teacher: TeacherSource,
    /// What is done to the teacher's logits before they are taught: `none`, or `temperature` fitted on the validation
    /// split.
    pub(crate) teacher_calibration: Calibration,
    scheduled: Vec<(&'static str, Schedule)>,
    /// The other keys of the distillation.
    rest: Table,
}

/// Whoever teaches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TeacherSource {
    /// An earlier arm, by name.
    Arm(String),
    /// An arm of a run that is done: its folder, the name of the arm, and the seed of the one teacher of all seeds, if it
    /// is not for each seed the teacher of that seed.
    Run { run: PathBuf, arm: String, seed: Option<u64> },
    /// A TorchScript file, and what its pixels are.
    Script { script: PathBuf, pixels: Pixels },
    /// The folder of a logit cache, and how the fingerprint of the teacher's weights begins, if that is said.
    Cache { cache: PathBuf, weights: Option<String> },
}

/// What the pixels of a TorchScript teacher are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pixels {
    /// From 0 to 1.
    #[default]
    Unit,
    /// With the mean and deviation of the training pixels taken out, as the models of a recipe see them.
    Standardized,
}

/// The keys that may have a schedule.
const TEMPERATURE: &str = "temperature";
const SOFT_WEIGHT: &str = "soft_weight";
const HARD_WEIGHT: &str = "hard_weight";

#[derive(Clone, Serialize, Deserialize)]
struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    teacher: Option<TeacherSource>,
    #[serde(default = "no_calibration")]
    teacher_calibration: Calibration,
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
        let Settings { teacher, teacher_calibration, rest, .. } = settings;
        let scheduled = [
            (TEMPERATURE, settings.temperature),
            (SOFT_WEIGHT, settings.soft_weight),
            (HARD_WEIGHT, settings.hard_weight),
        ];
        let scheduled: Vec<_> =
            scheduled.into_iter().filter_map(|(key, schedule)| Some((key, schedule?))).collect();
        let without = TeacherSource::Arm(String::new());
        let missing = teacher.is_none();
        let teacher = teacher.unwrap_or(without);
        let distill = Self { teacher, teacher_calibration, scheduled, rest };
        // An unknown key first: it may be the teacher's, misspelt.
        let tried = distill.at(0, 1).and_then(|_| distill.at(usize::MAX, usize::MAX));
        match tried {
            Err(error) if error.starts_with("unknown field") => Err(error.replacen(
                "expected one of ",
                "expected one of `teacher`, `teacher_calibration`, ",
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
            temperature: of(TEMPERATURE),
            soft_weight: of(SOFT_WEIGHT),
            hard_weight: of(HARD_WEIGHT),
            teacher: Some(distill.teacher),
            teacher_calibration: distill.teacher_calibration,
            rest: distill.rest,
        }
    }
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
        self.scheduled.iter().find_map(bad)
    }

    /// The temperature of the teacher, if it stays.
    pub(crate) fn constant_temperature(&self) -> Option<f64> {
        self.schedule(TEMPERATURE).and_then(Schedule::as_constant)
    }

    /// Whether one teacher of a run teaches all seeds.
    pub(crate) fn teaches_other_seeds(&self) -> bool {
        matches!(self.teacher, TeacherSource::Run { seed: Some(_), .. })
    }

    /// The earlier arm that teaches, if one does.
    pub(crate) fn arm(&self) -> Option<&str> {
        match &self.teacher {
            TeacherSource::Arm(name) => Some(name),
            _ => None,
        }
    }
}

/// The keys of a teacher that is no arm of the recipe.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outside {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    script: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pixels: Option<Pixels>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weights: Option<String>,
}

impl Serialize for TeacherSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let none = Outside::default();
        match self.clone() {
            Self::Arm(name) => return name.serialize(serializer),
            Self::Run { run, arm, seed } => {
                Outside { run: Some(run), arm: Some(arm), seed, ..none }
            }
            Self::Script { script, pixels } => {
                Outside { script: Some(script), pixels: Some(pixels), ..none }
            }
            Self::Cache { cache, weights } => Outside { cache: Some(cache), weights, ..none },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TeacherSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = TeacherSource;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(
            "the name of an earlier arm, { run = .., arm = .. }, { script = .. } or { cache = .. }",
        )
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<TeacherSource, E> {
        Ok(TeacherSource::Arm(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TeacherSource, A::Error> {
        match Outside::deserialize(MapAccessDeserializer::new(map))? {
            Outside {
                run: Some(run),
                arm: Some(arm),
                seed,
                script: None,
                pixels: None,
                cache: None,
                weights: None,
            } => Ok(TeacherSource::Run { run, arm, seed }),
            Outside {
                script: Some(script),
                pixels,
                run: None,
                arm: None,
                seed: None,
                cache: None,
                weights: None,
            } => Ok(TeacherSource::Script { script, pixels: pixels.unwrap_or_default() }),
            Outside {
                cache: Some(cache),
                weights,
                run: None,
                arm: None,
                seed: None,
                script: None,
                pixels: None,
            } => Ok(TeacherSource::Cache { cache, weights }),
            _ => Err(de::Error::custom(
                "expected `run` and `arm` (and `seed`), or `script` (and `pixels`), or `cache` (and `weights`)",
            )),
        }
    }
}
