//! What a teacher's recorded logits cost: reading those of a batch from a cache, beside a whole training step.
//!
//! The step is that of a student 784-800-800-K with Adam, whose loss is T²·KL of its teacher's logits.

use std::cell::RefCell;
use std::hint::black_box;

use anyhow::{Context, Result};
use softlabel::Temperature;
use softlabel::data::LogitCache;
use softlabel::data::logit_cache::{Encoding, LogitCacheWriter, Origin};
use softlabel::prelude::{CrossEntropy, Distillation, Target, Teacher};
use softlabel::tensor::MappedFile;
use tch::nn::{self, Module, Optimizer, OptimizerConfig, Sequential, VarStore};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use crate::case::Case;
use crate::operation::{Operation, Side, Who};

/// Of the cache.
const SAMPLES: usize = 10_000;
const FEATURES: i64 = 784;
const HIDDEN: i64 = 800;
const TEMPERATURE: f64 = 4.0;

/// A cache, and a student that learns from it.
pub(crate) struct TeacherCache {
    teacher: Teacher,
    batch: Vec<usize>,
    images: Tensor,
    labels: Tensor,
    student: Sequential,
    optimizer: RefCell<Optimizer>,
    distillation: Distillation,
    /// Removed with it.
    _folder: TempDir,
}

impl TeacherCache {
    pub(crate) fn new(case: &Case) -> Result<Self> {
        let classes = usize::try_from(case.classes)?;
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("cache");
        write(&path, classes)?;
        let cache = LogitCache::open_with(&path, MappedFile::open)?;
        let teacher = Teacher::recorded(case.classes, move |ids| Ok(cache.rows(ids)?));

        let store = VarStore::new(Device::Cpu);
        let root = store.root();
        let linear =
            |name: &str, from, to| nn::linear(&root / name, from, to, nn::LinearConfig::default());
        let student = nn::seq()
            .add(linear("first", FEATURES, HIDDEN))
            .add_fn(Tensor::relu)
            .add(linear("second", HIDDEN, HIDDEN))
            .add_fn(Tensor::relu)
            .add(linear("output", HIDDEN, case.classes));
        let optimizer = nn::Adam::default().build(&store, 1e-3)?;
        // Anywhere in the cache, in no order.
        let batch = (0..usize::try_from(case.rows)?).map(|row| (row * 7919 + 13) % SAMPLES);
        Ok(Self {
            teacher,
            batch: batch.collect(),
            images: Tensor::f_rand([case.rows, FEATURES], (Kind::Float, Device::Cpu))?,
            labels: Tensor::f_zeros([case.rows], (Kind::Int64, Device::Cpu))?,
            student,
            optimizer: RefCell::new(optimizer),
            distillation: Distillation::new(Temperature::new(TEMPERATURE)?, 1.0, 0.0)?,
            _folder: folder,
        })
    }

    fn read(&self) -> Result<Tensor> {
        Ok(self.teacher.logits(&self.batch, &self.images)?)
    }

    fn step(&self) -> Result<()> {
        let taught = self.read()?;
        let student = self.student.forward(&self.images);
        let (hard, target) = (CrossEntropy::new(), Target::Hard(&self.labels));
        let loss = self.distillation.forward(&student, &taught, &hard, target)?;
        let mut optimizer = self.optimizer.try_borrow_mut().context("one step at a time")?;
        optimizer.backward_step(&loss);
        Ok(())
    }
}

fn write(folder: &std::path::Path, classes: usize) -> Result<()> {
    let unknown = "made up".to_owned();
    let origin = Origin {
        weights: unknown.clone(),
        data: unknown.clone(),
        augmentation: unknown.clone(),
        smoothing: unknown,
    };
    let mut writer = LogitCacheWriter::open(folder, &origin, classes, Encoding::F32)?;
    let ids: Vec<usize> = (0..SAMPLES).collect();
    let logit = |index| (index as f32 * 0.37).sin() * 4.0;
    let logits: Vec<f32> = (0..SAMPLES * classes).map(logit).collect();
    writer.write(&ids, &logits)?;
    writer.finish()?;
    Ok(())
}

impl Operation for TeacherCache {
    fn sides(&self, threads: i32) -> Vec<Side> {
        let side = |name, who| Side { name, threads, reuse: true, who };
        vec![side("softlabel", Who::Ours), side("its training step (same process)", Who::Libtorch)]
    }

    fn run(&self, side: &Side) -> Result<()> {
        match side.who {
            Who::Ours => {
                drop(black_box(self.read()?));
                Ok(())
            }
            _ => self.step(),
        }
    }

    fn error(&self, _: &Side) -> Result<Option<f64>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_and_a_step_changes_the_student() {
        let (operation, dtype) = ("teacher_cache".to_owned(), "f32".to_owned());
        let (features, backward, scaling) = (0, true, false);
        let case = Case { operation, rows: 7, classes: 5, features, dtype, backward, scaling };
        let operation = TeacherCache::new(&case).unwrap();
        assert_eq!(operation.read().unwrap().size(), [7, 5]);
        let first = (13.0f64 * 5.0 * 0.37).sin() * 4.0;
        assert!((operation.read().unwrap().double_value(&[0, 0]) - first).abs() < 1e-4);
        let before = operation.student.forward(&operation.images);
        for side in operation.sides(1) {
            operation.run(&side).unwrap();
        }
        assert_ne!(before, operation.student.forward(&operation.images));
    }
}
