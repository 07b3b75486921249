//! One training: an arm, a seed, from the first batch to the last.

use std::num::NonZeroUsize;

use softlabel_data::{batches, seed};
use softlabel_distill::{Distillation, TeacherLogits};
use softlabel_losses::{CrossEntropy, Target};
use softlabel_metrics::evaluate;
use softlabel_tensor::to_logits;
use tch::{Device, Tensor};

use crate::event::{Event, Validation};
use crate::model::Network;
use crate::optimize::Optimizer;
use crate::recipe::{Arm, Distill, Recipe};
use crate::samples::{Part, Samples, label_tensor};
use crate::{Error, Result};

/// What an arm is trained on and with.
pub(crate) struct Training<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) samples: &'a Samples,
    pub(crate) seed: u64,
    pub(crate) device: Device,
}

/// What pulls at the student: the labels, or the labels and a teacher.
struct Objective {
    hard: CrossEntropy,
    soft: Option<(Distillation, TeacherLogits)>,
}

impl Objective {
    fn new(arm: &Arm, teacher: Option<TeacherLogits>) -> Result<Self> {
        let hard = CrossEntropy::new().with_smoothing(arm.loss.smoothing.clone());
        let soft = match (&arm.distill, teacher) {
            (Some(distill), Some(teacher)) => Some((distillation(distill)?, teacher)),
            _ => None,
        };
        Ok(Self { hard, soft })
    }

    /// The loss of the samples `ids`, whose logits and labels these are.
    fn loss(&self, logits: &Tensor, labels: &Tensor, ids: &Tensor) -> Result<Tensor> {
        let target = Target::Hard(labels);
        match &self.soft {
            None => Ok(self.hard.forward(logits, target)?),
            Some((distillation, teacher)) => {
                Ok(distillation.forward(logits, &teacher.batch(ids)?, &self.hard, target)?)
            }
        }
    }
}

fn distillation(distill: &Distill) -> Result<Distillation> {
    let Distill { temperature, soft_weight, hard_weight, scale, .. } = *distill;
    Ok(Distillation::new(temperature, soft_weight, hard_weight)?.with_scale(scale))
}

impl Training<'_> {
    /// Trains one arm, from what its teacher says of the training samples if it has one.
    ///
    /// Arms with the same model start from the same weights and see the same batches.
    pub(crate) fn run(
        &self,
        name: &str,
        arm: &Arm,
        teacher: Option<TeacherLogits>,
        tell: &dyn Fn(Event),
    ) -> Result<Network> {
        let network = self.network(&arm.model)?;
        let settings = &self.recipe.training;
        let mut optimizer = Optimizer::new(settings, network.parameters())?;
        let objective = Objective::new(arm, teacher)?;
        let labels = label_tensor(&self.samples.observed, self.device)?;
        let count = self.samples.observed.len();
        let batch_size = NonZeroUsize::new(settings.batch_size).unwrap_or(NonZeroUsize::MIN);
        let steps = settings.epochs * count.div_ceil(batch_size.get()) as u64;
        let mut step = 0;
        for epoch in 0..settings.epochs {
            let mut total = Tensor::f_zeros([1], (tch::Kind::Double, self.device))?;
            for batch in batches(count, batch_size, self.seed, epoch) {
                let ids: Vec<i64> = batch.iter().map(|&position| position as i64).collect();
                let ids = Tensor::f_from_slice(&ids)?.f_to_device(self.device)?;
                let logits =
                    network.forward(&self.samples.train.images.f_index_select(0, &ids)?)?;
                let loss = objective.loss(&logits, &labels.f_index_select(0, &ids)?, &ids)?;
                let rate = settings.schedule.learning_rate(settings.learning_rate, step, steps);
                optimizer.step(&loss, rate)?;
                let _ = total.f_add_(&loss.f_detach()?.f_mul_scalar(batch.len() as f64)?)?;
                step += 1;
            }
            let loss = f64::try_from(&total)? / count as f64;
            let epoch = epoch + 1;
            if !loss.is_finite() {
                return Err(Error::Diverged { arm: name.to_owned(), seed: self.seed, epoch, loss });
            }
            let validation = self.validate(name, epoch, &network)?;
            tell(Event::Epoch {
                arm: name.to_owned(),
                seed: self.seed,
                epoch,
                epochs: settings.epochs,
                train_loss: loss,
                validation,
            });
        }
        Ok(network)
    }

    /// The untrained network of a model.
    pub(crate) fn network(&self, model: &str) -> Result<Network> {
        let dataset = self.samples.train.subset.dataset();
        let mut random = seed::stream(self.seed, &format!("{}/{model}", seed::INIT));
        let settings = &self.recipe.models[model];
        Network::new(model, settings, dataset.shape(), dataset.classes(), self.device, &mut random)
    }

    /// Logits of a split after an epoch. The last step may have gone too far for the loss to tell.
    pub(crate) fn predict(
        &self,
        name: &str,
        epoch: u64,
        network: &Network,
        part: &Part,
    ) -> Result<Tensor> {
        let logits = network.predict(&part.images)?;
        if bool::try_from(logits.f_isfinite()?.f_all()?)? {
            Ok(logits)
        } else {
            Err(Error::NotFinite { arm: name.to_owned(), seed: self.seed, epoch })
        }
    }

    fn validate(&self, name: &str, epoch: u64, network: &Network) -> Result<Option<Validation>> {
        let part = &self.samples.validation;
        if part.subset.is_empty() {
            return Ok(None);
        }
        let logits = to_logits::<f32>(&self.predict(name, epoch, network, part)?)?;
        let scores = evaluate(&logits, part.subset.labels(), self.recipe.evaluation.bins)?;
        Ok(Some(Validation { accuracy: scores.accuracy, nll: scores.nll, ece: scores.ece }))
    }
}
