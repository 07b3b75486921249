//! A teacher's logits of all samples, written to a cache.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use softlabel_data::Fingerprint;
use softlabel_data::logit_cache::{Encoding, LogitCache, LogitCacheWriter, Origin};
use softlabel_distill::{Teacher, TeacherLogits};
use softlabel_tensor::{slices, to_logits};
use tch::{Device, Kind, Tensor};

use crate::calibration::FitOf;
use crate::checkpoint;
use crate::event::Event;
use crate::experiment::Experiment;
use crate::model::Network;
use crate::recipe::{Fit, Pixels};
use crate::samples::{Part, Samples};
use crate::teachers::{chunks, read_script};
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
    /// A TorchScript file; its pixels go from 0 to 1.
    Script(PathBuf),
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
    /// An arm that is not there, a training that diverges, a TorchScript file that trains, a cache of another teacher,
    /// a folder that cannot be written.
    pub fn teach(&self, teach: &Teach, observer: &mut dyn FnMut(&Event)) -> Result<Taught> {
        let (recipe, device) = (self.recipe(), self.device());
        let samples = Samples::new(self.data(), &recipe.data, recipe.seed, device)?;
        let training = Training { recipe, samples: &samples, seed: recipe.seed, device };
        let classes = samples.observed.classes();
        let (teacher, weights, smoothing, pixels) = match &teach.with {
            TeachWith::Script(path) => {
                let (teacher, weights) = read_script(path, device, classes as i64)?;
                (teacher, weights, "unknown".to_owned(), Pixels::Unit)
            }
            TeachWith::Arm(arm) => {
                let network = self.trained(&training, arm, &teach.folder, observer)?;
                let weights = fingerprint(&network)?;
                let learned = toml::Value::try_from(&recipe.arms[arm]).map(|arm| arm.to_string());
                let teacher = as_teacher(network, classes as i64, device);
                (teacher, weights, learned.unwrap_or_default(), Pixels::Standardized)
            }
        };
        let augmentation = match pixels {
            Pixels::Unit => "none, pixels from 0 to 1".to_owned(),
            Pixels::Standardized => {
                let (mean, deviation) = samples.moments;
                format!("none, pixels of mean {mean} and deviation {deviation} standardized")
            }
        };
        let data = self.data().pool().fingerprint().to_string();
        let origin = Origin { weights: weights.to_string(), data, augmentation, smoothing };
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
                let logits = teacher.logits(&missing, &images)?.f_to_device(Device::Cpu)?;
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
    /// The network of an arm: as it was trained before, if it lies in the folder, or trained now and put there.
    fn trained(
        &self,
        training: &Training<'_>,
        arm: &str,
        folder: &Path,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Network> {
        let path = checkpoint::path(folder, self.recipe(), &self.fingerprint(), arm)?;
        if let Some(settings) = self.recipe().arms.get(arm) {
            let network = training.network(&settings.model)?;
            if checkpoint::read(&path, &network)? {
                tracing::info!(arm, file = %path.display(), "trained before");
                return Ok(network);
            }
        }
        let network = Trained::new(self, training, arm, observer)?.network;
        checkpoint::write(&path, &network)?;
        Ok(network)
    }
}

/// A trained arm.
struct Trained {
    network: Network,
}

impl Trained {
    /// Trains an arm, and its teachers before it.
    fn new(
        experiment: &Experiment,
        training: &Training<'_>,
        name: &str,
        observer: &mut dyn FnMut(&Event),
    ) -> Result<Self> {
        let Some(arm) = training.recipe.arms.get(name) else {
            let arms = training.recipe.arms().map(str::to_owned).collect();
            return Err(Error::NoArm { arm: name.to_owned(), arms });
        };
        let mentor = match &arm.distill {
            None => None,
            Some(distill) => {
                let mut of_arm = |teacher: &str, calibration: Option<&Fit>| {
                    let trained = Self::new(experiment, training, teacher, observer)?;
                    let taught = trained.teach(training, teacher, calibration)?;
                    Ok((taught, Some(Rc::new(trained.network))))
                };
                Some(experiment.mentor(training, name, distill, &mut of_arm)?)
            }
        };
        let epochs = training.recipe.training.epochs;
        let (arm_name, seed) = (name.to_owned(), training.seed);
        observer(&Event::Training { arm: arm_name, seed, epochs });
        let told = std::cell::RefCell::new(observer);
        let network = training.run(name, arm, mentor, &|event| (told.borrow_mut())(&event))?;
        Ok(Self { network })
    }

    /// What a student hears of it.
    fn teach(&self, training: &Training<'_>, name: &str, wanted: Option<&Fit>) -> Result<Teacher> {
        let epochs = training.recipe.training.epochs;
        let said = |part: &Part| training.predict(name, epochs, &self.network, part);
        let part = &training.samples.train;
        let logits = TeacherLogits::new(&said(part)?)?.with_ids(part.subset.ids())?;
        let teacher = Teacher::from(logits);
        let Some(fit) = wanted else { return Ok(teacher) };
        let part = &training.samples.validation;
        let held_out = to_logits::<f32>(&said(part)?)?;
        let of = FitOf { arm: name, seed: training.seed };
        Ok(teacher.calibrated(of.fit(fit, &held_out, part.subset.labels())?)?)
    }
}

/// A network that is trained, as a teacher.
fn as_teacher(network: Network, classes: i64, device: Device) -> Teacher {
    Teacher::function(tch::nn::VarStore::new(device), classes, move |images, _| {
        let said = network.forward(images);
        said.map(|said| said.logits).map_err(|error| tch::TchError::Kind(error.to_string()))
    })
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
