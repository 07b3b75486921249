//! Teachers from outside of a run: another run, a TorchScript file, a logit cache.

use std::fs;
use std::path::Path;

use softlabel_core::Labels;
use softlabel_data::logit_cache::{CacheError, Encoding};
use softlabel_data::{Error as DataError, Fingerprint, LogitCache, SavedPredictions};
use softlabel_distill::{ClassMatch, Teacher, TeacherLogits};
use softlabel_posthoc::AnyCalibrator;
use softlabel_results::RunFolder;
use softlabel_tensor::{MappedFile, ScriptModule, to_logits};
use tch::{Device, Tensor};

use crate::calibration::FitOf;
use crate::recipe::{Distill, Fit, Pixels, TeacherSource};
use crate::samples::{Part, Samples};
use crate::{Error, Result};

/// How many samples a teacher is asked about at once.
pub(crate) const CHUNK: usize = 1024;

/// What a teacher from outside has to fit.
pub(crate) struct Place<'a> {
    pub(crate) samples: &'a Samples,
    pub(crate) seed: u64,
    pub(crate) device: Device,
    /// Fingerprint of all data of the experiment, and of what is split alone.
    pub(crate) data: &'a str,
    pub(crate) pool: &'a str,
}

impl Place<'_> {
    /// A teacher that is no arm of the recipe, calibrated as the arm of a name wants it, and the map that does it.
    pub(crate) fn teacher(
        &self,
        arm: &str,
        source: &TeacherSource,
        distill: &Distill,
    ) -> Result<Option<(Teacher, Option<AnyCalibrator>)>> {
        let classes = self.samples.observed.classes() as i64;
        let teacher = match source {
            TeacherSource::Run { run, arm, seed } => {
                self.of_run(run, arm, seed.unwrap_or(self.seed))?
            }
            TeacherSource::Script { script, pixels, classes: of_script } => {
                let classes = of_script.map_or(classes, |classes| classes as i64);
                let teacher = read_script(script, self.device, classes)?.0;
                self.of_script(&teacher, *pixels).map_err(|error| of_script_file(script, error))?
            }
            TeacherSource::Cache { cache, weights } => {
                self.of_cache(cache, weights.as_deref(), distill)?
            }
            _ => return Ok(None),
        };
        let distillation = distill.at(0, 1).map_err(Error::Distillation)?;
        if teacher.classes() != classes && distillation.classes() == ClassMatch::Equal {
            let (student, teacher) = (classes, teacher.classes());
            return Err(softlabel_distill::Error::ClassCounts { student, teacher }.into());
        }
        let Some(fit) = &distill.teacher_calibration else { return Ok(Some((teacher, None))) };
        let map = self.fitted(arm, &teacher, fit)?;
        Ok(Some((teacher.calibrated(map.clone())?, Some(map))))
    }

    /// What an arm of another run said of the samples that were split, for a seed.
    fn of_run(&self, run: &Path, arm: &str, seed: u64) -> Result<Teacher> {
        let folder = RunFolder::open(run);
        let found = folder.read_summary()?.dataset.fingerprint;
        if found != self.data {
            let (path, expected) = (run.to_owned(), self.data.to_owned());
            return Err(Error::TeacherData { path, expected, found });
        }
        let read = |split| SavedPredictions::read(&folder.predictions(arm, seed, split));
        let mut splits = vec![read("train")?, read("validation")?];
        // What is for testing for one seed may be for training for another, unless the data bring a test set.
        if self.data == self.pool {
            splits.push(read("test")?);
        }
        let (mut logits, mut ids) = (Vec::new(), Vec::new());
        for split in &splits {
            let shape = [split.logits().rows() as i64, split.logits().classes() as i64];
            logits.push(Tensor::f_from_slice(split.logits().as_slice())?.f_reshape(shape)?);
            ids.extend_from_slice(split.sample_ids());
        }
        let logits = Tensor::f_cat(&logits, 0)?.f_to_device(self.device)?;
        Ok(TeacherLogits::new(&logits)?.with_ids(&ids)?.into())
    }

    /// What a TorchScript module says of the training and validation samples, asked once.
    fn of_script(&self, script: &Teacher, pixels: Pixels) -> Result<Teacher> {
        let (mut logits, mut ids) = (Vec::new(), Vec::new());
        for part in [&self.samples.train, &self.samples.validation] {
            for (asked, images) in chunks(part)? {
                logits.push(script.logits(&asked, &self.samples.pixels(&images, pixels)?)?);
                ids.extend(asked);
            }
        }
        Ok(TeacherLogits::new(&Tensor::f_cat(&logits, 0)?)?.with_ids(&ids)?.into())
    }

    /// A cache, mapped into memory and asked batch by batch.
    fn of_cache(&self, folder: &Path, weights: Option<&str>, distill: &Distill) -> Result<Teacher> {
        let cache = LogitCache::open_with(folder, MappedFile::open)?;
        cache.check_data(self.pool)?;
        if let Encoding::TopK(kept) = cache.encoding()
            && !distill.is_taught_from_largest(kept)
        {
            return Err(Error::LargestAlone { path: folder.to_owned(), kept });
        }
        let found = &cache.origin().weights;
        if let Some(expected) = weights.filter(|weights| !found.starts_with(weights)) {
            let (path, part) = (folder.to_owned(), "weights");
            let (expected, found) = (expected.to_owned(), found.clone());
            let error = CacheError::Origin { path, part, expected, found };
            return Err(DataError::from(error).into());
        }
        if let Some(&id) = self.samples.train.subset.ids().iter().find(|id| !cache.contains(**id)) {
            cache.rows(&[id])?; // The error that says which, before anything is trained.
        }
        let classes = cache.classes() as i64;
        Ok(Teacher::recorded(classes, move |ids| Ok(cache.rows(ids)?)))
    }

    /// A map fitted to what a teacher says of the validation samples whose class it knows.
    fn fitted(&self, arm: &str, teacher: &Teacher, fit: &Fit) -> Result<AnyCalibrator> {
        let part = &self.samples.validation;
        let is_of_maps = part.counted.is_some();
        let said = chunks(part)?.into_iter().map(|(ids, images)| -> Result<Tensor> {
            // Who teaches pixels was asked before, and knows them by their ids: any row each will do.
            let any = || Tensor::f_zeros([ids.len() as i64], (images.f_kind()?, images.device()));
            Ok(teacher.logits(&ids, &if is_of_maps { any()? } else { images.shallow_clone() })?)
        });
        let logits = Tensor::f_cat(&said.collect::<Result<Vec<_>>>()?, 0)?;
        let classes = usize::try_from(teacher.classes()).unwrap_or_default();
        let labels = (0..).zip(part.subset.labels().as_slice());
        let known = labels.filter(|(_, label)| (**label as usize) < classes);
        let (rows, labels): (Vec<i64>, Vec<u32>) = known.unzip();
        let rows = Tensor::f_from_slice(&rows)?.f_to_device(logits.device())?;
        let logits = logits.f_index_select(0, &rows)?.f_to_kind(tch::Kind::Float)?;
        let labels = Labels::new(&labels, classes)?;
        FitOf { arm, seed: self.seed }.fit(fit, &to_logits::<f32>(&logits)?, &labels)
    }
}

/// Some images at a time, with the ids of their rows.
pub(crate) fn chunks(part: &Part) -> Result<Vec<(Vec<usize>, Tensor)>> {
    if part.subset.is_empty() {
        return Ok(Vec::new());
    }
    let (subset, images) = (&part.subset, part.images.f_split(CHUNK as i64, 0)?);
    let ids = (0..subset.len()).step_by(CHUNK).map(|first| {
        let last = (first + CHUNK).min(subset.len()) - 1;
        let rows = subset.rows(first).start..subset.rows(last).end;
        subset.row_ids().get(rows).unwrap_or_default().to_vec()
    });
    Ok(ids.zip(images).collect())
}

/// What went wrong with a TorchScript file, and how many classes it has if that was it.
pub(crate) fn of_script_file(path: &Path, error: Error) -> Error {
    let path = path.to_owned();
    match error {
        Error::Distill(softlabel_distill::Error::TeacherClasses { classes, found }) => {
            Error::ScriptClasses { path, expected: classes, found }
        }
        source => Error::Loss { key: path.display().to_string(), source: Box::new(source) },
    }
}

/// A teacher out of a TorchScript file, and the fingerprint of the file.
pub(crate) fn read_script(
    path: &Path,
    device: Device,
    classes: i64,
) -> Result<(Teacher, Fingerprint)> {
    let cannot = |source| DataError::Io { action: "read", path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(cannot)?;
    let in_file = |source| Error::Script { path: path.to_owned(), source };
    let module = ScriptModule::from_bytes(&bytes, device).map_err(in_file)?;
    Ok((Teacher::script(module, classes), Fingerprint::of(&bytes)))
}
