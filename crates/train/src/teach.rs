//! A teacher's logits of all samples, written to a cache.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use softlabel_data::Fingerprint;
use softlabel_data::logit_cache::{Encoding, LogitCache, LogitCacheWriter, Origin};
use softlabel_tensor::{slices, to_logits};
use tch::{Device, Kind, Tensor};

use crate::calibration::FitOf;
use crate::checkpoint;
use crate::class_bias::{ChosenBias, biased};
use crate::event::Event;
use crate::experiment::Experiment;
use crate::lesson::{Lesson, looking};
use crate::model::Network;
use crate::recipe::{Arm, Fit, Pixels};
use crate::samples::{Part, Samples};
use crate::teachers::{chunks, of_script_file, read_script};
use crate::training::Training;
use crate::{Error, Result};

/// What is to be written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Teach {
    /// Who teaches.
    pub with: TeachWith,
    /// The folder of the cache.
    pub folder: PathBuf,
    /// What is kept of each row of logits.
    pub encoding: Encoding,
}

/// Who teaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TeachWith {
    /// An arm of the recipe, trained for the first seed, and its own teachers before it.
    Arm(String),
    /// A TorchScript file, whose pixels go from 0 to 1, and how many classes it has, if not those of the data.
    Script {
        /// The file.
        path: PathBuf,
        /// How many logits it has for a sample.
        classes: Option<usize>,
    },
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Taught {
    /// How many samples the cache has.
    pub samples: usize,
    /// How many of them were there already.
    pub before: usize,
    /// What the logits were made from.
    pub origin: Origin,
    /// The mean probability of what was kept: 1 unless only the largest logits were.
    pub kept_mass: f64,
}

impl Experiment {
    /// Asks a teacher about every sample that is split, whichever part it falls into, and writes what it says to a
    /// cache; goes on with one that was begun, with the arm as it was trained then. The test set that some data bring is left out: nobody is taught on it.
    ///
    /// # Errors
    /// Data that are maps, an arm that is not there, a training that diverges, a TorchScript file that trains, a cache of another teacher,
    /// a folder that cannot be written.
    pub fn teach(&self, teach: &Teach, observer: &mut dyn FnMut(&Event)) -> Result<Taught> {
        if self.recipe().data.source.is_of_maps() {
            return Err(Error::OfMaps { what: "a logit cache" });
        }
        let (recipe, device) = (self.recipe(), self.device());
        let samples = Samples::new(self.data(), &recipe.data, recipe.seed, device)?;
        let training = Training { recipe, samples: &samples, seed: recipe.seed, device };
        let of_data = samples.observed.classes();
        let (smoothing, pixels, classes) = match &teach.with {
            TeachWith::Script { classes, .. } => {
                ("unknown".to_owned(), Pixels::Unit, classes.unwrap_or(of_data))
            }
            TeachWith::Arm(arm) => (self.learned(arm)?, Pixels::Standardized, of_data),
        };
        let augmentation = match pixels {
            Pixels::Unit => "none, pixels from 0 to 1".to_owned(),
            Pixels::Standardized => {
                let (mean, deviation) = samples.moments;
                format!("none, pixels of mean {mean} and deviation {deviation} standardized")
            }
        };
        let data = self.data().pool().fingerprint().to_string();
        let origin = Origin { weights: String::new(), data, augmentation, smoothing };
        // Before anything is trained.
        LogitCacheWriter::check(&teach.folder, &origin, classes, teach.encoding)?;
        let (teacher, weights) = match &teach.with {
            TeachWith::Script { path, .. } => read_script(path, device, classes as i64)?,
            TeachWith::Arm(arm) => {
                let trained = self.trained(&training, arm, &teach.folder, observer)?;
                let weights = fingerprint(&trained.network)?;
                let bias = trained.bias(&training)?;
                (looking(&trained.network, bias, classes as i64, device), weights)
            }
        };
        let origin = Origin { weights: weights.to_string(), ..origin };
        let mut writer = LogitCacheWriter::open(&teach.folder, &origin, classes, teach.encoding)?;
        let before = writer.samples();
        let mut parts = vec![&samples.train, &samples.validation];
        parts.extend(Some(&samples.test).filter(|_| self.data().test().is_none()));
        let total = self.data().pool().len();
        for part in parts {
            for (ids, images) in chunks(part)? {
                let missing = writer.missing(&ids);
                if missing.is_empty() {
                    continue;
                }
                let rows: Vec<i64> = (0..)
                    .zip(&ids)
                    .filter(|(_, id)| missing.contains(id))
                    .map(|(row, _)| row)
                    .collect();
                let rows = Tensor::f_from_slice(&rows)?.f_to_device(device)?;
                let images = samples.pixels(&images.f_index_select(0, &rows)?, pixels)?;
                let said = teacher.logits(&missing, &images).map_err(|error| match &teach.with {
                    TeachWith::Script { path, .. } => of_script_file(path, error.into()),
                    TeachWith::Arm(_) => error.into(),
                });
                let logits = said?.f_to_device(Device::Cpu)?;
                let logits = logits.f_to_kind(Kind::Float)?.f_contiguous()?;
                writer.write(&missing, slices::slice::<f32>(&logits)?)?;
                observer(&Event::Recorded { samples: writer.samples(), of: total });
            }
        }
        writer.finish()?;
        let cache = LogitCache::open(&teach.folder)?;
        Ok(Taught { samples: cache.samples(), before, origin, kept_mass: cache.kept_mass() })
    }
}

impl Experiment {
    /// What an arm learns, in words: its keys, and a fingerprint of seed, data, training and model.
    fn learned(&self, name: &str) -> Result<String> {
        let recipe = self.recipe();
        let Some(arm) = recipe.arms.get(name) else {
            let arms = recipe.arms().map(str::to_owned).collect();
            return Err(Error::NoArm { arm: name.to_owned(), arms });
        };
        let keys = toml::Value::try_from(arm).map(|arm| arm.to_string()).unwrap_or_default();
        let (data, training) = (&recipe.data, &recipe.training);
        let setting =
            format!("{} {data:?} {training:?} {:?}", recipe.seed, recipe.models[&arm.model]);
        let setting = Fingerprint::of(setting.as_bytes()).to_string();
        Ok(format!("{keys} in setting {}", setting.chars().take(16).collect::<String>()))
    }

    /// An arm as it was trained before, if its network lies in the folder, or trained now and put there.
    fn trained<'a>(
        &self,
        training: &Training<'a>,
        name: &str,
        folder: &Path,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Trained<'a>> {
        let path = checkpoint::path(folder, self.recipe(), &self.fingerprint(), name)?;
        if let Some((name, arm)) = training.recipe.arms.get_key_value(name) {
            let network = training.network(&arm.model)?;
            if checkpoint::read(&path, &network)? {
                tracing::info!(arm = name, file = %path.display(), "trained before");
                return Ok(Trained { name, arm, network: Rc::new(network) });
            }
        }
        let trained = Trained::new(self, training, name, observer)?;
        checkpoint::write(&path, &trained.network)?;
        Ok(trained)
    }
}

/// A trained arm.
struct Trained<'a> {
    name: &'a str,
    arm: &'a Arm,
    network: Rc<Network>,
}

impl<'a> Trained<'a> {
    /// Trains an arm, and its teachers before it.
    fn new(
        experiment: &Experiment,
        training: &Training<'a>,
        name: &str,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Self> {
        let Some((name, arm)) = training.recipe.arms.get_key_value(name) else {
            let arms = training.recipe.arms().map(str::to_owned).collect();
            return Err(Error::NoArm { arm: name.to_owned(), arms });
        };
        let mentor = match &arm.distill {
            None => None,
            Some(distill) => {
                let mut of_arm = |teacher: &str, wanted: Option<&Fit>| {
                    let trained = Self::new(experiment, training, teacher, observer)?;
                    let lesson = trained.lesson(training, wanted)?;
                    let train = &training.samples.train;
                    let teacher = lesson.teacher(train, wanted, arm.shift.is_some())?;
                    Ok((teacher, Some(trained.network)))
                };
                Some(experiment.mentor(training, name, distill, &mut of_arm)?)
            }
        };
        let epochs = training.recipe.training.epochs;
        let (arm_name, seed) = (name.to_owned(), training.seed);
        observer(&Event::Training { arm: arm_name, seed, epochs });
        let told = std::cell::RefCell::new(observer);
        let network = training.run(name, arm, mentor, &|event| (told.borrow_mut())(&event))?;
        Ok(Self { name, arm, network: Rc::new(network) })
    }

    fn said(&self, training: &Training<'_>, part: &Part) -> Result<Tensor> {
        training.predict(self.name, training.recipe.training.epochs, &self.network, part)
    }

    /// The constant of a class, if the arm has one.
    fn bias(&self, training: &Training<'_>) -> Result<Option<ChosenBias>> {
        let part = &training.samples.validation;
        let choose = |settings| {
            ChosenBias::choose(settings, &self.said(training, part)?, part.subset.labels())
        };
        self.arm.class_bias.as_ref().map(choose).transpose()
    }

    /// What it leaves to a student that wants a map.
    fn lesson(&self, training: &Training<'_>, wanted: Option<&Fit>) -> Result<Lesson> {
        let bias = self.bias(training)?;
        let said = |part| biased(bias, &self.said(training, part)?);
        let logits = said(&training.samples.train)?;
        let mut maps = HashMap::new();
        if let Some(fit) = wanted {
            let part = &training.samples.validation;
            let held_out = to_logits::<f32>(&said(part)?)?;
            let of = FitOf { arm: self.name, seed: training.seed };
            let map = of.fit(fit, &held_out, part.subset.labels())?;
            maps.insert(fit.calibration.clone(), map);
        }
        Ok(Lesson { network: Rc::clone(&self.network), bias, logits, maps })
    }
}

/// Of all weights, in their order.
fn fingerprint(network: &Network) -> Result<Fingerprint> {
    let mut bytes = Vec::new();
    for weights in network.parameters() {
        let weights = weights.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        bytes
            .extend(slices::slice::<f32>(&weights)?.iter().flat_map(|weight| weight.to_le_bytes()));
    }
    Ok(Fingerprint::of(&bytes))
}
